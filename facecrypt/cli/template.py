"""``facecrypt new plugin``: the files of a plugin with one component, to be changed into something."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from facecrypt.errors import FacecryptError
from facecrypt.photos.files import write_bytes
from facecrypt.registry import API_VERSION

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(name: str, folder: Path) -> Path:
    """Write a package with one component, its test and its entry point.

    Args:
        name: Of the package, in small letters, digits and hyphens.
        folder: Where its own folder is made.

    Returns:
        That folder.

    Raises:
        FacecryptError: If it is no such name, or the folder is there already.
    """
    if not _NAME.fullmatch(name):
        raise FacecryptError(
            f"new plugin: {name!r} is no name of a package. Use small letters, digits and hyphens, beginning with a "
            "letter: facecrypt-mine."
        )
    made = folder / name
    if made.exists():
        raise FacecryptError(f"new plugin: {made} is there already. Choose another name, or another --folder.")
    package = name.replace("-", "_")
    filled = {"NAME": name, "PACKAGE": package, "API": str(API_VERSION)}
    template = resources.files("facecrypt") / "data" / "plugin"
    for source, destination in (
        ("pyproject.toml.in", "pyproject.toml"),
        ("README.md.in", "README.md"),
        ("init.py.in", f"{package}/__init__.py"),
        ("component.py.in", f"{package}/mean_square.py"),
        ("test.py.in", "tests/test_mean_square.py"),
        ("recipe.yaml.in", "recipe.yaml"),
    ):
        text = (template / source).read_text(encoding="utf-8")
        for word, value in filled.items():
            text = text.replace(f"@{word}@", value)
        write_bytes(text.encode(), made / destination)
    return made
