"""Whole runs on real photos with real recognisers, few steps, through the command line."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.records import RECORDS
from facecrypt.engine.trainer import face_seed
from facecrypt.errors import WeightsError
from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.builders import assemble, build_surrogates
from facecrypt.recipe.check import check_recipe, load_recipe
from facecrypt.recipe.face_rules import Faces
from facecrypt.surrogates import catalogue, sface
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.onnx.graph import OnnxGraph
from facecrypt.surrogates.onnx.recogniser import OnnxNetwork
from facecrypt.system.journal import count_protected
from facecrypt.system.locks import NAME as LOCK
from facecrypt.system.locks import lock
from facecrypt.templates import ARCFACE_TEMPLATE
from tests import processes
from tests.pictures import contact_sheet
from tests.surrogates.onnx_files import NETWORKS, Writer, mobilefacenet

ROOT = Path(__file__).parents[2]
JUDGED = ROOT / "tests" / "judged.yaml"
WHOLE = ["--allow-weak", "steps=2", "max_targets=2", "target_selector={name: nearest}", "trainer.accelerator=cpu"]
QUICK = [*WHOLE, "receipt.transforms=[]", "budget=null"]
LEAST = ["steps=1", "held_out=[]"]


@dataclass
class Run:
    """A finished run of the command line."""

    status: int
    stdout: str
    stderr: str
    output: Path

    @property
    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.output / "report.json").read_text())
        return loaded

    def photo(self, name: str) -> dict[str, Any]:
        (found,) = [photo for photo in self.report["photos"] if Path(photo["source"]).name == name]
        return found


def run(capsys: pytest.CaptureFixture[str], output: Path, *arguments: str, recipe: str = "tests/judged") -> Run:
    status = cli.main(["run", str(ROOT / f"{recipe}.yaml"), f"output={output}", *QUICK, *arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Run(status, captured.out, captured.err, output)


def errors(result: Run) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("facecrypt: ") and "warning" not in line]


def sample() -> Image.Image:
    return Image.open(runner.sample_photo()).crop((100, 0, 356, 256))


def bad_photos(folder: Path) -> dict[str, str]:
    """Fill a folder with photos that cannot be protected; return what the run must say of each."""
    picture = sample()
    (folder / "text.jpg").write_text("this is no picture")
    picture.save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:4000])
    (folder / "whole.jpg").unlink()
    (folder / "zero.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (5000, 100), "gray").save(folder / "wide.png")
    picture.convert("CMYK").save(folder / "print.jpg")
    frames = [picture.convert("P"), picture.rotate(5).convert("P")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(folder / "noise.png")
    return {
        "text.jpg": "failed: .*text.jpg: ",
        "truncated.jpg": "failed: .*truncated.jpg: ",
        "zero.png": "failed: .*zero.png: ",
        "dot.png": "unchanged: .*dot.png: no face found, nothing was written",
        "wide.png": "unchanged: .*wide.png: no face found, nothing was written",
        "print.jpg": "failed: .*print.jpg: .*CMYK",
        "moving.gif": "failed: .*moving.gif: ",
        "noise.png": "unchanged: .*noise.png: no face found, nothing was written",
    }


def good_photos(folder: Path) -> list[str]:
    picture = sample()
    picture.save(folder / "good.png")
    picture.convert("L").save(folder / "gray.png")
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    transparent = picture.copy()
    transparent.putalpha(Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(256, 0)))
    transparent.save(folder / "alpha.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "trip").mkdir()
    picture.save(folder / "trip" / "good.jpg", quality=90)
    return ["good.png", "gray.png", "palette.png", "alpha.png", "deep.png", "trip/good.jpg"]


BAD = [
    "text.jpg",
    "truncated.jpg",
    "zero.png",
    "dot.png",
    "wide.png",
    "print.jpg",
    "moving.gif",
    "noise.png",
]
GOOD = ["good.png", "gray.png", "palette.png", "alpha.png", "deep.png", "trip/good.jpg"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, str], dict[str, bytes]]:
    """One run over a folder of good and bad photos: the result, what it must say, and the inputs before it."""
    folder = tmp_path_factory.mktemp("photos")
    says = bad_photos(folder)
    assert sorted(says) == sorted(BAD)
    assert good_photos(folder) == GOOD
    before = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
    output = tmp_path_factory.mktemp("mixed") / "protected"
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = cli.main(["run", str(JUDGED), f"photos={folder}", f"output={output}", *WHOLE])
    after = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
    assert after == before  # Whatever happened, no input was touched, and nothing was left beside them.
    return Run(status, out.getvalue(), err.getvalue(), output), says, before


def test_a_bad_photo_stops_no_other(mixed: tuple[Run, dict[str, str], dict[str, bytes]]) -> None:
    result, _, _ = mixed
    assert result.status == cli.SOME_FAILED
    assert "Traceback" not in result.stderr
    written = {str(path.relative_to(result.output)) for path in result.output.rglob("*.*")}
    assert written == {*GOOD, "report.json", "report.html", "recipe.yaml", "manifest.json"}
    (note,) = result.report["notes"]
    assert note.startswith("photos were written with loss (JPEG); the numbers are those of these files")
    assert "warning" not in result.stderr  # It is so with every JPEG.


def test_a_run_warns_once_where_all_metadata_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    bad_photos(tmp_path / "in")
    result = run(capsys, tmp_path / "out", f"photos={tmp_path / 'in' / 'noise.png'}", "metadata=all")
    notes = [note for note in result.report["notes"] if note.startswith("metadata: all keeps names")]
    assert len(notes) == 1
    assert result.stderr.count(notes[0]) == 1


@pytest.mark.parametrize("name", BAD)
def test_bad_photo(name: str, mixed: tuple[Run, dict[str, str], dict[str, bytes]]) -> None:
    result, says, _ = mixed
    lines = [line for line in result.stdout.splitlines() if re.match(says[name], line)]
    assert len(lines) == 1, result.stdout
    entry = result.photo(name)
    assert entry["status"] in ("failed", "unchanged")
    assert entry["reason"]
    assert entry["output"] is None
    assert entry["faces"] == []


@pytest.mark.parametrize("name", GOOD)
def test_good_photo_beside_bad_ones(name: str, mixed: tuple[Run, dict[str, str], dict[str, bytes]]) -> None:
    result, _, _ = mixed
    entry = result.photo(Path(name).name)
    assert entry["status"] == "written"
    assert entry["output"] == str(result.output / name)
    assert entry["encoding"] == ("lossy JPEG" if name.endswith(".jpg") else "lossless PNG")
    before, after = Image.open(entry["source"]), Image.open(entry["output"])
    if name == "alpha.png":
        assert np.array_equal(np.asarray(before)[..., 3], np.asarray(after)[..., 3])
    if name == "gray.png":
        assert after.mode == "L"
    if name == "deep.png":
        assert after.mode == "I;16"
        change = (np.asarray(after).astype(int) - np.asarray(before)) / 257
    else:
        change = np.asarray(after.convert("RGB")).astype(int) - np.asarray(before.convert("RGB"))
    assert np.abs(change).max() > 0
    # JPEG rounds the change again; the report says by how much.
    assert np.abs(change).max() <= (28 if name.endswith(".jpg") else 16)


def test_the_report_keeps_its_contract(mixed: tuple[Run, dict[str, str], dict[str, bytes]]) -> None:
    result, _, _ = mixed
    report = result.report
    assert {"facecrypt", "versions", "recipe", "seed", "device", "seconds", "photos", "summary", "verdict"} <= set(
        report
    )
    assert report["device"] == "cpu"
    entry = ["source", "output", "status", "reason", "faces", "backup", "encoding", "already"]
    entry += ["skipped", "source_sha256", "output_sha256", "carried_over", "verdict"]
    assert all(list(photo) == entry for photo in report["photos"])
    face = result.photo("good.png")["faces"][0]
    measures = ["box", "target", "seconds", "max_abs", "psnr", "ssim", "mmd"]
    places = ["index", "landmarks", "found_again"]
    judged = ["sentence", "verdict", "expected", "visible", "queries"]
    assert list(face) == [*measures, "recognisers", "jod", "flip", "level", "escaped", *places, *judged]
    assert [face[key] for key in ("level", "escaped", *places)] == [None, None, 1, "detected", "detected"]
    assert set(face["recognisers"]) == {"sface", "dlib_resnet"}
    keys = ["white_box", "similarity", "target_similarity", "threshold", "still_recognised", "chooses"]
    for name, verdict in face["recognisers"].items():
        assert list(verdict) == [*keys, "person", "before", "after", "cannot_judge"]
        assert list(verdict["before"]) == list(verdict["after"]) == ["none", "jpeg_75", "half_size", "blur"]
        assert not verdict["chooses"]
        assert verdict["white_box"] == (name == "sface")
        assert verdict["still_recognised"] == (verdict["similarity"] >= verdict["threshold"])
    html = (result.output / "report.html").read_text()
    assert "http://" not in html
    assert "https://" not in html
    assert html.count("<img") == 3 * len(GOOD)


def test_the_resolved_recipe_makes_the_same_photo_again(
    photo: Photo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(capsys, tmp_path / "first", *LEAST)
    assert first.status == cli.DONE
    status = cli.main(["run", "--allow-weak", str(first.output / "recipe.yaml"), f"output={tmp_path / 'second'}"])
    assert status == cli.DONE
    pictures = [read_photo(tmp_path / folder / "astronaut.png").pixels for folder in ("first", "second")]
    assert np.array_equal(*pictures)
    # Outside the patch the file is the photo itself.
    changed = (pictures[0] != photo.pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert np.ptp(rows) < 200
    assert np.ptp(columns) < 200


def test_what_the_report_says_can_be_computed_from_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], detector: FaceDetector, reference_ssim: Callable[..., float]
) -> None:
    """With another library's PSNR, and SSIM from its definition."""
    result = run(capsys, tmp_path, "steps=10")
    entry = result.report["photos"][0]
    face = entry["faces"][0]
    before, after = read_photo(Path(entry["source"])), read_photo(Path(entry["output"]))
    assert np.abs(after.pixels.astype(int) - before.pixels).max() == face["max_abs"]
    (found,) = detector.find(before, "all")
    crops = []
    for each in (before, after):
        image = cut(each, found)
        grid = crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (112, 112), image.pixels.shape[-1])
        crops.append(crop(image.pixels[None], grid)[0].permute(1, 2, 0).numpy())
    assert face["psnr"] == pytest.approx(peak_signal_noise_ratio(*crops, data_range=1.0), abs=1e-3)
    assert face["ssim"] == pytest.approx(reference_ssim(*crops), abs=1e-4)


