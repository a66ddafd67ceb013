"""What a view promises: `facecrypt.views.View`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from facecrypt.testing.inputs import expect, expect_device, expect_everywhere, gap, square, unguarded, works
from facecrypt.views.base import Params, View

_SIDE = 120


def draws_a_row_per_view_on_the_cpu(view: View) -> None:
    """A draw is CPU tensors with a row for each view."""
    for count in (1, 4):
        with works("draws a row per view", "Return a mapping of names to CPU tensors."):
            params = _draw(view, count)
        found = {name: (len(value), value.device.type) for name, value in params.items()}
        expect(
            set(found.values()) <= {(count, "cpu")},
            "draws a row per view on the CPU",
            measured=f"{found or 'nothing'}",
            allowed=f"{count} rows on cpu in each",
            remedy="Draw tensors whose first dimension is count.",
        )


def draws_of_different_sides_can_be_put_together(view: View) -> None:
    """Faces of a batch have patches of different sizes; their draws are concatenated."""
    small, large = _draw(view, 2), _draw(view, 2, side=_SIDE + 37)
    images = square(_SIDE + 37).expand(4, -1, -1, -1)
    promise, remedy = "draws of different sides can be put together", "Draw tensors of one shape whatever the side."
    with works(promise, remedy):
        seen = view.apply(images, {name: torch.cat([small[name], large[name]]) for name in small})
    expect(
        small.keys() == large.keys() and seen.shape == images.shape,
        promise,
        measured=f"names {sorted(small)} and {sorted(large)}, pictures {tuple(seen.shape)}",
        allowed=f"the same names, {tuple(images.shape)}",
        remedy=remedy,
    )


def draws_depend_on_the_seed_alone(view: View) -> None:
    """The same seed draws the same views, whatever was drawn in between."""
    first = _draw(view, 3)
    _draw(view, 5, seed=1)
    expect(
        _equal(first, _draw(view, 3)),
        "draws depend on the seed alone",
        measured="another draw for the same seed",
        allowed="the same",
        remedy="Draw from torch's global random numbers and from nothing else.",
    )


def changes_the_picture(view: View) -> None:
    """Of eight views one at least is not the picture itself. They may all be alike, as a fixed blur is."""
    images = square(_SIDE).expand(8, -1, -1, -1)
    expect(
        not torch.equal(view.apply(images, _draw(view, 8)), images),
        "changes the picture",
        measured="eight times the picture itself",
        allowed="some change",
        remedy="Choose defaults that change the picture.",
    )


def rows_are_drawn_one_by_one(view: View) -> None:
    """Where views are random, two views of one draw differ."""
    images = square(_SIDE).expand(2, -1, -1, -1)
    one, other = (view.apply(images, _draw(view, 2, seed=seed)) for seed in (0, 1))
    expect(
        torch.equal(one, other) or not (torch.equal(one[0], one[1]) and torch.equal(other[0], other[1])),
        "rows are drawn one by one",
        measured="the same view in each row of a draw, another in the next draw",
        allowed="a view of its own in each row",
        remedy="Draw `count` numbers of each kind.",
    )


def keeps_shape_and_range(view: View) -> None:
    """Views have the shape and type of the pictures and lie in [0, 1]."""
    images = square(_SIDE).expand(6, -1, -1, -1)
    with works("keeps shape and range", "Take pictures (N, 3, H, W) and return as many."):
        seen = view.apply(images, _draw(view, 6))
    low, high = seen.min().item(), seen.max().item()
    expect(
        seen.shape == images.shape and seen.dtype == images.dtype and low >= 0 and high <= 1,
        "keeps shape and range",
        measured=f"{tuple(seen.shape)} in {seen.dtype}, from {low:.4g} to {high:.4g}",
        allowed=f"{tuple(images.shape)} in {images.dtype}, from 0 to 1",
        remedy="Clamp to [0, 1] at the end.",
    )


def applying_is_a_function_of_the_draw(view: View) -> None:
    """One draw gives one view, whatever was drawn in between; nothing is drawn, and nothing changed in place."""
    images = square(_SIDE).expand(3, -1, -1, -1).clone()
    original, params = images.clone(), _draw(view, 3)
    kept, before = copy.deepcopy(dict(params)), torch.get_rng_state()
    first = view.apply(images, params)
    _draw(view, 5, seed=1)
    second = view.apply(images, params)
    expect(
        torch.equal(second, first),
        "applying is a function of the draw",
        measured=f"a difference of {gap(first, second):.2g} the second time",
        allowed=0,
        remedy="Remember nothing of sample: apply gets all it needs in its draw.",
    )
    expect(
        torch.equal(torch.get_rng_state(), before),
        "applying draws no random numbers",
        measured="another state of torch's random numbers",
        allowed="the same state",
        remedy="Draw everything in sample.",
    )
    expect(
        torch.equal(images, original) and _equal(params, kept),
        "pictures and draws are left as they are",
        measured="a change in place",
        allowed="none",
        remedy="Return new tensors.",
    )


def images_are_independent(view: View) -> None:
    """A picture's view does not depend on the other pictures of its batch."""
    images = torch.cat([square(_SIDE), square(_SIDE).flip(3), square(_SIDE).flip(2)])
    params = _draw(view, 3)
    rows = [{name: value[i : i + 1] for name, value in params.items()} for i in range(3)]
    promise, remedy = "images are independent", "Change every picture by its own row of the draw alone."
    with works(promise, remedy):
        alone = torch.cat([view.apply(images[i : i + 1], rows[i]) for i in range(3)])
        worst = gap(view.apply(images, params), alone)
    expect(
        worst <= 1e-4,
        promise,
        measured=f"a difference of {worst:.2g} between a picture in a batch and alone",
        allowed="<= 0.0001",
        remedy=remedy,
    )


