from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from facecrypt.benchmark.metrics import face_ssim
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.dataset import Job, save
from facecrypt.engine.strength import Goal, Ladder, goal_of
from facecrypt.evaluation.verification import Jury, make_judge, verify
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut, face_area
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import Recipe, check_recipe, level_recipes
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import publish_all
from facecrypt.verdicts import expectation
from tests.surrogates.onnx_files import mobilefacenet

ROOT = Path(__file__).parents[2]
STRENGTHS = (8, 16, 40)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    levels = [{"epsilon": each} for each in STRENGTHS]
    judges = [{"name": "dlib_resnet"}]
    return check_recipe({"surrogates": [{"name": "sface"}], "strength": {"judges": judges, "levels": levels}})


def noise(photo: Photo, face: Face, strength: int) -> Tensor:
    side = cut(photo, face).pixels.shape[-1]
    return (torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)) - 0.5).sign() * strength / 255


def job_of(photo: Photo, faces: list[Face], folder: Path) -> Job:
    job = Job(0, photo.path, folder / "saved.png", photo, faces)
    job.prepare()
    job.masks = [noise(photo, face, STRENGTHS[0]) for face in faces]
    return job


def climb_to_the_end(ladder: Ladder, job: Job) -> None:
    """As the loop does it, with noise for masks."""
    assert job.photo is not None
    while weak := ladder.climb(job):
        for number in weak:
            job.masks[number] = noise(job.photo, job.faces[number], STRENGTHS[job.levels[number]])


@pytest.mark.slow
def test_the_first_level_that_escapes_is_kept(
    recipe: Recipe,
    photo: Photo,
    face: Face,
    detector: FaceDetector,
    sface_embedder: Embedder,
    targets: list[Target],
    tmp_path: Path,
) -> None:
    """Against all levels, saved and looked at one by one, for thresholds between their similarities and beyond."""
    levels = level_recipes(recipe)
    original = embed(sface_embedder, [cut(photo, face)])[0]
    similarities = []
    for level, strength in enumerate(STRENGTHS):
        job = job_of(photo, [face], tmp_path)
        job.masks, job.levels = [noise(photo, face, strength)], [level]
        save(job, levels, recipe.metadata)
        again = read_photo(tmp_path / "saved.png")
        similarities.append(float(embed(sface_embedder, [cut(again, detector.find(again, "all")[0])])[0] @ original))
    assert similarities == sorted(similarities, reverse=True)
    middles = [(a + b) / 2 for a, b in pairwise(similarities)]
    # From 0.99 on, the recogniser would not know a face again that was moved by half a pixel.
    for threshold in (0.98, *middles, similarities[-1] - 0.01):
        expected = next((n for n, each in enumerate(similarities) if each < threshold), len(STRENGTHS) - 1)
        for margin in (0.0, 0.005) if threshold == middles[0] else (0.0,):
            judge = make_judge("judge", sface_embedder, False, targets[:1], chooses=True)
            judge.embedder = _with_threshold(sface_embedder, threshold + margin)
            goal = replace(goal_of(recipe), margin=margin)
            jury = Jury(targets=targets[:1], judges=[judge], detector=detector, choice=recipe.faces)
            job = job_of(photo, [face], tmp_path)
            climb_to_the_end(Ladder(goal, levels, jury), job)
            assert job.levels == [expected], (threshold, similarities)


def _with_threshold(embedder: Embedder, threshold: float) -> Embedder:
    return Embedder(embedder.network, replace(embedder.spec, threshold=threshold))


