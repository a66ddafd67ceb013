from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facecrypt.recipe.check import Recipe
from facecrypt.recipe.config_values import nodes_of
from facecrypt.recipe.interpolation import escape, resolve
from facecrypt.recipe.key_types import Schema, plain_values
from facecrypt.recipe.yaml_values import LONGEST, Scalar, parse
from tests.processes import run


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
        ("x: ${y.1.w}\ny: [0, {w: 2}]", ("2", 2)),
        ("x: ${[y][z]}\ny: {z: 2}", ("2", 2)),
        ("x: ${y.${z}}\ny: {a: 1}\nz: a", ("1", 1)),
        ("x: ${y.${z}}\ny: {a: {b: 1}}\nz: a.b", ("1", 1)),
        ("x: ${y[${z}]}\ny: [5, 6]\nz: 1", ("6", 6)),
        ("x: ${${z}}\ny: 1\nz: y", ("1", 1)),
        ("x: ${y}}\ny: 1", ("1}", "1}")),
        ("x: ${y-z}\ny-z: 1", ("1", 1)),
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
        ("x: a${y}\ny: [1]", "stands for a list inside a text"),
        ("x: ${x}", "leads back to itself"),
        ("x: ${y}\ny: ${x}", "leads back to itself"),
        ("x: {a: '${x}'}", "leads back to itself"),
        ("x: ['${x[0]}']", "leads back to itself"),
        ("x: ${x.y}", "leads back to itself"),
        ("x: ${y}\ny: ${z}\nz: ['${y}']", "leads back to itself"),
        ("x: ${...y}", "leads out of the recipe"),
        ("x: ${", "is no interpolation"),
        ("x: ${y", "is no interpolation"),
        ("x: ${a.${y}}\ny: 1", "there is no a in the recipe"),
        ("x: ${a.${y}}\na: 1\ny: [1]", "stands for a list inside a text"),
        ("x: ${${x}}", "leads back to itself"),
        ("x: ${y}\ny: z${a[${x}]}", "leads back to itself"),
        ("x: ${${y}}\ny: '.'", "names no key"),
        ("x: ${y}\ny: {a: '${b.${x.a}}'}", "leads back to itself"),
        ("x: ${}", "is no interpolation"),
        ("x: ${a..b}", "is no interpolation"),
        ("x: ${[0]}", "there is no"),
        ("x: ${oc.decode:'1'}", "calls a function"),
        ('x: "${oc.create:{a: 1}}"', "calls a function"),
        ("x: ${oc.select:y}\ny: 1", "calls a function"),
        ("x: ${oc.deprecated:y}\ny: 1", "calls a function"),
        ("x: ${oc.dict.keys:y}\ny: {a: 1}", "calls a function"),
        ("x: ${of_a_plugin:y}\ny: 1", "calls a function"),
        ("x: ${oc.${y}:'1'}\ny: decode", "calls a function"),
        ("x: ${oc.${y}:HOME}\ny: env", "reads the environment"),
        ("x: ${of_a_plugin:a,}", "an argument is left out"),
        ("x: ${y}${" + "y" * 2000 + "}\ny: 1", "more than 2000 characters"),
        ("x: '" + "${y}" * 21 + "'\ny: 1", "more than 2000 characters or 20 of { and ["),
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
        "a: ${oc.env:FACECRYPT_TEST}\nb: ${oc.env:FACECRYPT_TEST_TEXT}\nc: ${oc.env:FACECRYPT_TEST_NONE,'a, b'}", True
    )
    assert [(each.text, each.value) for each in tree.values()] == [("20", 20), ("${x}", "${x}"), ("a, b", "a, b")]
    assert "the environment has no 'FACECRYPT_TEST_NONE'" in faults("a: ${oc.env:FACECRYPT_TEST_NONE}", True)[0]
    tree = resolved("a: ${oc.env:${b}}\nb: FACECRYPT_TEST\nc: ${oc.env:FACECRYPT_TEST_NONE,${b}}", True)
    assert (tree["a"].value, tree["c"].value) == (20, "FACECRYPT_TEST")
    defaults = {"1e-3": 0.001, "null": None, "true": True, "a b": "a b", "'${b}'": "x", "''": None, "010": 8}
    for written, value in defaults.items():
        assert resolved(f'a: "${{oc.env:FACECRYPT_TEST_NONE,{written}}}"\nb: x', True)["a"].value == value
    for text in ("a: ${oc.decode:'1'}", "a: ${oc.env:A,b,c}", "a: ${oc.env:}", "a: '${oc.env:A,[b]}'"):
        assert faults(text, True)


