"""What measured numbers mean, in plain sentences that promise no more than was measured.

Only held-out recognisers speak of protection. A surrogate gave the gradients that made the mask, so that it is fooled
says nothing about others; nor does that one is fooled which chose the strength of the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

LABELS: Mapping[str, str] = {
    "none": "as saved",
    "jpeg_75": "JPEG 75",
    "jpeg_50": "JPEG 50",
    "jpeg_30": "JPEG 30",
    "half_size": "half size",
    "blur": "blur",
    "screenshot": "screenshot",
    "median": "median filter",
    "noise_denoise": "noise and denoising",
    "whatsapp": "WhatsApp",
    "instagram": "Instagram",
    "facebook": "Facebook",
    "x": "X",
}
"""How people call a transform."""

Outcome = Literal["recognised", "again", "not_recognised", "unknown", "not_judged"]
"""What held-out recognisers make of a face: one recognises it as saved, one recognises it after a change, none of those
asked recognises it, none gave a verdict, or there was none that could judge."""

Verdicts: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Verdicts by name of the recogniser, as report.json has them."""


def is_evidence(verdict: Mapping[str, Any]) -> bool:
    """Return whether a recogniser is held out: it neither gave gradients nor chose the strength of the mask."""
    return not (verdict["white_box"] or verdict.get("chooses"))


