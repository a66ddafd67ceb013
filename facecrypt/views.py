"""Random views of a face: they turn one image into a batch, for MMD and for diversity.

TIP-IM describes this in footnote 4 and Appendix B.

Every view is a kornia augmentation, so the gradient of what a recogniser sees reaches the mask underneath.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, TypeAlias

import kornia.augmentation
import torch
from pydantic import Field
from torch import Tensor

Params: TypeAlias = Mapping[str, Tensor]
Share = Annotated[float, Field(ge=0, lt=1)]


class View(Protocol):
    """A random, differentiable change of pictures, drawn and applied apart, so that two pictures can get one view."""

    def sample(self, count: int, side: int) -> Params:
        """Draw `count` views of a square picture from torch's global random numbers.

        Args:
            count: Number of views.
            side: Width and height of the picture in pixels.

        Returns:
            CPU tensors with `count` rows each.
        """
        ...

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images as seen in the drawn views.

        Args:
            images: ``(N, 3, H, W)``, RGB in [0, 1]; may be padded beyond the side that `sample` was told.
            params: Draws with N rows.
        """
        ...


class KorniaView:
    """Any kornia augmentation as a view.

    Args:
        augmentation: A 2D augmentation that always applies (``p=1``) and passes a gradient.
    """

    def __init__(self, augmentation: kornia.augmentation.AugmentationBase2D) -> None:
        self.augmentation = augmentation

    def sample(self, count: int, side: int) -> Params:
        """Draw `count` views."""
        drawn = self.augmentation.forward_parameters(torch.Size((count, 3, side, side)))
        # kornia notes the shape of the batch here; batches are put together from several draws, so it is set on use.
        return {name: value for name, value in drawn.items() if name != "forward_input_shape"}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images in the drawn views, within [0, 1]."""
        on_device = {name: value.to(images.device) for name, value in params.items()}
        viewed: Tensor = self.augmentation(
            images, params={**on_device, "forward_input_shape": torch.tensor(images.shape)}
        )
        return viewed.clamp(0, 1)


def affine(
    *,
    degrees: Annotated[float, Field(ge=0, le=45)] = 3.0,
    translate: Share = 0.03,
    scale: Share = 0.05,
) -> KorniaView:
    """Return a view that turns, shifts and scales the picture a little, as another detector's landmarks would.

    Args:
        degrees: Largest rotation, in degrees.
        translate: Largest shift, as a share of the side.
        scale: Largest change of size: 0.05 draws factors from 0.95 to 1.05.
    """
    return KorniaView(
        kornia.augmentation.RandomAffine(degrees, translate=(translate, translate), scale=(1 - scale, 1 + scale), p=1.0)
    )


def perspective(*, distortion: Share = 0.05) -> KorniaView:
    """Return a view that moves each corner of the picture by up to half of `distortion`, as a share of the side."""
    return KorniaView(kornia.augmentation.RandomPerspective(distortion, p=1.0))


def blur(*, kernel: Annotated[int, Field(ge=3, le=31)] = 5, sigma: tuple[float, float] = (0.1, 1.5)) -> KorniaView:
    """Return a view with Gaussian blur.

    Args:
        kernel: Width of the kernel in pixels, odd.
        sigma: Smallest and largest standard deviation in pixels.
    """
    return KorniaView(kornia.augmentation.RandomGaussianBlur((kernel, kernel), sigma, p=1.0))


def jpeg(*, quality: tuple[float, float] = (60.0, 95.0)) -> KorniaView:
    """Return a view with differentiable JPEG compression.

    Args:
        quality: Lowest and highest JPEG quality, 1 to 100.
    """
    return KorniaView(kornia.augmentation.RandomJPEG(quality, p=1.0))


def draw(views: Sequence[View], seeds: Sequence[int], sides: Sequence[int], count: int) -> list[Params]:
    """Draw `count` views of each face, from its own seed, so that no face depends on its neighbours in a batch.

    Args:
        views: The recipe's views, applied one after the other.
        seeds: One per face.
        sides: Side of each face's patch in pixels.
        count: Views per face.

    Returns:
        One entry per view, with a row for each of the ``len(seeds) * count`` pictures, face by face.
    """
    rows: list[list[Params]] = [[] for _ in views]
    for seed, side in zip(seeds, sides, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for view, drawn in zip(views, rows, strict=True):
                drawn.append(view.sample(count, side))
    return [{name: torch.cat([params[name] for params in drawn]) for name in drawn[0]} for drawn in rows]
