"""ICC profiles: keep what says how colours are shown, and nothing that could name somebody or hold a picture.

Tags and types are those of ICC.1:2022 and ICC.1:2001-04.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

LARGEST = 1 << 20
"""Bytes of a profile; Pillow reads none from a PNG file that is larger."""

_MOST_TAGS = 100
_HEADER, _SPACE, _CLASS = 128, slice(16, 20), slice(12, 16)
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_CHANNELS = {b"RGB ": 3, b"GRAY": 1}
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Words of which the names of colour spaces and the copyright notes of their makers consist. Names of monitors and of
# people, serial numbers and dates of calibrations are not among them.
_WORDS = """
a adobe adobergb all and appearance apple attribution beta black bt built by c calibrated camera canon cc ch ci cie
co color colormatch colour commons company compatible condition consortium copyright corporation creative curve d
dci default device display domain dot e eastman eci ecirgb electronics european extended for free freely from
fujifilm g gain gamma gamut generic google gray graya grey hdtv hewlett hp http https icc iec image in inc
incorporated independent initiative international iptc is itu kodak large license licensed linear ltd microsoft
nikon no ntsc olympus org p packard pal panasonic perceptual photo point preference profile prophoto public r rec
reference reserved rgb rights romm samsung scaled scrgb secam sharealike smpte sony sp space srgb standard systems
the this to trc uncalibrated under unported urgb use v viewing white whitepoint wide with www x
"""


class ProfileError(ValueError):
    """A profile holds more than a description of colours, in a part without which they would be shown as others."""


@dataclass(frozen=True)
class _Profile:
    header: bytes
    tags: dict[bytes, bytes]
    whole: bytes
    covered: bool  # no byte lies outside the header, the table and the tags


def clean_profile(profile: bytes) -> bytes | None:
    """Return a profile that shows the same colours, without anything else; the same bytes where there is nothing else.

    Args:
        profile: The profile, unchecked.

    Returns:
        The profile; None for bytes that no reader takes for one of RGB or gray.

    Raises:
        ProfileError: If its curves or tables are none, or it is larger than `LARGEST`.
    """
    read = _read(profile)
    if read is None:
        return None
    needed = _needed(read.tags, _CHANNELS[read.header[_SPACE]])
    if not needed:
        return None
    kept = {name: data for name, data in read.tags.items() if name in _CHECKS and _CHECKS[name](name, data)}
    if missing := [name for name in needed if name not in kept]:
        raise ProfileError(f"{missing[0].decode()} is no curve or table of colours")
    texts = {name: data for name, data in read.tags.items() if name in _TEXTS and _is_known(data)}
    clean = read.covered and kept.keys() | texts.keys() == read.tags.keys() and _is_plain(read.header)
    made = read.whole if clean else _pack(read.header, kept | _with_texts(read, texts))
    if len(made) > LARGEST:
        raise ProfileError("it is over 1 MiB")
    return made


def is_gray(profile: bytes) -> bool:
    """Return whether a profile is for pictures of one channel."""
    return profile[_SPACE] == b"GRAY"


def gray_as_rgb(profile: bytes) -> bytes | None:
    """Return a profile for RGB that shows equal channels as one for gray does; None where that has no curve."""
    read = _read(profile)
    curve = read.tags.get(b"kTRC") if read else None
    return make_profile(SRGB_PRIMARIES, curve) if curve else None


SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""White, red, green and blue as x and y each."""


def parametric(kind: int, *parameters: float) -> bytes:
    """Return a curve by its formula: 0 is a power, 3 a power with a linear part, as ICC numbers them."""
    return struct.pack(">4s4xH2x", b"para", kind) + b"".join(_fixed(value) for value in parameters)


def table(values: Sequence[int]) -> bytes:
    """Return a curve by its values, 0 to 65535."""
    return struct.pack(f">4s4xI{len(values)}H", b"curv", len(values), *values)


