from __future__ import annotations

import warnings
from dataclasses import fields

import pytest
import torch
from PIL import Image
from torch import Tensor

from facecrypt.pipeline.runner import sample_photo
from facecrypt.vision.eye import FULL_HD, PHONE, Display, Eye, expand, reduce


@pytest.fixture(scope="module")
def face() -> Tensor:
    photo = Image.open(sample_photo()).convert("RGB").crop((160, 20, 330, 190))
    return torch.tensor(list(photo.tobytes()), dtype=torch.uint8).view(170, 170, 3).permute(2, 0, 1).float() / 255


def noisy(image: Tensor, levels: float, seed: int = 0) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * levels
    return (image * 255 + noise).round().clamp(0, 255) / 255


@pytest.fixture(scope="module")
def reference() -> object:
    pytest.importorskip("pycvvdp", reason="cvvdp is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pycvvdp
    return pycvvdp


@pytest.mark.parametrize(("name", "display"), [("standard_fhd", FULL_HD), ("standard_phone", PHONE)])
@pytest.mark.parametrize("size", [170, 131, 64, 30])
def test_jod_is_that_of_the_published_code(
    face: Tensor, reference: object, name: str, display: Display, size: int
) -> None:
    before = face[:, :size, :size]
    metric = reference.cvvdp(name, quiet=True, device=torch.device("cpu"))  # type: ignore[attr-defined]
    for levels in (1, 4, 12, 40):
        after = noisy(before, levels)
        expected = metric.predict(after, before, dim_order="CHW")[0].item()
        # Neither the finest nor the coarsest band of a phone's picture lies inside the table of sensitivities.
        assert Eye(before[None], display).jod(after[None]).item() == pytest.approx(expected, abs=0.01)


def test_displays_are_those_of_the_published_code(reference: object) -> None:
    for name, display in (("standard_fhd", FULL_HD), ("standard_phone", PHONE)):
        metric = reference.cvvdp(name, quiet=True, device=torch.device("cpu"))  # type: ignore[attr-defined]
        black, reflected = metric.display_photometry.get_black_level()
        size = metric.display_geometry.resolution
        peak = metric.display_photometry.get_peak_luminance()
        expected = Display(metric.pix_per_deg, peak, black, reflected, max(size), min(size), display is PHONE)
        for each in fields(Display):
            assert getattr(display, each.name) == pytest.approx(getattr(expected, each.name)), each.name


def test_pyramid_is_that_of_the_published_code(face: Tensor, reference: object) -> None:
    from pycvvdp.lpyr_dec import lpyr_dec

    for height, width in ((170, 170), (131, 131), (64, 40), (33, 33)):
        image = face[None, :, :height, :width]
        published = lpyr_dec(width, height, 38, torch.device("cpu"))
        smaller = published.gausspyr_reduce(image)
        assert torch.allclose(reduce(image), smaller, atol=1e-6)
        larger = published.gausspyr_expand(smaller, [height, width])
        assert torch.allclose(expand(smaller, (height, width)), larger, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "monitor", "phone"),
    [
        ((1920, 1080), 1, 1),
        ((1080, 1920), 0.5625, 1),
        ((4000, 3000), 0.36, 0.36),
        ((9600, 100), 0.2, 0.25),
        ((1, 1), 1, 1),
    ],
)
def test_a_photo_is_shrunk_until_it_fits_and_a_phone_is_turned(
    size: tuple[int, int], monitor: float, phone: float
) -> None:
    assert (FULL_HD.fit(*size), PHONE.fit(*size)) == pytest.approx((monitor, phone))


def test_what_is_the_same_is_10(face: Tensor) -> None:
    assert Eye(face[None]).jod(face[None]).item() == 10


def test_more_noise_is_seen_more(face: Tensor) -> None:
    eye = Eye(face[None])
    values = [eye.jod(noisy(face, levels)[None]).item() for levels in (1, 2, 4, 8, 16, 32)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 9 < values[0]


def test_noise_is_seen_less_where_texture_hides_it() -> None:
    flat = torch.full((1, 3, 128, 128), 0.5)
    textured = noisy(flat[0], 30, seed=1)[None]
    noise = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)) * 4 / 255
    assert Eye(textured).jod(textured + noise) > Eye(flat).jod(flat + noise) + 0.1
    assert Eye(textured).thresholds()[0][:, 0].mean() > 1.5 * Eye(flat).thresholds()[0][:, 0].mean()


def test_a_phone_shows_less_than_a_monitor(face: Tensor) -> None:
    changed = noisy(face, 8)[None]
    assert Eye(face[None], PHONE).jod(changed) > Eye(face[None], FULL_HD).jod(changed)


def test_pictures_of_a_batch_do_not_depend_on_each_other(face: Tensor) -> None:
    pair = torch.stack([face, face.flip(2) * 0.7])
    changed = torch.stack([noisy(pair[0], 4), noisy(pair[1], 12)])
    alone = [Eye(pair[i : i + 1]).jod(changed[i : i + 1]).item() for i in range(2)]
    assert Eye(pair).jod(changed).tolist() == pytest.approx(alone, abs=1e-5)


def test_gradients_point_back_to_the_original(face: Tensor) -> None:
    eye = Eye(face[None])
    changed = noisy(face, 6)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(eye.jod(changed).sum(), changed)
    assert gradient.isfinite().all()
    step = 0.2 * gradient / gradient.abs().max() / 255
    assert eye.jod(changed + step) > eye.jod(changed)


@pytest.mark.parametrize("side", [16, 17, 19, 32])
def test_small_pictures_have_a_value(side: int) -> None:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(side))
    assert 0 < Eye(image).jod(noisy(image[0], 20)[None]).item() < 10
