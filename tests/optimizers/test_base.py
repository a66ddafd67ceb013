from __future__ import annotations

import itertools
import math

import pytest
import torch

from facecrypt.optimizers.base import Adam, Momentum, Plain, TranslationInvariant, euclidean_norm, normalize, project


@pytest.fixture
def gradients(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 3, 4, 5, generator=generator)


def test_linf_normalisation_is_the_sign(gradients: torch.Tensor) -> None:
    for value, step in zip(gradients.flatten().tolist(), normalize(gradients, "linf").flatten().tolist(), strict=True):
        assert step == math.copysign(1.0, value)


def test_l2_normalisation_gives_unit_vectors_per_face(gradients: torch.Tensor) -> None:
    steps = normalize(gradients, "l2")
    for step, gradient in zip(steps, gradients, strict=True):
        length = math.sqrt(sum(value**2 for value in gradient.flatten().tolist()))
        assert torch.allclose(step, gradient / length, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_zero_gradient_gives_no_step(norm: str) -> None:
    assert normalize(torch.zeros(1, 3, 2, 2), norm).abs().max() == 0  # type: ignore[arg-type]


def slow_projection(mask: torch.Tensor, photo: torch.Tensor, epsilon: float, norm: str) -> torch.Tensor:
    """One face, value by value."""
    length = math.sqrt(sum(v**2 for v in mask.flatten().tolist()))
    result = torch.empty_like(mask)
    for c, y, x in itertools.product(*map(range, mask.shape)):
        value = mask[c, y, x].item()
        value = max(-epsilon, min(epsilon, value)) if norm == "linf" else value * min(1.0, epsilon / length)
        result[c, y, x] = max(0.0, min(1.0, photo[c, y, x].item() + value)) - photo[c, y, x].item()
    return result


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.6), ("l2", 100.0)])
def test_projection_equals_its_slow_reference(norm: str, epsilon: float, generator: torch.Generator) -> None:
    masks = torch.randn(3, 3, 4, 5, generator=generator) * 0.2
    photos = torch.rand(3, 3, 4, 5, generator=generator)
    projected = project(masks, photos, epsilon, norm)  # type: ignore[arg-type]
    for mask, photo, result in zip(masks, photos, projected, strict=True):
        assert torch.allclose(result, slow_projection(mask, photo, epsilon, norm), atol=1e-6)
    assert (photos + projected).min() >= 0
    assert (photos + projected).max() <= 1
    size = projected.abs().amax() if norm == "linf" else euclidean_norm(projected).amax()
    assert size <= epsilon + 1e-6


def test_projection_takes_one_radius_per_face() -> None:
    radii = torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    projected = project(torch.ones(2, 3, 2, 2), torch.full((2, 3, 2, 2), 0.5), radii, "linf")
    assert projected.amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.1, 0.2])


def test_projection_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"masks are \(1, 3, 2, 2\)"):
        project(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 3), 0.1, "linf")
    with pytest.raises(ValueError, match="epsilon is -0"):
        project(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), -0.1, "linf")


def test_momentum_follows_its_formula(gradients: torch.Tensor) -> None:
    """g' = decay * g + gradient / |gradient|_1 (Dong et al., 2018, Eq. 6), step = sign(g'), value by value."""
    optimizer = Momentum(decay=0.5)
    state = optimizer.init(gradients)
    expected = [[0.0] * gradients[0].numel() for _ in gradients]
    for number in range(3):
        new = gradients * (number - 1.5)
        step, state = optimizer.update(new, state, "linf")
        for face in range(2):
            values = new[face].flatten().tolist()
            size = sum(abs(value) for value in values)
            expected[face] = [0.5 * old + value / size for old, value in zip(expected[face], values, strict=True)]
            assert state[0][face].flatten().tolist() == pytest.approx(expected[face], abs=1e-6)
            assert step[face].flatten().tolist() == [math.copysign(1.0, value) for value in expected[face]]


def test_plain_is_the_normalised_gradient(gradients: torch.Tensor) -> None:
    step, _ = Plain().update(gradients, Plain().init(gradients), "l2")
    assert torch.equal(step, normalize(gradients, "l2"))


