from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facecrypt.gradients.base import Gradient, Landscape, PenaliseNorm, Plain, VarianceTuning

EPSILON, STEP = 0.05, 0.01


def bumpy(masks: Tensor, calls: list[str] | None = None) -> Landscape:
    """A loss whose gradient at x is ``x**3 + sample``, and noise that is easy to say by heart."""

    def note(what: str) -> None:
        if calls is not None:
            calls.append(what)

    def here() -> Tensor:
        note("here")
        return masks**3

    def elsewhere(at: Tensor, sample: int) -> Tensor:
        note(f"sample {sample}")
        return at**3 + sample

    def noise(sample: int) -> Tensor:
        return torch.linspace(-1, 1, masks.numel()).view_as(masks).roll(sample)

    return Landscape(masks, here, elsewhere, noise, EPSILON, STEP)


@pytest.fixture
def masks(generator: torch.Generator) -> Tensor:
    return 0.05 * torch.randn(2, 3, 4, 4, generator=generator)


def test_plain_is_the_gradient_at_the_masks(masks: Tensor) -> None:
    followed, state = Plain().update(bumpy(masks), Plain().init(masks))
    assert torch.equal(followed, masks**3)
    assert state == ()


def test_variance_tuning_follows_algorithm_1_of_its_paper(masks: Tensor) -> None:
    """Value by value: the variance of one step is added at the next."""
    component = VarianceTuning(samples=4, beta=1.5)
    state = component.init(masks)
    variance = [0.0] * masks.numel()
    for shift in (0.0, 0.01, -0.02):
        now = masks + shift
        landscape = bumpy(now)
        followed, state = component.update(landscape, state)
        noises = [landscape.noise(sample).flatten().tolist() for sample in range(1, 5)]
        for place, value in enumerate(now.flatten().tolist()):
            assert followed.flatten()[place].item() == pytest.approx(value**3 + variance[place], abs=1e-6)
            near = [(value + 1.5 * EPSILON * noise[place]) ** 3 + number for number, noise in enumerate(noises, 1)]
            variance[place] = sum(near) / 4 - value**3


def test_penalise_norm_follows_algorithm_1_of_its_paper(masks: Tensor) -> None:
    landscape = bumpy(masks)
    followed, _ = PenaliseNorm(samples=2, zeta=3.0, delta=0.3).update(landscape, ())
    for face in range(2):
        total = [0.0] * masks[0].numel()
        for sample in (1, 2):
            noise = landscape.noise(sample)[face].flatten().tolist()
            near = [m + 3 * EPSILON * n for m, n in zip(masks[face].flatten().tolist(), noise, strict=True)]
            first = [x**3 + sample for x in near]
            size = sum(abs(g) for g in first) / len(first)
            for place, (x, g) in enumerate(zip(near, first, strict=True)):
                second = (x + STEP * g / size) ** 3 + sample
                total[place] += (0.7 * g + 0.3 * second) / 2
        assert followed[face].flatten().tolist() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "cost"),
    [(Plain, 1), (lambda: VarianceTuning(samples=4), 5), (lambda: PenaliseNorm(samples=4), 8)],
    ids=["plain", "variance_tuning", "penalise_norm"],
)
def test_costs_what_it_says(make: Callable[[], Gradient], cost: int, masks: Tensor) -> None:
    calls: list[str] = []
    component = make()
    component.update(bumpy(masks, calls), component.init(masks))
    assert len(calls) == cost


def test_a_flat_minimum_is_preferred_to_a_deeper_cleft() -> None:
    """Along one axis the loss falls towards a narrow cleft; its gradient hides the wide valley on the other side."""

    def gradient(x: Tensor) -> Tensor:
        cleft = 2.0 * (x / 0.01) * torch.exp(-((x / 0.01) ** 2))  # Pulls to 0 from nearby only.
        return cleft + (x - 0.3)  # Everywhere, the valley lies at 0.3.

    masks = torch.full((1, 3, 8, 8), 0.005)
    noise = 2 * torch.rand(64, *masks.shape, generator=torch.Generator().manual_seed(0)) - 1
    landscape = Landscape(
        masks, lambda: gradient(masks), lambda at, sample: gradient(at), lambda sample: noise[sample], EPSILON, STEP
    )
    assert Plain().update(landscape, ())[0].mean() > 0  # Into the cleft.
    assert PenaliseNorm(samples=60).update(landscape, ())[0].mean() < 0  # Towards the valley.
