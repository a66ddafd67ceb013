"""The lightest strength that suffices, sought face by face on the photo as it is saved.

It suffices where a face escapes the recognisers that choose, or where what is expected of unseen ones reaches what the
recipe asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facecrypt.choices import MetadataPolicy
from facecrypt.engine.dataset import Job, draw
from facecrypt.errors import PhotoError
from facecrypt.evaluation.verification import FaceReport, Jury, verify
from facecrypt.photos.files import write_photo
from facecrypt.recipe.check import Recipe, tried_levels
from facecrypt.recipe.presets import name_level
from facecrypt.recipe.schema import Args
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.timing import stage
from facecrypt.verdicts.sentences import face_names


@dataclass(frozen=True)
class Goal:
    """What masks are to reach, and what is tried for it.

    Attributes:
        tried: What is tried with each face, from the lightest on; nothing where there is no choice.
        protect: Share of unseen recognisers that are to take each face for somebody else; None where judges choose.
        margin: How far below its threshold the similarity of each judge that chooses must fall; None where none does.
    """

    tried: Sequence[Args] = ()
    protect: float | None = None
    margin: float | None = None


def goal_of(recipe: Recipe) -> Goal:
    """Return what a recipe wants its masks to reach."""
    return Goal(tried_levels(recipe), recipe.protect, recipe.strength.margin if recipe.strength else None)


class Ladder:
    """Says which faces of a photo need a stronger mask.

    Levels are tried from the lightest on, and the first that suffices is kept: that a stronger mask escapes whom a
    lighter one escapes is likely, but not certain, so nothing is skipped.

    Args:
        goal: What is to be reached: a margin or a share.
        levels: The recipe at each level.
        jury: Who chooses; for a share, the surrogates. Transforms play a part for a share alone.
        metadata: What the saved file will keep.
    """

    def __init__(self, goal: Goal, levels: Sequence[Recipe], jury: Jury, metadata: MetadataPolicy = "strip") -> None:
        self._goal = goal
        self._levels = levels
        self._jury = jury if goal.protect is not None else replace(jury, transforms=())
        self._metadata = metadata

    @stage("strength")
    def climb(self, job: Job) -> list[int]:
        """Raise the level of the faces for which theirs does not suffice, and return their numbers.

        Faces at the last level stay there. The photo is written to a temporary file, as it would be saved now, read,
        and its faces are found afresh. A photo that cannot be written fails, and none of its faces climbs.

        Args:
            job: A photo with a mask for every face.
        """
        if job.error or job.photo is None or min(job.levels) == len(self._levels) - 1:
            return []
        try:
            with temporary_folder("trial") as folder:
                trial = folder / job.destination.name
                write_photo(job.photo, draw(job, job.photo, self._levels, self._metadata), trial, self._metadata)
                seen = verify(trial, job.photo, job.faces, job.targets, job.seconds, self._jury)
        except PhotoError as error:
            job.fail(error)
            return []
        last = len(self._levels) - 1
        weak = [
            number for number, face in enumerate(seen) if job.levels[number] < last and not suffices(self._goal, face)
        ]
        for number in weak:
            job.levels[number] += 1
        return weak


def suffices(goal: Goal, face: FaceReport) -> bool:
    """Return whether the mask of a face is as strong as it is to be.

    Args:
        goal: What is to be reached: a margin or a share.
        face: What was seen of it in the photo as it is saved.
    """
    if goal.protect is not None:
        return face.expected is not None and face.expected >= goal.protect
    assert goal.margin is not None
    return has_escaped(face, goal.margin)


def level_keys(goal: Goal, face: FaceReport, level: int | None) -> dict[str, Any]:
    """Return what a report says of the level of a face, as keys of `FaceReport`; nothing where there was no choice.

    Args:
        goal: What was to be reached.
        face: The face as it was saved.
        level: The number of the level; None where that is not known any more.
    """
    if not goal.tried:
        return {}
    name = None if level is None else name_level(goal.tried[level])
    return {"level": name, "escaped": None if goal.margin is None else has_escaped(face, goal.margin)}


def has_escaped(face: FaceReport, margin: float) -> bool:
    """Return whether no judge that chooses takes a face for the same person any more.

    A face that is not found any more has not shown that it escapes, as another detector may find it; nor has one that a
    judge cannot judge.

    Args:
        face: What the judges saw.
        margin: How far below its threshold each similarity must fall.
    """
    return all(
        not verdict.cannot_judge
        and verdict.similarity is not None
        and verdict.threshold is not None
        and verdict.similarity < verdict.threshold - margin
        for verdict in face.recognisers.values()
        if verdict.chooses
    )


def strength_notes(goal: Goal, photos: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what to know of a run that chose its strength: who chose, and whom the strongest level did not help.

    Args:
        goal: What was to be reached.
        photos: One `facecrypt.report.PhotoReport` per photo, as a mapping.
    """
    if goal.protect is not None:
        return _protect_notes(goal.protect, name_level(goal.tried[-1]), photos)
    if goal.margin is None:
        return []
    names = {
        name for photo in photos for face in photo["faces"] for name, v in face["recognisers"].items() if v["chooses"]
    }
    notes = []
    if names:
        notes.append(
            f"{', '.join(sorted(names))} chose how strong each mask is: that a face escapes them is by choice and no "
            "evidence of protection"
        )
    left = _named(photos, lambda face: face["escaped"] is False)
    if left:
        level = name_level(goal.tried[-1])
        notes.append(
            f"at the strongest level ({level}), a judge that chooses still recognises, no longer finds or cannot judge "
            f"{len(left)} of {sum(len(photo['faces']) for photo in photos)} faces, which were saved at that level: "
            f"{_shortened(left)}"
        )
    return notes


def _protect_notes(asked: float, strongest: str, photos: Sequence[Mapping[str, Any]]) -> list[str]:
    short = _named(photos, lambda face: face["expected"] is None or face["expected"] < asked)
    if not short:
        return []
    count = sum(len(photo["faces"]) for photo in photos)
    return [
        f"protect: not even the strongest masks ({strongest}) reach {asked:g} with {len(short)} of {count} faces, "
        f"which were saved with these: {_shortened(short)}"
    ]


def _named(photos: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    return [
        f"{photo['source']} ({name})"
        for photo in photos
        for name, face in zip(face_names(photo["faces"]), photo["faces"], strict=True)
        if wanted(face)
    ]


def _shortened(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"


_NAMED = 10
"""Faces that a note names; report.json has them all."""
