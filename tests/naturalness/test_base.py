from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab

from facecrypt.naturalness.base import (
    BANDWIDTHS,
    JOD,
    MMD,
    MSSSIM,
    SCALE_WEIGHTS,
    SSIM,
    Chroma,
    Creases,
    MaskVariation,
    Naturalness,
    mmd,
)
from facecrypt.vision.creases import creases
from facecrypt.vision.eye import FULL_HD, Eye


def slow_mmd(protected: torch.Tensor, original: torch.Tensor) -> float:
    """Eq. 3 by the kernel trick, pair by pair in double precision."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        squared = sum(
            (x - y) ** 2 for x, y in zip(a.double().flatten().tolist(), b.double().flatten().tolist(), strict=True)
        )
        return sum(math.exp(-squared / (2 * bandwidth)) for bandwidth in BANDWIDTHS)

    def mean(first: torch.Tensor, second: torch.Tensor) -> float:
        return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))

    return mean(protected, protected) + mean(original, original) - 2 * mean(protected, original)


@pytest.mark.parametrize(("protected", "original"), [(1, 1), (3, 3), (2, 4)])
def test_mmd_equals_its_slow_reference(protected: int, original: int, generator: torch.Generator) -> None:
    a = torch.rand(protected, 3, 6, 6, generator=generator)
    b = torch.rand(original, 3, 6, 6, generator=generator)
    assert mmd(a, b).item() == pytest.approx(slow_mmd(a, b), abs=1e-4)


def test_mmd_is_zero_for_the_same_set_and_grows_with_the_mask(generator: torch.Generator) -> None:
    photos = torch.rand(3, 3, 8, 8, generator=generator)
    noise = torch.randn(3, 3, 8, 8, generator=generator)
    assert mmd(photos, photos[[2, 0, 1]]).item() == pytest.approx(0, abs=1e-5)
    values = [mmd(photos + size * noise, photos).item() for size in (0.01, 0.03, 0.1)]
    assert values == sorted(values)
    assert values[0] > 0


def test_mmd_gradient_agrees_with_finite_differences(generator: torch.Generator) -> None:
    photos = torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    moved = (photos + 0.1 * torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    # The narrowest kernels (1e-6 ...) vanish at these distances; the others carry the gradient.
    assert torch.autograd.gradcheck(lambda x: mmd(x, photos, BANDWIDTHS[4:]), moved)


def test_views_keep_faces_apart_and_batch_pools_them(generator: torch.Generator) -> None:
    original = torch.rand(2, 3, 3, 8, 8, generator=generator)
    protected = original.clone()
    protected[1] += 0.05
    apart = MMD(over="views")(protected, original)
    assert apart[0].item() == pytest.approx(0, abs=1e-5)
    assert apart[1].item() == pytest.approx(mmd(protected[1], original[1]).item())
    pooled = MMD(over="batch")(protected, original)
    assert pooled.shape == (2,)
    assert pooled[0] == pooled[1]
    assert pooled[0].item() == pytest.approx(mmd(protected.flatten(0, 1), original.flatten(0, 1)).item())


@pytest.fixture
def pair(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Two faces in three views each, protected and original, of which the second face is changed more."""
    smooth = torch.nn.functional.interpolate(torch.rand(6, 3, 14, 14, generator=generator), size=112, mode="bilinear")
    original = smooth.view(2, 3, 3, 112, 112)
    noise = torch.rand(original.shape, generator=generator) * 2 - 1
    return (original + noise * torch.tensor([6 / 255, 12 / 255]).view(2, 1, 1, 1, 1)).clamp(0, 1), original


def views(pair: tuple[torch.Tensor, torch.Tensor], face: int) -> list[tuple[Any, Any]]:
    """The views of a face as pictures (H, W, 3)."""
    return [tuple(each[face, view].permute(1, 2, 0).double().numpy() for each in pair) for view in range(3)]


def test_ssim_equals_its_reference(
    pair: tuple[torch.Tensor, torch.Tensor], reference_ssim: Callable[..., float]
) -> None:
    expected = [np.mean([1 - reference_ssim(a, b) for a, b in views(pair, face)]) for face in range(2)]
    assert SSIM()(*pair).tolist() == pytest.approx(expected, abs=1e-5)


