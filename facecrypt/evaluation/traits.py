"""What of a person shows in a photo and can be told offline: skin tone and apparent sex. Guesses, which light turns.

And what of the photo may decide how well a face is recognised, and protected: pose, size, sharpness, brightness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import torch
from kornia.color import rgb_to_grayscale, rgb_to_lab
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecrypt import registry
from facecrypt.choices import Trait
from facecrypt.errors import EmbeddingError
from facecrypt.faces.alignment import crop, face_grid
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import Photo
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look

_CHEEKS = ((slice(66, 84), slice(26, 42)), (slice(66, 84), slice(70, 86)))
"""Rows and columns below the eyes, beside the nose, of the aligned 112x112 face area."""
_RECOGNISER = "dlib_resnet"

_INNER = (slice(28, 108), slice(24, 88))
"""Rows and columns of the aligned face area in which hardly anything but the face shows."""
_HIGHLIGHT = 0.98
"""From this value of a channel on, a pixel shows the light and not the skin."""
_COLOURLESS = 5.0
"""Chroma of CIELAB up to which cheeks tell no tone: black-and-white photos. Skin has 10 and more."""
_ENOUGH = 0.25
"""Share of the pixels that must be left to measure something."""
_FACE = np.array(
    [(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.59, 0.42), (-0.44, 1.05, -0.12), (0.44, 1.05, -0.12)], np.float64
)
"""Landmarks of a face that looks into the camera, ``(5, 3)``: x to the right, y down, z to the camera, in distances of
the eyes. x and y are medians over the 130 of 280 photos of LFW in which MTCNN's landmarks lie nearest to symmetry; with
these depths of nose and mouth, a rigid head explains the landmarks of all 280 best."""


@dataclass(frozen=True)
class FaceTraits:
    """What shows of a face in its photo.

    Attributes:
        skin: Individual typology angle of the cheeks in degrees, without highlights; None where they tell none: in
            black and white, in blue or glaring light, or beyond the photo's edge.
        yaw: Degrees by which the head is turned, towards the right of the picture where positive.
        pitch: Degrees by which it nods down. A long nose and an open mouth look alike, so this is the least certain.
        roll: Degrees by which it leans, clockwise in the picture.
        size: Distance between the eyes in pixels of the photo.
        sharpness: Fine detail for the coarse detail that there is, whatever the contrast: the variance of the Laplacian
            of the aligned face over that of the same face at half its size. It falls to 0.1 as a face gets blurred.
        brightness: Median lightness (L* of CIELAB) of the face, from 0 to 100.
    """

    skin: float | None
    yaw: float
    pitch: float
    roll: float
    size: float
    sharpness: float
    brightness: float


def measure_trait(trait: Trait, faces: Sequence[FaceImage]) -> Tensor:
    """Return a trait of each face, ``(N,)``, on the CPU.

    Args:
        trait: ``skin`` is its individual typology angle (Chardon et al., 1991) in degrees, from 90 of the lightest to
            -90; ``sex`` is 1 for who is taken for a woman and 0 for a man.
        faces: The faces.

    Raises:
        WeightsError: If the recogniser that tells the sex cannot be loaded.
        EmbeddingError: If it gives no embedding of a face.
    """
    return torch.stack([_typology_angle(face) for face in faces]) if trait == "skin" else _sex(faces)


def measure_face(photo: Photo, face: Face) -> FaceTraits:
    """Return what shows of a face in a photo.

    Args:
        photo: The original photo.
        face: The face in it.
    """
    image = cut(photo, face)
    grid = face_grid(image.landmarks[None], image.pixels.shape[-1])
    area, inside = crop(image.pixels[None], grid)[0].clamp(0, 1), crop(image.inside[None], grid)[0, 0] > 0.99
    left, right = face.landmarks[:2].astype(np.float64)
    lightness = rgb_to_lab(area)[0][_INNER][inside[_INNER]]
    return FaceTraits(
        _skin(area, inside),
        *head_pose(face.landmarks),
        size=float(np.hypot(*(right - left))),
        sharpness=_sharpness(area, inside),
        brightness=float(lightness.median()) if len(lightness) else 0.0,
    )


def head_pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a head in degrees, as `FaceTraits` tells them: a nod, then a turn, then a lean.

    The head is seen from afar (scaled orthographic projection): the affine map that takes `_FACE` nearest to the
    landmarks (least squares), and the rotation nearest to that (as in POS, DeMenthon and Davis, 1995).

    Args:
        landmarks: Left eye, right eye, nose, left and right mouth corner, ``(5, 2)``: x, y in pixels.
    """
    seen = landmarks.astype(np.float64)
    centred, points = _FACE - _FACE.mean(axis=0), seen - seen.mean(axis=0)
    affine = (np.linalg.pinv(centred) @ points).T
    one, _, other = np.linalg.svd(affine, full_matrices=False)
    across, down = one @ other
    lean = math.atan2(down[0], across[0])
    turned = math.cos(lean) * across + math.sin(lean) * down
    nod = math.asin(min(1.0, max(-1.0, math.cos(lean) * down[2] - math.sin(lean) * across[2])))
    turn = math.atan2(turned[2], turned[0] * math.cos(nod))
    return math.degrees(turn), math.degrees(nod), math.degrees(lean)


