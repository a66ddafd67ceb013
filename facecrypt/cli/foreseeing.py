"""``facecrypt run --dry-run``: what a run would do to which faces, and how long it would take. No mask is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from facecrypt.errors import FacecryptError
from facecrypt.pipeline.inputs import choose_photos, sample_photo
from facecrypt.pipeline.plan import make_plan
from facecrypt.recipe.check import Recipe, level_recipes
from facecrypt.recipe.compose import read_composed
from facecrypt.system import console

_START = 6.0
"""Seconds until the first photo: imports, recognisers, targets. All figures are those of docs/performance.md, measured
on two CPU cores."""
_STEP = 0.036
"""Seconds of a step of a face, with one or both of `_MEASURED`."""
_MEASURED = ("sface", "dlib_resnet")
_LOOK, _TRY = 0.5, 4.0
"""Seconds to write a face and look at it again, and the same where levels are tried: after each change, too."""

Doing = Literal["protect", "nothing", "cannot"]


@dataclass(frozen=True)
class Photo:
    """What would become of a photo.

    Attributes:
        source: The photo.
        output: Where its protected version would go; None where there would be none.
        doing: What would be done.
        reason: Why nothing would be, or cannot; else empty.
        boxes: Corners of the faces that would be changed, in pixels.
        skipped: Faces that would be left as they are, each with the reason.
    """

    source: str
    output: str | None
    doing: Doing
    reason: str = ""
    boxes: Sequence[tuple[float, ...]] = ()
    skipped: Sequence[str] = ()


@dataclass(frozen=True)
class Foreseen:
    """What a run would do.

    Attributes:
        photos: Each of its photos.
        seconds: The least and the most that it would take; None where that is not known.
    """

    photos: list[Photo]
    seconds: tuple[float, float] | None


def foresee(recipe: Recipe, chosen: Sequence[tuple[Path, Path]] | None, file: Path) -> Foreseen:
    """Return what a run would do. Faces are searched in photos that are not done yet, and in no others.

    Args:
        recipe: A checked recipe.
        chosen: The photos, each with the file that its protected version goes to; by default those of the recipe.
        file: The file of the recipe.

    Raises:
        FacecryptError: If the run would destroy a file, or its photos do not lie in files.
    """
    if recipe.source.name != "folder":
        raise FacecryptError(f"--dry-run: photos of the source {recipe.source.name!r} are not known before they come.")
    pairs = choose_photos(recipe, sample_photo()) if chosen is None else chosen
    plan = make_plan(recipe, pairs, recipe_file=file, bases=read_composed(str(file)).files)
    photos: dict[int, Photo] = {}
    for index, planned in enumerate(plan.photos):
        if (done := planned.no_work) is not None:
            doing: Doing = "cannot" if done.status == "failed" else "nothing"
            photos[index] = Photo(str(planned.source), None, doing, done.reason)
    if len(photos) == len(plan.photos):
        return Foreseen([photos[index] for index in range(len(plan.photos))], (0.0, 0.0))

    # Imported where there are faces to find: torch takes seconds.
    from facecrypt.engine.dataset import Photos
    from facecrypt.pipeline.builders import build_detectors
    from facecrypt.system import limits

    with limits.applied(limits.resolve(recipe.limits)):
        detector = build_detectors(recipe.detector, recipe.receipt.detector).masks
        sources = [planned.source for planned in plan.photos]
        jobs = Photos(sources, [planned.destination for planned in plan.photos], recipe.faces, detector)
        for index, planned in enumerate(plan.photos):
            if index in photos:
                continue
            job = jobs[index]
            skipped = [f"face {each.index}: {each.reason}" for each in job.skipped]
            if job.error:
                doing = "cannot" if job.status == "failed" else "nothing"
                photos[index] = Photo(str(planned.source), None, doing, job.error, skipped=skipped)
            else:
                boxes = [tuple(round(float(each), 1) for each in face.box) for face in job.faces]
                photos[index] = Photo(str(planned.source), str(planned.destination), "protect", "", boxes, skipped)
            job.release()
    found = [photos[index] for index in range(len(plan.photos))]
    return Foreseen(found, _seconds(recipe, sum(len(photo.boxes) for photo in found)))


def _seconds(recipe: Recipe, faces: int) -> tuple[float, float] | None:
    """Return the least and the most seconds that some faces take."""
    # Optional ones may not be here, and are told of nowhere until they are loaded.
    needed = [each.name for each in recipe.surrogates if not each.optional]
    if recipe.method.name != "iterative" or not set(needed) <= set(_MEASURED):
        return None
    levels = level_recipes(recipe)
    # Each level goes on from the one before, until one suffices.
    steps = [level.steps * max(1, level.views_per_step) for level in levels]
    look = _LOOK if len(levels) == 1 else _TRY
    least, most = (sum(each) * _STEP + look * len(each) for each in (steps[:1], steps))
    return _START + faces * least, _START + faces * most


def tell(foreseen: Foreseen) -> None:
    """Say it."""
    for photo in foreseen.photos:
        if photo.doing == "protect":
            console.say(f"would protect {_faces(len(photo.boxes))}: {photo.source} -> {photo.output}")
        else:
            console.say(f"{'would do nothing' if photo.doing == 'nothing' else 'cannot be protected'}: {photo.reason}")
        for each in photo.skipped:
            console.say(f"  would leave {each}")
    todo = [photo for photo in foreseen.photos if photo.doing == "protect"]
    count = len(foreseen.photos)
    of = f"{len(todo)} of {count} photo{'' if count == 1 else 's'}, {_faces(sum(len(photo.boxes) for photo in todo))}"
    console.say(f"{of}; {_time(foreseen.seconds) if todo else 'nothing is to do'}. Nothing was written.")


def _faces(count: int) -> str:
    return f"{count} face{'' if count == 1 else 's'}"


def _time(seconds: tuple[float, float] | None) -> str:
    if seconds is None:
        return "how long it takes is not known: facecrypt bench measures it"
    least, most = (_round(each) for each in seconds)
    return f"about {least if least == most else f'{least} to {most}'} on two CPU cores, less on a GPU"


def _round(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def as_values(foreseen: Foreseen) -> dict[str, Any]:
    """Return it for programs."""
    return {
        "facecrypt": metadata.version("facecrypt"),
        "dry_run": True,
        "seconds": None if foreseen.seconds is None else [round(each, 1) for each in foreseen.seconds],
        "photos": [
            {
                "source": photo.source,
                "output": photo.output,
                "doing": photo.doing,
                "reason": photo.reason,
                "faces": [list(box) for box in photo.boxes],
                "skipped": list(photo.skipped),
            }
            for photo in foreseen.photos
        ],
    }
