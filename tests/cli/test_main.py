from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.cli import telling
from facecrypt.recipe.check import Recipe, check_recipe, load_recipe, recipe_values
from facecrypt.surrogates import weights
from tests import processes

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "recipes" / "quickstart.yaml")


def test_check_names_every_fault_and_builds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "surrogates: [{name: sface}]\ntarget_selector: {name: centre}\noptimizer: {name: momentum, args: {decy: 1}}\n"
    )
    assert cli.main(["check", str(bad)]) == cli.WRONG
    assert capsys.readouterr().err == (
        f"facecrypt: {bad}: 2 problems\n"
        "  target_selector: no target_selector named 'centre'. Did you mean 'center'? "
        "Known: center, "
        + ", ".join(sorted(c.name for c in registry.list_components("target_selector") if c.name != "center"))
        + ".\n"
        "  optimizer (momentum): unknown argument 'decy'. Did you mean 'decay'? "
        "Accepts: decay (float >= 0, <= 1, default 1.0), power (float >= 0, <= 1, default 1.0).\n"
    )
    assert cli.main(["check", QUICKSTART]) == cli.DONE
    assert capsys.readouterr().out == f"{QUICKSTART}: no problems\n"


def test_show_fills_in_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", QUICKSTART, "epsilon=8", "surrogates[0].weight=2"]) == cli.DONE
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["epsilon"] == 8
    assert shown["surrogates"][0]["weight"] == 2
    assert shown["trainer"]["precision"] == "32-true"
    assert shown["photos"] is None


def test_list_shows_every_component_with_what_a_user_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    for component in registry.list_components():
        assert [line for line in lines if line.split()[:1] == [component.name]]
    (sface,) = [line for line in lines if line.split()[:1] == ["sface"]]
    assert re.fullmatch(r"sface +SFace of the OpenCV Zoo .* 10.7 MB +permissive +yes *", sface)


def test_list_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "view"]) == cli.DONE
    first, headings, *lines = capsys.readouterr().out.splitlines()
    assert (first, headings.split()) == ("view", ["name", "what", "it", "is", "offline"])
    names = {component.name for component in registry.list_components("view")}
    assert {line.split()[0] for line in lines[: lines.index("")] if not line.startswith(" ")} == names


@pytest.mark.parametrize("arguments", [[], ["protect"], ["run"], ["list", "losses"]])
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.WRONG
    assert "usage: facecrypt" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registry, "list_components", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


@pytest.mark.parametrize("argument", ["--help", "--version", "list"])
def test_what_answers_at_once_imports_nothing_heavy(argument: str) -> None:
    code = (
        "import sys\nfrom facecrypt.cli.main import main\n"
        f"try: main([{argument!r}])\nexcept SystemExit: pass\n"
        "print({'torch', 'lightning', 'kornia', 'numpy'} & sys.modules.keys())"
    )
    result = processes.run([sys.executable, "-c", code], check=True)
    assert result.stdout.endswith("set()\n")


@pytest.mark.slow
def test_python_dash_m_is_the_same_program() -> None:
    result = processes.run([sys.executable, "-m", "facecrypt", "check", QUICKSTART])
    assert (result.returncode, result.stdout) == (0, f"{QUICKSTART}: no problems\n")


