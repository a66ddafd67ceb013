from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecrypt.interpolation import escape, resolve
from facecrypt.yaml_values import Scalar, parse


def resolved(text: str, allow_env: bool = False) -> dict[str, Any]:
    tree, faults = resolve(parse(text), allow_env)
    assert faults == []
    return tree


def faults(text: str, allow_env: bool = False) -> list[str]:
    began = time.process_time()
    found = resolve(parse(text), allow_env)[1]
    assert time.process_time() - began < 20
    return found


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("x: ${y}\ny: 2024", ("2024", 2024)),
        ("x: a-${y}-${y}\ny: 07", ("a-07-07", "a-07-07")),
        ("x: ${y.z[1].w}\ny: {z: [0, {w: no}]}", ("no", False)),
        ("x: ${y}\ny: ${z}\nz: 1", ("1", 1)),
        ("x: ${ y }\ny: 1", ("1", 1)),
        ("x: ${.y}\ny: 1", ("1", 1)),
        ("x: ${y[1]}\ny: [1, '${..z}']\nz: 3", ("3", 3)),
        ("x: ${y.a}\ny: ${z}\nz: {a: 5}", ("5", 5)),
        (r"x: \${y}", ("${y}", "${y}")),
        (r"x: a\\${y}" + "\ny: 1", ("a\\1", "a\\1")),
        (r"x: \\\${y}" + "\ny: 1", ("\\${y}", "\\${y}")),
        ("x: $y {y} $ {y}\ny: 1", ("$y {y} $ {y}", "$y {y} $ {y}")),
    ],
)
def test_references(text: str, x: tuple[str, object]) -> None:
    found = resolved(text)["x"]
    assert (found.text, found.value) == x


def test_a_reference_may_stand_for_a_list_or_a_mapping() -> None:
    tree = resolved("x: ${y}\ny: [{a: '${z}'}]\nz: 1")
    assert tree["x"] == tree["y"] == [{"a": Scalar("1", 1)}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x: ${y}", "x: '${y}': there is no y in the recipe."),
        ("x: ${y[3]}\ny: [1]", "there is no y[3]"),
        ("x: ${y.z}\ny: text", "there is no y.z"),
        ("x: a${y}\ny: [1]", "'y' is a list, no text"),
        ("x: ${x}", "leads back to itself"),
        ("x: ${y}\ny: ${x}", "leads back to itself"),
        ("x: {a: '${x}'}", "leads back to itself"),
        ("x: ['${x[0]}']", "leads back to itself"),
        ("x: ${x.y}", "leads back to itself"),
        ("x: ${y}\ny: ${z}\nz: ['${y}']", "leads back to itself"),
        ("x: ${...y}", "leads out of the recipe"),
        ("x: ${", "is not closed"),
        ("x: ${y", "is not closed"),
        ("x: ${a.${y}}\ny: 1", "has another inside"),
        ("x: ${}", "names no key"),
        ("x: ${a..b}", "names no key"),
        ("x: ${[0]}", "names no key"),
        ("x: ${oc.decode:'1'}", "calls a function"),
        ('x: "${oc.create:{a: 1}}"', "has another inside"),
        ("x: ${oc.select:y}\ny: 1", "calls a function"),
        ("x: ${oc.deprecated:y}\ny: 1", "calls a function"),
        ("x: ${oc.dict.keys:y}\ny: {a: 1}", "calls a function"),
        ("x: ${of_a_plugin:y}\ny: 1", "calls a function"),
        ("x: ${oc.env:HOME}", "reads the environment. Write the value, or allow it by the option --allow-env."),
        ("x: ${oc.env:HOME,default}", "reads the environment"),
        ("x: ${y}\ny: ${oc.env:HOME}", "reads the environment"),
    ],
)
def test_what_leads_nowhere(text: str, fault: str) -> None:
    found = faults(text)
    assert found
    assert fault in found[0]


def test_the_environment_is_read_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECRYPT_TEST", "20")
    monkeypatch.setenv("FACECRYPT_TEST_TEXT", "${x}")
    monkeypatch.delenv("FACECRYPT_TEST_NONE", raising=False)
    tree = resolved(
        "a: ${oc.env:FACECRYPT_TEST}\nb: ${oc.env:FACECRYPT_TEST_TEXT}\nc: ${oc.env:FACECRYPT_TEST_NONE,a, b}", True
    )
    assert [(each.text, each.value) for each in tree.values()] == [("20", 20), ("${x}", "${x}"), ("a, b", "a, b")]
    assert "the environment has no 'FACECRYPT_TEST_NONE'" in faults("a: ${oc.env:FACECRYPT_TEST_NONE}", True)[0]
    for text in ("a: ${oc.decode:'1'}", "a: ${oc.env:${b}}\nb: HOME"):
        assert faults(text, True)


@pytest.mark.parametrize("start", ["xxxxxxxxxx", "''", "[1]", "{a: 1}"])
def test_doublings_end_soon(start: str) -> None:
    inside = "['${{l{0}}}', '${{l{0}}}']" if start[0] in "[{" else "${{l{0}}}${{l{0}}}"
    text = f"l0: {start}\n" + "".join(f"l{i + 1}: {inside.format(i)}\n" for i in range(28)) + "x: ${l28}\n"
    assert "interpolations add up to more than" in faults(text)[-1]


def test_long_chains_end_soon() -> None:
    text = "".join(f"c{i}: ${{c{i + 1}}}\n" for i in range(5000))
    assert "leads through more than 40 others" in faults(text)[0]
    nested = "".join(f"n{i}: {{a: '${{n{i + 1}}}'}}\n" for i in range(300)) + "n300: 1"
    assert faults(nested)
    assert faults("x: '" + "${" * 60_000 + "'")
    assert resolved("x: '" + "\\" * 100_000 + "'")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["\\", "$", "{", "}", "${", "a", "\\${", "\udce9"]), max_size=9).map("".join))
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    tree, found = resolve({"x": Scalar(escape(text), escape(text))})
    assert found == []
    assert tree["x"].text == text
