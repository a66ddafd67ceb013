"""Linear filters along rows and columns: by products with matrices where pictures are small, else by convolutions.

On a CPU the gradient of a convolution with one channel takes about ten times as long as that of the same product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

Along = Callable[[Tensor, int], Tensor]
"""Filters planes ``(N, 1, H, W)`` along axis 2 or 3. Linear; the result depends on sizes alone."""

_SMALL = 288
"""Pixels to a side up to which the product is faster."""
_MOST_MATRICES = 512


def filter_both(images: Tensor, rows: Along, columns: Along) -> Tensor:
    """Return pictures ``(B, C, H, W)`` filtered along both axes.

    Args:
        images: The pictures.
        rows: The filter along axis 2, the same object, or an equal one, each time: its matrices are kept.
        columns: The filter along axis 3.
    """
    height, width = images.shape[-2:]
    if max(height, width) > _SMALL:
        planes = columns(rows(images.reshape(-1, 1, height, width), 2), 3)
        return planes.reshape(*images.shape[:2], *planes.shape[-2:])
    return _matrix(rows, height).to(images) @ images @ _matrix(columns, width).to(images).T


@lru_cache(maxsize=_MOST_MATRICES)
def _matrix(along: Along, size: int) -> Tensor:
    """Return the matrix of a filter for lines of some length, ``(result, size)``."""
    with torch.no_grad():
        return along(torch.eye(size).view(1, 1, size, size), 2)[0, 0]


@dataclass(frozen=True)
class Line:
    """A filter along one axis; the border is repeated beyond.

    Attributes:
        kernel: An odd number of weights, of the neighbours from the first to the last.
    """

    kernel: tuple[float, ...]

    def __call__(self, planes: Tensor, axis: int) -> Tensor:
        """Return planes ``(N, 1, H, W)``, filtered along axis 2 or 3."""
        reach = len(self.kernel) // 2
        room, shape = ((0, 0, reach, reach), (1, 1, -1, 1)) if axis == 2 else ((reach, reach, 0, 0), (1, 1, 1, -1))
        padded = functional.pad(planes, room, mode="replicate")
        return functional.conv2d(padded, planes.new_tensor(self.kernel).view(shape))


@cache
def gaussian(sigma: float, order: int = 0) -> Line:
    """Return a low pass or a derivative of it along one axis, exact on polynomials of its order.

    Args:
        sigma: Standard deviation in pixels.
        order: 0 for the Gaussian itself, whose weights add up to 1; 1 for the slope in values a pixel; 2 for the second
            derivative.
    """
    reach = math.ceil(4 * sigma)
    places = range(-reach, reach + 1)
    bell = [math.exp(-(place**2) / (2 * sigma**2)) for place in places]
    spread = sum(place**2 * weight for place, weight in zip(places, bell, strict=True)) / sum(bell)
    factors = {
        0: [1.0 for _ in places],
        1: [float(place) for place in places],
        2: [place**2 - spread for place in places],
    }[order]
    line = [factor * weight for factor, weight in zip(factors, bell, strict=True)]
    # What takes x^n / n! to 1.
    size = sum(place**order * weight for place, weight in zip(places, line, strict=True)) / math.factorial(order)
    return Line(tuple(weight / size for weight in line))
