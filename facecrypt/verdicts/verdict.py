"""The verdict on a saved face: whether it protects, as far as that is known, and how visible the change is.

Recognisers that had no part in the mask stand above everything that is expected of others. A surrogate gave the
gradients that made the mask, so that it is fooled says nothing about others; nor does that one is fooled which chose
the strength of the mask. That the latter is not fooled says something, since it gave no gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from facecrypt.verdicts.expectation import expected_share, known_surrogates

FaceVerdict = Literal["weak", "not judged", "not found again", "pass"]
"""The worst first. ``weak``: a recogniser that gave no gradients takes the face for the original, as saved or after a
change, or fewer than asked for are expected not to. ``not judged``: nobody judged it, and nothing is expected. ``not
found again``: no face is found in the saved file. ``pass``: anything else."""

Visible = Literal["clearly", "slightly", "hardly"]
"""How visible the change of a face is, the most visible first."""

ASKED = 0.8
"""Share of unseen recognisers that must be expected to take a face for somebody else, where a recipe asks for none."""

HARDLY, SLIGHTLY = 9.5, 9.0
"""JOD from which a change is hardly or slightly visible. A JOD of 9 is a step that three of four people tell with both
pictures side by side, and 9.5 one at which most of them guess; few who see a photo have the original beside it."""

SEEN_ON = ("monitor", "fitted", "phone")
"""The ways of looking that count: as photos are shown, not enlarged."""

Outcome = Literal["recognised", "again", "not_recognised", "unknown", "not_judged"]
"""What a recogniser makes of a face: it recognises it as saved, or after a change, or not at all; it gives no verdict;
or it cannot judge."""

Verdicts: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Verdicts by name of the recogniser, as report.json has them."""


def is_evidence(verdict: Mapping[str, Any]) -> bool:
    """Return whether a recogniser is held out: it neither gave gradients nor chose the strength of the mask."""
    return not (verdict["white_box"] or verdict.get("chooses"))


def judge_outcome(verdict: Mapping[str, Any]) -> Outcome:
    """Return what one recogniser makes of a face."""
    if verdict.get("cannot_judge"):
        return "not_judged"
    if verdict["still_recognised"] is None:
        return "unknown"
    if verdict["still_recognised"]:
        return "recognised"
    return "again" if changes(verdict, recognised=True) else "not_recognised"


def changes(verdict: Mapping[str, Any], *, recognised: bool) -> list[str]:
    """Return the names of the changes after which a recogniser recognises a saved face, or does not.

    Changes after which it does not know the unprotected photo either are left out: they say nothing about a mask.

    Args:
        verdict: What it says.
        recognised: Which of the two.
    """
    before = verdict.get("before", {})
    return [
        name
        for name, sighting in verdict.get("after", {}).items()
        if name != "none"
        and sighting["still_recognised"] is recognised
        and before.get(name, {}).get("still_recognised")
    ]


def assess(face: Mapping[str, Any], asked: float | None, *, expects: bool = True) -> dict[str, Any]:
    """Return the verdict on a face, as the keys of `facecrypt.evaluation.verification.FaceReport` that hold it.

    Args:
        face: A face as report.json has it; old reports lack some keys.
        asked: Share of unseen recognisers that the recipe wants to take it for somebody else; None for `ASKED`.
        expects: Whether the mask was made as those were from which the expectation was learnt.
    """
    share = expect(face["recognisers"]) if expects else None
    return {
        "verdict": _verdict(face, share, ASKED if asked is None else asked),
        "expected": share,
        "visible": visible(face.get("jod") or {}),
    }


def _verdict(face: Mapping[str, Any], share: float | None, asked: float) -> FaceVerdict:
    recognisers: Verdicts = face["recognisers"]
    # Reports of old versions do not say how a face was found, but what was seen of it.
    if recognisers and face.get("found_again") is None and all(v["similarity"] is None for v in recognisers.values()):
        return "not found again"
    outcomes = {judge_outcome(verdict) for verdict in recognisers.values() if not verdict["white_box"]}
    if outcomes & {"recognised", "again"}:
        return "weak"
    if any(is_evidence(each) and judge_outcome(each) == "not_recognised" for each in recognisers.values()):
        return "pass"
    if share is None:
        return "not judged"
    return "pass" if share >= asked else "weak"


def expect(recognisers: Verdicts) -> float | None:
    """Return the share of unseen recognisers that probably take a face for somebody else; None where nothing is known.

    It is the lowest of those for the face as saved and after each change after which it is found.

    Args:
        recognisers: What those of the run see, as report.json has it.
    """
    share = expected_share(recognisers)
    if share is None:
        return None
    seen = {name: verdict for name, verdict in recognisers.items() if verdict["white_box"]}
    names = {name for verdict in seen.values() for name in verdict.get("after", {}) if name != "none"}
    others = [expected_share({each: _after(verdict, name) for each, verdict in seen.items()}) for name in names]
    return min([share, *(other for other in others if other is not None)])


def can_expect(surrogates: Iterable[str]) -> bool:
    """Return whether it is known what unseen recognisers make of masks by surrogates of these names."""
    return "+".join(sorted(surrogates)) in known_surrogates()


def _after(verdict: Mapping[str, Any], change: str) -> dict[str, Any]:
    sighting = verdict.get("after", {}).get(change, {})
    keys = ("similarity", "still_recognised", "cannot_judge")
    return {**verdict, **{key: sighting.get(key) for key in keys}}


def visible(jod: Mapping[str, float]) -> Visible | None:
    """Return how visible the change of a face is, by the way of looking at which most is seen; None if not measured.

    Args:
        jod: JOD by the way of looking, as `facecrypt.evaluation.looks.Looks` has it.
    """
    lowest = min((jod[way] for way in SEEN_ON if way in jod), default=None)
    if lowest is None:
        return None
    return "hardly" if lowest >= HARDLY else "slightly" if lowest >= SLIGHTLY else "clearly"


def worst(verdicts: Iterable[FaceVerdict | None]) -> FaceVerdict | None:
    """Return the worst of several verdicts; None where there is none."""
    given = set(verdicts)
    return next((each for each in get_args(FaceVerdict) if each in given), None)


def most_visible(seen: Iterable[Visible | None]) -> Visible | None:
    """Return the most visible of several changes; None where none was measured."""
    given = set(seen)
    return next((each for each in get_args(Visible) if each in given), None)
