"""What the keys of a recipe hold, by its dataclasses and the components' signatures: texts, or what YAML makes of them.

Where a key holds a text, such as a path, the text is meant that was typed: ``2024``, ``no`` and ``album/#2`` are files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from facecrypt import registry
from facecrypt.errors import FacecryptError
from facecrypt.recipe.key_paths import Part, join_key
from facecrypt.recipe.names_alone import spell_out
from facecrypt.recipe.overrides import Typed, override_fault
from facecrypt.recipe.yaml_values import Node, Scalar, number_fault
from facecrypt.registry import Kinds
from facecrypt.system.naming import path_fault
from facecrypt.system.texts import Text, brief


class _WholeRecipe:
    """Marks a mapping whose keys are those of the whole recipe."""


WHOLE_RECIPE = _WholeRecipe()


@dataclass(frozen=True)
class Schema:
    """What a kind of file may say.

    Attributes:
        owner: The dataclass of the whole file.
        parts: The dataclasses of those keys, at any depth, that hold mappings or lists of mappings.
        kinds: The keys that name components, at any depth, and the kind of each, or several of which it may be one.
        flat: Returns the key that a key path means, where the file knows other spellings.
    """

    owner: type
    parts: Mapping[str, type]
    kinds: Mapping[str, Kinds]
    flat: Callable[[Sequence[Part]], Sequence[Part]] = tuple


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a component."""

    types: Mapping[str, Any]


def settle_overrides(tree: dict[str, Node], schema: Schema) -> list[str]:
    """Decide in a tree what every override means, a text or YAML; return one line per override that is no YAML.

    Args:
        tree: The keys of a file, which change.
        schema: What the file may say.
    """
    faults: list[str] = []

    def settle(node: Node, annotation: Any, place: tuple[Part, ...]) -> Node:
        if isinstance(node, Typed):
            try:
                node = _settle(node, annotation)
            except ValueError as error:
                faults.append(override_fault(node.override, error))
                return None
        for part, child, kind in list(_children(node, annotation, place, schema)):
            node[part] = settle(child, kind, (*place, part))
        return node

    settle(tree, schema.owner, ())
    return faults


def _settle(typed: Typed, annotation: Any) -> Node:
    if _text_of(annotation):
        return Scalar(typed.text, typed.text, verbatim=True)
    item = _item_of(annotation)
    if item is not None and _text_of(item) and not (typed.text.startswith("[") and typed.text.endswith("]")):
        return Scalar(typed.text, typed.text, verbatim=True)
    return typed.read()


