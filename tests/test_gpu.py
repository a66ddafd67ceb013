"""The same recipe on CPU and on CUDA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from facecrypt import cli
from facecrypt.photos import read_photo

ROOT = Path(__file__).parents[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_same_recipe_on_cpu_and_cuda(precision: str, tmp_path: Path) -> None:
    pictures, similarities = [], []
    for accelerator in ("cpu", "gpu"):
        output = tmp_path / accelerator
        options = [f"trainer.accelerator={accelerator}", "trainer.devices=1", f"output={output}"]
        options += [f"trainer.precision={precision}"] if accelerator == "gpu" else []
        assert cli.main(["run", str(ROOT / "recipes" / "quickstart.yaml"), *options]) == cli.DONE
        pictures.append(read_photo(output / "astronaut.png").pixels.astype(int))
        report = json.loads((output / "report.json").read_text())
        assert report["device"].startswith("cuda" if accelerator == "gpu" else "cpu")
        similarities.append(report["photos"][0]["faces"][0]["recognisers"]["sface"]["similarity"])
    assert max(similarities) < 0.307
    assert abs(pictures[0] - pictures[1]).max() <= 24
