from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facecrypt.faces.alignment import crop, crop_grid, crop_to_image
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo
from facecrypt.templates import ARCFACE_TEMPLATE


def test_the_similarity_is_the_least_squares_fit(face: Face) -> None:
    """Against the normal equations of x' = a x - b y + c, y' = b x + a y + d, solved by numpy."""
    rows, values = [], []
    for (x, y), (u, v) in zip(face.landmarks.astype(float), ARCFACE_TEMPLATE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    image_to_crop = np.array([[a, -b, c], [b, a, d], [0, 0, 1]])
    matrix = crop_to_image(torch.from_numpy(face.landmarks)[None], ARCFACE_TEMPLATE)[0]
    assert np.allclose(np.linalg.inv(image_to_crop)[:2], matrix.numpy(), atol=1e-3)


def test_crops_agree_with_opencv(photo: Photo, face: Face) -> None:
    image = cut(photo, face)
    side = image.pixels.shape[-1]
    ours = crop(image.pixels[None], crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (112, 112), side))[0]
    matrix = crop_to_image(torch.from_numpy(face.landmarks)[None], ARCFACE_TEMPLATE)[0].numpy()
    theirs = cv2.warpAffine(
        np.asarray(photo.pixels).astype(np.float32), matrix, (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    # OpenCV rounds positions to 1/32 pixel.
    assert np.abs(ours.permute(1, 2, 0).numpy() * 255 - theirs).mean() < 0.5


def test_the_gradient_of_a_crop_reaches_the_patch(photo: Photo, face: Face) -> None:
    image = cut(photo, face)
    pixels = image.pixels[None].double().requires_grad_()
    grid = crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (8, 8), image.pixels.shape[-1]).double()
    direction = torch.randn(pixels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(crop(pixels, grid).square().sum(), pixels)
    change = (
        crop(pixels + 1e-5 * direction, grid).square().sum() - crop(pixels - 1e-5 * direction, grid).square().sum()
    ) / 2e-5
    assert change.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-6)
