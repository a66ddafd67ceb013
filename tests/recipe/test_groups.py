from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt.benchmark.config import load_benchmark
from facecrypt.cli import main as cli
from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, check_recipe, load_recipe, recipe_values, show_recipe
from facecrypt.recipe.groups import GROUPS, flatten, group, own_arguments
from facecrypt.recipe.migrate import migrate
from facecrypt.recipe.names_alone import spell_out
from facecrypt.recipe.resolve import resolve_recipe
from facecrypt.recipe.shipped import shipped_names, shipped_recipe

GROUPED = """\
photos: {path: 2024, workers: 1, limits: {seconds: 9}}
faces: largest
surrogates: [{name: sface}]
method:
  args:
    steps: 7
    target_selector: {name: farthest}
    seed: 3
    views: [{name: affine, args: {degrees: "${method.args.steps}"}}]
budget:
  epsilon: 9
  bounds: {jod: 9.1}
  strength: {judges: [{name: cosface_vit_tiny}], levels: [low, {budget: {epsilon: 4}}]}
judges: {held_out: [{name: dlib_resnet}], transforms: [blur], gallery: no}
output: {folder: "run-${budget.epsilon}", format: png, report: {originals: false}}
trainer: {devices: 1}
"""
FLAT = """\
photos: 2024
workers: 1
limits: {seconds: 9}
faces: largest
surrogates: [{name: sface}]
steps: 7
target_selector: {name: farthest}
seed: 3
views: [{name: affine, args: {degrees: 7}}]
epsilon: 9
budget: {jod: 9.1}
strength: {judges: [{name: cosface_vit_tiny}], levels: [low, {epsilon: 4}]}
held_out: [{name: dlib_resnet}]
receipt: {transforms: [blur], gallery: no}
output: run-9
format: png
report: {originals: false}
trainer: {devices: 1}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    return load_recipe(write(folder, text), overrides)


def test_both_spellings_are_one_recipe(tmp_path: Path) -> None:
    grouped = load(tmp_path, GROUPED)
    assert grouped == load(tmp_path, FLAT)
    assert (grouped.photos, grouped.output, grouped.receipt.gallery) == ("2024", "run-9", "no")
    values = {"surrogates": [{"name": "sface"}], "method": {"args": {"steps": 7}}, "output": {"folder": "x"}}
    assert (check_recipe(values).steps, check_recipe(values).output) == (7, "x")


@pytest.mark.parametrize("name", shipped_names())
def test_every_recipe_comes_back_from_its_groups(name: str) -> None:
    recipe = load_recipe(shipped_recipe(name))
    values = recipe_values(recipe)
    assert check_recipe(group(values, own_arguments(values["method"]))) == recipe
    assert check_recipe(yaml.safe_load(show_recipe(str(shipped_recipe(name)), grouped=True))) == recipe
    assert flatten(values) == (values, [])


def test_every_key_is_in_one_group_or_one_itself() -> None:
    in_groups = [path for table in GROUPS.values() for path in table.values()]
    assert len(set(in_groups)) == len(in_groups)
    shown = group(recipe_values(check_recipe({"surrogates": [{"name": "sface"}]})))
    assert list(shown) == [
        "photos", "detector", "faces", "surrogates", "method", "budget", "judges", "output", "trainer",
        "permissive_only",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "steps: 3\nmethod: {args: {steps: 4}}\n",
            "method.args.steps: is given twice, here and as steps. Keep one of them.",
        ),
        ("method: {args: {steps: 4}}\nsteps: 3\n", "steps: is given twice, here and as method.args.steps."),
        ("receipt: {transforms: []}\njudges: {transforms: [blur]}\n", "judges.transforms: is given twice"),
        ("budget: {jod: 9, bounds: {jod: 8}}\n", "budget: is given twice, here and as budget.bounds."),
        (
            "photos: {path: x, wrkers: 2}\n",
            "photos.wrkers: unknown key. Did you mean 'workers'? Known: path, source",
        ),
        ("method: {args: {steps: 0}}\n", "method.args.steps: 0 is wrong"),
        ("judges: {held_out: [{name: x}]}\n", "judges.held_out[0]: no "),
        ("output: {name: 1, folder: ''}\n", "output.folder: is empty."),
        ("budget: {ceiling: 4}\n", "budget.ceiling: under linf, epsilon is the largest change"),
        ("judges: {heldout: []}\n", "judges.heldout: unknown key. Did you mean 'held_out'?"),
        (
            "method: {args: {stepps: 3}}\n",
            "method.args.stepps: unknown key. Did you mean 'steps'? Known: target_selector",
        ),
        ("method: {name: blur, args: {stepps: 3}}\n", "method (blur): unknown argument 'stepps'"),
        ("photos: {a: b}\n", "photos: YAML takes this for a mapping. Quote a text that begins with {."),
        ("budget: {}\n", "budget: names no bound."),
        ("budget: {epsilon: 9, jd: 3}\n", "budget.jd: unknown key. Did you mean 'jod'?"),
    ],
)
def test_what_is_wrong_is_one_clear_line(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, "surrogates: [{name: sface}]\n" + text)
    assert any(each.startswith(fault) for each in caught.value.faults), caught.value.faults


def test_overrides_take_either_spelling(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, GROUPED, "method.args.steps=2", "photos=a", "output.folder=b", "judges.held_out[0].optional=true",
        "surrogates[0].name=dlib_resnet", "judges.transforms=[]", "budget.jod=9.5", "budget.epsilon=4", "format=same",
        "held_out[0].name=sface", "method.args.views[0].args.degrees=1",
    )  # fmt: skip
    assert (recipe.steps, recipe.photos, recipe.output, recipe.epsilon, recipe.format) == (2, "a", "b", 4, "same")
    assert (recipe.held_out[0].name, recipe.held_out[0].optional) == ("sface", True)
    assert recipe.views[0].args == {"degrees": 1}
    assert recipe.budget is not None
    assert recipe.budget.jod == 9.5
    for given in ("photos.path=no", "photos=no"):
        assert load(tmp_path, FLAT, given).photos == "no"
    assert load(tmp_path, FLAT, "photos={path: x}").photos == "{path: x}"  # A path is what was typed.
    assert load(tmp_path, FLAT, "photos:={path: x, workers: 3}").workers == 3


def test_overrides_of_whole_groups(tmp_path: Path) -> None:
    plain = "surrogates: [{name: sface}]\nbudget: {jod: 9.1, ssim: 0.9}\nsteps: 4\n"
    recipe = load(tmp_path, plain, "budget={jod: 9.5}")
    assert recipe.budget is not None
    assert (recipe.budget.jod, recipe.budget.ssim) == (9.5, None)
    assert load(tmp_path, plain, "budget={epsilon: 3, norm: linf}").epsilon == 3
    assert load(tmp_path, plain, "method={name: iterative, args: {steps: 9}}").steps == 9
    assert load(tmp_path, plain, "method.args={steps: 9}").steps == 9
    assert load(tmp_path, plain, "judges=[{name: dlib_resnet}]").held_out[0].name == "dlib_resnet"
    preset = load(tmp_path, plain, "budget.preset=mid", "method.args.steps=3")
    assert (preset.preset, preset.steps, preset.norm) == ("mid", 3, "l2")


def test_arguments_of_another_method_are_its_own(tmp_path: Path) -> None:
    text = "surrogates: [{name: sface}]\nmethod: {name: blur, args: {strength: 0.4, seed: 3}}\n"
    recipe = load(tmp_path, text, "method.args.strength=0.7")
    assert (recipe.method.args, recipe.seed) == ({"strength": 0.7}, 3)
    assert load(tmp_path, text, "method.name=pixelate", "method.args.max_targets=2").max_targets == 2


def test_bases_and_recipes_are_spelt_as_each_likes(tmp_path: Path) -> None:
    (tmp_path / "flat.yaml").write_text(FLAT)
    own = "base: flat.yaml\nmethod: {args: {steps: 2}}\nbudget: {bounds: {ssim: 0.9}}\n"
    recipe = load(tmp_path, own)
    assert (recipe.steps, recipe.seed, recipe.photos) == (2, 3, "2024")
    assert recipe.budget is not None
    assert (recipe.budget.jod, recipe.budget.ssim) == (9.1, 0.9)


def test_calls_and_benchmarks_know_the_groups(tmp_path: Path) -> None:
    recipe = resolve_recipe({"base": "tipim"}, {"method.args.steps": 2, "budget": {"epsilon": 4}})
    assert (recipe.steps, recipe.epsilon) == (2, 4)
    with pytest.raises(RecipeError, match="output: is for files"):
        resolve_recipe({"base": "tipim"}, {"output.folder": "x"})
    _, rows = load_benchmark(shipped_recipe("tipim"), ["method.args.steps=2", "protocol.file=x.csv"])
    assert rows[1].recipe is not None
    assert rows[1].recipe.steps == 2


@pytest.mark.parametrize("name", shipped_names())
def test_migrated_recipes_are_the_same_and_keep_their_comments(name: str) -> None:
    text = shipped_recipe(name).read_text()
    done = migrate(text, name)
    assert done.comments
    assert not migrate(done.text, name).changed
    assert [line for line in done.text.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]
    assert flatten(yaml.safe_load(done.text)) == (yaml.safe_load(text), [])


def test_comments_move_with_their_keys(tmp_path: Path) -> None:
    text = """\
