"""Faces found in a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facecrypt.choices import FaceChoice
from facecrypt.detectors.base import (
    SAME_FACE_OVERLAP,
    SMALLEST_FACE,
    Detector,
    Found,
    overlap,
    surroundings,
)
from facecrypt.detectors.mtcnn import Mtcnn
from facecrypt.errors import PhotoError
from facecrypt.faces.face import Face, aligned_face, patch_around
from facecrypt.photos.files import Photo

_DETECTION_SIDE = 1600
"""Photos are searched at this width or height at most: the time of a search grows with the area."""


class FaceDetector:
    """Finds the faces of photos, by a detector, on the CPU.

    Attributes:
        identity: What tells this detector from others, where faces are kept; empty for MTCNN, as it comes.

    Args:
        detector: What searches a picture; MTCNN by default.
        identity: As above.
    """

    identity = ""

    def __init__(self, detector: Detector | None = None, identity: str = "") -> None:
        self._detector = detector or Mtcnn()
        self.identity = identity

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
        if min(size) < SMALLEST_FACE:  # No detector is asked for faces in less, and MTCNN fails.
            return []
        image = Image.fromarray(photo.pixels)
        pixels = np.asarray(image if shrink == 1 else image.resize(size))
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = []
        for found in self._detector.search(pixels):
            left, top, right, bottom = (found.box * np.tile(scale, 2)).tolist()
            points = (found.landmarks * scale).astype(np.float32)
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
        found = self._search_box(photo.pixels, box)
        if found is None:
            return None
        left, top, right, bottom = found.box.tolist()
        points = found.landmarks.astype(np.float32)
        return Face((left, top, right, bottom), points, patch_around(points), landmarks_from="detected in box")

    def _search_box(self, pixels: NDArray[np.uint8], box: Sequence[float]) -> Found | None:
        own: Callable[..., Found | None] | None = getattr(self._detector, "search_box", None)
        if own is not None:
            return own(pixels, box)
        around = surroundings(pixels, box)
        found = [around.back(face) for face in self._detector.search(around.pixels)]
        there = [face for face in found if overlap(face.box, box) >= SAME_FACE_OVERLAP]
        return max(there, key=lambda face: face.probability, default=None)


def search_scale(width: int, height: int, min_size: float | None) -> float:
    """Return the factor, at most 1, by which a photo is shrunk before it is searched.

    Args:
        width: Of the photo, in pixels.
        height: Likewise.
        min_size: As `FaceDetector.find` takes it.
    """
    finely = SMALLEST_FACE / min_size if min_size else 0.0
    return min(1.0, max(_DETECTION_SIDE / max(height, width), finely))
