from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from facecrypt.errors import RecipeError
from facecrypt.pipeline.plan import make_plan
from facecrypt.recipe.check import Recipe, check_recipe, load_recipe
from facecrypt.recipe.compose import read_composed
from facecrypt.recipe.merging import merge
from facecrypt.recipe.migrate import migrate
from facecrypt.recipe.presets import fill, load_presets
from facecrypt.recipe.resolve import resolve_recipe
from facecrypt.recipe.schema import Budget
from facecrypt.recipe.shipped import find_recipe, shipped_folder, shipped_names

ROOT = Path(__file__).parents[2]
PLAIN = "surrogates: [{name: sface}]\n"
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xyz", max_size=3)
TREES = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        LEAVES,
        lambda child: st.lists(child, max_size=2) | st.dictionaries(st.sampled_from("abcd"), child, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(folder: Path, base: str, own: str, *overrides: str) -> Recipe:
    write(folder / "base.yaml", PLAIN + base)
    return load_recipe(write(folder / "own.yaml", f"base: base.yaml\n{own}"), overrides)


@given(TREES, TREES)
@settings(max_examples=60, deadline=None)
def test_mappings_are_merged_as_omegaconf_does_it(base: dict[str, Any], own: dict[str, Any]) -> None:
    try:
        expected = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(base), OmegaConf.create(own)))
    except TypeError:  # A list over a mapping: here, whoever checks the keys says which of them is right.
        reject()
    assert merge(base, own) == expected


def test_a_recipe_is_laid_over_its_base(tmp_path: Path) -> None:
    base = "trainer: {devices: 2, accelerator: cpu}\nviews: [{name: affine}, {name: blur}]\nsteps: 7\nseed: 3\n"
    recipe = load(tmp_path, base, "trainer: {devices: 1}\nviews: [{name: jpeg}]\nsteps: 9\n", "seed=5")
    assert (recipe.trainer.devices, recipe.trainer.accelerator) == (1, "cpu")
    assert [view.name for view in recipe.views] == ["jpeg"]
    assert (recipe.steps, recipe.seed) == (9, 5)


def test_shipped_recipes_are_bases_by_name_and_several_are_laid_in_their_order(tmp_path: Path) -> None:
    file = write(tmp_path / "own.yaml", "base: tipim_plus\nheld_out: []\n")
    shipped = load_recipe(ROOT / "recipes" / "tipim_plus.yaml")
    assert load_recipe(file) == load_recipe(ROOT / "recipes" / "tipim_plus.yaml", ["held_out=[]"]) != shipped
    write(tmp_path / "folder" / "quick.yml", "steps: 2\nepsilon: 9\n")
    file = write(tmp_path / "own.yaml", "base: [baselines/mim, folder/quick.yml]\nepsilon: 7\n")
    mim, own = load_recipe(ROOT / "recipes" / "baselines" / "mim.yaml"), load_recipe(file)
    assert (own.steps, own.epsilon, own.optimizer) == (2, 7, mim.optimizer)


def test_a_base_is_relative_to_the_file_that_names_it_and_may_have_one_itself(tmp_path: Path) -> None:
    write(tmp_path / "a" / "first.yaml", PLAIN + "steps: 1\nseed: 1\nepsilon: 1\n")
    write(tmp_path / "b" / "second.yaml", "base: ../a/first.yaml\nseed: 2\nepsilon: 2\n")
    third = write(tmp_path / "third.yaml", "base: b/second.yaml\nepsilon: 3\n")
    recipe = load_recipe(third)
    assert (recipe.steps, recipe.seed, recipe.epsilon) == (1, 2, 3)
    assert [path.name for path in read_composed(str(third)).files] == ["second.yaml", "first.yaml"]


def test_a_component_of_another_name_takes_no_arguments_of_the_base(tmp_path: Path) -> None:
    base = "optimizer: {name: momentum, args: {decay: 0.5}}\n"
    assert load(tmp_path, base, "optimizer: {name: adam}\n").optimizer.args == {}
    assert load(tmp_path, base, "optimizer: {name: momentum}\n").optimizer.args == {"decay": 0.5}


