"""Texts that others wrote, such as file names: shown so that they change nothing around them, and carried unharmed.

A file name may hold any character, and bytes that are no UTF-8, which Python keeps as lone surrogates.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Characters that Unicode counts as letters or marks and nobody sees."""

_LONGEST = 200
"""Longest text that a message quotes in full."""


@dataclass(frozen=True)
class Text:
    """Marks a key of a recipe as one that holds a text, so that what is typed is meant as it stands.

    Attributes:
        path: Whether it names a file, a folder or a glob.
    """

    path: bool = False


FreeText = Annotated[str, Text()]
PathText = Annotated[str, Text(path=True)]


def is_shown(character: str) -> bool:
    """Return whether a character appears as itself: no control, no change of direction, no width of zero."""
    if character in _INVISIBLE:
        return False
    return character.isprintable() or unicodedata.category(character) == "Zs"


def plain(text: object) -> str:
    r"""Return a text on one line, in which every character is seen: as itself or as an escape."""
    text = str(text)
    if text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text
    return "".join(each if is_shown(each) else _escape(each) for each in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def brief(value: object) -> str:
    """Return how a message quotes a value: as Python writes it, the middle left out where it is long."""
    text = plain(repr(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"


_MARK = "\U0010fffd"
_SHIELDED = re.compile(f"{_MARK}([{_MARK}\ue000-\ue7ff])")
_HARMED = re.compile(f"[{_MARK}\ud800-\udfff]")
_OFFSET = 0xE000 - 0xD800


def has_surrogates(text: str) -> bool:
    """Return whether a text holds bytes that are no UTF-8, or other halves of characters."""
    return not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)


def shield(text: str) -> str:
    """Return a text without lone surrogates, which YAML and JSON refuse, for `unshield` to bring back."""
    return _HARMED.sub(lambda found: _MARK + (_MARK if found[0] == _MARK else chr(ord(found[0]) + _OFFSET)), text)


def unshield(text: str) -> str:
    """Return the text that `shield` was given."""
    if _MARK not in text:
        return text
    return _SHIELDED.sub(lambda found: _MARK if found[1] == _MARK else chr(ord(found[1]) - _OFFSET), text)
