from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab
from scipy.ndimage import correlate

from facecrypt.faces.face import Face
from facecrypt.faces.patches import face_area
from facecrypt.photos.files import Photo
from facecrypt.vision.creases import creases, new_creases


@pytest.fixture
def area(photo: Photo, face: Face) -> torch.Tensor:
    return face_area(photo, face)


def slow_depths(lightness: np.ndarray, sigma: float) -> np.ndarray:
    """The strongest answer to a dark line among 60 directions, each a filter of its own."""
    reach = math.ceil(4 * sigma)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    bell /= bell.sum()
    answers = []
    for angle in np.linspace(0, math.pi, 60, endpoint=False):
        across = x * math.cos(angle) + y * math.sin(angle)
        kernel = (across**2 / sigma**4 - 1 / sigma**2) * bell
        answers.append(correlate(lightness, kernel - kernel.mean(), mode="nearest"))
    return sigma**2 * np.maximum(np.max(answers, axis=0), 0)


def test_new_creases_are_those_of_a_slow_reference(area: torch.Tensor) -> None:
    changed = (area + 0.03 * torch.randn(area.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for number, sigma in enumerate((1.0, 2.0)):
        before, after = (slow_depths(rgb_to_lab(each)[0, 0].double().numpy(), sigma) for each in (area, changed))
        expected = np.maximum(after - before, 0)
        got = new_creases(changed, area)[0, number].numpy()
        assert np.abs(got - expected).max() < 0.03 * expected.max()


def line(angle: float, width: float, depth: float) -> torch.Tensor:
    """A line through the middle of a crop: how much lighter each pixel of it becomes."""
    y, x = torch.meshgrid(torch.arange(112.0) - 56, torch.arange(112.0) - 56, indexing="ij")
    across = x * math.cos(angle) + y * math.sin(angle)
    return depth * torch.exp(-(across**2) / (2 * width**2)).view(1, 1, 112, 112)


@pytest.mark.parametrize("width", [1.0, 2.0])
def test_dark_lines_count_and_light_ones_do_not(width: float) -> None:
    skin = torch.full((1, 3, 112, 112), 0.6)
    lines = [line(angle, width, -0.05) for angle in (0.0, 0.4, math.pi / 4, math.pi / 2)]
    inside = [new_creases(skin + each, skin)[0, :, 56, 56] for each in lines]
    for each in inside[1:]:
        torch.testing.assert_close(each, inside[0], rtol=0.02, atol=0)
    assert (inside[0] > 0.5).all()
    assert (new_creases(skin - lines[1], skin)[0, :, 56, 56] == 0).all()
    # The shoulders of a light line are left.
    assert creases(skin - lines[1], skin) < 0.7 * creases(skin + lines[1], skin)


def test_a_fold_may_fade_but_not_deepen() -> None:
    skin = torch.full((1, 3, 112, 112), 0.6)
    folded = skin + line(0.4, 1.5, -0.1)
    assert creases(skin, folded) < 0.6 * creases(folded, skin)
    half, deeper = skin + line(0.4, 1.5, -0.05), skin + line(0.4, 1.5, -0.15)
    middle = (0, slice(None), 56, 56)
    assert (new_creases(half, folded)[middle] == 0).all()
    assert (new_creases(deeper, folded)[middle] > 1).all()


def test_shade_counts_less_than_a_fold_of_the_same_depth() -> None:
    skin = torch.full((1, 3, 112, 112), 0.6)
    assert creases(skin + line(0, 12, -0.05), skin) < 0.15 * creases(skin + line(0, 1.5, -0.05), skin)
    assert creases(skin - 0.05, skin).item() == pytest.approx(0, abs=1e-3)


def test_its_gradient_leads_to_shallower_lines(area: torch.Tensor) -> None:
    changed = (area + line(0.4, 1.5, -0.05)).requires_grad_()
    (gradient,) = torch.autograd.grad(creases(changed, area).sum(), changed)
    step = 0.05 * gradient / gradient.norm()
    assert creases(changed - step, area) < creases(changed, area) < creases(changed + step, area)
    same = area.clone().requires_grad_()
    (still,) = torch.autograd.grad(creases(same, area).sum(), same)
    assert still.isfinite().all()
