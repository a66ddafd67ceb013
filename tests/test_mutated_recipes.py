from __future__ import annotations

import pytest

from tests.mutate_recipes import SCALARS, TAILS, TYPED, examine_many


@pytest.mark.slow
def test_damaged_recipes_get_an_answer() -> None:
    bad = [(number, mutant.overrides, complaint) for number, mutant, complaint in examine_many(range(30), seed=1)]
    assert bad == []


@pytest.mark.slow
def test_many_damaged_recipes_get_an_answer() -> None:
    bad = [(number, mutant.overrides, complaint) for number, mutant, complaint in examine_many(range(1400), seed=0)]
    assert bad == []


def test_the_hostile_values_are_there() -> None:
    assert len(SCALARS) > 100
    assert len(TYPED) > 40
    assert len(TAILS) > 30