def test_the_first_level_that_reaches_what_is_asked_is_kept(
    photo: Photo,
    face: Face,
    detector: FaceDetector,
    sface_embedder: Embedder,
    targets: list[Target],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against all levels, saved and looked at one by one; after a change the lowest expectation counts."""
    monkeypatch.setattr(expectation, "_fits", lambda: {"sface": {"intercept": 2.0, "margins": {"sface": 3.0}}})
    values = {"surrogates": [{"name": "sface"}], "levels": [{"epsilon": each} for each in STRENGTHS], "protect": 0.5}
    shares: dict[str, list[float]] = {"none": [], "blur": []}
    judge = make_judge("sface", sface_embedder, True, targets[:1])
    for change, seen in shares.items():
        recipe = check_recipe({**values, "receipt": {"transforms": [] if change == "none" else [change]}})
        levels = level_recipes(recipe)
        transforms = publish_all(recipe.receipt.transforms)
        jury = Jury(targets=targets[:1], judges=[judge], detector=detector, choice="all", transforms=transforms)
        for level, strength in enumerate(STRENGTHS):
            job = job_of(photo, [face], tmp_path)
            job.masks, job.levels, job.targets = [noise(photo, face, strength)], [level], [0]
            save(job, levels, recipe.metadata)
            (known,) = verify(tmp_path / "saved.png", photo, [face], [0], [0.0], jury)
            assert known.expected is not None
            seen.append(known.expected)
        assert seen == sorted(seen)
    for asked in (seen[0] / 2, (seen[1] + seen[2]) / 2, (1 + seen[-1]) / 2):
        job = job_of(photo, [face], tmp_path)
        climb_to_the_end(Ladder(Goal(protect=asked), levels, jury), job)
        assert job.levels == [next((n for n, each in enumerate(seen) if each >= asked), len(STRENGTHS) - 1)]
    assert all(after <= saved for after, saved in zip(shares["blur"], shares["none"], strict=True))
    assert shares["blur"] != shares["none"]


def test_every_face_keeps_the_bounds_of_its_own_level(photo: Photo, face: Face, tmp_path: Path) -> None:
    other = replace(face, patch=replace_patch(face, 170), landmarks=face.landmarks + 170)
    judges = [{"name": "dlib_resnet"}]
    levels: list[dict[str, Any]] = [{"epsilon": 3}, {"epsilon": 9, "budget": {"ssim": 0.98}}, {"epsilon": 9}]
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "strength": {"judges": judges, "levels": levels}})
    for numbers in ([0, 2], [1, 0], [2, 2]):
        job = job_of(photo, [face, other], tmp_path)
        job.masks = [noise(photo, each, 9) for each in (face, other)]
        job.levels = numbers
        save(job, level_recipes(recipe), recipe.metadata)
        assert not job.error
        after = read_photo(tmp_path / "saved.png")
        for each, level in zip((face, other), numbers, strict=True):
            left, top, side = each.patch
            region = slice(top, top + side), slice(left, left + side)
            change = abs(after.pixels[region].astype(int) - photo.pixels[region].astype(int)).max()
            similarity = face_ssim(face_area(after, each), face_area(photo, each)).item()
            if level == 1:
                assert 0.98 <= similarity < 0.999
                assert change <= 9
            else:
                assert change == levels[level]["epsilon"]
                assert level == 0 or similarity < 0.98


def replace_patch(face: Face, by: int) -> Any:
    return type(face.patch)(face.patch.left + by, face.patch.top + by, face.patch.side)


@pytest.mark.parametrize(
    ("threshold", "level", "escaped"),
    [(0.9, "low", True), pytest.param(0.35, "epsilon: 5, steps: 2", False, marks=pytest.mark.slow)],
)
def test_a_run_says_who_chose_and_whether_it_was_enough(
    threshold: float,
    level: str,
    escaped: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expectation, "_fits", dict)  # Nothing can be expected of others.
    judge = {"path": str(mobilefacenet(tmp_path / "judge.onnx")), "dimension": 16, "threshold": threshold}
    bounds = {"norm": "linf", "epsilon": 20, "step_size": 20, "ceiling": None, "budget": None}
    strong = bounds | {"texture": 0, "low_pass": 0, "colour": 1} if escaped else {}
    strength = {
        "judges": [{"name": "onnx", "args": judge}],
        "levels": [{"preset": "low", "steps": 1} | strong, {"epsilon": 5, "steps": 2}],
    }
    arguments = ["max_targets=2", "target_selector={name: nearest}", "trainer.accelerator=cpu", "held_out=[]"]
    output = tmp_path / "out"
    recipe = str(ROOT / "tests" / "judged.yaml")
    status = cli.main(["run", recipe, f"output={output}", *arguments, f"strength={json.dumps(strength)}"])
    printed = capsys.readouterr()
    # Nobody is left to judge, but one that chose and still recognises the face says enough.
    assert status == cli.WEAK, printed.err
    report = json.loads((output / "report.json").read_text())
    (face,) = report["photos"][0]["faces"]
    assert (face["level"], face["escaped"]) == (level, escaped)
    assert face["verdict"] == report["verdict"] == ("not judged" if escaped else "weak")
    assert {name: verdict["chooses"] for name, verdict in face["recognisers"].items()} == {"sface": False, "onnx": True}
    assert face["recognisers"]["onnx"]["still_recognised"] is not escaped
    assert any("onnx chose how strong each mask is" in note for note in report["notes"])
    # A judge that chose is no held-out one, so nobody judged.
    assert any("no held-out recogniser judged" in note for note in report["notes"])
    assert any("at the strongest level (epsilon: 5, steps: 2)" in note for note in report["notes"]) is not escaped
    assert f"strength: {level}{'' if escaped else ', which was not enough'}\n" in printed.out
    page = (output / "report.html").read_text()
    assert "chose the strength: no evidence" in page
    assert "held-out</strong>" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("intercept", "level", "status"), [(9.0, "epsilon: 2", cli.DONE), (-9.0, "epsilon: 5, steps: 2", cli.WEAK)]
)
def test_a_run_says_whether_what_was_asked_was_reached(
    intercept: float,
    level: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expectation, "_fits", lambda: {"sface": {"intercept": intercept, "margins": {"sface": 0.0}}})
    output = tmp_path / "out"
    keys = [
        "max_targets=2",
        "steps=1",
        "held_out=[]",
        "trainer.accelerator=cpu",
        "receipt.transforms=[]",
        "budget=null",
    ]
    levels = "levels=[{epsilon: 2}, {epsilon: 5, steps: 2}]"
    command = ["run", str(ROOT / "tests" / "judged.yaml"), f"output={output}", *keys, levels, "--protect", "0.7"]
    assert cli.main(command) == status
    printed = capsys.readouterr()
    report = json.loads((output / "report.json").read_text())
    (face,) = report["photos"][0]["faces"]
    reached = status == cli.DONE
    assert (face["level"], face["escaped"]) == (level, None)
    assert face["verdict"] == report["photos"][0]["verdict"] == report["verdict"] == ("pass" if reached else "weak")
    assert (face["expected"] >= 0.7) == reached
    told = [note for note in report["notes"] if note.startswith("protect: ")]
    assert told == ([] if reached else [
        f"protect: not even the strongest masks ({level}) reach 0.7 with 1 of 1 faces, which were saved with these: "
        f"{report['photos'][0]['source']} (face 1)"
    ])  # fmt: skip
    assert printed.out.splitlines()[0] == report["summary"]
    assert ("Stronger masks do not help" in printed.out) != reached
    assert f"strength: {level}\n" in printed.out
    if not reached:
        return
    # The same again is done already, and says the same of the face.
    assert cli.main(command) == status
    assert capsys.readouterr().out.splitlines()[0] == report["summary"]
    # So does the resolved recipe, which holds the levels.
    assert cli.main(["run", str(output / "recipe.yaml"), f"output={output}"]) == status
    assert "was written before with these settings" in capsys.readouterr().out
    # Whether a mask suffices depends on what is looked at, so that is another setting.
    assert cli.main([*command, "receipt.transforms=[blur]"]) == status
    assert "written: " in capsys.readouterr().out


def test_protection_that_nobody_can_expect_ends_a_run_before_the_first_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an optional surrogate is missing, only building tells."""
    both = {"intercept": 9.0, "margins": {"sface": 0.0}}
    monkeypatch.setattr(expectation, "_fits", lambda: {"arcface_vit_tiny+sface": both})
    missing = f"{{name: arcface_vit_tiny, optional: true, args: {{folder: {tmp_path / 'nowhere'}}}}}"
    keys = [f"output={tmp_path / 'out'}", f"surrogates=[{{name: sface}}, {missing}]"]
    assert cli.main(["run", str(ROOT / "tests" / "judged.yaml"), *keys, "--protect", "0.7"]) == cli.WRONG
    said = capsys.readouterr().err
    assert "protect: what others make of masks by sface was not measured, so nothing can be expected." in said
    assert "Name surrogates for which it was (arcface_vit_tiny+sface), or give preset in place of protect." in said
    assert "surrogate arcface_vit_tiny gives no gradients in this run" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
def test_who_judges_computes_in_full_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that choose and those that judge the saved file, whatever the networks that give gradients do."""
    half: dict[tuple[int, bool], set[bool]] = {}
    raw = Embedder.raw

    def watch(self: Embedder, crops: Tensor) -> Tensor:
        key = (self.spec.dimension, torch.is_grad_enabled())
        half.setdefault(key, set()).add(torch.is_autocast_enabled("cpu"))
        return raw(self, crops)

    monkeypatch.setattr(Embedder, "raw", watch)
    judge = {"path": str(mobilefacenet(tmp_path / "judge.onnx")), "dimension": 16, "threshold": 0.35}
    recipe = check_recipe(
        {
            "surrogates": [{"name": "sface"}],
            "target_selector": {"name": "nearest"},
            "max_targets": 2,
            "output": str(tmp_path / "out"),
            "strength": {
                "levels": [{"steps": 1, "epsilon": 1}, {"steps": 2}],
                "judges": [{"name": "onnx", "args": judge}],
            },
            "trainer": {"accelerator": "cpu", "precision": "bf16-mixed"},
        }
    )
    runner.run(recipe)
    # Without gradient, the surrogate looks at targets and originals before the steps, and as a judge. With gradient,
    # it was tried before the run, too.
    assert half == {(128, True): {False, True}, (128, False): {False, True}, (16, False): {False}}


def test_a_judge_without_a_threshold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = {"path": str(mobilefacenet(tmp_path / "judge.onnx")), "dimension": 16}
    strength = {"judges": [{"name": "onnx", "args": judge}]}
    recipe = str(ROOT / "tests" / "judged.yaml")
    status = cli.main(["run", recipe, f"output={tmp_path / 'out'}", f"strength={json.dumps(strength)}"])
    assert status == cli.WRONG
    assert "judges[0]: the threshold of 'onnx' is unknown" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
