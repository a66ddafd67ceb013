"""Which text of a photo is text: short names and prose stay, a picture or a file written as characters does not.

No rule can tell every hidden message from prose. These bound how much a text may hold, and refuse what programs write
where they hide data in text: base64, numbers, bytes taken for characters, pictures made of letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

MOST_NAMES = 256
"""Characters of all names of a photo together: camera, lens, programs."""

MOST_PROSE = 4000
"""Characters of all other texts of a photo together."""

_LONGEST_WORD, _LONGEST_ADDRESS = 40, 120
_JUDGED = 60  # shorter texts may be file names, dates and the like
_JUDGED_TOGETHER = 160
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
_VOWELS = "aeiouyæøœ\u0131"
_THRICE = re.compile(r"([^\W\d_])\1\1", re.IGNORECASE)
_POSITION = re.compile(r"(?<![\d.])[+-]?\d{1,3}[.,]\d{4,}(?![\d.])|°|geo:|://|www\.|@|['\u2019]s\b", re.IGNORECASE)


def is_name(text: str, longest: int = 64) -> bool:
    """Return whether a text may be the name of a camera, a lens or a program, and of neither an owner nor a place.

    Args:
        text: The text.
        longest: The most characters that it may have.
    """
    parts = re.findall(r"[^\W_]+", text)
    return (
        0 < len(text) <= longest
        and all(" " <= character <= "~" or character in "©®™" for character in text)
        and all(len(part) <= 16 and _changes(part) <= 7 for part in parts)
        and sum(map(len, parts)) >= 0.6 * len(text.replace(" ", ""))
        and not _POSITION.search(text)
    )


def are_names(texts: Iterable[str]) -> bool:
    """Return whether the names of a photo are names when they are read together: data may come in pieces."""
    whole = " ".join(dict.fromkeys(texts))
    words = [part for part in re.findall(r"[^\W_]+", whole) if len(part) > 2 and part.isalpha() and _changes(part) < 2]
    letters = "".join(words).lower()
    short = len(whole) <= _JUDGED
    return short or (
        len(whole) <= MOST_NAMES
        and len(letters) >= 0.35 * len(whole.replace(" ", ""))
        and sum(letter in _VOWELS for letter in letters) >= 0.25 * len(letters)
        and len(_THRICE.findall(whole)) <= 0.02 * len(whole)
    )


def _changes(part: str) -> int:
    """Return how often small letters, capitals and digits follow each other, but for a capital at a start."""
    kinds = ["1" if character.isdigit() else "A" if character.isupper() else "a" for character in part]
    return sum(first != second for first, second in pairwise(kinds)) - (kinds[:2] == ["A", "a"])


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
    words = re.findall(r"\w+", "".join(" " if character in dense else character for character in text))
    spelt = [word for word in words if _fits(word)]
    mixed = [word for word in words if not word.isalpha() and not word.isdecimal()]
    letters = "".join(spelt)
    plain = [unicodedata.normalize("NFD", letter)[0] for letter in letters.lower()]
    latin = [letter for letter in letters if _alphabet(letter) == "LATIN"]
    return (
        len(letters) + len(dense) >= 0.6 * size
        and (not spelt or len(letters) / len(spelt) <= 14)
        and (len(letters) < _JUDGED or 0.042 <= _coincidence(plain) <= 0.12)
        and len(mixed) <= 0.15 * len(words)
        and sum(letter in _VOWELS for letter in plain) >= 0.28 * len(latin)
        and sum(letter.isascii() for letter in latin) >= 0.4 * len(latin)
        and len(_THRICE.findall(text)) <= 0.02 * size
        and _is_daily([character for character in dense if _alphabet(character) in ("CJK", "HANGUL")])
    )


def _coincidence(letters: Sequence[str]) -> float:
    """Return how likely two letters of a text are the same: 0.053 to 0.09 in languages, 0.038 in random letters."""
    count = len(letters)
    return sum(number * (number - 1) for number in Counter(letters).values()) / (count * (count - 1))


def _fits(word: str) -> bool:
    """Return whether a word is of letters of one alphabet, in capitals, small, or small after one capital."""
    if len({_alphabet(letter) for letter in word}) > 1:
        return False
    return (
        len(word) > 1
        and word.isalpha()
        and (word.islower() or word.isupper() or word.istitle() or word.lower() == word.upper())
    )


def _is_daily(characters: Sequence[str]) -> bool:
    """Return whether characters are those of daily use in a language: bytes taken for characters are from anywhere."""
    return not characters or any(
        sum(_lead(character, charset) in leads for character in characters) >= 0.8 * len(characters)
        for charset, leads in _DAILY
    )


def _lead(character: str, charset: str) -> int:
    encoded = character.encode(charset, "ignore")
    return encoded[0] if encoded else 0


@lru_cache(maxsize=1 << 16)
def _alphabet(character: str) -> str:
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""


def _is_selector(character: str) -> bool:
    """Return whether a character is an invisible variant of the one before, which can carry a byte."""
    return "\ufe00" <= character <= "\ufe0e" or "\U000e0000" <= character <= "\U000e01ef" or character == "\u034f"
