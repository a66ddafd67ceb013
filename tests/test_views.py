from __future__ import annotations

import pytest
import torch

from facecrypt.views import affine, blur, draw, jpeg, perspective


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
    padded = torch.nn.functional.pad(image, (0, 24, 0, 24))
    view = affine(degrees=20)
    (params,) = draw([view], [11], [40], 1)
    inner = slice(8, 32)  # Away from the border, where the padding is visible or not.
    assert torch.allclose(
        view.apply(image, params)[..., inner, inner], view.apply(padded, params)[..., inner, inner], atol=1e-4
    )


@pytest.mark.parametrize(
    "view", [affine(), perspective(), blur(), jpeg()], ids=["affine", "perspective", "blur", "jpeg"]
)
def test_one_view_for_two_pictures(view, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    """The protected and the original face must be seen alike, or the naturalness term would compare views."""
    images = torch.rand(2, 3, 32, 32, generator=generator)
    (params,) = draw([view], [1, 2], [32, 32], 1)
    assert torch.equal(view.apply(images, params), view.apply(images.clone(), params))
