"""The lightest strength that suffices, sought face by face on the photo as it is saved.

It suffices where a face escapes the recognisers that choose, or where what is expected of unseen ones reaches what the
recipe asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.dataset import Job, draw
from facecrypt.errors import PhotoError
from facecrypt.evaluation.verification import FaceReport, Judge, verify
from facecrypt.photos.files import write_photo
from facecrypt.recipe.check import Recipe, tried_levels
from facecrypt.recipe.presets import name_level
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.timing import stage
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import publish_all
from facecrypt.verdicts.sentences import face_names


class Ladder:
    """Says which faces of a photo need a stronger mask.

    Levels are tried from the lightest on, and the first that suffices is kept: that a stronger mask escapes whom a
    lighter one escapes is likely, but not certain, so nothing is skipped.

    Args:
        recipe: The recipe of the run, with `strength` or `protect`.
        levels: The recipe at each level.
        judges: Recognisers that choose; for `protect`, the surrogates.
        targets: The target identities.
        detector: Finds the faces of the saved photo.
    """

    def __init__(
        self,
        recipe: Recipe,
        levels: Sequence[Recipe],
        judges: Sequence[Judge],
        targets: Sequence[Target],
        detector: FaceDetector,
    ) -> None:
        self._recipe = recipe
        self._levels = levels
        self._judges = judges
        self._targets = targets
        self._detector = detector
        self._transforms = publish_all([] if recipe.protect is None else recipe.receipt.transforms)

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
                write_photo(
                    job.photo, draw(job, job.photo, self._levels, self._recipe.metadata), trial, self._recipe.metadata
                )
                seen = verify(
                    trial,
                    job.photo,
                    job.faces,
                    job.targets,
                    job.seconds,
                    targets=self._targets,
                    judges=self._judges,
                    detector=self._detector,
                    another=self._recipe.receipt.detector is not None,
                    choice=self._recipe.faces,
                    transforms=self._transforms,
                )
        except PhotoError as error:
            job.fail(error)
            return []
        last = len(self._levels) - 1
        weak = [
            number for number, face in enumerate(seen) if job.levels[number] < last and not suffices(self._recipe, face)
        ]
        for number in weak:
            job.levels[number] += 1
        return weak


def suffices(recipe: Recipe, face: FaceReport) -> bool:
    """Return whether the mask of a face is as strong as its recipe wants it.

    Args:
        recipe: The recipe of the run, with `strength` or `protect`.
        face: What was seen of it in the photo as it is saved.
    """
    if recipe.protect is not None:
        return face.expected is not None and face.expected >= recipe.protect
    assert recipe.strength is not None
    return has_escaped(face, recipe.strength.margin)


def level_keys(recipe: Recipe, face: FaceReport, level: int | None) -> dict[str, Any]:
    """Return what a report says of the level of a face, as keys of `FaceReport`; nothing where there was no choice.

    Args:
        recipe: The recipe of the run.
        face: The face as it was saved.
        level: The number of the level; None where that is not known any more.
    """
    tried = tried_levels(recipe)
    if not tried:
        return {}
    name = None if level is None else name_level(tried[level])
    return {"level": name, "escaped": suffices(recipe, face) if recipe.strength else None}


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


def strength_notes(recipe: Recipe, photos: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what to know of a run that chose its strength: who chose, and whom the strongest level did not help.

    Args:
        recipe: The recipe of the run.
        photos: One `facecrypt.report.PhotoReport` per photo, as a mapping.
    """
    if recipe.protect is not None:
        return _protect_notes(recipe, photos)
    if recipe.strength is None:
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
        level = name_level(recipe.strength.levels[-1])
        notes.append(
            f"at the strongest level ({level}), a judge that chooses still recognises, no longer finds or cannot judge "
            f"{len(left)} of {sum(len(photo['faces']) for photo in photos)} faces, which were saved at that level: "
            f"{_shortened(left)}"
        )
    return notes


def _protect_notes(recipe: Recipe, photos: Sequence[Mapping[str, Any]]) -> list[str]:
    asked, strongest = recipe.protect, name_level(tried_levels(recipe)[-1])
    assert asked is not None
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
