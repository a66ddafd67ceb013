"""Turn changed pixels into the bytes of a photo file, with nothing else of the photo lost and nothing slipped through.

Files are built from the pixels and from the metadata that a policy lets through, never copied: so no thumbnail, second
picture, gain map, comment or IPTC block of the input can come along.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import MAX_TEXT_CHUNK

from facecrypt.decoding import Photo
from facecrypt.errors import PhotoError
from facecrypt.metadata import Entries, Metadata, pack_tiff
from facecrypt.settings import MetadataPolicy

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

QUALITY = 95
"""Quality of WebP, AVIF and HEIC files that were lossy before, and the lowest of JPEG."""

_ZLIB_LEVEL = 3  # a third of the default's time, a few percent more bytes
_SHORT, _LONG = 3, 4


def encode(
    photo: Photo, pixels: npt.NDArray[np.uint8], file_format: str, metadata: MetadataPolicy, destination: Path
) -> bytes:
    """Return the bytes of a photo's file with other pixels.

    Args:
        photo: The photo as it was read.
        pixels: ``(H, W, 3)`` uint8 RGB, upright; equal channels for a grayscale photo. A photo of 16 bits per channel
            changes by the same grey levels and keeps its lower bits.
        file_format: Pillow's name of the photo's format, or ``PNG``.
        metadata: What of EXIF and XMP to keep.
        destination: The file that the bytes are for.

    Raises:
        PhotoError: If the format cannot hold the transparency, or the ICC profile could not be read back.
    """
    kept = photo._metadata.select(metadata, pixels.shape[1], pixels.shape[0])
    if file_format in ("BMP", "JPEG") and photo._alpha is not None:
        raise PhotoError(
            f"{destination}: a {file_format} file cannot keep the transparency of {photo.path}. Use format png."
        )
    if file_format == "PNG" and len(photo._icc_profile or b"") > MAX_TEXT_CHUNK:  # Pillow could not read it back
        raise PhotoError(f"{destination}: the ICC profile of {photo.path} is over 1 MiB. Convert the photo to sRGB.")
    channels = _channels(photo, pixels)
    if file_format == "TIFF":
        return _encode_tiff(channels, kept, photo._icc_profile)
    if channels.dtype == np.uint16:
        return _encode_deep_png(channels, kept, photo._icc_profile)
    image = Image.fromarray(np.ascontiguousarray(channels.squeeze(2) if channels.shape[2] == 1 else channels))
    return _encode_with_library(photo, image, file_format, kept)


def is_lossless(photo: Photo, file_format: str) -> bool:
    """Return whether `encode` writes every pixel exactly.

    Args:
        photo: The photo as it was read.
        file_format: As `encode` takes it.
    """
    return file_format in ("PNG", "TIFF", "BMP") or (file_format == "WEBP" and photo._lossless)


def _channels(photo: Photo, pixels: npt.NDArray[np.uint8]) -> Pixels:
    """Return all channels of the file, ``(H, W, 1 to 4)``."""
    colours: Pixels = pixels
    if photo._deep is not None:
        # One grey level of 255 is 257 of 65535.
        change = (pixels.astype(np.int32) - photo.pixels) * 257
        colours = (photo._deep + change).clip(0, 65535).astype(np.uint16)
    colours = colours[..., :1] if photo._grayscale else colours
    return colours if photo._alpha is None else np.concatenate([colours, photo._alpha[..., None]], axis=2)


def _encode_with_library(photo: Photo, image: Image.Image, file_format: str, kept: Metadata) -> bytes:
    exif = kept.exif_block()
    options: dict[str, Any] = {"icc_profile": photo._icc_profile}
    if exif and file_format != "BMP":
        options["exif"] = exif if file_format in ("PNG", "AVIF") else b"Exif\0\0" + exif
    if kept.xmp and file_format not in ("BMP", "PNG"):
        options["xmp"] = kept.xmp
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        if kept.xmp:
            text.add_itxt(_XMP_KEYWORD, kept.xmp.decode())
        options |= {"compress_level": _ZLIB_LEVEL, "pnginfo": text}
    elif file_format == "JPEG":
        tables = _fine_tables(photo._jpeg_tables)
        options |= {"qtables": tables, "subsampling": "4:4:4", "progressive": photo._progressive}
    elif file_format == "WEBP":
        # Quality is the effort where nothing is lost; exact keeps the colours under transparency.
        options |= {"exact": True, "quality": 50, "lossless": True} if photo._lossless else {"quality": QUALITY}
    elif file_format == "AVIF":
        # At 100 the transparency is exact.
        options |= {"quality": QUALITY if photo._alpha is None else 100}
        options |= {"subsampling": "4:0:0" if photo._grayscale else "4:4:4"}
    buffer = io.BytesIO()
    if file_format == "HEIF":
        import pillow_heif

        quality: dict[str, Any] = {"quality": QUALITY}
        if photo._alpha is not None:
            quality = {"quality": -1, "matrix_coefficients": 0}  # nothing is lost, transparency included
        if photo._icc_profile:
            image.info["icc_profile"] = photo._icc_profile
        pillow_heif.from_pillow(image).save(
            buffer, chroma=444, exif=options.get("exif"), xmp=options.get("xmp"), **quality
        )
    else:
        image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _encode_tiff(channels: Pixels, kept: Metadata, profile: bytes | None) -> bytes:
    """Return a TIFF file of one strip, packed by deflate with a predictor (TIFF 6.0 and its Photoshop supplement).

    Pillow cannot hold 16 bits per channel of colour, and OpenCV writes neither profiles nor metadata.
    """
    order = kept.order
    height, width, count = channels.shape
    differences = channels.copy()
    differences[:, 1:] -= channels[:, :-1]
    strip = zlib.compress(differences.astype(f"{order}u{channels.dtype.itemsize}").tobytes(), _ZLIB_LEVEL)
    bits = 8 * channels.dtype.itemsize
    numbers = {
        256: [width], 257: [height], 258: [bits] * count, 259: [8], 262: [2 if count > 2 else 1], 277: [count],
        278: [height], 279: [len(strip)], 284: [1], 317: [2], 273: [0],
    }  # fmt: skip
    if count in (2, 4):
        numbers[338] = [2]  # transparency, colours not multiplied by it
    main: Entries = dict(kept.main)
    for tag, values in numbers.items():
        kind, letter = (_SHORT, "H") if tag in (258, 259, 262, 277, 284, 317, 338) else (_LONG, "I")
        main[tag] = (kind, struct.pack(f"{order}{len(values)}{letter}", *values))
    if profile:
        main[34675] = (7, profile)
    if kept.xmp:
        main[700] = (1, kept.xmp)
    start = len(pack_tiff(order, main, kept))
    main[273] = (_LONG, struct.pack(f"{order}I", start))
    return pack_tiff(order, main, kept) + strip


def _encode_deep_png(channels: Pixels, kept: Metadata, profile: bytes | None) -> bytes:
    """Return a PNG file of 16 bits per channel, each row stored as its difference from the one above.

    Pillow cannot hold 16 bits per channel of colour, and OpenCV writes neither profiles nor gray with transparency.
    """
    height, width, count = channels.shape
    rows = np.frombuffer(channels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # the filter's name
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    if profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if exif := kept.exif_block():
        chunks.append((b"eXIf", exif))
    if kept.xmp:
        chunks.append((b"iTXt", _XMP_KEYWORD.encode() + bytes(5) + kept.xmp))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), _ZLIB_LEVEL)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


_XMP_KEYWORD = "XML:com.adobe.xmp"


def _fine_tables(tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return the luminance and chrominance tables that are as fine as these and as JPEG quality 95."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG", quality=QUALITY)
    buffer.seek(0)
    standard = JpegImageFile(buffer).quantization
    luminance, chrominance = tables[:1], tables[1:] or tables
    return [
        [min(steps) for steps in zip(standard[0], *luminance, strict=True)],
        [min(steps) for steps in zip(standard[1], *chrominance, strict=True)],
    ]
