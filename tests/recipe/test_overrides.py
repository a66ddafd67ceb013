from __future__ import annotations

from typing import Any

import pytest

from facecrypt.recipe.overrides import Override, Typed, apply, read_override
from facecrypt.recipe.yaml_values import Scalar, parse


def applied(text: str, *overrides: str | Override) -> dict[str, Any]:
    tree: dict[str, Any] = parse(text)
    assert apply(tree, overrides) == []
    return tree


def test_an_override_is_kept_as_it_was_typed() -> None:
    assert read_override("photos=a=b # c") == Override("photos", Typed("a=b # c", "photos=a=b # c"))
    assert read_override("photos=") == Override("photos", Typed("", "photos="))
    assert read_override("photos:=[2024, no]") == Override("photos", [Scalar("2024", 2024), Scalar("no", False)])


def test_keys_reach_into_lists_and_make_mappings() -> None:
    tree = applied("a: [{b: 1}]\nn: null", "a[0].b=2", "c.d.e=3", "n.x=1")
    assert tree["a"] == [{"b": Typed("2", "a[0].b=2")}]
    assert tree["c"] == {"d": {"e": Typed("3", "c.d.e=3")}}
    assert tree["n"] == {"x": Typed("1", "n.x=1")}


def test_an_override_reaches_into_one_before_it() -> None:
    assert applied("{}", "a=[{b: 1}, 2]", "a[0].b=3")["a"] == [{"b": Typed("3", "a[0].b=3")}, Scalar("2", 2)]
    assert applied("{}", Override("a", {"b": 1}), "a.c=2")["a"] == {"b": 1, "c": Typed("2", "a.c=2")}


def test_the_word_of_a_key_stays_when_another_is_added() -> None:
    for tree in (applied("faces: largest", "faces.index=1"), applied("{}", "faces=largest", "faces.index=1")):
        assert tree["faces"]["choose"] == Scalar("largest", "largest")


def test_the_arguments_of_a_component_that_is_given_by_its_name() -> None:
    for tree in (
        applied("method: x", "method.args.b=1"),
        applied("{}", Override("method", Scalar("x", "x")), "method.args.b=1"),
    ):
        assert tree["method"] == {"name": Scalar("x", "x"), "args": {"b": Typed("1", "method.args.b=1")}}
    tree = applied("receipt: {detector: x}", "receipt.detector.args.b=1")
    assert tree["receipt"]["detector"]["name"] == Scalar("x", "x")
    assert applied("method: x", "method.name=y")["method"] == {"name": Typed("y", "method.name=y")}


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("epsilon", "it has no '='"),
        ("=3", "it has no '='"),
        ("a..b=1", "it names no key"),
        ("a[b]=1", "it names no key"),
        ("a[=1", "it names no key"),
        (".a=1", "it names no key"),
        ("[0]=1", "it names no key"),
        (":=1", "it names no key"),
        ("a[99999999999]=1", "it names no key"),
        ("x." * 30 + "y=1", "its key has more than 20 parts"),
        ("a[7].b=1", "a has 1 entries, numbered from 0"),
        ("a.b=1", "a is a list, so a number in brackets follows it"),
        ("a[0][0]=1", "a[0] is a mapping, so a key follows it"),
        ("s.b=1", "s is no mapping or list that has s.b"),
        ("a:=[1", "line 1, column 3: expected"),
        ("a:=!!python/name:os.system ''", "is not allowed"),
        ("a:=" + "[" * 10_000, "is nested deeper"),
    ],
)
def test_what_makes_no_sense(override: str, reason: str) -> None:
    (fault,) = apply(parse("a: [{b: 1}]\ns: text"), [override])
    assert fault.startswith("override ")
    assert reason in fault
    assert fault.endswith("Write key=value, as in epsilon=8 or surrogates[0].weight=2.")
    assert len(fault) < 1000
