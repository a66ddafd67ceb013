"""Where a key stands in a recipe: ``surrogates[0].weight``, as parts and as people write it."""

from __future__ import annotations

import re
from collections.abc import Sequence

Part = str | int

_DEEPEST = 20
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[\d{1,9}\])*")
_PART = re.compile(r"\[(\d+)\]|[^.\[\]]+")


def split_key(path: str) -> list[Part]:
    """Return the parts of a key path: names of keys, and numbers of list items.

    Raises:
        ValueError: If it is none.
    """
    if not _PATH.fullmatch(path):
        raise ValueError("it names no key")
    parts: list[Part] = [int(found[1]) if found[1] else found[0] for found in _PART.finditer(path)]
    if len(parts) > _DEEPEST:
        raise ValueError(f"its key has more than {_DEEPEST} parts")
    return parts


def join_key(parts: Sequence[Part]) -> str:
    """Return a key path as people write it."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
