"""Methods tried on faces without a run around them, and recipes of methods run with few steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from facecrypt.cli import main as cli
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.base import Recognisers, Task, Uses
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from facecrypt.templates import ARCFACE_TEMPLATE

ROOT = Path(__file__).parents[1]
QUICK = ["receipt.transforms=[]", "max_targets=2", "trainer.accelerator=cpu", "steps=2"]


def task(
    uses: Uses,
    faces: Sequence[FaceImage],
    embedder: Embedder | None = None,
    targets: Sequence[Target] = (),
    recognisers: object = None,
    **given: Any,
) -> Task:
    """Return what a method is given: 3 steps of 2 grey levels in a ball of 8, unless something else is given."""
    aims = [target.aim for target in targets]
    if embedder is not None:
        recognisers = Recognisers(["sface"], [embedder], [embed(embedder, aims)], faces, uses)
    settings: dict[str, Any] = {
        "boxes": [(0.0, 0.0, float(face.pixels.shape[-1]), float(face.pixels.shape[-1])) for face in faces],
        "seeds": list(range(len(faces))),
        "epsilon": 8 / 255,
        "step_size": 2 / 255,
        "norm": "linf",
        "steps": 3,
        "device": torch.device("cpu"),
        "on_step": lambda step, similarity: None,
    }
    return Task(faces=faces, recognisers=cast(Recognisers, recognisers), targets=aims, **(settings | given))


class Sees:
    """Recognisers that see what a function says of pictures ``(N, 3, S, S)``, and count them."""

    def __init__(self, see: Callable[[Tensor], Tensor]) -> None:
        self.see, self.shown = see, list[Tensor]()

    def similarity(self, face: int, images: Tensor) -> Tensor:
        self.shown.append(images)
        return self.see(images)[:, None]

    recognised = similarity


def blank(side: int, level: float = 0.5) -> FaceImage:
    """Return a face of one grey, with the landmarks where an aligned face has them."""
    landmarks = (torch.tensor(ARCFACE_TEMPLATE) + 0.5) * side / 112 - 0.5
    return FaceImage(torch.full((3, side, side), level), torch.ones(1, side, side), landmarks)


def run_recipe(name: str, tmp_path: Path, *keys: str) -> dict[str, Any]:
    """Run recipes/methods/NAME.yaml quickly on the sample photo and return its report."""
    output = tmp_path / "out"
    recipe = ROOT / "recipes" / "methods" / f"{name}.yaml"
    assert cli.main(["run", "--allow-weak", str(recipe), f"output={output}", *QUICK, *keys]) == cli.DONE
    loaded: dict[str, Any] = json.loads((output / "report.json").read_text())
    return loaded
