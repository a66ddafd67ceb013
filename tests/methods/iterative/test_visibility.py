from __future__ import annotations

import pytest
import torch

from facecrypt.faces.alignment import crop, face_grid
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.methods.iterative.visibility import Visibility, watches
from facecrypt.photos.files import Photo
from facecrypt.recipe.schema import Budget
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.vision.colour_difference import delta_e_of_parts
from facecrypt.vision.creases import creases
from facecrypt.vision.eye import Eye
from facecrypt.vision.flip import Flip


def noisy(patch: torch.Tensor, levels: float) -> torch.Tensor:
    noise = torch.randn(patch.shape, generator=torch.Generator().manual_seed(0))
    return (patch + levels / 255 * noise).clamp(0, 1)


@pytest.fixture
def patch(photo: Photo, face: Face) -> torch.Tensor:
    return cut(photo, face).pixels[None]


@pytest.fixture
def landmarks(photo: Photo, face: Face) -> torch.Tensor:
    return cut(photo, face).landmarks


def test_each_bound_has_its_share(patch: torch.Tensor, landmarks: torch.Tensor) -> None:
    changed = noisy(patch, 5)
    shares = Visibility(patch, landmarks, Budget(jod=9.0, enlarged=8.0, flip=0.1)).shares(changed)
    assert shares[0].item() == pytest.approx(0.85 * (10 - Eye(patch).jod(changed).item()), rel=1e-4)
    alone = Visibility(patch, landmarks, Budget(enlarged=8.0)).shares(changed)
    assert shares[1].item() == pytest.approx(alone.item())
    assert 0 < 2 * alone.item() / 0.97 != pytest.approx(10 - Eye(patch).jod(changed).item(), rel=0.01)
    assert shares[2].item() == pytest.approx(0.735 * Flip(patch).error(changed).item() / 0.1, rel=1e-4)


def test_colours_of_parts_and_creases_have_shares(patch: torch.Tensor, landmarks: torch.Tensor) -> None:
    changed = noisy(patch, 5)
    grid = face_grid(landmarks[None], patch.shape[-1])
    after, before = crop(changed, grid), crop(patch, grid)
    *parts, lines = Visibility(patch, landmarks, Budget(delta_e=2.0, creases=0.5)).shares(changed).tolist()
    assert parts == pytest.approx((delta_e_of_parts(after, before)[0] / 2).tolist())
    assert lines == pytest.approx(creases(after, before).item() / 0.5)


def test_what_is_joined_is_a_little_more_than_the_largest_share(patch: torch.Tensor, landmarks: torch.Tensor) -> None:
    seen = Visibility(patch, landmarks, Budget(jod=9.0, enlarged=9.0, flip=0.05))
    changed = noisy(patch, 5).requires_grad_()
    largest, joined = seen.shares(changed).max(), seen.joined(changed)
    assert largest <= joined < 1.15 * largest
    (gradient,) = torch.autograd.grad(joined, changed)
    step = 0.01 * gradient / gradient.norm()
    assert seen.joined(changed - step) < joined < seen.joined(changed + step)


def test_a_shrunk_patch_shows_what_the_photo_would(patch: torch.Tensor, landmarks: torch.Tensor) -> None:
    budget = Budget(jod=9.0, flip=0.05)
    large = torch.nn.functional.interpolate(patch, scale_factor=2, mode="bilinear")
    changed = torch.nn.functional.interpolate(noisy(patch, 6), scale_factor=2, mode="bilinear")
    whole, half = (
        Visibility(large, 2 * landmarks + 0.5, budget).shares(changed),
        Visibility(patch, landmarks, budget, 2.0).shares(noisy(patch, 6)),
    )
    assert half.tolist() == pytest.approx(whole.tolist(), rel=0.25)
    assert (whole - Visibility(patch, landmarks, budget).shares(noisy(patch, 6))).abs().max() > 0.05


def test_flip_alone_looks_at_the_photo_shrunk_to_the_screen(patch: torch.Tensor, landmarks: torch.Tensor) -> None:
    budget, changed = Budget(jod=9.0, enlarged=9.0, flip=0.05), noisy(patch, 6)
    whole, shrunk = (Visibility(patch, landmarks, budget, fit=fit).shares(changed) for fit in (1.0, 0.4))
    assert shrunk[:2].tolist() == whole[:2].tolist()
    assert 0 < shrunk[2] < 0.8 * whole[2]


def test_a_tiny_patch_can_be_watched() -> None:
    tiny = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    shares = Visibility(
        tiny, torch.tensor(ARCFACE_TEMPLATE) / 12, Budget(jod=9.0, enlarged=9.0, flip=0.05, delta_e=1.0, creases=0.3)
    ).shares(noisy(tiny, 9))
    assert (shares > 0).all()


def test_only_bounds_of_looks_are_watched() -> None:
    assert not watches(None)
    assert not watches(Budget(ssim=0.9, ms_ssim=0.9))
    bounds = (Budget(jod=9.0), Budget(enlarged=9.0), Budget(flip=0.1), Budget(delta_e=1.0), Budget(creases=0.3))
    assert all(watches(budget) for budget in bounds)
