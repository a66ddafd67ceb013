"""Judges that are asked for their opinion, in a run: about each saved face, and told of in its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facecrypt.evaluation.verification import Hear, HeardVerdict
from facecrypt.faces.face import Face
from facecrypt.judges.hearing import Heard, Hearing
from facecrypt.judges.pictures import show
from facecrypt.photos.files import Photo
from facecrypt.recipe.trainer_options import Devices
from facecrypt.verdicts.sentences import face_sentence
from facecrypt.verdicts.verdict import assess, worst


def hear_all(hearings: Sequence[Hearing]) -> Hear:
    """Return what asks these judges about a face."""

    def hear(photo: Photo, face: Face, saved: Photo, again: Face | None) -> Mapping[str, HeardVerdict]:
        if not hearings:
            return {}
        original, found = show(photo, face), None if again is None else show(saved, again)
        return {hearing.name: _verdict(hearing, hearing.hear(original, found)) for hearing in hearings}

    return hear


def _verdict(hearing: Hearing, heard: Heard) -> HeardVerdict:
    return HeardVerdict(
        white_box=False,
        similarity=heard.similarity,
        target_similarity=None,
        threshold=None,
        still_recognised=heard.same,
        person=heard.person,
        cannot_judge=heard.fault,
        asked=hearing.way,
        named=heard.named,
    )


def close_all(hearings: Sequence[Hearing]) -> None:
    """Have judges clear away what they keep of a run elsewhere."""
    for hearing in hearings:
        hearing.close()


def account(hearings: Sequence[Hearing]) -> list[dict[str, Any]] | None:
    """Return what report.json says of judges; None without any."""
    return [hearing.account() for hearing in hearings] or None


def devices_for(hearings: Sequence[Hearing], devices: Devices) -> Devices:
    """Return on which devices a run works: on one where judges are asked, as what they cost is counted by one."""
    return 1 if hearings and devices == "auto" else devices


def unheard(entry: Mapping[str, Any], hearings: Sequence[Hearing]) -> list[Hearing]:
    """Return the judges that did not judge every face of a photo yet, as after a dry run, or where they failed.

    Args:
        entry: The photo as report.json has it.
        hearings: The judges.
    """
    return [
        hearing
        for hearing in hearings
        if any(
            (verdict := face["recognisers"].get(hearing.name)) is None or verdict["cannot_judge"]
            for face in entry["faces"]
        )
    ]


def add_heard(
    entry: dict[str, Any],
    late: Mapping[str, Any],
    hearings: Sequence[Hearing],
    *,
    asked: float | None = None,
    expects: bool = True,
) -> None:
    """Add what judges say now to a photo that an earlier run measured.

    Args:
        entry: The photo as report.json has it, which changes.
        late: The same, measured again.
        hearings: The judges that were asked now.
        asked: As in `assess`, for the verdict.
        expects: Likewise.
    """
    if len(entry["faces"]) != len(late["faces"]):
        return
    for face, now in zip(entry["faces"], late["faces"], strict=True):
        face["recognisers"] |= {hearing.name: now["recognisers"][hearing.name] for hearing in hearings}
        face |= assess(face, asked, expects=expects)
        face["sentence"] = face_sentence(face["recognisers"], face["expected"])
    entry["verdict"] = worst(face["verdict"] for face in entry["faces"])
