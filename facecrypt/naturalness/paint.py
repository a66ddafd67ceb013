"""What keeps paint printable, as on the frame of eyeglasses: even colours, which a printer has."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

Level = Annotated[float, Field(ge=0, le=255)]
Colour = tuple[Level, Level, Level]

_TINY = 1e-6
"""Added under roots, whose slope has no bound at 0."""
_PAINTED = 0.5 / 255
"""From which a pixel counts as changed: half a grey level."""

INKS = (
    (20, 20, 20),
    (235, 235, 235),
    (220, 30, 40),
    (20, 140, 70),
    (40, 50, 140),
    (0, 155, 220),
    (215, 25, 125),
    (250, 225, 20),
)
"""Black, paper, the three inks of a printer and what two of them make, as a scanner roughly sees them."""


class PaintVariation:
    """Total variation of what is painted: of the picture itself, between neighbours that are both changed.

    As Sharif et al. (CCS 2016) have it on their frames: the mean over the changed pixels of the root of the squared
    differences from the pixels to the right and below. `mask_variation` is another thing: the variation of the mask,
    which is what paint and skin differ by, so it would draw the skin onto the frame.
    """

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, of faces ``(B, V, 3, H, W)``, RGB in [0, 1]."""
        painted = _painted(protected, original)
        here = painted[..., :-1, :-1]
        across = (protected[..., :-1, 1:] - protected[..., :-1, :-1]) * here * painted[..., :-1, 1:]
        down = (protected[..., 1:, :-1] - protected[..., :-1, :-1]) * here * painted[..., 1:, :-1]
        lengths = (across.square() + down.square() + _TINY).sqrt() - _TINY**0.5
        variation: Tensor = lengths.mean(dim=2).sum(dim=(1, 2, 3)) / _count(painted)
        return variation


class Printability:
    """How far what is painted is from colours that can be printed: the non-printability score of Sharif et al. (2016).

    The mean over the changed pixels of the product of their distances from every colour, the largest distance, black
    from white, counting as 1.

    Args:
        colours: Red, green and blue of printable colours, in grey levels. Photograph a palette that your printer made:
            those by default are rough.
    """

    def __init__(self, *, colours: Annotated[list[Colour], Field(min_length=1, max_length=64)] | None = None) -> None:
        self._colours = torch.tensor([list(colour) for colour in colours or INKS], dtype=torch.float32) / 255

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, of faces ``(B, V, 3, H, W)``, RGB in [0, 1]."""
        painted = _painted(protected, original)
        product = torch.ones_like(painted)
        for colour in self._colours.to(protected.device):
            away = (protected - colour.view(3, 1, 1)).square().sum(dim=2, keepdim=True)
            product = product * ((away + _TINY) / 3).sqrt()
        return (product * painted).sum(dim=(1, 2, 3, 4)) / _count(painted)


def _painted(protected: Tensor, original: Tensor) -> Tensor:
    """Return 1 where a picture was changed, ``(B, V, 1, H, W)``, without gradient."""
    change = (protected - original).detach().abs().amax(dim=2, keepdim=True)
    return (change > _PAINTED).to(protected.dtype)


def _count(painted: Tensor) -> Tensor:
    return painted.sum(dim=(1, 2, 3, 4)).clamp_min(1)
