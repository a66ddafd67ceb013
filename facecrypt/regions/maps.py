"""Where a mask may be strong: maps over a face's patch, drawn around the landmarks or following its texture."""

from __future__ import annotations

import math

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from facecrypt.faces.alignment import crop_to_image
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.vision.face_parts import CENTRE, EDGE, HALF_AXES, fade

# In pixels of the aligned crop.
_FEATURE_RADIUS = 18.0
"""Reach of an eye, the nose or the mouth."""

_WINDOW, _SIGMA = 11, 1.5
"""The Gaussian window of SSIM, in pixels."""
_FLAT = (0.03 * 255) ** 2 / 2
"""Variance in grey levels below which SSIM counts a spot as flat: half its constant C2."""
_FAINTEST, _STRONGEST = 0.1, 3.0
"""Limits of the map, in multiples of its mean."""
_COLOURFUL = 32 / 255
"""Difference between the largest and the smallest channel from which a spot counts as coloured, as skin does. In scans
and JPEGs of black-and-white photos it is 1 or 2 grey levels, in grey and black hair about 10."""
_SPOT = 2.0
"""Standard deviation of the Gaussian that says what lies around a pixel, in pixels."""


def face_map(landmarks: Tensor, side: int, face: float, outside: float, features: float) -> Tensor:
    """Return a soft map of a patch by strengths inside the face, around it and at its features, ``(1, S, S)``.

    With r, the distance of a pixel from the ellipse's centre in units of its half axes, and d, its distance from the
    nearest feature (an eye, the nose, the line of the mouth) in units of a feature's reach, it is
    ``base + (features - base) * fade(1 - d)``, where ``base = outside + (face - outside) * fade((1.3 - r) / 0.3)`` and
    ``fade(x) = x^2 (3 - 2 x)`` of x clipped to [0, 1]. No edge shows: the map has a continuous slope.

    Args:
        landmarks: ``(5, 2)``, x, y in pixels of the patch.
        side: S, width and height of the patch in pixels.
        face: Inside the ellipse.
        outside: Beyond it.
        features: At eyes, nose and mouth.
    """
    points = crop_points(landmarks, side)
    base = outside + (face - outside) * in_face(points)
    at_feature = fade(1 - _feature_distance(points) / _FEATURE_RADIUS)
    return (base + (features - base) * at_feature).unsqueeze(0)


def feather_map(side: int, feather: int) -> Tensor:
    """Return a fade to 0 at the border of a patch, ``(1, S, S)``: ``fade(e / feather)``, e the distance in pixels.

    Args:
        side: S, width and height of the patch in pixels.
        feather: Width of the fade; 0 for none.
    """
    if not feather:
        return torch.ones(1, side, side)
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    return fade(torch.stack([x, y, side - 1 - x, side - 1 - y]).amin(dim=0) / feather).unsqueeze(0)


def crop_points(landmarks: Tensor, side: int) -> Tensor:
    """Return where the pixels of a patch lie in its aligned crop, in pixels of it, ``(S, S, 2)``.

    Args:
        landmarks: ``(5, 2)``, x, y in pixels of the patch.
        side: S, width and height of the patch in pixels.
    """
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    return to_template(torch.stack([x, y], dim=2), landmarks)


def in_face(points: Tensor) -> Tensor:
    """Return 1 in the ellipse of the face, 0 well beyond it, and a soft edge, of points ``(..., 2)`` of the crop."""
    ellipse = (points - torch.tensor(CENTRE)) / torch.tensor(HALF_AXES)
    return fade((EDGE - ellipse.norm(dim=-1)) / (EDGE - 1))


def texture_map(images: Tensor, power: float) -> Tensor:
    """Return the share of epsilon that each pixel may use by the texture around it, ``(B, 1, S, S)``, from 1/30 to 1.

    A change of variance d beside texture of variance v costs about ``d / (2 v + C2)`` of SSIM, and eyes, too, see it
    less there. The map is ``(v + C2 / 2) ** (power / 2)``, v the variance in SSIM's own window averaged over the
    channels, kept within 0.1 and 3 times its mean and divided by the latter.

    Args:
        images: RGB in [0, 1], ``(B, 3, S, S)``.
        power: 0 is 1 everywhere (times a constant), 1 follows the standard deviation, 2 the variance.
    """

    def blurred(values: Tensor) -> Tensor:
        return gaussian_blur2d(values, (_WINDOW, _WINDOW), (_SIGMA, _SIGMA))

    levels = images * 255
    variance = (blurred(levels.square()) - blurred(levels).square()).clamp_min(0).mean(dim=1, keepdim=True)
    share = (variance + _FLAT) ** (power / 2)
    share = share / share.mean(dim=(1, 2, 3), keepdim=True)
    return share.clamp(_FAINTEST, _STRONGEST) / _STRONGEST


def colourfulness(images: Tensor) -> Tensor:
    """Return how coloured each pixel's surroundings are, ``(B, 1, S, S)``, from 0 for grey to 1 for skin and more.

    Args:
        images: RGB in [0, 1], ``(B, 3, S, S)``.
    """
    spread = images.amax(dim=1, keepdim=True) - images.amin(dim=1, keepdim=True)
    window = 2 * math.ceil(3 * _SPOT) + 1
    around: Tensor = gaussian_blur2d(spread, window, (_SPOT, _SPOT))
    return (around / _COLOURFUL).clamp(max=1)


def to_template(points: Tensor, landmarks: Tensor) -> Tensor:
    """Return where points ``(..., 2)`` of the patch lie in the aligned crop, in pixels of it."""
    matrix = crop_to_image(landmarks.unsqueeze(0), ARCFACE_TEMPLATE)[0]
    to_crop: Tensor = torch.linalg.inv(matrix[:, :2])
    return (points - matrix[:, 2]) @ to_crop.T


def _feature_distance(points: Tensor) -> Tensor:
    """Return the distance of points of the crop, ``(..., 2)``, from the nearest feature, in pixels of the crop."""
    eyes_and_nose, (left, right) = torch.tensor(ARCFACE_TEMPLATE[:3]), torch.tensor(ARCFACE_TEMPLATE[3:])
    along = ((points - left) @ (right - left) / (right - left).square().sum()).clamp(0, 1).unsqueeze(-1)
    distances = [(points - spot).norm(dim=-1) for spot in (*eyes_and_nose, left + along * (right - left))]
    return torch.stack(distances).amin(dim=0)
