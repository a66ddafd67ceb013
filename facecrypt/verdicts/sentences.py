"""What measured numbers mean, in plain sentences that promise no more than was measured.

Only held-out recognisers speak of protection. A surrogate gave the gradients that made the mask, so that it is fooled
says nothing about others; nor does that one is fooled which chose the strength of the mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from facecrypt.verdicts.expectation import FEWEST
from facecrypt.verdicts.verdict import Outcome, Verdicts, changes, is_evidence, judge_outcome

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
    "total_variation": "smoothing of flat areas",
    "bit_depth": "fewer grey levels",
    "gamma": "other tones",
    "print_and_scan": "print and scan",
    "whatsapp": "WhatsApp",
    "instagram": "Instagram",
    "facebook": "Facebook",
    "x": "X",
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "resize": "another size",
    "platform": "a platform",
}
"""How people call a transform."""

LOST = (
    "no face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may find it."
)

OF = (FEWEST, 10, 20)
"""How many unseen recognisers a sentence speaks of: the first number of which a share is not all."""


def label_of(transform: str) -> str:
    """Return how people call a transform, or several one after the other, by the name in report.json."""
    parts = transform.split("+")
    return ", then ".join(LABELS[part] for part in parts) if set(parts) <= LABELS.keys() else transform


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


def face_sentence(verdicts: Verdicts, expected: float | None = None) -> str:
    """Return what the held-out recognisers make of a face, and what is expected of others.

    Args:
        verdicts: What the recognisers of the run say.
        expected: Share of unseen recognisers that probably take the face for somebody else; None where it is not known.
    """
    judges = _held_out(verdicts)
    able = {name: verdict for name, verdict in judges.items() if not verdict.get("cannot_judge")}
    if able and all(v["similarity"] is None and v["still_recognised"] is None for v in able.values()):
        return f"{LOST[0].upper()}{LOST[1:]}"
    if not able:
        told = _could_not(judges, "this face") if judges else "No held-out recogniser judged this face"
        if expected is None:
            return f"{told}, so nothing is known about its protection."
        return f"{told}. {of_others(expected)}."
    (first, *others) = judges
    told = _several(judges) if others else _one(first, judges[first])
    said = [told, *(said for name, verdict in judges.items() if (said := _in_gallery(name, verdict)))]
    return " ".join(said if expected is None else [*said, f"{of_others(expected)}."])


def of_others(share: float, what: str = "this face") -> str:
    """Return what is expected of recognisers that nobody asked, with no more of them than the share gives.

    Args:
        share: Share that probably takes a face for somebody else, from 0 to 1.
        what: What messages call the face.
    """
    number, count = next(
        ((number, count) for number in OF if (count := _rounded(number * share)) < number), (OF[-1], OF[-1] - 1)
    )
    told = f"about {count}" if count else "hardly any"
    return (
        f"Of {number} recognisers that gave no gradients, {told} would take {what} for somebody else (expected, not "
        "measured)"
    )


def _rounded(value: float) -> int:
    """Return the nearest whole number, the lower of two that are as near."""
    return math.ceil(value - 0.5)


def _could_not(judges: Verdicts, what: str) -> str:
    """Return that these recognisers could not judge something, and why."""
    reasons = [f"{name}: {verdict['cannot_judge']}" for name, verdict in judges.items()]
    if len(judges) == 1:
        reasons = [verdict["cannot_judge"] for verdict in judges.values()]
    return f"{listed(list(judges))} could not judge {what} ({'; '.join(reasons)})"


def _held_out(verdicts: Verdicts) -> dict[str, Mapping[str, Any]]:
    return {name: verdict for name, verdict in verdicts.items() if is_evidence(verdict)}


def _after(verdict: Mapping[str, Any], recognised: bool) -> list[str]:
    return [label_of(name) for name in changes(verdict, recognised=recognised)]


def _one(name: str, verdict: Mapping[str, Any]) -> str:
    who, numbers = f"{name}, which gave no gradients,", _numbers(verdict)
    if verdict["still_recognised"] is None:
        return f"{who} gives no verdict, because its threshold is unknown ({numbers})."
    if verdict["still_recognised"]:
        return f"{who} still takes this face for the original ({numbers})."
    told = f"{who} takes the saved face for another person ({numbers})"
    if again := _after(verdict, True):
        return f"{told}, but for the original again after {listed(again)}."
    also = _after(verdict, False)
    return f"{told}{f', also after {listed(also)}' if also else ''}. Other recognisers may decide otherwise."


def _several(judges: Verdicts) -> str:
    groups: dict[Outcome, list[str]] = {}
    for name, verdict in judges.items():
        outcome = judge_outcome(verdict)
        said = f"after {listed(_after(verdict, True))}" if outcome == "again" else _numbers(verdict)
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
    return f"Of {len(judges)} held-out recognisers, {listed(parts)}. Other recognisers may decide otherwise."


def _in_gallery(name: str, verdict: Mapping[str, Any]) -> str:
    before, after = (verdict.get(when, {}).get("none", {}).get("place") for when in ("before", "after"))
    if before is None:
        return ""
    if before["own_rank"] is None:
        return f"{name} does not find the original face in the gallery, so there is no rank to lose."
    if after is None or after["own_rank"] is None:
        return ""
    start, end = before["own_rank"], after["own_rank"]
    moved = f"stays at rank {end:,}" if start == end else f"goes from rank {start:,} to rank {end:,}"
    return f"In the gallery as {name} sorts it, the first photo of {verdict['person']} {moved}."


def heard(verdict: Mapping[str, Any]) -> str:
    """Return what a judge said that was asked for its opinion, in a few words."""
    similarity = verdict["similarity"]
    scale = "" if similarity is None else f"similarity {similarity:g} on its own scale"
    if verdict["asked"] != "ranking":
        return scale or "it tells no similarity"
    named = "it names nobody" if verdict["named"] is None else f"it names {verdict['named']}"
    return f"{named}, {scale} for {verdict['person']}" if scale else named


def _numbers(verdict: Mapping[str, Any]) -> str:
    if verdict.get("asked") and verdict["still_recognised"] is not None:
        return heard(verdict)
    if verdict["similarity"] is None:
        return "no face found"
    similarity = f"similarity {verdict['similarity']:.3f}"
    return similarity if verdict["threshold"] is None else f"{similarity}, same person from {verdict['threshold']:.3f}"


def listed(words: Sequence[str]) -> str:
    """Return words with commas and an `and`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
