"""What a judge is shown of a photo: one face with some room around it, and nothing else."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecrypt.faces.face import Face, face_at
from facecrypt.faces.patches import cut
from facecrypt.judges.base import Picture
from facecrypt.photos.files import Photo, read_photo
from facecrypt.surrogates.judging import PEOPLE

_ROOM = 0.5
"""Room on each side of a face's box, in its longer side: those who search a picture for faces want the whole head."""
_LIGHT = 0.97


def show(photo: Photo, face: Face) -> Picture:
    """Return a face of a photo as judges are shown it."""
    height, width = photo.pixels.shape[:2]
    left, top, right, bottom = face.box
    room = _ROOM * max(right - left, bottom - top)
    rows = slice(max(0, int(top - room)), min(height, int(bottom + room) + 1))
    columns = slice(max(0, int(left - room)), min(width, int(right + room) + 1))
    # A copy, so that the photo need not stay in memory as long as one of its faces.
    return Picture(_fixed(np.array(photo.pixels[rows, columns])), cut(photo, face))


def people_of_nowhere(count: int) -> list[Picture]:
    """Return pictures of people of the built-in pack, who do not exist: whoever is tried by them learns of nobody.

    Args:
        count: How many, at most 5.
    """
    folder = Path(str(resources.files("facecrypt") / "data" / "virtual_targets"))
    return [show(read_photo(folder / name / "1.png"), face_at(PEOPLE[name])) for name in list(PEOPLE)[:count]]


def darker(picture: Picture) -> Picture:
    """Return a picture as a slightly weaker lamp would show it."""
    face = picture.face._replace(pixels=picture.face.pixels * _LIGHT)
    return Picture(_fixed((picture.pixels * _LIGHT).astype(np.uint8)), face)


def _fixed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels.setflags(write=False)  # Nobody changes what others are shown.
    return pixels
