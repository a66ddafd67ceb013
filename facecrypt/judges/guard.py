"""Where judges are asked: what comes back is checked once, so that a fault has a name."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, get_args

from facecrypt.choices import Question
from facecrypt.judges.base import Match, Opinion, Picture, Spending, Sworn
from facecrypt.methods.calls import Source
from facecrypt.registry import Component
from facecrypt.system.texts import brief


def swear_in(component: Component, built: Any) -> Sworn:
    """Return a judge whose every answer is checked.

    Args:
        component: What the registry knows of it.
        built: The judge.

    Raises:
        PluginError: If it lacks something of its protocol.
    """
    return _Guarded(Source(component.kind, component.name, component.origin), built)


class _Guarded:
    """A judge behind checks of all that it says."""

    def __init__(self, source: Source, judge: Any) -> None:
        answers: object = getattr(judge, "answers", None)
        known = get_args(Question)
        if not isinstance(answers, Collection) or not answers or not all(each in known for each in answers):
            words = " and ".join(map(repr, known))
            raise source.broken(f"has {answers!r} for its attribute 'answers'", f"one or both of {words}")
        if (remote := getattr(judge, "remote", None)) not in (True, False):
            raise source.broken(f"has {remote!r} for its attribute 'remote'", "one of True, False")
        for question, names in (("compare", ("compare",)), ("rank", ("enrol", "rank"))):
            if question in answers:
                source.require(judge, *names)
        self._source = source
        self._judge = judge
        self.remote: bool = judge.remote
        self.answers: Collection[Question] = judge.answers
        self._enrolled: set[str] = set()
        _ = self.spending  # What is wrong with it is told now, and not at the end of a run.

    @property
    def spending(self) -> Spending | None:
        """What it cost; None where nothing is counted."""
        spent: object = getattr(self._judge, "spending", None)
        if spent is not None and not isinstance(spent, Spending):
            raise self._source.broken(f"has {type(spent).__name__} for its attribute 'spending'", "a Spending, or None")
        return spent

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return what it says of two pictures."""
        came: object = self._source.call(self._judge.compare, first, second)
        fine = (
            isinstance(came, Opinion)
            and _is_similarity(came.similarity)
            and (came.same is None or isinstance(came.same, bool))
            and isinstance(came.found, bool)
            and not (came.found and came.same is None and came.similarity is None)
        )
        if not fine:
            raise self._source.broken(f"returned {brief(came)}", "an Opinion: a finite similarity, same, or both")
        assert isinstance(came, Opinion)
        return came

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Have it remember somebody."""
        self._source.call(self._judge.enrol, person, photos)
        self._enrolled.add(person)

    def close(self) -> None:
        """Have it clear away what it keeps elsewhere, where it keeps anything."""
        if callable(close := getattr(self._judge, "close", None)):
            self._source.call(close)

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return whom it names."""
        came: object = self._source.call(self._judge.rank, photo, count)
        expected = f"a list of at most {count} of the enrolled people as Match, each once, the likeliest first"
        if not isinstance(came, list | tuple) or not all(isinstance(each, Match) for each in came):
            raise self._source.broken(f"returned {brief(came)}", expected)
        people = [each.person for each in came]
        if strangers := [each for each in people if each not in self._enrolled]:
            raise self._source.broken(f"named {brief(strangers[0])}", expected)
        if len(came) > count or len(set(people)) < len(people):
            raise self._source.broken(f"named {len(came)}, {len(set(people))} of them different", expected)
        if not all(_is_similarity(each.similarity) for each in came):
            raise self._source.broken("returned a similarity that is no finite number", expected)
        return list(came)


def _is_similarity(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
