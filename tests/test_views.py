from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from facecrypt.views import InputDiversity, Params, affine, blur, draw, jpeg, perspective


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
    [affine(), perspective(), blur(), jpeg(), InputDiversity()],
    ids=["affine", "perspective", "blur", "jpeg", "input_diversity"],
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
