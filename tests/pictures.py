"""Picture files of every kind, made by hand or by libraries that share no code with the package."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

DATA = Path(__file__).parents[1] / "facecrypt" / "data"

# What NumPy does to bring an image of each EXIF orientation upright, written from the EXIF standard.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
MODES = {
    "png": ["RGB", "L", "LA", "RGBA", "P", "P+t", "P+tt", "RGB+t", "L+t", "1"],
    "jpg": ["RGB", "L"],
    "webp": ["RGB", "RGBA"],
    "tif": ["RGB", "L", "LA", "RGBA", "P", "PA", "1"],
    "bmp": ["RGB", "L", "P", "1"],
}
KINDS = [(extension, mode) for extension, modes in MODES.items() for mode in modes]
ORIENTED = [(*kind, turn) for kind in KINDS for turn in (UPRIGHT if kind[0] != "bmp" else [1])]  # BMP has no EXIF
LOSSLESS = {"lossless": True, "exact": True}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_image(mode: str = "RGB", size: tuple[int, int] = (13, 9), seed: int = 0) -> Image.Image:
    """Noise of a mode; ``+t`` adds a transparent colour, ``+tt`` an alpha value for each palette entry."""
    width, height = size
    rng = np.random.default_rng(seed)
    mode, _, transparency = mode.partition("+")
    if mode in ("P", "PA"):
        image = Image.fromarray(rng.integers(0, 256, (height, width), np.uint8), "L")
        image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
        if mode == "PA":
            image = Image.merge("PA", (image, Image.fromarray(rng.integers(0, 256, (height, width), np.uint8))))
            image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    elif mode == "1":
        image = Image.fromarray(rng.integers(0, 2, (height, width), np.uint8) * np.uint8(255)).convert("1")
    else:
        bands = len(Image.new(mode, (1, 1)).getbands())
        array = rng.integers(0, 256, (height, width, bands), np.uint8)
        image = Image.fromarray(array.squeeze(2) if bands == 1 else array)
    if transparency == "t":
        image.info["transparency"] = image.getpixel((3, 2))
    elif transparency:
        image.info["transparency"] = rng.integers(0, 256, 256, np.uint8).tobytes()
    return image


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    """Save an image in the format of the extension, without loss where it can be."""
    if path.suffix == ".webp":
        options |= LOSSLESS
    image.save(path, **options)
    return path


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def make_photo(tmp_path: Path, extension: str = "png", mode: str = "RGB", orientation: int = 1) -> Path:
    options: dict[str, Any] = {} if extension == "bmp" else {"exif": exif(orientation)}
    return save(tmp_path / f"photo.{extension}", make_image(mode), **options)


def opened(path: Path) -> Image.Image:
    """What a plain decoder sees in a file."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


def add_thumbnail(block: bytes, thumbnail: bytes) -> bytes:
    """EXIF bytes with a thumbnail where cameras put it: in a second directory, which the first one points to."""
    tiff = block.removeprefix(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    link = 10 + 12 * struct.unpack_from(f"{order}H", tiff, 8)[0]
    directory = struct.pack(f"{order}HHHIIHHIII", 2, 513, 4, 1, len(tiff) + 30, 514, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0" + tiff[:link] + struct.pack(f"{order}I", len(tiff)) + tiff[link + 4 :] + directory + thumbnail


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def make_png(width: int, height: int, bits: int, colour: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    """PNG bytes by hand: Pillow cannot write colour of 16 bits, nor a header without its data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def make_tiff(width: int, height: int, bits: list[int], colour: int, data: bytes = b"", planar: int = 1) -> bytes:
    """Uncompressed little-endian TIFF bytes by hand, as one strip or one for each plane."""
    planes = len(bits) if planar == 2 else 1
    tags = {256: [width], 257: [height], 258: bits, 259: [1], 262: [colour], 277: [len(bits)], 284: [planar]}
    start = 8 + 2 + 12 * (len(tags) + 3) + 4
    extra = b"".join(struct.pack("<I", value) for values in (bits,) * 3 for value in values)
    strips = [start + len(extra) + i * len(data) // planes for i in range(planes)]
    tags |= {273: strips, 278: [height], 279: [len(data) // planes] * planes}
    entries, blob = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            blob, packed = blob + packed, struct.pack("<I", start + len(blob))
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + blob.ljust(len(extra), b"\0") + data


def written(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


SHEET_COLUMNS, SHEET_STEP = 6, 170
PACK = Path(__file__).parents[1] / "facecrypt" / "data"


def sheet_people(count: int) -> list[str]:
    """Who is on a contact sheet, from left to right and from top to bottom; the last one is real."""
    return [path.parent.name for path in _sheet_files(count)] + ["astronaut"]


def contact_sheet(count: int) -> Image.Image:
    """A photo of many faces: people of the virtual pack, without the photo of each that is aimed at, and a real one."""
    pictures = [Image.open(path) for path in _sheet_files(count)]
    pictures.append(Image.open(PACK / "sample" / "astronaut.png").convert("RGB").crop((144, 30, 304, 190)))
    rows = -(-count // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_STEP, rows * SHEET_STEP), "gray")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % SHEET_COLUMNS * SHEET_STEP, number // SHEET_COLUMNS * SHEET_STEP))
    return sheet


def _sheet_files(count: int) -> list[Path]:
    return sorted((PACK / "virtual_targets").glob("*/[123].png"))[: count - 1]