def slow_ms_ssim(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], scales: int) -> float:
    """MS-SSIM of pictures (H, W, 3), scale by scale; contrast is averaged where the window lies inside."""

    def blur(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(gaussian_filter(image, (1.5, 1.5, 0), mode="mirror", truncate=3.5))

    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    product = 1.0
    for number, weight in enumerate(weights):
        mean_a, mean_b = blur(a), blur(b)
        variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
        contrast = (2 * (blur(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        last = number == scales - 1
        product *= ((luminance * contrast).mean() if last else contrast[5:-5, 5:-5].mean()) ** weight
        a, b = (each.reshape(len(each) // 2, 2, len(each) // 2, 2, 3).mean(axis=(1, 3)) for each in (a, b))
    return product


@pytest.mark.parametrize("scales", [1, 2, 4])
def test_ms_ssim_equals_its_slow_reference(pair: tuple[torch.Tensor, torch.Tensor], scales: int) -> None:
    expected = [np.mean([1 - slow_ms_ssim(a, b, scales) for a, b in views(pair, face)]) for face in range(2)]
    assert MSSSIM(scales=scales)(*pair).tolist() == pytest.approx(expected, abs=1e-5)


def test_total_variation_equals_its_slow_reference(generator: torch.Generator) -> None:
    protected, original = torch.rand(2, 2, 2, 3, 5, 6, generator=generator)

    def slow(mask: torch.Tensor) -> float:
        height, width = mask.shape
        down = [abs(mask[y, x] - mask[y - 1, x]).item() for y in range(1, height) for x in range(width)]
        right = [abs(mask[y, x] - mask[y, x - 1]).item() for y in range(height) for x in range(1, width)]
        return sum(down) / len(down) + sum(right) / len(right)

    masks = protected - original
    expected = [np.mean([slow(masks[face, v, c]) for v in range(2) for c in range(3)]) for face in range(2)]
    assert MaskVariation()(protected, original).tolist() == pytest.approx(expected, rel=1e-5)


def test_chroma_equals_the_difference_in_another_library(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [
        np.mean([((rgb2lab(a) - rgb2lab(b))[..., 1:] ** 2).sum(axis=2).mean() for a, b in views(pair, face)])
        for face in range(2)
    ]
    assert Chroma()(*pair).tolist() == pytest.approx(expected, rel=2e-3)


def test_chroma_leaves_the_lightness_of_grey_free() -> None:
    grey = torch.full((1, 1, 3, 8, 8), 0.5)
    assert Chroma()(grey + 0.05, grey).item() == pytest.approx(0, abs=1e-4)
    assert Chroma()(grey + torch.tensor([0.05, 0, -0.05]).view(3, 1, 1), grey).item() > 10


def test_jod_is_what_is_lost_of_ten(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    protected, original = pair
    for pixels_per_degree in (FULL_HD.pixels_per_degree, 19.0):
        display = replace(FULL_HD, pixels_per_degree=pixels_per_degree)
        expected = [
            np.mean([10 - Eye(original[face, v][None], display).jod(protected[face, v][None]).item() for v in range(3)])
            for face in range(2)
        ]
        term = JOD(pixels_per_degree=pixels_per_degree)
        assert term(protected, original).tolist() == pytest.approx(expected, rel=1e-4)
    assert JOD()(original, original).tolist() == pytest.approx([0, 0], abs=1e-4)


def test_creases_are_the_mean_square_of_what_lies_deeper(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    protected, original = pair
    expected = [
        np.mean([creases(protected[face, v][None], original[face, v][None]).item() ** 2 for v in range(3)])
        for face in range(2)
    ]
    assert Creases()(protected, original).tolist() == pytest.approx(expected, rel=3e-3)


@pytest.mark.parametrize(
    "term", [SSIM(), MSSSIM(), MaskVariation(), Chroma(), JOD(), Creases()], ids=lambda term: type(term).__name__
)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_on_flat_pictures(term: Naturalness, value: float) -> None:
    original = torch.full((1, 1, 3, 112, 112), value)
    for protected in (original.clone(), (original - 0.04).abs()):
        protected.requires_grad_()
        (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
        assert gradient.isfinite().all()
