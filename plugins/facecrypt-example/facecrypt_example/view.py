"""A view: other lighting, another camera, another screen."""

from __future__ import annotations

from typing import Annotated

import kornia.augmentation
from torch import Tensor

from facecrypt.plugin import Field, KorniaView, Params

_DARKEST = 1 / 255
"""x ** gamma is infinitely steep at x = 0 for every gamma below 1, and one infinite gradient ruins a whole mask."""


class Gamma(KorniaView):
    """Random gamma and brightness, with a gradient that stays finite on black pixels."""

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images in the drawn views, within [0, 1]; black counts as the darkest grey level."""
        # Added without a gradient of its own, so that black pixels too pass theirs on.
        return super().apply(images + (_DARKEST - images).clamp_min(0).detach(), params)


def gamma(
    *,
    exponent: Annotated[float, Field(ge=0, le=2)] = 0.3,
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> Gamma:
    """Return a view in which every pixel x becomes b * x ** g, clipped to [0, 1].

    Args:
        exponent: Largest change of g: 0.3 draws exponents from 1 / 1.3 to 1.3.
        brightness: Largest change of b: 0.1 draws factors from 0.9 to 1.1.
    """
    exponents = (1 / (1 + exponent), 1 + exponent)
    return Gamma(kornia.augmentation.RandomGamma(exponents, (1 - brightness, 1 + brightness), p=1.0))
