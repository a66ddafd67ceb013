"""Values that replace those of a file: ``key=value`` on the command line, and what Python code and presets give.

What a typed value means depends on its key, whose type `facecrypt.recipe.key_types` knows: it is a text as it stands,
or YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facecrypt.recipe.key_paths import Part, join_key, split_key
from facecrypt.recipe.names_alone import spell_word
from facecrypt.recipe.yaml_values import Node, Scalar, parse
from facecrypt.system.texts import brief


@dataclass(frozen=True)
class Typed:
    """The value of an override as it was typed, before it is known whether it is a text or YAML.

    Attributes:
        text: What was typed.
        override: The whole override, for error messages.
    """

    text: str
    override: str

    def read(self) -> Node:
        """Return it as YAML.

        Raises:
            ValueError: If it is none.
        """
        return parse(self.text) if self.text else Scalar("", "")


@dataclass(frozen=True)
class Override:
    """A value for a key.

    Attributes:
        key: Its path: ``surrogates[0].weight``.
        value: A node, or what was typed.
    """

    key: str
    value: Node | Typed


_WORDS = {"faces": "choose"}
"""Keys whose value may be a word for a mapping of one key, so that an override of another key leaves the word alone."""


def read_override(override: str) -> Override:
    """Return an override as it was typed.

    ``key:=value`` is YAML whatever the key, so that a path can be null and a list be written out.

    Raises:
        ValueError: If it is none.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError("it has no '='")
    if key.endswith(":"):
        return Override(key[:-1], Typed(text, override).read())
    return Override(key, Typed(text, override))


def apply(tree: dict[str, Node], overrides: Sequence[str | Override]) -> list[str]:
    """Replace values in a tree, which changes.

    Args:
        tree: The keys of a file.
        overrides: ``key=value`` each, or what is meant by it; keys reach into lists.

    Returns:
        One line per override that cannot be followed.
    """
    faults = []
    for given in overrides:
        try:
            override = read_override(given) if isinstance(given, str) else given
            _place(tree, split_key(override.key), override.value)
        except ValueError as error:
            faults.append(override_fault(given if isinstance(given, str) else given.key, error))
    return faults


def override_fault(override: str, error: ValueError) -> str:
    """Return what is wrong with an override, as a line of an error message."""
    reason = str(error).rstrip(".")
    return f"override {brief(override)}: {reason}. Write key=value, as in epsilon=8 or surrogates[0].weight=2."


def _place(tree: dict[str, Node], parts: Sequence[Part], value: Node) -> None:
    node: Any = tree
    for depth, part in enumerate(parts[:-1]):
        child = _child(node, part, parts[: depth + 1])
        if isinstance(child, Typed):
            child = child.read()
        word = child.value if isinstance(child, Scalar) else child
        if depth == 0 and part in _WORDS and isinstance(word, str):
            child = {_WORDS[part]: child}
        child = spell_word(parts[: depth + 1], child)
        if word is None:
            child = {}
        if not isinstance(child, dict | list):
            raise ValueError(f"{join_key(parts[: depth + 1])} is no mapping or list that has {join_key(parts)}")
        node[part] = child
        node = child
    _child(node, parts[-1], parts)
    node[parts[-1]] = value


def _child(node: Any, part: Part, path: Sequence[Part]) -> Node:
    """Return what stands at a part of a mapping or list; None in a mapping that does not have it yet."""
    if isinstance(node, dict) and isinstance(part, str):
        return node.get(part)
    if isinstance(node, list) and isinstance(part, int):
        if part < len(node):
            return node[part]
        raise ValueError(f"{join_key(path[:-1])} has {len(node)} entries, numbered from 0")
    kind = "list, so a number in brackets follows it" if isinstance(node, list) else "mapping, so a key follows it"
    raise ValueError(f"{join_key(path[:-1])} is a {kind}")