def test_adam_agrees_with_torch(gradients: torch.Tensor) -> None:
    """On one face whose largest gradient is 1, so that the scaling changes nothing."""
    gradient = gradients[:1] / gradients[:1].abs().max()
    weights = torch.nn.Parameter(torch.zeros_like(gradient))
    reference = torch.optim.Adam([weights], lr=1.0)
    optimizer = Adam()
    mask, state = torch.zeros_like(gradient), optimizer.init(gradient)
    for sign in (1, 1, -1):
        weights.grad = sign * gradient
        reference.step()
        step, state = optimizer.update(sign * gradient, state, "linf")
        mask = mask - step
    assert torch.allclose(mask, weights.detach(), atol=1e-5)


def slow_smoothing(gradient: torch.Tensor, radius: int, sigma: float) -> torch.Tensor:
    """One face, value by value: a Gaussian whose weights add up to 1, and nothing beyond the patch."""
    offsets = range(-radius, radius + 1)
    weights = {(i, j): math.exp(-(i**2 + j**2) / (2 * sigma**2)) for i in offsets for j in offsets}
    total = sum(weights.values())
    result = torch.zeros_like(gradient)
    for c, y, x in itertools.product(*map(range, gradient.shape)):
        for (i, j), weight in weights.items():
            if 0 <= y + i < gradient.shape[1] and 0 <= x + j < gradient.shape[2]:
                result[c, y, x] += weight / total * gradient[c, y + i, x + j]
    return result


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5])
def test_a_power_spreads_a_step_and_keeps_its_signs_and_length(gradients: torch.Tensor, power: float) -> None:
    optimizer = Momentum(power=power)
    tiny = gradients * 1e-30  # Squares of these are 0.
    step, (accumulated,) = optimizer.update(tiny, optimizer.init(tiny), "l2")
    raised = torch.tensor([math.copysign(abs(v) ** power, v) for v in gradients.flatten().tolist()]).view(2, 3, 4, 5)
    expected = torch.stack([face / face.square().sum().sqrt() for face in raised])
    torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(accumulated.sign(), gradients.sign())  # What is accumulated is not raised.
    assert Momentum(power=power).update(gradients * 0, optimizer.init(gradients), "l2")[0].abs().max() == 0
    signs, _ = optimizer.update(gradients, optimizer.init(gradients), "linf")
    assert torch.equal(signs, gradients.sign())


@pytest.mark.parametrize(("radius", "sigma"), [(1, None), (2, None), (3, 0.8), (7, None)])
def test_translation_invariant_is_momentum_of_smooth_gradients(
    radius: int, sigma: float | None, gradients: torch.Tensor
) -> None:
    optimizer, momentum = TranslationInvariant(radius=radius, sigma=sigma, decay=0.5), Momentum(decay=0.5)
    state, reference = optimizer.init(gradients), momentum.init(gradients)
    for number in range(3):
        new = (gradients * (number - 1.5)).roll(number, dims=3)
        smooth = torch.stack([slow_smoothing(each, radius, sigma or radius / 3) for each in new])
        step, state = optimizer.update(new, state, "l2")
        expected, reference = momentum.update(smooth, reference, "l2")
        torch.testing.assert_close(step, expected, rtol=0, atol=1e-5)


def test_default_smoothing_is_the_published_one() -> None:
    """The published kernel is ``norm.pdf(linspace(-3, 3, 15))`` in each direction: its edge lies at 3 sigma."""
    published = torch.exp(-(torch.linspace(-3, 3, 15) ** 2) / 2)
    point = torch.zeros(1, 3, 31, 31)
    point[..., 15, 15] = 1
    step, _ = TranslationInvariant(radius=7).update(point, (torch.zeros_like(point),), "l2")
    kernel = step[0, 0, 8:23, 8:23]
    expected = torch.outer(published, published)
    torch.testing.assert_close(kernel / kernel.sum(), expected / expected.sum())
    assert step[0, 0].count_nonzero() == 15 * 15


def test_half_precision_does_not_lose_small_gradients(gradients: torch.Tensor) -> None:
    optimizer = TranslationInvariant()
    state = optimizer.init(gradients)
    expected, _ = optimizer.update(gradients, state, "linf")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step, _ = optimizer.update(gradients * 1e-9, state, "linf")
    assert step.dtype == torch.float32
    assert torch.equal(step, expected)
