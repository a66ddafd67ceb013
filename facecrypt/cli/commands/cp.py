"""``facecrypt cp``: a copy of a recipe that comes with facecrypt, to change it."""

from __future__ import annotations

import argparse
from pathlib import Path

from facecrypt.cli.statuses import DONE
from facecrypt.errors import FacecryptError
from facecrypt.recipe.shipped import SUFFIXES, shipped_names, shipped_recipe
from facecrypt.system import console
from facecrypt.system.naming import given_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    from facecrypt.cli.completing import complete_shipped

    name = parser.add_argument("name", metavar="NAME", help="a recipe that 'facecrypt recipes' lists")
    name.completer = complete_shipped  # type: ignore[attr-defined]
    parser.add_argument(
        "target", metavar="WHERE", nargs="?", default=".", help="a folder, or a new .yaml file (default: here)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy it; nothing is overwritten."""
    name, target = arguments.name, given_path(arguments.target)
    if name not in (known := shipped_names()):
        from facecrypt.checking import suggest

        raise FacecryptError(
            f"cp: no recipe {name!r} comes with facecrypt.{suggest(name, known)} See facecrypt recipes."
        )
    if target.is_dir() or not target.name.endswith(SUFFIXES):
        target = target / f"{name.rpartition('/')[2]}{SUFFIXES[0]}"
    if not target.parent.is_dir():
        raise FacecryptError(f"cp: {target.parent}: there is no such folder. Make it, or name another.")
    _copy(shipped_recipe(name), target)
    console.say(f"written: {target}. Change it, and then: facecrypt run {target} photo.jpg")
    return DONE


def _copy(source: Path, target: Path) -> None:
    data = source.read_bytes()
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise FacecryptError(f"cp: {target}: is there already, and stays. Name another file, as mine.yaml.") from error
    except OSError as error:
        raise FacecryptError(f"cp: {target}: cannot be written ({error.strerror}). Name another folder.") from error
