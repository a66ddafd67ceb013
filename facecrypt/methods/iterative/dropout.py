"""Dropout on the feature maps of a frozen recogniser: many slightly different recognisers from one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from facecrypt.errors import FacecryptError


class FeatureDropout:
    """Drops random elements of a network's feature maps while it is active, after DFANet (Zhong & Deng, TIFS 2021).

    The feature maps are the outputs of the convolutions. A network with at most one convolution, as transformers have
    it to cut the picture into pieces, drops elements of the outputs of its linear layers instead, where these keep
    tokens apart, ``(N, tokens, D)``. As in `torch.nn.Dropout`, what is left is divided by ``1 - share``.

    Args:
        network: Any torch network; it is not changed.
        share: Probability that an element is dropped, 0 <= share < 1.
        name: What errors call the network.

    Raises:
        FacecryptError: If the network has no such layers.
    """

    def __init__(self, network: nn.Module, share: float, name: str) -> None:
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        self._layers: list[nn.Module] = list(convolutions if len(convolutions) > 1 or not linear else linear)
        self._share = share
        self._name = name
        if not self._layers:
            raise FacecryptError(
                f"surrogate {name}: dropout {share} needs a network of torch.nn.Conv2d or torch.nn.Linear layers, and "
                "this one has none. Set its dropout to 0."
            )

    @contextmanager
    def active(self, seeds: Sequence[int]) -> Iterator[None]:
        """Drop features of every picture that the network is given inside this context.

        A picture's seed alone decides what is dropped, so it depends on no other picture of the batch. The same seeds
        give the same features on one kind of device; CUDA draws other numbers than the CPU.

        Args:
            seeds: One per picture.
        """
        # A network of somebody else takes no draws as arguments, so hooks bring them in. They hang on it only inside
        # this context: a hook that stayed would need a switch in the network, which judges and other threads share,
        # and could not be pickled.
        generators: list[torch.Generator] = []

        def drop(layer: nn.Module, args: Any, features: Tensor) -> Tensor:
            if features.ndim < 3:
                return features  # An embedding or its like, no longer a feature map.
            if len(features) != len(seeds):
                raise FacecryptError(
                    f"surrogate {self._name}: dropout cannot tell whose features are whose: {len(features)} feature "
                    f"maps of {len(seeds)} pictures. Set its dropout to 0."
                )
            if not generators:
                generators.extend(torch.Generator(features.device).manual_seed(seed) for seed in seeds)
            draws = [
                torch.rand(features.shape[1:], generator=generator, device=features.device) for generator in generators
            ]
            return features.masked_fill(torch.stack(draws) < self._share, 0) / (1 - self._share)

        with ExitStack() as hooks:
            for layer in self._layers:
                hooks.callback(layer.register_forward_hook(drop).remove)
            yield
