from __future__ import annotations

from typing import Any

import pytest
import torch

from facecrypt.benchmark import tables
from facecrypt.benchmark.metrics import bootstrap_interval
from facecrypt.benchmark.overview import mean_rate, overview
from tests.benchmark.test_tables import row


def rated(method: str, evaluator: str, digits: str, adversary: str = "none", **keys: Any) -> tables.Row:
    rate = 100 * digits.count("1") / len(digits)
    return {
        **row(method, evaluator, (0, 0, rate, rate)),
        "rank1_ut_probes": digits,
        "n_probes": len(digits),
        "adversary": adversary,
        **keys,
    }


ROWS = [
    rated("a", "x", "1111"),
    rated("a", "y", "1100"),
    rated("a", "x", "1000", "spy", not_verified=25.0, not_verified_probes="1000"),
    rated("a", "y", "0000", "spy"),
    rated("b", "x", "1010", surrogates=["dlib"]),
]


def test_methods_stand_against_adversaries_with_their_mean_over_evaluators() -> None:
    (section,) = overview(ROWS)
    lines = section.splitlines()
    assert lines[0] == "## Not found (R1-UT), by adversary"
    assert "mean over x, y; 4 probes of 4 people; seed 0" in lines[2]
    assert lines[4] == "| Surrogates | Method | none | spy |"
    values = torch.tensor([1.0, 1.0, 0.5, 0.5])
    low, high = bootstrap_interval(values)
    assert lines[6].startswith(f"| sface | a | 75.0 [{100 * low:.1f}, {100 * high:.1f}] | 12.5 ")
    assert lines[7].startswith("| dlib | b | 50.0 [")
    assert lines[7].endswith("| - |")


def test_columns_follow_the_method_that_faces_most() -> None:
    faced = {"clean": ("none", "photos"), "a": ("none", "gallery", "photos")}
    rows = [rated(method, "x", "10", name) for method, names in faced.items() for name in names]
    (section,) = overview(rows)
    assert "| Method | none | gallery | photos |" in section


def test_evaluators_with_a_part_in_the_masks_count_where_nobody_else_judges() -> None:
    white = rated("a", "x", "1111", white_box=True)
    rate = mean_rate([white, ROWS[1]], "rank1_ut")
    assert rate is not None
    assert (rate.value, rate.mark) == (50, "")
    alone = mean_rate([white], "rank1_ut")
    assert alone is not None
    assert str(alone) == "100.0* [100.0, 100.0]"
    assert mean_rate([ROWS[0]], "not_verified") is None


def test_probes_of_one_person_are_drawn_together() -> None:
    values = [rated("a", "x", "111000", probe_people=[4, 4, 4, 9, 9, 9])]
    rate = mean_rate(values, "rank1_ut")
    assert rate is not None
    assert (rate.low, rate.high) == (0, 100)
    alone = mean_rate([rated("a", "x", "111000")], "rank1_ut")
    assert alone is not None
    assert alone.low > 0


def test_measures_and_choices_have_tables_of_their_own() -> None:
    measures = {"purity": {"value": 90.0, "interval": [80.0, 95.25]}}
    nobody = {"rank1_t": None, "rank1_ut": None, "rank1_ut_probes": ""}
    rows = [
        *ROWS,
        rated("a", "x", "1", "clusterer", measures=measures, **nobody),
        rated("a", "y", "1", "best_transform", chosen="jpeg_50 (7 % of its own people recognised)"),
    ]
    text = "\n".join(overview(rows))
    assert "## clusterer\n\n| Surrogates | Method | x, purity |" in text
    assert "| sface | a | 90.0 [80.0, 95.2] |" in text
    assert "### best_transform\n\n| Surrogates | Method | y |" in text
    assert "jpeg_50 (7 %" in text
    page = tables.render_markdown("t", rows, "c", overview=overview(rows))
    assert page.index("## Not found") < page.index("## Targeted") < page.index("## Image quality")
    assert "### none, clusterer" not in page


def test_one_adversary_alone_has_no_overview_and_many_have_no_tables_of_their_own() -> None:
    assert not overview(ROWS[:2])
    rows = [rated("a", "x", "10", name) for name in ("none", "p", "q", "r", "s")]
    page = tables.render_markdown("t", rows, "c", overview=overview(rows))
    assert "### " not in page.partition("## Notes")[0]
    assert page.count("## Untargeted identification") == 1
    assert page.partition("## Image quality")[2].partition("## Notes")[0].count("| a |") == 1
    assert "### none, p" in tables.render_markdown("t", rows[:4], "c")


@pytest.mark.parametrize("transforms", [1, 2])
def test_each_transform_has_its_table(transforms: int) -> None:
    names = ["none", "blur"][:transforms]
    rows = [rated("a", "x", "10", adversary, transform=name) for adversary in ("none", "spy") for name in names]
    (section,) = overview(rows)
    assert section.count("| Surrogates |") == transforms
    assert ("### blur" in section) == (transforms == 2)
