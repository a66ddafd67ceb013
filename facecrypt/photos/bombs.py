"""Photo files that would take for ever to decode, told by their structure before a decoder sees them.

Decoders walk headers piece by piece in Python, so a file of millions of pieces costs minutes however small its picture
is. Whatever is not known here is stopped by the bounds of the process that decodes (`facecrypt.system.child`).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

MAX_PIXELS = 200_000_000
# Pillow itself stops earlier for the two formats whose decoders check.
TOO_LARGE = "is too large. At most 200 megapixels are read (TIFF and WebP: 178); scale it down"
_MAX_SCANNED = 4_000_000_000
"""Pixels times scans of a JPEG: each scan of a progressive file goes over the whole picture again."""
_MOST_PAGES = 1000
_MOST_PIECES = 65_536
"""Segments of a JPEG, chunks of a PNG other than pixels, entries of a TIFF directory: real files have hundreds."""
_MOST_PIXEL_CHUNKS = 1_000_000
_MOST_PADDING = 65_536
"""Bytes between the segments of a JPEG header, where some cameras leave a few."""
_MOST_NUMBERS = 2_000_000
"""Numbers in a TIFF directory: a picture of 200 megapixels in strips of one row has two for each row and channel."""
_MOST_FRACTIONS = 4096
_MOST_UNPACKED = 1 << 20  # Pillow's own bound for what a PNG chunk unpacks to

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd8])")
_TOO_LONG = "which takes too long. Save it anew as PNG"
_ONE_PICTURE = "Only one is allowed; save the one you want as PNG"
_NUMBER_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_FRACTIONS = (5, 10)


def find_bomb(data: bytes) -> str | None:
    """Return why a file would take for ever to decode, or None.

    Args:
        data: The file.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _find_in_jpeg(data)
    if data.startswith(_PNG):
        return _find_in_png(data)
    if data[:4] in _TIFF:
        return _find_in_tiff(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _find_in_webp(data)
    return None


def _find_in_jpeg(data: bytes) -> str | None:
    place, scans, pixels, pieces, padding = 2, 0, 0, 0, 0
    while True:
        found = _MARKER.search(data, place)
        padding += 0 if scans else (found.start() if found else len(data)) - place
        pieces += 1
        if pieces > _MOST_PIECES or padding > _MOST_PADDING:
            what = f"{_MOST_PIECES:,} segments" if pieces > _MOST_PIECES else f"{_MOST_PADDING:,} bytes of padding"
            return f"has over {what}, {_TOO_LONG}"
        if found is None or found[1] == b"\xd9":
            break
        place = found.end()
        if found[1] == b"\x01" or len(data) < place + 7:
            continue
        length, _, height, width = struct.unpack_from(">HBHH", data, place)
        if found[1][0] in range(0xC0, 0xD0) and found[1] not in (b"\xc4", b"\xc8", b"\xcc"):
            pixels = height * width
        scans += found[1] == b"\xda"
        place += length
    if pixels <= MAX_PIXELS and scans * pixels > _MAX_SCANNED:
        return f"has {scans} scans over {pixels / 1e6:.0f} megapixels, {_TOO_LONG}"
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of data of each chunk of a PNG file, up to the last whole one."""
    place = len(_PNG)
    while place + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        if place + 12 + size > len(data):
            return
        yield name, place, place + 8 + size
        place += 12 + size


def _find_in_png(data: bytes) -> str | None:
    pieces = pixels = 0
    for name, start, end in _png_chunks(data):
        pixels += name == b"IDAT"
        pieces += name != b"IDAT"
        if pieces > _MOST_PIECES or pixels > _MOST_PIXEL_CHUNKS:
            return f"has over {_MOST_PIECES if pieces > _MOST_PIECES else _MOST_PIXEL_CHUNKS:,} chunks, {_TOO_LONG}"
        if name == b"iCCP" and not _is_small(data[start + 8 : end].partition(b"\0")[2][1:]):
            return "has a colour profile that unpacks to more than 1 MiB. Convert it to sRGB"
    return None


def without_texts(data: bytes) -> bytes:
    """Return a PNG file without its text chunks but for XMP: the others are not kept, and Pillow fails on long ones.

    Args:
        data: Any file; one of another format comes back as it is.
    """
    if not data.startswith(_PNG):
        return data
    kept, since = [], 0
    for name, start, end in _png_chunks(data):
        if name in (b"tEXt", b"zTXt") or (name == b"iTXt" and not _is_xmp(data[start + 8 : end])):
            kept.append(data[since:start])
            since = end + 4
    return b"".join([*kept, data[since:]]) if kept else data


def _is_xmp(text: bytes) -> bool:
    """Return whether an international text chunk holds XMP that can be unpacked."""
    keyword, _, rest = text.partition(b"\0")
    if keyword != b"XML:com.adobe.xmp":
        return False
    # A flag, a method, and two words that end in NUL come before the text.
    return not rest.startswith(b"\x01") or _is_small(rest[2:].split(b"\0", 2)[-1])


def _is_small(packed: bytes) -> bool:
    """Return whether data unpacks to little; also what is damaged counts, whose decoder says so."""
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST_UNPACKED + 1)) <= _MOST_UNPACKED
    except zlib.error:
        return True


def _find_in_tiff(data: bytes) -> str | None:
    order = "<" if data.startswith(b"II") else ">"
    count, entry, link, first = ("Q", "HHQ8s", "Q", 8) if b"+" in data[:4] else ("H", "HHI4s", "I", 4)
    size = struct.calcsize(order + entry)
    seen: set[int] = set()
    try:
        start = struct.unpack_from(order + link, data, first)[0]
        while start and start not in seen and len(seen) < _MOST_PAGES:
            entries = struct.unpack_from(order + count, data, start)[0]
            body = start + struct.calcsize(order + count)
            if entries > _MOST_PIECES:
                return f"has {entries:,} tags, {_TOO_LONG}"
            if not seen and (fault := _find_in_tags(data, order + entry, body, entries)):
                return fault
            seen.add(start)
            start = struct.unpack_from(order + link, data, body + size * entries)[0]
    except (struct.error, OverflowError):  # it points out of the file: the decoder will say so
        pass
    if len(seen) > 1:
        number = f"{len(seen)} or more" if len(seen) >= _MOST_PAGES else str(len(seen))
        return f"holds {number} pictures (an animation or pages). {_ONE_PICTURE}"
    return None


def _find_in_tags(data: bytes, entry: str, start: int, count: int) -> str | None:
    numbers = 0
    for place in range(start, start + count * struct.calcsize(entry), struct.calcsize(entry)):
        tag, kind, length, _ = struct.unpack_from(entry, data, place)
        if length * _NUMBER_SIZES.get(kind, 0) > len(data):
            continue  # Most of it lies outside the file, so that it is not read.
        numbers += length if kind in _NUMBER_SIZES else 0
        if numbers > _MOST_NUMBERS or (kind in _FRACTIONS and length > _MOST_FRACTIONS):
            return f"has {length:,} numbers in its tag {tag}, {_TOO_LONG}"
    return None


def _find_in_webp(data: bytes) -> str | None:
    width, height = webp_size(data)
    if width * height > MAX_PIXELS:
        return TOO_LARGE
    if data[12:16] != b"VP8X":
        return None
    pieces = frames = pictures = 0
    place = 30
    while place + 8 <= len(data) and pieces <= _MOST_PIECES:
        name, size = struct.unpack_from("<4sI", data, place)
        frames += name == b"ANMF"
        pictures += name in (b"VP8 ", b"VP8L", b"ANMF")
        pieces += 1
        place += 8 + size + size % 2
    if pieces > _MOST_PIECES:
        return f"has over {_MOST_PIECES:,} chunks, {_TOO_LONG}"
    if frames > 1:
        return f"holds {frames} pictures (an animation or pages). {_ONE_PICTURE}"
    return None if pictures else "is damaged or cut short (it holds no picture). Copy it again from its source"


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a WebP file, 0 of any other: its decoder takes memory for them as soon as it is made.

    Args:
        data: The file.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0
