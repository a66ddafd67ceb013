from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from facecrypt.faces.patches import FaceImage
from facecrypt.methods.lowkey import LowKey
from facecrypt.naturalness.base import ms_ssim
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from tests import trying


def test_the_loss_is_that_of_the_paper(
    sface_embedder: Embedder, dlib_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    """Eq. 2, one recogniser after another, with scipy's filter."""
    noise = torch.randn(face_image.pixels.shape, generator=torch.Generator().manual_seed(0))
    changed = (face_image.pixels + noise * 6 / 255).clamp(0, 1)
    smooth = torch.from_numpy(gaussian_filter(changed.numpy(), (0, 3, 3), mode="mirror", truncate=1.0))
    expected, cosines = 0.0, []
    for embedder in (sface_embedder, dlib_embedder):
        with torch.no_grad():
            f = [
                embedder(crops(embedder, [face_image._replace(pixels=each)]))[0]
                for each in (face_image.pixels, changed, smooth)
            ]
        expected += sum((f[0] - other).square().sum().item() for other in f[1:]) / f[0].norm().item()
        cosines.append((f[0] @ f[1]).item())
    expected /= 2 * 2
    expected -= 0.7 * (1 - ms_ssim(changed[None], face_image.pixels[None]).item())
    task = trying.task("gradients", [face_image], sface_embedder, targets[:1])
    recognisers = type(task.recognisers)(
        ["sface", "dlib"], [sface_embedder, dlib_embedder], [torch.empty(0)] * 2, [face_image], "gradients"
    )
    task = trying.task("gradients", [face_image], recognisers=recognisers)
    with torch.no_grad():
        loss, own = LowKey(alpha=0.7).loss(task, 0, changed[None])
    assert loss.item() == pytest.approx(expected, abs=1e-4)
    assert own == pytest.approx(np.mean(cosines), abs=1e-4)


def test_a_step_leads_away_from_oneself_sharp_and_blurred(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    method = LowKey()
    (mask,) = method.protect(trying.task("gradients", [face_image], sface_embedder, targets[:1]))
    pixels = face_image.pixels + mask
    blurred, before = method.smooth(pixels[None])[0], method.smooth(face_image.pixels[None])[0]
    whole, after, soft, soft_before = embed(
        sface_embedder, [face_image._replace(pixels=each) for each in (face_image.pixels, pixels, blurred, before)]
    )
    assert whole @ after < 0.7
    assert whole @ soft < whole @ soft_before - 0.05


def test_small_faces_have_a_visible_change_too() -> None:
    face = trying.blank(40)
    recognisers = trying.Sees(lambda images: images.mean(dim=(1, 2, 3)))
    recognisers.names = ["flat"]  # type: ignore[attr-defined]
    recognisers.original = lambda face, each: torch.ones(1)  # type: ignore[attr-defined]
    recognisers.embed = lambda face, images, each: images.mean(dim=(1, 2, 3))[:, None]  # type: ignore[attr-defined]
    loss, _ = LowKey(alpha=1).loss(trying.task("gradients", [face], recognisers=recognisers), 0, face.pixels[None])
    assert loss.item() == pytest.approx(0.25, abs=1e-3)  # ((1 - 0.5)^2 + (1 - 0.5)^2) / 2, and nothing visible.
