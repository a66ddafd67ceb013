"""One mapping laid over another.

The rules are those of ``OmegaConf.merge``: mappings are merged key by key, everything else, lists too, is replaced. One
is added: a component of another name takes nothing from the one under it, whose arguments it would not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return two mappings merged: what `own` says wins, key by key at any depth, and lists are replaced."""
    result = dict(base)
    for key, value in own.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and not _is_another(before, value):
            result[key] = merge(before, value)
        else:
            result[key] = value
    return result


def _is_another(before: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Return whether two mappings are components of different names."""
    texts = [[getattr(each.get(key), "text", each.get(key)) for each in (before, value)] for key in _NAMING]
    return any(None not in pair and pair[0] != pair[1] for pair in texts)


_NAMING = ("name", "class_path")
"""The keys that say what a component is."""