def gradient_reaches_every_part_of_the_image(view: View) -> None:
    """The gradient by the picture is finite everywhere and nonzero in every part, over eight views."""
    promise, remedy = "the gradient reaches every part of the image", "Use torch's differentiable functions throughout."
    image = square(_SIDE).requires_grad_()
    with works(promise, remedy):
        seen = view.apply(image.expand(8, -1, -1, -1), _draw(view, 8))
        # Random weights, so that no gradient cancels out; over a few views, so that one may cover a part.
        weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad((seen * weights).sum(), image)
    expect_everywhere(gradient, promise, remedy)


def is_still_mostly_the_same_picture(view: View) -> None:
    """A view correlates with its picture: the face must still be where recognisers look for it."""
    images = square(_SIDE).expand(8, -1, -1, -1)
    pairs = torch.stack([images.flatten(1), view.apply(images, _draw(view, 8)).flatten(1)], dim=1)
    least = min(torch.corrcoef(pair)[0, 1].item() for pair in pairs)
    expect(
        least > 0.5,
        "a view is still mostly the same picture",
        measured=f"a correlation of {least:.2f}",
        allowed="> 0.5",
        remedy="Choose smaller changes by default.",
    )


def stays_on_its_device(view: View) -> None:
    """Views are drawn on the CPU and applied where the pictures are."""

    def compute(device: torch.device) -> Tensor:
        images = square(_SIDE).expand(3, -1, -1, -1).to(device).requires_grad_()
        seen: Tensor = unguarded(view).apply(images, _draw(unguarded(view), 3))
        torch.autograd.grad(seen.sum(), images)
        return seen

    expect_device("stays on its device", compute)


def _draw(view: View, count: int, *, side: int = _SIDE, seed: int = 0) -> Params:
    """Return views from a seed, without touching the random numbers of other tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return view.sample(count, side)


def _equal(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


CHECKS = (
    draws_a_row_per_view_on_the_cpu,
    draws_of_different_sides_can_be_put_together,
    draws_depend_on_the_seed_alone,
    changes_the_picture,
    rows_are_drawn_one_by_one,
    keeps_shape_and_range,
    applying_is_a_function_of_the_draw,
    images_are_independent,
    gradient_reaches_every_part_of_the_image,
    is_still_mostly_the_same_picture,
    stays_on_its_device,
)
