"""``facecrypt new plugin``: the files of a plugin with one component, to be changed into something."""

from __future__ import annotations

import ast
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from facecrypt.errors import FacecryptError
from facecrypt.registry import API_VERSION

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_COMPONENT = re.compile(r"(\w+)-(\w+)\.py\.in")
"""A file with a component: its kind and its name."""

_JUDGED = "surrogates: [{name: sface}]\nheld_out: [{name: dlib_resnet, optional: true}]\n"
_RECIPES = {
    "surrogate": "surrogates: [{name: @COMPONENT@}]\nheld_out: [{name: sface, optional: true}]",
    "naturalness": _JUDGED + "naturalness: [{name: @COMPONENT@, weight: 10}]",
    "view": _JUDGED + "views: [{name: @COMPONENT@}]",
    "transform": _JUDGED + "receipt: {transforms: [@COMPONENT@]}",
    "judge": "surrogates: [{name: sface}]\nheld_out: [{name: @COMPONENT@, enrol: album}]",
    "detector": _JUDGED + "detector: {name: @COMPONENT@}",
    "source": _JUDGED + "source: {name: @COMPONENT@}\nphotos: album",
}
"""How a recipe names a component, where that is not simply by the key of its kind."""


def template_kinds() -> list[str]:
    """Return the kinds of which a plugin can be begun."""
    return sorted(_components())


def _folder() -> Traversable:
    return resources.files("facecrypt") / "data" / "plugin"


def _components() -> dict[str, str]:
    found = [_COMPONENT.fullmatch(each.name) for each in _folder().iterdir()]
    return {match[1]: match[2] for match in found if match}


def write_plugin(name: str, folder: Path, kind: str = "naturalness") -> Path:
    """Write a package with one component, its test and its entry point.

    Args:
        name: Of the package, in small letters, digits and hyphens.
        folder: Where its own folder is made.
        kind: Of the component, one of `template_kinds`.

    Returns:
        That folder.

    Raises:
        FacecryptError: If it is no such name, or the folder is there already.
    """
    from facecrypt.photos.files import write_bytes

    if not _NAME.fullmatch(name):
        raise FacecryptError(
            f"new plugin: {name!r} is no name of a package. Use small letters, digits and hyphens, beginning with a "
            "letter: facecrypt-mine."
        )
    made = folder / name
    if made.exists():
        raise FacecryptError(f"new plugin: {made} is there already. Choose another name, or another --folder.")
    package, component = name.replace("-", "_"), _components()[kind]
    source = f"{kind}-{component}.py.in"
    attribute, summary = _describe((_folder() / source).read_text(encoding="utf-8"))
    filled = {
        "RECIPE": _RECIPES.get(kind, f"{_JUDGED}{kind}: {{name: @COMPONENT@}}"),
        "NAME": name,
        "PACKAGE": package,
        "API": str(API_VERSION),
        "KIND": kind,
        "WORDS": {"naturalness": "naturalness term", "gradient": "gradient component"}.get(
            kind, kind.replace("_", " ")
        ),
        "COMPONENT": component,
        "ATTRIBUTE": attribute,
        "SUMMARY": summary,
        "IMPORTS": "from facecrypt.pipeline.runner import sample_photo\n" if kind == "source" else "",
        "GIVEN": ", photos=str(sample_photo().parent)" if kind == "source" else "",
    }
    for origin, destination in (
        ("pyproject.toml.in", "pyproject.toml"),
        ("README.md.in", "README.md"),
        ("init.py.in", f"{package}/__init__.py"),
        (source, f"{package}/{component}.py"),
        ("test.py.in", f"tests/test_{component}.py"),
        ("recipe.yaml.in", "recipe.yaml"),
    ):
        text = (_folder() / origin).read_text(encoding="utf-8")
        for word, value in filled.items():
            text = text.replace(f"@{word}@", value)
        write_bytes(text.encode(), made / destination)
    return made


def _describe(source: str) -> tuple[str, str]:
    """Return what of a module makes the component, the last class or function in it, and what it says of itself."""
    last = ast.parse(source).body[-1]
    assert isinstance(last, ast.ClassDef | ast.FunctionDef)
    said = (ast.get_docstring(last) or "").splitlines()[0].rstrip(".").removeprefix("Return ")
    return last.name, said[0].lower() + said[1:]
