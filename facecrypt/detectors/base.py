"""What a detector is: where faces are in a picture, with their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facecrypt.faces.face import place_face

SMALLEST_FACE = 20
"""Side of the smallest face that is searched for, in pixels of the picture; none is searched whose side is shorter."""
SAME_FACE_OVERLAP = 0.3
"""Intersection over union from which two boxes are of the same face."""

_BOX_MARGIN = 0.5
"""Share of a box that is searched beyond it on each side: networks want to see a face's surroundings."""
_BOX_SIDE = 160
"""Longer side, in pixels, to which such a box is scaled for the search."""


class Found(NamedTuple):
    """A face that a detector found.

    Attributes:
        box: Left, top, right, bottom, ``(4,)``, in pixels of the picture.
        landmarks: Left eye, right eye, nose, left and right mouth corner, ``(5, 2)``, left and right as an upright
            face shows them to whoever looks at it.
        probability: How sure the detector is, 0 to 1.
        turns: By how many quarters the picture was turned anticlockwise when it was found.
    """

    box: NDArray[np.floating[Any]]
    landmarks: NDArray[np.floating[Any]]
    probability: float
    turns: int = 0


class Detector(Protocol):
    """Finds faces.

    A detector may also have ``search_box(pixels, box)``, which returns the likeliest face that overlaps a box (left,
    top, right, bottom) or None: where a person says that there is a face, less certainty may do. Without it, the
    surroundings of the box are searched by `search`.
    """

    def search(self, pixels: NDArray[np.uint8]) -> Sequence[Found]:
        """Return the faces of a picture, in any order.

        Args:
            pixels: ``(H, W, 3)``, RGB, not to be changed; no side is below `SMALLEST_FACE`, and none of a whole photo
                above 1600 unless smaller faces are asked for.
        """
        ...


def overlap(a: Sequence[float] | NDArray[Any], b: Sequence[float] | NDArray[Any]) -> float:
    """Return the intersection over union of two boxes, given as left, top, right, bottom."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / union) if union > 0 else 0.0


def average_landmarks(box: Sequence[float]) -> NDArray[np.float32]:
    """Return where the landmarks of an upright face of average proportions are, ``(5, 2)``: for detectors of boxes.

    Args:
        box: Left, top, right, bottom in pixels, from ear to ear and from the hairline to the chin.
    """
    return place_face(box).landmarks


class Surroundings(NamedTuple):
    """A box and what is around it, at a size that suits detectors.

    Attributes:
        pixels: ``(H, W, 3)``, RGB.
        factor: Pixels of the picture across one of them: in a row and in a column, ``(2,)``.
        corner: Where they begin in the picture: left and top.
    """

    pixels: NDArray[np.uint8]
    factor: NDArray[np.float32]
    corner: tuple[int, int]

    def back(self, face: Found) -> Found:
        """Return a face that was found here, where it is in the picture."""
        ends = face.box * np.tile(self.factor, 2) + (*self.corner, *self.corner)
        points = (face.landmarks * self.factor + self.corner).astype(np.float32)
        return face._replace(box=ends, landmarks=points)


def surroundings(pixels: NDArray[np.uint8], box: Sequence[float]) -> Surroundings:
    """Return the surroundings of a box.

    Args:
        pixels: The picture, ``(H, W, 3)``, RGB.
        box: Left, top, right, bottom in pixels.
    """
    longer = max(box[2] - box[0], box[3] - box[1])
    left, top = (int(value - _BOX_MARGIN * longer) for value in box[:2])
    right, bottom = (int(value + _BOX_MARGIN * longer) + 1 for value in box[2:])
    size = (round((right - left) * _BOX_SIDE / longer), round((bottom - top) * _BOX_SIDE / longer))
    part = cut_out(pixels, left, top, right, bottom, size)
    factor = np.array([(right - left) / size[0], (bottom - top) / size[1]], np.float32)
    return Surroundings(part, factor, (left, top))


def cut_out(
    pixels: NDArray[np.uint8], left: int, top: int, right: int, bottom: int, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a part of a picture at a width and height. Beyond the picture, its border is repeated.

    A face that fills the picture is not found without surroundings.
    """
    height, width = pixels.shape[:2]
    rows, columns = np.arange(top, bottom).clip(0, height - 1), np.arange(left, right).clip(0, width - 1)
    return np.asarray(Image.fromarray(pixels[np.ix_(rows, columns)]).resize(size, Image.Resampling.BICUBIC))


def turn_back(points: NDArray[Any], turns: int, size: tuple[int, int]) -> NDArray[Any]:
    """Return where points ``(N, 2)`` of a picture of some width and height were before `numpy.rot90` turned it."""
    x, y = points.T
    right, bottom = size[0] - 1, size[1] - 1
    return np.stack([(x, y), (right - y, x), (right - x, bottom - y), (y, bottom - x)][turns], axis=1)
