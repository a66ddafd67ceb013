"""What ``facecrypt run`` tells when it is done: sentences for people, or one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecrypt.system import console

if TYPE_CHECKING:
    from facecrypt.report.model import Report

HELPED = "* by the recognisers that gave gradients (white-box): says nothing about others."
_FACE = ("index", "box", "verdict", "visible", "expected", "max_abs")
_PHOTO = ("source", "output", "status", "reason", "already", "verdict")


def summarise(result: Report, *, notes: bool = False) -> None:
    """Say what became of each photo, the verdict first.

    Args:
        result: The report of the run.
        notes: Whether to say all that it notes, too.
    """
    console.say(result.summary)
    for photo in result.photos:
        if photo["status"] != "written":
            console.say(f"{photo['status']}: {photo['reason']}")
            continue
        console.say(f"written: {photo['source']} -> {photo['output']}")
        for skipped in photo["skipped"]:
            console.say(f"  face {skipped['index']}: left as it is, {skipped['reason']}")
        for face in photo["faces"]:
            _tell(face)
    told = [face for photo in result.photos if photo["status"] == "written" for face in photo["faces"]]
    if any(verdict["white_box"] for face in told for verdict in face["recognisers"].values()):
        loop = result.recipe["method"]["name"] == "iterative"
        part = "gave gradients" if loop else "answered while masks were made"
        console.say(f"* {part} (white-box): says nothing about recognisers that did not.")
    private = ""
    if any(photo["faces"] for photo in result.photos) and result.recipe["report"]["originals"]:
        private = "; it shows the original faces, too: keep it private, or leave them out by report.originals=false"
    took = f" ({result.seconds:.1f} s)" if result.seconds else ""
    for note in result.notes if notes else ():
        console.say(f"note: {note}")
    if not result.faults and result.recipe["sink"]["name"] != "stdout":
        console.say(f"report: {Path(result.recipe['output'], 'report.html')}{took}{private}")


def show_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    console.write(json.dumps(values, indent=2, allow_nan=False) + "\n")


def as_values(result: Report, status: int) -> dict[str, Any]:
    """Return a run's summary for programs; report.json has all of it.

    Args:
        result: The report of the run.
        status: How the command ends.
    """
    delivered = result.recipe["sink"]["name"] == "stdout"
    return {
        "facecrypt": result.facecrypt,
        "status": status,
        "verdict": result.verdict,
        "summary": result.summary,
        "report": None if result.faults or delivered else str(Path(result.recipe["output"], "report.json")),
        "seconds": result.seconds,
        "notes": result.notes,
        "photos": [
            {key: photo.get(key) for key in _PHOTO}
            | {"faces": [{key: face.get(key) for key in _FACE} for face in photo["faces"]]}
            for photo in result.photos
        ],
    }


def _tell(face: dict[str, Any]) -> None:
    which = face["index"] or f"given by hand ({face['landmarks']})"
    seen = f", {face['visible']} visible" if face["visible"] else ""
    console.say(f"  face {which}: {face['verdict']}{seen}, changed by at most {face['max_abs']} grey levels")
    if face["level"] is not None:
        console.say(f"    strength: {face['level']}{', which was not enough' if face['escaped'] is False else ''}")
    for name, verdict in face["recognisers"].items():
        mark = "*" if verdict["white_box"] else " (chose the strength)" if verdict["chooses"] else ""
        console.say(f"    {name}{mark}: {_sentence(verdict)}")
    if face["expected"] is not None:
        from facecrypt.verdicts.sentences import of_others

        console.say(f"    others: {of_others(face['expected'])}")


def _sentence(verdict: dict[str, object]) -> str:
    if verdict["cannot_judge"]:
        return f"could not judge: {verdict['cannot_judge']}"
    if verdict.get("asked") and (verdict["similarity"], verdict["still_recognised"]) != (None, None):
        from facecrypt.verdicts.sentences import heard

        recognised = verdict["still_recognised"]
        says = "no verdict" if recognised is None else "still the same person" if recognised else "another person"
        return f"{says} ({heard(verdict)})"
    if verdict["similarity"] is None:
        return "finds no face any more, so it gives no verdict"
    if verdict["threshold"] is None:
        return f"similarity {verdict['similarity']:+.3f}; its threshold is unknown, so it gives no verdict"
    says = "still the same person" if verdict["still_recognised"] else "another person"
    return f"{says} (similarity {verdict['similarity']:+.3f}, same person from {verdict['threshold']:.3f})"
