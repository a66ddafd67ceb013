"""A judge in a run: tried before it judges anybody, asked about each saved face, and what it costs told at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from facecrypt.choices import Way
from facecrypt.errors import JudgeError, PluginError
from facecrypt.judges.base import Match, NotSentError, Opinion, Picture, Spending, Sworn
from facecrypt.judges.enrolment import Enrolment
from facecrypt.judges.pictures import darker, people_of_nowhere

NAMED = 5
"""How many people a judge is asked to name; the first of them counts."""

_FAILURES = (JudgeError, PluginError)
"""What a judge may raise: photos are written nevertheless, and the judge has no verdict."""

Enrol = Callable[[str], Enrolment]
"""Reads a folder of people for judges."""


class Heard(NamedTuple):
    """What a judge says of a saved face.

    Attributes:
        similarity: On its own scale; None where it tells none.
        same: Whether it takes the face for the person still; None where it does not say.
        person: Whom of the enrolled people the original shows; None where nobody is enrolled.
        named: Whom it names for the saved face, where it ranks; None for nobody.
        fault: Why there is no answer, or empty.
    """

    similarity: float | None = None
    same: bool | None = None
    person: str | None = None
    named: str | None = None
    fault: str = ""


@dataclass
class Hearing:
    """A judge as a run asks it. Whoever is enrolled goes by a number: a remote judge is told no names.

    Attributes:
        name: How the report calls it.
        judge: The judge.
        way: How it is asked.
        enrolment: Whom it knows; None where it compares with originals.
        fault: Why it can judge no face at all, or empty.
        faults: Why it did not judge single faces, and how many.
    """

    name: str
    judge: Sworn
    way: Way
    enrolment: Enrolment | None = None
    fault: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    _ready: bool = False
    _originals_sent: bool = False
    _tried: dict[str, str] = field(default_factory=dict)
    _closed: bool = False
    _left: str = ""

    @property
    def judges(self) -> bool:
        """Whether it judges, as far as it is known: it failed at nothing yet, and something is asked."""
        spent = self.judge.spending
        return not self.fault and not (spent and spent.unsent)

    def prepare(self) -> None:
        """Try the judge, and enrol who is to be enrolled, once. What it fails at makes it judge nobody.

        Raises:
            FacecryptError: If its key is not set.
        """
        if self._ready:
            return
        self._ready = True
        try:
            if self.way == "ranking":
                assert self.enrolment is not None
                for number, pictures in enumerate(self.enrolment.people.values(), 1):
                    with suppress(NotSentError):
                        self.judge.enrol(_alias(number), pictures)
            else:
                self.fault = self._try_comparing()
        except _FAILURES as error:
            self.fault = str(error)

    def hear(self, original: Picture, saved: Picture | None) -> Heard:
        """Return what the judge says of a saved face.

        Args:
            original: The face as it was. It is sent to nobody but a judge that is asked by pairs.
            saved: The face as it was found in the saved file; None where it was not, and nothing is asked.
        """
        if saved is None:
            return Heard()
        self.prepare()
        heard = Heard(fault=self.fault) if self.fault else self._hear(original, saved)
        if heard.fault:
            self.faults[heard.fault] += 1
        return heard

    def _hear(self, original: Picture, saved: Picture) -> Heard:
        if self.way == "pair":
            before = self._requests()
            heard = self._compare([original], saved)
            self._originals_sent |= self._requests() > before
            return heard
        assert self.enrolment is not None
        person = self.enrolment.recognise(original.face)
        if person is None:
            return Heard(
                fault=f"the original shows nobody of {self.enrolment.where}, going by a recogniser on this machine, so "
                "it was not asked"
            )
        if self.way == "enrolled photos":
            return self._compare(self.enrolment.people[person], saved)._replace(person=person)
        return self._rank(person, saved)

    def _compare(self, known: list[Picture], saved: Picture) -> Heard:
        """Return what comes of the face beside known pictures, until one is taken for the same person."""
        opinions, fault = list[Opinion](), ""
        for picture in known:
            try:
                opinion = self.judge.compare(picture, saved)
            except _FAILURES as error:
                fault = str(error)
                if isinstance(error, NotSentError):
                    continue  # A dry run counts every picture that might be needed.
                break
            if opinion.found:
                opinions.append(opinion)
            if opinion.same:
                break
        best = max(opinions, key=lambda opinion: (opinion.same is True, _order(opinion.similarity)), default=None)
        if best is not None and best.same:
            return Heard(best.similarity, True)
        if fault or best is None:  # Not all were compared, so that it is another person is not known.
            return Heard(fault=fault or "it finds no face in the picture")
        undecided = any(opinion.same is None for opinion in opinions)
        return Heard(best.similarity, None if undecided else False)

    def _rank(self, person: str, saved: Picture) -> Heard:
        assert self.enrolment is not None
        names = dict(zip(map(_alias, range(1, 1 + len(self.enrolment.people))), self.enrolment.people, strict=True))
        if person not in self._tried:
            known = self.enrolment.people[person][0]
            try:
                first = self.judge.rank(known, NAMED)
                fine = bool(first) and names[first[0].person] == person
            except NotSentError:
                fine = True
            except _FAILURES as error:  # It may answer the next time.
                return Heard(person=person, fault=str(error))
            self._tried[person] = "" if fine else f"it does not find {person} by a photo that it was given of them"
        if fault := self._tried[person]:
            return Heard(person=person, fault=fault)
        try:
            matches = self.judge.rank(saved, NAMED)
        except _FAILURES as error:
            return Heard(person=person, fault=str(error))
        named = names[matches[0].person] if matches else None
        own: Match | None = next((match for match in matches if names[match.person] == person), None)
        return Heard(own.similarity if own else None, named == person, person, named)

    def _try_comparing(self) -> str:
        """Return why a judge cannot be believed that takes one person for two, or two for one; or nothing."""
        first, other = people_of_nowhere(2)
        same, apart = (self._try(first, second) for second in (darker(first), other))
        if same is None or apart is None:
            return ""
        if not same.found or not apart.found:
            return "it finds no face in a picture of one"
        if same.same is False or apart.same is True:
            what = "two people for one" if apart.same else "a person for somebody else after a slight change"
            return f"it takes {what}, so it tells nobody apart"
        if same.similarity is not None and apart.similarity is not None and same.similarity <= apart.similarity:
            return "it finds two people as similar as one and the same, so it tells nobody apart"
        return ""

    def _try(self, first: Picture, second: Picture) -> Opinion | None:
        """Return what it says of two pictures; None in a dry run."""
        try:
            return self.judge.compare(first, second)
        except NotSentError:
            return None

    def close(self) -> None:
        """Have the judge clear away what it keeps of this run, once; what it leaves is told in the notes."""
        if self._closed:
            return
        self._closed = True
        try:
            self.judge.close()
        except _FAILURES as error:
            self._left = str(error)

    def _requests(self) -> int:
        return (self.judge.spending or Spending()).requests

    def account(self) -> dict[str, Any]:
        """Return what report.json says of the judge."""
        spent = self.judge.spending or Spending()
        return {
            "name": self.name,
            "remote": self.judge.remote,
            "asked": self.way,
            "originals_sent": self.judge.remote and self._originals_sent,
            "enrolled": None if self.enrolment is None else len(self.enrolment.people),
            "requests": spent.requests,
            "unsent": spent.unsent,
            "price": spent.price,
            "cost": None if spent.cost is None else round(spent.cost, 6),
            "not_judged": sum(self.faults.values()),
        }

    def notes(self) -> list[str]:
        """Return what a reader of the report must know of it."""
        notes = []
        if self.enrolment is not None and self.enrolment.left_out:
            left, where = self.enrolment.left_out, self.enrolment.where
            notes.append(
                f"{self.name}: {left} of the photos in {where} are left out: they show no face, or are to be protected"
            )
        spent = self.judge.spending
        price = "" if spent is None or spent.cost is None else f", estimated to cost {spent.cost:g} in all"
        if spent is not None and spent.unsent:
            notes.append(f"{self.name}: dry run: {spent.unsent} requests were counted{price}, and none was made")
        elif spent is not None and spent.requests:
            shown = "saved faces and photos of enrolment"
            if self.way == "pair" and not self._originals_sent:
                shown = "pictures of people who do not exist"
            elif self.way == "pair":
                shown = "original and saved faces (send_originals: true)"
            notes.append(f"{self.name} was sent {shown}: {spent.requests} requests were made{price}")
        if self._left:
            notes.append(f"{self.name}: {self._left}")
        for fault, count in self.faults.items():
            faces = "1 face" if count == 1 else f"{count} faces"
            if spent is None or not spent.unsent:
                notes.append(f"{self.name} did not judge {faces}: {fault}")
        return notes


def _alias(number: int) -> str:
    return f"person-{number}"


def _order(similarity: float | None) -> float:
    return -math.inf if similarity is None else similarity
