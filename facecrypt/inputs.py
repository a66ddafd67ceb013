"""Which photos a run is about, and where the protected version of each goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from facecrypt.errors import PhotoError
from facecrypt.face_rules import face_rules
from facecrypt.naming import expand_home, output_path
from facecrypt.photos import find_photos, write_bytes
from facecrypt.recipe import Recipe

RECORDS = ".facecrypt"
"""Folder inside the output where the processes of a run leave notes for each other until the report is written."""


def choose_photos(recipe: Recipe, sample: Path) -> list[tuple[Path, Path]]:
    """Return the photos that a recipe names, each with the file that its protected version goes to.

    Args:
        recipe: A checked recipe.
        sample: The photo of a recipe that names none.

    Raises:
        PhotoError: If there are none, or several and the recipe gives faces of one by hand.
    """
    output = Path(recipe.output).expanduser()
    root: Path | None = None
    if recipe.photos is None:
        paths = [sample]
    elif recipe.photos == "-":
        paths = _read_standard_input(output)
    else:
        paths = find_photos(recipe.photos, recursive=True)
        root = Path(recipe.photos).expanduser()
        if root.is_dir() and _is_inside(output, root):
            paths = [path for path in paths if not _is_inside(path, output)]
        if not paths:
            raise PhotoError(
                f"{recipe.photos}: no photos found outside the output folder {output}. Name another folder."
            )
    key = face_rules(recipe.faces).by_hand
    if key and len(paths) > 1:
        raise PhotoError(
            f"faces.{key}: gives a face of one photo by hand, but photos names {len(paths)}. Name that photo alone, "
            "and protect the others without it."
        )
    if recipe.in_place:
        return [(path, path.resolve()) for path in paths]
    chosen = []
    for path in paths:
        below = path.parent.relative_to(root) if root is not None and root.is_dir() else Path()
        chosen.append((path, output_path(path, output / below, recipe.format, recipe.name)))
    return chosen


def _is_inside(path: Path, folder: Path) -> bool:
    path, folder = path.resolve(), folder.resolve()
    return folder in path.parents


def _read_standard_input(output: Path) -> list[Path]:
    """Return the photos named on standard input; processes that Lightning starts find the list in the output folder."""
    names = output / RECORDS / "photos.txt"
    if os.environ.get("LOCAL_RANK", "0") != "0" and names.exists():
        return read_list(os.fsdecode(names.read_bytes()))
    # As bytes: names of files need be no UTF-8.
    given = getattr(sys.stdin, "buffer", sys.stdin).read()
    paths = read_list(os.fsdecode(given))
    write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths), names)
    return paths


def read_list(text: str) -> list[Path]:
    """Return the photos that a text names, one on each line, or ended by NUL characters as ``find -print0`` does it.

    Args:
        text: Empty lines and repeated names are left out; whether the files exist is for `read_photo`.

    Raises:
        PhotoError: If it names nothing.
    """
    names = text.split("\0") if "\0" in text else text.replace("\r\n", "\n").split("\n")
    paths = [expand_home(name) for name in names if name.strip()]
    if not paths:
        raise PhotoError("photos: '-' reads file names from standard input, which has none. Give one a line.")
    return list(dict.fromkeys(paths))
