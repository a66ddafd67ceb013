from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facecrypt.cli import main as cli
from facecrypt.errors import RecipeError
from facecrypt.recipe.check import load_recipe, recipe_values, show_recipe
from facecrypt.recipe.presets import load_presets
from facecrypt.recipe.schema import Budget

BASE = """\
surrogates: [{name: sface}]
seed: 4
views: []
optimizer: {name: momentum}
trainer: {accelerator: cpu, devices: 2}
"""
OWN = """\
base: base.yaml
preset: mid
trainer:
  devices: 1
output: run-${seed}
epsilon: 9
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("own.yaml").write_text(OWN)
    return "own.yaml"


def origins(recipe: str, *overrides: str) -> dict[str, str]:
    """The comment of each line, by what the line says."""
    shown = show_recipe(recipe, overrides, origin=True)
    assert yaml.safe_load(shown) == yaml.safe_load(show_recipe(recipe, overrides))
    pairs = [line.partition("  # ") for line in shown.splitlines()]
    return {text.strip(): comment for text, _, comment in pairs if comment}


def test_each_value_tells_where_it_comes_from(recipe: str) -> None:
    told = origins(recipe, "colour=0.5", "optimizer.args.decay=0.5")
    assert told["- name: sface"] == "base base.yaml:1"
    assert (told["seed: 4"], told["accelerator: cpu"]) == ("base base.yaml:2", "base base.yaml:5")
    assert (told["devices: 1"], told["output: run-4"]) == ("recipe own.yaml:4", "recipe own.yaml:5")
    assert (told["epsilon: 9.0"], told["preset: mid"]) == ("recipe own.yaml:6", "recipe own.yaml:2")
    assert (told["steps: 60"], told["jod: 9.3"], told["- name: affine"]) == ("preset mid",) * 3
    assert (told["ssim: null"], told["photos: null"], told["args: {}"]) == ("default",) * 3
    assert (told["colour: 0.5"], told["decay: 0.5"]) == ("override", "override")


def test_a_preset_among_the_overrides_and_a_budget_of_ones_own(recipe: str) -> None:
    told = origins(recipe, "preset=max", "budget={jod: 9.1}", "views:=[]")
    assert (told["epsilon: 24.0"], told["preset: max"]) == ("preset max", "override")
    assert (told["jod: 9.1"], told["enlarged: null"], told["views: []"]) == ("override", "default", "override")


def test_the_values_of_levels_are_those_of_their_presets(tmp_path: Path) -> None:
    file = tmp_path / "levels.yaml"
    file.write_text(
        "surrogates: [{name: sface}, {name: dlib_resnet}]\nprotect: 0.8\nlevels: [low, {preset: max, steps: 9}]\n"
    )
    told = origins(str(file))
    assert told["protect: 0.8"] == f"recipe {file}:2"
    assert (told["jod: 9.5"], told["jod: 8.5"], told["steps: 9"]) == ("preset low", "preset max", f"recipe {file}:3")


def test_an_empty_list_has_an_origin_too(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("surrogates: [{name: sface, args: {}}]\n\nviews:\n  []\n")
    told = origins(str(file))
    assert (told["views: []"], told["held_out: []"]) == (f"recipe {file}:4", "default")


def test_an_override_reaches_into_the_values_of_a_preset(recipe: str) -> None:
    """As into those of a base: the other bounds of the budget stay."""
    loaded = load_recipe(recipe, ["budget.jod=9.8", "views[0].args.degrees=2"])
    budget = load_presets()["mid"]["budget"]
    assert loaded.budget == Budget(**{**budget, "jod": 9.8})
    assert loaded.views[0].args == {**load_presets()["mid"]["views"][0]["args"], "degrees": 2}
    assert load_recipe(recipe, ["budget={jod: 9.8}"]).budget == Budget(jod=9.8)
    assert load_recipe(recipe, ["preset=null", "budget.jod=9.8"]).budget == Budget(jod=9.8)


def test_the_command(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", recipe, "--resolved", "seed=5"]) == cli.DONE
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(show_recipe(recipe, ["seed=5"]))
    assert cli.main(["show", recipe, "seed=5", "--origin"]) == cli.DONE
    assert "seed: 5" in capsys.readouterr().out
    assert cli.main(["show", "benchmarks/plus", "--origin"]) == cli.WRONG
    Path("wrong.yaml").write_text("surrogates: []\n")
    with pytest.raises(RecipeError, match="surrogates"):
        show_recipe("wrong.yaml", origin=True)


def test_odd_names_of_files_stay_on_their_line(tmp_path: Path) -> None:
    odd = tmp_path / "a\nb\u202e.yaml"
    odd.write_text(BASE)
    shown = show_recipe(str(odd), origin=True, ascii_only=True)
    assert shown.isascii()
    assert yaml.safe_load(shown) == recipe_values(load_recipe(odd))
