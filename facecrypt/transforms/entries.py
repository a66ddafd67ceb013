"""How recipes name what happens to a published file: one transform, or several one after the other, with a label.

An entry is a name (``jpeg_75``), names joined by a plus (``half_size+jpeg_50``), a mapping of a name and arguments
(``{name: jpeg, args: {quality: 60}}``), or a chain of these (``{chain: [half_size, {name: webp}], label: chat}``).
Nothing here imports torch, and no transform is imported but for its signature where arguments are given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic_core import PydanticCustomError

from facecrypt import registry
from facecrypt.checking import suggest
from facecrypt.errors import FacecryptError
from facecrypt.system.texts import brief

AS_IS = "none"
"""The transform that changes nothing, and the label of the file as it was saved."""

MOST_STEPS = 16
"""Most transforms of one chain."""

_KEYS = ("name", "args", "label", "chain")
_LABEL = re.compile(r"[\w().,=+:# -]{1,80}")


@dataclass(frozen=True)
class Chain:
    """What an entry means.

    Attributes:
        label: What reports call it.
        steps: Name and arguments of each transform, the first one first.
    """

    label: str
    steps: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def is_nothing(self) -> bool:
        """Whether the file stays as it is."""
        return all(name == AS_IS for name, _ in self.steps)


def read_entry(entry: object) -> Chain:
    """Return what an entry of a recipe means, its names and arguments checked.

    Raises:
        FacecryptError: If it names no transform, or gives one arguments that it cannot have; the message says what is
            near and what is allowed.
    """
    label = entry.get("label") if isinstance(entry, Mapping) else None
    steps = _steps(entry)
    if len(steps) > MOST_STEPS:
        raise FacecryptError(f"{len(steps)} transforms in one chain. Allowed: at most {MOST_STEPS}")
    for name, args in steps:
        component = registry.get("transform", name)
        if args and (faults := component.bind(args)[1]):
            raise FacecryptError(f"transform {name!r}: {' '.join(faults)}")
    chain = Chain("+".join(_spell(name, args) for name, args in steps), tuple(steps))
    if label is None:
        return chain
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise FacecryptError(
            f"label {brief(label)} is wrong: at most 80 letters, digits, spaces and ().,=+:#_-. Quote a number"
        )
    if label != chain.label and label in {each.name for each in registry.list_components("transform")}:
        raise FacecryptError(f"label {label!r} is the name of another transform. Choose another label")
    return Chain(label, chain.steps)


def shorten(entry: object) -> str | dict[str, Any]:
    """Return an entry in its shortest form, so that what means the same is spelt the same: a text where one can say it.

    Raises:
        FacecryptError: As `read_entry`.
    """
    chain = read_entry(entry)
    plain = "+".join(name for name, _ in chain.steps)
    if plain == chain.label:
        return plain
    parts: list[Any] = [{"name": name, "args": dict(args)} if args else name for name, args in chain.steps]
    given = {} if chain.label == "+".join(_spell(*step) for step in chain.steps) else {"label": chain.label}
    if len(parts) == 1:
        return (parts[0] if isinstance(parts[0], dict) else {"name": parts[0]}) | given
    return {"chain": parts} | given


def label_faults(key: str, entries: Sequence[object]) -> list[str]:
    """Return a line per label under which two entries mean different things."""
    meanings: dict[str, object] = {}
    faults = []
    for chain in map(read_entry, entries):
        if meanings.setdefault(chain.label, chain.steps) != chain.steps:
            faults.append(f"{key}: two different transforms are called {chain.label!r}. Label them.")
    return faults


def _steps(entry: object) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(entry, str):
        return [(name.strip(), {}) for name in entry.split("+")]
    if not isinstance(entry, Mapping):
        raise FacecryptError(
            f"{brief(entry)} is no transform. Give a name, names joined by +, {{name: ..., args: ...}} or "
            "{chain: [...], label: ...}"
        )
    for key in entry:
        if key not in _KEYS:
            raise FacecryptError(f"unknown key {brief(key)}.{suggest(str(key), [*_KEYS])} Known: {', '.join(_KEYS)}")
    if ("chain" in entry) == ("name" in entry):
        raise FacecryptError("give either a name, with args if need be, or a chain")
    if "chain" in entry:
        parts = entry["chain"]
        if not isinstance(parts, list | tuple) or not parts or "args" in entry:
            raise FacecryptError("chain: give a list of transforms, each with arguments of its own")
        if any(isinstance(part, Mapping) and "label" in part for part in parts):
            raise FacecryptError("chain: its parts have no labels. Label the whole")
        return [step for part in parts for step in _steps(part)]
    args = entry.get("args", {})
    if not isinstance(entry["name"], str) or not isinstance(args, Mapping):
        raise FacecryptError("give a name and, under args, a mapping of its arguments")
    return [(entry["name"], args)]


def _spell(name: str, args: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in args.items())})" if args else name


def _check(value: object) -> str | dict[str, Any]:
    try:
        return shorten(value)
    except FacecryptError as error:
        raise PydanticCustomError("transform", "{fault}", {"fault": str(error).rstrip(".")}) from error


Entry = Annotated[str | dict[str, Any], pydantic.BeforeValidator(_check)]
"""An entry of a recipe, checked and in its shortest form."""