def test_missing_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, tmp_path / "out", f"photos={tmp_path / 'nowhere.jpg'}")
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert "nowhere.jpg" in line
    assert not (tmp_path / "out").exists()


def test_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    result = run(capsys, tmp_path / "out", f"photos={tmp_path / 'photos'}")
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert str(tmp_path / "photos") in line


def test_an_output_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(capsys, tmp_path / "file")
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert f"output: {tmp_path / 'file'} cannot be written to" in line
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    result = run(capsys, tmp_path / "out")
    assert result.status == cli.WRONG
    assert "Permission denied" in result.stderr


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stands in for a full disk: writing fails half-way, with the same kind of error."""
    output = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        result = run(capsys, output, *LEAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.status == cli.SOME_FAILED
    assert "failed: " in result.stdout
    assert "astronaut.png" in result.stdout
    assert {path.name for path in output.iterdir()} == {"report.json", "report.html", "recipe.yaml", "manifest.json"}


def test_two_inputs_with_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        sample().save(tmp_path / folder / "me.png")
    result = run(capsys, tmp_path / "out", f"photos={tmp_path}/*/me.png")
    assert result.status == cli.WRONG
    assert f"{tmp_path}/out/me.png: would be both {tmp_path}/a/me.png and {tmp_path}/b/me.png" in result.stderr
    assert "Set photos to the folder of both" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_input_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample().save(tmp_path / "me.png")
    before = (tmp_path / "me.png").read_bytes()
    for overwrite in ("false", "true"):
        result = run(capsys, tmp_path, f"photos={tmp_path / 'me.png'}", f"overwrite={overwrite}")
        assert result.status == cli.WRONG
        assert f"{tmp_path}/me.png: is an input of this run, and would be replaced" in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["me.png"]
        assert (tmp_path / "me.png").read_bytes() == before


def test_a_clash_is_found_before_weights_are_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample().save(tmp_path / "me.png")
    nowhere = f"surrogates=[{{name: arcface_vit_tiny, args: {{folder: {tmp_path / 'nowhere'}}}}}]"
    result = run(capsys, tmp_path, f"photos={tmp_path / 'me.png'}", nowhere)
    assert result.status == cli.WRONG
    assert "nothing was begun" in result.stderr
    assert "nowhere" not in result.stderr


def test_what_a_folder_left_out_is_said_once_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    sample().save(folder / "me.jfif", "JPEG")
    (folder / ".hidden.jpg").touch()
    (folder / "film.mov").touch()
    result = run(capsys, tmp_path / "out", f"photos={folder}", *LEAST)
    assert result.status == cli.DONE
    lines = [line for line in result.stderr.splitlines() if "left out" in line]
    assert len(lines) == 1
    assert "left out 1 hidden file or folder, 1 file of unknown kind (1 .mov); " in lines[0]
    assert [note for note in result.report["notes"] if " left out " in note] == [lines[0].partition("warning: ")[2]]
    with Image.open(result.output / "me.jfif") as written:
        assert written.format == "JPEG"


def test_a_second_run_on_one_folder_is_told_of_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here and in place, with output folders of their own; each ends at once, and the first is not disturbed."""
    sample().save(tmp_path / "me.png")
    (tmp_path / "out").mkdir()
    for folder, output, in_place in ((tmp_path / "out", "out", "false"), (tmp_path, "other", "true")):
        with lock(folder / LOCK):
            result = run(capsys, tmp_path / output, f"photos={tmp_path / 'me.png'}", f"in_place={in_place}")
        assert result.status == cli.WRONG
        (line,) = errors(result)
        assert f"{folder}: another run is at work here: process {os.getpid()} on " in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["me.png", "out"]