# What it is for.

surrogates: [{name: sface}]  # always here
# So many that it is seen.
steps: 7  # not more
views:
# large ones
- {name: affine}

- name: blur  # and soft
# Where it goes.
output: 2024  # a year
receipt: {transforms: []}
"""
    done = migrate(text, "x")
    assert done == migrate(text, "y")
    assert (
        done.text
        == """\
# What it is for.

surrogates: [{name: sface}]  # always here
method:
  args:
    views:
    # large ones
    - {name: affine}

    - name: blur  # and soft
    # So many that it is seen.
    steps: 7  # not more
judges:
  transforms: []
output:
  # Where it goes.
  folder: 2024  # a year
"""
    )
    assert done.comments
    assert load(tmp_path, done.text) == load(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "{surrogates: [{name: sface}], steps: 3, photos: no}  # all on one line\n",
        "steps: &n 3\nsurrogates: [{name: sface}]\nmax_targets: *n\nepsilon: *n\n",
        "surrogates: [{name: sface}]\nphotos: |\n  a\n  b\nname: 'x{stem}'\noutput: '#1: a'\nown_photos: 1e3\n",
        "method: {name: blur, args: {strength: 0.5}}\nsurrogates: [{name: sface}]\nseed: 4\n",
        "surrogates:\n- name: sface\nbudget:\n  jod: 9.1\n  ssim: 0.9\nbudget_: 3\n",
        "'surrogates': [{name: sface}]\nsteps: 3\n",
        "surrogates: [{name: sface}]\nmethod: fawkes\nsteps: 3\n",
        "surrogates: [{name: sface}]\nmethod: fawkes\n",
        GROUPED, FLAT,
    ],
)  # fmt: skip
def test_odd_recipes_are_migrated_too(text: str) -> None:
    done = migrate(text, "x")
    assert spell_out(flatten(yaml.safe_load(done.text))[0]) == spell_out(flatten(yaml.safe_load(text))[0])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, FLAT)
    assert cli.main(["migrate", str(path)]) == cli.DONE
    printed = capsys.readouterr().out
    assert path.read_text() == FLAT
    assert cli.main(["migrate", str(path), "--in-place"]) == cli.DONE
    assert path.read_text() == printed
    assert (tmp_path / "recipe.yaml.bak").read_text() == FLAT
    assert cli.main(["migrate", str(path), "--in-place"]) == cli.DONE
    assert "is written in groups already" in capsys.readouterr().out
    path.write_text(FLAT)
    assert cli.main(["migrate", str(path), "--in-place"]) == cli.WRONG
    assert "recipe.yaml.bak: is there already" in capsys.readouterr().err
    for wrong in ("a: [", "- a\n", "steps: 3\nmethod: {args: {steps: 4}}\n"):
        path.write_text(wrong)
        assert cli.main(["migrate", str(path)]) == cli.WRONG
    assert cli.main(["migrate", str(shipped_recipe("benchmarks/plus"))]) == cli.WRONG
    capsys.readouterr()


def test_a_lost_comment_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "surrogates: [{name: sface}]\nreceipt:\n  transforms: []  # quick\n")
    assert cli.main(["migrate", str(path)]) == cli.DONE
    assert "some comments had no place" in capsys.readouterr().err


def test_show_in_groups(tmp_path: Path) -> None:
    path = write(tmp_path, FLAT)
    shown: dict[str, Any] = yaml.safe_load(show_recipe(str(path), grouped=True))
    assert (shown["method"]["args"]["steps"], shown["budget"]["bounds"]["jod"], shown["output"]["folder"]) == (
        7, 9.1, "run-9",
    )  # fmt: skip
    annotated = show_recipe(str(path), ["method.args.steps=4"], grouped=True, origin=True)
    assert yaml.safe_load(annotated)["method"]["args"]["steps"] == 4
    assert "steps: 4" in annotated
    (line,) = [line for line in annotated.splitlines() if line.strip().startswith("steps: 4")]
    assert line.endswith("# override")
