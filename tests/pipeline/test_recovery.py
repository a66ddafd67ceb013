"""Photos that a run protected and had no time to measure are measured by the next one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facecrypt.engine.callbacks import Progress
from facecrypt.errors import FacecryptError, FacecryptWarning
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe
from facecrypt.report import writer

pytestmark = pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")


class Folder:
    """Two photos and their runs."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.photos, self.output = folder / "photos", folder / "out"
        self.photos.mkdir(parents=True)
        sample = Image.open(runner.sample_photo()).crop((100, 0, 356, 256))
        for number in range(2):
            sample.rotate(3 * number).save(self.photos / f"{number}.png")
        self._recipe = check_recipe(
            {
                "surrogates": [{"name": "sface"}],
                "photos": str(self.photos),
                "output": str(self.output),
                "steps": 3,
                "max_targets": 3,
                "target_selector": {"name": "nearest"},
                "receipt": {"transforms": []},
                "batch_size": 1,
                "trainer": {"accelerator": "cpu", "devices": 1},
                **keys,
            }
        )

    def run(self, stop_after: int = 9, error: Exception | None = None) -> writer.Report:
        def watch(progress: Progress) -> None:
            if progress.done >= stop_after:
                raise error or InterruptedError

        return runner.run(self._recipe, on_progress=watch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, writer.Report]:
    folder = Folder(tmp_path_factory.mktemp("finished"))
    return folder, folder.run()


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, writer.Report]:
    folder = Folder(tmp_path_factory.mktemp("replaced"), in_place=True)
    return folder, folder.run()


def _photos(made: writer.Report) -> list[dict[str, Any]]:
    return [photo for photo in made.photos if "original" not in Path(photo["source"]).stem]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def check_same(now: dict[str, Any], then: dict[str, Any]) -> None:
    for key in ("backup", "encoding", "source_sha256", "output_sha256", "skipped"):
        assert now[key] == then[key], key
    (face,), (was,) = plain(now["faces"]), plain(then["faces"])
    assert face["seconds"] == 0
    assert face["target"] == was["target"]
    for key in ("box", "max_abs", "psnr", "ssim", "mmd", "index", "landmarks", "found_again"):
        assert face[key] == pytest.approx(was[key], abs=1e-4) if key != "landmarks" else face[key] == was[key]
    now_seen, then_seen = face["recognisers"]["sface"], was["recognisers"]["sface"]
    assert now_seen["similarity"] == pytest.approx(then_seen["similarity"], abs=1e-4)
    assert now_seen["target_similarity"] == pytest.approx(then_seen["target_similarity"], abs=1e-4)


@pytest.mark.parametrize("which", ["finished", pytest.param("replaced", marks=pytest.mark.slow)])
def test_what_nobody_measured_is_measured(which: str, request: pytest.FixtureRequest) -> None:
    folder, first = request.getfixturevalue(which)
    (folder.output / "report.json").unlink()
    with pytest.warns(FacecryptWarning, match="2 photos were written by a run that was ended before it had measured"):
        again = folder.run()
    for now, then in zip(_photos(again), first.photos, strict=True):
        assert (now["status"], now["already"], now["carried_over"]) == ("unchanged", True, False)
        assert now["reason"].endswith("Its faces were measured now, since no report of an earlier run has them.")
        assert now["output"] == then["output"]
        check_same(now, then)
    html = (folder.output / "report.html").read_text()
    assert html.count("<img") == 6
    third = folder.run()
    assert [(photo["carried_over"], len(photo["faces"])) for photo in _photos(third)] == [(True, 1), (True, 1)]
    assert not any("had measured" in note for note in third.notes)


@pytest.mark.slow
def test_what_an_earlier_run_measured_outlives_a_run_that_is_ended(
    finished: tuple[Folder, writer.Report], tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(InterruptedError):
        folder.run(stop_after=1)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            folder.run(stop_after=1)
        record = json.loads((folder.output / runner.RECORDS / "0.json").read_text())
        assert (record["carried_over"], len(record["faces"])) == (True, 1)
    done = folder.run()
    assert [(photo["carried_over"], len(photo["faces"])) for photo in done.photos] == [(True, 1), (False, 1)]
    assert not (folder.output / runner.RECORDS).exists()


def test_a_worker_that_is_ended_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    """Torch raises this wherever the process happens to be."""
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(FacecryptError, match=r"workers: a process .* was ended .*is killed by signal: Killed"):
        Folder(tmp_path).run(stop_after=0, error=killed)


@pytest.mark.parametrize("backup", ["gone", pytest.param("another", marks=pytest.mark.slow)])
def test_without_the_original_there_are_no_numbers(backup: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, in_place=True)
    folder.run()
    (folder.output / "report.json").unlink()
    kept = folder.photos / "0.original.png"
    kept.unlink()
    if backup == "another":
        shutil.copy(folder.photos / "1.original.png", kept)
    photo = next(photo for photo in folder.run().photos if photo["source"] == str(folder.photos / "0.png"))
    assert (photo["already"], photo["faces"]) == (True, [])
    assert photo["reason"].startswith(f"{folder.photos / '0.png'}: was made by facecrypt already, with these settings.")


@pytest.mark.slow
def test_a_photo_that_is_gone_is_protected_anew(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run()
    (folder.output / "report.json").unlink()
    (folder.output / "0.png").unlink()
    first, second = folder.run().photos
    assert (first["status"], first["already"], len(first["faces"])) == ("written", False, 1)
    assert (second["status"], second["already"], len(second["faces"])) == ("unchanged", True, 1)
