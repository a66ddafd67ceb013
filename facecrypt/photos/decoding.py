"""Read a photo file: one picture, upright, with what is needed to write it back; every bad file is a PhotoError.

Headers are judged before pixels are decoded, so that a file that lies about its size costs no memory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facecrypt.errors import PhotoError
from facecrypt.photos.bombs import MAX_PIXELS, TOO_LARGE, find_bomb, webp_size, without_texts
from facecrypt.photos.colour import Colour, read_colour
from facecrypt.photos.metadata import Metadata, read_metadata
from facecrypt.system.child import lower_memory
from facecrypt.system.limits import LIBRARIES, Need, need_of, show_size
from facecrypt.system.regular import digest_regular, read_regular

_READABLE = "JPEG, PNG, WebP, TIFF, BMP, AVIF and HEIC files can be read"
_MAX_BYTES = 1 << 30  # holds MAX_PIXELS uncompressed, with transparency
_ODD_DEPTH = "stores its 16 bits per channel in a way that is not read. Save it as a plain 16-bit PNG"

# The decoders are called directly, not through Image.open: it would warn about sizes that are allowed here, refuse
# others, try every format that Pillow knows, and take a phone's JPEG with a depth map for a file of several pictures.
_DECODERS: tuple[tuple[re.Pattern[bytes], type[ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"....ftyp(?:avi[fs]|(?:mif1|msf1).{0,56}?avi[fs])", re.DOTALL), AvifImageFile),
)
_HEIC = re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_SUFFIXES: dict[type[ImageFile], str] = {
    JpegImageFile: ".jpg",
    PngImageFile: ".png",
    WebPImageFile: ".webp",
    TiffImageFile: ".tif",
    BmpImageFile: ".bmp",
    AvifImageFile: ".avif",
}
_UPRIGHT: dict[Any, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
_THREADS = min(4, os.cpu_count() or 1)


def suffix_of(beginning: bytes) -> str | None:
    """Return the usual suffix of a file by how it begins; None where it is no picture of a known format.

    Args:
        beginning: Its first 128 bytes, or all that it has.
    """
    decoder = next((decoder for pattern, decoder in _DECODERS if pattern.match(beginning)), None)
    if decoder is not None:
        return _SUFFIXES[decoder]
    if _HEIC.match(beginning):
        return ".heic"
    return ".gif" if beginning.startswith(b"GIF8") else None


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what is needed to write it back.

    Attributes:
        path: The file that it was read from.
        pixels: ``(H, W, 3)`` uint8 RGB, upright, read-only; rounded where the file has 16 bits per channel.
        digest: SHA-256 of the file, in hexadecimal digits.
    """

    path: Path
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    digest: str = ""
    _alpha: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = field(default=None, repr=False)  # (H, W), upright
    _deep: npt.NDArray[np.uint16] | None = field(default=None, repr=False)  # (H, W, 3): all bits of a 16-bit file
    _grayscale: bool = False
    _format: str = "PNG"
    _lossless: bool = True
    _progressive: bool = False
    _colour: Colour = field(default_factory=Colour, repr=False)
    _jpeg_tables: tuple[tuple[int, ...], ...] = field(default=(), repr=False)  # luminance, then the others
    _metadata: Metadata = field(default_factory=Metadata, repr=False)

    @cached_property
    def grayscale(self) -> bool:
        """Whether the three channels of `pixels` are equal, whatever the file stores."""
        return self._grayscale or bool((self.pixels == self.pixels[..., :1]).all())


def decode(path: Path, file: Path, memory: int) -> Photo:
    """Return the photo in a file, turned upright by its EXIF orientation.

    To be called where it can be ended: `facecrypt.photos.reading`.

    Args:
        path: What the photo and messages call the file.
        file: Where it is: a JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC file, whatever its extension. One picture of at
            most 200 megapixels, RGB or grayscale, of 8 bits per channel, in PNG and TIFF also 16.
        memory: Bytes that it may take from being read to being verified.

    Raises:
        PhotoError: If the file is missing, unreadable, damaged, cut short, of a kind that is not supported, or needs
            more memory.
    """
    with _opened(path, file, memory) as (image, data):
        image.load()
        return _to_photo(path, image, data)


def measure(path: Path, file: Path, memory: int) -> Need:
    """Return what the photo in a file needs by its header.

    Args:
        path: As `decode` takes it.
        file: Likewise.
        memory: Likewise.

    Raises:
        PhotoError: As `decode` raises it, as far as the header shows it.
    """
    with _opened(path, file, memory) as (image, data):
        return _need(image, data)


