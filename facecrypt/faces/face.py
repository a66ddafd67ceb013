"""A face in a photo: where it is, and the square around it that a mask may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facecrypt.choices import LandmarksFrom
from facecrypt.faces.alignment import ALIGNED_SIDE, crop_to_image
from facecrypt.templates import ARCFACE_TEMPLATE

_BOX_ON_CROP = (55.1, 64.3, 78.6, 104.7)
"""Centre, width and height of MTCNN's box in pixels of the ArcFace crop: means over 150 photos of LFW."""
_PATCH_MARGIN = 0.12
"""Share of the ArcFace crop that a patch adds on each side: dlib's chip reaches 8 % lower, views need the rest."""


class Patch(NamedTuple):
    """A square of photo pixels. It may reach beyond the photo, where it is black and never written."""

    left: int
    top: int
    side: int


class Window(NamedTuple):
    """A part of a photo, in pixels; right and bottom are the first that are not part of it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Attributes:
        box: Left, top, right, bottom in photo pixels.
        landmarks: Left eye, right eye, nose, left and right mouth corner, ``(5, 2)``: x, y in photo pixels.
        patch: The region that the mask may change.
        index: Its number among all faces that were found, from 1, the largest first; None for one given by hand.
        landmarks_from: How the landmarks came about.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    patch: Patch
    index: int | None = None
    landmarks_from: LandmarksFrom = "detected"


@dataclass(frozen=True)
class SkippedFace:
    """A face of a photo that was left as it is.

    Attributes:
        index: Its number among all faces that were found, from 1, the largest first.
        box: Left, top, right, bottom in photo pixels; None where a recipe names a number that no face has.
        reason: Why it was left.
        similarity: Largest cosine with the reference photos, where that decided; else None.
    """

    index: int
    box: tuple[float, float, float, float] | None
    reason: str
    similarity: float | None = None


def aligned_face(side: int) -> Face:
    """Return the face of a square photo that is itself an aligned face.

    Args:
        side: Width and height of the photo in pixels.
    """
    landmarks = (np.asarray(ARCFACE_TEMPLATE, np.float32) + 0.5) * (side / ALIGNED_SIDE) - 0.5
    return Face((0.0, 0.0, float(side), float(side)), landmarks, Patch(0, 0, side), index=1)


def place_face(box: Sequence[float]) -> Face:
    """Return an upright face of average proportions in a box that a person gave.

    Args:
        box: Left, top, right, bottom in photo pixels.
    """
    x, y, width, height = _BOX_ON_CROP
    scale = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]) / (width * height)))
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    points = ((np.asarray(ARCFACE_TEMPLATE) - (x, y)) * scale + centre).astype(np.float32)
    left, top, right, bottom = map(float, box)
    return Face((left, top, right, bottom), points, patch_around(points), landmarks_from="placed in box")


def face_at(landmarks: Sequence[Sequence[float]]) -> Face:
    """Return the face whose landmarks a person gave, with the box that the detector would draw.

    Args:
        landmarks: x, y of left eye, right eye, nose, left and right mouth corner in photo pixels.
    """
    points = np.asarray(landmarks, np.float32)
    x, y, width, height = _BOX_ON_CROP
    corners = torch.tensor([[x + u * width / 2, y + v * height / 2] for u in (-1, 1) for v in (-1, 1)])
    matrix = crop_to_image(torch.from_numpy(points)[None], ARCFACE_TEMPLATE)[0]
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = corners.amin(0).tolist(), corners.amax(0).tolist()
    return Face((left, top, right, bottom), points, patch_around(points), landmarks_from="given")


def patch_around(landmarks: NDArray[np.float32]) -> Patch:
    """Return the upright square that holds the crops of a face.

    Args:
        landmarks: ``(5, 2)``, x, y in photo pixels.
    """
    low, high = -_PATCH_MARGIN * ALIGNED_SIDE, (1 + _PATCH_MARGIN) * ALIGNED_SIDE
    corners = torch.tensor([[low, low], [high, low], [high, high], [low, high]])
    matrix = crop_to_image(torch.from_numpy(landmarks).unsqueeze(0), ARCFACE_TEMPLATE)[0]
    points = corners @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
    side = int(np.ceil(max(right - left, bottom - top)))
    return Patch(round((left + right - side) / 2), round((top + bottom - side) / 2), side)
