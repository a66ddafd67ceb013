"""Turn changed pixels into the bytes of a photo file, with nothing else of the photo lost and nothing slipped through.

Files are built from the pixels and from the metadata that a policy lets through, never copied: so no thumbnail, second
picture, gain map, comment or IPTC block of the input can come along.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from facecrypt.choices import MetadataPolicy
from facecrypt.errors import PhotoError
from facecrypt.photos.colour import Colour
from facecrypt.photos.containers import make_bmp, png_chunk, with_nclx, with_png_chunks
from facecrypt.photos.decoding import Photo
from facecrypt.photos.exif_tags import LONG, RATIONAL, SHORT
from facecrypt.photos.icc import ProfileError, is_gray
from facecrypt.photos.metadata import Metadata

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

QUALITY = 95
"""Quality of WebP, AVIF and HEIC files that were lossy before, and the lowest of JPEG."""

_ZLIB_LEVEL = 3  # a third of the default's time, a few percent more bytes


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
        PhotoError: If the format cannot hold the transparency or the colours.
    """
    height, width = pixels.shape[:2]
    kept = photo._metadata.select(metadata, width, height, tiff=photo._colour.container == file_format == "TIFF")
    if file_format in ("BMP", "JPEG") and photo._alpha is not None:
        raise PhotoError(
            f"{destination}: a {file_format} file cannot keep the transparency of {photo.path}. Use format png."
        )
    try:
        colour = photo._colour.said_in(file_format, gray=photo._grayscale, adobe_rgb=photo._metadata.exif.is_adobe_rgb)
    except ProfileError as error:
        raise PhotoError(
            f"{destination}: the colours of {photo.path} cannot be kept ({error}). Convert the photo to sRGB."
        ) from error
    channels = _channels(photo, pixels)
    if file_format == "TIFF":
        return _encode_tiff(channels, kept, colour)
    moved = file_format != photo._colour.container
    if moved and file_format == "PNG" and photo._grayscale and colour.profile and not is_gray(colour.profile):
        # Readers use no profile of RGB for one channel of a PNG file, as they do for that of a JPEG file.
        channels = np.concatenate([channels[..., :1].repeat(2, axis=2), channels], axis=2)
    if channels.dtype == np.uint16:
        return _encode_deep_png(channels, kept, colour)
    if file_format == "BMP" and (colour.profile or colour.fields):
        density = colour.density.per_metre() if colour.density else (0, 0)
        return make_bmp(channels.astype(np.uint8), density, colour.fields, colour.profile)
    image = Image.fromarray(np.ascontiguousarray(channels.squeeze(2) if channels.shape[2] == 1 else channels))
    return _encode_with_library(photo, image, file_format, kept, colour)


def display_profile(photo: Photo) -> bytes | None:
    """Return an ICC profile by which a photo's pixels, as RGB, are shown as its file is; None for sRGB, or if none can.

    Args:
        photo: The photo as it was read.
    """
    try:
        return photo._colour.said_in("", gray=False, adobe_rgb=photo._metadata.exif.is_adobe_rgb).profile
    except ProfileError:
        return None


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


def _encode_with_library(photo: Photo, image: Image.Image, file_format: str, kept: Metadata, colour: Colour) -> bytes:
    # Pillow's AVIF encoder would pack a block with an orientation anew, without the types that it does not know.
    block = kept.exif.without_orientation() if file_format == "AVIF" else kept.exif
    exif = block.pack() if block else b""
    options: dict[str, Any] = {"icc_profile": colour.profile}
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
        if colour.cicp:
            quality |= {"color_primaries": colour.cicp[0], "transfer_characteristics": colour.cicp[1]}
        if colour.profile:
            image.info["icc_profile"] = colour.profile
        pillow_heif.from_pillow(image).save(
            buffer, chroma=444, exif=options.get("exif"), xmp=options.get("xmp"), **quality
        )
    else:
        if file_format == "BMP" and colour.density:
            options["dpi"] = tuple(value * 0.0254 for value in colour.density.per_metre())
        image.save(buffer, file_format, **options)
    data = buffer.getvalue()
    if file_format == "PNG":
        data = with_png_chunks(data, _own_chunks(colour))
    elif file_format == "AVIF" and colour.cicp:
        data = with_nclx(data, colour.cicp)
    elif file_format == "JPEG" and colour.density and data[6:11] == b"JFIF\0":
        data = data[:13] + colour.density.as_jfif() + data[18:]
    return data


def _own_chunks(colour: Colour) -> list[tuple[bytes, bytes]]:
    """Return the chunks in which a PNG file says its colours and density, but for the ICC profile."""
    chunks = list(colour.chunks.items())
    return [*chunks, (b"pHYs", colour.density.as_phys())] if colour.density else chunks


def _encode_tiff(channels: Pixels, kept: Metadata, colour: Colour) -> bytes:
    """Return a TIFF file of one strip, packed by deflate with a predictor (TIFF 6.0 and its Photoshop supplement).

    Pillow cannot hold 16 bits per channel of colour, and OpenCV writes neither profiles nor metadata.
    """
    order = kept.exif.order
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
    main = dict(kept.exif.main)
    if colour.density:
        x, y, unit = colour.density.as_tiff()
        for tag, value in ((282, x), (283, y)):
            main.setdefault(tag, (RATIONAL, struct.pack(f"{order}II", value.numerator, value.denominator)))
        main.setdefault(296, (SHORT, struct.pack(f"{order}H", unit)))
    for tag, values in numbers.items():
        kind, letter = (SHORT, "H") if tag in (258, 259, 262, 277, 284, 317, 338) else (LONG, "I")
        main[tag] = (kind, struct.pack(f"{order}{len(values)}{letter}", *values))
    if colour.profile:
        main[34675] = (7, colour.profile)
    if kept.xmp:
        main[700] = (1, kept.xmp)
    start = len(replace(kept.exif, main=main).pack())
    main[273] = (LONG, struct.pack(f"{order}I", start))
    return replace(kept.exif, main=main).pack() + strip


def _encode_deep_png(channels: Pixels, kept: Metadata, colour: Colour) -> bytes:
    """Return a PNG file of 16 bits per channel, each row stored as its difference from the one above.

    Pillow cannot hold 16 bits per channel of colour, and OpenCV writes neither profiles nor gray with transparency.
    """
    height, width, count = channels.shape
    rows = np.frombuffer(channels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # the filter's name
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), *_own_chunks(colour)]
    if colour.profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(colour.profile)))
    if kept.exif:
        chunks.append((b"eXIf", kept.exif.pack()))
    if kept.xmp:
        chunks.append((b"iTXt", _XMP_KEYWORD.encode() + bytes(5) + kept.xmp))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), _ZLIB_LEVEL)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)


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