def test_arguments_are_those_of_the_method_that_the_bases_name(tmp_path: Path) -> None:
    """Which of them are keys, too, is another matter with each method."""
    own = write(tmp_path / "own.yaml", "base: methods/lots\nmethod: {args: {distance: 2.0, steps: 3}}\n")
    recipe = load_recipe(own)
    assert (recipe.method.name, recipe.method.args, recipe.steps) == ("lots", {"distance": 2.0}, 3)
    assert load_recipe(own, ["method.args.distance=3"]).method.args == {"distance": 3}
    # The base of a base, one of several, and one that names the method by its name alone.
    write(tmp_path / "part.yaml", "method: {args: {distance: 2.5}}\n")
    for bases in ("own.yaml", "[methods/lots, part.yaml]", "[methods/square, name.yaml, part.yaml]"):
        write(tmp_path / "name.yaml", "method: lots\n")
        over = write(tmp_path / "over.yaml", f"base: {bases}\nmethod: {{args: {{distance: 4.0}}}}\n")
        assert load_recipe(over).method.args["distance"] == 4.0
    own.write_text("base: methods/lots\nmethod: {args: {distnace: 2.0}}\n")
    with pytest.raises(RecipeError, match=r"method \(lots\): unknown argument 'distnace'. Did you mean 'distance'"):
        load_recipe(own)
    own.write_text("base: methods/lots\nmethod: {name: iterative, args: {distance: 2.0}}\n")
    with pytest.raises(RecipeError, match=r"method.args.distance: unknown key"):
        load_recipe(own)


def test_what_arguments_are_is_known_where_a_recipe_is_migrated(tmp_path: Path) -> None:
    text = "base: methods/lots\nsteps: 3\nmethod: {args: {distance: 2.0}}\n"
    made = migrate(text, str(tmp_path / "own.yaml"))
    before, after = write(tmp_path / "own.yaml", text), write(tmp_path / "new.yaml", made.text)
    assert made.text != text
    assert load_recipe(after) == load_recipe(before)


def test_references_see_the_whole(tmp_path: Path) -> None:
    recipe = load(tmp_path, "steps: 5\noutput: run-${steps}\n", "steps: 8\nmax_targets: ${seed}\nseed: 4\n")
    assert (recipe.output, recipe.max_targets) == ("run-8", 4)


@pytest.mark.parametrize(
    ("base", "own", "preset", "protect", "steps"),
    [
        ("preset: mid\n", "steps: 3\n", "mid", None, 3),
        ("steps: 3\n", "preset: mid\n", "mid", None, load_presets()["mid"]["steps"]),
        ("preset: mid\nsteps: 3\n", "preset: low\n", "low", None, load_presets()["low"]["steps"]),
        ("protect: 0.8\nlevels: [low]\n", "preset: low\n", "low", None, load_presets()["low"]["steps"]),
        ("preset: low\nsteps: 3\n", "protect: 0.8\n", None, 0.8, load_presets()["max"]["steps"]),
        ("protect: 0.8\nsteps: 3\n", "protect: 0.9\n", None, 0.9, 3),
        ("protect: 0.8\n", "strength: {judges: [{name: cosface_vit_tiny}]}\n", None, None, 50),
        ("preset: mid\n", "preset: null\n", None, None, 50),
    ],
)
def test_what_a_recipe_says_of_strength_replaces_what_its_base_says(
    base: str, own: str, preset: str | None, protect: float | None, steps: int, tmp_path: Path
) -> None:
    recipe = load(tmp_path, base, own + "surrogates: [{name: sface}, {name: dlib_resnet}]\n")
    assert (recipe.preset, recipe.protect, recipe.steps) == (preset, protect, steps)


