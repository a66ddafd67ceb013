"""A component by its name alone: ``detector: yunet`` is ``detector: {name: yunet}``, in recipes and in benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from facecrypt.recipe.key_paths import Part
from facecrypt.recipe.yaml_values import Node

NAMED_ALONE: frozenset[tuple[str, ...]] = frozenset(
    {
        ("method",),
        ("source",),
        ("sink",),
        ("detector",),
        ("region",),
        ("target_selector",),
        ("gradient",),
        ("optimizer",),
        ("receipt", "detector"),
    }
)
"""The keys that hold one component; those in lists have their name in a mapping."""


def spell_word(path: Sequence[Part], node: Node) -> Node:
    """Return a node as the component whose name it is, or as it stands.

    Args:
        path: Its flat key.
        node: What stands there.
    """
    word = getattr(node, "value", node)
    return {"name": node} if tuple(path) in NAMED_ALONE and isinstance(word, str) else node


def spell_out(values: Mapping[str, Node], beside: Mapping[str, Node] | None = None) -> dict[str, Node]:
    """Return flat keys with components in mappings.

    Args:
        values: The keys of a file.
        beside: Those that they are merged with: then only the components of which these have a mapping, since what
            refers to a name, as in ``${detector}``, is to find it.
    """
    return _spell_out(values, beside, ())


def _spell_out(
    values: Mapping[str, Node], beside: Mapping[str, Node] | None, above: tuple[str, ...]
) -> dict[str, Node]:
    result: dict[str, Node] = {}
    for key, node in values.items():
        path, other = (*above, key), None if beside is None else beside.get(key)
        if node and isinstance(node, dict) and any(path == each[:-1] for each in NAMED_ALONE):
            node = _spell_out(node, beside if beside is None else other if isinstance(other, dict) else {}, path)
        elif beside is None or isinstance(other, dict):
            node = spell_word(path, node)
        result[key] = node
    return result