def make_profile(primaries: Sequence[float], *curves: bytes, gray: bool = False) -> bytes:
    """Return a profile of colours.

    Args:
        primaries: White, red, green and blue as x and y each.
        curves: How stored values become light: one curve, or one for each of red, green and blue.
        gray: Whether it is for pictures of one channel.

    Raises:
        ValueError: If the primaries are no triangle with the white inside.
    """
    tags = {b"desc": _text("Gray" if gray else "RGB"), b"cprt": _text("No copyright, use freely")}
    tags |= {b"wtpt": _xyz(_D50)}
    if gray:
        tags[b"kTRC"] = curves[0]
    else:
        columns, adaptation = _adapted(primaries)
        tags[b"chad"] = struct.pack(">4s4x", b"sf32") + b"".join(_fixed(value) for value in adaptation.flatten())
        for name, column, curve in zip((b"r", b"g", b"b"), columns.T, (*curves, *curves, *curves), strict=False):
            tags |= {name + b"XYZ": _xyz(column), name + b"TRC": curve}
    header = bytearray(_HEADER)
    header[8:24] = struct.pack(">I4s4s4s", 0x04200000, b"mntr", b"GRAY" if gray else b"RGB ", b"XYZ ")
    return _pack(bytes(header), tags)


def _read(profile: bytes) -> _Profile | None:
    """Return the parts of a profile; None for what no reader takes for one."""
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return None
    size, count = struct.unpack_from(">I", profile)[0], struct.unpack_from(">I", profile, _HEADER)[0]
    header = profile[:_HEADER]
    known = header[_CLASS] in _CLASSES and header[_SPACE] in _CHANNELS and header[20:24] in (b"XYZ ", b"Lab ")
    start = _HEADER + 4 + 12 * count
    if not known or count > _MOST_TAGS or not start <= size <= len(profile):
        return None
    tags: dict[bytes, bytes] = {}
    ranges = [(0, start)]
    for place in range(_HEADER + 4, start, 12):
        name, at, length = struct.unpack_from(">4sII", profile, place)
        if start <= at and at + length <= size and length >= 8:
            tags[name] = profile[at : at + length]
            ranges.append((at, at + length))
    end, covered = 0, len(tags) == count
    for first, last in sorted(ranges):
        covered = covered and first - end < 4 and not any(profile[end:first])
        end = max(end, last)
    covered = covered and size - end < 4 and not any(profile[end:size])
    return _Profile(header, tags, profile[:size], covered)


