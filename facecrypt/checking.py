"""Plain values checked against type annotations by pydantic, strictly, and faults in the words of its messages."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from facecrypt.system.texts import brief, shield, unshield

_Checked = TypeVar("_Checked")

MOST_FAULTS = 50
"""Most faults that are told of one file: more help nobody."""

_LONGEST_FAULT = 10_000

_LONGEST_NAME = 100
"""Longest name for which a similar one is sought."""


def validate(adapter: pydantic.TypeAdapter[_Checked], value: Any) -> _Checked:
    """Return a plain value in the type of an adapter.

    Args:
        adapter: Knows the type. It is asked in JSON mode: strict about types (text is no number), yet a list may become
            a tuple and a mapping a dataclass, since YAML has neither.
        value: Text, number, truth value, None, path, list or mapping.

    Raises:
        pydantic.ValidationError: If it is none of that type.
        TypeError: If it holds what YAML cannot.
    """
    try:
        text = json.dumps(value, default=_as_text)
    except (ValueError, RecursionError) as error:  # Something inside itself, or deeper than any recipe.
        raise TypeError(f"{type(value).__name__} is nested too deeply") from error
    if "\\ud" not in text:
        return adapter.validate_json(text, strict=True)
    # pydantic refuses file names that are no UTF-8.
    restored: _Checked = _restore(adapter.validate_json(json.dumps(_shield(json.loads(text))), strict=True))
    return restored


def _as_text(value: object) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise TypeError(f"{type(value).__name__} is no value of a recipe. Give texts, numbers, lists and mappings.")


def _shield(value: Any) -> Any:
    if isinstance(value, str):
        return shield(value)
    if isinstance(value, dict):
        return {shield(key): _shield(each) for key, each in value.items()}
    return [_shield(each) for each in value] if isinstance(value, list) else value


def _restore(value: Any) -> Any:
    if isinstance(value, str):
        return unshield(value)
    if isinstance(value, Path):
        return Path(unshield(str(value)))
    if isinstance(value, dict):
        return {_restore(key): _restore(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_restore, value))
    if is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            object.__setattr__(value, item.name, _restore(getattr(value, item.name)))
    return value


def fault_place(fault: Any) -> list[int | str]:
    """Return where a fault of pydantic is, as parts of a key path."""
    # Where a value may be one of two things, pydantic says in brackets which it took it for.
    return [_restore(part) for part in fault["loc"] if not str(part).startswith("(")]


_YAML_WORDS = {
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping, as in {key: value}",
}
"""What pydantic, which speaks of JSON, expects, in the words of YAML."""


def describe_fault(fault: Any) -> str:
    """Return a pydantic fault as one sentence: what was given, and what is allowed."""
    said = fault["msg"].removeprefix("Value error, ")  # as pydantic begins what a check of our own says
    if fault["type"] in _YAML_WORDS:
        said = f"input should be {_YAML_WORDS[fault['type']]}"
    return f"{brief(_restore(fault['input']))} is wrong: {said[:1].lower()}{said[1:]}."


def at_most(faults: Iterable[str]) -> list[str]:
    """Return the first faults, each once, the longest in part, and how many there are beyond them."""
    different = list(dict.fromkeys(faults))
    more = len(different) - MOST_FAULTS
    told = [each if len(each) <= _LONGEST_FAULT else f"{each[:_LONGEST_FAULT]} ..." for each in different[:MOST_FAULTS]]
    return told if more <= 0 else [*told, f"... and {more} more like these."]


def suggest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1) if len(name) <= _LONGEST_NAME else []
    return f" Did you mean {near[0]!r}?" if near else ""
