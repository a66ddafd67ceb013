"""A region of its own: a sticker on the forehead."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from facecrypt.plugin import Field, crop_points

_CENTRE = (56.0, 24.0)
"""Its middle in the aligned face, which is 112 pixels wide: between hairline and brows."""


class Sticker:
    """A white rectangle on the forehead that the mask is painted on: after AdvHat (Komkov and Petiushko, ICPR 2020).

    Args:
        width: In pixels of the 112 pixels wide aligned face.
        height: Likewise.
    """

    def __init__(
        self,
        *,
        width: Annotated[float, Field(ge=4, le=100)] = 56.0,
        height: Annotated[float, Field(ge=4, le=60)] = 18.0,
    ) -> None:
        self.half = width / 2, height / 2

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return 1 on the sticker, ``(1, S, S)``."""
        away = (crop_points(landmarks, pixels.shape[-1]) - torch.tensor(_CENTRE)).abs()
        return (away <= torch.tensor(self.half)).all(dim=-1).float().unsqueeze(0)

    def start(self, pixels: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
        """Return what makes every pixel white."""
        return 1 - pixels