def plain_values(tree: Mapping[str, Node], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """Return a tree without overrides and interpolations as plain values.

    Args:
        tree: The keys of a file.
        schema: What the file may say.

    Returns:
        The values, and one line per value that its key cannot have: a path that is empty or names no file, a number out
        of range, a list for a text.
    """
    reader = _Reader(schema)
    values = reader.read(spell_out(tree), schema.owner, ())
    return values if isinstance(values, dict) else {}, reader.faults


_DEEPEST = 100
_WRONG = object()
"""Stands for a value that is told of already, so that nobody else complains of it."""


class _Reader:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.faults: list[str] = []

    def read(self, node: Node, annotation: Any, place: tuple[Part, ...]) -> Any:
        if len(place) > _DEEPEST:
            return self._refuse(place[:3], f"is nested deeper than {_DEEPEST} levels. Write it flatter.")
        if not isinstance(node, dict | list | tuple):
            return self._read_leaf(node, _text_of(annotation) or _text_of(_item_of(annotation)), place)
        if _text_of(annotation) and not _has_members(annotation):
            kind, sign = ("mapping", "{") if isinstance(node, dict) else ("list", "[")
            return self._refuse(place, f"YAML takes this for a {kind}. Quote a text that begins with {sign}.")
        if isinstance(node, dict) and (odd := [key for key in node if not isinstance(key, str)]):
            return self._refuse(place, f"the key {brief(odd[0])} is no text. Quote it.")
        children = [
            (part, self.read(child, kind, (*place, part)))
            for part, child, kind in _children(node, annotation, place, self._schema)
        ]
        if isinstance(node, dict):
            return {part: value for part, value in children if value is not _WRONG}
        return [None if value is _WRONG else value for _, value in children]

    def _read_leaf(self, node: Node, text: Text | None, place: tuple[Part, ...]) -> Any:
        value, fault = node, ""
        if isinstance(node, Scalar):
            meant = text is not None and (node.value is not None or node.fault)  # Null is no text, in a file.
            value, fault = (node.text, "") if meant else (node.value, node.fault)
        elif isinstance(node, os.PathLike):
            value = os.fsdecode(node)
        elif node is not None and not isinstance(node, str | int | float):
            kind = type(node).__name__
            return self._refuse(place, f"{kind} is no value of a recipe. Give texts, numbers, lists and mappings.")
        if fault := fault or number_fault(value):
            # Python does not write whole numbers of thousands of digits.
            given = node.text if isinstance(node, Scalar) else value if isinstance(value, float) else None
            return self._refuse(place, f"{'this number' if given is None else brief(given)} is wrong: {fault}.")
        if text is None or not isinstance(value, str):
            return value
        if fault := _text_fault(value, text):
            return self._refuse(place, fault)
        # Bytes that are UTF-8 after all came from where that is not spoken.
        return os.fsdecode(os.fsencode(value)) if text.path else value

    def _refuse(self, place: tuple[Part, ...], fault: str) -> object:
        self.faults.append(f"{join_key(place) or 'recipe'}: {fault}")
        return _WRONG


def _text_fault(value: str, text: Text) -> str:
    """Return what is wrong with a text, or nothing."""
    if text.path:
        return path_fault(value)
    return f"{brief(value)} is wrong: no text holds the character NUL. Leave it out." if "\0" in value else ""


def _children(node: Node, annotation: Any, place: tuple[Part, ...], schema: Schema) -> Iterator[tuple[Any, Node, Any]]:
    """Give the key or number, the node and the type of everything directly inside a node."""
    if isinstance(node, list | tuple):
        item = _item_of(annotation)
        for index, child in enumerate(node):
            yield index, child, item
    elif isinstance(node, dict):
        types = _types_inside(node, annotation, place, schema)
        for key, child in node.items():
            yield key, child, types.get(key)


def _types_inside(node: dict[str, Node], annotation: Any, place: tuple[Part, ...], schema: Schema) -> Mapping[str, Any]:
    for member, marks in _members(annotation):
        if isinstance(member, _Arguments):
            return member.types
        if WHOLE_RECIPE in marks:
            return _fields(schema.owner)
        if is_dataclass(member) and isinstance(member, type):
            types = _fields(member)
            if "name" in node and "name" not in types:
                continue  # Where a key holds one of two dataclasses, a name tells which.
            kind = next((schema.kinds.get(part) for part in reversed(place) if isinstance(part, str)), None)
            return {**types, "args": _argument_types(kind, node.get("name"))} if kind and "args" in types else types
    return {}


def _argument_types(kind: Kinds, name: Node) -> _Arguments:
    name = name.text if isinstance(name, Scalar) else name.text.strip() if isinstance(name, Typed) else name
    try:
        arguments = registry.get(kind, name).arguments() if isinstance(name, str) else {}
    except FacecryptError:
        arguments = {}  # Whoever checks the components says so.
    return _Arguments({key: _as_text(annotation) for key, (annotation, _) in arguments.items()})


def _as_text(annotation: Any) -> Any:
    """Return the type of a component's argument, marked where it is a text: a plain ``str`` or ``Path``."""
    members = [member for member, _ in _members(annotation) if member is not NoneType]
    if members and all(member in (str, Path) for member in members):
        return Annotated[annotation, Text()]
    item = _item_of(annotation)
    return list[_as_text(item)] if item is not None and len(members) == 1 else annotation  # type: ignore[misc]


@cache
def _fields(owner: type) -> Mapping[str, Any]:
    hints = get_type_hints(owner, include_extras=True)
    return {item.name.rstrip("_"): hints[item.name] for item in fields(owner)}


def _members(annotation: Any, marks: Sequence[Any] = ()) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Give the types that a value may have, without their constraints, and these."""
    if get_origin(annotation) is Annotated:
        base, *own = get_args(annotation)
        yield from _members(base, (*marks, *own))
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _members(each, marks)
    else:
        yield annotation, marks


def _text_of(annotation: Any) -> Text | None:
    """Return the mark of a key that holds a text, or None."""
    return next((mark for _, marks in _members(annotation) for mark in marks if isinstance(mark, Text)), None)


def _item_of(annotation: Any) -> Any:
    """Return the type of a list's items; None for no list."""
    for member, _ in _members(annotation):
        if get_origin(member) in (list, tuple, Sequence) and get_args(member):
            return get_args(member)[0]
    return None


def _has_members(annotation: Any) -> bool:
    """Return whether a value may be a list or a mapping."""
    return any(get_origin(member) or is_dataclass(member) for member, _ in _members(annotation))
