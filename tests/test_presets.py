from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt import cli
from facecrypt.benchmark import load_benchmark
from facecrypt.errors import RecipeError
from facecrypt.presets import KEYS, describe, fill, load_presets, settle_strength
from facecrypt.recipe import Recipe, check_recipe, dump_recipe, level_recipes, load_recipe
from facecrypt.recipe_parts import Budget

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
SFACE, DLIB = {"name": "sface"}, {"name": "dlib_resnet"}
NAMES = list(load_presets())


def chosen(recipe: Recipe, keys: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(dump_recipe(recipe))
    return {key: loaded[key] for key in keys}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_sets_its_values_and_nothing_else(name: str) -> None:
    values = load_presets()[name]
    assert set(values) <= set(KEYS) - {"preset"}
    recipe = check_recipe({"surrogates": [SFACE], "preset": name})
    by_hand = check_recipe({"surrogates": [SFACE], **values})
    assert recipe.preset == name
    assert dump_recipe(recipe).replace(f"preset: {name}", "preset: null") == dump_recipe(by_hand)
    # The resolved recipe holds the values, so that it says the same when the presets have changed.
    assert check_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe


def test_presets_go_from_the_lightest_to_the_strongest() -> None:
    assert NAMES == ["low", "mid", "high", "max"]
    recipes = [check_recipe({"surrogates": [SFACE], "preset": name}) for name in NAMES]
    budgets = [recipe.budget.jod for recipe in recipes if recipe.budget]
    assert len(budgets) == len(NAMES)
    assert budgets == sorted(budgets, reverse=True)
    assert [recipe.epsilon for recipe in recipes] == sorted(recipe.epsilon for recipe in recipes)


def test_a_recipe_wins_over_its_preset() -> None:
    recipe = check_recipe({"surrogates": [SFACE], "preset": "mid", "epsilon": 3, "budget": None})
    assert (recipe.epsilon, recipe.budget) == (3, None)
    assert recipe.steps == load_presets()["mid"]["steps"]


def test_a_preset_on_the_command_line_wins_over_the_file_and_gives_way_to_other_overrides() -> None:
    plain = load_recipe(QUICKSTART)
    preset = load_presets()["max"]
    recipe = load_recipe(QUICKSTART, ["epsilon=7", "preset=max"])
    assert recipe.epsilon == 7
    assert {
        key: value for key, value in chosen(recipe, preset).items() if key not in ("epsilon", "views", "budget")
    } == {key: value for key, value in preset.items() if key not in ("epsilon", "views", "budget")}
    assert recipe.budget == Budget(**preset["budget"])
    assert recipe.target_selector == plain.target_selector
    assert settle_strength(["epsilon=7"], {}) == ["epsilon=7"]


def test_a_preset_in_a_benchmark_replaces_what_the_methods_recipe_says(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.yaml"
    method = {"label": "max", "recipe": str(QUICKSTART), "set": {"preset": "max", "steps": 3}}
    values = {"title": "t", "protocol": {"file": "p.csv"}, "evaluators": [SFACE], "methods": [method]}
    path.write_text(yaml.safe_dump(values))
    (row,) = load_benchmark(path)[1]
    assert row.recipe is not None
    assert (row.recipe.preset, row.recipe.steps, row.recipe.epsilon) == ("max", 3, load_presets()["max"]["epsilon"])


def test_an_unknown_preset_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match="preset: 'hihg' is no preset. Did you mean 'high'. Known: low, mid, high"):
        check_recipe({"surrogates": [SFACE], "preset": "hihg"})
    with pytest.raises(RecipeError, match="preset: 5 is wrong"):
        check_recipe({"surrogates": [SFACE], "preset": 5})
    assert cli.main(["run", str(QUICKSTART), "preset=hihg"]) == cli.WRONG
    assert "Traceback" not in capsys.readouterr().err


def test_presets_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["list", "preset"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == len(NAMES)
    for line, (name, values) in zip(lines, load_presets().items(), strict=True):
        assert f" {name} " in line
        assert describe(values) in line


def test_levels_are_filled_in_and_replace_the_keys_of_the_recipe() -> None:
    levels = ["low", {"preset": "mid", "steps": 7}, {"epsilon": 30.0}]
    values = {"surrogates": [SFACE], "epsilon": 5, "strength": {"judges": [DLIB], "levels": levels}}
    recipe = check_recipe(values)
    assert check_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe
    low, mid, last = level_recipes(recipe)
    assert all(each.strength is None for each in (low, mid, last))
    assert (low.epsilon, low.budget) == (load_presets()["low"]["epsilon"], Budget(**load_presets()["low"]["budget"]))
    assert (mid.preset, mid.steps, mid.epsilon) == ("mid", 7, load_presets()["mid"]["epsilon"])
    assert (last.epsilon, last.steps, last.budget, last.preset) == (30, recipe.steps, None, None)
    assert level_recipes(low) == [low]
    every = check_recipe({"surrogates": [SFACE], "strength": {"judges": [DLIB]}})
    assert [each.preset for each in level_recipes(every)] == NAMES
    assert fill(fill(values)[0]) == fill(values)


@pytest.mark.parametrize(
    ("strength", "fault"),
    [
        ({}, "strength.judges: missing"),
        ({"judges": []}, "strength.judges: [] is wrong"),
        ({"judges": [{"name": "dlib"}]}, "strength.judges[0]: no surrogate named 'dlib'."),
        ({"judges": [{"nam": "dlib"}]}, "strength.judges[0].nam: unknown key. Did you mean 'name'?"),
        ({"judges": [SFACE]}, "strength.judges[0]: the network of 'sface' gives gradients in this recipe"),
        ({"judges": [DLIB]}, "strength.judges[0]: the network of 'dlib_resnet' is held out in this recipe."),
        ({"judges": [DLIB, DLIB]}, "strength.judges: one network is named twice."),
        ({"judges": [DLIB], "levels": []}, "strength.levels: [] is wrong"),
        ({"judges": [DLIB], "levels": ["lo"]}, "strength.levels[0]: 'lo' is no preset. Did you mean 'low'?"),
        ({"judges": [DLIB], "levels": [3]}, "strength.levels[0]: 3 is wrong"),
        ({"judges": [DLIB], "levels": [{"seed": 2}]}, "strength.levels[0]: 'seed' cannot differ between levels."),
        ({"judges": [DLIB], "levels": [{"epsilon": 0}]}, "strength.levels[0]: epsilon: 0 is wrong"),
        ({"judges": [DLIB], "margin": -1}, "strength.margin: -1 is wrong"),
        ({"judge": [DLIB]}, "strength.judge: unknown key. Did you mean 'judges'? Known: judges, levels, margin."),
    ],
)
def test_a_wrong_choice_of_strength_is_refused(strength: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe({"surrogates": [SFACE], "held_out": [DLIB], "strength": strength})
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults
