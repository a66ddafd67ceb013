from __future__ import annotations

import json
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.engine.data import share_out
from facecrypt.pipeline import runner
from tests import processes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("counts", [[1] * 7, [0, 0, 0, 0], [9, 1, 1, 1, 1, 5], [0, 3, 0, 3, 0, 2, 2, 2], [4], []])
def test_shares_are_complete_and_near_the_best(counts: list[int], ranks: int) -> None:
    shares = share_out(counts, ranks)
    assert sorted(index for share in shares for index in share) == list(range(len(counts)))
    assert all(share == sorted(share) for share in shares)
    most = max(sum(counts[index] for index in share) for share in shares)
    best = min(
        max(sum(count for count, where in zip(counts, places, strict=True) if where == rank) for rank in range(ranks))
        for places in product(range(ranks), repeat=len(counts))
    )
    assert most <= best * 4 / 3
    if not any(counts):
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def run(output: Path, photos: Path, *arguments: str, launcher: tuple[str, ...] = ("-m",)) -> list[dict[str, Any]]:
    command = [
        sys.executable, *launcher, "facecrypt", "run", "--allow-weak", "tests/judged.yaml", f"photos={photos}",
        f"output={output}", "steps=1", "budget=null", "max_targets=2", "target_selector={name: nearest}", "held_out=[]",
        "trainer={accelerator: cpu, devices: 2, strategy: ddp}", *arguments,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = processes.run(command, environment=environment)
    assert done.returncode == 0, done.stderr
    photos_done: list[dict[str, Any]] = json.loads((output / "report.json").read_text())["photos"]
    return photos_done


def sample(side: int = 256) -> Image.Image:
    return Image.open(runner.sample_photo()).crop((100, 0, 356, 256)).resize((side, side))


def make_group(faces: int) -> Image.Image:
    group = Image.new("RGB", (180 * faces, 180))
    for number in range(faces):
        group.paste(sample(180), (180 * number, 0))
    return group


@pytest.mark.slow
def test_one_photo_and_two_processes(tmp_path: Path) -> None:
    """The process that protects the photo knows from the search which faces were left, and why."""
    make_group(2).save(tmp_path / "one.png")
    (photo,) = run(tmp_path / "out", tmp_path / "one.png", "faces={index: [2, 7]}")
    assert (photo["status"], len(photo["faces"])) == ("written", 1)
    assert [(face["index"], face["reason"]) for face in photo["skipped"]] == [
        (1, "not what faces.index names (2, 7)"),
        (7, "no such face: 2 found"),
    ]


@pytest.mark.slow
def test_torchrun_starts_the_processes_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    """A group photo goes to one process, single faces to the other, found by workers; then everything is done."""
    folder = tmp_path / "photos"
    folder.mkdir()
    make_group(3).save(folder / "a_group.png")
    Image.new("RGB", (90, 90), "gray").save(folder / "b_wall.png")
    for name in ("c", "d"):
        sample().save(folder / f"{name}.png")
    (folder / "e_text.png").write_text("no picture")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    command = ("workers=1", "batch_size=auto")
    with pytest.raises(AssertionError, match=r"exitcode\s*: 1"):  # A photo failed; torchrun tells that its own way.
        run(tmp_path / "out", folder, *command, launcher=torchrun)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    photos = {Path(photo["source"]).stem: photo for photo in report["photos"]}
    assert {name: (photo["status"], len(photo["faces"])) for name, photo in photos.items()} == {
        "a_group": ("written", 3),
        "b_wall": ("unchanged", 0),
        "c": ("written", 1),
        "d": ("written", 1),
        "e_text": ("failed", 0),
    }
    (folder / "b_wall.png").unlink()
    (folder / "e_text.png").unlink()
    written = (tmp_path / "out" / "report.json").read_bytes()
    run(tmp_path / "out", folder, "trainer={accelerator: cpu, devices: 1}")
    assert (tmp_path / "out" / "report.json").read_bytes() == written  # That of whoever did the work.


def test_a_temporary_folder_with_too_long_a_path_is_told_before_the_first_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers send tensors through sockets in it: they would wait for ever."""
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    command = ["run", "tests/judged.yaml", f"output={tmp_path / 'out'}", "workers=1", "trainer.accelerator=cpu"]
    assert cli.main(command) == cli.WRONG
    said = capsys.readouterr().err
    assert f"workers: the path of the temporary folder {folder} has" in said
    assert not list((tmp_path / "out").glob("*.png"))
