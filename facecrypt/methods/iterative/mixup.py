"""Clean feature mixup: while a surrogate is looked through, foreign features compete with the mask's.

CFM (Byun et al., CVPR 2023): at random, the features of the protected face are mixed with stored features of clean
pictures, so that a mask must work against them and not only in one network's undisturbed features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facecrypt.errors import FacecryptError
from facecrypt.surrogates.embedder import Embedder

_SHRUNKEN = 4
"""Features of convolutions are mixed from a quarter of the crop's width on, as in the published code."""

_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]
"""A forward hook: what it returns takes the place of the layer's output, unless it is None."""


@dataclass(frozen=True)
class Mixup:
    """How features are mixed.

    Attributes:
        probability: How often a picture's features are mixed, at each layer on its own.
        ratio: Largest share of the foreign features; each channel draws its own.
    """

    probability: float
    ratio: float


Features = list[Tensor]
"""Features of some pictures at each layer that mixes, in the order of the forward pass."""


def record(embedder: Embedder, crops: Tensor) -> Features:
    """Return the clean features of crops ``(N, 3, H, W)``, without gradient.

    Raises:
        FacecryptError: If the network has no layer whose features could be mixed.
    """
    found: Features = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if _mixes(embedder, module, output):
            found.append(output.detach().clone())

    with torch.no_grad(), _hooked(embedder, keep):
        embedder.raw(crops)  # All in one pass of the network, which `embedder` itself does not promise.
    if not found:
        raise FacecryptError(
            "surrogates: mixup: a network has neither convolutions nor linear layers. Leave mixup out for it."
        )
    return found


@contextmanager
def mixing(embedder: Embedder, mixup: Mixup, clean: Features, targets: int, seeds: Sequence[int]) -> Iterator[None]:
    """Mix features in the one forward pass inside the block, by each face's own random numbers.

    ``(1 - ratio) * features + ratio * clean features`` of a target's or of the face's own clean picture.

    Args:
        embedder: The surrogate. It is given ``(B * V, 3, H, W)``, face by face.
        mixup: How to mix.
        clean: From `record`: those of the targets, then those of the B originals.
        targets: Number of the targets.
        seeds: One per face.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = iter(clean)

    def mix(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not _mixes(embedder, module, output):
            return None
        stored = next(layers)
        axis = _channel_axis(module, output)
        copies = output.shape[0] // len(seeds)
        draws = [
            _draw(generator, mixup, copies, output.shape[axis], targets, targets + face)
            for face, generator in enumerate(generators)
        ]
        mixes, partners, ratios = (torch.cat(parts) for parts in zip(*draws, strict=True))
        rows = mixes.nonzero().squeeze(1)
        if not len(rows):
            return None
        shape = [len(rows)] + [1] * (output.ndim - 1)
        shape[axis] = output.shape[axis]
        share = ratios[rows].view(shape).to(output)
        foreign = stored[partners[rows].to(stored.device)].to(output.dtype)
        rows = rows.to(output.device)
        return output.index_copy(0, rows, (1 - share) * output[rows] + share * foreign)

    with _hooked(embedder, mix):
        yield


def _draw(
    generator: torch.Generator, mixup: Mixup, copies: int, channels: int, targets: int, own: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether each view of a face is mixed, with which clean picture, and in which ratios ``(V, C)``."""
    mixes = torch.rand(copies, generator=generator) < mixup.probability
    partners = torch.randint(targets + 1, (copies,), generator=generator)
    ratios = mixup.ratio * torch.rand(copies, channels, generator=generator)
    return mixes, torch.where(partners == targets, own, partners), ratios


def _mixes(embedder: Embedder, module: nn.Module, output: Tensor) -> bool:
    return isinstance(module, nn.Linear) or output.shape[-1] <= embedder.spec.width // _SHRUNKEN


def _channel_axis(module: nn.Module, output: Tensor) -> int:
    return output.ndim - 1 if isinstance(module, nn.Linear) else 1


@contextmanager
def _hooked(embedder: Embedder, hook: _Hook) -> Iterator[None]:
    """Call a hook after every convolution and linear layer inside the block, and leave none behind."""
    layers = [module for module in embedder.network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
