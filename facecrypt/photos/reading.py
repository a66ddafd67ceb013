"""Photos read within the bounds of time and memory: in a process of their own, which other people's files cannot hold.

One such process serves each process that reads photos. It is replaced where a file ended it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from facecrypt.errors import PhotoError
from facecrypt.photos.decoding import Photo, decode, measure
from facecrypt.system import limits
from facecrypt.system.child import Child, ChildError
from facecrypt.system.limits import Bounds, Need
from facecrypt.system.timing import stage

Result = TypeVar("Result")

_decoder = Child("facecrypt.photos.decoding")


def warm_up() -> None:
    """Start the process that reads photos ahead of the first one, as while something else is being imported."""
    _decoder.start()


@stage("read")
def read_photo(path: Path, bounds: Bounds | None = None) -> Photo:
    """Return the photo in a file, turned upright by its EXIF orientation.

    Args:
        path: A JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC file, whatever its extension: one picture of at most 200
            megapixels, RGB or grayscale, of 8 bits per channel, in PNG and TIFF also 16.
        bounds: What it may take; by default what holds at this place.

    Raises:
        PhotoError: If the file is missing, unreadable, damaged, cut short, of a kind that is not supported, or takes
            more than it may.
    """
    return _call(decode, path, bounds or limits.current())


def measure_photo(path: Path, bounds: Bounds | None = None) -> Need:
    """Return what the photo in a file needs by its header, nothing where it cannot be read.

    Args:
        path: As `read_photo` takes it.
        bounds: Likewise.
    """
    try:
        return _call(measure, path, bounds or limits.current())
    except PhotoError:
        return Need(0, 0)  # Whoever reads it will say why.


def _call(function: Callable[[Path, Path, int], Result], path: Path, bounds: Bounds) -> Result:
    try:
        # Absolute, since the other process has a working folder of its own.
        return _decoder.call(
            function,
            path,
            Path(os.path.abspath(path)),
            bounds.memory,
            seconds=bounds.seconds,
            memory=bounds.memory + limits.LIBRARIES,
        )
    except ChildError as error:
        if error.overtime:
            raise PhotoError(
                f"{path}: {error} to read, more than limits.seconds allows. Save it anew as PNG, or raise "
                "limits.seconds."
            ) from error
        raise PhotoError(
            f"{path}: is damaged ({error}). Copy it again from its source, or save it anew as PNG."
        ) from error
