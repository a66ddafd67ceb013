from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt.benchmark.config import dump_benchmark, is_benchmark, load_benchmark
from facecrypt.cli import main as cli
from facecrypt.errors import RecipeError
from facecrypt.recipe.schema import Slot

RECIPES = Path(__file__).parents[2] / "recipes"


def write(tmp_path: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "title": "a test",
        "protocol": {"file": "protocol.csv"},
        "evaluators": [{"name": "sface"}],
        "methods": [{"label": "clean"}, {"label": "TIP-IM", "recipe": str(RECIPES / "tipim.yaml")}],
    }
    path = tmp_path / "benchmark.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_benchmark(path)
    return caught.value.faults


def test_rows_are_methods_under_settings(tmp_path: Path) -> None:
    settings = [
        {"label": "small", "set": {"epsilon": 4}},
        {"label": "two", "set": {"surrogates": [{"name": "dlib_resnet"}]}},
    ]
    _, rows = load_benchmark(write(tmp_path, settings=settings, seed=7))
    assert [(row.method, row.setting) for row in rows] == [("clean", ""), ("TIP-IM", "small"), ("TIP-IM", "two")]
    assert rows[0].recipe is None
    small, two = rows[1].recipe, rows[2].recipe
    assert small is not None
    assert two is not None
    assert (small.epsilon, two.epsilon) == (4, 12)
    assert [slot.name for slot in two.surrogates] == ["dlib_resnet"]
    # What must be equal for all methods of a comparison.
    assert (small.faces, small.format, small.seed, small.held_out) == ("largest", "png", 7, [])


def test_only_the_method_universal_learns_from_the_gallery(tmp_path: Path) -> None:
    universal = {"label": "OPOM", "recipe": str(RECIPES / "methods" / "universal.yaml"), "learn_from": 3}
    _, (row,) = load_benchmark(write(tmp_path, methods=[universal]))
    assert row.learn_from == 3
    another = {"label": "TIP-IM", "recipe": str(RECIPES / "tipim.yaml"), "learn_from": 3}
    (fault,) = faults(write(tmp_path, methods=[another]))
    assert "methods[0].learn_from: learns a mask per person, for recipes with the method 'universal'" in fault
    (fault,) = faults(write(tmp_path, methods=[universal | {"every_target": True}]))
    assert "learn_from: aims at nobody. Leave out every_target." in fault
    (fault,) = faults(write(tmp_path, methods=[{"label": "nothing", "learn_from": 3}]))
    assert "learn_from: learns by a recipe, and there is none. Leave it out." in fault
    (fault,) = faults(write(tmp_path, methods=[universal | {"set": {"norm": "l2"}}]))
    assert "learn_from: learns in the ball linf. Set norm: linf." in fault


def test_who_identifies_may_find_faces_otherwise(tmp_path: Path) -> None:
    methods = [{"label": "own", "recipe": str(RECIPES / "tipim.yaml"), "set": {"detector.name": "yunet"}}]
    benchmark, (row,) = load_benchmark(write(tmp_path, methods=methods, detector={"name": "yunet"}))
    assert row.recipe is not None
    assert (benchmark.detector.name, row.recipe.detector.name) == ("yunet", "yunet")
    benchmark, (row,) = load_benchmark(write(tmp_path, methods=methods))
    assert row.recipe is not None
    assert (benchmark.detector.name, row.recipe.detector.name) == ("mtcnn", "yunet")
    by_name, (row,) = load_benchmark(write(tmp_path, methods=methods), ["detector=yunet", "detector.args.score=0.7"])
    assert by_name.detector == Slot("yunet", {"score": 0.7})
    by_name, _ = load_benchmark(write(tmp_path, methods=methods, detector="yunet"), ["detector.args.score=0.7"])
    assert by_name.detector == Slot("yunet", {"score": 0.7})
    (fault,) = faults(write(tmp_path, detector={"name": "yunet", "args": {"score": 3}}))
    assert "detector (yunet): argument 'score': 3 is wrong" in fault


