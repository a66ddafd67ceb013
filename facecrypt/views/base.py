"""Random views of a face: they turn one image into a batch, for MMD and for diversity.

TIP-IM describes this in footnote 4 and Appendix B.

Every view is differentiable, so the gradient of what a recogniser sees reaches the mask underneath. Most here are
kornia augmentations; `facecrypt.views.warps` and `facecrypt.views.spectrum` hold others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, TypeAlias

import kornia.augmentation
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.errors import PluginError

Params: TypeAlias = Mapping[str, Tensor]
Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Sigma = Annotated[float, Field(ge=0.01, le=1000)]
Quality = Annotated[float, Field(ge=1, le=100)]


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
    probability: Probability = 1.0,
) -> View:
    """Return a view that turns, shifts and scales the picture a little, as another detector's landmarks would.

    Args:
        degrees: Largest rotation, in degrees.
        translate: Largest shift, as a share of the side.
        scale: Largest change of size: 0.05 draws factors from 0.95 to 1.05.
        probability: How often a picture changes.
    """
    view = kornia.augmentation.RandomAffine(
        degrees, translate=(translate, translate), scale=(1 - scale, 1 + scale), p=1.0
    )
    return maybe(KorniaView(view), probability)


def perspective(*, distortion: Share = 0.05, probability: Probability = 1.0) -> View:
    """Return a view that moves the corners of the picture.

    Args:
        distortion: Twice the largest movement of a corner, as a share of the side.
        probability: How often a picture changes.
    """
    return maybe(KorniaView(kornia.augmentation.RandomPerspective(distortion, p=1.0)), probability)


def blur(
    *,
    radius: Annotated[int, Field(ge=1, le=15)] = 2,
    sigma: tuple[Sigma, Sigma] = (0.1, 1.5),
    probability: Probability = 1.0,
) -> View:
    """Return a view with Gaussian blur.

    Args:
        radius: Reach of the kernel in pixels to each side.
        sigma: Smallest and largest standard deviation, in pixels.
        probability: How often a picture changes.
    """
    width = 2 * radius + 1
    view = kornia.augmentation.RandomGaussianBlur((width, width), (min(sigma), max(sigma)), p=1.0)
    return maybe(KorniaView(view), probability)


def jpeg(*, quality: tuple[Quality, Quality] = (60.0, 95.0), probability: Probability = 1.0) -> View:
    """Return a view with differentiable JPEG compression.

    Args:
        quality: Lowest and highest JPEG quality, 1 to 100.
        probability: How often a picture changes.
    """
    return maybe(KorniaView(kornia.augmentation.RandomJPEG((min(quality), max(quality)), p=1.0)), probability)


class Resize:
    """Shrinks the picture by a random factor and enlarges it again, as platforms and thumbnails do.

    Args:
        smallest: Smallest share of the width and height that is left in between.
    """

    def __init__(self, *, smallest: float) -> None:
        self.smallest = smallest

    def sample(self, count: int, side: int) -> Params:
        """Draw the share of each picture's side that is left in between."""
        return {"share": torch.empty(count).uniform_(self.smallest, 1), "side": torch.full((count,), side)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images, shrunk bilinearly with antialiasing and enlarged bilinearly."""
        seen = []
        for image, share, side in zip(
            images.chunk(len(images)), params["share"].tolist(), params["side"].tolist(), strict=True
        ):
            middle = [max(1, round(share * side))] * 2
            small = functional.interpolate(image[..., :side, :side], size=middle, mode="bilinear", antialias=True)
            large = functional.interpolate(small, size=[side, side], mode="bilinear")
            seen.append(functional.pad(large, (0, image.shape[-1] - side, 0, image.shape[-2] - side)))
        return torch.cat(seen).clamp(0, 1)


def resize(*, smallest: Annotated[float, Field(gt=0, lt=1)] = 0.5, probability: Probability = 1.0) -> View:
    """Return a view that loses resolution: the picture is shrunk by a random factor and enlarged again.

    Args:
        smallest: Smallest share of the width and height that is left in between.
        probability: How often a picture changes.
    """
    return maybe(Resize(smallest=smallest), probability)


class InputDiversity:
    """Shrinks the picture at random and puts it anywhere on a grey square of its old side: DIM (Xie et al., CVPR 2019).

    With a probability of 0.5, the published code puts pictures of 299 to 329 pixels on squares of 330 that are filled
    with zeros, which is mid-grey to networks that read [-1, 1]. The defaults are the same. Two things differ: pixels
    are interpolated and not repeated, so that each gets its gradient, and every view of every face is drawn apart, not
    one for a whole batch.

    Args:
        probability: How often a picture changes.
        smallest: Smallest side of the shrunken picture, as a share of the old side.
    """

    def __init__(
        self,
        *,
        probability: Annotated[float, Field(ge=0, le=1)] = 0.5,
        smallest: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    ) -> None:
        self.probability = probability
        self.smallest = smallest

    def sample(self, count: int, side: int) -> Params:
        """Draw `count` sizes and places, and whether to use them."""
        low = max(1, min(round(self.smallest * side), side - 1))
        size = torch.randint(low, max(side, low + 1), (count,))
        # In single precision, a number just below 1 times the room could round up to a place outside the square.
        left, top = (torch.rand(2, count, dtype=torch.float64) * (side - size + 1)).floor()
        return {
            "shrink": torch.rand(count) < self.probability,
            "side": torch.full((count,), side),
            "size": size,
            "left": left,
            "top": top,
        }

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images in the drawn views, within [0, 1]."""
        side, size, left, top = (params[name].to(images).unsqueeze(1) for name in ("side", "size", "left", "top"))
        extent = images.shape[-1]
        pixels = torch.arange(extent, device=images.device)

        def look_up(start: Tensor) -> tuple[Tensor, Tensor]:
            """Return where the pixels along one axis come from, and which of them show the picture: ``(N, S)``."""
            place = pixels - start
            source = (place + 0.5) * (side / size) - 0.5
            return torch.minimum(source.clamp_min(0), side - 1), (place >= 0) & (place < size)

        (x, shows_x), (y, shows_y) = look_up(left), look_up(top)
        points = torch.stack([x.unsqueeze(1).expand(-1, extent, -1), y.unsqueeze(2).expand(-1, -1, extent)], dim=3)
        shrunken = functional.grid_sample(images, (2 * points + 1) / extent - 1, mode="bilinear", align_corners=False)
        square = (pixels < side).to(images)  # A smaller face of a batch is padded with black, which stays black.
        viewed = torch.where(_outer(shows_y, shows_x), shrunken, 0.5 * _outer(square, square))
        return torch.where(params["shrink"].to(images.device).view(-1, 1, 1, 1), viewed, images).clamp(0, 1)


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the products of every row with every column, ``(N, 1, H, W)``, of ``(N, H)`` and ``(N, W)``."""
    return rows[:, None, :, None] * columns[:, None, None, :]


class OneOf:
    """Changes each picture by one of several views, chosen at random.

    Args:
        views: The views, all equally likely.
        nothing: How often no view is chosen and the picture stays as it is.
    """

    def __init__(self, views: Sequence[View], nothing: float = 0.0) -> None:
        self.views = list(views)
        self.nothing = nothing

    def sample(self, count: int, side: int) -> Params:
        """Draw the number of each picture's view, and `count` of every view."""
        odds = torch.tensor([(1 - self.nothing) / len(self.views)] * len(self.views) + [self.nothing])
        drawn = {"chosen": torch.multinomial(odds, count, replacement=True)}
        for number, view in enumerate(self.views):
            drawn |= {f"{number}.{name}": value for name, value in view.sample(count, side).items()}
        return drawn

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images, each in its chosen view."""
        for number, view in enumerate(self.views):
            rows = (params["chosen"] == number).nonzero().squeeze(1)
            if len(rows):
                start = f"{number}."
                own = {name[len(start) :]: value[rows] for name, value in params.items() if name.startswith(start)}
                rows = rows.to(images.device)
                images = images.index_copy(0, rows, view.apply(images[rows], own).to(images.dtype))
        return images


def maybe(view: View, probability: float) -> View:
    """Return a view that changes a picture as often as `probability` says and else leaves it as it is."""
    return view if probability == 1 else OneOf([view], nothing=1 - probability)


def draw(views: Sequence[View], seeds: Sequence[int], sides: Sequence[int], count: int) -> list[Params]:
    """Draw `count` views of each face, from its own seed, so that no face depends on its neighbours in a batch.

    Args:
        views: The recipe's views, applied one after the other.
        seeds: One per face.
        sides: Side of each face's patch in pixels.
        count: Views per face.

    Returns:
        One entry per view, with a row for each of the ``len(seeds) * count`` pictures, face by face.

    Raises:
        PluginError: If a view's draws for two faces do not fit together.
    """
    rows: list[list[Params]] = [[] for _ in views]
    with torch.random.fork_rng(devices=[]):
        for seed, side in zip(seeds, sides, strict=True):
            # Not torch.manual_seed: it also seeds every graphics card, for good, and takes longer than the draw.
            torch.default_generator.manual_seed(seed)
            for view, drawn in zip(views, rows, strict=True):
                drawn.append(view.sample(count, side))
    return [_join(view, drawn) for view, drawn in zip(views, rows, strict=True)]


def _join(view: View, drawn: Sequence[Params]) -> Params:
    try:
        return {name: torch.cat([params[name] for params in drawn]) for name in drawn[0]}
    except (KeyError, RuntimeError) as error:
        raise PluginError(
            f"{view}: its draws for faces of different sides do not fit together ({type(error).__name__}: {error}); "
            "expected the same names, and rows of one shape, whatever the side. Mend it, or name another view."
        ) from error