@pytest.mark.parametrize("originals", [True, False])
def test_the_last_line_says_that_the_report_is_private(originals: bool, capsys: pytest.CaptureFixture[str]) -> None:
    from facecrypt.report import writer

    face = {
        "index": 1, "max_abs": 8, "level": None, "recognisers": {}, "verdict": "weak", "expected": 0.2, "visible": None,
    }  # fmt: skip
    photo = {"status": "written", "source": "a.png", "output": "out/a.png", "skipped": [], "faces": [face]}
    values = {"surrogates": [{"name": "sface"}], "output": "out", "report": {"originals": originals}}
    telling.summarise(writer.make(recipe_values(check_recipe(values)), [], [photo], 1.0, "cpu"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("report: out/report.html (1.0 s)")
    assert ("shows the original faces, too: keep it private" in last) == originals


@pytest.mark.parametrize(
    ("verdicts", "failed", "status", "allowed"),
    [
        (["pass", "pass"], 0, 0, 0),
        (["pass", "weak"], 0, 3, 0),
        (["not judged"], 0, 3, 0),
        (["not found again", "pass"], 0, 3, 0),
        (["pass"], 1, 1, 1),
        (["weak"], 1, 1, 1),  # What failed stands above what is weak.
        ([], 1, 1, 1),
        ([], 0, 0, 0),
    ],
)
def test_the_exit_status_tells_the_verdict(
    verdicts: list[str], failed: int, status: int, allowed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from facecrypt.pipeline import runner
    from facecrypt.report import writer
    from tests.face_verdicts import verdict

    known: dict[str, Any] = {"index": 1, "max_abs": 8, "level": None, "expected": None, "visible": "hardly"}
    judges = {"pass": verdict(0.1), "weak": verdict(0.9), "not judged": verdict(0.1, cannot="a NaN")}
    faces = [
        {**known, "verdict": each, "recognisers": {"a": {"cannot_judge": "", **judges.get(each, verdict(None))}}}
        for each in verdicts
    ]
    photo = {"status": "written", "source": "a.png", "output": "out/a.png", "skipped": [], "reason": ""}
    photos = [{**photo, "faces": [face], "verdict": face["verdict"]} for face in faces]
    photos += [{**photo, "status": "failed", "faces": [], "verdict": None}] * failed

    def run(recipe: Recipe, **_: Any) -> writer.Report:
        return writer.make(recipe_values(recipe), [], photos, 1.0, "cpu")

    monkeypatch.setattr(runner, "run", run)
    command = ["run", QUICKSTART, f"output={tmp_path}"]
    assert cli.main(command) == status
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == run(load_recipe(QUICKSTART)).summary
    assert rest[-1].startswith("report: ")
    assert cli.main([*command, "--allow-weak"]) == allowed
    assert cli.main(["run", "--allow-weak", *command[1:]]) == allowed


def test_the_help_tells_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = capsys.readouterr().out
    for status in (cli.DONE, cli.SOME_FAILED, cli.WRONG, cli.WEAK, cli.INTERRUPTED):
        assert f"\n  {status} " in told
    readme = (ROOT / "README.md").read_text()
    assert all(f"\n| {status} |" in readme for status in (0, 1, 2, 3, 130))


def test_protect_is_an_option_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", QUICKSTART, "--protect", "2"]) == cli.WRONG
    assert "protect: 2 is wrong" in capsys.readouterr().err
    assert (
        cli.main(["run", QUICKSTART, "surrogates=[{name: dlib_resnet}]", "preset=mid", "--protect", "0.9"]) == cli.WRONG
    )
    assert "protect: what others make of masks by dlib_resnet was not measured" in capsys.readouterr().err
    assert cli.main(["show", QUICKSTART, "protect=0.9"]) == cli.DONE
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["protect"], shown["preset"], len(shown["levels"])) == (0.9, None, 4)


def test_a_broken_plugin_has_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    registry.list_components()
    monkeypatch.setitem(registry._shared.broken_plugins, "facecrypt-broken", "ImportError: no module named x")
    assert cli.main(["list"]) == cli.DONE
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("plugin ")]
    assert "facecrypt-broken" in row
    assert "broken: ImportError: no module named x" in row


def test_output_that_nobody_reads_to_its_end_is_no_fault() -> None:
    command = f"{sys.executable} -m facecrypt list | head -n 1"
    done = processes.run(["sh", "-c", command], check=True)
    assert done.stdout.startswith("method")
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--offline", "weights", "list"], ["weights", "--offline", "list"]])
def test_offline_may_stand_before_or_after_the_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(weights.OFFLINE, "")
    assert cli.main(arguments) == cli.DONE
    assert weights.offline()
