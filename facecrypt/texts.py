"""Which text of a photo is text: short names and prose stay, a picture or a file written as characters does not.

No rule can tell every hidden message from prose. These bound how much a text may hold, and refuse what programs write
where they hide data in text: base64, numbers, bytes taken for characters, pictures made of letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

MOST_NAMES = 256
"""Characters of all names of a photo together: camera, lens, programs."""

MOST_PROSE = 4000
"""Characters of all other texts of a photo together."""

_LONGEST_WORD, _LONGEST_ADDRESS = 40, 120
_JUDGED = 80  # shorter texts may be file names, dates and the like
_JUDGED_TOGETHER = 240
_EXTRA = frozenset("\n\r\t\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\u200c\u200d\u200e\u200f\ufe0f")
_DENSE = "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA HANGUL THAI LAO KHMER MYANMAR TIBETAN"
_SPACED = """
LATIN GREEK CYRILLIC ARMENIAN GEORGIAN HEBREW ARABIC DEVANAGARI BENGALI GURMUKHI GUJARATI ORIYA TAMIL TELUGU KANNADA
MALAYALAM SINHALA ETHIOPIC MONGOLIAN FULLWIDTH HALFWIDTH MODIFIER MASCULINE FEMININE MICRO
"""
_WITHOUT_SPACES = frozenset(_DENSE.split())
_ALPHABETS = _WITHOUT_SPACES | frozenset(_SPACED.split())
# Where the characters of daily use are in the character sets of Chinese, Japanese and Korean: first bytes of a pair.
_DAILY = (
    ("gb2312", range(0xB0, 0xD8)), ("big5", range(0xA4, 0xC7)), ("shift_jis", range(0x88, 0x98)),
    ("euc_kr", range(0xB0, 0xC9)),
)  # fmt: skip
_POSITION = re.compile(r"(?<![\d.])[+-]?\d{1,3}[.,]\d{4,}(?![\d.])|°|geo:|://|www\.|@|['\u2019]s\b", re.IGNORECASE)


def is_name(text: str, longest: int = 64) -> bool:
    """Return whether a text may be the name of a camera, a lens or a program, and of neither an owner nor a place.

    Args:
        text: The text.
        longest: The most characters that it may have.
    """
    return (
        0 < len(text) <= longest
        and text.isprintable()
        and not any(_is_selector(character) for character in text)
        and all(len(word) <= 24 for word in re.split(r"[^\w+/=]", text))
        and not _POSITION.search(text)
    )


def are_names(texts: Iterable[str]) -> bool:
    """Return whether the names of a photo are names when they are read together: data may come in pieces."""
    whole = " ".join(dict.fromkeys(texts))
    kinds = [_kind(character) for character in whole]
    pairs = [(first, second) for first, second in pairwise(kinds) if " " not in (first, second)]
    # In base64 and hexadecimal digits, every second character is of another kind than the one before.
    changes = sum(first != second and (first, second) != ("A", "a") for first, second in pairs)
    digits = kinds.count("1")
    return len(whole) <= MOST_NAMES and (len(whole) < 100 or (changes < 0.4 * len(pairs) and digits < 0.6 * len(kinds)))


def is_prose(text: str, longest: int) -> bool:
    """Return whether a text may be words that somebody wrote.

    Args:
        text: The text.
        longest: The most characters that it may have.
    """
    return 0 < len(text) <= longest and _is_writing(text) and (len(text) <= _JUDGED or _is_language(text))


def are_prose(texts: Sequence[str]) -> bool:
    """Return whether the texts of a photo are words when they are read together: data may come in pieces."""
    whole = "\n".join(dict.fromkeys(texts))
    return len(whole) <= MOST_PROSE and (len(whole) <= _JUDGED_TOGETHER or _is_language(whole))


def _is_writing(text: str) -> bool:
    """Return whether all characters are of a living language or two, in words of a length that words have."""
    letters = [character for character in text if character.isalpha()]
    marks = sum(unicodedata.category(character).startswith("M") for character in text)
    alphabets = {_alphabet(character) for character in letters}
    return (
        all(character.isprintable() or character in _EXTRA for character in text)
        and not any(_is_selector(character) for character in text)
        and marks <= max(3, 0.6 * len(letters))
        and alphabets <= _ALPHABETS
        and len({"CJK" if "KANA" in each else each for each in alphabets} - {"LATIN", "MODIFIER"}) <= 2
        and all(_is_short(word) for word in text.split())
    )


def _is_short(word: str) -> bool:
    longest = _LONGEST_ADDRESS if re.match(r"https?://|www\.", word, re.IGNORECASE) else _LONGEST_WORD
    return len(word) <= longest or sum(_alphabet(character) in _WITHOUT_SPACES for character in word) > 0.7 * len(word)


def _is_language(text: str) -> bool:
    """Return whether most of a text is words, spelt as words are."""
    text = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c)[0] != "M")
    size = sum(not character.isspace() for character in text)
    dense = [character for character in text if _alphabet(character) in _WITHOUT_SPACES]
    spelt = [word for word in re.findall(r"[^\W\d_]+", "".join(" " if c in dense else c for c in text)) if _fits(word)]
    letters = "".join(spelt)
    latin = [character for character in letters.lower() if _alphabet(character) == "LATIN"]
    plain = [unicodedata.normalize("NFD", character)[0] for character in latin]
    thrice = len(re.findall(r"(?i)([^\W\d_])\1\1", text))
    return (
        len(letters) + len(dense) >= 0.6 * size
        and (not spelt or len(letters) / len(spelt) <= 14)
        and sum(character in "aeiouyæøœ\u0131" for character in plain) >= 0.28 * len(plain)
        and sum(character.isascii() for character in latin) >= 0.4 * len(latin)
        and thrice <= 0.02 * size
        and _is_daily([character for character in dense if _alphabet(character) in ("CJK", "HANGUL")])
    )


def _fits(word: str) -> bool:
    return len(word) > 1 and (word.islower() or word.isupper() or word.istitle() or word.lower() == word.upper())


def _is_daily(characters: Sequence[str]) -> bool:
    """Return whether characters are those of daily use in a language: bytes taken for characters are from anywhere."""
    return not characters or any(
        sum(_lead(character, charset) in leads for character in characters) >= 0.8 * len(characters)
        for charset, leads in _DAILY
    )


def _lead(character: str, charset: str) -> int:
    encoded = character.encode(charset, "ignore")
    return encoded[0] if encoded else 0


def _alphabet(character: str) -> str:
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""


def _is_selector(character: str) -> bool:
    """Return whether a character is an invisible variant of the one before, which can carry a byte."""
    return "\ufe00" <= character <= "\ufe0e" or "\U000e0000" <= character <= "\U000e01ef" or character == "\u034f"


def _kind(character: str) -> str:
    if character.isdigit():
        return "1"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return " " if character in " .-()" else "/"
