r"""Texts in a recipe that stand for the value of another key: ``${steps}``, ``run-${trainer.devices}``, ``${.weight}``.

A path begins at the top of the recipe; each point before it goes up one level, so that ``.weight`` is a neighbour.
Nothing but the recipe is read, except for ``${oc.env:NAME}`` and ``${oc.env:NAME,default}`` where that is allowed.
``\${`` is a plain ``${``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from facecrypt.key_paths import Part, join_key, split_key
from facecrypt.texts import brief
from facecrypt.yaml_values import DEEPEST, LONGEST, MOST, Node, Scalar, read_scalar

_OPENING = re.compile(r"(?<!\\)(\\*)\$\{")
_CLOSED = re.compile(r"([^{}$]*)\}")
_REFERENCE = re.compile(r"(\.*)([^.:,\s][^:,]*)")
_ENVIRONMENT = re.compile(r"oc\.env:([^,]+)(?:,(.*))?", re.DOTALL)
_LONGEST_CHAIN = 40

_Place = tuple[Part, ...]


class _UnresolvedError(ValueError):
    pass


class _TooMuchError(Exception):
    pass


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


def resolve(tree: dict[str, Node], allow_env: bool = False) -> tuple[dict[str, Node], list[str]]:
    """Return a recipe in which every interpolation is replaced by what it stands for.

    Args:
        tree: The recipe; it does not change.
        allow_env: Whether interpolations may read environment variables.

    Returns:
        The recipe, and one line per interpolation that leads nowhere or is not allowed.
    """
    resolver = _Resolver(tree, allow_env)
    try:
        resolved = resolver.walk(tree, (), ())
    except _TooMuchError as error:
        return tree, [*resolver.faults, str(error)]
    assert isinstance(resolved, dict)
    return resolved, resolver.faults


class _Resolver:
    def __init__(self, root: dict[str, Node], allow_env: bool) -> None:
        self._root = root
        self._allow_env = allow_env
        self._steps = self._characters = 0
        self.faults: list[str] = []

    def walk(self, node: Node, place: _Place, chain: tuple[_Place, ...]) -> Node:
        """Return a node without interpolations.

        Args:
            node: The node.
            place: Where it stands.
            chain: The places of the references that led here, which it may not lead to again.
        """
        if isinstance(node, dict):
            return {key: self.walk(child, self._inside(place, key), chain) for key, child in node.items()}
        if isinstance(node, list):
            return [self.walk(child, self._inside(place, index), chain) for index, child in enumerate(node)]
        if not isinstance(node, Scalar) or node.verbatim or "${" not in node.text or node.value != node.text:
            return node
        try:
            return self._expand(node.text, place, chain)
        except _UnresolvedError as error:
            self.faults.append(f"{join_key(place)}: {brief(node.text)}: {error}")
            return Scalar("", None, verbatim=True)

    def _inside(self, place: _Place, part: Part) -> _Place:
        if len(place) >= 2 * DEEPEST:
            raise _TooMuchError(f"{join_key(place[:3])}: interpolations nest values deeper than {2 * DEEPEST} levels.")
        return *place, part

    def _expand(self, text: str, place: _Place, chain: tuple[_Place, ...]) -> Node:
        done, start = "", 0
        while opening := _OPENING.search(text, start):
            slashes = len(opening[1])
            done += text[start : opening.start()] + "\\" * (slashes // 2)
            if slashes % 2:
                done, start = done + "${", opening.end()
                continue
            closed = _CLOSED.match(text, opening.end())
            if not closed:
                raise _UnresolvedError("is not closed by '}', or has another inside. Write \\${ for a plain ${.")
            node = self._look_up(closed[1], place, chain)
            start = closed.end()
            if start == len(text) and not done:
                return node
            if not isinstance(node, Scalar):
                if isinstance(node, dict | list):
                    raise _UnresolvedError(
                        f"{brief(closed[1])} is a {'list' if isinstance(node, list) else 'mapping'}, no text."
                    )
                node = Scalar(str(node), node)
            done += node.text
            self._count(place, len(done))
        return Scalar(done + text[start:], done + text[start:], verbatim=True)

    def _look_up(self, content: str, place: _Place, chain: tuple[_Place, ...]) -> Node:
        if environment := _ENVIRONMENT.fullmatch(content):
            return self._environment(environment[1].strip(), environment[2])
        if ":" in content:
            raise _UnresolvedError(
                "calls a function, which recipes do not. Write the value, or the key that has it: ${steps}."
            )
        reference = _REFERENCE.fullmatch(content.strip())
        if not reference:
            raise _UnresolvedError("names no key. Write ${steps}, ${trainer.devices}, or \\${ for a plain ${.")
        up, path = len(reference[1]), reference[2]
        if up > len(place):
            raise _UnresolvedError("leads out of the recipe. Take away points.")
        try:
            target = (*(place[:-up] if up else ()), *split_key(path))
        except ValueError:
            raise _UnresolvedError(
                "names no key. Write ${steps}, ${trainer.devices}, or \\${ for a plain ${."
            ) from None
        if target in chain:
            raise _UnresolvedError(f"leads back to itself, by {' -> '.join(map(join_key, (*chain, target)))}.")
        if len(chain) >= _LONGEST_CHAIN:
            raise _UnresolvedError(f"leads through more than {_LONGEST_CHAIN} others.")
        self._count(place, 0)
        chain = (*chain, target)
        found = self.walk(self._find(target, chain), target, chain)
        self._count(place, 0, _size(found))
        return found

    def _find(self, target: Sequence[Part], chain: tuple[_Place, ...]) -> Node:
        node: Node = self._root
        for depth, part in enumerate(target):
            if isinstance(node, Scalar):  # It may itself stand for a mapping or a list.
                node = self.walk(node, tuple(target[:depth]), chain)
            inside = part in node if isinstance(node, dict) else isinstance(node, list) and _is_index(part, node)
            if not inside:
                raise _UnresolvedError(f"there is no {join_key(target[: depth + 1])} in the recipe.")
            node = node[part]
        return node

    def _environment(self, name: str, default: str | None) -> Scalar:
        if not self._allow_env:
            raise _UnresolvedError("reads the environment. Write the value, or allow it by the option --allow-env.")
        value = os.environ.get(name, default)
        if value is None:
            raise _UnresolvedError(
                f"the environment has no {brief(name)}. Set it, or give a default: ${{oc.env:NAME,default}}."
            )
        return read_scalar(value)

    def _count(self, place: _Place, characters: int, nodes: int = 1) -> None:
        self._steps += nodes
        self._characters += characters
        if self._steps > MOST or self._characters > LONGEST:
            raise _TooMuchError(
                f"{join_key(place)}: interpolations add up to more than {MOST} values or {LONGEST} characters. "
                "Write shorter ones."
            )


def _is_index(part: Part, items: Sequence[Node]) -> bool:
    return isinstance(part, int) and part < len(items)


def _size(node: Any) -> int:
    """Return the number of values in a node."""
    if isinstance(node, dict):
        return 1 + sum(map(_size, node.values()))
    return 1 + sum(map(_size, node)) if isinstance(node, list) else 1
