from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from facecrypt.cli import bench
from facecrypt.cli import main as cli
from facecrypt.judges.service import Service
from facecrypt.methods.iterative.batch_size import _peak_bytes, faces_at_once
from facecrypt.methods.iterative.loop import ProtectionLoop, Surrogate
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Greedy, Target

ROOT = Path(__file__).parents[2]
QUICK = ["steps=2", "max_targets=3", "held_out=[]", "trainer.accelerator=cpu"]


def make_loop(embedder: Embedder, targets: list[Target], selector: str = "nearest") -> ProtectionLoop:
    recipe = check_recipe(
        {"surrogates": [{"name": "sface"}], "target_selector": {"name": selector}, "views": [{"name": "affine"}]}
    )
    return runner.build_loop(recipe, [Surrogate("sface", embedder, 1.0)], targets)


@pytest.mark.slow
def test_the_command_measures_every_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photos of the recipe are repeated until there are enough faces, and stay as they are; no service is asked."""
    asked: list[str] = []
    monkeypatch.setattr(Service, "post", lambda self, url, **rest: asked.append(url))
    folder, before = tmp_path / "photos", Image.open(runner.sample_photo()).crop((100, 0, 356, 256))
    folder.mkdir()
    before.save(folder / "me.png")
    (folder / "text.png").write_text("no picture")
    keys = [f"photos={folder}", f"output={tmp_path / 'out'}", *QUICK, "target_selector.args={margin: null}"]
    keys.append("held_out=[{name: http, send_originals: true}]")
    assert cli.main(["bench", str(ROOT / "recipes/tipim.yaml"), *keys, "--faces", "2", "--literal", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert asked == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["me.png", "photos", "text.png"]
    assert (figures["faces"], figures["photos"], figures["steps"]) == (2, 2, 2)
    rows = {row["stage"]: row for row in figures["stages"]}
    stages = {"start-up", "build", "read", "detect", "write", "verify", "report", "other"}
    inside = {"forward", "views", "crops", "step", "select, forward", "select, backward", "select, other", "other"}
    assert stages | {f"protect: {part}" for part in inside} <= rows.keys()
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert sum(row["seconds"] for row in rows.values()) == pytest.approx(figures["seconds"])
    assert all(row["seconds"] > 0 for row in rows.values())
    protect = sum(row["seconds"] for name, row in rows.items() if name.startswith("protect"))
    assert figures["seconds_per_face_and_step"] == pytest.approx(protect / 4)
    assert figures["peak_memory"] > 100 << 20
    arithmetic, literal = figures["arithmetic"], figures["literal"]
    assert arithmetic["done_gflop"] > arithmetic["forward_backward_gflop"]  # Candidates of three targets come on top.
    assert arithmetic["ratio"] > 1
    assert 0 < arithmetic["used"] < 1
    assert literal["ratio"] == pytest.approx(literal["seconds_per_step"] / figures["seconds_per_face_and_step"])


def test_operations_are_those_of_the_layers() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(128, 5))
    network.requires_grad_(False)
    counter = bench._Operations()
    with counter:
        x = torch.zeros(2, 3, 4, 4, requires_grad=True)
        y = network(x).sum()
    forward = 2 * 2 * (8 * 16 * 27 + 128 * 5)
    assert counter.total == forward
    with counter:
        torch.autograd.grad(y, x)
    assert counter.total == 2 * forward  # The weights are frozen: only the gradient by the input is computed.


def test_a_wrong_number_of_faces_and_no_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROOT / "recipes/quickstart.yaml")
    with pytest.raises(SystemExit):
        cli.main(["bench", recipe, "--faces", "0"])
    assert "argument --faces: '0' is no whole number from 1 on" in capsys.readouterr().err
    Image.new("RGB", (90, 90), "gray").save(tmp_path / "wall.png")
    assert cli.main(["bench", recipe, f"photos={tmp_path / 'wall.png'}"]) == cli.WRONG
    assert "none of them shows a face" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_of_a_face_is_measured(
    sface_embedder: Embedder, targets: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(sface_embedder, targets[:3])
    one, two, four = (_peak_bytes(loop, count) for count in (1, 2, 4))
    assert two - one == pytest.approx((four - two) / 2, rel=0.1)  # Each face needs the same.
    assert two - one > 192 * 192 * 3 * 4 * 3  # At the very least the photo, the mask and its gradient.
    assert loop.settings.steps == 50
    for megabytes, least, most in ((10, 1, 1), (600, 2, 7), (100_000, 8, 8)):
        monkeypatch.setattr(
            "facecrypt.methods.iterative.batch_size.free_memory", lambda device, size=megabytes << 20: size
        )
        assert least <= faces_at_once(loop) <= most
    monkeypatch.setattr("facecrypt.methods.iterative.batch_size.free_memory", lambda device: 600 << 20)
    assert faces_at_once(loop, processes=2) < faces_at_once(loop)


def test_memory_is_that_of_trying_all_targets(sface_embedder: Embedder, targets: list[Target]) -> None:
    loop, few = (make_loop(sface_embedder, targets[:3], name) for name in ("greedy", "nearest"))
    selector = loop.target_selector
    peak = _peak_bytes(loop, 1)
    assert loop.target_selector is selector
    loop.target_selector = Greedy(margin=None)
    assert peak == pytest.approx(_peak_bytes(loop, 1), rel=0.01)
    assert peak > 1.1 * _peak_bytes(few, 1)


@pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
@pytest.mark.slow
def test_a_chosen_strength_is_a_stage(tmp_path: Path) -> None:
    """Each level that was tried counts, with its own steps."""
    Image.open(runner.sample_photo()).crop((100, 0, 356, 256)).save(tmp_path / "me.png")
    weak, strong = {"steps": 1, "epsilon": 1, "step_size": 1}, {"steps": 2, "epsilon": 2}
    recipe = check_recipe(
        {
            "photos": str(tmp_path / "me.png"),
            "surrogates": [{"name": "sface"}],
            "target_selector": {"name": "nearest"},
            "max_targets": 2,
            "strength": {"levels": [weak, strong], "judges": [{"name": "dlib_resnet"}]},
            "trainer": {"accelerator": "cpu"},
        }
    )
    figures = bench.measure(recipe, faces=1, literal=False)
    seconds = {row.stage: row.seconds for row in figures.stages}
    assert seconds["strength"] > 0
    assert figures.steps == 2
    protect = sum(spent for name, spent in seconds.items() if name.startswith("protect"))
    assert figures.seconds_per_face_and_step == pytest.approx(protect / 3)


def test_what_has_no_loop_to_look_into_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(ROOT / "recipes" / "methods" / "blur.yaml")]) == cli.WRONG
    assert "method: bench looks inside the loop of steps, which 'blur' has not." in capsys.readouterr().err
