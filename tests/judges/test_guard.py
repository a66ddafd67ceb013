"""A judge that breaks a promise has a line that says which, what came and what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from facecrypt.errors import JudgeError, PluginError
from facecrypt.judges.base import Match, Opinion, Picture, Sworn
from facecrypt.judges.guard import swear_in
from facecrypt.registry import Component


class Answers:
    remote: Any = False
    answers: Any = ("compare", "rank")
    spending: Any = None

    def __init__(self, answer: Any = None, **attributes: Any) -> None:
        self.answer = answer
        vars(self).update(attributes)

    def compare(self, first: Picture, second: Picture) -> Any:
        return self._answer()

    def enrol(self, person: str, photos: list[Picture]) -> None:
        pass

    def rank(self, photo: Picture, count: int) -> Any:
        return self._answer()

    def _answer(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def guarded(judge: Any) -> Sworn:
    return swear_in(Component("judge", "mine", Answers, "a judge", "facecrypt-mine"), judge)


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (None, "returned None"),
        (0.7, "returned 0.7"),
        (Opinion("high", True), "returned Opinion"),  # type: ignore[arg-type]
        (Opinion(float("nan"), True), "returned Opinion"),
        (Opinion(0.7, 1), "returned Opinion"),  # type: ignore[arg-type]
        (Opinion(None, None), "returned Opinion"),
        (ValueError("oh"), r"raised ValueError \(test_guard.py, line \d+\): oh"),
        (SystemExit(3), "raised SystemExit"),
    ],
)
def test_opinions(people: list[Picture], answer: Any, came: str) -> None:
    with pytest.raises(PluginError, match=rf"judge 'mine' \(facecrypt-mine\): {came}.*; expected "):
        guarded(Answers(answer)).compare(people[0], people[1])


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (None, "returned None"),
        (["a"], r"returned \['a'\]"),
        ([Match("nobody")], "named 'nobody'"),
        ([Match("a"), Match("a")], "named 2, 1 of them different"),
        ([Match("a"), Match("b"), Match("c")], "named 3"),
        ([Match("a", float("inf"))], "returned a similarity that is no finite number"),
    ],
)
def test_rankings(people: list[Picture], answer: Any, came: str) -> None:
    judge = guarded(Answers(answer))
    for person in "abc":
        judge.enrol(person, people[:1])
    with pytest.raises(PluginError, match=f"{came}.*; expected a list of at most 2 of the enrolled people"):
        judge.rank(people[0], 2)


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        (Answers(answers=()), r"has \(\) for its attribute 'answers'"),
        (Answers(answers=("identify",)), "for its attribute 'answers'"),
        (Answers(answers=None), "has None for its attribute 'answers'"),
        (Answers(remote="no"), "has 'no' for its attribute 'remote'"),
        (Answers(rank=None), "expected an object with enrol and rank"),
        (Answers, "was built as a class"),
    ],
)
def test_what_is_no_judge(judge: Any, told: str) -> None:
    with pytest.raises(PluginError, match=told):
        guarded(judge)


def test_an_odd_bill_is_told() -> None:
    with pytest.raises(PluginError, match="has int for its attribute 'spending'"):
        guarded(Answers(spending=3))


def test_what_is_fine_passes(people: list[Picture]) -> None:
    judge = guarded(Answers(Opinion(87, None)))
    assert judge.compare(people[0], people[1]) == (87, None, True)
    with pytest.raises(JudgeError, match="away"):
        guarded(Answers(JudgeError("away"))).compare(people[0], people[1])
    with pytest.raises(ValueError, match="read-only"):
        people[0].pixels[:] = 0
