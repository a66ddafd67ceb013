"""Photos: find them, read them upright, and write them back with nothing else changed.

A photo is written losslessly (as PNG by default), because only a lossless file can promise that no pixel outside
the faces changes and that the mask stays within its bound. `same` keeps the input's format: PNG, TIFF, BMP and
WebP are then still lossless, JPEG is not, so the exact promises do not hold for JPEG.

What is kept: size, the ICC profile, transparency bit by bit, grayscale. What is dropped: EXIF (with its position and
its thumbnail, which shows the unprotected face), XMP, comments. A palette becomes RGB: it cannot hold the mask.
"""

from __future__ import annotations

import glob
import io
import os
import re
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facecrypt.errors import PhotoError
from facecrypt.settings import PhotoFormat

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
# Found in folders too, so that the run names them as left out and does not pass over them in silence.
_PICTURES = (*_FORMATS, ".gif", ".heic", ".heif", ".avif")
_READABLE = "JPEG, PNG, WebP, TIFF and BMP files can be read"
_MAX_PIXELS = 200_000_000
_MAX_BYTES = 1 << 30  # holds _MAX_PIXELS uncompressed, with transparency
# Pillow itself stops earlier for the two formats whose decoders check.
_TOO_LARGE = "is too large. At most 200 megapixels are read (TIFF and WebP: 178); scale it down"

