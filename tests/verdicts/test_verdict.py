from __future__ import annotations

from typing import Any

import pytest

from facecrypt.verdicts import expectation
from facecrypt.verdicts.verdict import ASKED, assess, can_expect, expect, judge_outcome, most_visible, visible, worst
from tests.face_verdicts import verdict


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one surrogate had been measured: the share is 1/2 at its threshold, and 0.88 a margin of 1 below it."""
    fits = {"sface": {"intercept": 0.0, "margins": {"sface": 2.0}}}
    monkeypatch.setattr(expectation, "_fits", lambda: fits)


def surrogate(saved: float | None, **after: Any) -> dict[str, Any]:
    return verdict(saved, white_box=True, **after)


def word(recognisers: dict[str, Any], asked: float | None = None, found: str | None = "detected") -> Any:
    return assess({"recognisers": recognisers, "found_again": found}, asked)["verdict"]


FAR, NEAR = surrogate(-0.4), surrogate(0.4)


@pytest.mark.parametrize(
    ("judges", "says"),
    [
        ({"a": verdict(0.6)}, "weak"),
        ({"a": verdict(0.5)}, "weak"),  # The threshold itself is the same person.
        ({"a": verdict(0.2, blur=0.6)}, "weak"),
        ({"a": verdict(0.2, blur=0.4)}, "pass"),
        ({"a": verdict(0.2, blur=None)}, "pass"),
        ({"a": verdict(0.2), "b": verdict(0.6)}, "weak"),
        ({"a": verdict(0.2), "b": verdict(0.6, cannot="a NaN")}, "pass"),
        ({"a": verdict(0.2), "b": verdict(0.9, threshold=None)}, "pass"),
        ({"a": verdict(0.9, threshold=None)}, None),
        ({"a": verdict(0.1, cannot="a NaN")}, None),
        ({}, None),
        # Who chose the strength is escaped by choice, but not if it is not escaped.
        ({"a": verdict(0.1, chooses=True)}, None),
        ({"a": verdict(0.6, chooses=True)}, "weak"),
        ({"a": verdict(0.6, chooses=True), "b": verdict(0.1)}, "weak"),
    ],
)
def test_judges_stand_above_what_is_expected(judges: dict[str, Any], says: str | None) -> None:
    assert word({"sface": FAR, **judges}) == (says or "pass")
    assert word({"sface": NEAR, **judges}) == (says or "weak")
    # Nothing is expected of a surrogate that was not measured.
    assert word({"other": FAR, **judges}) == (says or "not judged")
    assert word({"other": surrogate(0.9), **judges}) == (says or "not judged")


def test_a_change_that_hides_the_original_too_says_nothing() -> None:
    hidden = verdict(0.2, blur=0.9, blind=True)
    assert judge_outcome(hidden) == "not_recognised"
    assert word({"sface": NEAR, "a": hidden}) == "pass"


def test_the_expectation_is_held_against_what_was_asked() -> None:
    share = assess({"recognisers": {"sface": FAR}, "found_again": "detected"}, None)["expected"]
    assert share == pytest.approx(0.973, abs=1e-3)
    assert word({"sface": FAR}, asked=share) == "pass"
    assert word({"sface": FAR}, asked=share + 1e-6) == "weak"
    assert word({"sface": FAR}, asked=0.99) == "weak"
    assert word({"sface": surrogate(0.1)}) == ("pass" if ASKED <= 0.83 else "weak")


def test_the_lowest_of_all_changes_counts() -> None:
    assert expect({"sface": surrogate(0.1, jpeg_75=0.0, blur=0.5)}) == pytest.approx(0.5)
    assert expect({"sface": surrogate(0.5, blur=-0.9)}) == pytest.approx(0.5)
    # A face that is not found after a change is no reason for hope, nor for fear.
    assert expect({"sface": surrogate(0.5, blur=None)}) == pytest.approx(0.5)
    assert expect({"sface": surrogate(None, blur=0.2)}) is None
    assert expect({"sface": surrogate(0.5), "judge": verdict(0.9, blur=0.9)}) == pytest.approx(0.5)
    assert word({"sface": surrogate(-0.4, blur=0.5)}) == "weak"


@pytest.mark.parametrize("recognisers", [{"sface": surrogate(None)}, {"sface": surrogate(None), "a": verdict(None)}])
def test_a_face_that_is_not_found_has_not_escaped(recognisers: dict[str, Any]) -> None:
    assert word(recognisers, found=None) == "not found again"


def test_a_face_given_by_hand_is_never_lost() -> None:
    assert word({"sface": FAR, "a": verdict(0.1)}, found="known landmarks") == "pass"


def test_a_report_of_an_old_version_is_judged_by_what_it_has() -> None:
    old = {key: value for key, value in verdict(0.2).items() if key not in ("before", "after", "person", "chooses")}
    assert assess({"recognisers": {"a": old}}, None) == {"verdict": "pass", "expected": None, "visible": None}
    assert assess({"recognisers": {"a": old | {"still_recognised": True}}}, None)["verdict"] == "weak"
    assert assess({"recognisers": {"a": old | {"similarity": None}}}, None)["verdict"] == "not found again"


@pytest.mark.parametrize(
    ("jod", "seen"),
    [
        ({"monitor": 9.5, "phone": 9.5, "enlarged": 8.0}, "hardly"),
        ({"monitor": 9.49, "phone": 9.9}, "slightly"),
        ({"monitor": 9.9, "phone": 9.0}, "slightly"),
        ({"monitor": 9.9, "phone": 8.99}, "clearly"),
        ({"monitor": 9.9, "fitted": 9.4, "phone": 9.9}, "slightly"),
        ({"monitor": 9.2}, "slightly"),
        ({"enlarged": 9.9}, None),
        ({}, None),
    ],
)
def test_how_visible_is_told_by_the_worst_screen(jod: dict[str, float], seen: str | None) -> None:
    assert visible(jod) == seen
    assert assess({"recognisers": {}, "found_again": "detected", "jod": jod}, None)["visible"] == seen


def test_the_worst_of_several_counts() -> None:
    assert worst(["pass", "not found again", "not judged", "weak"]) == "weak"
    assert worst(["pass", "not found again", "not judged", None]) == "not judged"
    assert worst(["not found again", "pass"]) == "not found again"
    assert worst(["pass", None]) == "pass"
    assert worst([None]) is worst([]) is None
    assert most_visible(["hardly", None, "slightly"]) == "slightly"
    assert most_visible(["hardly", "clearly", "slightly"]) == "clearly"
    assert most_visible([None]) is None


def test_something_is_expected_of_what_was_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_expect(["sface"])
    assert not can_expect(["sface", "dlib_resnet"])
    fit = {"intercept": 0.0, "margins": {"sface": 1.0, "dlib_resnet": 1.0}}
    monkeypatch.setattr(expectation, "_fits", lambda: {"dlib_resnet+sface": fit})
    assert can_expect(["sface", "dlib_resnet"])
    assert not can_expect(["sface"])
    assert not can_expect([])
