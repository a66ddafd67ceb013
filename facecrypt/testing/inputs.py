"""What checks are made of: the sample face in the forms that components take, and how a broken promise is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.alignment import crop, crop_grid, face_grid
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import sample_photo
from facecrypt.surrogates.spec import EmbedderSpec

_TILES = 4
"""A gradient reaches every part of a picture if it is somewhere nonzero in each of TILES x TILES parts."""


def expect(holds: bool | Tensor, promise: str, *, measured: object, allowed: object, remedy: str) -> None:
    """Raise AssertionError, in one line, unless the promise holds."""
    if not holds:
        raise AssertionError(f"{promise}: measured {measured}, allowed {allowed}. {remedy}")


@contextmanager
def works(promise: str, remedy: str) -> Iterator[None]:
    """Turn whatever a component raises in this context into an AssertionError."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:  # A component is somebody else's code: it may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise AssertionError(f"{promise}: measured {reason}, allowed no exception. {remedy}") from error


def expect_everywhere(gradient: Tensor, promise: str, remedy: str) -> None:
    """Raise AssertionError unless the gradient ``(N, 3, H, W)`` is finite, and nonzero in every part of a picture."""
    count = int((~gradient.isfinite()).sum())
    expect(count == 0, promise, measured=f"{count} values that are not finite", allowed="none", remedy=remedy)
    tiles = functional.adaptive_max_pool2d(gradient.abs().amax(dim=1, keepdim=True), _TILES)
    empty = int((tiles == 0).sum())
    expect(
        empty == 0,
        promise,
        measured=f"no gradient in {empty} of {tiles.numel()} parts ({_TILES}x{_TILES} per picture)",
        allowed="some in each",
        remedy=remedy,
    )


def gap(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference; infinite where it is no number."""
    return (a.double() - b.double()).abs().nan_to_num(nan=torch.inf).max().item()


@cache
def detector() -> FaceDetector:
    """Return the detector of all checks."""
    return FaceDetector()


@cache
def sample_pixels() -> NDArray[np.uint8]:
    """Return the built-in photo of a real person, ``(512, 512, 3)``, RGB, in which `detector` finds one face."""
    return read_photo(sample_photo()).pixels


@cache
def sample_face() -> FaceImage:
    """Return the face of the built-in photo of a real person."""
    photo = read_photo(sample_photo())
    return cut(photo, detector().find(photo, "largest")[0])


def sample_crops(spec: EmbedderSpec) -> Tensor:
    """Return the sample face as a recogniser sees it, mirrored, and in other light: ``(3, 3, H, W)``."""
    face = sample_face()
    grid = crop_grid(face.landmarks[None], spec.template, (spec.height, spec.width), face.pixels.shape[-1])
    image = crop(face.pixels[None], grid)
    return torch.cat([image, image.flip(3), image * 0.7 + 0.1])


def pictures(faces: int, views: int) -> tuple[Tensor, Tensor]:
    """Return protected and original faces ``(B, V, 3, 112, 112)``, up to 12 grey levels apart."""
    face = sample_face()
    image = crop(face.pixels[None], face_grid(face.landmarks[None], face.pixels.shape[-1]))
    shifted = torch.stack([image[0].roll(5 * number, dims=2) for number in range(faces * views)])
    original = shifted.view(faces, views, *image.shape[1:])
    noise = torch.rand(original.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = torch.linspace(12, 4, faces).view(-1, 1, 1, 1, 1)  # Each face is changed more than the next.
    return (original + noise * levels / 255).clamp(0, 1), original


def square(side: int) -> Tensor:
    """Return the sample face, ``(1, 3, side, side)``, with a black and a white corner."""
    image = functional.interpolate(sample_face().pixels[None], size=(side, side), mode="bilinear", antialias=True)
    image[..., : side // 8, : side // 8] = 0  # Where many a formula has no finite gradient.
    image[..., -side // 8 :, -side // 8 :] = 1
    return image
