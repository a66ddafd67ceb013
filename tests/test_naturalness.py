from __future__ import annotations

import math

import pytest
import torch

from facecrypt.naturalness import BANDWIDTHS, MMD, mmd


def slow_mmd(protected: torch.Tensor, original: torch.Tensor) -> float:
    """Eq. 3 by the kernel trick, pair by pair in double precision."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        squared = sum(
            (x - y) ** 2 for x, y in zip(a.double().flatten().tolist(), b.double().flatten().tolist(), strict=True)
        )
        return sum(math.exp(-squared / (2 * bandwidth)) for bandwidth in BANDWIDTHS)

    def mean(first: torch.Tensor, second: torch.Tensor) -> float:
        return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))

    return mean(protected, protected) + mean(original, original) - 2 * mean(protected, original)


@pytest.mark.parametrize(("protected", "original"), [(1, 1), (3, 3), (2, 4)])
def test_mmd_equals_its_slow_reference(protected: int, original: int, generator: torch.Generator) -> None:
    a = torch.rand(protected, 3, 6, 6, generator=generator)
    b = torch.rand(original, 3, 6, 6, generator=generator)
    assert mmd(a, b).item() == pytest.approx(slow_mmd(a, b), abs=1e-4)


def test_mmd_is_zero_for_the_same_set_and_grows_with_the_mask(generator: torch.Generator) -> None:
    photos = torch.rand(3, 3, 8, 8, generator=generator)
    noise = torch.randn(3, 3, 8, 8, generator=generator)
    assert mmd(photos, photos[[2, 0, 1]]).item() == pytest.approx(0, abs=1e-5)
    values = [mmd(photos + size * noise, photos).item() for size in (0.01, 0.03, 0.1)]
    assert values == sorted(values)
    assert values[0] > 0


def test_mmd_gradient_agrees_with_finite_differences(generator: torch.Generator) -> None:
    photos = torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    moved = (photos + 0.1 * torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    # The narrowest kernels (1e-6 ...) vanish at these distances; the others carry the gradient.
    assert torch.autograd.gradcheck(lambda x: mmd(x, photos, BANDWIDTHS[4:]), moved)


def test_views_keep_faces_apart_and_batch_pools_them(generator: torch.Generator) -> None:
    original = torch.rand(2, 3, 3, 8, 8, generator=generator)
    protected = original.clone()
    protected[1] += 0.05
    apart = MMD(over="views")(protected, original)
    assert apart[0].item() == pytest.approx(0, abs=1e-5)
    assert apart[1].item() == pytest.approx(mmd(protected[1], original[1]).item())
    pooled = MMD(over="batch")(protected, original)
    assert pooled.shape == (2,)
    assert pooled[0] == pooled[1]
    assert pooled[0].item() == pytest.approx(mmd(protected.flatten(0, 1), original.flatten(0, 1)).item())
