"""What could undo protection, in words, for masks that were measured and for others."""

from __future__ import annotations

from typing import Any

import pytest

from facecrypt.recipe.check import check_recipe, recipe_values
from facecrypt.report import undoing
from tests.face_verdicts import verdict

BOTH = [{"name": "sface"}, {"name": "dlib_resnet"}]
FACE = {"recognisers": {"sface": verdict(0.1, white_box=True), "dlib_resnet": verdict(0.1, white_box=True)}}


def recipe(**keys: Any) -> dict[str, Any]:
    return recipe_values(check_recipe({"surrogates": BOTH, **keys}))


def entry(made: dict[str, Any] | None, **keys: Any) -> dict[str, Any]:
    rates = {"none": 90.0, "protected_gallery": 40.0, "growing_gallery": 97.0, "linear_probe": 30.0, "new": 70.0}
    usual = {
        "settings": "preset mid", "preset": made and made["preset"], "recipe": made and undoing.deciding(made),
        "surrogates": ["sface", "dlib_resnet"], "n": 40, "seed": 0, "command": "facecrypt evaluate x",
        "adversaries": [
            {"name": name, "evaluators": {"a": {"rank1_ut": rate + 5, "interval": None},
                                          "b": {"rank1_ut": rate - 5, "interval": None}}}
            for name, rate in rates.items()
        ],
        "behind": [
            {"trait": "pose", "group": "turned", "n": 12, "rate": 61.6, "interval": [40.0, 80.0], "ahead": -22.4,
             "ahead_interval": [-40.0, -3.0]},
        ],
    }  # fmt: skip
    return usual | keys


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The entries of the file, to be filled."""
    entries: list[dict[str, Any]] = []
    monkeypatch.setattr(undoing, "load", lambda: {"date": "2026-01-02", "measured": entries})
    return entries


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0.0, "0 of 10"), (0.01, "fewer than 1 of 10"), (0.049, "fewer than 1 of 10"), (0.05, "about 1 of 10"),
        (0.1, "1 of 10"), (0.3, "3 of 10"), (1 - 0.7, "3 of 10"), (0.35, "about 4 of 10"), (0.94, "about 9 of 10"),
        (0.95, "more than 9 of 10"), (0.999, "more than 9 of 10"), (1.0, "10 of 10"),
    ],
)  # fmt: skip
def test_shares_are_told_in_tenths(share: float, says: str) -> None:
    assert undoing.of_ten(share) == says


def test_the_three_lines_are_those_of_who_finds_most(figures: list[dict[str, Any]]) -> None:
    figures.append(entry(recipe(preset="mid")))
    told = undoing.what_undoes(recipe(preset="mid"), [FACE])
    assert told == {
        "measured": True,
        "settings": "preset mid with sface and dlib_resnet",
        "without": "Whoever has only unprotected photos of you: 1 of 10 photos was found.",
        "lines": [
            "Whoever trains a classifier on protected photos of you: 7 of 10 photos were found.",
            "Whoever collects protected photos of you and searches among them: 6 of 10 photos were found.",
            "Whoever does what facecrypt evaluate calls new: 3 of 10 photos were found.",
        ],
        "behind": ["Of the 12 photos with pose turned, 62 % were not found, 22 points fewer than of the others."],
        "n": 40,
        "seed": 0,
        "evaluators": ["a", "b"],
        "command": "facecrypt evaluate x",
        "date": "2026-01-02",
    }


@pytest.mark.parametrize(
    ("keys", "face", "measured"),
    [
        ({"preset": "mid"}, FACE, True),
        ({"preset": "mid", "steps": 61}, FACE, False),
        ({"preset": "mid", "self_weight": 1.0}, FACE, False),
        ({"preset": "mid", "target_selector": {"name": "random"}}, FACE, False),
        ({"preset": "mid", "colour": 0.2}, FACE, False),
        ({"preset": "high"}, FACE, False),
        ({"preset": "mid"}, {"recognisers": {"sface": FACE["recognisers"]["sface"]}}, False),
        ({"preset": "mid", "method": "blur"}, FACE, False),
        ({"protect": 0.8}, FACE | {"level": "mid"}, True),
        ({"protect": 0.8}, FACE | {"level": "high"}, False),
        ({"strength": {"judges": [{"name": "cosface_vit_tiny"}]}}, FACE | {"level": "mid"}, True),
    ],
    ids=[
        "the same", "steps", "weight", "selector", "colour", "preset", "surrogates", "method", "level", "other level",
        "level of a strength",
    ],
)  # fmt: skip
def test_masks_are_measured_ones_only_where_all_that_decides_is_the_same(
    figures: list[dict[str, Any]], keys: dict[str, Any], face: dict[str, Any], measured: bool
) -> None:
    figures.append(entry(recipe(preset="mid")))
    told = undoing.what_undoes(recipe(**keys), [face])
    assert told is not None
    assert told["measured"] is measured
    assert len(told["lines"]) == 3


def test_one_face_with_other_masks_is_enough_to_say_so(figures: list[dict[str, Any]]) -> None:
    figures.append(entry(recipe(preset="mid")))
    faces = [FACE | {"level": "mid"}, FACE | {"level": "low"}]
    assert undoing.what_undoes(recipe(protect=0.8), faces[:1])["measured"]  # type: ignore[index]
    assert not undoing.what_undoes(recipe(protect=0.8), faces)["measured"]  # type: ignore[index]


def test_the_figures_of_the_nearest_masks_stand_for_others(figures: list[dict[str, Any]]) -> None:
    figures += [
        entry(recipe(preset="max"), settings="preset max"),
        entry(recipe(preset="mid"), settings="preset mid"),
        entry(recipe(preset="high"), settings="preset high", surrogates=["sface"]),
        entry(None, settings="of old"),
    ]
    for preset, nearest in (("low", "preset mid"), ("high", "preset max"), (None, "preset max")):
        told = undoing.what_undoes(recipe(**({"preset": preset} if preset else {}), steps=7), [FACE])
        assert told is not None
        assert told["settings"] == f"{nearest} with sface and dlib_resnet"
        assert not told["measured"]
    alone = {"recognisers": {"sface": FACE["recognisers"]["sface"]}}
    told = undoing.what_undoes(recipe(preset="low"), [alone])
    assert told is not None
    assert told["settings"] == "preset high with sface"


def test_nothing_is_said_where_no_face_was_changed() -> None:
    assert undoing.what_undoes(recipe(preset="mid"), []) is None


def test_what_a_label_adds_is_said() -> None:
    assert undoing.words_of("student, 100 pairs")[1] == (
        "train a recogniser on protected and clean photos of other people (100 pairs)"
    )
    assert undoing.words_of("mean of 4, mine")[0] == "does what facecrypt evaluate calls mean of 4, mine"


def test_what_was_collected_after_a_change_is_said() -> None:
    one, many = undoing.words_of("protected_gallery, which collects after jpeg_75")
    assert one.endswith("searches among them (collected after jpeg_75)")
    assert many.endswith("search among them (collected after jpeg_75)")