def test_a_preset_is_merged_deeply_but_for_its_budget() -> None:
    """What it promises is looked at as a whole: a recipe with a budget of its own promises that."""
    values, _ = fill({"preset": "mid", "budget": {"jod": 9.1}, "own_identity": {"hinge": 0.2}})
    assert values["budget"] == {"jod": 9.1}
    recipe = check_recipe({"surrogates": [{"name": "sface"}], **values})
    assert (recipe.budget, recipe.steps) == (Budget(jod=9.1), load_presets()["mid"]["steps"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("base: own.yaml\n", "base: leads back to itself, by {0}/own.yaml -> {0}/own.yaml."),
        ("base: b.yaml\n", "base: leads back to itself, by {0}/own.yaml -> {0}/b.yaml -> {0}/own.yaml."),
        ("base: missing.yaml\n", "base: there is no file {0}/missing.yaml. A path is relative to the file that names"),
        ("base: tipim_pluss\n", "base: no recipe 'tipim_pluss' comes with facecrypt. Did you mean 'tipim_plus'?"),
        ("base: {a: b}\n", "base: a mapping is no base. Give the name of a shipped recipe or the path of a file"),
        ("base: [tipim, [x]]\n", "base: no text is no base"),
        ("base: ''\n", "base: no recipe '' comes with facecrypt."),
        ("base: [broken.yaml]\n", "is no YAML: line 1"),
        ("base: wrong.yaml\n", "stepps: unknown key. Did you mean 'steps'?"),
        (f"base: [{', '.join(['leaf.yaml'] * 40)}]\n", "base: the recipe is made of more than 32 files. Use fewer."),
    ],
)
def test_a_wrong_base_is_one_clear_line(text: str, fault: str, tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", "base: own.yaml\n")
    write(tmp_path / "broken.yaml", "a: [")
    write(tmp_path / "wrong.yaml", PLAIN + "stepps: 3\n")
    write(tmp_path / "leaf.yaml", PLAIN)
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path / "own.yaml", text))
    (told,) = caught.value.faults
    assert told.startswith(fault.format(tmp_path))


def test_no_override_changes_the_base(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="base: no override changes what a recipe is laid over"):
        load_recipe(write(tmp_path / "own.yaml", PLAIN), ["base=tipim"])


def test_mappings_have_bases_too() -> None:
    recipe = check_recipe({"base": "tipim", "steps": 4})
    assert recipe == load_recipe(ROOT / "recipes" / "tipim.yaml", ["steps=4"])
    assert resolve_recipe({"base": "tipim", "steps": 4}).steps == 4
    assert resolve_recipe("tipim", {"steps": 4}).naturalness == recipe.naturalness


def test_shipped_recipes_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"quickstart", "tipim_plus", "baselines/pgd", "methods/blur"} <= set(shipped_names())
    assert find_recipe("tipim") == str(shipped_folder() / "tipim.yaml")
    monkeypatch.chdir(tmp_path)
    assert find_recipe("other") == "other"
    Path("tipim").mkdir()
    assert find_recipe("tipim") == "tipim"


def test_a_base_is_an_input_and_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write(tmp_path / "out" / "recipe.yaml", PLAIN)
    own = write(tmp_path / "own.yaml", f"base: out/recipe.yaml\noutput: {tmp_path / 'out'}\noverwrite: true\n")
    with pytest.raises(Exception, match=r"recipe.yaml: is an input of this run \(.*, a base of the recipe\)"):
        make_plan(load_recipe(own), [], recipe_file=own, bases=[base])


@pytest.mark.slow
def test_a_wheel_holds_the_recipes(tmp_path: Path) -> None:
    """As an installed package finds them: by name, below its own folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", "dist"]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    subprocess.run([*command, "."], check=True, cwd=source)
    (wheel,) = (source / "dist").glob("facecrypt-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("facecrypt/data/recipes/") for name in archive.namelist() if "/recipes/" in name}
    assert {f"{name}.yaml" for name in shipped_names()} <= inside