# The decoders are called directly, not through Image.open: it would warn about sizes that are allowed here, refuse
# others, try every format that Pillow knows, and take a phone's JPEG with a depth map for a file of several pictures.
_DECODERS: tuple[tuple[re.Pattern[bytes], type[ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    (re.compile(rb"BM"), BmpImageFile),
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WARNING_FILTERS = threading.Lock()


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what is needed to write it back.

    Attributes:
        path: The file that it was read from.
        pixels: ``(H, W, 3)`` uint8 RGB, upright, read-only.
    """

    path: Path
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    _alpha: npt.NDArray[np.uint8] | None = field(default=None, repr=False)  # (H, W), upright
    _grayscale: bool = False
    _format: str = "PNG"
    _icc_profile: bytes | None = field(default=None, repr=False)
    _jpeg_tables: tuple[tuple[int, ...], ...] = field(default=(), repr=False)  # luminance, then the others

    @property
    def grayscale(self) -> bool:
        """Whether the three channels of `pixels` are equal, whatever the file stores."""
        return self._grayscale or bool((self.pixels == self.pixels[..., :1]).all())


def find_photos(where: str) -> list[Path]:
    """Return the photos that a file name, a folder or a glob names, sorted.

    Args:
        where: A file (returned whatever its extension), a folder (the photos directly inside), or a glob, in which
            ``**`` stands for any depth of folders. Hidden files are ignored unless named.

    Returns:
        At least one path.

    Raises:
        PhotoError: If nothing is there, nothing there is a photo, or a folder cannot be read.
    """
    path = Path(os.path.expanduser(where))
    try:
        if path.is_dir():
            candidates = [child for child in path.iterdir() if not child.name.startswith(".")]
        elif path.exists():
            return [path]
        elif set("*?[") & set(where):
            candidates = [Path(match) for match in glob.iglob(str(path), recursive=True)]
        else:
            raise PhotoError(f"{where}: there is no such file or folder. Name a photo, a folder or a glob.")
        photos = sorted({item for item in candidates if item.suffix.lower() in _PICTURES and item.is_file()})
    except OSError as error:
        raise PhotoError(f"{where}: cannot be read ({error.strerror}). Check its name and your rights.") from error
    if not photos:
        raise PhotoError(
            f"{where}: no photos found. A photo ends in {', '.join(_FORMATS)}; "
            "name a photo, a folder that holds some, or a glob such as 'photos/**/*.jpg'."
        )
    return photos


def read_photo(path: Path) -> Photo:
    """Return the photo in a file, turned upright by its EXIF orientation.

    Args:
        path: A JPEG, PNG, WebP, TIFF or BMP file, whatever its extension: one picture of 8 bits per channel, RGB or
            grayscale, of at most 200 megapixels.

    Raises:
        PhotoError: If the file is missing, unreadable, damaged, cut short, or of a kind that is not supported.
    """
    data = _read_bytes(path)
    decoder = next((decoder for pattern, decoder in _DECODERS if pattern.match(data)), None)
    if decoder is None:
        kind = "is a GIF file" if data.startswith(b"GIF8") else "is not a photo of a known format"
        raise PhotoError(f"{path}: {kind}. {_READABLE}; save it as PNG.")
    try:
        with _quiet_pillow(), decoder(io.BytesIO(data)) as image:
            if fault := _find_fault(image):
                raise PhotoError(f"{path}: {fault}.")
            image.load()
            return _to_photo(path, image)
    except PhotoError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise PhotoError(f"{path}: {_TOO_LARGE}.") from error
    except Exception as error:  # whatever a decoder raises on hostile bytes, the file is at fault
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(
            f"{path}: is damaged or cut short ({reason}). Copy it again from its source, or save it anew as PNG."
        ) from error


def output_path(photo_path: Path, folder: Path, format: PhotoFormat) -> Path:
    """Return where the protected version of a photo goes; two photos may share one path.

    Args:
        photo_path: The photo; it need not exist.
        folder: The folder to write to.
        format: ``png`` for a lossless ``<stem>.png``, ``same`` for the photo's own name.

    Raises:
        ValueError: If the format is another.
    """
    if format not in ("png", "same"):
        raise ValueError(f"format: {format!r} is not known. Allowed: 'png', 'same'.")
    return folder / (f"{photo_path.stem}.png" if format == "png" else photo_path.name)


def write_photo(photo: Photo, pixels: npt.NDArray[np.uint8], destination: Path) -> None:
    """Write changed pixels as a file that keeps the photo's transparency, ICC profile and grayscale.

    The file appears whole or not at all. A destination that ends in ``.png`` becomes a PNG file, any other the
    photo's own format: lossless, but for JPEG (4:4:4, at least quality 95 and never coarser than the input).

    Args:
        photo: The photo as it was read.
        pixels: ``(H, W, 3)`` uint8 RGB, upright, of the photo's size; equal channels for a grayscale photo.
        destination: The file to write or replace; its folder is created. Never the photo itself.

    Raises:
        ValueError: If the pixels do not fit the photo, or the destination's extension names another format.
        PhotoError: If the file cannot be written, would replace the input, or cannot hold the transparency or profile.
    """
    data = _encode(photo, pixels, destination)
    temporary = destination.parent / f".facecrypt-{uuid.uuid4().hex}.tmp"
    try:
        if _is_same_file(photo.path, destination):
            raise PhotoError(f"{destination}: is the input photo itself. Choose another output folder.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, destination)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise PhotoError(
            f"{destination}: cannot be written ({error.strerror}). "
            "Check the name, the free space and your rights, or choose another output folder."
        ) from error


def _read_bytes(path: Path) -> bytes:
    """Return a file's content; closed before decoding, so that no fault of a decoder can leave it open."""
    try:
        if path.is_dir():
            raise PhotoError(f"{path}: is a folder, not a photo. Name a photo inside it.")
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise PhotoError(f"{path}: is not a regular file. Copy the photo into one.")
        if path.stat().st_size > _MAX_BYTES:
            raise PhotoError(f"{path}: {_TOO_LARGE}.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: there is no such file. Check its name.") from error
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({error.strerror}). Check its name and your rights.") from error
    if not data:
        raise PhotoError(f"{path}: is empty (0 bytes). Copy it again from its source.")
    return data


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings about odd metadata, one thread at a time: the filters belong to the process."""
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _find_fault(image: ImageFile) -> str | None:
    """Return why a photo of this kind is refused, judged from its header alone."""
    if image.width * image.height > _MAX_PIXELS:
        return _TOO_LARGE
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return f"holds {frames} pictures (an animation or pages). Only one is allowed; save the one you want as PNG"
    if image.mode == "CMYK":
        return "has CMYK colours, for printing. RGB and grayscale are allowed; convert it to RGB"
    if _bits_per_channel(image) > 8:
        return "has more than 8 bits per channel, which would be lost. Save it with 8 bits per channel"
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        return f"has {image.mode} colours. RGB and grayscale are allowed; convert it to RGB"
    return None


def _bits_per_channel(image: ImageFile) -> int:
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    # Pillow reads 16-bit colour PNGs as 8-bit modes; only the layout that it expects of the data tells.
    return 16 if isinstance(image, PngImageFile) and str(image.tile[0].args).endswith(";16B") else 8


def _to_photo(path: Path, image: ImageFile) -> Photo:
    """Return the photo of a decoded image."""
    grayscale = image.mode in ("1", "L", "LA")
    alpha = image.has_transparency_data
    mode = ("LA" if alpha else "L") if grayscale else ("RGBA" if alpha else "RGB")
    upright: Image.Image = image if image.mode == mode else image.convert(mode)
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        upright = upright.transpose(turn)
    channels = np.asarray(upright).reshape(upright.height, upright.width, -1)
    pixels = np.repeat(channels[..., :1], 3, axis=2) if grayscale else np.ascontiguousarray(channels[..., :3])
    pixels.setflags(write=False)
    profile = image.info.get("icc_profile")
    tables = getattr(image, "quantization", {})
    return Photo(
        path=path,
        pixels=pixels,
        _alpha=channels[..., -1].copy() if alpha else None,
        _grayscale=grayscale,
        _format=str(image.format),
        _icc_profile=profile if isinstance(profile, bytes) else None,  # damaged TIFF tags hold other things
        _jpeg_tables=tuple(tuple(tables[key]) for key in sorted(tables)),
    )


def _orientation(image: ImageFile) -> Any:
    """Return the EXIF orientation, 1 to 8; any other value is to be ignored."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF does not hide a photo: every viewer shows it as it is stored
        return None


def _encode(photo: Photo, pixels: npt.NDArray[np.uint8], destination: Path) -> bytes:
    """Return the bytes of the file; built from the pixels alone, so that no metadata can slip through."""
    if pixels.shape != photo.pixels.shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels: {pixels.shape} {pixels.dtype} do not fit {photo.path}. Allowed: {photo.pixels.shape} uint8."
        )
    if photo.grayscale and not (pixels == pixels[..., :1]).all():
        raise ValueError(f"pixels: the channels differ, but {photo.path} is grayscale. Allowed: equal channels.")
    suffix = destination.suffix.lower()
    file_format = "PNG" if suffix == ".png" else photo._format
    if _FORMATS.get(suffix) != file_format and suffix != photo.path.suffix.lower():
        raise ValueError(f"destination: {destination} does not end like a {file_format} file. Allowed: .png as well.")
    if file_format == "BMP" and photo._alpha is not None:
        raise PhotoError(f"{destination}: a BMP file cannot keep the transparency of {photo.path}. Use format png.")
    if file_format == "PNG" and len(photo._icc_profile or b"") > MAX_TEXT_CHUNK:  # Pillow could not read it back
        raise PhotoError(f"{destination}: the ICC profile of {photo.path} is over 1 MiB. Convert the photo to sRGB.")

    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if photo._grayscale else pixels))
    if photo._alpha is not None:
        image.putalpha(Image.fromarray(photo._alpha))
    options: dict[str, dict[str, Any]] = {
        "PNG": {"compress_level": 3},  # a third of the default's time, a few percent more bytes
        "WEBP": {"lossless": True, "exact": True, "quality": 50},  # quality: effort; exact: colours under transparency
        "TIFF": {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}},  # predictor: differences along each row
        "JPEG": {"qtables": _fine_tables(photo._jpeg_tables), "subsampling": "4:4:4"},
    }
    buffer = io.BytesIO()
    image.save(buffer, file_format, icc_profile=photo._icc_profile, **options.get(file_format, {}))
    return buffer.getvalue()


def _fine_tables(tables: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return the luminance and chrominance tables that are as fine as these and as JPEG quality 95."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG", quality=95)
    buffer.seek(0)
    standard = JpegImageFile(buffer).quantization
    luminance, chrominance = tables[:1], tables[1:] or tables
    return [
        [min(steps) for steps in zip(standard[0], *luminance, strict=True)],
        [min(steps) for steps in zip(standard[1], *chrominance, strict=True)],
    ]


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # one of them does not exist
        return False
