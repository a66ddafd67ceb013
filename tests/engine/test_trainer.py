"""Runs with Lightning's own means: limits, loggers, callbacks, a Trainer of one's own, and two machines."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest

from facecrypt.cli import main as cli
from facecrypt.engine.callbacks import PhotoWriter, ReportWriter
from facecrypt.errors import FacecryptError
from facecrypt.pipeline import prepare, run, sample_photo
from facecrypt.recipe.check import Recipe, load_recipe
from tests.engine.test_data import make_group, sample

ROOT = Path(__file__).parents[2]
QUICK = [
    "steps=1", "budget=null", "max_targets=2", "target_selector={name: nearest}", "held_out=[]", "batch_size=1",
    "receipt.transforms=[]", "trainer.accelerator=cpu",
]  # fmt: skip
CALLED: list[str] = []


class Recorder(lightning.Callback):
    """Notes what Lightning tells it; recipes name it by its class path."""

    def __init__(self, label: str = "") -> None:
        self.label = label

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        CALLED.append(self.label)


def load(output: Path, *overrides: str) -> Recipe:
    return load_recipe(ROOT / "tests" / "judged.yaml", [*QUICK, f"output={output}", *overrides])


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        sample(160 + number).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "done"), [("fast_dev_run=true", 1), ("limit_predict_batches=2", 2), ("limit_predict_batches=0", 0)]
)
def test_what_a_limit_leaves_out_is_told_and_done_the_next_time(
    limit: str, done: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder, out = photos(tmp_path / "in", 3), tmp_path / "out"
    limited = run(load(out, f"photos={folder}", f"trainer.{limit}"))
    assert [photo["status"] for photo in limited.photos] == ["written"] * done + ["unchanged"] * (3 - done)
    assert limited.photos[2]["reason"] == f"{folder / '2.png'}: was left out by trainer.{limit}."
    which = "2 photos were left out and are" if done == 1 else "photo"
    (note,) = [note for note in limited.notes if "left out" in note]
    assert which in note
    assert note.endswith(f"by trainer.{limit}: without it, the same command goes on from there")
    assert sorted(path.name for path in out.glob("*.png")) == [f"{number}.png" for number in range(done)]
    again = run(load(out, f"photos={folder}"))
    assert [photo["already"] for photo in again.photos] == [True] * done + [False] * (3 - done)
    assert again.complete
    # What is done stays so in the report of a run that does not come to it.
    third = run(load(out, f"photos={folder}", "trainer.limit_predict_batches=1"))
    assert [photo["already"] for photo in third.photos] == [True] * 3
    assert all(photo["faces"] for photo in third.photos)


@pytest.mark.slow
def test_callbacks_and_a_logger_from_the_recipe(tmp_path: Path) -> None:
    CALLED.clear()
    recipe = load(
        tmp_path / "out",
        "steps=3",
        f"photos={photos(tmp_path / 'in', 2)}",
        f"trainer.callbacks=[{{class_path: {__name__}.Recorder, init_args: {{label: mine}}}}]",
        f"trainer.logger={{class_path: CSVLogger, init_args: {{save_dir: {tmp_path / 'logs'}}}}}",
        "trainer.profiler=simple",
    )
    assert run(recipe).complete
    assert CALLED == ["mine", "mine"]
    (file,) = (tmp_path / "logs").rglob("metrics.csv")
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    similar = [float(row["similarity"]) for row in rows if row["similarity"]]
    assert len(similar) == 2 * 3
    assert all(-1 <= each <= 1 for each in similar)
    assert [(row["photos"], row["faces"]) for row in rows if row["photos"]] == [("1.0", "1.0"), ("2.0", "1.0")]


def test_a_trainer_of_ones_own(tmp_path: Path) -> None:
    """As docs/python.md has it."""
    CALLED.clear()
    recipe = load(tmp_path / "out")
    with prepare(recipe) as prepared:
        arguments = prepared.arguments | {"devices": 1}
        arguments["callbacks"].append(Recorder("own"))
        trainer = lightning.Trainer(**arguments)
        trainer.predict(prepared.module, datamodule=prepared.datamodule, return_predictions=False)
    assert prepared.report is not None
    assert prepared.report.photos[0]["source"] == str(sample_photo())
    assert (tmp_path / "out" / "report.json").is_file()
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert CALLED == ["own"]


@pytest.mark.slow
def test_a_trainer_without_gradients_is_refused(tmp_path: Path) -> None:
    with prepare(load(tmp_path / "out")) as prepared:
        writers = [each for each in prepared.arguments["callbacks"] if isinstance(each, PhotoWriter | ReportWriter)]
        trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=writers)
        with pytest.raises(FacecryptError, match="inference_mode=False"):
            trainer.predict(prepared.module, datamodule=prepared.datamodule, return_predictions=False)


def test_what_lightning_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(ROOT / "tests" / "judged.yaml"), *QUICK, f"output={tmp_path / 'out'}"]
    assert cli.main([*command, "trainer.barebones=true", "trainer.profiler=simple"]) == cli.WRONG
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("facecrypt: trainer: Lightning refuses what it is told: ")


@pytest.mark.slow
def test_two_nodes_on_one_machine(tmp_path: Path) -> None:
    """Two launchers as on two machines with a common file system; a limit holds in each of their processes."""
    folder = photos(tmp_path / "in", 3)
    make_group(2).save(folder / "group.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def start(rank: int, *more: str) -> subprocess.Popen[str]:
        nodes = ["--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
        command = [
            sys.executable, "-m", "torch.distributed.run", *nodes, f"--master-port={port}", "-m", "facecrypt", "run",
            "--allow-weak", "tests/judged.yaml", *QUICK, f"photos={folder}", f"output={tmp_path / 'out'}",
            "trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp", *more,
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def report(*more: str) -> list[dict[str, Any]]:
        for process in [start(0, *more), start(1, *more)]:
            said = process.communicate()[1]
            assert process.returncode == 0 or "exitcode  : 1" in said, said
        found: list[dict[str, Any]] = json.loads((tmp_path / "out" / "report.json").read_text())["photos"]
        return found

    first = report("trainer.limit_predict_batches=1")
    assert sorted(photo["status"] for photo in first) == ["unchanged", "unchanged", "written", "written"]
    then = report()
    assert [photo["status"] == "written" or photo["already"] for photo in then] == [True] * 4
    assert sorted(len(photo["faces"]) for photo in then) == [1, 1, 1, 2]