@pytest.mark.parametrize(
    "what", ["removed", *(pytest.param(each, marks=pytest.mark.slow) for each in ("linked", "output removed"))]
)
def test_folders_that_change_while_a_run_is_at_work(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first photo is written: the others are done, the report tells of all, and nothing else is touched."""
    folder, output, precious = tmp_path / "photos", tmp_path / "out", tmp_path / "precious"
    folder.mkdir()
    precious.mkdir()
    (precious / "0.json").write_text("mine")
    for name in ("a.png", "b.png"):
        sample().save(folder / name)
    write = runner.save
    written = 0

    def meddle(*arguments: Any) -> None:
        nonlocal written
        write(*arguments)
        written += 1
        if written == 1 and what == "output removed":
            shutil.rmtree(output)
        elif written == 1:
            shutil.rmtree(output / RECORDS)
            if what == "linked":
                (output / RECORDS).symlink_to(precious)

    monkeypatch.setattr(runner, "save", meddle)
    result = run(capsys, output, f"photos={folder}", "batch_size=1", *LEAST)
    monkeypatch.undo()
    states = [photo["status"] for photo in result.report["photos"]]
    assert states == (["failed", "written"] if what == "output removed" else ["written", "written"])
    assert [path.name for path in precious.iterdir()] == ["0.json"]
    assert (precious / "0.json").read_text() == "mine"
    if what == "linked":
        assert "became a link while the run was at work" in result.stderr
        (output / RECORDS).unlink()
    again = run(capsys, output, f"photos={folder}", "batch_size=1", *LEAST)
    assert again.status == cli.DONE
    names = {"a.png", "b.png", "report.json", "report.html", "recipe.yaml", "manifest.json"}
    assert {path.name for path in output.iterdir()} == names


def test_a_report_that_cannot_be_written_hides_no_photo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    write = runner.save

    def meddle(*arguments: Any) -> None:
        write(*arguments)
        (output / "report.json").write_text("mine")

    monkeypatch.setattr(runner, "save", meddle)
    result = run(capsys, output, *LEAST)
    monkeypatch.undo()
    assert result.status == cli.SOME_FAILED
    assert "written: " in result.stdout
    assert f"warning: {output}/report.json: appeared while the run was at work, so it stays as it is" in result.stderr
    assert (output / "report.json").read_text() == "mine"
    (output / "report.json").unlink()
    again = run(capsys, output, *LEAST)
    assert again.status == cli.DONE
    assert again.report["photos"][0]["carried_over"]  # What was measured was not lost.


@pytest.mark.slow
def test_the_resolved_recipe_runs_again_where_it_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert run(capsys, output, *LEAST).status == cli.DONE
    resolved = (output / "recipe.yaml").read_bytes()
    for overrides in ([], ["steps=2"]):
        assert (
            cli.main(["run", "--allow-weak", str(output / "recipe.yaml"), f"output={output}", *overrides]) == cli.DONE
        )
        said = capsys.readouterr()
        assert ("is the recipe that was run, so it stays as it is" in said.err) == bool(overrides)
        assert (output / "recipe.yaml").read_bytes() == resolved
        loaded = json.loads((output / "report.json").read_text())
        assert ("unchanged: " in said.out) == (not overrides)
        assert [photo["status"] for photo in loaded["photos"]] == ["written"]
        assert loaded["recipe"]["steps"] == (2 if overrides else 1)
    (output / "recipe.yaml").write_bytes(resolved + b"# mine\n")
    assert cli.main(["run", str(output / "recipe.yaml"), f"output={output}"]) == cli.WRONG
    assert "recipe.yaml: is an input of this run" in capsys.readouterr().err


def test_in_place_with_a_backup_and_once_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    sample().save(folder / "me.jpg", quality=90)
    before = (folder / "me.jpg").read_bytes()
    keys = [f"photos={folder}", "in_place=true", "views=[{name: jpeg}]"]
    first = run(capsys, tmp_path / "out", *keys)
    assert first.status == cli.DONE
    assert first.report["notes"] == []
    assert (folder / "me.original.jpg").read_bytes() == before
    after = (folder / "me.jpg").read_bytes()
    assert after != before
    entry = first.report["photos"][0]
    assert (entry["output"], entry["backup"]) == (str(folder / "me.jpg"), str(folder / "me.original.jpg"))
    second = run(capsys, tmp_path / "out", *keys)
    assert second.status == cli.DONE
    assert (folder / "me.jpg").read_bytes() == after
    assert second.stdout.count("unchanged: ") == 2
    assert second.report == first.report  # Nothing was to do, so nothing is written.
    assert "me.jpg: was made by facecrypt already, with these settings. To protect it anew, restore" in second.stdout
    assert "me.original.jpg: is the backup of me.jpg" in second.stdout
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert names == {"me.jpg", "me.original.jpg", "facecrypt-manifest.json"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("surrogates[0].name=sfaec", "surrogates[0]: no surrogate named 'sfaec'. Did you mean 'sface'?"),
        ("epsilom=8", "epsilom: unknown key. Did you mean 'epsilon'?"),
        ("steps=many", "steps: 'many' is wrong: input should be a valid integer"),
        ("epsilon=0", "epsilon: 0 is wrong: input should be greater than or equal to 1."),
    ],
)
def test_a_wrong_recipe(override: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, tmp_path / "out", override)
    assert result.status == cli.WRONG
    assert "judged.yaml: 1 problem" in result.stderr
    assert says in result.stderr
    assert not (tmp_path / "out").exists()


def test_corrupt_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(catalogue.SFACE.weights.require().read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "sface.onnx"
    path.write_bytes(damaged)
    monkeypatch.setattr(type(catalogue.SFACE.weights), "find", lambda self: path)
    result = run(capsys, tmp_path / "out")
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert "sface.onnx: sha256 is" in line
    assert "corrupt or another version" in line
    assert not (tmp_path / "out").exists()


def test_a_fallback_is_warned_of_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*, folder: str | None = None, threshold: float | None = None) -> None:
        raise WeightsError("weights owner/name: the hub cannot be reached.")

    for name in ("arcface_vit_tiny", "cosface_vit_tiny"):
        component = registry.get("surrogate", name)
        monkeypatch.setitem(registry._shared.components, ("surrogate", name), _with_target(component, unreachable))
    result = run(capsys, tmp_path / "out", recipe="recipes/tipim_arcface")
    assert result.status == cli.DONE
    notes = result.report["notes"]
    assert notes[0].startswith("surrogate arcface_vit_tiny was replaced by its fallback sface: weights owner/name")
    assert notes[1].startswith("held-out cosface_vit_tiny does not judge this run: weights owner/name")
    # That a judge which is optional is not here, the report tells alone.
    assert [line for line in result.stderr.splitlines() if "warning" in line] == [f"facecrypt: warning: {notes[0]}"]
    assert set(result.report["photos"][0]["faces"][0]["recognisers"]) == {"sface", "dlib_resnet"}
    html = (result.output / "report.html").read_text()
    assert "was replaced by its fallback sface" in html


def _with_target(component: registry.Component, target: Any) -> registry.Component:
    return replace(component, target=target)


def test_without_a_fallback_missing_weights_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = f"surrogates=[{{name: arcface_vit_tiny, args: {{folder: {tmp_path / 'nowhere'}}}}}]"
    result = run(capsys, tmp_path / "out", arguments)
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert "nowhere" in line


@pytest.mark.slow
def test_an_optional_surrogate_may_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = f"{{name: arcface_vit_tiny, optional: true, args: {{folder: {tmp_path / 'nowhere'}}}}}"
    result = run(capsys, tmp_path / "out", f"surrogates=[{{name: sface}}, {missing}]")
    assert result.status == cli.DONE
    (note,) = result.report["notes"]
    assert note.startswith("surrogate arcface_vit_tiny gives no gradients in this run: ")
    assert set(result.report["photos"][0]["faces"][0]["recognisers"]) == {"sface", "dlib_resnet"}
    result = run(capsys, tmp_path / "none", f"surrogates=[{missing}]")
    assert result.status == cli.WRONG
    assert "none of them can be loaded, and all are optional. Name one that is here." in result.stderr


def test_a_run_without_a_judge_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, tmp_path / "out", "held_out=[]")
    assert result.status == cli.DONE
    assert result.report["notes"] == [
        "no held-out recogniser judged this run: what others make of its masks was not measured"
    ]


def test_one_network_under_two_names_is_no_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = registry.Component("surrogate", "twin", sface.build, "SFace by another name", "test", catalogue.SFACE)
    monkeypatch.setitem(registry._shared.components, ("surrogate", "twin"), twin)
    result = run(capsys, tmp_path / "out", "held_out=[{name: twin}]")
    assert result.status == cli.WRONG
    assert "the network of 'twin' gives gradients in this recipe" in result.stderr
    allowed = run(capsys, tmp_path / "out", "held_out=[{name: twin}]", "allow_white_box=true")
    assert any("no held-out recogniser judged this run" in note for note in allowed.report["notes"])
    assert allowed.report["photos"][0]["faces"][0]["recognisers"]["twin"]["white_box"] is True


@pytest.mark.parametrize("key", ["surrogates", "held_out"])
def test_a_licence_that_only_building_tells(
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dlib_embedder: Embedder,
) -> None:
    weights = replace(catalogue.DLIB_RESNET.weights, licence="own", permissive=False)
    spec = replace(catalogue.DLIB_RESNET, weights=weights)
    own = registry.Component("surrogate", "own", lambda: Embedder(dlib_embedder.network, spec), "own weights", "test")
    monkeypatch.setitem(registry._shared.components, ("surrogate", "own"), own)
    other = "held_out=[]" if key == "surrogates" else "surrogates=[{name: sface}]"
    result = run(capsys, tmp_path / "out", f"{key}=[{{name: own}}]", other, "permissive_only=true")
    assert result.status == cli.WRONG
    assert f"{key}[0] (own): its weights are not known to allow products (licence: own)" in result.stderr
    assert not (tmp_path / "out").exists()


def test_aligned_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Photo) -> None:
    """The paper's mode: the photo is a 112x112 crop, and the mask covers it."""
    sample().resize((112, 112)).save(tmp_path / "crop.png")
    result = run(capsys, tmp_path / "out", f"photos={tmp_path / 'crop.png'}", "faces=aligned", recipe="recipes/tipim")
    assert result.status == cli.DONE
    face = result.report["photos"][0]["faces"][0]
    assert face["box"] == [0, 0, 112, 112]
    assert face["recognisers"]["sface"]["similarity"] is not None
    assert read_photo(result.output / "crop.png").pixels.shape == (112, 112, 3)


@pytest.mark.slow
def test_many_faces_and_the_largest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Image.new("RGB", (560, 256))
    scene.paste(sample(), (0, 0))
    scene.paste(sample().resize((180, 180)), (300, 20))
    scene.save(tmp_path / "two.png")
    both = run(capsys, tmp_path / "both", f"photos={tmp_path / 'two.png'}", "batch_size=1", *LEAST)
    assert len(both.report["photos"][0]["faces"]) == 2
    largest = run(capsys, tmp_path / "largest", f"photos={tmp_path / 'two.png'}", "faces=largest", *LEAST)
    assert len(largest.report["photos"][0]["faces"]) == 1
    before, after = np.asarray(scene), read_photo(tmp_path / "largest" / "two.png").pixels
    assert (before[:, 300:] == after[:, 300:]).all()


@pytest.mark.slow
def test_two_of_thirty_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number in the report is the number to give; every other face is named, and none of them changes."""
    sheet = contact_sheet(30)
    sheet.save(tmp_path / "group.png")
    arguments = [f"photos={tmp_path / 'group.png'}", *LEAST, "faces.index=[30,2]"]
    result = run(capsys, tmp_path / "out", *arguments)
    assert result.status == cli.DONE
    photo = result.photo("group.png")
    assert [face["index"] for face in photo["faces"]] == [2, 30]
    assert [face["landmarks"] for face in photo["faces"]] == ["detected"] * 2
    assert [face["found_again"] for face in photo["faces"]] == ["detected"] * 2
    assert [face["index"] for face in photo["skipped"]] == [1, *range(3, 30)]
    assert "  face 1: left as it is, not what faces.index names (30, 2)" in result.stdout
    assert "  face 30: " in result.stdout
    assert "Face 29 of all found was left as it is" in (tmp_path / "out" / "report.html").read_text()
    assert result.report["recipe"]["faces"]["index"] == [30, 2]
    assert load_recipe(tmp_path / "out" / "recipe.yaml").faces == Faces(choose="all", index=[30, 2])
    changed = (np.asarray(sheet) != read_photo(result.output / "group.png").pixels).any(axis=2)
    for face in photo["faces"]:
        left, top, right, bottom = map(int, face["box"])
        assert changed[top:bottom, left:right].any()
        margin = right - left
        changed[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = False
    assert not changed.any()


def test_nobody_of_the_photo_is_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = ROOT / "facecrypt" / "data" / "virtual_targets" / "v01" / "0.png"
    result = run(capsys, tmp_path / "out", f"faces.only={stranger}")
    assert result.status == cli.SOME_FAILED
    photo = result.photo("astronaut.png")
    assert photo["status"] == "unchanged"
    assert "its only face is not chosen, nothing was written. Face 1 is not like faces.only: sim" in photo["reason"]
    assert "same person from 0.307 (sface)" in photo["skipped"][0]["reason"]
    assert not (tmp_path / "out" / "astronaut.png").exists()
    missing = run(capsys, tmp_path / "none", f"faces.only={tmp_path / 'nobody.jpg'}")
    assert missing.status == cli.WRONG
    assert "faces.only: " in missing.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_faces_given_by_hand_upside_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Photo, face: Face
) -> None:
    """Given by hand, a face is protected, and the report says how it was judged."""
    Image.fromarray(np.asarray(photo.pixels)).rotate(180).save(tmp_path / "turned.png")
    points = [[511 - x, 511 - y] for x, y in face.landmarks.tolist()]
    photos = f"photos={tmp_path / 'turned.png'}"
    result = run(
        capsys, tmp_path / "out", photos, "steps=30", "preset=high", "held_out=[]", f"faces.landmarks={points}"
    )
    assert result.status == cli.DONE
    (given,) = result.photo("turned.png")["faces"]
    assert (given["index"], given["landmarks"]) == (None, "given")
    assert given["found_again"] in ("detected", "detected in box")
    assert "  face given by hand (given): " in result.stdout
    # As good as the same face the right way up.
    assert given["recognisers"]["sface"]["similarity"] < 0.3
    left, top, right, bottom = (511 - value for value in face.box[2:] + face.box[:2])
    other = "20,300,90,390"  # The folds of a flag.
    boxed = run(capsys, tmp_path / "box", photos, *LEAST, f"faces.box=[[{left},{top},{right},{bottom}],[{other}]]")
    found, placed = boxed.photo("turned.png")["faces"]
    assert found["landmarks"] == "detected in box"
    assert found["found_again"] in ("detected", "detected in box")
    assert (placed["landmarks"], placed["found_again"]) == ("placed in box", "known landmarks")
    note = boxed.report["notes"][-1]
    assert note.startswith("no face was found in a box given for ")
    assert "no search finds a face given by hand in the saved " in note


def test_faces_given_by_hand_are_those_of_one_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        sample().save(tmp_path / name)
    result = run(capsys, tmp_path / "out", f"photos={tmp_path}", "faces.box=[80,60,170,170]")
    assert result.status == cli.WRONG
    assert "faces.box: gives a face of one photo by hand, but photos names 2. Name that photo alone" in result.stderr


@pytest.mark.slow
def test_another_choice_of_faces_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is protected already is not protected twice, but a run that could not follow its recipe says so."""
    sample().save(tmp_path / "me.png")
    arguments = [f"photos={tmp_path / 'me.png'}", "in_place=true", *LEAST]
    first = run(capsys, tmp_path / "out", *arguments, "faces.index=1")
    assert (first.status, first.photo("me.png")["status"]) == (cli.DONE, "written")
    protected = (tmp_path / "me.png").read_bytes()
    assert run(capsys, tmp_path / "out", *arguments, "faces.index=1").status == cli.DONE
    other = run(capsys, tmp_path / "out", *arguments, "faces=all")
    assert other.status == cli.SOME_FAILED
    reason = other.photo("me.png")["reason"]
    assert reason.endswith(
        "made by facecrypt already, with other settings. To protect it anew, restore me.original.png first."
    )
    assert (tmp_path / "me.png").read_bytes() == protected
    (tmp_path / "me.original.png").replace(tmp_path / "me.png")
    assert run(capsys, tmp_path / "out", *arguments, "faces=all").photo("me.png")["status"] == "written"


@pytest.mark.slow
def test_two_processes_share_the_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning's own strategy shards the photos; each process writes its own, and one report covers all.

    It also tells of the faces that were left, which only the process knows that searched the photo.
    """
    (tmp_path / "photos").mkdir()
    for number in range(3):
        sample().rotate(4 * number).save(tmp_path / "photos" / f"{number}.png")
    arguments = [f"photos={tmp_path / 'photos'}", *LEAST, "batch_size=1", "faces.index=[1,7]"]
    alone = run(capsys, tmp_path / "alone", *arguments)
    command = [sys.executable, "-m", "facecrypt", "run", "tests/judged.yaml", *QUICK, *arguments]
    command += [f"output={tmp_path / 'shared'}", "trainer.devices=2", "trainer.strategy=ddp"]
    # Two processes with as many threads as there are cores would spend their time waiting for each other.
    done = processes.run(command, environment=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == cli.DONE, done.stderr
    shared = Run(done.returncode, done.stdout, done.stderr, tmp_path / "shared")
    assert [Path(photo["source"]).name for photo in shared.report["photos"]] == ["0.png", "1.png", "2.png"]
    for photo in shared.report["photos"]:
        assert [(face["index"], face["reason"]) for face in photo["skipped"]] == [(7, "no such face: 1 found")]
    for number in range(3):
        one, two = (read_photo(result.output / f"{number}.png").pixels for result in (alone, shared))
        assert (one != two).mean() < 0.02
    assert {path.name for path in shared.output.iterdir()} == {path.name for path in alone.output.iterdir()}


def test_face_seed_depends_on_seed_name_and_number_only() -> None:
    assert face_seed(0, Path("a/me.png"), 1) == face_seed(0, Path("b/me.png"), 1)
    assert face_seed(0, Path("me.png"), 1) == zlib.crc32(b"0/me.png/1")
    assert len({face_seed(seed, Path("me.png"), number) for seed in (0, 1) for number in (0, 1)}) == 4


def test_onnx_files_are_converted_where_they_give_gradients(tmp_path: Path) -> None:
    giving, judging = mobilefacenet(tmp_path / "giving.onnx"), NETWORKS["vit"](tmp_path / "judging.onnx")
    recipe = check_recipe(
        {
            "surrogates": [{"name": "onnx", "args": {"path": str(giving), "dimension": 16}}],
            "held_out": [{"name": "onnx", "args": {"path": str(judging), "dimension": 16}}],
        }
    )
    crew = assemble(recipe)
    assert [type(embedder.network) for _, embedder, _ in crew.judges] == [OnnxGraph, OnnxNetwork]


def test_onnx_file_without_gradients_stops_the_run_or_falls_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = Writer()
    path = w.save(tmp_path / "steps.onnx", w.add("Flatten", w.add("Round", w.add("GlobalAveragePool", "x"))))
    slot = f"name: onnx, args: {{path: {path}, dimension: 3}}"
    result = run(capsys, tmp_path / "out", f"surrogates=[{{{slot}}}]", "held_out=[]")
    assert result.status == cli.WRONG
    (line,) = errors(result)
    assert f"{path}: operator Round (node node_1) cannot be differentiated" in line
    assert not (tmp_path / "out").exists()
    notes: list[str] = []
    (used,) = build_surrogates(
        check_recipe(
            {"surrogates": [{"name": "onnx", "args": {"path": str(path), "dimension": 3}, "fallback": ["sface"]}]}
        ),
        notes,
    )
    assert used.name == "sface"
    assert "surrogate onnx was replaced by its fallback sface" in notes[0]


@pytest.mark.slow
def test_the_saved_photo_keeps_the_budget_of_ssim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference_ssim: Callable[..., float]
) -> None:
    """Of a face as it is, and of one so large that its mask is upsampled."""
    sample = Image.open(runner.sample_photo()).convert("RGB")
    folder = tmp_path / "photos"
    folder.mkdir()
    sample.save(folder / "small.png")
    sample.crop((120, 20, 340, 240)).resize((550, 550), Image.Resampling.BICUBIC).save(folder / "large.png")
    shape = ["steps=8", "budget={ssim: 0.97}", "region={outside: 0.3}", "feather=6", "low_pass=0.7"]
    result = run(capsys, tmp_path / "out", f"photos={folder}", *shape, "faces=largest")
    assert result.status == cli.DONE
    for name in ("small.png", "large.png"):
        (face,) = result.photo(name)["faces"]
        assert 0.97 <= face["ssim"] < 0.985
        assert 0 < face["max_abs"] <= 16
        before, after = read_photo(folder / name), read_photo(result.output / name)
        found = FaceDetector().find(before, "largest")[0]
        side = cut(before, found).pixels.shape[-1]
        grid = crop_grid(cut(before, found).landmarks[None], ARCFACE_TEMPLATE, (112, 112), side)
        crops = [crop(cut(each, found).pixels[None], grid)[0].permute(1, 2, 0).numpy() for each in (before, after)]
        assert reference_ssim(*crops) >= 0.9699  # Another implementation.
    assert found.patch.side > side  # The last one was upsampled.


@pytest.mark.slow
def test_backups_among_the_photos_count_as_no_photos(tmp_path: Path) -> None:
    """Neither of all that are to be written, nor of those that are, when a run is stopped."""
    folder = tmp_path / "photos"
    folder.mkdir()
    told: list[tuple[int, ...]] = []
    for name in ("a.png", "b.png", "c.png"):
        sample().save(folder / name)
        keys = [f"photos={folder}", f"output={tmp_path / 'out'}", "in_place=true", "backup=originals/{stem}{suffix}"]
        recipe = load_recipe(JUDGED, [*QUICK[1:], *LEAST, *keys])
        counts: list[int] = []

        def start(journal: Path, photos: int, where: str, counts: list[int] = counts) -> None:
            os.link(journal, tmp_path / "journal")  # The run removes its own.
            counts.append(photos)

        runner.run(recipe, on_start=start)
        told.append((*counts, count_protected(tmp_path / "journal", 9)))
        (tmp_path / "journal").unlink()
    assert told == [(1, 1), (2, 2), (3, 3)]
    assert len(list((folder / "originals").iterdir())) == 3
