"""Where each value of a recipe comes from: a default, a preset, a line of a file, or an override."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from facecrypt.recipe import interpolation
from facecrypt.recipe.key_paths import Part
from facecrypt.recipe.presets import KEYS, WHOLE, load_presets
from facecrypt.recipe.yaml_values import EmptyList, EmptyMapping, Node, Scalar, dump, parse
from facecrypt.system.texts import plain

_Path = tuple[Part, ...]
_FARTHEST = 60
"""Column beyond which comments are not aligned."""


def find_origins(values: Mapping[str, Any], tree: Mapping[str, Node]) -> dict[str, Any]:
    """Return the values of a recipe with the origin of each in its place.

    Args:
        values: A checked recipe, every default filled in.
        tree: What its files and the overrides say, before interpolations are resolved and presets filled in.
    """
    said = {path: _said(node) for path, node in _leaves(tree)}
    tell = _Teller(values, said)
    return {key: _map(value, (key,), tell.origin) for key, value in values.items()}


def annotate(values: Mapping[str, Any], origins: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """Return values as YAML with the origin of each as a comment.

    Args:
        values: Plain values.
        origins: The same mappings and lists, with the origin in place of each value.
        ascii_only: Write characters beyond ASCII as escapes.
    """
    lines = dump(interpolation.escape_all(dict(values)), ascii_only=ascii_only).splitlines()
    comments = {}
    for path, node in _leaves(parse("\n".join(lines), "line")):
        origin: Any = origins
        for part in path:
            origin = origin[part]
        comments[int(node.origin.rpartition(":")[2]) - 1] = plain(origin)
    width = min(_FARTHEST, max((len(lines[number]) for number in comments), default=0))
    for number, comment in comments.items():
        lines[number] = f"{lines[number]:{width}}  # {comment}"
    text = "\n".join(lines) + "\n"
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _said(node: Node) -> str:
    if isinstance(node, Scalar | EmptyList | EmptyMapping):
        return node.origin or "override"
    return "override" if node is None else ""  # Else it stands for a preset that an override names.


def _leaves(node: Node, path: _Path = ()) -> Iterator[tuple[_Path, Node]]:
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(node, list | tuple) and node:
        for index, child in enumerate(node):
            yield from _leaves(child, (*path, index))
    else:
        yield path, node


def _map(value: Any, path: _Path, leaf: Callable[[_Path], str]) -> Any:
    if isinstance(value, dict) and value:
        return {key: _map(child, (*path, key), leaf) for key, child in value.items()}
    if isinstance(value, list | tuple) and value:
        return [_map(child, (*path, index), leaf) for index, child in enumerate(value)]
    return leaf(path)


class _Teller:
    def __init__(self, values: Mapping[str, Any], said: Mapping[_Path, str]) -> None:
        self._values = values
        self._said = said
        strongest = list(load_presets())[-1]
        self._preset = values.get("preset") or (strongest if values.get("protect") is not None else None)

    def origin(self, path: _Path) -> str:
        above = [path[:length] for length in range(len(path), 0, -1)]
        if (found := self._said.get(path)) or (path[0] in WHOLE and self._is_said(path[0])):
            return found or "default"
        if name := self._level(path):
            return f"preset {name}"
        if found := next((self._said[each] for each in above if self._said.get(each)), ""):
            return found
        values: Any = load_presets().get(str(self._preset), {}) if path[0] in KEYS else {}
        for part in path:
            try:
                values = values[part]
            except (KeyError, IndexError, TypeError):
                return "default"
        return f"preset {self._preset}"

    def _is_said(self, key: Part) -> bool:
        return any(path[0] == key and origin for path, origin in self._said.items())

    def _level(self, path: _Path) -> str:
        """Return the preset of the level that a path leads into; nothing elsewhere."""
        start = path.index("levels") + 2 if "levels" in path[:2] else len(path)
        if len(path) <= start:
            return ""
        level: Any = self._values
        for part in path[:start]:
            level = level[part]
        return str(level.get("preset") or "")
