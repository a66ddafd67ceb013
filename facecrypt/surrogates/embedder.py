"""The one interface of every recogniser, whether it gives gradients (surrogate) or only judges (held-out)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.surrogates.frozen import fold_batch_norms, freeze
from facecrypt.surrogates.spec import EmbedderSpec

_AT_ONCE = 8
"""Crops that a CPU looks at together where no gradient keeps them all: the feature maps of more outgrow its caches."""


class Embedder(nn.Module):
    """A face recogniser: aligned crops in, unit embeddings out, differentiable.

    Its weights are frozen and it stays in evaluation mode; gradients flow to the crops only.

    Args:
        network: Maps prepared crops ``(B, 3, H, W)`` to raw embeddings ``(B, D)``.
        spec: How to prepare the crops, and everything else that is known about the recogniser.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, network: nn.Module, spec: EmbedderSpec) -> None:
        super().__init__()
        self.network = freeze(network)
        self.spec = spec
        self.register_buffer("_mean", torch.tensor(spec.mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(spec.std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Embedder:
        """Stay in evaluation mode: a recogniser is never trained here, whatever its owner asks of its children."""
        return super().train(False)

    def require_gradients(self) -> None:
        """Be ready to give gradients. Networks of torch get faster here, others convert themselves, once.

        Raises:
            WeightsError: If the network cannot give gradients.
        """
        self.network = fold_batch_norms(self.network)

    def raw(self, crops: Tensor) -> Tensor:
        """Return the embeddings as the network gives them, ``(B, D)``.

        Args:
            crops: Aligned faces ``(B, 3, H, W)``, RGB in [0, 1], of the size in `spec`.

        Raises:
            ValueError: If the crops have another size.
        """
        expected = (3, self.spec.height, self.spec.width)
        if tuple(crops.shape[1:]) != expected:
            raise ValueError(f"crops are {tuple(crops.shape)}, expected (B, {', '.join(map(str, expected))})")
        prepared = ((crops * 255 - self._mean) / self._std).to(self._mean.dtype)
        if self.spec.channel_order == "bgr":
            prepared = prepared.flip(1)
        embeddings: Tensor = self.network(prepared)
        return embeddings

    def forward(self, crops: Tensor) -> Tensor:
        """Return unit embeddings ``(B, D)`` in float32 of aligned faces ``(B, 3, H, W)``, RGB in [0, 1]."""
        whole = torch.is_grad_enabled() or crops.device.type != "cpu"
        parts = (crops,) if whole else torch.split(crops, _AT_ONCE)
        return functional.normalize(torch.cat([self.raw(part) for part in parts]).float(), dim=1)
