"""Linear filters along rows and columns: by products with matrices where pictures are small, else by convolutions.

On a CPU the gradient of a convolution with one channel takes about ten times as long as that of the same product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

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
