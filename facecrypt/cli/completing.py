"""What a shell offers while a command is typed: commands, recipes, keys, names of components, and files.

Keys and components come from a file that docs/generate.py writes, since the classes that define them take longer to
import than anybody waits for a completion; components of plugins are not among them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from importlib import resources
from typing import Any

from facecrypt.recipe.shipped import SUFFIXES, shipped_names
from facecrypt.system.naming import FORMATS, expand_home


def complete_shipped(prefix: str, **_: Any) -> list[str]:
    """Return recipes that come with facecrypt."""
    return [name for name in shipped_names() if name.startswith(prefix)]


def complete_recipes(prefix: str, **_: Any) -> list[str]:
    """Return recipes: those that come with facecrypt, and files."""
    return [*complete_shipped(prefix), *_files(prefix, SUFFIXES)]


def complete_keys(prefix: str, **_: Any) -> list[str]:
    """Return keys of recipes with an equals sign, or values of a key that is typed already."""
    known = _known()
    key, equals, start = prefix.partition("=")
    if equals:
        return [f"{key}={value}" for value in known.get(key.rstrip(":"), ()) if value.startswith(start)]
    # The keys inside a key are offered when it is typed, or there would be too many to read.
    return [f"{name}=" for name in known if name.startswith(key) and name.count(".") <= key.count(".")]


def complete_words(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return what the command run takes: photos, folders, recipes and keys."""
    shipped = [name for name in complete_shipped(prefix) if "/" in prefix or "/" not in name or prefix]
    return [*_files(prefix, (*FORMATS, *SUFFIXES)), *shipped, *(complete_keys(prefix) if prefix else ())]


def _known() -> dict[str, list[str]]:
    """Return the keys of recipes, each with the values that it may have, where they can be counted."""
    text = (resources.files("facecrypt") / "data" / "completion.json").read_text(encoding="utf-8")
    known: dict[str, list[str]] = json.loads(text)
    return known


def _files(prefix: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield folders, and files that end in one of some suffixes."""
    folder, name = os.path.split(prefix)
    try:
        with os.scandir(expand_home(folder)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                yield f"{path}/"
            elif entry.name.lower().endswith(suffixes):
                yield path
