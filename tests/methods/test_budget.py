from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from kornia.filters import gaussian_blur2d
from PIL import Image
from torch import Tensor

from facecrypt.benchmark.metrics import face_ssim
from facecrypt.evaluation.looks import measure
from facecrypt.faces.face import Face, Patch, Window
from facecrypt.faces.patches import add_masks, cut, face_area
from facecrypt.methods.budget import fit_photo, largest_fit, next_share, spent
from facecrypt.naturalness.base import MSSSIM, ssim
from facecrypt.photos.files import Photo
from facecrypt.recipe.schema import Budget
from facecrypt.vision.colour_difference import delta_e
from facecrypt.vision.creases import creases


def similarity(photo: Photo, faces: list[Face], masks: list[torch.Tensor]) -> list[float]:
    """As a report measures it, on the whole photo."""
    changed = replace(photo, pixels=add_masks(photo, faces, masks, 12))
    return [face_ssim(face_area(changed, face), face_area(photo, face)).item() for face in faces]


def noise(photo: Photo, face: Face, seed: int = 0) -> torch.Tensor:
    side = cut(photo, face).pixels.shape[-1]
    return (torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed)) - 0.5).sign() * 12 / 255


@pytest.mark.parametrize(
    "measure",
    [
        lambda numbers: numbers,
        lambda numbers: numbers.square(),
        lambda numbers: numbers**3,
        lambda numbers: (numbers * 40).floor() / 40,  # in steps, as whole grey levels are
        lambda numbers: torch.where(numbers < 0.7, numbers.square(), 4 * numbers),  # a jump
    ],
)
def test_the_largest_fit_is_that_of_trying_every_number(measure: Callable[[Tensor], Tensor]) -> None:
    limits = torch.tensor([0.3, 0.0, 5.0, 1.7])
    high = torch.tensor([1.0, 1.0, 1.0, 2.0])
    tried: list[Tensor] = []

    def used(numbers: Tensor) -> Tensor:
        tried.append(numbers)
        return measure(numbers) / measure(limits)

    found = largest_fit(used, high)
    assert len(tried) <= 10
    every = torch.linspace(0, 1, 20_001)[:, None] * high
    best = torch.where(measure(every) / measure(limits) <= 1, every, 0.0).amax(dim=0)
    assert ((measure(found) / measure(limits) <= 1) | (found == 0)).all()
    assert found[1:3].tolist() == [0, 1]
    # On a step, any number is as good as the largest.
    assert measure(found)[[0, 3]].tolist() == pytest.approx(measure(best)[[0, 3]].tolist(), rel=0.05)


def test_what_fits_as_it_is_is_looked_at_once_and_a_power_is_found_soon() -> None:
    tried: list[Tensor] = []

    def used(numbers: Tensor) -> Tensor:
        tried.append(numbers)
        return 3 * numbers**1.6

    assert largest_fit(used, torch.tensor([0.4])).item() == pytest.approx(0.4)
    assert len(tried) == 1
    assert largest_fit(used, torch.ones(1)).item() == pytest.approx((1 / 3) ** (1 / 1.6), rel=0.01)
    assert len(tried) <= 6


def test_the_next_share_follows_the_square_and_stays_a_share() -> None:
    shares = next_share(torch.tensor([4.0, 1.0, 1e-6, 20.0]), torch.tensor([0.6, 0.6, 0.2, 0.01]))
    assert shares.tolist() == pytest.approx([0.3, 0.6, 1.0, 0.01], abs=1e-4)


def test_what_is_spent_is_the_larger_part_of_the_two_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(2, 3, 112, 112, generator=generator)
    after = (before + 0.1 * torch.randn(before.shape, generator=generator)).clamp(0, 1)
    one, many = ssim(after, before), 1 - MSSSIM()(after[:, None], before[:, None])
    assert (many > one).all()  # Fine noise counts less over several scales.
    torch.testing.assert_close(spent(Budget(ssim=0.9), after, before), (1 - one) / 0.1)
    torch.testing.assert_close(spent(Budget(ms_ssim=0.99), after, before), (1 - many) / 0.01)
    both = spent(Budget(ssim=0.9, ms_ssim=0.999), after, before)
    torch.testing.assert_close(both, torch.maximum((1 - one) / 0.1, (1 - many) / 0.001), rtol=1e-3, atol=1e-3)
    assert (spent(Budget(ssim=0.9), before, before) < 1e-4).all()
    assert (spent(Budget(ms_ssim=0.99), 1 - before, before) > 1).all()  # Not a number would fit nowhere, or anywhere.


