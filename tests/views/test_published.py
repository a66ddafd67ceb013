from __future__ import annotations

import numpy as np
import pytest
import torch

from facecrypt import registry
from facecrypt.errors import RecipeError
from facecrypt.faces.patches import FaceImage
from facecrypt.recipe.check import check_recipe
from facecrypt.transforms.base import publish
from facecrypt.views.published import published


def test_forward_is_the_transform_itself_and_backward_as_if_nothing_had_happened(face_image: FaceImage) -> None:
    side = face_image.pixels.shape[-1]
    images = face_image.pixels[None].clone().requires_grad_()
    view = published(transforms=["jpeg_30"])
    seen = view.apply(images, view.sample(1, side))
    pixels = (face_image.pixels * 255).round().byte().permute(1, 2, 0).numpy()
    expected = publish("jpeg_30")(np.ascontiguousarray(pixels))
    assert np.array_equal((seen[0].detach() * 255).round().byte().permute(1, 2, 0).numpy(), expected)
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((seen * weights).sum(), images)
    assert torch.equal(gradient, weights)


def test_another_size_is_brought_back_and_padding_stays_black(face_image: FaceImage) -> None:
    view = published(transforms=[{"name": "resize", "args": {"factor": 0.5, "back": False}}])
    images = torch.zeros(2, 3, 80, 80)
    images[..., :60, :60] = face_image.pixels[:, :60, :60]
    seen = view.apply(images, view.sample(2, 60))
    assert seen.shape == images.shape
    assert seen[..., 60:, :].abs().max() == seen[..., 60:].abs().max() == 0
    assert 0 < (seen - images).abs().mean() < 0.05


def test_each_picture_draws_one_of_the_transforms(face_image: FaceImage) -> None:
    images = face_image.pixels[None, :, :64, :64].expand(12, -1, -1, -1)
    view = published(transforms=["none", "jpeg_30", "blur"])
    torch.manual_seed(0)
    seen = view.apply(images, view.sample(12, 64))
    assert len({each.numpy().tobytes() for each in seen}) == 3


def test_recipes_check_the_transforms_of_the_view() -> None:
    views = [{"name": "published", "args": {"transforms": ["whatsap"]}}]
    with pytest.raises(RecipeError, match=r"views\[0\] \(published\): .*Did you mean 'whatsapp'"):
        check_recipe({"surrogates": [{"name": "sface"}], "views": views})
    bound, faults = registry.get("view", "published").bind({"transforms": [{"name": "jpeg_75"}, "half_size+webp"]})
    assert (bound, faults) == ({"transforms": ["jpeg_75", "half_size+webp"]}, [])
