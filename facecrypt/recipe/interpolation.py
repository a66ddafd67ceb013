r"""Texts in a recipe that stand for the value of another key: ``${steps}``, ``run-${trainer.devices}``, ``${.weight}``.

They are OmegaConf's interpolations, parsed and evaluated by OmegaConf, within bounds of time and memory. A path begins
at the top of the recipe; each point before it goes up one level, so that ``.weight`` is a neighbour. Nothing but the
recipe is read, except for ``${oc.env:NAME}`` and ``${oc.env:NAME,default}`` where that is allowed. ``\${`` is a plain
``${``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from facecrypt.recipe.key_paths import Part, join_key
from facecrypt.recipe.names_alone import spell_word
from facecrypt.recipe.yaml_values import DEEPEST, LONGEST, MOST, Node, Scalar, read_scalar
from facecrypt.system.texts import brief

_OPENING = re.compile(r"(?<!\\)(\\*)\$\{")
_LONGEST_TEXT = 2000
"""Longest text with interpolations, in characters."""
_MOST_OPENINGS = 20
"""Most brackets and braces that such a text opens: OmegaConf's parser calls itself for each."""
_PARSING = 4
"""What a character that is parsed counts for, as against one that is copied."""
_MOST_FRAMES = 500
"""Most calls inside each other, half of what Python allows."""
_FRAMES_INSIDE, _FRAMES_TEXT, _FRAMES_OPENING = 5, 8, 10
"""What a level of lists and mappings takes of them, a text, and each bracket or brace that it opens."""

_Place = tuple[Part, ...]


class _UnresolvedError(Exception):
    pass


class _TooMuchError(Exception):
    pass


