"""A run that has nothing to do is told from what earlier ones noted, without loading a model or torch."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

from facecrypt.carriers.base import FOLDER
from facecrypt.engine.known import REPORTS
from facecrypt.engine.planned import PlannedPhoto
from facecrypt.engine.records import RECORDS
from facecrypt.errors import FacecryptWarning
from facecrypt.photos.files import file_digest
from facecrypt.pipeline.inputs import choose_photos
from facecrypt.pipeline.plan import make_plan
from facecrypt.recipe.check import Recipe, recipe_values
from facecrypt.registry import JUDGES, get
from facecrypt.report.earlier import EARLIER
from facecrypt.report.model import Report
from facecrypt.report.summary import summarise
from facecrypt.system.naming import expand_home
from facecrypt.system.regular import read_text
from facecrypt.verdicts.verdict import worst

_DECIDES_NOTHING = ("photos", "output", "batch_size", "workers", "limits", "trainer")
"""Keys that say where a run is done, and how, and nothing of what its report holds: paths depend on the folder."""


def find_finished(
    recipe: Recipe,
    sample: Path,
    *,
    chosen: Sequence[tuple[Path, Path]] | None = None,
    recipe_file: Path | None = None,
    bases: Sequence[Path] = (),
) -> Report | None:
    """Return what `facecrypt.pipeline.runner.run` would report where every photo is done and measured; else None.

    Nothing is written: the report of the run that did the work stays as it is.

    Args:
        recipe: A checked recipe.
        sample: The photo of a recipe that names none.
        chosen: As for `run`, as all others are.
        recipe_file: Likewise.
        bases: Likewise.

    Raises:
        FacecryptError: If the run would destroy a file.
    """
    output = expand_home(recipe.output)
    if not _is_plain(recipe) or not all((output / name).is_file() for name in REPORTS):
        return None
    report = _read(output / REPORTS[0])
    values = recipe_values(recipe)
    if report is None or not _says_the_same(report, values) or _is_stopped(output / RECORDS):
        return None
    notes: list[str] = []
    chosen = choose_photos(recipe, sample, notes) if chosen is None else chosen
    plan = make_plan(recipe, chosen, recipe_file=recipe_file, bases=bases)
    earlier = _read(output / RECORDS / EARLIER) or {"photos": []}
    known = {
        digest: photo
        for photo in (*earlier["photos"], *report["photos"])
        if (digest := photo.get("output_sha256") or photo.get("source_sha256"))
    }
    photos = [_carried(planned, known) for planned in plan.photos]
    done = [photo for photo in photos if photo is not None]
    if len(done) < len(photos):
        return None
    for note in (*notes, *plan.notes):
        warnings.warn(note, FacecryptWarning, stacklevel=2)
    named = {field.name for field in fields(Report)}
    kept = {key: value for key, value in report.items() if key in named}
    verdict = worst(photo["verdict"] for photo in done)
    now = {"recipe": values, "photos": done, "seconds": 0.0, "summary": summarise(done, values), "verdict": verdict}
    return Report(**kept | now)


def _is_plain(recipe: Recipe) -> bool:
    """Return whether photos are files that can be looked at again, and no judge needs asking."""
    if (recipe.source.name, recipe.sink.name) != (FOLDER, FOLDER) or recipe.photos == "-":
        return False
    return all(slot.enrol is None and get(JUDGES, slot.name).kind != "judge" for slot in recipe.held_out)


def _read(path: Path) -> dict[str, Any] | None:
    """Return a report that this version wrote; None for anything else."""
    try:
        found = json.loads(read_text(path))
        complete = {field.name for field in fields(Report)} - {"judges", "faults"} <= found.keys()
        if not complete and path.name != EARLIER:
            return None
        if found["facecrypt"] != metadata.version("facecrypt"):
            return None
        return found if all(isinstance(photo["faces"], list) for photo in found["photos"]) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _says_the_same(report: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    then = report["recipe"]
    if not isinstance(then, dict):
        return False
    now = json.loads(json.dumps(values, default=repr))
    keys = (then.keys() | now.keys()) - set(_DECIDES_NOTHING)
    return all(then.get(key) == now.get(key) for key in keys)


def _is_stopped(records: Path) -> bool:
    """Return whether a run has left what it had not reported yet."""
    try:
        return any(name != EARLIER for name in os.listdir(records))
    except OSError:
        return False


def _carried(planned: PlannedPhoto, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what to tell of a photo that is done; None where there is something to do or to measure.

    Args:
        planned: The photo.
        known: What was measured of photos, by the SHA-256 of the protected ones, and of those that show no face, by
            their own: names depend on the folder in which a command runs.
    """
    source, here = str(planned.source), file_digest(planned.source)
    if (done := planned.no_work) is None:
        old = known.get(here or "")
        if old is None or old["faces"] or old["status"] != "unchanged" or old["already"]:
            return None
        return dict(old) | {"source": source, "reason": old["reason"].replace(old["source"], source)}
    told = {"source": source, "status": done.status, "reason": done.reason, "already": done.already}
    if done.status == "failed":
        return None
    if planned.manifest.find_original(planned.source, planned.destination) is None:
        # It is a protected photo, or a backup: nobody has measured it, and nobody can.
        return told | {"output": None, "faces": [], "verdict": None, "skipped": []}
    made = file_digest(planned.destination)
    old = known.get(made or "")
    if old is None or not old["faces"] or here not in (old["source_sha256"], made):
        return None
    return dict(old) | told | {"output": str(planned.destination), "carried_over": True}
