"""How far the colours of a face's parts moved: CIEDE2000 (Sharma, Wu and Dalal, 2005) in torch, with gradients.

People watch the colour of eyes, teeth, lips and skin, and forgive the same change in hair. What counts is colour that
an eye can make out: that of places, not of single pixels.
"""

from __future__ import annotations

import math

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from facecrypt.vision.face_parts import part_maps
from facecrypt.vision.filters import filter_both, gaussian

_SIGMA = 1.5
"""Of the low pass, in pixels of the aligned 112x112 face: a quarter of an iris."""
_TINY = 1e-12
"""Keeps the slopes of roots finite."""
_TWENTY_FIVE = 25.0**7


def delta_e(protected: Tensor, original: Tensor) -> Tensor:
    """Return the colour difference of each face, ``(B,)``, from 0: the largest mean of those in eyes, mouth and skin.

    Args:
        protected: Aligned faces, RGB in [0, 1], ``(B, 3, 112, 112)``.
        original: The untouched ones, of the same shape.
    """
    return delta_e_of_parts(protected, original).amax(dim=1)


def delta_e_of_parts(protected: Tensor, original: Tensor) -> Tensor:
    """Return the mean colour difference of each face in its eyes, mouth and skin, ``(B, 3)``; see `delta_e`."""
    low = gaussian(_SIGMA)
    moved = ciede2000(rgb_to_lab(filter_both(protected, low, low)), rgb_to_lab(filter_both(original, low, low)))
    maps = part_maps().to(protected)
    return torch.einsum("bhw,khw->bk", moved, maps / maps.sum(dim=(1, 2), keepdim=True))


def ciede2000(first: Tensor, second: Tensor, lightness: float = 1.0) -> Tensor:
    """Return the CIEDE2000 difference of colours, ``(B, H, W)``: about 1 is just noticed between large patches.

    Args:
        first: CIELAB, ``(B, 3, H, W)``.
        second: Of the same shape.
        lightness: The parametric factor kL: 1 in most uses, more where lightness counts less.
    """
    l1, a1, b1 = first.unbind(1)
    l2, a2, b2 = second.unbind(1)
    chroma = (_root(a1.square() + b1.square()) + _root(a2.square() + b2.square())) / 2
    stretch = 1.5 - 0.5 * _vividness(chroma)
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = _root(a1.square() + b1.square()), _root(a2.square() + b2.square())
    h1, h2 = _hue(a1, b1, c1), _hue(a2, b2, c2)
    grey = (c1 < 1e-5) | (c2 < 1e-5)
    turn = h2 - h1
    # The mean of hues that are opposite is that of their angles, whatever rounding makes of it.
    half = math.pi + 1e-6
    turn = turn - 2 * math.pi * (turn > half).to(turn) + 2 * math.pi * (turn < -half).to(turn)
    turn = torch.where(grey, torch.zeros_like(turn), turn)
    middle, c, h = (l1 + l2) / 2, (c1 + c2) / 2, torch.where(grey, h1 + h2, h1 + turn / 2) % (2 * math.pi)
    t = (
        1
        - 0.17 * (h - math.radians(30)).cos()
        + 0.24 * (2 * h).cos()
        + 0.32 * (3 * h + math.radians(6)).cos()
        - 0.20 * (4 * h - math.radians(63)).cos()
    )
    from_middle = (middle - 50).square()
    in_lightness = (l2 - l1) / (lightness * (1 + 0.015 * from_middle / (20 + from_middle).sqrt()))
    in_chroma = (c2 - c1) / (1 + 0.045 * c)
    in_hue = 2 * _root(c1 * c2) * (turn / 2).sin() / (1 + 0.015 * c * t)
    rotation = 2 * _vividness(c) * (math.radians(60) * (-((h.rad2deg() - 275) / 25).square()).exp()).sin()
    squares = in_lightness.square() + in_chroma.square() + in_hue.square() - rotation * in_chroma * in_hue
    return _root(squares.clamp_min(0)) - math.sqrt(_TINY)


def _vividness(chroma: Tensor) -> Tensor:
    seventh = chroma**7
    return _root(seventh / (seventh + _TWENTY_FIVE))


def _root(values: Tensor) -> Tensor:
    return (values + _TINY).sqrt()


def _hue(a: Tensor, b: Tensor, chroma: Tensor) -> Tensor:
    """Return the angle of a hue in radians, from 0 to 2 pi; 0 for grey, which has none, and no slope there."""
    grey = chroma < 1e-5
    return torch.atan2(torch.where(grey, torch.zeros_like(b), b), torch.where(grey, torch.ones_like(a), a)) % (
        2 * math.pi
    )
