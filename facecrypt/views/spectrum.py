"""A view in the frequency domain."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.views.base import Params, Probability, View, maybe


class Spectrum:
    """Weighs the frequencies of a noisy picture at random.

    Args:
        rho: Largest change of a frequency: its factor lies between 1 - rho and 1 + rho.
        sigma: Standard deviation of the noise, in grey levels of 255.
    """

    def __init__(self, *, rho: float, sigma: float) -> None:
        self.rho = rho
        self.sigma = sigma

    def sample(self, count: int, side: int) -> Params:
        """Draw a seed for each picture: its numbers are as many as its values, which differ from face to face."""
        return {"seed": torch.randint(2**31, (count,)), "side": torch.full((count,), side)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images with changed spectra, within [0, 1]."""
        seen = []
        for image, seed, side in zip(
            images.chunk(len(images)), params["seed"].tolist(), params["side"].tolist(), strict=True
        ):
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(3, side, side, generator=generator) * self.sigma / 255
            factors = 1 + self.rho * (2 * torch.rand(3, side, side, generator=generator) - 1)
            matrix = dct_matrix(side).to(images)
            # In half precision, the largest coefficient alone would be off by several grey levels.
            with torch.autocast(images.device.type, enabled=False):
                frequencies = matrix @ (image[..., :side, :side] + noise.to(images)) @ matrix.T
                changed = matrix.T @ (factors.to(images) * frequencies) @ matrix
            seen.append(functional.pad(changed, (0, image.shape[-1] - side, 0, image.shape[-2] - side)))
        return torch.cat(seen).clamp(0, 1)


def spectrum(
    *,
    rho: Annotated[float, Field(ge=0, le=1)] = 0.5,
    sigma: Annotated[float, Field(ge=0, le=255)] = 16.0,
    probability: Probability = 1.0,
) -> View:
    """Return a view that weighs the frequencies of the noisy picture at random: SSA (Long et al., ECCV 2022).

    ``IDCT(DCT(x + noise) * factors)``, with the defaults of the paper. Unlike there, the result is clipped to [0, 1].

    Args:
        rho: Largest change of a frequency: factors are uniform between 1 - rho and 1 + rho.
        sigma: Standard deviation of the Gaussian noise, in grey levels of 255.
        probability: How often a picture changes.
    """
    return maybe(Spectrum(rho=rho, sigma=sigma), probability)


@lru_cache(maxsize=32)
def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix, ``(size, size)``: a row per frequency; transposed, the inverse."""
    frequency, place = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    matrix = (math.pi / size * frequency * (place.double() + 0.5)).cos() * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float()
