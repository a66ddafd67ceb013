"""Feed damaged photos to reading and writing: each must be read or refused in one line, soon, never with a traceback.

    python tests/mutate_photos.py --count 3000 --seed 0

A small good file of every format is damaged: bits flipped, stretches cut, doubled, moved or taken from another file,
numbers that lie. What a number stands for depends on the seed and that number alone, so that ``--only 17`` makes one of
them again, and ``--keep FOLDER`` leaves it there.
"""

from __future__ import annotations

import argparse
import io
import random
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it is a command, too

from facecrypt.errors import PhotoError
from facecrypt.photos.files import read_photo, write_photo
from facecrypt.system.limits import Bounds
from tests.pictures import chunk, exif, make_image, make_png, make_tiff

MOST_SECONDS = 300.0
"""Longest time of one photo by the clock: what hangs is found, however busy the machine is."""
BOUNDS = Bounds(1 << 30, 20)

_NUMBERS = (
    b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xff\xff", b"\xff\xff\0\0", bytes(4), b"\0\0\0\1",
    b"\1\0\0\0", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\x01\0\0", b"\xff\xff", b"\0\0", b"\xff" * 8, bytes(8),
)  # fmt: skip
_MARKS = (b"\xff\xd8\xff\xe1", b"\xff\xda", b"\xff\xd9", b"IDAT", b"IEND", b"acTL", b"VP8X", b"ANMF", b"II*\0", b"av1C")