@contextmanager
def _opened(path: Path, file: Path, memory: int) -> Iterator[tuple[ImageFile, bytes]]:
    """Give the picture of a file, not decoded yet, and the file's bytes; whatever fails inside is the file's fault."""
    data = _read_bytes(path, file, memory)
    decoder = _decoder(path, data)
    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS
    try:
        width, height = webp_size(data)
        before = need_of(width, height, "WEBP", bits=8, alpha=False, file_bytes=len(data))
        if fault := find_bomb(data) or (width and _find_excess(width, height, before, memory)):
            raise PhotoError(f"{path}: {fault}.")
        with decoder(io.BytesIO(without_texts(data))) as image:
            need = _need(image, data)
            if fault := _find_fault(image, data) or _find_excess(image.width, image.height, need, memory):
                raise PhotoError(f"{path}: {fault}.")
            lower_memory(need.total + LIBRARIES)  # What it takes beyond that, it takes by a lie.
            yield image, data
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{path}: {TOO_LARGE}.") from error
    except MemoryError as error:
        raise PhotoError(
            f"{path}: takes more memory than its size in pixels tells, or than limits.memory allows "
            f"({show_size(memory)}). Save it anew as PNG, or raise limits.memory."
        ) from error
    except Exception as error:  # whatever a decoder raises on hostile bytes, the file is at fault
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(
            f"{path}: is damaged or cut short ({reason}). Copy it again from its source, or save it anew as PNG."
        ) from error


def _need(image: ImageFile, data: bytes) -> Need:
    return need_of(
        image.width,
        image.height,
        str(image.format),
        bits=_bits_per_channel(image, data),
        alpha=image.has_transparency_data,
        file_bytes=len(data),
    )


def _find_excess(width: int, height: int, need: Need, memory: int) -> str | None:
    if need.total <= memory:
        return None
    return (
        f"is {width}x{height} pixels, which need {show_size(need.total)} of memory to protect, more than "
        f"limits.memory allows ({show_size(memory)}). Scale it down, or raise limits.memory"
    )


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal digits; None where there is no such file to read."""
    try:
        return digest_regular(path)
    except (OSError, ValueError):
        return None


def _decoder(path: Path, data: bytes) -> type[ImageFile]:
    decoder = next((decoder for pattern, decoder in _DECODERS if pattern.match(data)), None)
    if decoder is not None:
        return decoder
    if _HEIC.match(data):
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise PhotoError(
                f"{path}: is a HEIC file, which the package pillow-heif reads. "
                "Install facecrypt[heif], or save the photo as JPEG or PNG."
            ) from error
        reader: type[ImageFile] = HeifImageFile
        return reader
    kind = "is a GIF file" if data.startswith(b"GIF8") else "is not a photo of a known format"
    raise PhotoError(f"{path}: {kind}. {_READABLE}; save it as PNG.")


def _read_bytes(path: Path, file: Path, memory: int) -> bytes:
    """Return a file's content; closed before decoding, so that no fault of a decoder can leave it open."""
    try:
        data = read_regular(file, min(_MAX_BYTES, memory))
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: there is no such file. Check its name.") from error
    except IsADirectoryError as error:
        raise PhotoError(f"{path}: is a folder, not a photo. Name a photo inside it.") from error
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise PhotoError(f"{path}: cannot be read ({error.strerror}). Check its name and your rights.") from error
        if memory >= _MAX_BYTES:
            raise PhotoError(f"{path}: {TOO_LARGE}.") from error
        raise PhotoError(
            f"{path}: is a larger file than limits.memory allows ({show_size(memory)}). Scale it down, or raise "
            "limits.memory."
        ) from error
    if not data:
        raise PhotoError(f"{path}: is empty (0 bytes). Copy it again from its source.")
    return data


def _find_fault(image: ImageFile, data: bytes) -> str | None:
    """Return why a photo of this kind is refused, judged from its header alone."""
    if image.width * image.height > MAX_PIXELS:
        return TOO_LARGE
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return f"holds {frames} pictures (an animation or pages). Only one is allowed; save the one you want as PNG"
    if image.mode == "CMYK":
        return "has CMYK colours, for printing. RGB and grayscale are allowed; convert it to RGB"
    bits = _bits_per_channel(image, data)
    if bits > 8 and not (bits == 16 and isinstance(image, PngImageFile | TiffImageFile)):
        return (
            f"has {bits} bits per channel, more than 8 bits per channel, which would be lost. Save it with 8 bits per "
            "channel, or with 16 as PNG or TIFF"
        )
    if bits > 8 and "transparency" in image.info:
        return _ODD_DEPTH
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", *_DEEP_GRAY):
        return f"has {image.mode} colours. RGB and grayscale are allowed; convert it to RGB"
    return None


_DEEP_GRAY = ("I;16", "I;16B")
_ROUNDED = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)  # 16 bits to 8


def _bits_per_channel(image: ImageFile, data: bytes) -> int:
    if isinstance(image, TiffImageFile):
        if image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] != 1:
            return 32  # signed or floating-point numbers
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    if isinstance(image, PngImageFile):
        return 16 if data[_PNG_BITS] == 16 else 8  # Pillow reads 16-bit colour PNGs as 8-bit modes
    if isinstance(image, AvifImageFile):
        # Pillow rounds to 8 bits in silence. The codec's box says: bit 6 for 10 bits, with bit 5 for 12.
        flags = [data[found.end() + 2] for found in re.finditer(rb"av1C(?=...)", data[:_BOXES], re.DOTALL)]
        return 8 + 2 * any(flag & 0x40 for flag in flags) + 2 * any(flag & 0x60 == 0x60 for flag in flags)
    return int(image.info.get("bit_depth", 8)) if image.format == "HEIF" else 8


