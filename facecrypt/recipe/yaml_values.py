r"""YAML as recipes use it: read within bounds and running nothing, and written so that reading it gives the same.

A scalar is kept as it was typed beside what YAML makes of it: where a recipe wants a text, such as a path, ``2024`` and
``no`` are the texts that they look like (`facecrypt.recipe.key_types`). Of YAML's tags, those of plain values are
known. A key is a text that stands once in its mapping; anchors, aliases and merge keys work as far as the result stays
small.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import yaml
from yaml import events as ev
from yaml.nodes import ScalarNode

from facecrypt.system.texts import brief, has_surrogates, is_shown, shield, unshield

LONGEST = 131_072
"""Longest YAML text, in characters: a hundred times a long recipe, and read in a second."""
DEEPEST = 40
"""Most mappings and lists inside each other."""
MOST = 20_000
"""Most values of one text, with those that aliases repeat."""

_TAG = "tag:yaml.org,2002:"
_LARGEST = 3.4e38
"""Largest number that computations in single precision can hold."""


class YamlError(ValueError):
    """A text is no YAML that recipes use; the message says where and why."""


@dataclass(frozen=True)
class Scalar:
    """A text, number, truth value or null of a YAML text.

    Attributes:
        text: What was typed.
        value: What YAML makes of it.
        fault: Why it has no value: it is a number out of range.
        verbatim: Whether ``${`` in it stands for itself.
        origin: The file and line that it comes from; empty for what no file says. Plays no part in a comparison.
    """

    text: str
    value: str | int | float | bool | None
    fault: str = ""
    verbatim: bool = False
    origin: str = field(default="", compare=False, repr=False)


class EmptyList(list[Any]):
    """A list in which nothing stands, which has no `Scalar` to tell where it comes from."""

    origin = ""


class EmptyMapping(dict[str, Any]):
    """A mapping in which nothing stands."""

    origin = ""


Node = Any
"""A `Scalar`, a list of nodes, a dict from texts to nodes, or a plain value that Python code gave."""


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _each in (_Loader, _Dumper):  # YAML 1.1 wants a point in 1e-3 to take it for a number; nobody else does.
    _each.add_implicit_resolver(
        f"{_TAG}float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(f"{_TAG}str", text, style=None if _is_plain(text) else '"')
)


def _is_plain(text: str) -> bool:
    return all(is_shown(each) for each in text)


def parse(text: str, source: str = "") -> Node:
    """Return what a YAML text says; None for one that says nothing.

    Args:
        text: The text.
        source: What the origin of each value begins with, as a file; without it, values have none.

    Raises:
        YamlError: If it is too long, too deep, no YAML, or uses what recipes do not.
    """
    return copy_node(_parse(text, source))


@lru_cache(maxsize=32)
def _parse(text: str, source: str) -> Node:
    if len(text) > LONGEST:
        raise YamlError(f"is longer than {LONGEST} characters")
    return _Builder(text, source).document()


def copy_node(node: Node) -> Node:
    """Return a copy in which nothing is shared but what cannot change."""
    if isinstance(node, EmptyList | EmptyMapping) and not node:
        copy = type(node)()
        copy.origin = node.origin
        return copy
    if isinstance(node, dict):
        return {key: copy_node(value) for key, value in node.items()}
    return [copy_node(each) for each in node] if isinstance(node, list) else node


def number_fault(value: object) -> str:
    """Return why a number is none that a recipe can have, or nothing; other values are left alone."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**63 else "whole numbers have at most 64 bits"
    if not math.isfinite(value):
        return "numbers are finite"
    return "" if abs(value) <= _LARGEST else f"numbers are at most {_LARGEST:g}, as single precision holds them"


class _Builder:
    """Makes nodes of a YAML text."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        # Bytes that are no UTF-8 occur in overrides alone; a file would hold them as escapes.
        self._restore = unshield if has_surrogates(text) else str
        self._events = _read_events(shield(text) if has_surrogates(text) else text)
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self) -> Node:
        next(self._events)
        if isinstance(next(self._events), ev.StreamEndEvent):
            return None
        node = self._node(next(self._events), 0)
        next(self._events)
        following = next(self._events)
        if not isinstance(following, ev.StreamEndEvent):
            raise _fault(following, "a second document begins; a recipe is one")
        return node

    def _node(self, event: Any, depth: int) -> Node:
        self._count_up(event)
        if isinstance(event, ev.AliasEvent):
            return self._repeat(event, depth)
        tag = None if event.tag == "!" else event.tag
        anchor = event.anchor
        if anchor is not None:
            self._anchors.pop(anchor, None)  # Until it is complete, nothing may repeat it.
        if isinstance(event, ev.ScalarEvent):
            node = _scalar(event, tag, self._restore(event.value), self._origin(event))
        elif depth >= DEEPEST:
            raise _fault(event, f"is nested deeper than {DEEPEST} levels")
        elif isinstance(event, ev.SequenceStartEvent):
            _check_tag(event, tag, "seq")
            node = self._list(depth) or self._empty(EmptyList(), event)
        else:
            _check_tag(event, tag, "map")
            node = self._mapping(depth) or self._empty(EmptyMapping(), event)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _origin(self, event: Any) -> str:
        return f"{self._source}:{event.start_mark.line + 1}" if self._source else ""

    def _empty(self, node: EmptyList | EmptyMapping, event: Any) -> Node:
        node.origin = self._origin(event)
        return node

    def _list(self, depth: int) -> Node:
        items = []
        while not isinstance(event := next(self._events), ev.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> Node:
        own: dict[str, Node] = {}
        merged: list[dict[str, Node]] = []
        while not isinstance(event := next(self._events), ev.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise _fault(event, "a key is one text, no list or mapping. Quote a text that begins with { or [")
            value = self._node(next(self._events), depth + 1)
            if key.text == "<<" and event.implicit[0]:
                merged += self._merged(event, value)
            elif key.text in own:
                raise _fault(event, f"the key {brief(key.text)} stands here twice. Keep one of them")
            else:
                own[key.text] = value
        for other in merged:  # The first one that has a key gives its value, after the mapping itself.
            own = {**other, **own}
        return own

    def _merged(self, event: Any, value: Node) -> list[dict[str, Node]]:
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in mappings):
            raise _fault(event, "'<<' takes in a mapping, or a list of mappings")
        return mappings

    def _repeat(self, event: Any, depth: int) -> Node:
        if event.anchor not in self._anchors:
            raise _fault(event, f"no complete value is called &{event.anchor}. Quote a text that begins with *")
        return self._copy(event, self._anchors[event.anchor], depth)

    def _copy(self, event: Any, node: Node, depth: int) -> Node:
        if isinstance(node, Scalar):
            return node
        if depth >= DEEPEST:
            raise _fault(event, f"is nested deeper than {DEEPEST} levels")
        children = node.values() if isinstance(node, dict) else node
        copies = []
        for child in children:
            self._count_up(event)
            copies.append(self._copy(event, child, depth + 1))
        return dict(zip(node, copies, strict=True)) if isinstance(node, dict) else copies

    def _count_up(self, event: Any) -> None:
        self._count += 1
        if self._count > MOST:
            raise _fault(event, f"has more than {MOST} values, with those that aliases repeat")


def _read_events(text: str) -> Iterator[Any]:
    """Give the events of a text one by one, so that what is refused is not read to its end."""
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = brief(chr(int(error.character)))
        raise YamlError(f"line {line}: holds the character {character}, which YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        hint = "Quote a text that holds one of : # & * ! | > % @ ` { } [ ] , ' \""
        raise YamlError(f"{where}{' '.join(str(error.problem).split())}. {hint}") from error
    except (ValueError, OverflowError) as error:  # An escape of a character, or a version, beyond all bounds.
        raise YamlError(f"holds an escape or a version that no YAML has ({brief(str(error))})") from error


def _fault(event: Any, what: str) -> YamlError:
    mark = event.start_mark
    return YamlError(f"line {mark.line + 1}, column {mark.column + 1}: {what}")


def _check_tag(event: Any, tag: str | None, allowed: str) -> None:
    if tag not in (None, _TAG + allowed):
        raise _fault(
            event, f"the tag {_name_tag(tag)} is not allowed. Leave it out, or quote a text that begins with !"
        )


def _name_tag(tag: str | None) -> str:
    return brief((tag or "").replace(_TAG, "!!"))


def _scalar(event: Any, tag: str | None, text: str, origin: str) -> Scalar:
    meant = f"{_TAG}str"
    if event.implicit[0] and event.tag != "!":
        meant = _resolve(text)
    elif tag is not None:
        if tag not in {_TAG + each for each in ("str", "int", "float", "bool", "null")}:
            _check_tag(event, tag, "str")
        meant = _resolve(text)
        if tag == f"{_TAG}str" or (tag == f"{_TAG}float" and meant == f"{_TAG}int"):
            meant = tag
        elif tag != meant:
            raise _fault(event, f"{brief(text)} is no {_name_tag(tag)}. Leave the tag out, or mend the value")
    return replace(_convert(text, meant), origin=origin)


def read_scalar(text: str) -> Scalar:
    """Return a text as YAML takes it where it stands alone and unquoted; nothing in it is an interpolation."""
    scalar = _convert(text, _resolve(text))
    return Scalar(scalar.text, scalar.value, scalar.fault, verbatim=True)


def _resolve(text: str) -> str:
    tag = _RESOLVER.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    # Dates and "=" are texts here: no key has such a value.
    known = {_TAG + each for each in ("int", "float", "bool", "null")}
    return tag if tag in known else f"{_TAG}str"


_RESOLVER = _Loader("")
_CONVERTERS = {"int": _RESOLVER.construct_yaml_int, "float": _RESOLVER.construct_yaml_float}
_MOST_DIGITS = 400


def _convert(text: str, tag: str) -> Scalar:
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return Scalar(text, None)
    if kind == "bool":
        return Scalar(text, _RESOLVER.bool_values[text.lower()])
    if kind == "str":
        return Scalar(text, text)
    if len(text) > _MOST_DIGITS:
        return Scalar(text, None, f"numbers have at most {_MOST_DIGITS} characters")
    try:
        value = _CONVERTERS[kind](ScalarNode(tag, text))
    except (ValueError, OverflowError, IndexError):  # YAML's patterns of numbers also match "0x_" and "._".
        return Scalar(text, None, "it is no number")
    return Scalar(text, value, number_fault(value))


def dump(values: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """Return plain values as YAML that `parse` reads as the same, and that holds no character which is not seen.

    Args:
        values: Texts, numbers, truth values, None, and lists and mappings of them.
        ascii_only: Write characters beyond ASCII as escapes, for whoever does not read UTF-8.
    """
    text: str = yaml.dump(
        dict(values),
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=not ascii_only,
        sort_keys=False,
        width=sys.maxsize,
    )
    # All others stand between double quotes, where an escape stands for them.
    return "".join(each if each == "\n" or is_shown(each) else _escape(each) for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
