"""A face turned and scaled onto the landmarks of a template: the crop that a recogniser sees of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.templates import ARCFACE_TEMPLATE, Template

ALIGNED_SIDE = 112
"""Side of an aligned face in pixels."""


def face_grid(landmarks: Tensor, side: int) -> Tensor:
    """Return the `crop_grid` of the face area in which naturalness is measured, ``(B, 112, 112, 2)``."""
    return crop_grid(landmarks, ARCFACE_TEMPLATE, (ALIGNED_SIDE, ALIGNED_SIDE), side)


def crop_to_image(landmarks: Tensor, template: Template) -> Tensor:
    """Return the similarity that takes crop pixels to image pixels, ``(B, 2, 3)``.

    It inverts the least-squares fit of the landmarks onto the template (Umeyama, 1991, without reflection), as
    recognisers' own aligners do. Points are complex numbers here, where a similarity is ``a * z + b``.

    Args:
        landmarks: ``(B, 5, 2)``, x, y in image pixels.
        template: The same points in crop pixels.
    """
    source = torch.view_as_complex(landmarks.double().contiguous())
    target = torch.view_as_complex(torch.tensor(template, dtype=torch.float64, device=landmarks.device))
    source_mean, target_mean = source.mean(dim=1, keepdim=True), target.mean()
    centred = source - source_mean
    fit = (centred.conj() * (target - target_mean)).sum(1) / centred.abs().square().sum(1)
    a = 1 / fit
    b = source_mean.squeeze(1) - a * target_mean
    rows = torch.stack([torch.stack([a.real, -a.imag, b.real], 1), torch.stack([a.imag, a.real, b.imag], 1)], 1)
    return rows.float()


def crop_grid(landmarks: Tensor, template: Template, size: tuple[int, int], side: int) -> Tensor:
    """Return where each crop pixel lies in the image, as `torch.nn.functional.grid_sample` wants it, ``(B, H, W, 2)``.

    Args:
        landmarks: ``(B, 5, 2)``, x, y in pixels of square images.
        template: Where the landmarks land in the crop.
        size: Height and width of the crop in pixels.
        side: Width and height of the images in pixels.
    """
    v, u = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=2).float().to(landmarks.device)
    points = torch.einsum("hwc,bxc->bhwx", pixels, crop_to_image(landmarks, template))
    return (2 * points + 1) / side - 1


def paste_grid(landmarks: Tensor, template: Template, size: tuple[int, int], side: int) -> Tensor:
    """Return where each pixel of square images lies in the crop, ``(B, S, S, 2)``: the way back from `crop_grid`.

    With it, `crop` draws pictures of the crop's size where they belong in the images, and zeros around them.

    Args:
        landmarks: ``(B, 5, 2)``, x, y in pixels of the images.
        template: Where the landmarks land in the crop.
        size: Height and width of the crop in pixels.
        side: Width and height of the images in pixels.
    """
    matrix = crop_to_image(landmarks, template)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    pixels = torch.stack([x, y], dim=2).float().to(landmarks.device)
    away = pixels[None] - matrix[:, None, None, :, 2]
    points = torch.einsum("bhwx,bcx->bhwc", away, torch.linalg.inv(matrix[:, :, :2]))
    extent = torch.tensor([size[1], size[0]], dtype=torch.float32, device=landmarks.device)
    return (2 * points + 1) / extent - 1


def crop(images: Tensor, grid: Tensor) -> Tensor:
    """Return the crops ``(N, 3, H, W)`` of images ``(N, 3, S, S)`` by bilinear sampling; black outside the image.

    Args:
        images: RGB in [0, 1].
        grid: From `crop_grid`, ``(N, H, W, 2)``.
    """
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
