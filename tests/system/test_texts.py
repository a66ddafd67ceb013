from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecrypt.system.texts import brief, plain, shield, unshield

ANYTHING = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("me.jpg", "me.jpg"),
        ("Ünï cödé \u3000 \U0001f600", "Ünï cödé \u3000 \U0001f600"),
        ("a\x1b[31m\x07\r\n\t\x7f\x85\x9b", r"a\x1b[31m\x07\r\n\t\x7f\x85\x9b"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("\ud800", r"\ud800"),
        ("\u202egpj.exe\u2066\u200b\u200f\ufeff\u2028", r"\u202egpj.exe\u2066\u200b\u200f\ufeff\u2028"),
        ("\U000e0041\ue000\u3164", r"\U000e0041\ue000\u3164"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


@settings(deadline=None)
@given(ANYTHING)
def test_nothing_unseen_is_left(text: str) -> None:
    shown = plain(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    shown.encode()


def test_a_long_value_is_quoted_in_part() -> None:
    assert brief("x" * 10_000).startswith("'xxx")
    assert len(brief("x" * 10_000)) < 200
    assert brief(["a\x1b"]) == r"['a\x1b']"


@settings(deadline=None)
@given(ANYTHING)
def test_a_shielded_text_has_no_surrogates_and_comes_back(text: str) -> None:
    shield(text).encode()
    assert unshield(shield(text)) == text


@settings(deadline=None)
@given(st.text(st.sampled_from("\U0010fffd\ue000\ue7ff\ud800\udfffx")))
def test_a_text_that_looks_shielded_comes_back(text: str) -> None:
    assert unshield(shield(text)) == text
