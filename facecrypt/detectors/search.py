"""Faces found in a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from facecrypt.choices import FaceChoice
from facecrypt.detectors.mtcnn import SMALLEST_FACE, Mtcnn
from facecrypt.errors import PhotoError
from facecrypt.faces.face import Face, aligned_face, patch_around
from facecrypt.photos.files import Photo

_DETECTION_SIDE = 1600
"""Photos are searched at this width or height at most: MTCNN's time grows with the area."""


class FaceDetector:
    """Finds faces, whichever way up they are: `facecrypt.detectors.mtcnn.Mtcnn`, on the CPU."""

    def __init__(self) -> None:
        self._mtcnn = Mtcnn()

    def find(self, photo: Photo, choice: FaceChoice, min_size: float | None = None) -> list[Face]:
        """Return the faces of a photo, the largest first.

        Args:
            photo: The photo to search.
            choice: ``all`` faces, the ``largest``, or ``aligned``: the photo is itself an aligned face, nothing is
                searched.
            min_size: Search large photos finely enough to find faces of this many pixels. Smaller ones may be found
                too.

        Raises:
            PhotoError: If an aligned face is not square.
        """
        height, width = photo.pixels.shape[:2]
        if choice == "aligned":
            if height != width:
                raise PhotoError(
                    f"{photo.path}: {width}x{height} pixels, but an aligned face is square. Crop it, or use faces: all."
                )
            return [aligned_face(width)]
        shrink = search_scale(width, height, min_size)
        size = (round(width * shrink), round(height * shrink))
        if min(size) < SMALLEST_FACE:  # MTCNN fails on pictures smaller than its smallest face.
            return []
        image = Image.fromarray(photo.pixels)
        pixels = np.asarray(image if shrink == 1 else image.resize(size))
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = []
        for found in self._mtcnn.search(pixels):
            left, top, right, bottom = (found.box * np.tile(scale, 2)).tolist()
            points = found.landmarks * scale
            faces.append(Face((left, top, right, bottom), points, patch_around(points)))
        faces.sort(key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), reverse=True)
        faces = [replace(face, index=number) for number, face in enumerate(faces, 1)]
        return faces[:1] if choice == "largest" else faces

    def find_in(self, photo: Photo, box: Sequence[float]) -> Face | None:
        """Return the face that a person says is in a box, or None where none is found there.

        Args:
            photo: The photo.
            box: Left, top, right, bottom in photo pixels.
        """
        found = self._mtcnn.search_box(photo.pixels, box)
        if found is None:
            return None
        left, top, right, bottom = found.box.tolist()
        patch = patch_around(found.landmarks)
        return Face((left, top, right, bottom), found.landmarks, patch, landmarks_from="detected in box")


def search_scale(width: int, height: int, min_size: float | None) -> float:
    """Return the factor, at most 1, by which a photo is shrunk before it is searched.

    Args:
        width: Of the photo, in pixels.
        height: Likewise.
        min_size: As `FaceDetector.find` takes it.
    """
    finely = SMALLEST_FACE / min_size if min_size else 0.0
    return min(1.0, max(_DETECTION_SIDE / max(height, width), finely))
