"""A recipe written in flat keys, as those of 0.1 are, written in groups, with its comments as far as they can stay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from facecrypt.errors import RecipeError
from facecrypt.recipe.compose import BASE, compose
from facecrypt.recipe.groups import GROUPS, flatten, group, own_arguments
from facecrypt.recipe.names_alone import spell_out
from facecrypt.recipe.yaml_values import Node, Scalar, YamlError, parse

_KEY = re.compile(r"([A-Za-z_]\w*):(?=\s|$)")


@dataclass(frozen=True)
class Migrated:
    """A recipe in groups.

    Attributes:
        text: The file.
        changed: Whether it is another than before.
        comments: Whether all comments are still there.
    """

    text: str
    changed: bool
    comments: bool


def migrate(text: str, source: str) -> Migrated:
    """Return the text of a recipe file with its keys in groups.

    What stands under a key stays as it is written, with the comments before it and in it, wherever the whole of it goes
    to one place.

    Args:
        text: A YAML file.
        source: Its path, for error messages, and for the paths of its bases.

    Raises:
        RecipeError: If it or a base is no recipe that can be read, or a key stands in two places.
    """
    try:
        values = parse(text)
    except YamlError as error:
        raise RecipeError(source, [f"is no YAML: {error}."]) from error
    if not isinstance(values, dict):
        raise RecipeError(source, ["is no mapping of keys to values, so there is nothing to group."])
    bases = {key: value for key, value in values.items() if key == BASE}
    below = compose(bases, source, Path(source).parent, (Path(source),)).values.get("method")
    flat, faults = flatten(values, below)
    if faults:
        raise RecipeError(source, faults)
    grouped = group(flat, own_arguments(flat.get("method"), below))
    if grouped.keys() == values.keys() and grouped == values:
        return Migrated(text, False, True)
    header, blocks = _split(text)
    if blocks is not None and set(blocks) == set(values):
        kept = _Writer(grouped, flat, blocks)
        written = header + kept.write()
        if _means(written, flat, below):
            comments = written.count("#") >= text.count("#")
            return Migrated(written, True, comments)
    written = header + "".join(f"{line}\n" for line in _lines(grouped))
    if not _means(written, flat, below):
        raise RecipeError(
            source, ["cannot be written in groups as it stands. Mend it by hand: facecrypt show --grouped."]
        )
    return Migrated(written, True, written.count("#") >= text.count("#"))


def _means(text: str, flat: dict[str, Node], below: Node) -> bool:
    try:
        values = parse(text)
    except YamlError:
        return False
    if not isinstance(values, dict):
        return False
    read, faults = flatten(values, below)
    return not faults and spell_out(read) == spell_out(flat)


class _Block(NamedTuple):
    """A key with all that stands under it.

    Attributes:
        comments: The lines before it.
        lines: Its own, the first of which begins with the key.
    """

    comments: list[str]
    lines: list[str]


def _split(text: str) -> tuple[str, dict[str, _Block] | None]:
    """Return the comments at the top of a file, and the block of each key; None where it is written in another way."""
    lines = text.lstrip("\ufeff").splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    header = "".join(f"{line}\n" for line in lines[:start])
    blocks: dict[str, _Block] = {}
    waiting: list[str] = []
    current: _Block | None = None
    for line in lines[start:]:
        if key := _KEY.match(line):
            if key[1] in blocks:
                return header, None
            current = blocks[key[1]] = _Block(waiting, [line])
            waiting = []
        elif not line.strip() or line.startswith("#"):
            waiting.append(line)
        elif current is None or not line.startswith((" ", "-", "]", "}")):
            return header, None
        else:
            current.lines.extend((*waiting, line))
            waiting = []
    if current is not None:
        current.lines.extend(waiting)
    return header, blocks


class _Writer:
    """Writes a grouped recipe out of the blocks of a flat one.

    Args:
        grouped: The recipe in groups.
        flat: The same, flat.
        blocks: Of its keys, as they are written.
    """

    def __init__(self, grouped: dict[str, Node], flat: dict[str, Node], blocks: dict[str, _Block]) -> None:
        self._grouped = grouped
        self._flat = flat
        self._blocks = blocks

    def write(self) -> str:
        return "".join(f"{line}\n" for key in self._grouped for line in self._top(key))

    def _top(self, key: str) -> Iterator[str]:
        value, table = self._grouped[key], GROUPS.get(key, {})
        members = [name for name, path in table.items() if "." not in path and path in self._flat]
        written = key in self._blocks and self._block_is(key, value)
        if written or not isinstance(value, dict) or not members:
            yield from self._whole(key, key, value, 0)
            return
        if key in self._blocks and table.get("path") != key and key not in table.values():
            yield from self._blocks[key].comments
        yield f"{key}:"
        if key == "method":
            yield from self._method(value)
            return
        for name, inner in value.items():
            yield from self._whole(name, table.get(name, name), inner, 2)

    def _method(self, value: dict[str, Node]) -> Iterator[str]:
        for name, inner in value.items():
            if name != "args" or not isinstance(inner, dict):
                yield from (f"  {line}" for line in _lines({name: inner}))
                continue
            yield "  args:"
            for argument, each in inner.items():
                yield from self._whole(argument, argument, each, 4)

    def _whole(self, name: str, key: str, value: Node, depth: int) -> Iterator[str]:
        """Give a key with all under it: as its block has it, under another name, or written anew."""
        outer = key.partition(".")[0]
        if self._block_is(key, value):
            block = self._blocks[key]
            lines = [*block.comments, name + block.lines[0].removeprefix(key), *block.lines[1:]]
        else:
            # Its comments go with the first part of what it is split into.
            comments = self._blocks.pop(outer).comments if outer in self._blocks and outer != "method" else []
            lines = [*comments, *_lines({name: value})]
        yield from (f"{' ' * depth}{line}" if line else line for line in lines)

    def _block_is(self, key: str, value: Node) -> bool:
        """Return whether the block of a key says just this."""
        if key not in self._blocks:
            return False
        try:
            return bool(parse("\n".join(self._blocks[key].lines)) == {key: value})
        except YamlError:  # It repeats what an anchor before it names.
            return False


def _lines(values: dict[str, Node], depth: int = 0) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value and depth < _BLOCKS:
            yield f"{'  ' * depth}{key}:"
            yield from _lines(value, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {_flow(value)}"


_BLOCKS = 2
"""Levels of mappings that are written on lines of their own."""


def _flow(node: Node) -> str:
    """Return a node on one line, each value as it was typed."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{_flow(Scalar(key, key))}: {_flow(each)}" for key, each in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(_flow, node)) + "]"
    try:
        if parse(f"[{node.text}]") == [node] and parse(f"{{a: {node.text}}}") == {"a": node}:
            return str(node.text)
    except YamlError:
        pass
    return json.dumps(node.text)