def face_names(faces: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the protected faces of a photo are called: by their numbers among all found ones, or as given.

    Args:
        faces: The faces of a photo as report.json has them.
    """
    given = [number for number, face in enumerate(faces) if face.get("index", number) is None]
    several = len(given) > 1
    return [
        f"face {given.index(number) + 1} given by hand"
        if number in given and several
        else "face given by hand"
        if number in given
        else f"face {face.get('index', number + 1)}"
        for number, face in enumerate(faces)
    ]


def judge_outcome(verdict: Mapping[str, Any]) -> Outcome:
    """Return what one recogniser makes of a face."""
    if verdict.get("cannot_judge"):
        return "not_judged"
    if verdict["still_recognised"] is None:
        return "unknown"
    if verdict["still_recognised"]:
        return "recognised"
    return "again" if _after(verdict, True) else "not_recognised"


def face_outcome(verdicts: Verdicts) -> Outcome:
    """Return what the held-out recognisers make of a face: the worst for who wants protection."""
    outcomes = {judge_outcome(verdict) for verdict in _held_out(verdicts).values()}
    order: Sequence[Outcome] = ("recognised", "again", "not_recognised", "unknown")
    return next((outcome for outcome in order if outcome in outcomes), "not_judged")


def face_sentence(verdicts: Verdicts) -> str:
    """Return what the held-out recognisers make of a face."""
    judges = _held_out(verdicts)
    if not judges:
        return "Not judged: no held-out recogniser judged this face, so nothing is known about its protection."
    able = {name: verdict for name, verdict in judges.items() if not verdict.get("cannot_judge")}
    if not able:
        return f"Not judged: {_could_not(judges, 'this face')}, so nothing is known about its protection."
    if all(verdict["similarity"] is None for verdict in able.values()):
        return (
            "No face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may "
            "find it."
        )
    (first, *others) = judges
    told = _several(judges) if others else _one(first, judges[first])
    return " ".join([told, *(said for name, verdict in judges.items() if (said := _in_gallery(name, verdict)))])


def run_summary(photos: Sequence[Mapping[str, Any]]) -> str:
    """Return what the held-out recognisers make of all faces of a run.

    Args:
        photos: The photos as report.json has them.
    """
    faces = [face for photo in photos for face in photo["faces"]]
    if not faces:
        return "No face was protected, so there is nothing to measure."
    if len(faces) == 1:
        return str(face_sentence(faces[0]["recognisers"]))
    outcomes = [face_outcome(face["recognisers"]) for face in faces]
    count: Mapping[Outcome, int] = {outcome: outcomes.count(outcome) for outcome in get_args(Outcome)}
    if count["not_judged"] == len(faces):
        return f"The {len(faces)} faces were not judged by any held-out recogniser: nothing is known about protection."
    if count["unknown"] + count["not_judged"] == len(faces):
        return f"No held-out recogniser gave a verdict on the {len(faces)} faces: nothing is known about protection."
    held_out = [(name, verdict) for face in faces for name, verdict in _held_out(face["recognisers"]).items()]
    names = sorted({name for name, verdict in held_out if not verdict.get("cannot_judge")})
    blind = {name: verdict for name, verdict in held_out if name not in names}
    parts = [
        f"{_are(count['recognised'])} still taken for the original as saved" if count["recognised"] else "",
        f"{_are(count['again'])} taken for the original again after the photo was changed" if count["again"] else "",
        f"{_are(count['not_recognised'])} taken for another person throughout" if count["not_recognised"] else "",
        f"nothing is known about {count['unknown']}" if count["unknown"] else "",
        f"{_are(count['not_judged'])} not judged" if count["not_judged"] else "",
    ]
    judged = f"Of {len(faces)} faces, judged by {_listed(names)}, which gave no gradients"
    told = f"{judged}: {_listed([part for part in parts if part])}. Other recognisers may decide otherwise."
    return f"{told} {_could_not(blind, 'any of them')}." if blind else told


def _could_not(judges: Verdicts, what: str) -> str:
    """Return that these recognisers could not judge something, and why."""
    reasons = [f"{name}: {verdict['cannot_judge']}" for name, verdict in judges.items()]
    if len(judges) == 1:
        reasons = [verdict["cannot_judge"] for verdict in judges.values()]
    return f"{_listed(list(judges))} could not judge {what} ({'; '.join(reasons)})"


def _held_out(verdicts: Verdicts) -> dict[str, Mapping[str, Any]]:
    return {name: verdict for name, verdict in verdicts.items() if is_evidence(verdict)}


def _after(verdict: Mapping[str, Any], recognised: bool) -> list[str]:
    """Return the labels of the changes after which the face is, or is not, recognised.

    Changes after which the recogniser does not know the unprotected photo either are left out: no merit of a mask.
    """
    before = verdict.get("before", {})
    return [
        LABELS.get(name, name)
        for name, sighting in verdict.get("after", {}).items()
        if name != "none"
        and sighting["still_recognised"] is recognised
        and (recognised or before.get(name, {}).get("still_recognised"))
    ]


def _one(name: str, verdict: Mapping[str, Any]) -> str:
    who, numbers = f"{name}, which gave no gradients,", _numbers(verdict)
    if verdict["still_recognised"] is None:
        return f"{who} gives no verdict, because its threshold is unknown ({numbers}): nothing is known."
    if verdict["still_recognised"]:
        return f"{who} still takes this face for the original ({numbers})."
    told = f"{who} takes the saved face for another person ({numbers})"
    if again := _after(verdict, True):
        return f"{told}, but for the original again after {_listed(again)}."
    also = _after(verdict, False)
    return f"{told}{f', also after {_listed(also)}' if also else ''}. Other recognisers may decide otherwise."


def _several(judges: Verdicts) -> str:
    groups: dict[Outcome, list[str]] = {}
    for name, verdict in judges.items():
        outcome = judge_outcome(verdict)
        said = f"after {_listed(_after(verdict, True))}" if outcome == "again" else _numbers(verdict)
        said = f": {verdict['cannot_judge']}" if outcome == "not_judged" else f" {said}"
        groups.setdefault(outcome, []).append(f"{name}{said}")
    verbs: dict[Outcome, tuple[str, str]] = {
        "recognised": ("still takes this face for the original", "still take this face for the original"),
        "again": ("does so again after a change", "do so again after a change"),
        "not_recognised": ("takes it for another person", "take it for another person"),
        "unknown": ("gives no verdict", "give no verdict"),
        "not_judged": ("could not judge", "could not judge"),
    }
    if "recognised" not in groups:
        verbs["again"] = (
            "takes it for the original only after a change",
            "take it for the original only after a change",
        )
    parts = [
        f"{len(groups[outcome])} {verb[len(groups[outcome]) > 1]} ({'; '.join(groups[outcome])})"
        for outcome, verb in verbs.items()
        if outcome in groups
    ]
    return f"Of {len(judges)} held-out recognisers, {_listed(parts)}. Other recognisers may decide otherwise."


def _in_gallery(name: str, verdict: Mapping[str, Any]) -> str:
    before, after = (verdict.get(when, {}).get("none", {}).get("place") for when in ("before", "after"))
    if before is None:
        return ""
    if before["own_rank"] is None:
        return f"{name} does not find the unprotected face in the gallery, so there is no rank to lose."
    if after is None or after["own_rank"] is None:
        return ""
    start, end = before["own_rank"], after["own_rank"]
    moved = f"stays at rank {end:,}" if start == end else f"goes from rank {start:,} to rank {end:,}"
    return f"In the gallery as {name} sorts it, the first photo of {verdict['person']} {moved}."


def _numbers(verdict: Mapping[str, Any]) -> str:
    if verdict["similarity"] is None:
        return "no face found"
    similarity = f"similarity {verdict['similarity']:.3f}"
    return similarity if verdict["threshold"] is None else f"{similarity}, same person from {verdict['threshold']:.3f}"


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
