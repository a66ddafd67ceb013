from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.learners.linear_map import TOWARDS, Towards, _solve, learn_linear_map
from facecrypt.errors import FacecryptError

TEST = range(100, 120)


def embeddings(count: int, seed: int, dimension: int = 16) -> Tensor:
    return functional.normalize(torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)), dim=1)


def distorted(clean: Tensor) -> Tensor:
    """Turned, moved and with noise."""
    draw = torch.Generator().manual_seed(9)
    turn = torch.linalg.qr(torch.randn(clean.shape[1], clean.shape[1], generator=draw)).Q
    noise = 0.02 * torch.randn(clean.shape, generator=draw)
    return functional.normalize(clean @ turn + 0.5 * embeddings(1, 8, clean.shape[1]) + noise, dim=1)


def test_a_linear_distortion_is_undone_for_other_people() -> None:
    clean, test = embeddings(80, 0), embeddings(20, 1)
    found = learn_linear_map(distorted(clean), clean, torch.arange(80), TEST)
    before, after = (functional.cosine_similarity(each, test) for each in (distorted(test), found(distorted(test))))
    assert before.mean() < 0.3
    assert after.mean() > 0.9
    assert found.after < 0.1 * found.before
    assert torch.allclose(found(distorted(test)).norm(dim=1), torch.ones(20))


def test_where_nothing_was_done_nothing_is_changed() -> None:
    clean = embeddings(40, 0)
    found = learn_linear_map(clean, clean, torch.arange(40), TEST)
    assert found.towards == "identity"
    test = embeddings(20, 1)
    assert torch.allclose(found(test), test, atol=1e-6)


@pytest.mark.parametrize("towards", TOWARDS)
def test_it_is_the_minimum_of_what_it_says(towards: Towards) -> None:
    protected, clean, strength = embeddings(9, 0, 5), embeddings(9, 1, 5), 0.7
    matrix, protected_mean, clean_mean = _solve(protected, clean, strength, towards)
    p, c = protected.double() - protected_mean, clean.double() - clean_mean
    anchor = torch.eye(5).double() if towards == "identity" else torch.zeros(5, 5).double()
    # The penalty as further rows of a least-squares problem.
    weight = (strength * p.square().sum(dim=0).mean() / len(p) * len(p)).sqrt()
    rows, wanted = torch.cat([p, weight * torch.eye(5)]), torch.cat([c, weight * anchor])
    assert torch.allclose(matrix, torch.linalg.lstsq(rows, wanted).solution, atol=1e-9)


def test_people_are_apart() -> None:
    clean = embeddings(10, 0)
    with pytest.raises(FacecryptError, match="both among"):
        learn_linear_map(clean, clean, torch.arange(10), [4])
