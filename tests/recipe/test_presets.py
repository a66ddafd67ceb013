from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt.benchmark.config import load_benchmark
from facecrypt.cli import main as cli
from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, check_recipe, dump_recipe, level_recipes, load_recipe
from facecrypt.recipe.presets import KEYS, describe, fill, load_presets, settle_strength
from facecrypt.recipe.schema import Budget

ROOT = Path(__file__).parents[2]
OF_PRESETS = load_presets()["mid"]["steps"]
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


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "preset"]) == cli.DONE
    heading, _, *lines = capsys.readouterr().out.splitlines()
    assert heading == "preset"
    assert [line.split()[0] for line in lines[: lines.index("")] if not line.startswith(" ")] == list(NAMES)
    told = " ".join(" ".join(lines).replace("yes", "").split())
    assert all(f"{name} {describe(values)}" in told for name, values in load_presets().items())


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


BOTH = [SFACE, DLIB]


def test_protect_tries_every_preset() -> None:
    recipe = check_recipe({"surrogates": BOTH, "protect": 0.8})
    assert (recipe.protect, recipe.preset, recipe.strength) == (0.8, None, None)
    levels = level_recipes(recipe)
    assert [level.preset for level in levels] == NAMES
    for name, level in zip(NAMES, levels, strict=True):
        alone = check_recipe({"surrogates": BOTH, "preset": name})
        assert dump_recipe(level) == dump_recipe(alone)
    # The resolved recipe holds the levels, so that it says the same when the presets have changed.
    resolved = yaml.safe_load(dump_recipe(recipe))
    assert check_recipe(resolved) == recipe
    assert fill(resolved)[0]["levels"] == resolved["levels"]
    assert level_recipes(check_recipe(resolved)) == levels


def test_keys_that_the_recipe_names_hold_at_every_level() -> None:
    values = {"surrogates": BOTH, "protect": 0.8, "steps": 7, "epsilon": 5}
    recipe = check_recipe(values)
    assert {(level.steps, level.epsilon) for level in level_recipes(recipe)} == {(7, 5)}
    assert len({level.budget.jod for level in level_recipes(recipe) if level.budget}) == len(NAMES)
    assert fill(fill(values)[0]) == fill(values)
    mixed = check_recipe({**values, "levels": ["low", {"preset": "max", "steps": 9}, {"epsilon": 30.0}]})
    low, high, own = level_recipes(mixed)
    assert (low.steps, low.epsilon, high.steps, high.epsilon) == (7, 5, 9, 5)
    assert (own.preset, own.steps, own.epsilon, own.budget) == (None, 7, 30, None)


@pytest.mark.parametrize(
    ("file", "overrides", "preset", "protect", "steps"),
    [
        ({"protect": 0.8}, ["preset=high"], "high", None, OF_PRESETS),
        ({"protect": 0.8}, ["protect=0.9"], None, 0.9, OF_PRESETS),
        ({"protect": 0.8}, ["preset=null"], None, 0.8, OF_PRESETS),
        ({"preset": "low"}, ["protect=0.9"], None, 0.9, OF_PRESETS),
        (
            {"preset": "low", "steps": 3},
            ["protect=0.9"],
            None,
            0.9,
            OF_PRESETS,
        ),  # As a preset does, it replaces what is there.
        ({"preset": "low"}, ["protect=null"], "low", None, OF_PRESETS),
        ({"epsilon": 3}, ["protect=0.9"], None, 0.9, OF_PRESETS),
        ({"protect": 0.8, "steps": 4}, ["protect=0.9"], None, 0.9, 4),
        ({"protect": 0.8}, ["protect=0.9", "steps=3"], None, 0.9, 3),
        ({"preset": "low"}, ["steps=3", "protect=0.9"], None, 0.9, 3),
        # Of two that contradict each other, the later one.
        ({}, ["preset=high", "protect=0.9"], None, 0.9, OF_PRESETS),
        ({}, ["protect=0.9", "preset=high"], "high", None, OF_PRESETS),
        ({"protect": 0.5}, ["protect=0.9", "preset=high", "steps=3"], "high", None, 3),
        ({"preset": "low"}, ["protect=0.9", "protect=null"], "low", None, OF_PRESETS),
        ({"protect": 0.8, "levels": ["low"]}, ["preset=high"], "high", None, OF_PRESETS),
        ({"protect": 0.8}, ["strength={judges: [{name: cosface_vit_tiny}]}"], None, None, 50),
        ({"strength": {"judges": [{"name": "cosface_vit_tiny"}]}}, ["protect=0.9"], None, 0.9, OF_PRESETS),
    ],
)
def test_what_is_given_afterwards_takes_away_what_it_contradicts(
    file: dict[str, Any], overrides: list[str], preset: str | None, protect: float | None, steps: int, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"surrogates": BOTH, **file}))
    recipe = load_recipe(path, overrides)
    assert (recipe.preset, recipe.protect) == (preset, protect)
    if protect is not None:
        names = ["low"] if "levels" in file else NAMES
        assert recipe.strength is None
        assert [(level.preset, level.steps) for level in level_recipes(recipe)] == [(name, steps) for name in names]
    elif preset:
        assert recipe.steps == steps
        assert recipe.budget == Budget(**load_presets()[preset]["budget"])
        assert recipe.levels is None
    # The same holds for a recipe that was resolved before.
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_recipe(load_recipe(path)))
    again = load_recipe(resolved, overrides)
    assert (again.preset, again.protect) == (preset, protect)
    if protect is not None:
        assert level_recipes(again) == level_recipes(recipe)


