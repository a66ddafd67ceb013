from __future__ import annotations

import numpy as np
import pytest
import torch

from facecrypt.photos.files import Photo
from facecrypt.vision.flip import PIXELS_PER_DEGREE, Flip


def part(photo: Photo) -> np.ndarray:
    return photo.pixels[60:160, 150:270]


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def noisy(pixels: np.ndarray, levels: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, levels, pixels.shape)
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("levels", [0.6, 3, 12, 80])
def test_the_error_is_that_of_the_published_code(levels: float, photo: Photo) -> None:
    reference = pytest.importorskip("flip_evaluator", reason="needs facecrypt[looks]")
    original = part(photo)
    changed = noisy(original, levels)
    pictures = (each.astype(np.float32) / 255 for each in (original, changed))
    _, mean, options = reference.evaluate(*pictures, "LDR", applyMagma=False)
    assert options["ppd"] == pytest.approx(PIXELS_PER_DEGREE, abs=1e-3)
    assert Flip(tensor(original)).error(tensor(changed)).item() == pytest.approx(mean, rel=1e-3, abs=1e-5)


def test_the_same_picture_has_next_to_no_error_and_stronger_noise_more(photo: Photo) -> None:
    original = part(photo)
    flip = Flip(tensor(original))
    errors = [flip.error(tensor(noisy(original, levels))).item() for levels in (0, 1, 2, 4, 8, 16)]
    assert errors[0] < 1e-5
    assert errors == sorted(errors)


def test_its_gradient_leads_to_what_shows_less(photo: Photo) -> None:
    original = part(photo)
    flip = Flip(tensor(original))
    changed = tensor(noisy(original, 6)).requires_grad_()
    (gradient,) = torch.autograd.grad(flip.error(changed).sum(), changed)
    assert gradient.isfinite().all()
    step = 0.01 * gradient / gradient.norm()
    assert flip.error(changed - step) < flip.error(changed) < flip.error(changed + step)
    same = tensor(original).requires_grad_()
    (still,) = torch.autograd.grad(flip.error(same).sum(), same)
    assert still.isfinite().all()
