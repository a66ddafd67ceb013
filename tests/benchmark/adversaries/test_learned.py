from __future__ import annotations

import torch

from facecrypt.benchmark.adversaries.learned import measure_auc
from facecrypt.benchmark.learners.protection_detector import area_under_roc


def test_the_interval_of_the_area_under_the_curve_draws_people() -> None:
    """Against a bootstrap that copies scores out, draw by draw."""
    generator = torch.Generator().manual_seed(1)
    people = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 5, 5])
    protected = torch.randn(10, generator=generator).round(decimals=1) + 0.7
    clean = torch.randn(10, generator=generator).round(decimals=1)
    found = measure_auc(protected, clean, people, 0)
    slow = []
    draws = torch.randint(6, (3000, 6), generator=torch.Generator().manual_seed(9))
    for draw in draws:
        rows = torch.cat([(people == person).nonzero().flatten() for person in draw])
        slow.append(area_under_roc(protected[rows], clean[rows]))
    low, high = torch.quantile(torch.tensor(slow).double(), torch.tensor([0.025, 0.975]).double()).tolist()
    assert found.value == 100 * area_under_roc(protected, clean)
    assert abs(found.low - 100 * low) < 2
    assert abs(found.high - 100 * high) < 2
    assert measure_auc(protected, protected, people, 0).value == 50