def test_an_override_holds_at_every_level_of_a_resolved_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(check_recipe({"surrogates": BOTH, "protect": 0.8})))
    changed = load_recipe(path, ["steps=3", "epsilon=8", "optimizer.args.decay=0.5"])
    assert changed.protect == 0.8
    for level in level_recipes(changed):
        assert (level.steps, level.epsilon, level.optimizer.args["decay"]) == (3, 8, 0.5)
    assert [level.preset for level in level_recipes(changed)] == NAMES
    with pytest.raises(RecipeError, match="protect: stands beside a budget"):
        load_recipe(path, ["budget.jod=9.1"])


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"protect": 0.8, "preset": "mid"}, "protect: stands beside preset. One of the two is given, the other"),
        ({"protect": 0.8, "strength": {"judges": [{"name": "cosface_vit_tiny"}]}}, "protect: stands beside strength"),
        ({"protect": 0.8, "budget": {"jod": 9.1}}, "protect: stands beside a budget. One of the two is given"),
        ({"protect": 0}, "protect: 0 is wrong"),
        ({"protect": 1.0}, "protect: 1.0 is wrong"),
        ({"protect": 80}, "protect: 80 is wrong"),
        ({"protect": "much"}, "protect: 'much' is wrong"),
        ({"protect": True}, "protect: True is wrong"),
        ({"levels": ["low"]}, "levels: are what protect tries. Give protect, or leave them out."),
        ({"protect": 0.8, "levels": []}, "levels: [] is wrong"),
        ({"protect": 0.8, "levels": "low"}, "levels: 'low' is wrong"),
        ({"protect": 0.8, "levels": ["lo"]}, "levels[0]: 'lo' is no preset. Did you mean 'low'?"),
        ({"protect": 0.8, "levels": [{"seed": 2}]}, "levels[0]: 'seed' cannot differ between levels."),
        ({"protect": 0.8, "levels": [{"epsilon": 0}]}, "levels[0]: epsilon: 0 is wrong"),
        ({"protect": 0.8, "surrogates": [{"name": "facenet_casia"}]},
         "protect: what others make of masks by facenet_casia was not measured, so nothing can be expected."),
        ({"protect": 0.8, "held_out": [DLIB], "allow_white_box": True},
         "protect: needs surrogates that do not judge as well."),
    ],
)  # fmt: skip
def test_a_wrong_protection_is_refused(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe({"surrogates": BOTH, **keys})
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults


def test_the_quickstart_asks_for_protection() -> None:
    recipe = load_recipe(QUICKSTART)
    assert (recipe.protect, [slot.optional for slot in recipe.held_out]) == (0.8, [True, True])
    assert {slot.name for slot in recipe.surrogates} == {"sface", "dlib_resnet"}
