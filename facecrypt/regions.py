"""Where a mask may be strong: maps over a face's patch, drawn around the landmarks or following its texture."""

from __future__ import annotations

from functools import cache

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from facecrypt.faces import crop_to_image
from facecrypt.recipe_parts import Region
from facecrypt.surrogates.spec import ARCFACE_TEMPLATE

# All in pixels of the aligned 112x112 crop, in which every face has its eyes, nose and mouth in the same places.
_CENTRE = (56.0, 64.0)
_HALF_AXES = (42.0, 56.0)
"""Half width and half height of the ellipse: from ear to ear, and from the hairline to the chin."""
_EDGE = 1.3
"""Where the outside begins, in multiples of the ellipse."""
_FEATURE_RADIUS = 18.0
"""Reach of an eye, the nose or the mouth."""
_EYE, _MOUTH = (9.0, 5.0), (17.0, 8.0)
"""Half width and half height of an eye and of the mouth."""

_WINDOW, _SIGMA = 11, 1.5
"""The Gaussian window of SSIM, in pixels."""
_FLAT = (0.03 * 255) ** 2 / 2
"""Variance in grey levels below which SSIM counts a spot as flat: half its constant C2."""
_FAINTEST, _STRONGEST = 0.1, 3.0
"""Limits of the map, in multiples of its mean."""


def strength_map(landmarks: Tensor, side: int, region: Region | None, feather: int) -> Tensor:
    """Return the share of epsilon that each pixel of a patch may use, ``(1, S, S)``, from 0 to 1.

    With r, the distance of a pixel from the ellipse's centre in units of its half axes, d, its distance from the
    nearest feature (an eye, the nose, the line of the mouth) in units of a feature's reach, and e, its distance in
    pixels from the patch's outermost pixels: ``map = fade(e / feather) * (base + (features - base) * fade(1 - d))``,
    where ``base = outside + (face - outside) * fade((1.3 - r) / 0.3)`` and ``fade(x) = x^2 (3 - 2 x)`` of x clipped to
    [0, 1]. No edge shows: the map has a continuous slope.

    Args:
        landmarks: ``(5, 2)``, x, y in pixels of the patch.
        side: S, width and height of the patch in pixels.
        region: The strengths; None for 1 everywhere.
        feather: Width of the fade to 0 at the patch's border, in pixels; 0 for none.
    """
    strength = torch.ones(1, side, side)
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    if region is not None:
        points = _to_template(torch.stack([x, y], dim=2), landmarks)
        ellipse = (points - torch.tensor(_CENTRE)) / torch.tensor(_HALF_AXES)
        in_face = _fade((_EDGE - ellipse.norm(dim=2)) / (_EDGE - 1))
        base = region.outside + (region.face - region.outside) * in_face
        at_feature = _fade(1 - _feature_distance(points) / _FEATURE_RADIUS)
        strength = (base + (region.features - base) * at_feature).unsqueeze(0)
    if feather:
        from_border = torch.stack([x, y, side - 1 - x, side - 1 - y]).amin(dim=0)
        strength = strength * _fade(from_border / feather)
    return strength


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


@cache
def part_maps() -> Tensor:
    """Return where the eyes, the mouth and the skin around them are in an aligned face, ``(3, 112, 112)``, 0 to 1.

    Not to be changed. Eyes and mouth with what surrounds them closely: lids, lips, teeth.
    """
    v, u = torch.meshgrid(torch.arange(112).float(), torch.arange(112).float(), indexing="ij")
    points = torch.stack([u, v], dim=2)
    spots = torch.tensor(ARCFACE_TEMPLATE)

    def blob(centre: Tensor, half_axes: tuple[float, float]) -> Tensor:
        return _fade((_EDGE - ((points - centre) / torch.tensor(half_axes)).norm(dim=2)) / (_EDGE - 1))

    eyes = torch.maximum(blob(spots[0], _EYE), blob(spots[1], _EYE))
    mouth = blob((spots[3] + spots[4]) / 2, _MOUTH)
    skin = blob(torch.tensor(_CENTRE), _HALF_AXES) * (1 - torch.maximum(eyes, mouth))
    return torch.stack([eyes, mouth, skin])


def _to_template(points: Tensor, landmarks: Tensor) -> Tensor:
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


def _fade(x: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and a smooth step between."""
    x = x.clamp(0, 1)
    return x.square() * (3 - 2 * x)
