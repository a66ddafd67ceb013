from __future__ import annotations

import math

import pytest
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional

from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.views.base import (
    InputDiversity,
    OneOf,
    Params,
    View,
    affine,
    blur,
    draw,
    jpeg,
    maybe,
    perspective,
    resize,
)
from facecrypt.views.spectrum import spectrum
from facecrypt.views.warps import LandmarkJitter, block_rotate, landmark_jitter

NEW = [resize(), landmark_jitter(pixels=4.0), block_rotate(degrees=20.0, translate=0.05), spectrum()]


def test_draws_of_a_face_do_not_depend_on_its_neighbours() -> None:
    views = [affine(), blur()]
    alone = draw(views, [7], [100], 3)
    together = draw(views, [5, 7, 9], [80, 100, 120], 3)
    for one, many in zip(alone, together, strict=True):
        for name, value in one.items():
            assert torch.equal(value, many[name][3:6])


def test_drawing_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draw([affine()], [1], [64], 2)
    assert torch.equal(torch.rand(4), expected)


def test_padding_does_not_change_a_view(generator: torch.Generator) -> None:
    """Patches of different sizes are padded to one batch: each must turn around its own centre."""
    image = torch.rand(1, 3, 40, 40, generator=generator)
    padded = functional.pad(image, (0, 24, 0, 24))
    view = affine(degrees=20)
    (params,) = draw([view], [11], [40], 1)
    inner = slice(8, 32)  # Away from the border, where the padding is visible or not.
    assert torch.allclose(
        view.apply(image, params)[..., inner, inner], view.apply(padded, params)[..., inner, inner], atol=1e-4
    )


