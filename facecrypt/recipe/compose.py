"""Recipes made of others: ``base`` names one or several, over which the recipe's own keys are laid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facecrypt.checking import at_most, suggest
from facecrypt.errors import RecipeError
from facecrypt.recipe.config_values import read_file
from facecrypt.recipe.groups import find_spellings, flatten
from facecrypt.recipe.merging import merge
from facecrypt.recipe.names_alone import spell_out
from facecrypt.recipe.presets import give_way
from facecrypt.recipe.shipped import SUFFIXES, shipped_names, shipped_recipe
from facecrypt.recipe.yaml_values import Node, Scalar
from facecrypt.system.naming import expand_home, path_fault
from facecrypt.system.texts import brief

BASE = "base"
_MOST_FILES = 32
"""Most files of one recipe."""


@dataclass(frozen=True)
class Composed:
    """A recipe without its bases.

    Attributes:
        values: Its keys, those of its bases under them; interpolations are unresolved.
        files: The files of its bases.
        spellings: The places of keys that are spelt in groups, by their flat keys.
    """

    values: dict[str, Node]
    files: list[Path] = field(default_factory=list)
    spellings: dict[str, str] = field(default_factory=dict)


def read_composed(source: str) -> Composed:
    """Return a recipe file laid over its bases.

    Args:
        source: The file.

    Raises:
        RecipeError: If a file cannot be read, there is no such base, or a recipe is based on itself.
    """
    return compose(read_file(source, "recipe"), source, Path(source).parent, (Path(source),))


def compose(
    values: Mapping[str, Node], source: str, folder: Path, above: tuple[Path, ...] = (), below: Node = None
) -> Composed:
    """Return the keys of a recipe laid over those of its bases.

    Args:
        values: The keys, ``base`` among them.
        source: Where they come from, for the error message.
        folder: What the paths of bases are relative to.
        above: The files that led here, the recipe's own the last.
        below: The key ``method`` of bases that come before it in a list.

    Raises:
        RecipeError: As for `read_composed`.
    """
    merged: dict[str, Node] = {}
    files: list[Path] = []
    spellings: dict[str, str] = {}
    for name in _names(values.get(BASE), source):
        path = _find(name, source, folder)
        if any(_is_same(path, other) for other in above):
            way = " -> ".join(str(other) for other in (*above, path))
            raise RecipeError(source, [f"base: leads back to itself, by {way}. Take one of these out."])
        base = compose(
            read_file(str(path), "base"), str(path), path.parent, (*above, path), merged.get("method", below)
        )
        files += [path, *base.files]
        if len(files) + len(above) > _MOST_FILES:
            raise RecipeError(source, [f"base: the recipe is made of more than {_MOST_FILES} files. Use fewer."])
        merged = _lay_over(merged, base.values)
        spellings |= base.spellings
    # Whose arguments it gives, and which of them are keys, is known by the bases alone where it names no method itself.
    below = merged.get("method", below)
    own, faults = flatten({key: value for key, value in values.items() if key != BASE}, below)
    if faults:
        raise RecipeError(source, at_most(faults))
    return Composed(_lay_over(merged, own), files, spellings | find_spellings(values, below))


def _lay_over(base: Mapping[str, Node], own: Mapping[str, Node]) -> dict[str, Node]:
    return merge(spell_out(give_way(base, own), own), spell_out(own, base))


def _names(node: Node, source: str) -> Sequence[str]:
    given = node if isinstance(node, list | tuple) else [node]
    texts = [each.text if isinstance(each, Scalar) and each.value is not None else each for each in given]
    texts = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in texts]
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return []
    if faulty := [each for each in texts if not isinstance(each, str)]:
        kind = "a mapping" if isinstance(faulty[0], dict) else "no text"
        raise RecipeError(
            source, [f"base: {kind} is no base. Give the name of a shipped recipe or the path of a file, or a list."]
        )
    return texts


def _find(name: str, source: str, folder: Path) -> Path:
    if name.endswith(SUFFIXES):
        path = folder / expand_home(name)
        if fault := path_fault(name):
            raise RecipeError(source, [f"base: {fault}"])
        if not path.exists():
            raise RecipeError(source, [f"base: there is no file {path}. A path is relative to the file that names it."])
        return path
    known = shipped_names()
    if name not in known:
        raise RecipeError(
            source,
            [
                f"base: no recipe {brief(name)} comes with facecrypt.{suggest(name, known)} Known: {', '.join(known)}. "
                "The path of a file ends in .yaml."
            ],
        )
    return shipped_recipe(name)


def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
