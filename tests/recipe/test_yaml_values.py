from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from facecrypt.recipe.yaml_values import DEEPEST, LONGEST, MOST, Scalar, YamlError, dump, parse
from facecrypt.system.texts import is_shown


def values(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: values(child) for key, child in node.items()}
    return [values(child) for child in node] if isinstance(node, list) else node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-0", 0), ("010", 8), ("0x10", 16), ("1_000", 1000), ("1:30", 90), ("1.5", 1.5), ("1e-3", 0.001),
        ("yes", True), ("off", False), ("~", None), ("null", None), ("''", ""), ("'1'", "1"),
        ("2024-05-01", "2024-05-01"),
        ("=", "="), ("! 5", "5"), ("!!str 5", "5"), ("!!int '5'", 5), ("!!float 5", 5.0), ("!!null ~", None),
        ('"\\udce9"', "\udce9"), ("'caf\udce9'", "caf\udce9"), ("'\U0010fffd\ue0e9'", "\U0010fffd\ue0e9"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    (found,) = values(parse(f"[{text}]"))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["2024", "no", "0x10", "1e400", "2024-05-01", "._", "0x_", "9" * 5000, "~", "010", ".inf"]
)
def test_what_was_typed_is_kept(text: str) -> None:
    assert parse(f"a: {text}")["a"].text == text


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", "1e40", "1e400", str(2**63), "9" * 5000, "0x_", "1:" * 150 + "1.0"]
)
def test_numbers_that_nothing_can_hold_have_a_fault(text: str) -> None:
    assert parse(f"a: {text}")["a"].fault


def test_documents_that_say_nothing() -> None:
    assert parse("") is None
    assert parse("# nothing\n") is None
    assert parse("---\n").value is None


def test_aliases_and_merge_keys() -> None:
    assert values(parse("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: [*x]\n")) == {
        "a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, "e": [{"b": 1, "c": 2}],
    }  # fmt: skip
    assert values(parse("<<: [{a: 1}, {a: 2, b: 3}]\nc: 4")) == {"a": 1, "b": 3, "c": 4}
    assert values(parse("'<<': 1")) == {"<<": 1}
    copied = parse("a: &x [1]\nb: *x")
    copied["a"].append(Scalar("2", 2))
    assert values(copied) == {"a": [1, 2], "b": [1]}
    assert values(parse("a: &x [1]\nb: *x")) == {"a": [1], "b": [1]}


def test_keys_are_texts() -> None:
    assert values(parse("no: 1\n2: 2\nnull: 3\n2024-05-01: 4\n? x\n")) == {
        "no": 1, "2": 2, "null": 3, "2024-05-01": 4, "x": None,
    }  # fmt: skip


BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: !!int abc", "line 1, column 4: 'abc' is no '!!int'"),
        ("a: !!timestamp x", "tag '!!timestamp' is not allowed"),
        ("a: !!binary aGk=", "tag '!!binary' is not allowed"),
        ("a: !!set {x}", "tag '!!set' is not allowed"),
        ("a: !!omap [x: 1]", "tag '!!omap' is not allowed"),
        ("a: !!python/object/apply:os.system ['true']", "tag '!!python/object/apply:os.system' is not allowed"),
        ("!!python/name:os.system x: 1", "is not allowed"),
        ("a: !local x", "tag '!local' is not allowed"),
        ("%TAG ! tag:evil,2000:\n---\na: !x y", "tag 'tag:evil,2000:x' is not allowed"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands here twice"),
        ("{a: 1, a: 2}", "stands here twice"),
        ("? [a]\n: b", "a key is one text"),
        ("? {a: b}\n: c", "a key is one text"),
        ("a: &x [*x]", "no complete value is called &x"),
        ("a: &x {b: *x}", "no complete value is called &x"),
        ("a: *nowhere", "no complete value is called &nowhere"),
        ("<<: 5", "'<<' takes in a mapping"),
        ("a: 1\n---\nb: 2", "a second document begins"),
        ("a: \0", r"line 1: holds the character '\x00'"),
        ("a: 1\nb: \x1b", r"line 2: holds the character '\x1b'"),
        ("\ta: 1", "cannot start any token"),
        ("a: @x", "line 1, column 4: found character '@'"),
        ('a: "\\UFFFFFFFF"', "holds an escape"),
        ('a: "\\U00110000"', "holds an escape"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1", "holds an escape or a version"),
        ("[" * 10_000, f"deeper than {DEEPEST} levels"),
        ("{a: " * 10_000, f"deeper than {DEEPEST} levels"),
        ("- " * 10_000, f"deeper than {DEEPEST} levels"),
        ("\n".join(f"{' ' * i}a:" for i in range(200)), f"deeper than {DEEPEST} levels"),
        (BOMB, f"more than {MOST} values"),
        ("[" + "a, " * (MOST + 1) + "]", f"more than {MOST} values"),
        ("a" * (LONGEST + 1), f"longer than {LONGEST} characters"),
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)  # fmt: skip
def test_what_is_refused(text: str, fault: str) -> None:
    began = time.process_time()
    with pytest.raises(YamlError) as caught:
        parse(text)
    assert fault in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - began < 20


CHARACTERS = st.one_of(
    st.characters(exclude_categories=()),
    st.sampled_from(
        list("ab 0123456789.-+_:#&*!|>%@`{}[],'\"?~=$\\/\n\r\t\x1b\x85\xa0\u2028\ufeff\u202e\udce9\U0010fffd")
    ),
)
TEXTS = st.text(CHARACTERS, max_size=12)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(-1e38, 1e38), st.booleans(), st.none())
TREES = st.recursive(
    st.one_of(TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, TREES, max_size=3), st.booleans())
def test_what_is_written_is_read_as_the_same(tree: dict[str, Any], ascii_only: bool) -> None:
    text = dump(tree, ascii_only=ascii_only)
    assert all(is_shown(each) or each == "\n" for each in text)
    assert text.isascii() or not ascii_only
    text.encode()
    assert (values(parse(text)) or {}) == tree
    assert (yaml.safe_load(text) or {}) == tree
