"""Embeddings that are drawn: people are directions, photos lie around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def draw(people: int, photos: int, spread: float, seed: int, dimension: int = 8) -> tuple[Tensor, Tensor]:
    """Unit embeddings of some photos of each person, and whom they show."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(people, dimension, generator=torch.Generator().manual_seed(99))
    noise = spread * torch.randn(people, photos, dimension, generator=generator)
    return functional.normalize((centres[:, None] + noise).flatten(0, 1), dim=1), torch.arange(
        people
    ).repeat_interleave(photos)