@cache
def originals() -> dict[str, bytes]:
    """A small good file of every format and kind."""
    image, files = make_image(size=(40, 30)), {}
    profile = {"icc_profile": bytes(128) + b"profile" * 20}
    for extension, format, mode, options in (
        ("png", "PNG", "RGB", {"exif": exif(6)}),
        ("profile.png", "PNG", "RGBA", profile),
        ("palette.png", "PNG", "P+tt", {}),
        ("jpg", "JPEG", "RGB", {"exif": exif(6), "xmp": b"<x/>", **profile}),
        ("progressive.jpg", "JPEG", "RGB", {"progressive": True}),
        ("gray.jpg", "JPEG", "L", {"comment": b"hello", "restart_marker_blocks": 1}),
        ("webp", "WEBP", "RGB", {"lossless": True}),
        ("lossy.webp", "WEBP", "RGBA", {"exif": exif(3), **profile}),
        ("tif", "TIFF", "RGB", {"exif": exif(6)}),
        ("lzw.tif", "TIFF", "LA", {"compression": "tiff_lzw"}),
        ("jpeg.tif", "TIFF", "RGB", {"compression": "jpeg"}),
        ("big.tif", "TIFF", "RGB", {"compression": "tiff_deflate", "big_tiff": True}),
        ("bmp", "BMP", "RGB", {}),
        ("palette.bmp", "BMP", "P", {}),
        ("avif", "AVIF", "RGB", {"exif": exif(1)}),
        ("alpha.avif", "AVIF", "RGBA", profile),
        ("gif", "GIF", "P", {}),
    ):
        buffer = io.BytesIO()
        make_image(mode, size=(40, 30)).save(buffer, format, **options)
        files[extension] = buffer.getvalue()
    buffer = io.BytesIO()
    image.save(buffer, "PNG", save_all=True, append_images=[make_image(size=(40, 30), seed=1)])
    files["animated.png"] = buffer.getvalue()
    for extension, picture in (("heic", image), ("alpha.heic", make_image("RGBA", size=(40, 30)))):
        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture).save(buffer, quality=80)
        files[extension] = buffer.getvalue()
    rows = np.random.default_rng(0).integers(0, 256, (30, 241), np.uint8)
    rows[:, 0] = 0
    text = chunk(b"tEXt", b"Comment\0" + bytes(range(256)))
    files["deep.png"] = make_png(40, 30, 16, 2, rows.tobytes(), text)
    files["deep.tif"] = make_tiff(40, 30, [16] * 3, 2, rows[:, 1:].tobytes())
    return files


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Return name and content of a damaged photo."""
    rng = random.Random(f"{seed}/{number}")
    good = list(originals().items())
    extension, original = good[number % len(good)]
    data = bytearray(original)
    kinds = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kinds.append(rng.choice(("bits", "cut", "bytes", "number", "double", "move", "splice", "mark", "grow")))
        _damage(data, kinds[-1], rng, rng.choice(good)[1])
    return f"{number:04d}.{'-'.join(kinds)}.{extension}", bytes(data)


def _damage(data: bytearray, kind: str, rng: random.Random, other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    # Near the front, headers say sizes and counts; in TIFF files they stand at the end.
    near = rng.choice((rng.randrange(min(160, len(data)) + 1), at, max(0, len(data) - rng.randrange(1, 240))))
    if kind == "bits":
        for _ in range(rng.choice((1, 4, 40))):
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "bytes":
        data[at : at + rng.choice((1, 20))] = rng.randbytes(rng.choice((1, 20)))
    elif kind == "number":
        value = rng.choice((*_NUMBERS, struct.pack(rng.choice((">I", "<I")), rng.randrange(1 << 17))))
        data[near : near + len(value)] = value
    elif kind == "double":
        data[at:at] = data[at : at + rng.randrange(1, 2000)] * rng.choice((1, 1, 50))
    elif kind == "move":
        piece = data[at : at + rng.randrange(1, 200)]
        del data[at : at + len(piece)]
        place = rng.randrange(len(data) + 1)
        data[place:place] = piece
    elif kind == "splice":
        start = rng.randrange(len(other))
        data[at : at + rng.choice((0, 100))] = other[start : start + rng.randrange(1, 400)]
    elif kind == "mark":
        data[near:near] = rng.choice(_MARKS)
    else:
        data += rng.randbytes(rng.randrange(1, 4000))


def examine(seed: int, number: int, folder: Path) -> tuple[str, str]:
    """Return what became of a damaged photo, and what is wrong with that, or nothing."""
    name, data = mutant(seed, number)
    path, saved = folder / name, folder / f"{number:04d}.out.png"
    path.write_bytes(data)
    began = time.monotonic()
    try:
        photo = read_photo(path, BOUNDS)
        result = "read"
        for policy in ("strip", "strip_gps", "keep"):
            write_photo(photo, photo.pixels, saved, policy)
            again = read_photo(saved, BOUNDS)
            if not np.array_equal(again.pixels, photo.pixels):
                return "read", f"{policy}: other pixels are read than were written"
        try:
            write_photo(photo, photo.pixels, folder / f"{number:04d}.same{path.suffix}", "keep")
        except (PhotoError, ValueError) as error:
            if isinstance(error, ValueError) and "does not end like" not in str(error):
                raise
    except PhotoError as error:
        result = str(error)
        if "\n" in result or not result.endswith(".") or not result.startswith((f"{path}: ", f"{saved}: ")):
            return "refused", f"the message is {result!r}"
        result = "refused"
    except Exception:
        return "failed", traceback.format_exc()
    if (spent := time.monotonic() - began) > MOST_SECONDS:
        return result, f"it took {spent:.0f} s"
    return result, ""


def examine_many(seed: int, numbers: Iterable[int], folder: Path | None = None) -> Iterator[tuple[int, str, str]]:
    """Yield number, result and complaint of damaged photos; with good photos in between, which must be read."""
    with tempfile.TemporaryDirectory() as scratch:
        where = folder or Path(scratch)
        good = where / "good.png"
        picture = make_image(size=(40, 30))
        picture.save(good)
        for number in numbers:
            result, complaint = examine(seed, number, where)
            if not complaint and number % 50 == 0:
                complaint = _after(good, picture)
            for left in where.glob(f"{number:04d}.*"):
                if folder is None:
                    left.unlink()
            yield number, result, complaint


def _after(good: Path, picture: Image.Image) -> str:
    try:
        return "" if np.array_equal(read_photo(good, BOUNDS).pixels, np.asarray(picture)) else "a good photo differs"
    except PhotoError as error:
        return f"a good photo is refused after it: {error}"


def main() -> int:
    """Examine the photos that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    numbers = range(given.count) if given.only is None else [given.only]
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    bad = 0
    for number, result, complaint in examine_many(given.seed, numbers, given.keep):
        counts[result] = counts.get(result, 0) + 1
        if complaint:
            bad += 1
            print(f"{mutant(given.seed, number)[0]}: {complaint}", flush=True)
    print(f"{len(numbers)} photos: {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}; {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
