from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrypt.benchmark.learners.protection_detector import Residuals, Shown, area_under_roc, learn_detector
from facecrypt.engine.fitting import Pace

SHORT, SHORTEST = Pace(epochs=12, batch_size=8), Pace(epochs=1, batch_size=8)
PEOPLE, TEST = torch.arange(24), range(100, 120)


def shown(count: int, seed: int, shift: float = 0.0, grain: float = 0.0) -> Shown:
    """Flat pictures with a little noise, embeddings moved by a shift, and a chessboard in the pixels."""
    draw = torch.Generator().manual_seed(seed)
    crops = 0.5 + 0.02 * torch.randn(count, 3, 24, 24, generator=draw)
    board = (torch.arange(24)[:, None] + torch.arange(24)) % 2 - 0.5
    embeddings = torch.randn(count, 8, generator=draw)
    embeddings[:, 0] += shift
    return Shown(crops + grain * board, embeddings)


def slow_area(positive: Tensor, negative: Tensor) -> float:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in positive.tolist() for b in negative.tolist()]
    return sum(wins) / len(wins)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    draw = torch.Generator().manual_seed(0)
    for levels in (3, 10, 1000):  # with many equal scores, and with few
        positive, negative = (torch.randint(levels, (n,), generator=draw).float() for n in (17, 11))
        assert area_under_roc(positive, negative) == pytest.approx(slow_area(positive, negative))
    assert area_under_roc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert area_under_roc(torch.tensor([1.0]), torch.tensor([1.0])) == 0.5


def test_embeddings_that_lie_apart_are_told() -> None:
    found = learn_detector(shown(24, 0, shift=6), shown(24, 1), PEOPLE, TEST, pace=SHORTEST)
    assert found.kind.startswith("embeddings")
    assert area_under_roc(found(shown(20, 2, shift=6)), found(shown(20, 3))) > 0.97


def test_a_fine_pattern_is_told_by_its_residuals() -> None:
    found = learn_detector(shown(24, 0, grain=0.06), shown(24, 1), PEOPLE, TEST, pace=SHORT)
    assert found.kind == "residuals"
    assert found.validation["residuals"] > 0.9
    assert area_under_roc(found(shown(20, 2, grain=0.06)), found(shown(20, 3))) > 0.97


def test_what_does_not_differ_is_not_told() -> None:
    found = learn_detector(shown(24, 0), shown(24, 1), PEOPLE, TEST, pace=SHORTEST)
    assert abs(area_under_roc(found(shown(200, 2)), found(shown(200, 3))) - 0.5) < 0.08
    same = shown(24, 0)
    found = learn_detector(same, same, PEOPLE, TEST, pace=SHORTEST)
    assert set(found.validation.values()) == {0.5}


def test_residuals_do_not_see_what_is_smooth() -> None:
    network = Residuals()
    crops = shown(2, 0).crops
    with torch.no_grad():
        assert torch.allclose(network(crops), network(crops + 0.2), atol=1e-4)
