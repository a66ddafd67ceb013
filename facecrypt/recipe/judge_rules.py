"""How a judge is asked, what it may be shown, and what that costs: worked out before anything is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, NamedTuple

from facecrypt import registry
from facecrypt.choices import Question, Way
from facecrypt.recipe.schema import JudgeSlot
from facecrypt.registry import JUDGES

TRIAL = 2
"""Requests by which a judge is tried that compares: a picture beside itself, and beside somebody else."""


def choose_way(remote: bool, answers: Collection[Question], *, originals: bool, enrols: bool) -> tuple[Way | None, str]:
    """Return how a judge can be asked, or None and why it cannot.

    Args:
        remote: Whether it is not on this machine.
        answers: What it can be asked.
        originals: Whether it may be sent originals.
        enrols: Whether there are photos for it to enrol.
    """
    if remote and originals and enrols:
        return None, "is given enrol, so it needs no original. Leave one of enrol and send_originals out."
    if enrols:
        return ("ranking" if "rank" in answers else "enrolled photos"), ""
    if "compare" not in answers:
        return None, "ranks people, and none is enrolled. Name a folder with photos of them: enrol: FOLDER."
    if remote and not originals:
        return None, (
            "may show pictures to others, so it is shown no original face unless the recipe says so. Name a folder "
            "with photos of the person that it may have (enrol: FOLDER), or set send_originals: true."
        )
    return "pair", ""


class Estimate(NamedTuple):
    """What a remote judge is likely to be asked in a run.

    Attributes:
        requests: Most requests, where each photo shows one face and no request is repeated.
        cost: What they cost, by the price that the recipe tells; None where it tells none.
        budget: Most requests that the recipe allows; None for no bound.
        dry_run: Whether none is made.
    """

    requests: int
    cost: float | None
    budget: int | None
    dry_run: bool


def is_remote(slot: JudgeSlot) -> bool:
    """Return whether a recipe names a judge that is not on this machine, going by what its class says."""
    component = registry.get(JUDGES, slot.name)
    return component.kind == "judge" and bool(getattr(component.load(), "remote", False))


def estimate(slot: JudgeSlot, photos: int, enrolled: Sequence[str]) -> Estimate:
    """Return what a remote judge is likely to be asked.

    Args:
        slot: What the recipe says of it. Its arguments ``ask``, ``cost``, ``budget`` and ``dry_run`` mean what those of
            the judge ``http`` do; one that has others is taken to compare. To enrol somebody takes a request, unless
            its class has a static method ``requests_to_enrol``, which is told the number of photos of each person.
        photos: Number of photos to protect.
        enrolled: Whom each photo shows that the judge may have.
    """
    component = registry.get(JUDGES, slot.name)
    known = {name: default for name, (_, default) in component.arguments().items()}
    told: dict[str, Any] = {
        name: None if (value := slot.args.get(name, known.get(name))) is Parameter.empty else value
        for name in ("ask", "cost", "budget", "dry_run")
    }
    people = Counter(enrolled)
    if told["ask"] == "rank":
        enrolling: Callable[[Collection[int]], int] = getattr(component.load(), "requests_to_enrol", len)
        requests = enrolling(people.values()) + min(len(people), photos) + photos
    else:
        requests = TRIAL + photos * max(people.values(), default=1)
    cost = requests * told["cost"] if isinstance(told["cost"], int | float) else None
    budget = told["budget"] if isinstance(told["budget"], int) else None
    return Estimate(requests, cost, budget, told["dry_run"] is True)


def person_of(path: Path, folder: Path) -> str:
    """Return whom an enrolled photo shows: its subfolder's name, or its own for one that lies beside these."""
    first, *rest = path.relative_to(folder).parts
    return first if rest else Path(first).stem
