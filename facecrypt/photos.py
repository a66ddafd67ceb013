"""Photos: find them, name what becomes of them, and write them so that each file is whole or as it was.

`facecrypt.decoding` reads a file, `facecrypt.encoding` makes one; docs/photos.md says what happens to a photo.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecrypt.decoding import Photo, file_digest, read_photo
from facecrypt.encoding import encode, is_lossless
from facecrypt.errors import PhotoError
from facecrypt.naming import output_path
from facecrypt.private_files import sweep, write_whole
from facecrypt.private_files import unfinished as _temporary
from facecrypt.settings import MetadataPolicy

__all__ = [
    "FORMATS",
    "Photo",
    "read_photo",
    "as_format",
    "write_photo",
    "write_bytes",
    "find_photos",
    "output_path",
    "file_digest",
    "sweep",
]

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""Extensions of photos, and Pillow's name of the format of each."""

# Found in folders too, so that the run names them as left out and does not pass over them in silence.
_PICTURES = (*FORMATS, ".gif")


def find_photos(where: str, *, recursive: bool = False) -> list[Path]:
    """Return the photos that a file name, a folder or a glob names, sorted.

    Args:
        where: A file (returned whatever its extension), a folder, or a glob, in which ``**`` stands for any depth of
            folders. Hidden files and folders are ignored unless named.
        recursive: Whether a folder stands for the photos in its subfolders, too, or for those directly inside.

    Returns:
        At least one path.

    Raises:
        PhotoError: If nothing is there, nothing there is a photo, or a folder cannot be read.
    """
    path = Path(os.path.expanduser(where))
    try:
        if path.is_dir():
            candidates = _walk(path) if recursive else [child for child in path.iterdir() if not _is_hidden(child.name)]
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
            f"{where}: no photos found. A photo ends in {', '.join(FORMATS)}; "
            "name a photo, a folder that holds some, or a glob such as 'photos/**/*.jpg'."
        )
    return photos


def _walk(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [Path(parent) / name for name in files if not _is_hidden(name)]
    return found


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def write_photo(
    photo: Photo,
    pixels: npt.NDArray[np.uint8],
    destination: Path,
    metadata: MetadataPolicy = "strip",
    *,
    backup: Path | None = None,
    announce: Callable[[str], None] | None = None,
) -> str:
    """Write changed pixels as a file that keeps the photo's transparency, ICC profile and grayscale.

    The file appears whole or not at all. A destination that ends in ``.png`` becomes a PNG file, any other the
    photo's own format.

    Args:
        photo: The photo as it was read.
        pixels: ``(H, W, 3)`` uint8 RGB, upright, of the photo's size; equal channels for a grayscale photo.
        destination: The file to write or replace; its folder is created. Never the photo itself without a backup.
        metadata: What of EXIF and XMP to keep.
        backup: Where the photo that is replaced stays as it was; its folder is created. An existing file there is
            never replaced.
        announce: Called with the SHA-256 of the file just before it appears, and before the backup is made.

    Returns:
        How the file was written: ``lossless PNG``, ``lossy JPEG``, ...

    Raises:
        ValueError: If the pixels do not fit the photo, or the destination's extension names another format.
        PhotoError: If the file cannot be written, would replace the input, or cannot hold the transparency or profile.
    """
    file_format = _check(photo, pixels, destination)
    data = encode(photo, pixels, file_format, metadata, destination)
    in_place = _is_same_file(photo.path, destination)
    if in_place and backup is None:
        raise PhotoError(f"{destination}: is the input photo itself. Choose another output folder.")

    def prepare(temporary: Path) -> None:
        if in_place:
            shutil.copymode(photo.path, temporary)
        if announce:
            announce(hashlib.sha256(data).hexdigest())
        if in_place and backup:
            _keep_original(photo, backup)

    write_bytes(data, destination, prepare)
    return f"{'lossless' if is_lossless(photo, file_format) else 'lossy'} {file_format}"


def as_format(photo: Photo, destination: Path) -> Photo:
    """Return a photo that `write_photo` writes in the format of a file name's extension, without loss where it can.

    Args:
        photo: The photo, of any format.
        destination: The file name.

    Raises:
        PhotoError: If the extension is that of no format that can be written.
    """
    file_format = FORMATS.get(destination.suffix.lower())
    if file_format is None:
        raise PhotoError(f"{destination}: ends in no known extension. Allowed: {', '.join(FORMATS)}.")
    if file_format == photo._format:
        return photo
    if file_format == "HEIF" and find_spec("pillow_heif") is None:
        raise PhotoError(f"{destination}: HEIC files need pillow-heif. Install facecrypt[heif], or save as PNG.")
    deep = photo._deep if file_format in ("PNG", "TIFF") else None
    return replace(photo, _format=file_format, _lossless=True, _deep=deep)


def write_bytes(data: bytes, destination: Path, prepare: Callable[[Path], None] = lambda temporary: None) -> None:
    """Write a file at once or not at all, creating its folder.

    Args:
        data: Its content.
        destination: The file to write or replace.
        prepare: Called with the finished temporary file just before it takes its place.

    Raises:
        PhotoError: If it cannot be written.
    """
    try:
        write_whole(destination, [data], prepare)
    except OSError as error:
        raise PhotoError(
            f"{destination}: cannot be written ({error.strerror}). "
            "Check the name, the free space and your rights, or choose another output folder."
        ) from error


def _check(photo: Photo, pixels: npt.NDArray[np.uint8], destination: Path) -> str:
    """Return the format in which a destination is written."""
    if pixels.shape != photo.pixels.shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels: {pixels.shape} {pixels.dtype} do not fit {photo.path}. Allowed: {photo.pixels.shape} uint8."
        )
    if photo.grayscale and not (pixels == pixels[..., :1]).all():
        raise ValueError(f"pixels: the channels differ, but {photo.path} is grayscale. Allowed: equal channels.")
    suffix = destination.suffix.lower()
    file_format = "PNG" if suffix == ".png" else photo._format
    if FORMATS.get(suffix) != file_format and suffix != photo.path.suffix.lower():
        raise ValueError(f"destination: {destination} does not end like a {file_format} file. Allowed: .png as well.")
    return file_format


def _keep_original(photo: Photo, backup: Path) -> None:
    """Let a photo's file stay under a second name, at once or not at all."""
    if file_digest(photo.path) != photo.digest:
        raise PhotoError(f"{photo.path}: was changed while it was being protected; it stays as it is. Run again.")
    backup.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(photo.path, backup)
    except FileExistsError:
        if file_digest(backup) != photo.digest:
            raise PhotoError(
                f"{photo.path}: its backup would be {backup}, where another file is; nothing was changed. "
                "Move that file away, or name another backup."
            ) from None
    except OSError:  # a file system without links
        _copy(photo.path, backup)


def _copy(source: Path, backup: Path) -> None:
    temporary = _temporary(backup.parent)
    try:
        shutil.copy2(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if backup.exists():
            raise PhotoError(f"{backup}: appeared while its original was being copied. Move that file away.")
        os.rename(temporary, backup)
    finally:
        temporary.unlink(missing_ok=True)


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # one of them does not exist
        return False
