"""``facecrypt run``, and ``facecrypt PHOTO``: photos protected."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facecrypt.cli.statuses import DONE, SOME_FAILED, WEAK
from facecrypt.cli.table import add_environment
from facecrypt.errors import FacecryptError
from facecrypt.system import console, interrupts

if TYPE_CHECKING:
    from facecrypt.cli.words import Words
    from facecrypt.recipe.check import Recipe
    from facecrypt.report.model import Report

_FOLDER = "folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    from facecrypt.cli.completing import complete_recipes, complete_words

    parser.usage = "facecrypt [run] [RECIPE] PHOTO ... [key=value ...] [-o FOLDER]"
    parser.description = (
        "Protect the faces in photos. photo.jpg becomes photo_protected.jpg beside it, or a file of the same name in "
        "the folder of -o. What was done before is not done again."
    )
    words = parser.add_argument(
        "words",
        metavar="PHOTO, RECIPE or key=value",
        nargs="*",
        help="photos, folders with all below them, globs, or - for standard input; a recipe, by its file or its name "
        "in 'facecrypt recipes' (quickstart by default); values for its keys, as in epsilon=8",
    )
    words.completer = complete_words  # type: ignore[attr-defined]
    parser.add_argument("-o", "--output", metavar="FOLDER", help="where protected photos and the report go")
    parser.add_argument(
        "--protect",
        metavar="SHARE",
        help="the least visible masks with which this share of unseen recognisers, such as 0.8, is expected to take "
        "each face for somebody else; the same as protect=SHARE",
    )
    parser.add_argument(
        "--allow-weak", action="store_true", help=f"end with {DONE}, not {WEAK}, where the verdict on a face is no pass"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done to which faces; make no mask")
    parser.add_argument("--json", action="store_true", help="print the result as JSON; all else goes to standard error")
    recipe = parser.add_argument("--recipe", metavar="RECIPE", help="a recipe whose name is that of a folder here, too")
    recipe.completer = complete_recipes  # type: ignore[attr-defined]
    add_environment(parser)
    parser.set_defaults(usage_of=parser.error)


@dataclass(frozen=True)
class _Task:
    """What a command line asks for.

    Attributes:
        recipe: The recipe with all that was typed.
        file: Its file.
        chosen: The photos, where they are arguments, each with the file that its protected version goes to.
    """

    recipe: Recipe
    file: Path
    chosen: Sequence[tuple[Path, Path]] | None = None


def run(arguments: argparse.Namespace) -> int:
    """Protect them, and say what became of each."""
    from facecrypt.cli.words import sort_words

    words = sort_words(arguments.words, arguments.recipe)
    keys = {each.partition("=")[0].rstrip(":").partition(".")[0] for each in words.overrides}
    if not words.photos and words.recipe is None and not keys & {"photos", "source", "input"}:
        arguments.usage_of("name photos, a folder or a recipe; 'facecrypt run quickstart' protects a sample photo")
    task = _read(words, arguments)
    piped = task.recipe.sink.name == "stdout"
    if piped and arguments.json:
        raise FacecryptError("run: both --json and the photo would go to standard output. Leave one out.")
    from facecrypt.carriers.streams import stdout_for_data

    with stdout_for_data() if piped or arguments.json else nullcontext():
        if arguments.dry_run:
            from facecrypt.cli.foreseeing import as_values, foresee, tell

            foreseen = foresee(task.recipe, task.chosen, task.file)
            tell(foreseen)
            status, values = DONE, as_values(foreseen)
        else:
            status, result = _protect(task, arguments)
            from facecrypt.cli.telling import as_values as summary_of

            values = summary_of(result, status) if arguments.json else {}
    if arguments.json:
        from facecrypt.cli.telling import show_json

        show_json(values)
    return status


def _read(words: Words, arguments: argparse.Namespace) -> _Task:
    """Return what is asked for, checked; no photo is read."""
    from facecrypt.cli.words import STREAM
    from facecrypt.recipe.check import load_recipe, read_recipe
    from facecrypt.recipe.resolve import quickstart

    file = str(quickstart() if words.recipe is None else words.recipe)
    overrides = list(words.overrides)
    overrides += [] if arguments.protect is None else [f"protect={arguments.protect}"]
    if arguments.output is not None:
        overrides.append(f"output={_folder(arguments.output)}")
    photos = words.photos
    streamed = STREAM in photos
    if streamed and len(photos) > 1:
        raise FacecryptError(
            f"{STREAM}: stands for one photo on standard input, and other photos are named, too. Name either."
        )
    named = read_recipe(file, overrides, allow_env=arguments.allow_env)
    if streamed:
        overrides.append("source=stdin")
        overrides += [] if "sink" in named or "output" in named else ["sink=stdout"]
    elif photos:
        overrides.append(f"photos={photos[0]}")
    recipe = load_recipe(file, overrides, allow_env=arguments.allow_env)
    if streamed or not photos:
        return _Task(recipe, Path(file))
    if (recipe.source.name, recipe.sink.name) != (_FOLDER, _FOLDER):
        if len(photos) > 1:
            which = f"source {recipe.source.name!r}" if recipe.source.name != _FOLDER else f"sink {recipe.sink.name!r}"
            raise FacecryptError(f"{which}: takes one file, folder or glob, and {len(photos)} are named. Name one.")
        return _Task(recipe, Path(file))
    from facecrypt.pipeline.given import choose_given

    given = choose_given(recipe, photos, recipe.output if "output" in named else None)
    if "quiet" not in arguments:
        for note in given.notes:
            console.say(f"facecrypt: {note}", error=True)
    single = len(photos) == 1 or recipe.in_place
    recipe = replace(recipe, output=given.output, photos=recipe.photos if single else None)
    return _Task(recipe, Path(file), given.chosen)


def _folder(given: str) -> str:
    """Return the folder of ``-o``.

    Raises:
        FacecryptError: If it is a file, or called as one.
    """
    from facecrypt.system.naming import FORMATS, given_path

    path = given_path(given)
    if path.exists() and not path.is_dir():
        raise FacecryptError(f"-o {given}: is a file, and protected photos go to a folder. Name a folder.")
    if not path.exists() and path.suffix.lower() in FORMATS:
        raise FacecryptError(
            f"-o {given}: is called as a photo, and would be a folder. Name a folder; a photo keeps its name in it."
        )
    return given


def _protect(task: _Task, arguments: argparse.Namespace) -> tuple[int, Report]:
    """Do what is asked for, and say what came of it."""
    from facecrypt.pipeline.finished import find_finished
    from facecrypt.pipeline.inputs import sample_photo
    from facecrypt.recipe.compose import read_composed

    bases = read_composed(str(task.file)).files
    # Before torch and Lightning are imported, which take seconds.
    result = find_finished(task.recipe, sample_photo(), chosen=task.chosen, recipe_file=task.file, bases=bases)
    if result is None:
        from facecrypt.photos.reading import warm_up

        warm_up()
        from facecrypt.pipeline import runner

        if "verbose" not in arguments:
            logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        result = runner.run(
            task.recipe, chosen=task.chosen, recipe_file=task.file, bases=bases, on_start=interrupts.tell_run
        )
    piped = task.recipe.sink.name == "stdout"
    where = "the photo was delivered" if piped else f"the report is {Path(result.recipe['output'], 'report.html')}"
    interrupts.tell_ending(f"all was done; {where}")
    if "quiet" not in arguments:
        from facecrypt.cli.telling import summarise

        summarise(result, notes="verbose" in arguments)
    if not result.complete:
        return SOME_FAILED, result
    return DONE if arguments.allow_weak or result.verdict in (None, "pass") else WEAK, result
