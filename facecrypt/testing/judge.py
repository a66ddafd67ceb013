"""What a judge promises: `facecrypt.judges.base.Judge`. It is shown people who do not exist.

One over HTTP is checked against a server of its author's, as a bill is paid for every request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, cast, get_args
from unittest import SkipTest

from facecrypt.choices import Question
from facecrypt.judges.base import Compares, Judge, Match, Opinion, Picture, Ranks, Spending
from facecrypt.judges.pictures import darker, people_of_nowhere
from facecrypt.testing.inputs import expect, works


def says_what_it_is(judge: Judge) -> None:
    """Its attributes tell whether pictures leave the machine, what it can be asked, and what it costs."""
    remote, answers = getattr(judge, "remote", None), getattr(judge, "answers", None)
    spending, known = getattr(judge, "spending", None), get_args(Question)
    fine = isinstance(answers, Collection) and answers and all(each in known for each in answers)
    counted = isinstance(spending, Spending) or (spending is None and remote is False)
    expect(
        isinstance(remote, bool) and bool(fine) and counted,
        "says what it is",
        measured=f"remote {remote!r}, answers {answers!r}, spending {type(spending).__name__}",
        allowed="remote true or false; answers of compare and rank; spending a Spending, or None if it is not remote",
        remedy="Set the three attributes; remote on the class.",
    )


def ranks_nobody_without_anybody(judge: Judge) -> None:
    """It names nobody as long as nobody is enrolled. A judge that knew somebody before cannot be checked for that."""
    matches = _rank(judge, _people()[0], 3)
    expect(
        not matches,
        "ranks nobody without anybody",
        measured=f"{_names(matches)} of nobody",
        allowed="an empty list",
        remedy="Name people who were enrolled, and no others; give the check a judge that is new.",
    )


def knows_a_face_again(judge: Judge) -> None:
    """A face is the same person as itself in weaker light, and more so than somebody else is."""
    first, other = _people()[:2]
    same, apart = _compare(judge, first, darker(first)), _compare(judge, first, other)
    told = [each.similarity for each in (same, apart)]
    ordered = None in told or cast(float, told[0]) > cast(float, told[1])
    expect(
        same.found and apart.found and same.same is not False and apart.same is not True and ordered,
        "knows a face again",
        measured=f"{same} of a face in weaker light, {apart} of two people",
        allowed="the same person, and another one; the former more similar",
        remedy="Compare the faces: picture.face has landmarks, picture.pixels the face with room around it.",
    )


def ranks_whom_it_knows_first(judge: Judge) -> None:
    """Of the people who were enrolled, it names the one of whom it is shown a photo, in weaker light."""
    people = _enrolled(judge)
    for name, picture in people.items():
        matches = _rank(judge, darker(picture), len(people))
        expect(
            bool(matches) and matches[0].person == name,
            "ranks whom it knows first",
            measured=f"{_names(matches)} for {name}",
            allowed=f"{name} first",
            remedy="Name the person whose enrolled photo is most similar, by the name that was given to enrol.",
        )


def ranks_as_many_as_asked(judge: Judge) -> None:
    """It names at most as many people as asked for, each once, and only those who were enrolled."""
    people = _enrolled(judge)
    for count in (1, 2, 2 * len(people)):
        matches = _rank(judge, darker(_people()[0]), count)
        names = _names(matches)
        expect(
            len(names) <= count and len(set(names)) == len(names) and set(names) <= people.keys(),
            "ranks as many as asked",
            measured=f"{names} where {count} are asked for, of {sorted(people)}",
            allowed="so many at most, each once, of those who were enrolled",
            remedy="Rank people, not photos, and cut the list off.",
        )


def repeats_itself(judge: Judge) -> None:
    """It says the same of the same pictures at the second look."""
    first, other = _people()[:2]
    if "compare" in judge.answers:
        answers: list[object] = [_compare(judge, first, other) for _ in range(2)]
    else:
        _enrolled(judge)
        answers = [_rank(judge, other, 2) for _ in range(2)]
    expect(
        answers[0] == answers[1],
        "repeats itself",
        measured=f"{answers[0]}, then {answers[1]}",
        allowed="the same",
        remedy="Keep nothing between questions but who is enrolled.",
    )


CHECKS = (
    says_what_it_is,
    ranks_nobody_without_anybody,
    knows_a_face_again,
    ranks_whom_it_knows_first,
    ranks_as_many_as_asked,
    repeats_itself,
)
"""Every check of a judge, in the order in which they help most."""


def _compare(judge: Judge, first: Picture, second: Picture) -> Opinion:
    if "compare" not in judge.answers:
        raise SkipTest("it does not compare")
    with works("compares two pictures", "Take two Pictures, return an Opinion."):
        came: object = cast(Compares, judge).compare(first, second)
    expect(
        isinstance(came, Opinion),
        "compares two pictures",
        measured=type(came).__name__,
        allowed="an Opinion",
        remedy="Return Opinion(similarity, same).",
    )
    return cast(Opinion, came)


def _rank(judge: Judge, picture: Picture, count: int) -> Sequence[Match]:
    if "rank" not in judge.answers:
        raise SkipTest("it does not rank")
    with works("ranks people", "Take a Picture and a number, return a list of Match."):
        came: Any = cast(Ranks, judge).rank(picture, count)
    expect(
        isinstance(came, list | tuple) and all(isinstance(each, Match) for each in came),
        "ranks people",
        measured=repr(came)[:200],
        allowed="a list of Match",
        remedy="Return [Match(person, similarity)], the likeliest first, or an empty list.",
    )
    return cast(Sequence[Match], came)


def _enrolled(judge: Judge) -> dict[str, Picture]:
    if "rank" not in judge.answers:
        raise SkipTest("it does not rank")
    people = {f"person-{number}": picture for number, picture in enumerate(_people()[:3], 1)}
    for name, picture in people.items():
        with works("enrols people", "Take a name and a list of Pictures."):
            cast(Ranks, judge).enrol(name, [picture])
    return people


def _names(matches: Sequence[Match]) -> list[str]:
    return [match.person for match in matches]


@cache
def _people() -> list[Picture]:
    return people_of_nowhere(4)
