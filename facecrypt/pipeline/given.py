"""Photos that a command names one by one, as files, folders and globs, and where the protected version of each goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facecrypt.engine.manifest import NAME, NAME_IN_PLACE, Manifest
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.finding import Found, find, folder_of, is_own
from facecrypt.pipeline.inputs import outside
from facecrypt.recipe.check import Recipe
from facecrypt.system.naming import FORMATS, expand_home, output_path
from facecrypt.system.places import FileId, file_id

SUFFIX = "_protected"
BESIDE = f"{{stem}}{SUFFIX}{{suffix}}"
"""Name of a protected photo that lies beside its original."""
REPORTS = "facecrypt-report"
"""Folder of the report of photos that lie beside their originals."""
_AS_INPUT = "{stem}{suffix}"
"""What a recipe that names no file names has for `name`."""


@dataclass(frozen=True)
class Given:
    """What a command is to work on.

    Attributes:
        chosen: Each photo with the file that its protected version goes to.
        output: The output folder of the run, which its report goes to.
        notes: What lies there and is left out.
    """

    chosen: list[tuple[Path, Path]]
    output: str
    notes: list[str] = field(default_factory=list)


def choose_given(recipe: Recipe, names: Sequence[str], output: str | None) -> Given:
    """Return the photos that a command names, each once.

    Protected photos of earlier runs, and what else facecrypt leaves beside photos, are passed over: a shell makes a
    list of all that is there out of ``holiday/*``.

    Args:
        recipe: A checked recipe.
        names: Files, folders and globs.
        output: The output folder; None for photos beside their originals.

    Raises:
        PhotoError: With all names that lead to no photo, or if two protected photos would be one file.
    """
    folder = str(folder_of(names[0]) / REPORTS) if output is None else output
    given, faults, made = Given([], folder), list[str](), _Made()
    seen: set[FileId] = set()
    chosen: dict[Path, Path] = {}
    for name in names:
        if len(names) > 1 and _is_left_behind(expand_home(name), made):
            continue
        try:
            found = find(name, recursive=True)
        except PhotoError as error:
            faults += error.lines
            continue
        for path in _sift(name, found, expand_home(folder), made, given.notes):
            if (known := file_id(path)) is not None:
                if known in seen:
                    continue
                seen.add(known)
            destination = _place(recipe, path, name, output)
            if (other := chosen.setdefault(destination, path)) != path:
                faults.append(f"{destination}: would be both {other} and {path}, protected. {_way_apart(path, other)}")
            given.chosen.append((path, destination))
    if faults:
        raise PhotoError(faults[0], faults[1:])
    if not chosen:
        raise PhotoError(
            f"{', '.join(names)}: holds nothing but what facecrypt made. Name the original photos to protect them anew."
        )
    return given


class _Made:
    """Tells the protected photos that lie beside their originals, by what is noted there and by their names."""

    def __init__(self) -> None:
        self._noted: dict[Path, set[str]] = {}

    def is_noted(self, path: Path) -> bool:
        """Return whether a manifest beside a file says that facecrypt made it of another one."""
        folder = path.parent
        if folder not in self._noted:
            try:
                entries = list(Manifest(folder / NAME_IN_PLACE).entries)
            except FacecryptError:  # Whoever plans the run will say why.
                entries = []
            # A photo that was replaced is an input, of which the run says that it is protected already.
            self._noted[folder] = {each.output for each in entries if each.source and each.backup is None}
        return path.name in self._noted[folder]

    def is_called_so(self, path: Path) -> bool:
        """Return whether a file is called as the protected version of one beside it."""
        if not path.stem.endswith(SUFFIX):
            return False
        original = path.stem.removesuffix(SUFFIX)
        suffixes = {path.suffix, *FORMATS} if path.suffix == ".png" else {path.suffix}
        return any(path.with_name(original + suffix).is_file() for suffix in suffixes)


def _is_left_behind(path: Path, made: _Made) -> bool:
    """Return whether a file or folder is what facecrypt leaves beside photos."""
    if path.is_dir():
        return path.name == REPORTS and (path / NAME).is_file()
    return path.is_file() and (is_own(path) or made.is_noted(path) or made.is_called_so(path))


def _sift(name: str, found: Found, output: Path, made: _Made, notes: list[str]) -> list[Path]:
    """Return the photos that a name means, without protected ones; notes tell what is left out."""
    root = expand_home(name)
    if root.is_file():
        return found.photos
    photos = outside(output, root, found) if root.is_dir() else found.photos
    photos = [path for path in photos if not made.is_noted(path)]
    named = [path for path in photos if made.is_called_so(path)]
    left = set(named)
    if note := found.left_out.describe(name, key=""):
        notes.append(note)
    if named:
        notes.append(
            f"{name}: left out {len(named)} that {'is' if len(named) == 1 else 'are'} called as the protected version "
            f"of a photo beside {'it' if len(named) == 1 else 'them'}, such as {named[0].name}; name one itself to "
            "protect it"
        )
    return [path for path in photos if path not in left]


def _place(recipe: Recipe, path: Path, name: str, output: str | None) -> Path:
    """Return where the protected version of a photo goes."""
    if recipe.in_place:
        return Path(os.path.realpath(path))
    if output is None:
        template = BESIDE if recipe.name == _AS_INPUT else recipe.name
        return output_path(path, path.parent, recipe.format, template)
    root = expand_home(name)
    below = path.parent.relative_to(root) if root.is_dir() else Path()
    return output_path(path, expand_home(output) / below, recipe.format, recipe.name)


def _way_apart(first: Path, second: Path) -> str:
    if first.parent == second.parent:
        return "Leave out format=png, which gives both one extension, or rename one."
    return "Name the folder that holds both, whose subfolders are kept, or protect one after the other."