class _Found:
    """What an interpolation stands for, as OmegaConf's visitor handles it: here a list or mapping, which is no text."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __str__(self) -> str:
        kind = "list" if isinstance(self.node, list) else "mapping"
        raise _UnresolvedError(f"stands for a {kind} inside a text. Let it be the whole value, or name a key in it.")


class _FoundText(str):
    """The same for a value that has a text."""

    node: Node


def _found(node: Node) -> _Found | _FoundText:
    if isinstance(node, dict | list):
        return _Found(node)
    found = _FoundText(node.text if isinstance(node, Scalar) else node)
    found.node = node
    return found


def escape(text: str) -> str:
    r"""Return a text that stands for this one where interpolations are resolved: ``${`` as ``\${``."""
    return _OPENING.sub(lambda found: found[1] * 2 + "\\${", text)


def escape_all(value: Any) -> Any:
    """Return plain values in which every text stands for itself where interpolations are resolved."""
    if isinstance(value, dict):
        return {key: escape_all(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [escape_all(each) for each in value]
    return escape(value) if isinstance(value, str) else value


def resolve(
    tree: dict[str, Node], allow_env: bool = False, flat: Callable[[Sequence[Part]], Sequence[Part]] = tuple
) -> tuple[dict[str, Node], list[str]]:
    """Return a recipe in which every interpolation is replaced by what it stands for.

    Args:
        tree: The recipe; it does not change.
        allow_env: Whether interpolations may read environment variables.
        flat: Returns where a path leads that leads nowhere as it is spelt.

    Returns:
        The recipe, and one line per interpolation that leads nowhere or is not allowed.
    """
    resolver = _Resolver(tree, allow_env, flat)
    try:
        resolved = resolver.walk(tree, (), ())
    except _TooMuchError as error:
        return tree, [*resolver.faults, str(error)]
    assert isinstance(resolved, dict)
    return resolved, resolver.faults


class _Resolver:
    def __init__(
        self, root: dict[str, Node], allow_env: bool, flat: Callable[[Sequence[Part]], Sequence[Part]]
    ) -> None:
        self._root = root
        self._flat = flat
        self._allow_env = allow_env
        self._steps = self._characters = self._frames = 0
        self._trees: dict[str, Any] = {}
        self.faults: list[str] = []

    def walk(self, node: Node, place: _Place, chain: tuple[_Place, ...]) -> Node:
        """Return a node without interpolations.

        Args:
            node: The node.
            place: Where it stands.
            chain: The places of the references that led here, which it may not lead to again.
        """
        if isinstance(node, dict):
            with self._inside(place, _FRAMES_INSIDE):
                return {key: self.walk(child, (*place, key), chain) for key, child in node.items()}
        if isinstance(node, list):
            with self._inside(place, _FRAMES_INSIDE):
                return [self.walk(child, (*place, index), chain) for index, child in enumerate(node)]
        if not isinstance(node, Scalar) or node.verbatim or "${" not in node.text or node.value != node.text:
            return node
        try:
            return self._expand(node.text, place, chain)
        except _UnresolvedError as error:
            self.faults.append(f"{join_key(place)}: {brief(node.text)}: {error}")
            return Scalar("", None, verbatim=True)

    @contextmanager
    def _inside(self, place: _Place, frames: int) -> Iterator[None]:
        """Refuse what would take more calls inside each other than Python allows."""
        if self._frames + frames > _MOST_FRAMES:
            raise _TooMuchError(
                f"{join_key(place[:3])}: interpolations lead through too many others, or nest values too deep. "
                "Write the value itself."
            )
        self._frames += frames
        try:
            yield
        finally:
            self._frames -= frames

    def _expand(self, text: str, place: _Place, chain: tuple[_Place, ...]) -> Node:
        if all(len(opening[1]) % 2 for opening in _OPENING.finditer(text)):
            plain = _OPENING.sub(lambda opening: "\\" * (len(opening[1]) // 2) + "${", text)
            return Scalar(plain, plain, verbatim=True)
        openings = text.count("{") + text.count("[")
        if len(text) > _LONGEST_TEXT or openings > _MOST_OPENINGS:
            raise _UnresolvedError(
                f"has interpolations, and more than {_LONGEST_TEXT} characters or {_MOST_OPENINGS} of {{ and [. "
                "Write \\${ for a plain ${."
            )
        self._count(place, _PARSING * len(text), openings)
        from facecrypt.recipe.grammar import GrammarError, evaluate, parse

        def look_up(up: int, parts: tuple[str, ...]) -> object:
            return _found(self._look_up(up, parts, place, chain))

        with self._inside(place, _FRAMES_TEXT + openings * _FRAMES_OPENING):
            try:
                if text not in self._trees:
                    self._trees[text] = parse(text)
                found = evaluate(self._trees[text], look_up, self._call)
            except GrammarError as error:
                raise _UnresolvedError(
                    f"is no interpolation: {brief(str(error))}. Write ${{steps}}, ${{trainer.devices}}, or \\${{ for a "
                    "plain ${."
                ) from None
        if isinstance(found, _Found | _FoundText):
            return found.node
        self._count(place, len(found))
        return Scalar(found, found, verbatim=True)

    def _look_up(self, up: int, parts: Sequence[str], place: _Place, chain: tuple[_Place, ...]) -> Node:
        if not 0 < len(parts) <= DEEPEST or sum(map(len, parts)) > _LONGEST_TEXT:
            raise _UnresolvedError("names no key. Write ${steps}, ${trainer.devices}, or \\${ for a plain ${.")
        if up > len(place):
            raise _UnresolvedError("leads out of the recipe. Take away points.")
        target = (*(place[:-up] if up else ()), *map(_part, parts))
        if not _leads_somewhere(self._root, target):
            target = tuple(self._flat(target))
        if target in chain:
            raise _UnresolvedError(f"leads back to itself, by {' -> '.join(map(join_key, (*chain, target)))}.")
        self._count(place, 0)
        chain = (*chain, target)
        found = self.walk(self._find(target, chain), target, chain)
        self._count(place, len(found.text) if isinstance(found, Scalar) else 0, _size(found))
        return found

    def _find(self, target: _Place, chain: tuple[_Place, ...]) -> Node:
        node: Node = self._root
        for depth, part in enumerate(target):
            if isinstance(node, Scalar):  # It may itself stand for a mapping or a list.
                node = self.walk(node, target[:depth], chain)
            node = spell_word(target[:depth], node)
            if isinstance(node, dict) and str(part) in node:
                node = node[str(part)]
            elif isinstance(node, list) and isinstance(part, int) and part < len(node):
                node = node[part]
            else:
                raise _UnresolvedError(f"there is no {join_key(target[: depth + 1])} in the recipe.")
        return node

    def _call(self, name: str, args: Sequence[Any], written: Sequence[str]) -> _FoundText:
        if name != "oc.env":
            raise _UnresolvedError(
                "calls a function, which recipes do not. Write the value, or the key that has it: ${steps}."
            )
        if not self._allow_env:
            raise _UnresolvedError("reads the environment. Write the value, or allow it by the option --allow-env.")
        if not 1 <= len(args) <= 2 or not all(isinstance(each, str | int | float | None) for each in args):
            raise _UnresolvedError(
                "reads the environment, which takes one name, and one default that has quotes around a comma: "
                "${oc.env:NAME,'a, b'}."
            )
        variable, *default = [arg if isinstance(arg, str) else text for arg, text in zip(args, written, strict=True)]
        value = os.environ.get(variable, *default)
        if value is None:
            raise _UnresolvedError(
                f"the environment has no {brief(variable)}. Set it, or give a default: ${{oc.env:NAME,default}}."
            )
        found = _found(read_scalar(value))
        assert isinstance(found, _FoundText)
        return found

    def _count(self, place: _Place, characters: int, nodes: int = 1) -> None:
        self._steps += nodes
        self._characters += characters
        if self._steps > MOST or self._characters > LONGEST:
            raise _TooMuchError(
                f"{join_key(place)}: interpolations add up to more than {MOST} values or {LONGEST} characters. "
                "Write shorter ones."
            )


def _leads_somewhere(node: Node, target: _Place) -> bool:
    for part in target:
        if isinstance(node, Scalar) and "${" in node.text:
            return True  # To what it stands for.
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _part(text: str) -> Part:
    return int(text) if text.isascii() and text.isdecimal() and text == str(int(text[:9])) else text


def _size(node: Any) -> int:
    """Return the number of values in a node."""
    if isinstance(node, dict):
        return 1 + sum(map(_size, node.values()))
    return 1 + sum(map(_size, node)) if isinstance(node, list) else 1