def _needed(tags: Mapping[bytes, bytes], channels: int) -> list[bytes]:
    """Return the tags that decide about colours; none where they are not all there, so that nobody can use the rest."""
    tables = [name for name in (b"A2B0", b"A2B1", b"A2B2") if name in tags]
    curves = [b"kTRC"] if channels == 1 else [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    curves = curves if all(name in tags for name in curves) else []
    adaptation = [b"chad"] if b"chad" in tags else []
    return tables + curves + adaptation if tables or curves else []


def _has(kind: bytes, size: int) -> Callable[[bytes, bytes], bool]:
    return lambda name, data: data[:4] == kind and len(data) == size and not any(data[4:8])


def _is_curve(name: bytes, data: bytes) -> bool:
    size = _curve_size(data)
    return size > 0 and len(data) - size in range(4) and not any(data[size:])


def _curve_size(data: bytes) -> int:
    """Return how many bytes a curve takes; 0 where none is, or none that light could follow."""
    if len(data) < 12 or any(data[4:8]):
        return 0
    if data[:4] == b"para":
        kind = struct.unpack_from(">H", data, 8)[0]
        size = 12 + 4 * {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(kind, -3)
        return size if 12 < size <= len(data) and not any(data[10:12]) else 0
    count = struct.unpack_from(">I", data, 8)[0]
    size = 12 + 2 * count
    if data[:4] != b"curv" or count > 4096 or size > len(data):
        return 0
    return size if _is_smooth(np.frombuffer(data, ">u2", count, 12)) else 0


def _is_smooth(values: npt.NDArray[np.uint16]) -> bool:
    """Return whether values rise like a curve: bytes that mean something else jump."""
    if len(values) < 3:
        return True
    steps = np.diff(values.astype(np.int64))
    return bool((steps >= 0).all() and np.abs(np.diff(steps)).sum() <= 4 * steps.max() + 2 * len(values))


def _is_table(name: bytes, data: bytes) -> bool:
    """Return whether a tag is a table from stored colours to those of the profile, all of it (lut8, lut16, lutAToB)."""
    if len(data) < 32 or any(data[4:8]) or data[8] not in (1, 3) or data[9] != 3:
        return False
    inputs, outputs = data[8], data[9]
    if data[:4] in (b"mft1", b"mft2"):
        wide, grid = data[:4] == b"mft2", data[10]
        counts = struct.unpack_from(">HH", data, 48) if wide and len(data) >= 52 else (256, 256)
        kind, start = (">u2", 52) if wide else ("u1", 48)
        sizes = [inputs * counts[0], grid**inputs * outputs, outputs * counts[1]]
        if len(data) - start - sum(sizes) * (1 + wide) not in range(4) or max(counts) > 4096:
            return False
        values = np.frombuffer(data, kind, sum(sizes), start).astype(np.float64) / (65535 if wide else 255)
        first, colours, last = np.split(values, np.cumsum(sizes[:2]))
        curves = [*first.reshape(inputs, -1), *last.reshape(outputs, -1)]
        rising = all(_is_smooth((curve * 65535).astype(np.uint16)) for curve in curves)
        return rising and _is_gradual(colours.reshape(*[grid] * inputs, outputs))
    return data[:4] == b"mAB " and _is_modern_table(data, inputs, outputs)


def _is_modern_table(data: bytes, inputs: int, outputs: int) -> bool:
    b_curves, matrix, m_curves, colours, a_curves = struct.unpack_from(">5I", data, 12)
    ranges = [(0, 32)]
    for start, count in ((b_curves, outputs), (m_curves, outputs), (a_curves, inputs)):
        place = start
        for _ in range(count if start else 0):
            size = _curve_size(data[place:])
            if not size:
                return False
            ranges.append((place, place + size))
            place += -(-size // 4) * 4
    if matrix:
        ranges.append((matrix, matrix + 48))
    if colours:
        grid, precision = data[colours : colours + inputs], data[colours + 16 : colours + 17]
        if len(grid) < inputs or any(data[colours + inputs : colours + 16]) or precision not in (b"\1", b"\2"):
            return False
        count = prod(grid) * outputs
        kind, largest = ("u1", 255) if precision == b"\1" else (">u2", 65535)
        ranges.append((colours, colours + 20 + count * precision[0]))
        if ranges[-1][1] > len(data) or any(data[colours + 17 : colours + 20]):
            return False
        values = np.frombuffer(data, kind, count, colours + 20) / largest
        if not _is_gradual(values.reshape(*grid, outputs)):
            return False
    end = 0
    for first, last in [*sorted(ranges), (len(data), len(data))]:
        if first - end > 3 or any(data[end:first]):
            return False
        end = max(end, last)
    return end <= len(data)


def _is_gradual(colours: npt.NDArray[np.float64]) -> bool:
    """Return whether colours on a grid change little from one to the next, and their lightness hardly falls."""
    for axis in range(colours.ndim - 1):
        steps = np.diff(colours, axis=axis)
        if not steps.size or np.abs(steps).mean() > 1.5 / steps.shape[axis]:
            return False
        light = steps[..., 0]
        if -light.clip(max=0).sum() >= 0.1 * light.clip(min=0).sum():
            return False
    return True


_LIGHT, _CURVES = (b"wtpt", b"bkpt", b"lumi", b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC", b"kTRC")
_CHECKS: dict[bytes, Callable[[bytes, bytes], bool]] = {
    **dict.fromkeys(_LIGHT, _has(b"XYZ ", 20)),
    **dict.fromkeys(_CURVES, _is_curve),
    **dict.fromkeys((b"A2B0", b"A2B1", b"A2B2"), _is_table),
    b"chad": _has(b"sf32", 44),
    b"chrm": _has(b"chrm", 36),
    b"cicp": _has(b"cicp", 12),
    b"meas": _has(b"meas", 36),
    b"tech": _has(b"sig ", 12),
    b"view": _has(b"view", 36),
}
_TEXTS = (b"desc", b"cprt", b"dmnd", b"dmdd", b"vued")


def _is_known(data: bytes) -> bool:
    """Return whether a tag is one text of known words, and nothing beside it."""
    text = _decoded(data)
    if text is None or not _is_of_vocabulary(text):
        return False
    # An older description repeats its text in two more encodings, each with a number of characters and of a language.
    rest = data[8:].replace(text.encode("latin-1", "replace"), b"").replace(text.encode("utf-16-be"), b"")
    return len(rest.replace(b"\0", b"").replace(b"enUS", b"")) <= 8


def _is_of_vocabulary(text: str) -> bool:
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
    numbers = re.findall(r"\d+", text)
    short = len(text) <= 160 and len(numbers) <= 4 and all(len(number) <= 5 for number in numbers)
    return short and text.isascii() and text.isprintable() and words <= set(_WORDS.split())


def _decoded(data: bytes) -> str | None:
    """Return the text of a tag; None where it has none, or several that differ."""
    try:
        if data[:4] == b"text":
            return data[8:].rstrip(b"\0").decode("ascii")
        if data[:4] == b"desc":
            return data[12 : 12 + struct.unpack_from(">I", data, 8)[0]].rstrip(b"\0").decode("ascii")
        if data[:4] == b"mluc":
            count, row = struct.unpack_from(">II", data, 8)
            places = [struct.unpack_from(">II", data, 20 + 12 * number) for number in range(min(count, 50))]
            found = {data[at : at + size].decode("utf-16-be").rstrip("\0") for size, at in places}
            return found.pop() if len(found) == 1 and row == 12 else None
    except (struct.error, UnicodeDecodeError):
        pass
    return None


def _with_texts(read: _Profile, texts: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return a description and a copyright note, which every profile must have: the known ones, or none that tell."""
    old = read.header[8] < 4
    found = {name: _decoded(read.tags.get(name, b"")) or "" for name in (b"desc", b"cprt")}
    plain = {b"desc": "Gray" if read.header[_SPACE] == b"GRAY" else "RGB", b"cprt": "No copyright, use freely"}
    chosen = {name: text if text and _is_of_vocabulary(text) else plain[name] for name, text in found.items()}
    made = {b"desc": _old_description(chosen[b"desc"]), b"cprt": b"text\0\0\0\0" + chosen[b"cprt"].encode() + b"\0"}
    return (made if old else {name: _text(text) for name, text in chosen.items()}) | dict(texts)


def _is_plain(header: bytes) -> bool:
    """Return whether the free fields of a header hold what they should, and its reserved ones nothing."""
    signatures = header[4:8] + header[40:44] + header[48:56] + header[80:84]
    return not any(header[100:]) and all(byte == 0 or 32 <= byte < 127 for byte in signatures)


def _pack(header: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Return a profile with the fields of a header that readers need."""
    start = _HEADER + 4 + 12 * len(tags)
    rows, body = b"", bytearray()
    places: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        rows += struct.pack(">4sII", name, places[data], len(data))
    new = bytearray(_HEADER)
    new[0:4] = struct.pack(">I", start + len(body))
    new[8:24] = header[8:24]
    new[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    new[36:40] = b"acsp"
    new[64:68] = header[64:68]
    new[68:80] = b"".join(_fixed(value) for value in _D50)
    return bytes(new) + struct.pack(">I", len(tags)) + rows + bytes(body)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: Sequence[float] | Matrix) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(value) for value in values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _old_description(text: str) -> bytes:
    ascii_text = text.encode() + b"\0"
    return struct.pack(">4s4xI", b"desc", len(ascii_text)) + ascii_text + bytes(78)


def _adapted(primaries: Sequence[float]) -> tuple[Matrix, Matrix]:
    """Return the colours of red, green and blue seen at D50, as columns, and the Bradford adaptation to it."""
    x, y = np.array(primaries, np.float64).reshape(4, 2).T
    if (y <= 0).any():
        raise ValueError("primaries: a y of 0 is no colour.")
    light = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    white, colours = light[:, 0], light[:, 1:]
    if abs(np.linalg.det(colours)) < 1e-6:
        raise ValueError("primaries: are on a line.")
    scale = np.linalg.solve(colours, white)
    if (scale <= 0).any():
        raise ValueError("primaries: the white is outside.")
    cones = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    return adaptation @ (colours * scale), adaptation
