"""The classic ways to hide a face, as methods: they ask no recogniser, and everybody sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.methods.base import Task, Uses
from facecrypt.methods.obfuscation import Method as How
from facecrypt.methods.obfuscation import hide

Strength = Annotated[float, Field(gt=0, le=1)]


class Hiding:
    """Hides the detector's box of each face, as `facecrypt.methods.obfuscation.obfuscate` does.

    Args:
        how: In which way.
        strength: From 0 (not at all) to 1.
    """

    uses: Uses = "nothing"
    bounded = False
    native = True

    def __init__(self, how: How, strength: float) -> None:
        self._how, self._strength = how, strength

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what turns each face into a hidden one."""
        return [self._mask(face.pixels, box) for face, box in zip(task.faces, task.boxes, strict=True)]

    def _mask(self, pixels: Tensor, box: tuple[float, float, float, float]) -> Tensor:
        side = pixels.shape[-1]
        left, top = (max(math.floor(value), 0) for value in box[:2])
        right, bottom = (min(math.ceil(value), side) for value in box[2:])
        mask = torch.zeros_like(pixels)
        if right > left and bottom > top:
            region = pixels[None, :, top:bottom, left:right]
            hidden = hide(region * 255, self._how, self._strength) / 255
            mask[:, top:bottom, left:right] = (hidden - region)[0]
        return mask


def blur(*, strength: Strength = 0.5) -> Hiding:
    """Return a Gaussian blur with a standard deviation of `strength` quarters of the box's longer side.

    Args:
        strength: From 0 (not at all) to 1.
    """
    return Hiding("blur", strength)


def pixelate(*, strength: Strength = 0.5) -> Hiding:
    """Return squares as wide as `strength` quarters of the box's longer side, in their mean colours.

    Args:
        strength: From 0 (not at all) to 1.
    """
    return Hiding("pixelate", strength)


def darken(*, strength: Strength = 0.9) -> Hiding:
    """Return grey levels multiplied by ``1 - strength``.

    Args:
        strength: From 0 (not at all) to 1, which is black.
    """
    return Hiding("darken", strength)


def occlude(*, strength: Strength = 0.5) -> Hiding:
    """Return a black rectangle in the middle that covers a share `strength` of the box.

    Args:
        strength: From 0 (not at all) to 1, which is all of it.
    """
    return Hiding("occlude", strength)
