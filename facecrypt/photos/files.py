"""Photos: write them so that each file is whole or as it was, and no original is lost.

`facecrypt.photos.finding` finds them, `facecrypt.photos.decoding` reads a file, `facecrypt.photos.encoding` makes one;
docs/photos.md says what happens to a photo.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecrypt.choices import MetadataPolicy
from facecrypt.errors import PhotoError
from facecrypt.photos.decoding import Photo, file_digest
from facecrypt.photos.encoding import encode, is_lossless
from facecrypt.photos.finding import find_photos
from facecrypt.photos.reading import read_photo
from facecrypt.system.naming import FORMATS, output_path
from facecrypt.system.private_files import sweep, sync_folder, write_whole
from facecrypt.system.private_files import unfinished as _temporary

__all__ = [
    "FORMATS",
    "backup_fault",
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
        backup: Where the photo that is replaced stays as it was, if the destination is the photo itself, behind all
            links; its folder is created. An existing file there is never replaced.
        announce: Called with the SHA-256 of the file just before it appears, and before the backup is made. What it
            raises leaves everything as it is.

    Returns:
        How the file was written: ``lossless PNG``, ``lossy JPEG``, ...

    Raises:
        ValueError: If the pixels do not fit the photo, or the destination's extension names another format.
        PhotoError: If the file cannot be written, would replace the input, or cannot hold the transparency or profile.
    """
    in_place = backup is not None
    if in_place:
        destination = Path(os.path.realpath(destination))
    file_format = _check(photo, pixels, destination, in_place)
    data = encode(photo, pixels, file_format, metadata, destination)
    if not in_place and _is_same_file(photo.path, destination):
        raise PhotoError(f"{destination}: is the input photo itself. Choose another output folder.")

    def prepare(temporary: Path) -> None:
        if announce:
            announce(hashlib.sha256(data).hexdigest())
        if backup is not None:
            _keep_original(destination, photo.digest, backup)
            shutil.copymode(destination, temporary)

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


def _check(photo: Photo, pixels: npt.NDArray[np.uint8], destination: Path, in_place: bool) -> str:
    """Return the format in which a destination is written."""
    if pixels.shape != photo.pixels.shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels: {pixels.shape} {pixels.dtype} do not fit {photo.path}. Allowed: {photo.pixels.shape} uint8."
        )
    if photo.grayscale and not (pixels == pixels[..., :1]).all():
        raise ValueError(f"pixels: the channels differ, but {photo.path} is grayscale. Allowed: equal channels.")
    suffix = destination.suffix.lower()
    file_format = "PNG" if suffix == ".png" else photo._format
    # Behind a link, the file itself may have any name.
    if FORMATS.get(suffix) != file_format and suffix != photo.path.suffix.lower() and not in_place:
        raise ValueError(f"destination: {destination} does not end like a {file_format} file. Allowed: .png as well.")
    return file_format


def _keep_original(original: Path, digest: str, backup: Path) -> None:
    """Copy a photo's file to a second place, at once or not at all, and make sure that the copy is on the disk.

    Args:
        original: The file, behind all links.
        digest: Its SHA-256 when it was read.
        backup: The place; a file that is there stays.

    Raises:
        PhotoError: If the file is another by now, or another file is there.
    """
    changed = PhotoError(f"{original}: was changed while the run was at work; it stays as it is. Run again.")
    if file_digest(original) != digest:
        raise changed
    if fault := backup_fault(original, digest, backup):
        raise PhotoError(f"{original}: {fault}; nothing was changed. Move that file away, or name another backup.")
    if os.path.lexists(backup):  # a run that was killed left it
        return
    backup.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(backup.parent)
    try:
        shutil.copyfile(original, temporary)
        with contextlib.suppress(OSError):  # not every file system keeps times, rights and attributes
            shutil.copystat(original, temporary)
        with temporary.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise changed
            os.fsync(file.fileno())
        try:
            os.link(temporary, backup)  # unlike a rename, it replaces nothing
        except FileExistsError:
            raise PhotoError(f"{backup}: appeared while its original was being copied. Move that file away.") from None
        except OSError:  # a file system without hard links
            if os.path.lexists(backup):
                raise PhotoError(f"{backup}: appeared while its original was being copied.") from None
            os.rename(temporary, backup)
    finally:
        temporary.unlink(missing_ok=True)
    for folder in (backup.parent, backup.parent.parent):
        sync_folder(folder)


def backup_fault(original: Path, digest: str | None, backup: Path) -> str:
    """Return why a photo's original cannot be kept at a place, or nothing.

    Args:
        original: The photo, behind all links.
        digest: SHA-256 of its content.
        backup: The place. A copy that is there already is right.
    """
    if not os.path.lexists(backup):
        return ""
    where = f"its backup would be {backup}, where"
    if backup.is_symlink() or not backup.is_file():
        return f"{where} a {'link' if backup.is_symlink() else 'folder'} is"
    if _is_same_file(original, backup):
        return f"{where} another name of the photo itself is (a hard link)"
    return "" if file_digest(backup) == digest else f"{where} another file is"


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # one of them does not exist
        return False
