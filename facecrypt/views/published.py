"""A view that shows pictures as a real encoder, platform or purification leaves them, whatever its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.transforms.base import Pixels, Published, publish_all
from facecrypt.transforms.entries import Entry
from facecrypt.views.base import Params, Probability, View, maybe

Entries = Annotated[list[Entry], Field(min_length=1, max_length=64)]

COMMON: list[Entry] = ["jpeg_75", "half_size", "blur", "webp"]
"""What happens to most pictures on their way."""


class StraightThrough:
    """Shows each picture after one of several transforms, and gives it the gradient that no transform would give.

    Forward: 8-bit pixels through the transform itself, brought back to their size where that changed. Backward: as if
    nothing had happened, the straight-through estimator (Bengio et al., 2013), as attackers of defences without a
    gradient use it (BPDA; Athalye et al., ICML 2018).

    Args:
        transforms: What may happen, all equally likely.
    """

    def __init__(self, transforms: Sequence[Published]) -> None:
        self.transforms = list(transforms)

    def sample(self, count: int, side: int) -> Params:
        """Draw a transform for each picture, as its place in the list, from 0 to 1."""
        return {"place": torch.rand(count), "side": torch.full((count,), side)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images after their transforms, in 8 bits."""
        seen = []
        for image, place, side in zip(images, params["place"].tolist(), params["side"].tolist(), strict=True):
            shown = image.detach()[:, :side, :side].float().clamp(0, 1)
            pixels = (shown * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy()
            changed = self.transforms[min(int(place * len(self.transforms)), len(self.transforms) - 1)](pixels)
            values = torch.from_numpy(_resized(changed, (side, side)).copy()).permute(2, 0, 1) / 255
            room = (0, image.shape[-1] - side, 0, image.shape[-2] - side)
            seen.append(functional.pad(values, room).to(images))
        # Not image + (seen - image), which rounds in another way than the file does.
        return _Through.apply(images, torch.stack(seen))  # type: ignore[no-any-return]


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, images: Tensor, seen: Tensor) -> Tensor:
        return seen

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    image = Image.fromarray(pixels)
    return pixels if image.size == size else np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def published(*, transforms: Entries = COMMON, probability: Probability = 1.0) -> View:
    """Return a view in which any transform of published files happens to the picture, with a gradient straight through.

    The picture is the face's patch and not the photo: what depends on the photo's size, such as ``whatsapp``, only
    compresses it. Pixels go to the CPU and back, and real encoders take their time.

    Args:
        transforms: What may happen, one of them for each picture: entries as in ``receipt.transforms``.
        probability: How often a picture changes.
    """
    return maybe(StraightThrough(publish_all(transforms)), probability)