@pytest.mark.parametrize(
    "view",
    [affine(), perspective(), blur(), jpeg(), InputDiversity(), *NEW],
    ids=lambda view: type(view).__name__,
)
def test_one_view_for_two_pictures(view, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    """The protected and the original face must be seen alike, or the naturalness term would compare views."""
    images = torch.rand(2, 3, 32, 32, generator=generator)
    (params,) = draw([view], [1, 2], [32, 32], 1)
    assert torch.equal(view.apply(images, params), view.apply(images.clone(), params))


def slow_input_diversity(image: torch.Tensor, params: Params, row: int) -> torch.Tensor:
    """One picture ``(3, S, S)``: shrink it, put it on grey."""
    if not params["shrink"][row]:
        return image
    size, left, top = (int(params[name][row]) for name in ("size", "left", "top"))
    result = torch.full_like(image, 0.5)
    result[:, top : top + size, left : left + size] = functional.interpolate(
        image[None], size=(size, size), mode="bilinear", align_corners=False
    )[0]
    return result


@pytest.mark.parametrize("smallest", [0.9, 0.3], ids=["a little", "a lot"])
def test_input_diversity_equals_its_slow_reference(smallest: float, generator: torch.Generator) -> None:
    view = InputDiversity(probability=0.7, smallest=smallest)
    side, count = 41, 30
    images = torch.rand(count, 3, side, side, generator=generator)
    (params,) = draw([view], [4], [side], count)
    assert set(params["shrink"].tolist()) == {True, False}
    expected = torch.stack([slow_input_diversity(image, params, row) for row, image in enumerate(images)])
    torch.testing.assert_close(view.apply(images, params), expected, rtol=0, atol=1e-5)
    untouched = ~params["shrink"]
    assert torch.equal(view.apply(images, params)[untouched], images[untouched])


def test_input_diversity_in_a_padded_batch(generator: torch.Generator) -> None:
    """A face is shrunk by its own side, and the black beyond it stays black."""
    image = torch.rand(3, 40, 40, generator=generator)
    padded = functional.pad(image, (0, 24, 0, 24))
    view = InputDiversity(probability=1.0)
    params = draw([view], [1, 2], [40, 64], 1)[0]
    seen = view.apply(torch.stack([padded, torch.rand(3, 64, 64, generator=generator)]), params)[0]
    torch.testing.assert_close(seen[:, :40, :40], slow_input_diversity(image, params, 0), rtol=0, atol=1e-5)
    assert seen[:, 40:].abs().max() == 0
    assert seen[:, :, 40:].abs().max() == 0


@pytest.mark.parametrize(("smallest", "side"), [(0.9, 112), (0.5, 7), (0.9, 2), (0.9, 1), (0.01, 30)])
def test_input_diversity_draws_places_inside_the_square(smallest: float, side: int) -> None:
    (params,) = draw([InputDiversity(smallest=smallest)], [0], [side], 3000)
    size, left, top = (params[name] for name in ("size", "left", "top"))
    assert size.min() == max(1, min(round(smallest * side), side - 1))
    assert size.max() == max(1, side - 1)
    for place in (left, top):
        assert place.min() == 0
        assert (place + size).max() == side
    assert params["shrink"].float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_input_diversity_may_change_every_picture_or_none() -> None:
    image = torch.rand(8, 3, 30, 30)
    for probability, changed in ((0.0, False), (1.0, True)):
        view = InputDiversity(probability=probability)
        (params,) = draw([view], [0], [30], 8)
        assert ((view.apply(image, params) != image).flatten(1).any(dim=1) == changed).all()


def test_input_diversity_has_the_right_gradient(generator: torch.Generator) -> None:
    view = InputDiversity(probability=1.0, smallest=0.5)
    (params,) = draw([view], [3], [6], 2)
    images = torch.rand(2, 3, 6, 6, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(lambda x: view.apply(x, params), images.requires_grad_())


@pytest.mark.parametrize("view", NEW, ids=lambda view: type(view).__name__)
def test_a_smaller_face_of_a_batch_is_seen_as_if_alone(view: View, generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 40, 40, generator=generator)
    large = torch.rand(1, 3, 64, 64, generator=generator)
    batch = torch.cat([functional.pad(image, (0, 24, 0, 24)), large])
    (alone,), (together,) = draw([view], [1], [40], 1), draw([view], [1, 2], [40, 64], 1)
    seen = view.apply(batch, together)
    torch.testing.assert_close(seen[:1, :, :40, :40], view.apply(image, alone), rtol=0, atol=1e-5)
    assert seen[0, :, 40:].abs().max() == 0
    assert seen[0, :, :, 40:].abs().max() == 0


@pytest.mark.parametrize("view", NEW, ids=lambda view: type(view).__name__)
def test_new_views_have_the_right_gradient(view: View, generator: torch.Generator) -> None:
    (params,) = draw([view], [3], [6], 2)
    images = torch.rand(2, 3, 6, 6, generator=generator, dtype=torch.float64) * 0.2 + 0.4  # Nothing is clipped.
    assert torch.autograd.gradcheck(lambda x: view.apply(x, params), images.requires_grad_())


def test_resize_is_a_smaller_photo_enlarged(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 41, 41, generator=generator)
    (params,) = draw([resize(smallest=0.3)], [0], [41], 20)
    seen = resize(smallest=0.3).apply(image.expand(20, -1, -1, -1), params)
    assert 0.3 <= params["share"].min() < 0.45
    assert 0.85 < params["share"].max() <= 1
    roughness = (seen - image).flatten(1).norm(dim=1)
    assert torch.corrcoef(torch.stack([params["share"], roughness]))[0, 1] < -0.9  # The smaller, the more is lost.
    grey = torch.full((20, 3, 41, 41), 0.3)
    torch.testing.assert_close(resize().apply(grey, params), grey)


def test_landmark_jitter_is_the_crop_of_other_landmarks(generator: torch.Generator) -> None:
    """A face in the middle of a patch of 139 pixels, as `patch_around` cuts one whose crop has 112."""
    side = 139
    smooth = functional.interpolate(torch.rand(1, 3, 12, 12, generator=generator), size=(side, side), mode="bicubic")
    image = smooth.clamp(0, 1)
    landmarks = torch.tensor(ARCFACE_TEMPLATE) + (side - 112) / 2
    view = LandmarkJitter(pixels=2.5)
    torch.manual_seed(4)
    params = view.sample(1, side)
    torch.manual_seed(4)
    moved = landmarks + 2.5 * torch.randn(1, 5, 2)
    size = (112, 112)
    expected = crop(image, crop_grid(moved, ARCFACE_TEMPLATE, size, side))
    seen = crop(view.apply(image, params), crop_grid(landmarks[None], ARCFACE_TEMPLATE, size, side))
    unmoved = crop(image, crop_grid(landmarks[None], ARCFACE_TEMPLATE, size, side))
    inner = (..., slice(8, -8), slice(8, -8))
    assert (seen - expected)[inner].abs().mean() < 0.1 * (unmoved - expected)[inner].abs().mean()


def slow_block_rotate(image: torch.Tensor, params: Params, row: int) -> torch.Tensor:
    """One picture ``(3, S, S)``, pixel by pixel."""
    side = image.shape[-1]
    borders = ((params["borders"][row] + 1) / 2 * side).tolist()
    result = torch.zeros_like(image)
    for y in range(side):
        for x in range(side):
            i = sum(border <= x + 0.5 for border in borders[0][1:-1])
            j = sum(border <= y + 0.5 for border in borders[1][1:-1])
            centre_x, centre_y = (borders[0][i] + borders[0][i + 1]) / 2, (borders[1][j] + borders[1][j + 1]) / 2
            angle = params["angles"][row, j, i].item()
            right, down = x + 0.5 - centre_x, y + 0.5 - centre_y
            shift_x, shift_y = (params["shifts"][row, :, j, i] / 2 * side).tolist()
            from_x = centre_x + math.cos(angle) * right - math.sin(angle) * down + shift_x - 0.5
            from_y = centre_y + math.sin(angle) * right + math.cos(angle) * down + shift_y - 0.5
            from_x, from_y = (min(max(place, 0.0), side - 1.0) for place in (from_x, from_y))
            left, top = min(int(from_x), side - 2), min(int(from_y), side - 2)
            u, v = from_x - left, from_y - top
            (a, b), (c, d) = ((image[:, row, left], image[:, row, left + 1]) for row in (top, top + 1))
            result[:, y, x] = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
    return result


def test_block_rotate_equals_its_slow_reference(generator: torch.Generator) -> None:
    view = block_rotate(blocks=3, degrees=25.0, translate=0.05)
    images = torch.rand(3, 3, 21, 21, generator=generator)
    (params,) = draw([view], [4], [21], 3)
    expected = torch.stack([slow_block_rotate(image, params, row) for row, image in enumerate(images)])
    torch.testing.assert_close(view.apply(images, params), expected, rtol=0, atol=1e-4)


def test_block_rotate_cuts_blocks_of_similar_sizes() -> None:
    (params,) = draw([block_rotate(blocks=4)], [0], [100], 500)
    widths = params["borders"].diff(dim=2)
    assert (widths.amax(dim=2) <= 2 * widths.amin(dim=2) + 1e-5).all()
    assert widths.std() > 0.02
    torch.testing.assert_close(widths.sum(dim=2), torch.full((500, 2), 2.0))


def test_spectrum_agrees_with_scipy(generator: torch.Generator) -> None:
    view = spectrum(rho=0.5, sigma=16.0)
    images = torch.rand(2, 3, 15, 15, generator=generator)
    (params,) = draw([view], [4], [15], 2)
    for row, image in enumerate(images):
        drawn = torch.Generator().manual_seed(int(params["seed"][row]))
        noisy = image + torch.randn(3, 15, 15, generator=drawn) * 16 / 255
        factors = 0.5 + torch.rand(3, 15, 15, generator=drawn)
        frequencies = dctn(noisy.double().numpy(), axes=(1, 2), norm="ortho") * factors.double().numpy()
        expected = torch.from_numpy(idctn(frequencies, axes=(1, 2), norm="ortho")).clamp(0, 1).float()
        torch.testing.assert_close(view.apply(images, params)[row], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [affine, perspective, blur, jpeg, resize, landmark_jitter, block_rotate, spectrum])
def test_views_change_as_many_pictures_as_they_are_asked_to(make, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    images = torch.rand(60, 3, 24, 24, generator=generator)
    for probability, least, most in ((0.0, 0, 0), (0.4, 12, 36), (1.0, 55, 60)):  # Some blur is too little to be seen.
        view = make(probability=probability)
        seen = view.apply(images, draw([view], [1], [24], 60)[0])
        assert least <= (seen != images).flatten(1).any(dim=1).sum() <= most


def test_one_view_for_each_picture(generator: torch.Generator) -> None:
    images = torch.rand(40, 3, 24, 24, generator=generator)
    parts = [blur(), resize(), maybe(spectrum(), 0.5)]
    view = OneOf(parts)
    (params,) = draw([view], [1], [24], 40)
    assert set(params["chosen"].tolist()) == {0, 1, 2}
    seen = view.apply(images, params)
    for number, part in enumerate(parts):
        own = {name[2:]: value for name, value in params.items() if name.startswith(f"{number}.")}
        rows = params["chosen"] == number
        assert torch.equal(seen[rows], part.apply(images, own)[rows])
