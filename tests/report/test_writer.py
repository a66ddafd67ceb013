from __future__ import annotations

import json
from pathlib import Path

import pytest

from facecrypt.errors import PhotoError
from facecrypt.photos.files import file_digest
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe, recipe_values
from facecrypt.report import writer


@pytest.fixture
def made(tmp_path: Path) -> writer.Report:
    """A report of a photo that was protected and one that failed."""
    face = {
        "box": [181.1, 62.2, 267.7, 172.1], "target": "v03", "seconds": 1.5, "max_abs": 5, "psnr": 31.25, "ssim": 0.875,
        "mmd": 0.1, "recognisers": {}, "verdict": "not judged", "visible": None, "expected": None,
    }  # fmt: skip
    photos = [
        {"source": str(runner.sample_photo()), "output": str(tmp_path / "astronaut.png"), "status": "written",
         "reason": "", "faces": [face], "verdict": "not judged"},
        {"source": "me.jpg", "output": None, "status": "failed", "reason": "it is damaged", "faces": []},
    ]  # fmt: skip
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "output": str(tmp_path)})
    return writer.make(recipe_values(recipe), ["a fallback was taken"], photos, 12.3456, "cpu")


def test_report_json_holds_everything(made: writer.Report, tmp_path: Path) -> None:
    writer.write(made, tmp_path, "surrogates: []\n")
    loaded = json.loads((tmp_path / "report.json").read_text())
    assert list(loaded) == [
        "facecrypt", "versions", "recipe", "seed", "device", "seconds", "notes", "photos", "summary", "verdict",
        "gallery", "undoing",
    ]  # fmt: skip
    assert loaded["recipe"]["epsilon"] == 12
    assert loaded["seconds"] == 12.35
    assert loaded["summary"] == (
        "Not judged: no recogniser that gave no gradients judged this face, and what others make of it cannot be "
        "expected. To know more, name a recogniser under held_out. 1 of 2 photos failed."
    )
    assert loaded["verdict"] == "not judged"
    assert loaded["gallery"] is None
    assert loaded["undoing"]["measured"] is False
    assert len(loaded["undoing"]["lines"]) == 3
    assert not made.complete
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html", "recipe.yaml"}


def test_a_folder_that_cannot_be_is_a_clear_error(made: writer.Report, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PhotoError, match=r"report.json: cannot be written \((File exists|Not a directory)\)"):
        writer.write(made, tmp_path / "file", "")


def test_a_report_of_an_old_version_is_taken_over_with_a_verdict(tmp_path: Path) -> None:
    """As it was written before there were verdicts: with another word for what was written."""
    source, output = tmp_path / "a.png", tmp_path / "out" / "a.png"
    output.parent.mkdir()
    source.write_bytes(b"original")
    output.write_bytes(b"changed")
    sight = {"similarity": 0.95, "still_recognised": True, "place": None, "cannot_judge": ""}
    seen = {
        "white_box": False, "similarity": 0.95, "target_similarity": None, "threshold": 0.91, "still_recognised": True,
        "chooses": False, "person": None, "before": {"none": sight}, "after": {"none": sight}, "cannot_judge": "",
    }  # fmt: skip
    face = {
        "box": [0, 0, 9, 9], "target": "v03", "seconds": 1.5, "max_abs": 5, "psnr": 31.25, "ssim": 0.875, "mmd": 0.1,
        "recognisers": {"dlib_resnet": seen}, "jod": {"monitor": 9.6, "phone": 9.4, "enlarged": 9.0},
        "found_again": "detected",
    }  # fmt: skip
    old = {
        "source": str(source), "output": str(output), "status": "protected", "reason": "", "faces": [face],
        "source_sha256": file_digest(source), "output_sha256": file_digest(output),
    }  # fmt: skip
    (output.parent / "report.json").write_text(json.dumps({"photos": [old]}))
    earlier = writer.read_earlier(output.parent, tmp_path / "none")
    assert earlier[str(source)].status == "written"
    now = {"source": str(source), "output": None, "status": "unchanged", "reason": "done", "faces": [], "already": True}
    (carried,) = writer.carry_over([now], [output], earlier)
    assert (carried["carried_over"], carried["verdict"]) == (True, "weak")
    assert [carried["faces"][0][key] for key in ("verdict", "expected", "visible")] == ["weak", None, "slightly"]
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "output": str(output.parent)})
    made = writer.make(recipe_values(recipe), [], [carried], 1.0, "cpu")
    assert (made.verdict, made.complete) == ("weak", True)
    assert made.summary.startswith(
        "Weak: dlib_resnet, which gave no gradients, still takes this face for the original."
    )
    writer.write(made, output.parent, None)