def _skin(area: Tensor, inside: Tensor) -> float | None:
    """Return the typology angle of an aligned face, ``(3, 112, 112)``, or None; `inside` tells what the photo shows."""
    skin, colours = _cheeks(rgb_to_lab(area)), _cheeks(area)
    matt = (colours.amax(dim=0) < _HIGHLIGHT) & _cheeks(inside[None])[0]
    if matt.float().mean() < _ENOUGH:
        return None
    _, red, yellow = skin[:, matt].median(dim=1).values
    lit = yellow > 0 and torch.hypot(red, yellow) > _COLOURLESS
    return float(_angle(skin[:, matt])) if lit else None


def _sharpness(area: Tensor, inside: Tensor) -> float:
    grey = rgb_to_grayscale(area)
    half, whole = functional.avg_pool2d(grey, 2), -functional.max_pool2d(-inside[None].float(), 2)
    fine = _laplacian_variance(grey[0], inside, 1)
    coarse = _laplacian_variance(half[0], whole[0] > 0, 2)
    return fine / coarse if coarse > 0 else 0.0


def _laplacian_variance(grey: Tensor, inside: Tensor, shrunk: int) -> float:
    """Return the variance of the Laplacian over the inner face, as far as its neighbours lie in the photo, too."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    curved = functional.conv2d(grey[None, None], kernel[None, None], padding=1)[0, 0]
    there = -functional.max_pool2d(-inside[None].float(), 3, stride=1, padding=1)[0] > 0
    rows, columns = (slice(part.start // shrunk, part.stop // shrunk) for part in _INNER)
    values = curved[rows, columns][there[rows, columns]]
    return float(values.var()) if len(values) > 1 else 0.0


def _typology_angle(face: FaceImage) -> Tensor:
    area = crop(face.pixels[None], face_grid(face.landmarks[None], face.pixels.shape[-1]))
    return _angle(_cheeks(rgb_to_lab(area)[0]))


def _cheeks(area: Tensor) -> Tensor:
    """Return the pixels of both cheeks of an aligned face, ``(C, N)``."""
    return torch.cat([area[:, rows, columns].flatten(1) for rows, columns in _CHEEKS], dim=1)


def _angle(skin: Tensor) -> Tensor:
    """Return the typology angle of pixels in CIELAB, ``(3, N)``."""
    lightness, _, yellow = skin.median(dim=1).values
    return torch.rad2deg(torch.atan2(lightness - 50, yellow.clamp_min(1e-3)))


def _sex(faces: Sequence[FaceImage]) -> Tensor:
    probe = json.loads((resources.files("facecrypt") / "data" / "sex_probe.json").read_text(encoding="utf-8"))
    seen = look(_recogniser(), faces)
    if seen.fault:
        raise EmbeddingError(f"sex: {seen.fault}. Set sex: false in the arguments of matched_far, or mend its weights.")
    weights, bias = torch.tensor(probe["weights"]), float(probe["bias"])
    return (seen.embeddings @ weights + bias > 0).float()


@cache
def _recogniser() -> Embedder:
    embedder: Embedder = registry.build("surrogate", _RECOGNISER, {})
    return embedder