_SAMPLE_FORMAT = 339
_BOXES = 1 << 20  # the boxes that describe a picture come before its data


def _to_photo(path: Path, image: ImageFile, data: bytes) -> Photo:
    """Return the photo of a decoded image."""
    deep = _bits_per_channel(image, data) == 16
    if deep:
        channels, grayscale = _deep_channels(path, image, data)
        alpha = channels.shape[2] in (2, 4)
    else:
        grayscale = image.mode in ("1", "L", "LA") or (isinstance(image, AvifImageFile) and _is_gray_avif(data))
        alpha = image.has_transparency_data
        mode = ("LA" if alpha else "L") if grayscale else ("RGBA" if alpha else "RGB")
        converted: Image.Image = image if image.mode == mode else image.convert(mode)
        channels = np.asarray(converted).reshape(converted.height, converted.width, -1)
    turn = _UPRIGHT.get(_orientation(image))
    channels = channels if turn is None else turn(channels)
    colours = np.repeat(channels[..., :1], 3, axis=2) if grayscale else np.ascontiguousarray(channels[..., :3])
    pixels = _ROUNDED[colours] if deep else np.asarray(colours, np.uint8)
    pixels.setflags(write=False)
    tables = getattr(image, "quantization", {})
    return Photo(
        path=path,
        pixels=pixels,
        digest=hashlib.sha256(data).hexdigest(),
        _alpha=channels[..., -1].copy() if alpha else None,
        _deep=colours if deep else None,
        _grayscale=grayscale,
        _format=str(image.format),
        _lossless=_is_lossless(image, data),
        _progressive=bool(image.info.get("progressive")),
        _colour=read_colour(image, data),
        _jpeg_tables=tuple(tuple(tables[key]) for key in sorted(tables)),
        _metadata=_metadata(image, data),
    )


def _deep_channels(path: Path, image: ImageFile, data: bytes) -> tuple[npt.NDArray[np.uint16], bool]:
    """Return all bits of a 16-bit picture, ``(H, W, 1 to 4)``, and whether it is grayscale.

    Pillow holds them for gray alone. OpenCV reads colour, and Pillow's high bytes tell whether it read it right.
    """
    if image.mode in _DEEP_GRAY:
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) != _BLACK_IS_ZERO:
            raise PhotoError(f"{path}: {_ODD_DEPTH}.")
        gray = np.asarray(image).astype(np.uint16)
        return gray[..., None], True
    import cv2

    high = np.asarray(image, np.uint8)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.shape != high.shape:
        raise PhotoError(f"{path}: {_ODD_DEPTH}.")
    order = [2, 1, 0, 3][: high.shape[2]]
    channels = np.asarray(read[..., order], np.uint16)
    if not np.array_equal(channels >> 8, high):
        raise PhotoError(f"{path}: {_ODD_DEPTH}.")
    grayscale = isinstance(image, PngImageFile) and data[_PNG_BITS + 1] == _GRAY_AND_ALPHA
    return np.ascontiguousarray(channels[..., [0, 3]] if grayscale else channels), grayscale


_PHOTOMETRIC = 262
_BLACK_IS_ZERO = 1
_PNG_BITS = 24  # where PNG's header says the bits per channel, and after them the colour type
_GRAY_AND_ALPHA = 4


def _is_gray_avif(data: bytes) -> bool:
    found = re.search(rb"av1C(?=...)", data[:_BOXES], re.DOTALL)
    return found is not None and bool(data[found.end() + 2] & 0x10)


def _is_lossless(image: ImageFile, data: bytes) -> bool:
    if isinstance(image, WebPImageFile):
        # Chunks follow each other; the one with the picture is VP8L without loss, VP8 with.
        place = 12
        while place + 8 <= len(data):
            name, size = struct.unpack_from("<4sI", data, place)
            if name in (b"VP8 ", b"VP8L"):
                return bool(name == b"VP8L")
            place += 8 + size + size % 2
        return True
    return image.format not in ("JPEG", "AVIF", "HEIF")


def _metadata(image: ImageFile, data: bytes) -> Metadata:
    """Return what may be kept of a file's EXIF and XMP."""
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    tiff = data if isinstance(image, TiffImageFile) else exif if isinstance(exif, bytes) else b""
    return read_metadata(tiff, xmp if isinstance(xmp, bytes) else b"")


def _orientation(image: ImageFile) -> Any:
    """Return the EXIF orientation, 1 to 8; any other value is to be ignored."""
    if image.format == "HEIF":
        return 1  # the decoder turned it
    try:
        if image.format == "AVIF":  # the container's turn alone counts, which Pillow puts into EXIF; XMP does not
            tags = Image.Exif()
            tags.load(image.info.get("exif", b""))
            return tags.get(ExifTags.Base.Orientation)
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF does not hide a photo: every viewer shows it as it is stored
        return None
