from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning
import pytest

from facecrypt.cli import main as cli
from facecrypt.engine.class_paths import build_classes
from facecrypt.engine.trainer import trainer_arguments
from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, check_recipe, dump_recipe, load_recipe, recipe_values
from facecrypt.recipe.trainer_options import HARDWARE, OWNED, TrainerOptions

CSV = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}}


def recipe(**trainer: Any) -> Recipe:
    return check_recipe({"surrogates": [{"name": "sface"}], "trainer": trainer})


def test_every_argument_of_the_trainer_is_an_option_or_refused() -> None:
    signature = set(inspect.signature(lightning.Trainer).parameters)
    options = {item.name for item in fields(TrainerOptions)}
    assert options | set(OWNED) == signature
    assert not options & set(OWNED)


@pytest.mark.parametrize("name", OWNED)
def test_what_facecrypt_sets_itself_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**{name: True})
    assert caught.value.faults == (f"trainer.{name}: facecrypt sets this itself: {OWNED[name]}. Leave it out.",)


def test_a_resolved_recipe_names_only_what_is_not_left_to_lightning() -> None:
    assert list(recipe_values(recipe())["trainer"]) == list(HARDWARE)
    given = recipe(logger=CSV, max_epochs=3, fast_dev_run=True)
    assert recipe_values(given)["trainer"]["logger"] == [CSV]
    assert check_recipe(recipe_values(given)) == given
    assert "max_epochs: 3" in dump_recipe(given)
    assert type(recipe(limit_train_batches=5).trainer.limit_train_batches) is int  # Of floats, it would be a share.


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("callbacks", {"class": "x"}), ("callbacks", [{"class_path": "x", "args": {}}]), ("callbacks", [3]),
        ("callbacks", "os.system()"), ("logger", 3), ("logger", [True]), ("profiler", {"class_path": 3}),
        ("limit_predict_batches", 0.5), ("limit_predict_batches", -1), ("fast_dev_run", -1), ("strategy", {"x": 1}),
        ("enable_progress_bar", "no"), ("deterministic", "maybe"), ("gradient_clip_algorithm", "other"),
    ],
)  # fmt: skip
def test_wrong_options(key: str, value: object) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**{key: value})
    assert all(fault.startswith(f"trainer.{key}") for fault in caught.value.faults)


def test_overrides_reach_into_classes(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("surrogates: [{name: sface}]\ntrainer: {logger: {class_path: CSVLogger}}\n")
    options = load_recipe(file, ["trainer.logger.init_args.save_dir=logs", "trainer.profiler=simple"]).trainer
    assert options.logger == [{"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}]
    assert options.profiler == "simple"


def test_classes_are_made_as_the_recipe_says() -> None:
    monitor = {"class_path": "DeviceStatsMonitor", "init_args": {"cpu_stats": False}}
    options = recipe(
        logger=[CSV],
        callbacks=[monitor, "lightning.pytorch.callbacks.Timer"],
        profiler={"class_path": "SimpleProfiler"},
    ).trainer
    made = build_classes(options)
    assert [type(each).__name__ for each in made["callbacks"]] == ["DeviceStatsMonitor", "Timer"]
    assert made["logger"][0].save_dir == "logs"
    assert type(made["profiler"]).__name__ == "SimpleProfiler"
    lightning.Trainer(**trainer_arguments(options))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"callbacks": "no.such.module.Thing"}, "trainer.callbacks[0]: 'no.such.module' cannot be imported"),
        ({"callbacks": "Timr"}, "trainer.callbacks[0]: lightning.pytorch.callbacks has no class 'Timr'. Did you mean"),
        ({"callbacks": "collections.OrderedDict"}, "trainer.callbacks[0]: 'collections.OrderedDict' is no Callback"),
        ({"logger": {"class_path": "CSVLogger", "init_args": {"folder": "x"}}},
         "trainer.logger[0]: CSVLogger cannot be made with init_args {'folder': 'x'}: missing a required argument"),
        ({"profiler": {"class_path": "os.path.join"}}, "trainer.profiler: posixpath has no class 'join'"),
        ({"strategy": {"class_path": "CSVLogger"}}, "trainer.strategy: lightning.pytorch.strategies has no class"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_made_is_one_line(
    options: dict[str, Any], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe(**options)))
    assert cli.main(["check", str(file)]) == cli.WRONG
    _, line = capsys.readouterr().err.splitlines()
    assert line.strip().startswith(fault)
