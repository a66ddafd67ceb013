"""A transform: what an old screen or a format with few colours leaves of a picture."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from facecrypt.plugin import Field, Pixels, Transform


def few_levels(*, levels: Annotated[int, Field(ge=2, le=256)] = 16) -> Transform:
    """Return a transform after which each colour has few shades, evenly spread: every value becomes the nearest.

    Args:
        levels: Number of shades.
    """
    shades = np.rint(np.linspace(0, 255, levels))
    table: Pixels = shades[np.abs(np.arange(256)[:, None] - shades).argmin(axis=1)].astype(np.uint8)

    def show(pixels: Pixels) -> Pixels:
        return np.take(table, pixels)

    return show
