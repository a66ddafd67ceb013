"""Dark lines that a mask draws into a face: folds, creases, contours that were not there."""

from __future__ import annotations

import math

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from facecrypt.vision.filters import filter_both, gaussian

_SCALES = (1.0, 2.0)
"""Standard deviations across the lines that are looked for, in pixels of the aligned 112x112 face."""
_TINY = 1e-8
"""Keeps the slope of a root finite."""


def new_creases(protected: Tensor, original: Tensor) -> Tensor:
    """Return by how much each place lies deeper in a dark line than it did, ``(B, S, H, W)``, from 0, for each scale.

    What lies lighter, or not as deep in a line as before, counts as 0: folds may go, but none may come.

    Args:
        protected: RGB in [0, 1], ``(B, 3, H, W)``.
        original: Of the same shape.
    """
    deeper: Tensor = (_depths(protected) - _depths(original)).clamp_min(0)
    return deeper


def creases(protected: Tensor, original: Tensor) -> Tensor:
    """Return the root mean square of `new_creases` of each face, ``(B,)``, in units of L*."""
    mean: Tensor = new_creases(protected, original).square().mean(dim=(1, 2, 3))
    size: Tensor = (mean + _TINY).sqrt() - math.sqrt(_TINY)
    return size


def _depths(images: Tensor) -> Tensor:
    """Return how deep in a dark line each place lies, ``(B, S, H, W)``.

    That is the largest second derivative of lightness over all directions, where it is positive: the larger eigenvalue
    of the Hessian, times the square of the scale (Lindeberg, 1998), in units of L*.
    """
    lightness = rgb_to_lab(images)[:, :1]
    depths = []
    for sigma in _SCALES:
        bell, slope, bend = (gaussian(sigma, order) for order in range(3))
        down, across = filter_both(lightness, bend, bell), filter_both(lightness, bell, bend)
        mixed = filter_both(lightness, slope, slope)
        spread = (((down - across) / 2).square() + mixed.square() + _TINY).sqrt()
        depths.append(sigma**2 * ((down + across) / 2 + spread).clamp_min(0))
    return torch.cat(depths, dim=1)
