"""The parts of PNG, AVIF, HEIC and BMP files that say how colours are shown, which Pillow neither reads nor writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Cicp = tuple[int, int]
"""Primaries and transfer function by the numbers of ITU-T H.273."""

_PNG_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"pHYs": 9}
_PNG_START, _PNG_HEADER_END = 8, 33
_MOST_CHUNKS, _MOST_BOXES = 100_000, 1000
_V4, _V5 = 108, 124
_CALIBRATED, _EMBEDDED, _SRGB = 0, 0x4D424544, 0x73524742


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return what a PNG file says of colours and density: the chunks of each name that readers take, the first ones."""
    found: dict[bytes, bytes] = {}
    place = _PNG_START
    for _ in range(_MOST_CHUNKS):
        if place + 12 > len(data):
            break
        size, name = struct.unpack_from(">I4s", data, place)
        if name in (b"IDAT", b"IEND"):
            break
        body = data[place + 8 : place + 8 + size]
        if _PNG_LENGTHS.get(name) == size == len(body) and name not in found:
            (checksum,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size].ljust(4, b"\0"))
            if checksum == zlib.crc32(name + body):
                found[name] = body
        place += 12 + size
    return found


def with_png_chunks(data: bytes, chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG file with more chunks, which follow its header."""
    return data[:_PNG_HEADER_END] + b"".join(png_chunk(*each) for each in chunks) + data[_PNG_HEADER_END:]


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Return the bytes of a chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def read_nclx(data: bytes) -> Cicp | None:
    """Return how the main picture of an AVIF or HEIC file is coloured, by its nclx box; None where it has none."""
    place = _find_nclx(data)
    if place is None:
        return None
    primaries, transfer = struct.unpack_from(">HH", data, place)
    return int(primaries), int(transfer)


def with_nclx(data: bytes, cicp: Cicp) -> bytes:
    """Return an AVIF file whose main picture, which has an nclx box, is coloured otherwise."""
    place = _find_nclx(data)
    return data if place is None else data[:place] + struct.pack(">HH", *cicp) + data[place + 4 :]


def _find_nclx(data: bytes) -> int | None:
    """Return where the nclx box of the main picture starts to say its colours (ISO/IEC 23008-12)."""
    meta = next((span for name, *span in _boxes(data, 0, len(data)) if name == b"meta"), None)
    if meta is None:
        return None
    parts = {name: (start, end) for name, start, end in _boxes(data, meta[0] + 4, meta[1])}
    if not {b"pitm", b"iprp"} <= parts.keys():
        return None
    start, end = parts[b"pitm"]
    long = start + 8 <= end and data[start] > 0
    main = int.from_bytes(data[start + 4 : start + (8 if long else 6)])
    properties = {name: (start, end) for name, start, end in _boxes(data, *parts[b"iprp"])}
    if not {b"ipco", b"ipma"} <= properties.keys():
        return None
    found = list(_boxes(data, *properties[b"ipco"]))
    for index in _associations(data[slice(*properties[b"ipma"])], main):
        if 0 < index <= len(found):
            name, start, end = found[index - 1]
            if name == b"colr" and data[start : start + 4] == b"nclx" and start + 8 <= end:
                return start + 4
    return None


def _boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box, and where what it holds starts and ends."""
    for _ in range(_MOST_BOXES):
        if place + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if size == 1 and place + 16 <= end:
            size, start = struct.unpack_from(">Q", data, start)[0], place + 16
        last = end if size == 0 else place + size
        if not start <= last <= end:
            return
        yield name, start, last
        place = last


def _associations(data: bytes, item: int) -> list[int]:
    """Return the numbers of the properties of an item, by the content of an ipma box."""
    if len(data) < 8:
        return []
    wide_item, wide_index = data[0] > 0, data[3] & 1
    place = 8
    while place < len(data):
        width = 4 if wide_item else 2
        name, count = data[place : place + width], data[place + width : place + width + 1]
        size = 2 if wide_index else 1
        start, place = place + width + 1, place + width + 1 + size * int.from_bytes(count)
        if int.from_bytes(name) == item:
            rows = [data[at : at + size] for at in range(start, place, size)]
            return [int.from_bytes(row) & (0x7FFF if wide_index else 0x7F) for row in rows]
    return []


def read_bmp_colours(data: bytes) -> tuple[bytes, bytes | None]:
    """Return what a BMP file says of its colours.

    Args:
        data: The file.

    Returns:
        The fields of its header that say so, 52 bytes, empty where it has none; and its ICC profile, if it has one.
    """
    if len(data) < 14 + _V4:
        return b"", None
    (size,) = struct.unpack_from("<I", data, 14)
    if size not in (_V4, _V5):
        return b"", None
    kind = struct.unpack_from("<I", data, 70)[0]
    if kind == _EMBEDDED and size == _V5:
        start, length = struct.unpack_from("<II", data, 126)
        return b"", data[14 + start : 14 + start + length]
    return (data[70:122], None) if kind == _CALIBRATED and any(data[74:122]) else (b"", None)


def make_bmp(channels: npt.NDArray[np.uint8], density: tuple[int, int], colours: bytes, profile: bytes | None) -> bytes:
    """Return a BMP file that says what its colours are, which Pillow cannot write.

    Args:
        channels: ``(H, W, 3 or 1)``, RGB or gray.
        density: Pixels per metre, 0 where it is unknown.
        colours: The fields of its header that say so, as `read_bmp_colours` returns them.
        profile: Its ICC profile, instead of these fields.
    """
    height, width, count = channels.shape
    rows = np.zeros((height, -(-width * count // 4) * 4), np.uint8)
    rows[:, : width * count] = channels[::-1, :, ::-1].reshape(height, -1)
    palette = np.arange(256, dtype="<u4") * 0x10101 if count == 1 else np.zeros(0, "<u4")
    body = palette.tobytes() + rows.tobytes()
    fields = struct.pack("<I48x", _EMBEDDED) if profile else colours or struct.pack("<I48x", _SRGB)
    header = struct.pack("<IiiHHIIii", _V5, width, height, 1, 8 * count, 0, rows.nbytes, *density)
    header += struct.pack("<IIIIII", len(palette), 0, 0xFF0000, 0xFF00, 0xFF, 0) + fields
    header += struct.pack("<IIII", 4, _V5 + len(body) if profile else 0, len(profile or b""), 0)
    end = body + (profile or b"")
    start = 14 + _V5
    return struct.pack("<2sIHHI", b"BM", start + len(end), 0, 0, start + palette.nbytes) + header + end
