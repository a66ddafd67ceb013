"""What CUDA does must be what the CPU does, and leave alone what is not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from facecrypt.cli import main as cli
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import load_recipe
from facecrypt.surrogates import sface
from facecrypt.targets.selectors import Target
from facecrypt.views.base import affine, draw

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_same_recipe_on_cpu_and_cuda(precision: str, tmp_path: Path) -> None:
    pictures, similarities = [], []
    for accelerator in ("cpu", "gpu"):
        output = tmp_path / accelerator
        options = [f"trainer.accelerator={accelerator}", "trainer.devices=1", f"output={output}"]
        options += [f"trainer.precision={precision}"] if accelerator == "gpu" else []
        assert cli.main(["run", "--allow-weak", str(ROOT / "tests" / "judged.yaml"), *options]) == cli.DONE
        pictures.append(read_photo(output / "astronaut.png").pixels.astype(int))
        report = json.loads((output / "report.json").read_text())
        assert report["device"].startswith("cuda" if accelerator == "gpu" else "cpu")
        similarities.append(report["photos"][0]["faces"][0]["recognisers"]["sface"]["similarity"])
    assert max(similarities) < 0.307
    assert abs(pictures[0] - pictures[1]).max() <= 24


@pytest.mark.parametrize("margin", ["null", "0.25"])
def test_greedy_insertion_chooses_the_same_targets(
    margin: str, photo: Photo, face: Face, targets: list[Target]
) -> None:
    recipe = load_recipe(ROOT / "recipes" / "tipim.yaml", [f"target_selector.args.margin={margin}", "steps=5"])
    chosen = []
    for device in ("cpu", "cuda"):
        loop = runner.build_loop(recipe, [Surrogate("sface", sface.build(), 1.0)], targets).to(device)
        chosen.append(loop.run([cut(photo, face)] * 4, [1, 2, 3, 4]).targets)
    assert chosen[0] == chosen[1]


def test_drawing_views_leaves_the_random_numbers_of_the_device() -> None:
    torch.cuda.manual_seed(7)
    before = torch.cuda.get_rng_state()
    draw([affine()], [1, 2], [112, 112], 1)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_bench_and_batches_sized_to_the_memory_of_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROOT / "tests" / "judged.yaml")
    options = ["trainer.accelerator=gpu", "batch_size=auto", "steps=2", "--faces", "4", "--json"]
    assert cli.main(["bench", recipe, *options]) == cli.DONE
    figures = json.loads(capsys.readouterr().out)
    assert figures["device"].startswith("cuda")
    assert figures["gpu_peak_memory"] > 0
    assert figures["faces_per_batch"] >= 4
