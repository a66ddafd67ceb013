"""Damaged and hostile files: each is read or refused in one line, in bounded time and memory, and good ones go on."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.pictures import chunk, exif, make_image, make_png, make_tiff

ROOT = Path(__file__).parents[1]
SECONDS, GIBIBYTES = 20, 4

# Reads the files of a folder in a process of its own, whose memory the system bounds.
READER = f"""
import json, resource, sys, time
from pathlib import Path
from facecrypt.errors import PhotoError
from facecrypt.photos import read_photo, write_photo
import cv2, pillow_heif
limit = {GIBIBYTES} << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sorted(Path(sys.argv[1]).iterdir()):
    started = time.monotonic()
    try:
        photo = read_photo(path)
        write_photo(photo, photo.pixels, Path(sys.argv[2]) / (path.stem + ".png"), "keep")
        result = "read"
    except PhotoError as error:
        result = str(error)
    print(json.dumps([path.name, result, time.monotonic() - started]), flush=True)
"""


def originals() -> dict[str, bytes]:
    """A small good file of every format."""
    image, files = make_image(size=(40, 30)), {}
    for extension, format, options in (
        ("png", "PNG", {"exif": exif(6)}),
        ("jpg", "JPEG", {"exif": exif(6), "xmp": b"<x/>"}),
        ("progressive.jpg", "JPEG", {"progressive": True}),
        ("webp", "WEBP", {"lossless": True}),
        ("lossy.webp", "WEBP", {"exif": exif(3)}),
        ("tif", "TIFF", {"exif": exif(6)}),
        ("lzw.tif", "TIFF", {"compression": "tiff_lzw"}),
        ("bmp", "BMP", {}),
        ("avif", "AVIF", {}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        files[extension] = buffer.getvalue()
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=80)
    files["heic"] = buffer.getvalue()
    rows = np.random.default_rng(0).integers(0, 256, (30, 241), np.uint8)
    rows[:, 0] = 0
    files["deep.png"] = make_png(40, 30, 16, 2, rows.tobytes())
    files["deep.tif"] = make_tiff(40, 30, [16] * 3, 2, rows[:, 1:].tobytes())
    return files


def mutants(count: int) -> Iterator[tuple[str, bytes]]:
    """Seeded damage: flipped bits, cuts, overwritten and doubled stretches, and numbers that lie."""
    rng = random.Random(0)
    good = list(originals().items())
    for number in range(count):
        extension, original = good[number % len(good)]
        data = bytearray(original)
        kind = rng.choice(["bits", "cut", "bytes", "number", "double"])
        at = rng.randrange(len(data))
        if kind == "bits":
            for _ in range(rng.choice([1, 4, 40])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "bytes":
            data[at : at + rng.choice([1, 20])] = rng.randbytes(rng.choice([1, 20]))
        elif kind == "number":  # near the front, where headers say sizes and counts
            at = rng.randrange(min(120, len(data)))
            data[at : at + 4] = rng.choice(
                [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\xff\xff\0\0", bytes(4)]
            )
        else:
            data[at:at] = data[at : at + rng.randrange(1, 2000)]
        yield f"{number:04d}.{kind}.{extension}", bytes(data)


def bombs() -> dict[str, bytes]:
    """Small files that would become large, or take for ever."""
    noise = io.BytesIO()
    make_image("L", size=(16, 16)).save(noise, "JPEG", progressive=True)
    jpeg = bytearray(noise.getvalue())
    frame = jpeg.index(b"\xff\xc2")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 12000, 12000)
    scan = jpeg.rindex(b"\xff\xda")
    scans = bytes(jpeg[:scan]) + bytes(jpeg[scan:-2]) * 3000 + b"\xff\xd9"
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(200_000))
    zeros = zlib.compress(bytes(300_000_000), 9)
    text = zlib.compress(bytes(200_000_000), 9)
    profile = chunk(b"iCCP", b"x\0\0" + text)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 5_000, 8, 2, 0, 0, 0))
    end = chunk(b"IEND", b"")
    signature = b"\x89PNG\r\n\x1a\n"
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(10)
    )
    buffer = io.BytesIO()
    make_image().save(buffer, "JPEG", xmp=(entities + "]><x>&k;</x>").encode())
    nested = io.BytesIO()
    make_image().save(nested, "JPEG", xmp=b"<a>" * 8000 + b"</a>" * 8000)
    return {
        "pixels.png": signature + header + chunk(b"IDAT", zeros) + end,
        "text.png": signature + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
        + chunk(b"zTXt", b"k\0\0" + text) + profile + chunk(b"IDAT", zlib.compress(bytes(2))) + end,
        "wide.png": make_png(2**31 - 1, 1, 8, 0),
        "square.png": make_png(60_000, 60_000, 16, 6),
        "scans.jpg": scans,
        "pages.tif": b"II*\0" + struct.pack("<I", 8) + pages,
        "loop.tif": b"II*\0" + struct.pack("<IHI", 8, 0, 8),
        "strips.tif": make_tiff(13_000, 13_000, [8], 1, bytes(9)),
        "large.webp": b"RIFF\xff\0\0\0WEBPVP8X\n\0\0\0" + bytes(4) + b"\xff\x3f\0" * 2 + bytes(9),
        "entities.jpg": buffer.getvalue(),
        "nested.jpg": nested.getvalue(),
        "brand.heic": struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic",
        "brand.avif": struct.pack(">I", 2**32 - 1) + b"ftypavif" + bytes(4) + b"avif",
    }  # fmt: skip


def read_all(files: dict[str, bytes], tmp_path: Path) -> dict[str, str]:
    """What becomes of each file, read in a process with little memory; good photos lie between them."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    good = make_image(size=(40, 30))
    for name in ("0000.a-good.png", "0150.a-good.png", "zz-good.png"):
        good.save(folder / name)
    command = [sys.executable, "-c", READER, str(folder), str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = {}
    for line in done.stdout.splitlines():
        name, result, seconds = json.loads(line)
        assert seconds < SECONDS, (name, seconds)
        assert result == "read" or (result.startswith(f"{folder / name}: ") or result.startswith(str(output))), result
        assert "\n" not in result
        assert result == "read" or result.endswith("."), result
        results[name] = result
    assert len(results) == len(files) + 3
    for name in ("0000.a-good.png", "0150.a-good.png", "zz-good.png"):
        assert results.pop(name) == "read"
        assert np.array_equal(np.asarray(Image.open(output / name)), np.asarray(good))
    return results


def check_mutants(count: int, tmp_path: Path) -> None:
    results = read_all(dict(mutants(count)), tmp_path)
    read = sum(result == "read" for result in results.values())
    assert count / 20 < read < count * 19 / 20


def test_damaged_files(tmp_path: Path) -> None:
    check_mutants(60, tmp_path)


@pytest.mark.slow
def test_300_damaged_files(tmp_path: Path) -> None:
    check_mutants(300, tmp_path)


def test_small_files_that_claim_much(tmp_path: Path) -> None:
    files = {name: data for name, data in bombs().items() if name not in ("pixels.png", "text.png")}
    results = read_all(files, tmp_path)
    assert "scans over 144 megapixels" in results["scans.jpg"]
    assert "holds 1000 or more pictures" in results["pages.tif"]
    for name in ("wide.png", "square.png", "large.webp"):
        assert "too large" in results[name]
    # Metadata that cannot be read is dropped, the picture is fine.
    assert results["entities.jpg"] == results["nested.jpg"] == "read"
    assert {name for name, result in results.items() if result == "read"} == {"entities.jpg", "nested.jpg"}


@pytest.mark.slow
def test_bombs(tmp_path: Path) -> None:
    results = read_all(bombs(), tmp_path)
    assert results["pixels.png"] == "read" or "damaged" in results["pixels.png"]  # 100 megapixels are allowed
    assert results["text.png"] != "read"
