"""An adversary's small U-Net that takes masks off faces, learnt from pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.benchmark.learners.people import split_people
from facecrypt.engine.fitting import Pace, fit
from facecrypt.faces.alignment import crop
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.crops import embedder_grid
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed

SIDE = 128
"""Of the patches that the network sees, in pixels."""
PACE = Pace(epochs=30, batch_size=8, patience=6)
_WIDTHS = (24, 48, 96)
_RATE = 1e-3
_PIXELS = 20.0
"""What the mean absolute difference of pixels in [0, 1] counts beside the distance of embeddings."""


class UNet(nn.Module):
    """Patches ``(B, 3, S, S)``, RGB in [0, 1], to the masks that it sees in them, at first none; S a multiple of 8.

    An encoder that halves twice, a decoder that doubles twice, and what was seen before beside what comes back
    (Ronneberger et al., MICCAI 2015), on blocks of two by two pixels: 300,000 weights.
    """

    def __init__(self) -> None:
        super().__init__()
        low, middle, high = _WIDTHS
        self.first = _twice(12, low)
        self.second = _twice(low, middle)
        self.third = _twice(middle, high)
        self.fourth = _twice(high + middle, middle)
        self.fifth = _twice(middle + low, low)
        self.last = nn.Conv2d(low, 12, 3, padding=1)
        for each in self.last.parameters():
            nn.init.zeros_(each)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the masks."""
        first = self.first(functional.pixel_unshuffle(patches * 2 - 1, 2))
        second = self.second(functional.avg_pool2d(first, 2))
        third = self.third(functional.avg_pool2d(second, 2))
        fourth = self.fourth(torch.cat([_double(third), second], dim=1))
        fifth = self.fifth(torch.cat([_double(fourth), first], dim=1))
        masks: Tensor = functional.pixel_shuffle(self.last(fifth), 2)
        return masks


@dataclass(frozen=True)
class Purifier:
    """Takes masks off faces.

    Attributes:
        network: What sees the masks, wherever it lies.
        side: Of the patches that it sees, in pixels; others are resized, and the masks back again.
        pairs: Number of pairs that taught it, those of the validation people included.
        epochs: Passes over them.
        before: Mean error on the validation people before it learnt anything: the distance 1 - cosine of embeddings
            from those of the clean faces where recognisers taught it, else the mean absolute difference of pixels.
        after: The same at last.
    """

    network: UNet
    side: int
    pairs: int
    epochs: int
    before: float
    after: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return a patch without its mask, of the same shape, in [0, 1], on the CPU.

        Args:
            pixels: The patch around a protected face (`FaceImage.pixels`), or several, ``(..., 3, S, S)``.
        """
        device = self.network.last.weight.device
        with torch.no_grad():
            found = pixels.flatten(0, -4) if pixels.ndim > 3 else pixels[None]
            masks = self.network(_resized(found.to(device), self.side)).cpu()
            return (found.cpu() - _resized(masks, pixels.shape[-1])).clamp(0, 1).reshape(pixels.shape)


def learn_purifier(
    protected: Sequence[FaceImage],
    clean: Sequence[FaceImage],
    people: Tensor,
    test_people: Collection[int],
    *,
    embedders: Sequence[Embedder] = (),
    side: int = SIDE,
    pace: Pace = PACE,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> Purifier:
    """Return a network that has learnt from pairs to take masks off faces.

    The loss is the mean absolute difference from the clean patch, and, by each of `embedders`, 1 less the cosine with
    the clean face. Patches are mirrored at random before the network sees them. Without embedders, masks that follow
    each face's texture are averaged away, and the best network is the one that does nothing; `before` and `after` say
    so.

    Args:
        protected: N protected faces.
        clean: The same as they were, cut out of the photo at the same place.
        people: Whom each shows, ``(N,)`` int64.
        test_people: Labels of the people by whom it will be judged.
        embedders: Recognisers that give gradients, which teach it what matters of a face.
        side: Of the patches that it sees, in pixels, a multiple of 8.
        pace: How long and by which steps.
        seed: Draws validation people, weights, order and mirrors.
        arguments: Of Lightning's Trainer; ``{"accelerator": "gpu"}`` trains on a GPU.

    Raises:
        FacecryptError: If somebody is among both, there are fewer than four people, or Lightning refuses its arguments.
    """
    parts = split_people(people, test_people, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet()
    small = [torch.cat([_resized(face.pixels[None], side) for face in faces]) for faces in (protected, clean)]
    scale = [side / face.pixels.shape[-1] for face in protected]
    landmarks = torch.stack([(face.landmarks + 0.5) * each - 0.5 for face, each in zip(protected, scale, strict=True)])
    taught = [embed(embedder, clean) for embedder in embedders]
    training, validation = ([each[part] for each in (*small, landmarks, *taught)] for part in parts)
    devices = [next(embedder.buffers()).device for embedder in embedders]
    done = fit(_Lesson(network, embedders), training, validation, pace, seed, arguments)
    for embedder, device in zip(embedders, devices, strict=True):
        embedder.to(device)
    return Purifier(network.requires_grad_(False), side, len(people), done.epochs, done.before, done.after)


class _Lesson(nn.Module):
    def __init__(self, network: UNet, embedders: Sequence[Embedder]) -> None:
        super().__init__()
        self.network = network
        self._embedders = nn.ModuleList(embedders)

    def loss(self, batch: list[Tensor], draw: torch.Generator) -> Tensor:
        """Return the distance from the clean patches, in pixels and in embeddings."""
        protected, clean, landmarks, *taught = batch
        mirrored = (torch.rand(len(protected), 1, 1, 1, generator=draw) < 0.5).to(protected.device)
        seen = torch.where(mirrored, protected.flip(3), protected)
        masks = self.network(seen)
        masks = torch.where(mirrored, masks.flip(3), masks)
        purified = protected - masks
        pixels = _PIXELS * (purified - clean).abs().mean()
        return pixels + self._distances(purified, landmarks, taught).mean() if taught else pixels

    def errors(self, batch: list[Tensor]) -> Tensor:
        """Return the distance of embeddings, or that of pixels where no recogniser is there, ``(B,)``."""
        protected, clean, landmarks, *taught = batch
        purified: Tensor = (protected - self.network(protected)).clamp(0, 1)
        if taught:
            return self._distances(purified, landmarks, taught)
        return (purified - clean).abs().mean(dim=(1, 2, 3))

    def groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters."""
        return [{"params": list(self.network.parameters()), "lr": _RATE}]

    def _distances(self, patches: Tensor, landmarks: Tensor, taught: list[Tensor]) -> Tensor:
        found = []
        for embedder, clean in zip(self._embedders, taught, strict=True):
            assert isinstance(embedder, Embedder)
            seen = crop(patches, embedder_grid(embedder, landmarks, patches.shape[-1]))
            found.append(1 - (embedder(seen) * clean).sum(dim=1))
        return torch.stack(found).mean(dim=0)


def _twice(before: int, after: int) -> nn.Sequential:
    first, second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1))


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="bilinear")


def _resized(images: Tensor, side: int) -> Tensor:
    if images.shape[-1] == side:
        return images
    return functional.interpolate(images, size=(side, side), mode="bilinear", antialias=images.shape[-1] > side)
