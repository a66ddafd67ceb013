from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.errors import ProtocolError, RecipeError
from facecrypt.recipe.check import load_recipe
from facecrypt.system import console
from tests import processes

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "recipes" / "quickstart.yaml")
EVIL = "\x1b]0;x\x07\x9b31m\r\u202e\u200bx\ny"
SHOWN = r"\x1b]0;x\x07\x9b31m\r\u202e\u200bx\ny"


def printable(text: str) -> bool:
    return all(each.isprintable() or each == "\n" for each in text)


def run(*arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-m", "facecrypt", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(EVIL)
    console.warn(EVIL)
    console.write(f"a\n{EVIL}\n")
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == [SHOWN, "a"]
    assert err == f"facecrypt: warning: {SHOWN}\n"
    assert printable(out)


def test_errors_have_a_line_for_each_fault(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (RecipeError(EVIL, [EVIL, "b"]), ProtocolError(EVIL, [EVIL, "b"])):
        console.report(error)
        assert capsys.readouterr().err == f"facecrypt: {SHOWN}: 2 problems\n  {SHOWN}\n  b\n"


def test_tables_hold_texts_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.make_table("name")
    for cell in (EVIL, "[bold]x[/bold]", "[/wrong]", "[link=https://x]y"):
        console.add_row(table, cell)
    console.print_table(table)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["name", SHOWN, "[bold]x[/bold]", "[/wrong]", "[link=https://x]y"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", QUICKSTART, f"photos=x{EVIL}", f"{EVIL}=1"],
        ["check", QUICKSTART, f"targets={EVIL}", f"preset={EVIL}"],
        ["check", QUICKSTART, f"surrogates[0].name={EVIL!r}"],
        ["check", f"{EVIL}.yaml"],
        ["show", QUICKSTART, f"output={EVIL}", "photos=caf\udce9"],
        ["run", QUICKSTART, f"photos=no such {EVIL}"],
        ["evaluate", QUICKSTART, f"protocol.file={EVIL}"],
        ["weights", "path", EVIL],
        [EVIL],
        ["list", EVIL],
        ["check", QUICKSTART, f"--{EVIL}"],
        ["bench", QUICKSTART, "--faces", EVIL],
    ],
)
def test_nothing_reaches_the_terminal_raw(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    assert printable(out + err)
    assert status == (cli.DONE if arguments[0] == "show" else cli.WRONG)


def test_the_yaml_of_a_stranger_reaches_the_terminal_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"a{EVIL}.yaml"
    for text in (
        f"a: '{EVIL}'",
        '"\\e[31m\\u202e": 1\nsurrogates: [{name: "\\a"}]',
        "a: @\u202e",
        "\u202e\u200b: [",
        "a: *\u200b",
    ):
        file.write_text(text, encoding="utf-8")
        assert cli.main(["check", str(file)]) == cli.WRONG
        out, err = capsys.readouterr()
        assert printable(out + err)


def test_the_names_of_plugins_reach_the_terminal_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.list_components()
    component = registry.Component("view", EVIL, "x:y", f"[red]{EVIL}", EVIL)
    monkeypatch.setitem(registry._shared.components, ("view", EVIL), component)
    monkeypatch.setitem(registry._shared.broken_plugins, EVIL, f"ImportError: {EVIL}")
    assert cli.main(["list", "view"]) == cli.DONE
    assert cli.main(["check", QUICKSTART, "views=[{name: none}]"]) == cli.WRONG
    out, err = capsys.readouterr()
    assert printable(out + err)
    assert f"[red]{SHOWN}" in out


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        pytest.param({"PYTHONIOENCODING": "cp1252"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, marks=pytest.mark.slow),
    ],
    ids=lambda environment: next(iter(environment.values())),
)
def test_a_console_that_lacks_characters(environment: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "r\u00e9cipe \U0001f600.yaml"
    recipe.write_text("surrogates: [{name: sface}]\n")
    status, out, err = run("show", str(recipe), "output=caf\u00e9 \U0001f600", **environment)
    assert (status, err) == (0, b"")
    shown = tmp_path / "shown.yaml"
    shown.write_bytes(out)
    assert load_recipe(shown).output == "caf\u00e9 \U0001f600"
    status, out, err = run("check", f"{recipe}.none", **environment)
    assert (status, out) == (2, b"")
    assert b"cipe \\U0001f600.yaml.none: 1 problem" in err or b"\\xf0\\x9f\\x98\\x80" in err


# Of what starts without torch, for speed.
CLOSED = [
    ("list view >&-", 0),
    ("list view <&- >&- 2>&-", 0),
    ("--help >&-", 0),
    ("check none.yaml 2>&-", 2),
    ("check none.yaml <&- >&- 2>&-", 2),
    ("bogus 2>&-", 2),
    ("list view >/dev/full", 2),
    ("--help >/dev/full", 2),
    ("check none.yaml 2>/dev/full", 2),
    ("check none.yaml 2>&1 | true; exit ${PIPESTATUS[0]}", 2),
    ("list view | true; exit ${PIPESTATUS[0]}", 0),
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(("line", "status"), CLOSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_stream_that_is_closed_or_full(line: str, status: int) -> None:
    command = f"{sys.executable} -m facecrypt {line}"
    done = processes.run(["bash", "-c", command])
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    if "/dev/full" in line and "2>" not in line:
        assert "standard output: cannot be written (No space left on device)" in done.stderr


def test_a_closed_stream_gives_its_number_to_no_file(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom facecrypt.system import console\nconsole.prepare()\n"
        f"file = open({str(tmp_path / 'photo')!r}, 'w')\nnumber = file.fileno()\n"
        "print('printed')\nos.write(2, b'raw')\nfile.write(str(number))\nfile.close()\n"
    )
    subprocess.run(["bash", "-c", f'{sys.executable} -c "$0" <&- >&- 2>&-', code], cwd=ROOT, check=True)
    assert int((tmp_path / "photo").read_text()) > 2


def test_everything_is_printed_in_one_place() -> None:
    """Elsewhere nothing is printed, except by the commands that measure and draw, which take no names from others."""
    allowed = {"console.py", "embedding_cache.py", "make_virtual_targets.py", "make_frbench_table.py"}
    for file in (ROOT / "facecrypt").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        printing = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert file.name in allowed or not printing, f"{file}: {printing}: call console.say"
