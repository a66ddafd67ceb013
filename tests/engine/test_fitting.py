from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facecrypt.engine.fitting import Pace, fit
from facecrypt.errors import FacecryptError


class Line(nn.Module):
    """Learns the slope of a line; its errors say what a test wants."""

    def __init__(self, rate: float = 0.1, wrong: float = 0.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))
        self.kept = nn.Parameter(torch.ones(1), requires_grad=False)
        self._rate, self._wrong = rate, wrong
        self.asked: list[float] = []

    def loss(self, batch: list[Tensor], draw: torch.Generator) -> Tensor:
        x, y = batch
        return (self.slope * x + 0.01 * torch.rand((), generator=draw) - y).square().mean()

    def errors(self, batch: list[Tensor]) -> Tensor:
        x, y = batch
        self.asked.append(self.slope.item())
        return (self.slope * x - y - self._wrong).abs()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.slope], "lr": self._rate}]


X = torch.linspace(-1, 1, 32)
PACE = Pace(epochs=30, batch_size=8, patience=5, weight_decay=0)


def test_what_is_to_be_learnt_is_learnt() -> None:
    line = Line()
    done = fit(line, [X, 2 * X], [X[:5], 2 * X[:5]], PACE, seed=0)
    assert line.slope.item() == pytest.approx(2, abs=0.1)
    assert done.after < 0.1 < done.before
    assert line.kept.item() == 1


def test_the_best_epoch_is_kept() -> None:
    line = Line(rate=0.3)
    done = fit(line, [X, 2 * X], [torch.ones(1), torch.ones(1)], PACE, seed=0)  # best at 1, on the way to 2
    best = min(line.asked, key=lambda slope: abs(slope - 1))
    assert line.slope.item() == best != line.asked[-1]
    assert done.after == pytest.approx(abs(best - 1))
    assert done.epochs == line.asked.index(best, 1) + PACE.patience


def test_nothing_better_leaves_it_as_it_was() -> None:
    line = Line()
    done = fit(line, [X, 2 * X], [torch.ones(1), torch.zeros(1)], PACE, seed=0)
    assert line.slope.item() == 0
    assert done.before == done.after == 0
    assert done.epochs == PACE.patience + 1


def test_a_seed_decides_all() -> None:
    slopes = []
    for seed in (0, 0, 1):
        line = Line(rate=0.01)
        state = torch.random.get_rng_state()
        fit(line, [X, 2 * X], [X, 2 * X], Pace(epochs=2, batch_size=8), seed)
        assert torch.equal(state, torch.random.get_rng_state())
        slopes.append(line.slope.item())
    assert slopes[0] == slopes[1] != slopes[2]


def test_it_is_quiet_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("lightning.pytorch").level
    with torch.no_grad():
        fit(Line(), [X, X], [X, X], Pace(epochs=1, batch_size=8), seed=0)
        assert not torch.is_grad_enabled()
    assert tuple(capfd.readouterr()) == ("", "")
    assert not list(tmp_path.iterdir())
    assert logging.getLogger("lightning.pytorch").level == level


def test_errors_that_are_no_numbers_are_told() -> None:
    with pytest.raises(FacecryptError, match="not finite numbers"):
        fit(Line(wrong=torch.nan), [X, X], [X, X], PACE, seed=0)


def test_what_lightning_refuses_is_told() -> None:
    with pytest.raises(FacecryptError, match="trainer: Lightning refuses"):
        fit(Line(), [X, X], [X, X], PACE, seed=0, arguments={"accelerator": "abacus"})
