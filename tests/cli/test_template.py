from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from facecrypt import registry, testing
from facecrypt.cli import main as cli
from facecrypt.cli.template import template_kinds, write_plugin
from facecrypt.pipeline.runner import sample_photo
from facecrypt.registry import API_VERSION, KINDS
from tests import processes

ROOT = Path(__file__).parents[2]


def test_the_files_are_those_of_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "plugin", "facecrypt-mine", "--folder", str(tmp_path)]) == cli.DONE
    made = tmp_path / "facecrypt-mine"
    assert capsys.readouterr().out.startswith(f"written: {made}. Next: pip install -e {made}")
    files = {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}
    assert files.keys() == {
        "pyproject.toml", "README.md", "recipe.yaml", "facecrypt_mine/__init__.py", "facecrypt_mine/mean_square.py",
        "tests/test_mean_square.py",
    }  # fmt: skip
    assert not [text for text in files.values() if "@" in text.replace("@pytest", "")]
    assert f"FACECRYPT_API = {API_VERSION} " in files["facecrypt_mine/__init__.py"]


@pytest.mark.parametrize("name", ["Mine", "my_plugin", "", "-a", "../a", "a/b", "ä"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "plugin", f"--folder={tmp_path}", "--", name]) == cli.WRONG
    assert "is no name of a package. Use small letters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert cli.main(["new", "plugin", "mine", "--folder", str(tmp_path)]) == cli.WRONG
    assert "is there already" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_there_is_one_of_each_kind() -> None:
    assert set(template_kinds()) == set(KINDS)


QUICK = ("naturalness", "optimizer", "view")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in template_kinds()]
)
def test_the_component_of_each_kind_keeps_its_promises(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"facecrypt-of-{kind.replace('_', '-')}"
    assert cli.main(["new", "plugin", package, "--folder", str(tmp_path), f"--kind={kind}"]) == cli.DONE
    monkeypatch.syspath_prepend(str(tmp_path / package))
    registry.list_components()  # So that it registers beside everything else, and only for this test.
    monkeypatch.setattr(registry._shared, "components", dict(registry._shared.components))
    (registering,) = (tmp_path / package).glob("*/__init__.py")
    component, target, summary = re.findall(r'"(.*)"', registering.read_text().split("register(\n")[1])[1:4]
    assert 10 < len(summary) < 100
    module, _, attribute = target.partition(":")
    testing.check(getattr(importlib.import_module(module), attribute), kind=kind, photos=str(sample_photo().parent))
    assert component in (tmp_path / package / "recipe.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["naturalness", "method", "surrogate"])
def test_it_works_once_it_is_installed(kind: str, tmp_path: Path) -> None:
    assert cli.main(["new", "plugin", "facecrypt-mine", "--folder", str(tmp_path), "--kind", kind]) == cli.DONE
    run(tmp_path, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target=site", "./facecrypt-mine")
    (component,) = (path.stem for path in (tmp_path / "facecrypt-mine/facecrypt_mine").glob("[!_]*.py"))
    assert "source: " in run(tmp_path, "facecrypt", "list", kind, component)
    assert "no problems" in run(tmp_path, "facecrypt", "check", "facecrypt-mine/recipe.yaml")
    assert " passed" in run(tmp_path, "pytest", "-p", "no:cacheprovider", "facecrypt-mine/tests")
    keys = ["steps=1", "max_targets=2", "trainer.accelerator=cpu", "receipt.transforms=[]"]
    assert "written: " in run(tmp_path, "facecrypt", "run", "--allow-weak", "facecrypt-mine/recipe.yaml", *keys)


def run(folder: Path, module: str, *arguments: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = processes.run([sys.executable, "-m", module, *arguments], folder=folder, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_recipe_of_a_judge_that_ranks_enrols_somebody(tmp_path: Path) -> None:
    folder = write_plugin("facecrypt-mine", tmp_path, "judge")
    (judge,) = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["held_out"]
    assert judge["enrol"] == "album"
