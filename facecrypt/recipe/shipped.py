"""The recipes that come with facecrypt, by their names: ``tipim_plus``, ``baselines/pgd``."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

SUFFIXES = (".yaml", ".yml")


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes: of the installed package, or ``recipes/`` of a checkout."""
    package = Path(str(resources.files("facecrypt")))
    inside = package / "data" / "recipes"  # setup.py puts them there.
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped_names() -> list[str]:
    """Return the names of the shipped recipes, without those of benchmarks."""
    folder = shipped_folder()
    found = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in found if not name.startswith("benchmarks/"))


def shipped_recipe(name: str) -> Path:
    """Return the file of a shipped recipe, whether it exists or not."""
    return shipped_folder() / f"{name}.yaml"


def purpose(name: str) -> str:
    """Return what a shipped recipe is for: the first sentence of the comment that it begins with.

    Args:
        name: One of `shipped_names`.
    """
    comment: list[str] = []
    for line in shipped_recipe(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    text = " ".join(comment)
    return re.split(r"(?<!al)\. (?=[A-Z])", text)[0].rstrip(".")


def find_recipe(given: str) -> str:
    """Return the file that a user means: the one of that name, or else the shipped recipe.

    Args:
        given: What was typed.
    """
    if given.endswith(SUFFIXES) or os.path.lexists(given):
        return given
    return str(shipped_recipe(given)) if given in shipped_names() else given
