"""Small photo files that would become large, or take for ever."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise

import pillow_heif

from tests.pictures import chunk, make_image, make_png, make_tiff

SIGNATURE, END = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return SIGNATURE + header + b"".join(chunks) + END


def flat_png(side: int, bits: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG file of one colour, a thousandth of what it unpacks to."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + -(-side * channels * bits // 8))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + END


def jpeg_of(width: int, height: int, **options: object) -> bytes:
    """A small JPEG file whose header lies about its size."""
    buffer = io.BytesIO()
    make_image("RGB", size=(16, 16)).save(buffer, "JPEG", **options)  # type: ignore[arg-type]
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(side: int, count: int) -> bytes:
    data = jpeg_of(side, side, progressive=True)
    scan = data.rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * count + b"\xff\xd9"


def slow_bmp() -> bytes:
    """A file of 100 pixels and of fifteen million ends of lines, each of which the decoder looks at."""
    header = struct.pack("<IIII", 1078, 0, 1078, 40) + struct.pack("<iiHHIIiiII", 10, 10, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + header + bytes(1024) + bytes(30_000_000)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def bmp() -> bytes:
    """Runs of pixels, most of which are not there."""
    header = struct.pack("<IIII", 2000, 0, 54 + 1024, 40)
    sizes = struct.pack("<iiHHIIiiII", 14_000, 14_000, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + header + sizes + bytes(1024) + b"\xff\0" * 400 + b"\0\x02\xff\xff"


def tiles(side: int) -> bytes:
    """A TIFF file of ten pixels whose one tile has a side of its own."""
    tags = [(256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, 20)]
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    packed = zeros(1000)[:20].ljust(20, b"\0")
    return b"II*\0" + struct.pack("<I", 28) + packed + struct.pack("<H", len(tags)) + rows + bytes(4)


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def heif_of(width: int, height: int, extension: str) -> bytes:
    """A small HEIC or AVIF file whose boxes lie about its size."""
    buffer = io.BytesIO()
    if extension == "heic":
        pillow_heif.from_pillow(make_image(size=(64, 64))).save(buffer, quality=50)
    else:
        make_image(size=(64, 64)).save(buffer, "AVIF")
    data = bytearray(buffer.getvalue())
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def with_xmp(xmp: bytes) -> bytes:
    buffer = io.BytesIO()
    make_image().save(buffer, "JPEG", xmp=xmp)
    return buffer.getvalue()


def entities() -> bytes:
    """A text of ten letters that is repeated ten times ten times, and so on."""
    more = "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise("abcdefghijk"))
    return f'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{more}]><x>&k;</x>'.encode()


def directories() -> bytes:
    """EXIF whose further directories are the first one again."""
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (34665, 34853, 40965))
    buffer = io.BytesIO()
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 3) + rows + struct.pack("<I", 8)
    make_image().save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "text.png": lambda: png(1, 1, chunk(b"zTXt", b"k\0\0" + zeros(200_000_000)), chunk(b"IDAT", zeros(2))),
    "profile.png": lambda: png(1, 1, chunk(b"iCCP", b"x\0\0" + zeros(200_000_000)), chunk(b"IDAT", zeros(2))),
    "packed.png": lambda: png(10, 10, chunk(b"IDAT", zeros(300_000_000))),
    "wide.png": lambda: make_png(2**31 - 1, 1, 8, 0),
    "square.png": lambda: make_png(60_000, 60_000, 16, 6),
    "flat.png": lambda: flat_png(6000, 8, 6),
    "palette.png": lambda: flat_png(14_000, 1, 3, chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0\xff")),
    "deep.png": lambda: flat_png(3000, 16, 6),
    "frames.png": lambda: png(10, 10, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), chunk(b"IDAT", zeros(110))),
    "scans.jpg": lambda: many_scans(12_000, 3000),
    "huge.jpg": lambda: jpeg_of(65_500, 65_500),
    "progressive.jpg": lambda: jpeg_of(14_000, 14_000, progressive=True, subsampling=0),
    "baseline.jpg": lambda: jpeg_of(14_000, 14_000),
    "pages.tif": lambda: b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 14 + 6 * n) for n in range(200_000)),
    "loop.tif": lambda: b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "strips.tif": lambda: make_tiff(13_000, 13_000, [8], 1, bytes(9)),
    "tiles.tif": lambda: tiles(60_000),
    "large.webp": lambda: webp(b"VP8X", bytes(4) + b"\xff\x3f\0" * 2),
    "canvas.webp": lambda: webp(b"VP8X", bytes(4) + b"\x40\x30\0" * 2),
    "lossless.webp": lambda: webp(b"VP8L", b"\x2f" + struct.pack("<I", 12_000 | 12_000 << 14) + bytes(21)),
    "run.bmp": bmp,
    "grid.heic": lambda: heif_of(14_000, 14_000, "heic"),
    "grid.avif": lambda: heif_of(14_000, 14_000, "avif"),
    "brand.heic": lambda: struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic",
    "brand.avif": lambda: struct.pack(">I", 2**32 - 1) + b"ftypavif" + bytes(4) + b"avif",
    "boxes.avif": lambda: box(b"ftyp", b"avif", bytes(4), b"avif") + box(b"meta", bytes(4)) * 100_000,
    "entities.jpg": lambda: with_xmp(entities()),
    "nested.jpg": lambda: with_xmp(b"<a>" * 8000 + b"</a>" * 8000),
    "brothers.jpg": lambda: with_xmp(b"<a>" + b"<b/>" * 15_000 + b"</a>"),
    "directories.jpg": directories,
}