def test_a_saved_photo_keeps_a_budget_of_ms_ssim_and_wastes_little(photo: Photo, face: Face) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(ms_ssim=0.98)])
    changed = replace(photo, pixels=add_masks(photo, [face], masks, 12))
    kept = 1 - MSSSIM()(face_area(changed, face)[None], face_area(photo, face)[None]).item()
    assert 0.98 - 1e-6 <= kept < 0.985


def test_a_part_of_a_photo_with_masks_is_that_part(photo: Photo, face: Face) -> None:
    other = replace(face, patch=Patch(face.patch.left + 40, face.patch.top - 30, face.patch.side))
    masks = [noise(photo, face), noise(photo, other, 1)]
    whole = add_masks(photo, [face, other], masks, 12)
    left, top, side = face.patch
    window = Window(left + 5, top, left + side, top + side - 9)
    part = add_masks(photo, [face, other], masks, 12, window)
    assert np.array_equal(part, whole[window.top : window.bottom, window.left : window.right])
    corner = Window(0, 0, 10, 10)  # No mask reaches it.
    assert np.array_equal(add_masks(photo, [face], masks[:1], 12, corner), photo.pixels[:10, :10])


@pytest.mark.parametrize("budget", [0.9, 0.97])
def test_a_saved_photo_keeps_its_budget_and_wastes_little(photo: Photo, face: Face, budget: float) -> None:
    (before,) = similarity(photo, [face], [noise(photo, face)])
    assert before < 0.85
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(ssim=budget)])
    (after,) = similarity(photo, [face], masks)
    assert budget <= after < budget + 0.02


def test_a_mask_within_its_budget_stays_as_it_is(photo: Photo, face: Face) -> None:
    mask = noise(photo, face) / 12
    (same,) = fit_photo(photo, [face], [mask], 12, [Budget(ssim=0.8)])
    assert torch.equal(same, mask)


@pytest.mark.parametrize("lowest", [0.99999, 0.999995, 0.9999999])
def test_a_budget_that_nothing_keeps_leaves_the_photo_as_it_is(photo: Photo, face: Face, lowest: float) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(ssim=lowest)])
    changed = add_masks(photo, [face], masks, 12)
    assert np.array_equal(changed, photo.pixels)


def test_overlapping_faces_keep_their_budgets(photo: Photo, face: Face) -> None:
    other = replace(
        face,
        patch=Patch(face.patch.left + 20, face.patch.top + 10, face.patch.side),
        landmarks=face.landmarks + np.array([20, 10], np.float32),
    )
    faces = [face, other]
    masks = fit_photo(photo, faces, [noise(photo, face), noise(photo, other, 1)], 12, [Budget(ssim=0.95)] * 2)
    assert min(similarity(photo, faces, masks)) >= 0.95
    assert all(mask.abs().max() > 0 for mask in masks)


def test_grey_photos_keep_their_budget(photo: Photo, face: Face) -> None:
    grey = replace(photo, pixels=np.repeat(photo.pixels[..., :1], 3, axis=2))
    masks = fit_photo(grey, [face], [noise(grey, face)], 12, [Budget(ssim=0.97)])
    assert similarity(grey, [face], masks)[0] >= 0.97


def test_a_saved_photo_keeps_a_budget_of_jod_and_wastes_little(photo: Photo, face: Face) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(jod=9.5)])
    changed = add_masks(photo, [face], masks, 12)
    assert 9.5 <= measure(photo.pixels, changed, face).jod["monitor"] < 9.56


