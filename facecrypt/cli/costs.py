"""What ``facecrypt check`` tells of judges that are not on this machine: how often they are asked, and for how much."""

from __future__ import annotations

import os

from facecrypt import registry
from facecrypt.errors import PhotoError
from facecrypt.photos.finding import find, find_photos
from facecrypt.recipe.check import Recipe
from facecrypt.recipe.judge_rules import Estimate, estimate, is_remote, person_of
from facecrypt.recipe.schema import JudgeSlot
from facecrypt.registry import JUDGES
from facecrypt.system.naming import expand_home


def describe_costs(recipe: Recipe) -> list[str]:
    """Return a line for each remote judge of a recipe. Photos are counted, not read."""
    lines = []
    for index, slot in enumerate(recipe.held_out):
        if not is_remote(slot):
            continue
        key = f"held_out[{index}] ({slot.name})"
        try:
            photos = _count(recipe.photos) if recipe.source.name == "folder" else None
            folder = None if slot.enrol is None else expand_home(slot.enrol)
            paths = [] if folder is None else find_photos(str(folder), recursive=True)
            enrolled = [person_of(path, folder) for path in paths if folder is not None]
        except PhotoError as error:
            lines.append(f"{key}: what it costs is not known: {error.lines[0]}")
            continue
        if photos is None:
            lines.append(f"{key}: what it costs is not known, as the photos do not lie in a folder")
            continue
        asked = estimate(slot, photos, enrolled)
        missing = [] if asked.dry_run else [each for each in _variables(slot) if not os.environ.get(each)]
        unset = f"; its key is not set here: {', '.join(missing)}" if missing else ""
        lines.append(f"{key}: {_describe(asked, photos)}{unset}")
    return lines


def _variables(slot: JudgeSlot) -> list[str]:
    """Return the environment variables that hold a judge's key."""
    known = {name: default for name, (_, default) in registry.get(JUDGES, slot.name).arguments().items()}
    told = (slot.args.get(name, known.get(name)) for name in ("key_variable", "secret_variable"))
    return [each for each in told if isinstance(each, str) and each]


def _count(photos: str | None) -> int | None:
    if photos is None:
        return 1
    return None if photos == "-" else len(find(photos, recursive=True).photos)


def _describe(asked: Estimate, photos: int) -> str:
    of = "1 photo with one face" if photos == 1 else f"{photos:,} photos with one face each"
    price = "" if asked.cost is None else f", {asked.cost:,g} by the price that the recipe tells"
    told = f"at most {asked.requests:,} requests for {of}, none of them repeated{price}"
    if asked.dry_run:
        return f"{told}; dry_run: none is made"
    if asked.budget is None:
        return f"{told}; no budget bounds them"
    few = "which is too few: some faces are not judged" if asked.budget < asked.requests else "which is enough"
    return f"{told}; its budget is {asked.budget:,}, {few}"
