"""The small commands: what comes with facecrypt, copies of it, help, completion."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from facecrypt.cli import main as cli
from facecrypt.cli.table import COMMANDS
from facecrypt.recipe.shipped import shipped_names, shipped_recipe
from tests import processes

HEAVY = ("torch", "lightning", "kornia", "numpy", "pydantic", "omegaconf", "yaml", "PIL", "rich")


def test_recipes_are_listed_each_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes"]) == cli.DONE
    *lines, empty, hint = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "quickstart"
    assert {line.split()[0] for line in lines} == set(shipped_names())
    assert all(len(line.split()) > 3 for line in lines)
    assert (empty, "facecrypt cp NAME ." in hint) == ("", True)
    assert cli.main(["recipes", "-q"]) == cli.DONE
    assert capsys.readouterr().out.splitlines() == lines


def test_a_recipe_is_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["cp", "baselines/pgd", "."]) == cli.DONE
    assert Path("pgd.yaml").read_bytes() == shipped_recipe("baselines/pgd").read_bytes()
    Path("pgd.yaml").write_text("mine")
    assert cli.main(["cp", "baselines/pgd"]) == cli.WRONG
    assert "pgd.yaml: is there already, and stays. Name another file" in capsys.readouterr().err
    assert Path("pgd.yaml").read_text() == "mine"
    assert cli.main(["cp", "tipim", "mine.yaml"]) == cli.DONE
    assert cli.main(["check", "mine.yaml"]) == cli.DONE
    assert cli.main(["cp", "tipm"]) == cli.WRONG
    assert "no recipe 'tipm' comes with facecrypt. Did you mean 'tipim'?" in capsys.readouterr().err
    assert cli.main(["cp", "tipim", "gone/mine.yaml"]) == cli.WRONG
    assert "gone: there is no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_dash_dash_help_tells(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for words in (["help", command], [command, "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == cli.DONE
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("usage: facecrypt ")


def test_help_alone_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == cli.DONE
    told = capsys.readouterr().out
    assert all(f"\n    {command} " in told for command in COMMANDS)
    with pytest.raises(SystemExit) as caught:
        cli.main(["-V"])
    assert caught.value.code == cli.DONE
    assert capsys.readouterr().out == f"facecrypt {metadata.version('facecrypt')}\n"


def offered(folder: Path, line: str) -> list[str]:
    """Return what the program tells a shell that stands at the end of a line."""
    answer = folder / "answer"
    environment = os.environ | {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "PYTHONPATH": os.pathsep.join(sys.path),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    code = (
        "import os, sys\nfrom facecrypt.cli.main import complete\n"
        "leave = os._exit\n"
        f"os._exit = lambda status: leave(status or 10 * bool({set(HEAVY)!r} & sys.modules.keys()))\ncomplete()"
    )
    done = processes.run([sys.executable, "-c", code], environment=environment, folder=folder)
    assert done.returncode == 0, done.stderr
    return answer.read_text().split("\n")


def test_a_shell_is_told_commands_recipes_keys_and_files(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "phone.txt", "mine.yaml"):
        (tmp_path / name).touch()
    assert set(offered(tmp_path, "facecrypt ")) >= set(COMMANDS)
    assert offered(tmp_path, "facecrypt run pho") == ["photo.jpg", "photos="]
    assert set(offered(tmp_path, "facecrypt holiday/ ti")) >= {"tipim", "tipim_plus", "tipim_ensemble"}
    assert offered(tmp_path, "facecrypt run method=faw") == ["method=fawkes"]
    assert offered(tmp_path, "facecrypt check mine.yaml budget.j") == ["budget.jod="]
    assert offered(tmp_path, "facecrypt run photo.jpg --dry") == ["--dry-run"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == cli.DONE
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "facecrypt" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    processes.run([shell, "-n", str(script)], check=True)