@pytest.mark.parametrize("budget", [Budget(enlarged=9.8), Budget(flip=0.03), Budget(jod=9.0, enlarged=9.8, flip=0.1)])
def test_a_saved_photo_keeps_what_may_be_seen_of_it_otherwise(photo: Photo, face: Face, budget: Budget) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [budget])
    looks = measure(photo.pixels, add_masks(photo, [face], masks, 12), face)
    if budget.enlarged:
        assert 9.8 <= looks.jod["enlarged"] < 9.86
    else:
        assert 0.027 < looks.flip <= 0.03


def test_a_budget_of_flip_is_spent_on_the_photo_fitted_to_the_screen(photo: Photo, face: Face) -> None:
    height, width = photo.pixels.shape[:2]
    wide = replace(photo, pixels=np.pad(photo.pixels, ((0, 3 * height), (0, 3 * width), (0, 0))))
    masks = [fit_photo(each, [face], [noise(each, face)], 12, [Budget(flip=0.03)])[0] for each in (photo, wide)]
    assert masks[1].abs().max() > 1.1 * masks[0].abs().max()
    looks = measure(wide.pixels, add_masks(wide, [face], masks[1:], 12), face)
    assert 0.025 < looks.flip <= 0.03


@pytest.mark.parametrize("budget", [Budget(delta_e=1.0), Budget(creases=0.3), Budget(delta_e=2.0, creases=0.2, jod=8)])
@pytest.mark.parametrize("lossy", [False, True])
def test_a_saved_photo_keeps_colours_and_draws_no_folds(photo: Photo, face: Face, budget: Budget, lossy: bool) -> None:
    mask = gaussian_blur2d(noise(photo, face)[None], (7, 7), (1.2, 1.2))[0]
    saved = as_jpeg if lossy else None
    masks = fit_photo(photo, [face], [mask / mask.abs().max() * 0.1], 30, [budget], saved)
    pixels = add_masks(photo, [face], masks, 30)
    after = face_area(replace(photo, pixels=saved(pixels) if saved else pixels), face)
    before = face_area(photo, face)
    used = [
        measure(after, before).item() / bound
        for measure, bound in ((delta_e, budget.delta_e), (creases, budget.creases))
        if bound is not None
    ]
    assert (0.75 if lossy else 0.9) < max(used) <= 1


def test_of_two_bounds_both_hold(photo: Photo, face: Face) -> None:
    for budget in (Budget(jod=9.9, ssim=0.9), Budget(jod=9.0, ssim=0.98)):
        masks = fit_photo(photo, [face], [noise(photo, face)], 12, [budget])
        changed = add_masks(photo, [face], masks, 12)
        assert measure(photo.pixels, changed, face).jod["monitor"] >= budget.jod
        assert similarity(photo, [face], masks)[0] >= budget.ssim


def as_jpeg(pixels: np.ndarray, quality: int = 90) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("budget", [Budget(ssim=0.95), Budget(jod=9.4), Budget(ssim=0.96, jod=9.2)])
def test_a_lossy_file_keeps_the_budget_too(photo: Photo, face: Face, budget: Budget) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [budget], as_jpeg)
    shown = as_jpeg(add_masks(photo, [face], masks, 12))
    if budget.ssim:
        assert face_ssim(face_area(replace(photo, pixels=shown), face), face_area(photo, face)).item() >= budget.ssim
    if budget.jod:
        assert measure(photo.pixels, shown, face).jod["monitor"] >= budget.jod
    (plain,) = fit_photo(photo, [face], [noise(photo, face)], 12, [budget])
    assert 0.6 * plain.abs().max() < masks[0].abs().max() <= plain.abs().max()


def test_where_the_file_alone_misses_the_budget_the_mask_keeps_it_before(photo: Photo, face: Face) -> None:
    masks = fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(ssim=0.99)], lambda pixels: as_jpeg(pixels, 5))
    assert masks[0].abs().max() > 0
    assert similarity(photo, [face], masks)[0] >= 0.99


def test_a_lossy_file_of_which_a_face_keeps_its_budget_is_written_once(photo: Photo, face: Face) -> None:
    written = []
    fit_photo(photo, [face], [noise(photo, face)], 12, [Budget(ssim=0.95)], lambda p: written.append(1) or p)
    assert len(written) == 1
