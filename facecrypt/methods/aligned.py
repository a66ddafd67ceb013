"""Faces cut out as networks see them, turned and scaled onto a template, and pictures of that size drawn back."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrypt.faces.alignment import ALIGNED_SIDE, crop, crop_grid, paste_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.templates import ARCFACE_TEMPLATE, Template


def arcface(size: int, margin: float = 0.0) -> Template:
    """Return ArcFace's template on a square of another size, with a margin.

    Args:
        size: Side of the square in pixels.
        margin: What is seen beyond ArcFace's crop on each side, as a share of the crop.
    """
    scale = size / (ALIGNED_SIDE * (1 + 2 * margin))
    return tuple(
        ((x + 0.5 + margin * ALIGNED_SIDE) * scale - 0.5, (y + 0.5 + margin * ALIGNED_SIDE) * scale - 0.5)
        for x, y in ARCFACE_TEMPLATE
    )


def align(face: FaceImage, template: Template, size: int) -> Tensor:
    """Return a face as a template wants it, ``(3, size, size)``, RGB in [0, 1], black outside the photo."""
    side = face.pixels.shape[-1]
    return crop(face.pixels[None], crop_grid(face.landmarks[None], template, (size, size), side))[0]


def draw(picture: Tensor, face: FaceImage, template: Template) -> Tensor:
    """Return an aligned picture ``(C, size, size)`` where it belongs on a face, ``(C, S, S)``, 0 where it is not.

    Args:
        picture: On any device, and differentiable.
        face: The face; nothing is drawn beyond the border of the photo.
        template: Where the landmarks lie in the picture.
    """
    size = picture.shape[-1]
    grid = paste_grid(face.landmarks[None], template, (size, size), face.pixels.shape[-1]).to(picture.device)
    return crop(picture[None], grid)[0] * face.inside.to(picture.device)


def replace_face(face: FaceImage, picture: Tensor, template: Template, feather: float = 0.0) -> Tensor:
    """Return the pixels of a face, ``(3, S, S)``, with an aligned picture in its place.

    Args:
        face: The face.
        picture: The other one, ``(3, size, size)``, RGB in [0, 1].
        template: Where the landmarks lie in it.
        feather: Width over which it fades in from its border, as a share of its size.
    """
    share = faded(picture.shape[-1], feather).to(picture.device)
    drawn = draw(torch.cat([picture * share, share]), face, template)
    return face.pixels.to(picture.device) * (1 - drawn[3:]) + drawn[:3]


def faded(size: int, feather: float) -> Tensor:
    """Return how much of a picture shows at each pixel, ``(1, size, size)``: 0 at its border, 1 from `feather` on."""
    if feather == 0:
        return torch.ones(1, size, size)
    inward = (torch.arange(size).minimum(torch.arange(size).flip(0)) + 0.5) / size
    ramp = (inward / feather).clamp_max(1)
    return torch.minimum(ramp[:, None], ramp[None, :])[None]