@pytest.mark.parametrize("start", ["xxxxxxxxxx", "''", "[1]", "{a: 1}"])
def test_doublings_end_soon(start: str) -> None:
    inside = "['${{l{0}}}', '${{l{0}}}']" if start[0] in "[{" else "${{l{0}}}${{l{0}}}"
    text = f"l0: {start}\n" + "".join(f"l{i + 1}: {inside.format(i)}\n" for i in range(28)) + "x: ${l28}\n"
    assert "interpolations add up to more than" in faults(text)[-1]


def test_long_chains_end_soon() -> None:
    text = "".join(f"c{i}: ${{c{i + 1}}}\n" for i in range(5000))
    assert "interpolations lead through too many others" in faults(text)[0]
    nested = "".join(f"n{i}: {{a: '${{n{i + 1}}}'}}\n" for i in range(300)) + "n300: 1"
    assert faults(nested)
    inside = "".join(f"c{i}: ${{c{i + 1}.a}}\n" for i in range(300)) + "c300: {a: 1}"
    assert "interpolations lead through too many others" in faults(inside)[0]
    assert faults("x: '" + "${" * 60_000 + "'")
    assert resolved("x: '" + "\\" * 100_000 + "'")
    assert resolved("x: '" + "\\${" * 40_000 + "'")


@pytest.mark.parametrize(
    "line",
    [
        "${" * 19 + "y" + "}" * 19,
        pytest.param("${f:" * 19 + "}" * 19, marks=pytest.mark.slow),
        pytest.param("${oc.env:FACECRYPT_TEST_NONE," * 19 + "y" + "}" * 19, marks=pytest.mark.slow),
        pytest.param("${f:" + "[" * 19 + "]" * 19 + "}", marks=pytest.mark.slow),
        "${f:" + "a," * 900 + "a}",
        "a$" * 900 + "${y}",
    ],
)
def test_a_recipe_of_one_hostile_text_ends_soon(line: str) -> None:
    lines, size = ["y: y"], 0
    while size + len(line) < LONGEST - 4000:
        lines.append(f'x{len(lines)}: "{len(lines)} {line}"')
        size += len(lines[-1]) + 1
    faults("\n".join(lines), allow_env=True)


@pytest.mark.parametrize(
    "link",
    [
        "${{c{0}}}",
        "${{${{${{c{0}}}}}}}",
        "${{oc.env:FACECRYPT_TEST_NONE,[[[${{c{0}}}]]]}}",
        "${{f:{{a:{{a:${{c{0}}}}}}}}}",
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 35])
def test_chains_call_no_deeper_than_python_allows(link: str, depth: int) -> None:
    links = [f"c{i}: " + "[" * depth + "'" + link.format(i + 1) + "'" + "]" * depth for i in range(100)]
    assert "lead through too many others" in faults("\n".join(links), allow_env=True)[-1]


def test_texts_without_references_need_no_parser() -> None:
    code = (
        "import sys; from facecrypt.recipe.interpolation import resolve; "
        "from facecrypt.recipe.yaml_values import parse;"
        r"assert resolve(parse('x: $a \\${b}'))[0]['x'].text == '$a ${b}'; assert 'omegaconf' not in sys.modules"
    )
    run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "text",
    [
        "${y}", "a${y}b${z.0}", "${z[1].w}", "${q.${k}}", r"\${y}", r"\\${y}", r"a\\\${y}\\", "${ y }}", "$y{",
        "${.y}",
        "${q[${k}]}", "${q.p.${.y}}", "${ q . p }", "${q.l}", "${y y}", "${y:}", "${nowhere}", "${..y}",
        "${q.l.nowhere}",
    ],
)  # fmt: skip
def test_references_stand_for_what_omegaconf_says(text: str) -> None:
    values = {"x": text, "y": "1", "z": ["a", {"w": "c"}], "q": {"p": {"1": "d"}, "l": "${..y}"}, "k": "l"}
    tree, found = resolve({key: nodes_of(key, value) for key, value in values.items()})
    try:
        expected = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except OmegaConfBaseException:
        assert found
    else:
        assert found == []
        assert plain_values(tree, Schema(Recipe, {}, {}))[0] == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["\\", "$", "{", "}", "${", "a", "\\${", "\udce9"]), max_size=9).map("".join))
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    tree, found = resolve({"x": Scalar(escape(text), escape(text))})
    assert found == []
    assert tree["x"].text == text
    assert OmegaConf.create({"x": escape(text)}).x == text
