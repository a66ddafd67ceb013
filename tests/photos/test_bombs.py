"""Files that would take for ever are told by their structure, at once; honest ones of the same kind are read."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facecrypt.errors import PhotoError
from facecrypt.photos.bombs import find_bomb, webp_size, without_texts
from facecrypt.photos.files import read_photo
from tests.pictures import chunk, make_image, make_png, written

MIB = 1 << 20


def encoded(format: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    make_image(mode, size=size).save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


JPEG = encoded("JPEG")
PNG = encoded("PNG")


def with_segments(count: int, segment: bytes = b"\xff\xe5\0\2") -> bytes:
    return JPEG[:2] + segment * count + JPEG[2:]


def with_chunks(count: int, name: bytes = b"abCd", content: bytes = b"") -> bytes:
    return PNG[:33] + chunk(name, content) * count + PNG[33:]


def tiff(tag: int, kind: int, count: int, data: bytes = b"", entries: int = 1) -> bytes:
    """A TIFF file of one pixel with a further tag, whose values come last."""
    rows = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 4)]
    rows += [(277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, 1)]
    start = 8 + 2 + 12 * (len(rows) + entries) + 4
    rows += [(tag, kind, count, start)] * entries
    body = b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + body + bytes(4) + data


def webp(kind: bytes, body: bytes, rest: bytes = b"") -> bytes:
    content = b"WEBP" + kind + struct.pack("<I", len(body)) + body + rest
    return b"RIFF" + struct.pack("<I", len(content)) + content


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


BOMBS = {
    "segments": (with_segments(1_000_000), "has over 65,536 segments"),
    "padding": (with_segments(1, b"\xff" * 30_000_000 + b"\xe5\0\2"), "has over 65,536 bytes of padding"),
    "padding here and there": (with_segments(300, b"\xff" * 300 + b"\xe5\0\2"), "bytes of padding"),
    "nothing but padding": (b"\xff\xd8" + b"\xff" * 3_000_000, "has over 65,536 bytes of padding"),
    "chunks": (with_chunks(100_000), "has over 65,536 chunks"),
    "empty pixel chunks": (with_chunks(1_000_001, b"IDAT"), "has over 1,000,000 chunks"),
    "fractions": (tiff(282, 5, 4_000_000, bytes(32_000_000)), "has 4,000,000 numbers in its tag 282"),
    "numbers": (tiff(273, 4, 5_000_000, bytes(20_000_000)), "has 5,000,000 numbers in its tag 273"),
    "numbers in many tags": (tiff(34000, 3, 100_000, bytes(200_000), 50), "has 100,000 numbers in its tag 34000"),
    "tags": (tiff(34000, 3, 1, b"", 65_536 - 20)[:8] + struct.pack("<H", 65_535), None),
    "big tiff tags": (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**12) + bytes(1000), "has 1,000,000,000,000 tags"),
    "profile": (with_chunks(1, b"iCCP", b"x\0\0" + zlib.compress(bytes(200_000_000), 9)), "unpacks to more than 1 MiB"),
    "webp canvas": (webp(b"VP8X", canvas(16_384, 16_384)), "is too large"),
    "webp lossless": (webp(b"VP8L", b"\x2f" + b"\xff\xff\xff\x0f" + bytes(20)), "is too large"),
    "webp lossy": (webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + b"\xff\x3f\xff\x3f" + bytes(20)), "is too large"),
    "webp without a picture": (webp(b"VP8X", canvas(10_000, 10_000)), "holds no picture"),
    "webp chunks": (webp(b"VP8X", canvas(10, 10), b"abcd\0\0\0\0" * 100_000), "has over 65,536 chunks"),
    "webp frames": (webp(b"VP8X", canvas(10, 10, 2), b"ANMF\0\0\0\0" * 3), "holds 3 pictures"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_told_in_little_time(name: str) -> None:
    data, says = BOMBS[name]
    began = time.process_time()
    found = find_bomb(data)
    assert time.process_time() - began < 5
    assert (found is None) if says is None else (found is not None and says in found), found


@pytest.mark.parametrize("name", ["segments", "padding", "empty pixel chunks", "fractions", "profile", "webp canvas"])
def test_it_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    data, says = BOMBS[name]
    with pytest.raises(PhotoError) as caught:
        read_photo(written(data, tmp_path / "photo.jpg"))
    assert says is not None
    assert says in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        with_segments(3000),
        with_segments(100, b"\xff" * 200 + b"\xe5\0\2"),
        with_chunks(3000),
        tiff(34000, 3, 100_000, bytes(200_000)),
        encoded("JPEG", progressive=True),
        encoded("JPEG", restart_marker_blocks=1),
        encoded("WEBP", lossless=True),
        encoded("WEBP"),
        encoded("WEBP", mode="RGBA", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        encoded("TIFF", compression="tiff_lzw"),
    ],
)
def test_honest_files_are_read(data: bytes, tmp_path: Path) -> None:
    assert find_bomb(data) is None
    read_photo(written(data, tmp_path / "photo.png"))


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"icc_profile": bytes(200)}, {"lossless": True, "icc_profile": bytes(200)}],
)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (16_383, 1), (1, 16_383)])
def test_the_size_of_a_webp_file(options: dict[str, object], size: tuple[int, int]) -> None:
    assert webp_size(encoded("WEBP", size, **options)) == size
    assert webp_size(PNG) == webp_size(b"") == (0, 0)


XMP = b"XML:com.adobe.xmp"


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * (2 * MIB)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 * MIB))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * (2 * MIB))),
        chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * (2 * MIB)),
        chunk(b"iTXt", XMP + b"\0\1\0\0\0" + zlib.compress(b"<x/>" * MIB)),
        chunk(b"iTXt", XMP + b"\0\0\0\0\0" + b"<x/>" * MIB),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)),
        chunk(b"tEXt", b"Comment\0x") * 20_000,
        chunk(b"tEXt", b"Comment\0" + bytes(MIB)) * 80,
    ],
    ids=["text", "packed", "packed utf-8", "utf-8", "packed xmp", "xmp", "bomb", "many", "64 MiB in all"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_with_long_texts_is_read(text: bytes, place: str, tmp_path: Path) -> None:
    data = PNG[:33] + text + PNG[33:] if place == "before" else PNG[:-12] + text + PNG[-12:]
    photo = read_photo(written(data, tmp_path / "photo.png"))
    assert np.array_equal(photo.pixels, np.asarray(make_image(size=(40, 30))))


def test_what_is_no_text_stays() -> None:
    kept = chunk(b"iTXt", XMP + b"\0\0\0\0\0<x/>") + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"eXIf", b"II*\0")
    data = PNG[:33] + chunk(b"tEXt", b"a\0b") + kept + chunk(b"zTXt", b"a\0\0x") + PNG[33:]
    assert without_texts(data) == PNG[:33] + kept + PNG[33:]
    for other in (PNG, JPEG, PNG[:50], b"", data[:40], PNG + b"after its end"):
        assert without_texts(other) == other


def test_two_packed_xmp_packets_keep_small_ones() -> None:
    small = chunk(b"iTXt", XMP + b"\0\1\0\0\0" + zlib.compress(b"<x/>"))
    assert without_texts(PNG[:33] + small + PNG[33:]) == PNG[:33] + small + PNG[33:]


def test_a_large_honest_header_is_quick() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=98, progressive=True, icc_profile=bytes(10 * MIB))
    began = time.process_time()
    assert find_bomb(buffer.getvalue()) is None
    assert time.process_time() - began < 5


def test_a_picture_of_one_pixel_per_chunk(tmp_path: Path) -> None:
    data = make_png(40, 30, 8, 2)
    rows = np.zeros((30, 121), np.uint8)
    packed = zlib.compress(rows.tobytes(), 0)
    pieces = b"".join(chunk(b"IDAT", packed[place : place + 1]) for place in range(len(packed)))
    start = data.index(b"IDAT") - 4
    assert read_photo(written(data[:start] + pieces + data[-12:], tmp_path / "photo.png")).pixels.shape == (30, 40, 3)
