"""How far protected faces are from looking like photos: terms that the protection loop keeps small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

BANDWIDTHS = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    0.1,
    1.0,
    5.0,
    10.0,
    15.0,
    20.0,
    25.0,
    30.0,
    35.0,
    100.0,
    1e3,
    1e4,
    1e5,
    1e6,
)
"""Variances of the Gaussian kernels in TIP-IM's published code, in squared units of the pixel range."""


class Naturalness(Protocol):
    """A penalty on how protected faces look."""

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, differentiable in `protected`.

        Args:
            protected: Aligned faces in V views each, ``(B, V, 3, H, W)``, RGB in [0, 1].
            original: The same views of the untouched faces, of the same shape.
        """
        ...


class MMD:
    """Maximum mean discrepancy between protected and original faces (Eq. 3 of TIP-IM) with a sum of Gaussian kernels.

    Args:
        over: What makes up the batch X of Eq. 3: ``views``, the views of one face (footnote 4 and Appendix B of the
            paper; faces stay independent of each other), or ``batch``, all faces and views that are protected
            together (Eq. 4).
        bandwidths: Variances of the kernels, in squared units of the [0, 1] pixel range.
    """

    def __init__(
        self,
        *,
        over: Literal["views", "batch"] = "views",
        bandwidths: Sequence[Annotated[float, Field(gt=0)]] = BANDWIDTHS,
    ) -> None:
        self.over = over
        self.bandwidths = tuple(bandwidths)

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the discrepancy of each face, ``(B,)``; under ``batch`` all faces share one value."""
        faces = protected.shape[0]
        if self.over == "batch":
            value = mmd(protected.flatten(0, 1), original.flatten(0, 1), self.bandwidths)
            return value.expand(faces)
        return torch.stack([mmd(protected[i], original[i], self.bandwidths) for i in range(faces)])


def mmd(protected: Tensor, original: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> Tensor:
    """Return the squared maximum mean discrepancy of two sets of images, a scalar >= 0 (Eq. 3 of TIP-IM).

    Expanded by the kernel trick into mean k(p, p') + mean k(r, r') - 2 mean k(p, r), with
    k(x, y) = sum over b of exp(-||x - y||^2 / (2 b)) on flattened images.

    Args:
        protected: ``(N, 3, H, W)``, RGB in [0, 1].
        original: ``(M, 3, H, W)``, RGB in [0, 1].
        bandwidths: Variances b of the kernels.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        # Differences, not the expanded square: masks are tiny next to pixels, and rounding would swallow them.
        squared = (a.flatten(1).unsqueeze(1) - b.flatten(1).unsqueeze(0)).square().sum(dim=2)
        variances = torch.tensor(bandwidths, dtype=squared.dtype, device=squared.device)
        return torch.exp(-squared / (2 * variances.view(-1, 1, 1))).sum(dim=0).mean()

    return mean_kernel(protected, protected) + mean_kernel(original, original) - 2 * mean_kernel(protected, original)
