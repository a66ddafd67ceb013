"""What vendors' services answer, read with the eyes of somebody who trusts no contract."""

from __future__ import annotations

import math
from typing import Any, Literal

from facecrypt.errors import JudgeError

Wanted = Literal["a number", "a text", "a list", "a mapping"]


def pick(answer: object, url: str, wanted: Wanted, *place: str) -> Any:
    """Return what an answer holds at a place, of the type that is wanted there.

    Args:
        answer: The answer, or a part of it.
        url: Who answered.
        wanted: A number is finite, a text has some letters.
        place: The keys that lead there.

    Raises:
        JudgeError: If there is nothing, or something else.
    """
    value: Any = answer
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    if not _is(value, wanted):
        where = ".".join(place) or "an entry"
        raise JudgeError(
            f"{url} answered {where} of type {type(value).__name__}, not {wanted}. Its contract may have changed: see "
            "whether there is a newer facecrypt"
        )
    return float(value) if wanted == "a number" else value


def _is(value: object, wanted: Wanted) -> bool:
    if wanted == "a text":
        return isinstance(value, str) and bool(value.strip())
    if wanted == "a list":
        return isinstance(value, list)
    if wanted == "a mapping":
        return isinstance(value, dict)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf and value == value
