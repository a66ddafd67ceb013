from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from numpy.typing import NDArray

from facecrypt.faces.patches import FaceImage
from facecrypt.methods.fawkes import Fawkes, dssim
from facecrypt.methods.reference import Literal
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from tests import trying


def test_dssim_is_half_of_what_ssim_lacks(
    face_image: FaceImage, reference_ssim: Callable[[NDArray[object], NDArray[object]], float]
) -> None:
    other = (face_image.pixels * 0.9 + 0.05).clamp(0, 1)
    a, b = (each.permute(1, 2, 0).numpy() for each in (face_image.pixels, other))
    assert dssim(other[None], face_image.pixels[None]).item() == pytest.approx((1 - reference_ssim(b, a)) / 2, abs=2e-4)


def test_the_first_steps_are_those_of_adam_in_tanh_space(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    """Adam (Kingma & Ba, Algorithm 1) by hand on the loss of Eq. 3, within a rho that nothing reaches."""
    task = trying.task("gradients", [face_image], sface_embedder, targets[:4], steps=2, epsilon=1.0)
    (mask,) = Fawkes(rho=1.0).protect(task)
    literal = Literal(sface_embedder, face_image, targets[:4])
    aim = min(literal.t, key=lambda t: (t @ literal.r.T).item())
    w = torch.atanh((2 * literal.original - 1) * (1 - 1e-6))
    m = v = torch.zeros_like(w)
    for t in (1, 2):
        w = w.clone().requires_grad_()
        loss = (literal.f((torch.tanh(w) + 1) / 2) - aim).norm()
        (g,) = torch.autograd.grad(loss, w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w.detach() - 4 / 255 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    expected = (((torch.tanh(w) + 1) / 2 - literal.original) * literal.inside)[0]
    assert (mask - expected).abs().max() < 1e-3
    assert (mask - expected).abs().mean() < 1e-5


def test_a_cloak_keeps_its_budget(sface_embedder: Embedder, targets: list[Target], face_image: FaceImage) -> None:
    task = trying.task("gradients", [face_image], sface_embedder, targets[:3], steps=6, epsilon=1.0)
    (mask,) = Fawkes(rho=0.002, penalty=1.0).protect(task)
    assert 0.0018 < dssim((face_image.pixels + mask)[None], face_image.pixels[None]).item() <= 0.002
    original, aims = task.recognisers.original(0), task.recognisers.targets[0]
    farthest = aims[(aims @ original).argmin()]
    with torch.no_grad():
        cloaked = task.recognisers.embed(0, (face_image.pixels + mask)[None])[0]
    assert cloaked @ farthest > original @ farthest + 0.05
