"""The command that makes what reports say of adversaries: from metrics.json, and from the tables of a page."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from facecrypt.benchmark import tables, undoing
from facecrypt.benchmark.groups import Groups
from facecrypt.errors import FacecryptError
from facecrypt.evaluation.traits import FaceTraits
from facecrypt.recipe.check import check_recipe, recipe_values
from facecrypt.report.undoing import load, what_undoes
from tests.face_verdicts import verdict

ROOT = Path(__file__).parents[2]


def row(evaluator: str, rate: float, **keys: Any) -> dict[str, Any]:
    usual = {
        "method": "plus", "setting": "", "surrogates": ["sface", "dlib_resnet"], "evaluator": evaluator,
        "white_box": False, "chooses": False, "rank1_t": 1.0, "rank5_t": 2.0, "rank1_ut": rate,
        "rank1_ut_interval": [rate - 4.5, rate + 3.0], "rank5_ut": 3.5, "psnr": 30.0, "ssim": 0.9, "mmd": 0.1,
        "no_face": 0.0, "n_probes": 40, "n_gallery": 2041, "seconds_per_face": 1.0, "transform": "none", "seed": 7,
        "adversary": "none",
    }  # fmt: skip
    return usual | keys


ROWS = [
    row("a", 5.5, method="clean", surrogates=[], psnr=None, ssim=None, mmd=None),
    row("a", 97.0, rank1_ut_interval=None),
    row("b|c", 82.5, method="plus"),
    row("inside", 96.5, white_box=True),
    row("chose", 95.5, chooses=True),
    row("a", 42.5, adversary="protected_gallery"),
    row("b|c", 37.5, adversary="protected_gallery"),
    row("a", 12.5, transform="jpeg_50"),
]


def page(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    table = tables.render_markdown("Mine", rows, "facecrypt evaluate mine.yaml")
    path = folder / "table.md"
    path.write_text(f"# All\n\n{table}\n\n## Other\n\n### Untargeted identification\n\nnothing\n")
    return path


def test_a_page_tells_what_its_metrics_do(tmp_path: Path) -> None:
    path = page(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(ROWS))
    from_page, from_metrics = (undoing.read_results(each) for each in (path, tmp_path / "metrics.json"))
    assert from_page[1] == from_metrics[1] == "facecrypt evaluate mine.yaml"
    keys = (
        "method", "surrogates", "evaluator", "white_box", "chooses", "rank1_ut", "rank1_ut_interval", "n_probes",
        "seed", "transform", "adversary",
    )  # fmt: skip
    plain = [{key: each[key] for key in keys} for each in from_page[0]]
    told = [{key: each[key] for key in keys} for each in ROWS]
    assert sorted(plain, key=str) == sorted(told, key=str)
    entries = [undoing.entry_of(rows, command, "plus", "as it is", None) for rows, command in (from_page, from_metrics)]
    assert entries[0] == entries[1]
    assert entries[0]["adversaries"] == [
        {"name": "none", "evaluators": {"a": {"rank1_ut": 97.0, "interval": None},
                                        "b|c": {"rank1_ut": 82.5, "interval": [78.0, 85.5]}}},
        {"name": "protected_gallery", "evaluators": {"a": {"rank1_ut": 42.5, "interval": [38.0, 45.5]},
                                                     "b|c": {"rank1_ut": 37.5, "interval": [33.0, 40.5]}}},
    ]  # fmt: skip
    assert (entries[0]["n"], entries[0]["seed"]) == (40, 7)


def test_groups_that_are_far_behind_are_kept() -> None:
    faces = [FaceTraits(30.0, 0.0, 0.0, 0.0, 30.0 if number < 12 else 40.0, 0.2, 55.0) for number in range(40)]
    told, even, uneven = Groups(range(40), faces, 0), "10" * 20, "0" * 12 + "1" * 28
    rows = [
        row("a", 70.0, rank1_ut_probes=uneven, **told.rates(uneven)),
        row("a", 50.0, adversary="protected_gallery", rank1_ut_probes=even, **told.rates(even)),
    ]
    (group,) = undoing.entry_of(rows, "", "plus", "", None)["behind"]
    assert (group["trait"], group["group"], group["n"], group["rate"], group["ahead"]) == ("size", "small", 12, 0, -100)
    fair = [row("a", 50.0, rank1_ut_probes=even, **told.rates(even))]
    assert undoing.entry_of(fair, "", "plus", "", None)["behind"] == []
    assert undoing.entry_of([row("a", 50.0)], "", "plus", "", None)["behind"] is None


def test_a_benchmark_under_one_condition_has_a_table_without_a_heading(tmp_path: Path) -> None:
    (found,) = undoing.read_results(page(tmp_path, [row("a", 50.0)]))[0]
    assert (found["adversary"], found["rank1_ut"]) == ("none", 50.0)


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = page(tmp_path)
    with pytest.raises(FacecryptError, match="Nowhere holds no table of untargeted identification"):
        undoing.read_results(path, "Nowhere")
    with pytest.raises(FacecryptError, match="ghost: no evaluator without a part in the masks judged them"):
        undoing.entry_of(ROWS, "", "ghost", "", None)
    with pytest.raises(FacecryptError, match="plus: it has several settings"):
        undoing.entry_of([row("a", 1.0, setting="x"), row("a", 2.0, setting="y")], "", "plus", "", None)


def test_the_command_writes_a_file_that_reports_understand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plus = tmp_path / "undoing.json", ROOT / "recipes" / "tipim_plus.yaml"
    words = [str(page(tmp_path)), "--recipe", "plus", str(plus), "preset=high", "--earlier", "clean", "nothing"]
    undoing.main([*words, "--output", str(output)])
    assert capsys.readouterr().out.strip() == str(output)
    made = json.loads(output.read_text())
    assert made["made_by"] == shlex.join(["python", "-m", "facecrypt.benchmark.undoing", *words])
    assert [(each["settings"], each["preset"]) for each in made["measured"]] == [
        ("nothing", None),
        ("preset high", "high"),
    ]
    monkeypatch.setattr("facecrypt.report.undoing.load", lambda: made)
    surrogates = [{"name": "sface"}, {"name": "dlib_resnet"}]
    keys = {"surrogates": surrogates, "target_selector": "farthest", "preset": "high"}
    face = {"recognisers": {each["name"]: verdict(0.1, white_box=True) for each in surrogates}}
    told = what_undoes(recipe_values(check_recipe(keys)), [face])
    assert told is not None
    assert told["measured"]
    assert told["lines"] == [
        "Whoever collects protected photos of you and searches among them: 6 of 10 photos were found."
    ]
    with pytest.raises(SystemExit):
        undoing.main([words[0]])
    with pytest.raises(SystemExit):
        undoing.main([words[0], "--earlier", "ghost", "x"])
    assert "ghost: no evaluator" in capsys.readouterr().err


def test_the_figures_of_reports_are_those_that_their_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(load()["made_by"])
    assert words[:3] == ["python", "-m", "facecrypt.benchmark.undoing"]
    undoing.main([*words[3:], "--output", str(tmp_path / "again.json")])
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["measured"] == load()["measured"]
    assert again["made_by"] == load()["made_by"]
