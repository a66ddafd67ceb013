"""Which photos a run is about, and where the protected version of each goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from facecrypt.carriers.base import FOLDER
from facecrypt.choices import VIRTUAL
from facecrypt.engine.manifest import NAME, Manifest
from facecrypt.engine.records import PHOTO_LIST, RECORDS
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.finding import Found, files_below, find, find_photos
from facecrypt.recipe.check import Recipe, recipe_values
from facecrypt.recipe.face_rules import face_rules
from facecrypt.system.locks import is_first_process
from facecrypt.system.naming import expand_home, output_path
from facecrypt.system.regular import MOST_TEXT, read_regular


def choose_photos(recipe: Recipe, sample: Path, notes: list[str] | None = None) -> list[tuple[Path, Path]]:
    """Return the photos that a recipe names, each with the file that its protected version goes to.

    Args:
        recipe: A checked recipe.
        sample: The photo of a recipe that names none.
        notes: Is added to, if something in the folder of photos, or among what a glob names, is left out.

    Raises:
        PhotoError: If there are none.
    """
    output = expand_home(recipe.output)
    root: Path | None = None
    if recipe.photos is None:
        paths = [sample]
    elif recipe.photos == "-":
        paths = _read_standard_input(output)
    else:
        found = find(recipe.photos, recursive=True)
        paths = found.photos
        root = expand_home(recipe.photos)
        if root.is_dir():
            paths = outside(output, root, found)
        if notes is not None and (note := found.left_out.describe(recipe.photos)):
            notes.append(note)
        if not paths:
            raise PhotoError(
                f"{recipe.photos}: no photos found outside the output folder {output}. Name another folder."
            )
    if recipe.in_place:
        return [(path, Path(os.path.realpath(path))) for path in paths]
    chosen = []
    for path in paths:
        below = path.parent.relative_to(root) if root is not None and root.is_dir() else Path()
        chosen.append((path, output_path(path, output / below, recipe.format, recipe.name)))
    return chosen


def sample_photo() -> Path:
    """Return the built-in photo of a real person, which is free to use."""
    return Path(str(resources.files("facecrypt") / "data" / "sample" / "astronaut.png"))


def outside(output: Path, root: Path, found: Found) -> list[Path]:
    """Return the photos of a folder that do not lie in the output folder; those that do are counted as left out.

    Args:
        output: The output folder.
        root: The folder of photos.
        found: What was found in it.
    """
    if not _is_inside(output, root):
        return found.photos
    inside = {folder for folder in {path.parent for path in found.photos} if _is_inside(folder / "photo", output)}
    made = _outputs(output)
    left = [path for path in found.photos if path.parent in inside]
    found.left_out.in_output = sum(Path(os.path.realpath(path)) not in made for path in left)
    return [path for path in found.photos if path.parent not in inside]


def _is_inside(path: Path, folder: Path) -> bool:
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return folder in path.parents


def _outputs(output: Path) -> set[Path]:
    """Return the photos that runs left in an output folder."""
    try:
        return Manifest(output / NAME).outputs
    except FacecryptError:  # whoever opens it to write will say why
        return set()


def _read_standard_input(output: Path) -> list[Path]:
    """Return the photos named on standard input; processes that Lightning starts find the list in the output folder."""
    names = output / RECORDS / PHOTO_LIST
    if not is_first_process() and names.exists():
        return read_list(os.fsdecode(read_regular(names, MOST_TEXT)))
    # As bytes: names of files need be no UTF-8.
    return read_list(os.fsdecode(getattr(sys.stdin, "buffer", sys.stdin).read()))


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


def named_files(recipe: Recipe) -> Iterator[tuple[Path, str]]:
    """Yield the files besides photos that a recipe names, or that lie in a folder that it names, each with the key."""
    rules = face_rules(recipe.faces)
    names = [] if recipe.targets == VIRTUAL else [("targets", recipe.targets)]
    names += [("faces.only", name) for name in rules.only or ()]
    names += [("faces.except", name) for name in rules.except_ or ()]
    names += [("photos", recipe.photos)] if recipe.photos and recipe.source.name != FOLDER else []
    names += [("own_photos", recipe.own_photos)] if recipe.own_photos else []
    names += [("person.table", recipe.person.table)] if recipe.person and recipe.person.table else []
    names += [("receipt.gallery", recipe.receipt.gallery)] if recipe.receipt.gallery else []
    names += [
        (f"{key}.args", name)
        for key, value in recipe_values(recipe).items()
        for name in _arguments(value)
        if key != "sink"
    ]
    for key, name in names:
        for path in _files(name):
            yield path, key


def _arguments(value: Any, inside: bool = False) -> Iterator[str]:
    """Yield all texts among the arguments of components, of which any may be a file."""
    if isinstance(value, str):
        yield from [value] if inside else []
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _arguments(each, inside or key == "args")
    elif isinstance(value, Sequence):
        for each in value:
            yield from _arguments(each, inside)


def _files(name: str) -> Iterable[Path]:
    """Return the file, or all files in the folder, of some name."""
    path = expand_home(name)
    try:
        if path.is_dir():
            return files_below(path)
        return [path] if path.exists() else find_photos(name)
    except (OSError, ValueError, RuntimeError, PhotoError):  # there is none, or whoever reads it will say why
        return []