def test_a_recipe_alone_is_judged_by_its_judging_detector(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("surrogates: [{name: sface}]\ndetector: {name: yunet}\n")
    protocol = "protocol.folder=lfw"
    assert load_benchmark(recipe, [protocol])[0].detector.name == "yunet"
    for given in ("detector=mtcnn", "detector.name=mtcnn"):
        benchmark, rows = load_benchmark(recipe, [protocol, given])
        assert rows[1].recipe is not None
        assert (benchmark.detector.name, rows[1].recipe.detector.name) == ("mtcnn", "mtcnn")
    benchmark, rows = load_benchmark(recipe, [protocol, "receipt.detector={name: mtcnn}"])
    assert benchmark.detector.name == "mtcnn"
    assert rows[1].recipe is not None
    assert rows[1].recipe.detector.name == "yunet"


def test_a_method_that_runs_once_per_target_has_a_fixed_one(tmp_path: Path) -> None:
    methods = [{"label": "single", "recipe": str(RECIPES / "tipim.yaml"), "every_target": True}]
    _, (row,) = load_benchmark(write(tmp_path, methods=methods))
    assert row.recipe is not None
    assert row.recipe.target_selector.name == "fixed"


def test_recipes_are_found_beside_the_benchmark(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("surrogates: [{name: sface}]\nepsilon: 3\n")
    _, (row,) = load_benchmark(write(tmp_path, methods=[{"label": "mine", "recipe": "mine.yaml"}]))
    assert row.recipe is not None
    assert row.recipe.epsilon == 3


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"protocol": {}}, "protocol: give either file"),
        ({"protocol": {"file": "a.csv", "folder": "b"}}, "protocol: give either file"),
        ({"protocol": {"fil": "a.csv"}}, "protocol.fil: unknown key. Did you mean 'file'?"),
        (
            {"evaluators": [{"name": "sfaec"}]},
            "evaluators[0]: no judge or surrogate named 'sfaec'. Did you mean 'sface'?",
        ),
        ({"evaluators": [{"name": "sface"}, {"name": "sface"}]}, "evaluators: two are called 'sface'. Label them."),
        ({"methods": [{"label": "a"}, {"label": "a"}]}, "methods: two are called 'a'. Rename one."),
        ({"methods": [{"label": "x", "recipe": "gone.yaml"}]}, "methods[0] (x): cannot be read: No such file"),
        (
            {"methods": [{"label": "x", "obfuscation": {"method": "smear", "strength": 1}}]},
            "methods[0].obfuscation.method",
        ),
        ({"settings": [{"label": "x", "set": {"epsilon": 0}}]}, "methods[1] (TIP-IM): epsilon: 0 is wrong"),
        ({"settings": [{"label": "x", "set": {"epsilom": 2}}]}, "methods[1] (TIP-IM): epsilom: unknown key."),
        (
            {"transforms": ["none", "jpg_75"]},
            "transforms[1]: 'jpg_75' is wrong: no transform named 'jpg_75'. Did you mean",
        ),
        ({"transforms": []}, "transforms: [] is wrong"),
        ({"transforms": ["blur", "blur"]}, "transforms: 'blur' is named twice. Name each once."),
        ({"adversaries": ["all"]}, "adversaries[0]: 'all' is wrong: input should be 'none', 'protected_gallery'"),
        ({"adversaries": [{"name": "none", "transform": "blur"}]}, "adversaries[0]: {'name': 'none', "),
        ({"adversaries": [{"name": "linear_probe", "transform": "blurr"}]}, "adversaries[0]: {'name': 'linear_"),
        ({"transforms": ["blur", {"name": "jpeg", "label": "blur"}]}, "transforms[1]: {'label': 'blur', 'name': 'j"),
        ({"probes": 0}, "probes: 0 is wrong"),
        ({"title": 3}, "title: 3 is wrong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_fault(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    (found,) = faults(write(tmp_path, **changes))
    assert found.startswith(fault)


def test_check_and_show_know_benchmarks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert is_benchmark(path)
    assert not is_benchmark(RECIPES / "tipim.yaml")
    assert cli.main(["check", str(path)]) == cli.DONE
    capsys.readouterr()
    assert cli.main(["show", str(path), "probes=5"]) == cli.DONE
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["probes"] == 5
    assert shown == dump_benchmark(load_benchmark(path, ["probes=5"])[0])


def test_a_recipe_alone_is_compared_with_clean_photos() -> None:
    overrides = ["protocol.file=lfw/protocol.csv", "probes=3", "epsilon=8", "views=[]", "held_out[0].optional=true"]
    benchmark, rows = load_benchmark(RECIPES / "tipim.yaml", overrides)
    assert [row.method for row in rows] == ["clean", "tipim"]
    assert (benchmark.protocol.file, benchmark.probes, benchmark.output) == ("lfw/protocol.csv", 3, "results/tipim")
    judges = [(slot.label, slot.optional) for slot in benchmark.evaluators]
    assert judges == [("sface", False), ("dlib_resnet", True)]
    recipe = rows[1].recipe
    assert recipe is not None
    assert (recipe.epsilon, recipe.views, recipe.held_out) == (8, [], [])


def test_paths_in_changes_are_what_was_typed(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.yaml"
    path.write_text(
        "title: t\nprotocol: {file: 2024}\ndistractors: [no, 2024-05-01]\nevaluators: [{name: sface}]\n"
        "methods: [{label: m, recipe: R, set: {targets: 2024, seed: 1, name: '\\${stem}-{stem}{suffix}'}}]\n"
        "settings: [{label: s, set: {targets: no, photos: 007}}]\n".replace("R", str(RECIPES / "tipim.yaml"))
    )
    benchmark, (row,) = load_benchmark(path)
    assert (benchmark.protocol.file, benchmark.distractors) == ("2024", ["no", "2024-05-01"])
    assert row.recipe is not None
    assert (row.recipe.targets, row.recipe.photos, row.recipe.name) == ("2024", "007", "${stem}-{stem}{suffix}")


def test_a_recipe_alone_takes_paths_as_they_are_typed(tmp_path: Path) -> None:
    overrides = [
        "protocol.file=#1",
        "targets=protocol",
        "photos=${steps}",
        "name={stem}-#1{suffix}",
        "epsilon=${step_size}",
    ]
    path = tmp_path / "mine.yaml"
    path.write_text("surrogates: [{name: sface}]\nstep_size: 3\n")
    benchmark, rows = load_benchmark(path, overrides[:4])
    assert benchmark.protocol.file == "#1"
    assert rows[1].recipe is not None
    assert (rows[1].recipe.photos, rows[1].recipe.name) == ("${steps}", "{stem}-#1{suffix}")
    shown = tmp_path / "shown.yaml"
    shown.write_text(dump_benchmark(benchmark))
    assert load_benchmark(shown) == (benchmark, rows)
    # A reference is one of the recipe, not of the benchmark.
    rows = load_benchmark(path, [*overrides[:1], overrides[4]])[1]
    assert rows[1].recipe is not None
    assert rows[1].recipe.epsilon == 3


def test_benchmarks_read_the_environment_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACECRYPT_TEST_SECRET", "hidden")
    path = write(tmp_path, output="${oc.env:FACECRYPT_TEST_SECRET}")
    (tmp_path / "mine.yaml").write_text("surrogates: [{name: sface}]\ntargets: ${oc.env:FACECRYPT_TEST_SECRET}\n")
    second = tmp_path / "second.yaml"
    values = {"title": "t", "protocol": {"file": "p"}, "evaluators": [{"name": "sface"}]}
    second.write_text(yaml.safe_dump({**values, "methods": [{"label": "m", "recipe": "mine.yaml"}]}))
    for each in (path, second):
        assert cli.main(["check", str(each)]) == cli.WRONG
        assert "reads the environment" in capsys.readouterr().err
        assert cli.main(["check", "--allow-env", str(each)]) == cli.DONE
        assert cli.main(["check", str(each), "seed=1", "--allow-env"]) == cli.DONE
    assert load_benchmark(path, allow_env=True)[0].output == "hidden"


@pytest.mark.parametrize("recipe", ["", "x" * 300, "a\0b", "~nobody-of-that-name/x.yaml"])
def test_a_recipe_that_no_file_has(tmp_path: Path, recipe: str) -> None:
    (found,) = faults(write(tmp_path, methods=[{"label": "m", "recipe": recipe}]))
    assert found.startswith("methods[0]")


def test_a_benchmark_has_a_bound(tmp_path: Path) -> None:
    recipe = str(RECIPES / "tipim.yaml")
    methods = [{"label": f"m{number}", "recipe": recipe} for number in range(100)]
    settings = [{"label": f"s{number}", "set": {"seed": number}} for number in range(100)]
    (found,) = faults(write(tmp_path, methods=methods, settings=settings))
    assert found.startswith("settings: with the methods, they are more than 500 rows.")


def test_a_recipe_alone_needs_a_protocol() -> None:
    with pytest.raises(RecipeError, match="protocol: give either file"):
        load_benchmark(RECIPES / "tipim.yaml")


def test_a_wrong_recipe_alone_names_its_faults() -> None:
    with pytest.raises(RecipeError, match="epsylon: unknown key"):
        load_benchmark(RECIPES / "tipim.yaml", ["protocol.file=protocol.csv", "epsylon=8"])
