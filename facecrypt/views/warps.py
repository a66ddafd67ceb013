"""Views that move parts of a face a little: as other landmarks would place its crop, and block by block.

Positions are shares of half the picture's own side from its centre, so -1 and 1 are its borders, as for
`torch.nn.functional.grid_sample`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.faces.alignment import crop_to_image
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.views.base import Params, Probability, Share, View, maybe

_CROP_SIDE = 112
_PATCH_SIDE = 1.24 * _CROP_SIDE
"""Side of an upright face's patch in pixels of its crop: see `facecrypt.faces.face.patch_around`."""


class LandmarkJitter:
    """Sees the face as if each of its five landmarks had been found a little beside its place.

    The landmarks of the crop are moved by independent normal numbers, and the similarity that fits them best places
    the crop, as in every recogniser's aligner.

    Args:
        pixels: Standard deviation of a landmark's x and y, in pixels of the 112x112 crop.
    """

    def __init__(self, *, pixels: float) -> None:
        self.pixels = pixels

    def sample(self, count: int, side: int) -> Params:
        """Draw the similarities, ``(count, 2, 3)``, from where a pixel is to where it comes from."""
        template = torch.tensor(ARCFACE_TEMPLATE)
        found = template + self.pixels * torch.randn(count, *template.shape)
        matrix = crop_to_image(found, ARCFACE_TEMPLATE).double()
        # From pixels of the crop to positions in the patch, whose centre is that of the crop.
        centre, half = (_CROP_SIDE - 1) / 2, _PATCH_SIDE / 2
        turn, shift = matrix[:, :, :2], matrix[:, :, 2]
        shift = (turn.sum(dim=2) * centre + shift - centre) / half
        return {"matrix": torch.cat([turn, shift.unsqueeze(2)], dim=2).float(), "side": torch.full((count,), side)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images in the drawn similarities; beyond a picture's border, its last pixels are repeated."""
        x, y = _positions(images, params["side"])
        matrix = params["matrix"].to(images)[..., None, None]
        (a, b, c), (d, e, f) = ((row[:, 0], row[:, 1], row[:, 2]) for row in (matrix[:, 0], matrix[:, 1]))
        return _look_up(images, params["side"], a * x + b * y + c, d * x + e * y + f)


def landmark_jitter(*, pixels: Annotated[float, Field(gt=0, le=10)] = 2.0, probability: Probability = 1.0) -> View:
    """Return a view that places the crop as landmarks do that were found a little beside their places.

    Each landmark moves on its own, and the crop follows by the similarity that fits all five best. The patch of an
    upright face found in a photo gives the scale; with ``faces: aligned``, shifts are a fifth smaller.

    Args:
        pixels: Standard deviation of a landmark's x and y, in pixels of the 112x112 crop.
        probability: How often a picture changes.
    """
    return maybe(LandmarkJitter(pixels=pixels), probability)


class BlockRotate:
    """Cuts the picture into blocks and turns and moves each around its own centre.

    Args:
        blocks: Number of blocks along each side.
        degrees: Largest rotation of a block.
        translate: Largest movement of a block along each axis, as a share of the picture's side.
    """

    def __init__(self, *, blocks: int, degrees: float, translate: float) -> None:
        self.blocks = blocks
        self.degrees = degrees
        self.translate = translate

    def sample(self, count: int, side: int) -> Params:
        """Draw the borders between the blocks, ``(count, 2, blocks + 1)``, and what happens to each block."""
        # Widths between 1 and 2 before they are scaled to the side, as published.
        widths = functional.pad(1 + torch.rand(count, 2, self.blocks), (1, 0)).cumsum(dim=2)
        shape = (count, self.blocks, self.blocks)
        angles = (2 * torch.rand(shape) - 1) * torch.deg2rad(torch.tensor(self.degrees))
        shifts = (2 * torch.rand(count, 2, *shape[1:]) - 1) * 2 * self.translate
        return {
            "borders": 2 * widths / widths[..., -1:] - 1,
            "angles": angles,
            "shifts": shifts,
            "side": torch.full((count,), side),
        }

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images with their blocks turned and moved; beyond a picture's border, its edge is repeated."""
        x, y = _positions(images, params["side"])
        borders = params["borders"].to(images)
        columns, rows = (_block(place, borders[:, axis]) for axis, place in enumerate((x[:, 0], y[..., 0])))
        centres = (borders[..., 1:] + borders[..., :-1]) / 2
        centre_x = centres[:, 0].gather(1, columns).unsqueeze(1)
        centre_y = centres[:, 1].gather(1, rows).unsqueeze(2)
        number = (rows.unsqueeze(2) * self.blocks + columns.unsqueeze(1)).flatten(1)

        def of_block(values: Tensor) -> Tensor:
            return values.to(images).flatten(1).gather(1, number).view(x.shape[0], rows.shape[1], columns.shape[1])

        angle = of_block(params["angles"])
        shift_x, shift_y = of_block(params["shifts"][:, 0]), of_block(params["shifts"][:, 1])
        right, down = x - centre_x, y - centre_y
        cos, sin = angle.cos(), angle.sin()
        return _look_up(
            images,
            params["side"],
            centre_x + cos * right - sin * down + shift_x,
            centre_y + sin * right + cos * down + shift_y,
        )


def block_rotate(
    *,
    blocks: Annotated[int, Field(ge=2, le=8)] = 3,
    degrees: Annotated[float, Field(ge=0, le=45)] = 6.0,
    translate: Share = 0.01,
    probability: Probability = 1.0,
) -> View:
    """Return a view that cuts the picture at random into blocks and turns and moves each a little.

    After BSR (Wang et al., CVPR 2024), which turns blocks by up to 24 degrees, shuffles them and leaves black gaps.
    A face must stay aligned to be recognised: here blocks keep their order, turn less, and show what lies around them.

    Args:
        blocks: Number of blocks along each side; their widths differ by a factor of 2 at most.
        degrees: Largest rotation of a block, in degrees.
        translate: Largest movement of a block along each axis, as a share of the side.
        probability: How often a picture changes.
    """
    return maybe(BlockRotate(blocks=blocks, degrees=degrees, translate=translate), probability)


def _positions(images: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """Return the x and y of every pixel, ``(N, 1, W)`` and ``(N, H, 1)``, in shares of half the own side."""
    side = sides.to(images).view(-1, 1)
    x, y = (
        (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / side - 1
        for size in (images.shape[-1], images.shape[-2])
    )
    return x.unsqueeze(1), y.unsqueeze(2)


def _block(places: Tensor, borders: Tensor) -> Tensor:
    """Return the number of the block along one axis for each place, ``(N, S)``, of places ``(N, S)``."""
    return torch.searchsorted(borders[:, 1:-1].contiguous(), places.contiguous(), right=True)


def _look_up(images: Tensor, sides: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the pictures with each pixel taken from x, y, ``(N, H, W)``; padding stays black."""
    side = sides.to(images).view(-1, 1, 1)
    border = 1 - 1 / side  # The middle of a picture's last pixel.
    own_x, own_y = _positions(images, sides)
    inside = ((own_x < 1) & (own_y < 1)).unsqueeze(1).to(images.dtype)
    extents = images.shape[-1], images.shape[-2]
    grid = torch.stack(
        [
            (torch.minimum(torch.maximum(place, -border), border) + 1) * (side / extent) - 1
            for place, extent in zip((x, y), extents, strict=True)
        ],
        dim=3,
    )
    seen = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (seen * inside).clamp(0, 1)
