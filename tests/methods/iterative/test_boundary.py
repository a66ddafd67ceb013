"""Wrong components of every kind: each ends in a line that says which it is, what came and what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.detectors.base import Found
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import EmbeddingError, PhotoError, PluginError
from facecrypt.faces.patches import FaceImage
from facecrypt.gradients.base import Plain as PlainGradient
from facecrypt.methods.calls import Source, embed_crops
from facecrypt.methods.iterative.boundary import guard
from facecrypt.methods.iterative.loop import ProtectionLoop, Settings, Surrogate
from facecrypt.optimizers.base import Plain
from facecrypt.photos.files import Photo
from facecrypt.registry import Component, Kind
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec
from facecrypt.targets.selectors import Fixed, Target
from facecrypt.views.base import blur

ROOT = Path(__file__).parents[3]


def run_with(
    kind: Kind, built: object, face_image: FaceImage, embedder: Embedder, targets: list[Target], origin: str = "plug"
) -> None:
    """One step of the loop with a component of a plugin."""
    guarded: Any = guard(Component(kind, "mine", "somewhere:mine", "", origin), built)
    parts: dict[str, Any] = {
        "target_selector": Fixed(), "naturalness": [], "gradient": PlainGradient(), "optimizer": Plain(), "views": []
    }  # fmt: skip
    parts |= {
        "naturalness": {"naturalness": [(guarded, 1.0)]}, "view": {"views": [guarded]}
    }.get(kind, {kind: guarded})  # fmt: skip
    settings = Settings(epsilon=8 / 255, step_size=4 / 255, norm="linf", steps=2)
    loop = ProtectionLoop(
        surrogates=[Surrogate("sface", embedder, 1.0)], targets=targets[:2], settings=settings, **parts
    )
    loop.run([face_image], [0])


def penalty(change: Callable[[Tensor, Tensor], Any]) -> object:
    return lambda protected, original: change((protected - original).square().mean(dim=(1, 2, 3, 4)), protected)


def in_place(values: Tensor, protected: Tensor) -> Tensor:
    with torch.no_grad():
        protected.mul_(1)
    return values


def raises(values: Tensor, protected: Tensor) -> Tensor:
    raise ZeroDivisionError("out of tune")


def leaves(values: Tensor, protected: Tensor) -> Tensor:
    raise SystemExit(2)


def switches(values: Tensor, protected: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return values


class Chooses:
    def __init__(self, choose: Callable[[Any], Any]) -> None:
        self.choose = choose

    def __call__(self, situation: Any) -> Any:
        return self.choose(situation)


class Steps:
    """An optimizer, or a gradient component."""

    def __init__(self, change: Callable[[Tensor], Any], pair: bool = True) -> None:
        self.change, self.pair = change, pair

    def init(self, masks: Tensor) -> Any:
        return ()

    def update(self, given: Any, state: Any, norm: str = "") -> Any:
        changed = self.change(given.here if hasattr(given, "here") else given)
        return (changed, state) if self.pair else changed


class Sees:
    def __init__(self, see: Callable[[Tensor], Any], draw: Callable[[int], Any] = lambda count: {}) -> None:
        self.see, self.draw = see, draw

    def sample(self, count: int, side: int) -> Any:
        return {"strength": torch.ones(count)} | self.draw(count)

    def apply(self, images: Tensor, params: Any) -> Any:
        return self.see(images)


def to_nan(values: Tensor) -> Tensor:
    values = values.clone()
    values[..., 0] = torch.nan
    return values


WRONG: list[tuple[Kind, object, str]] = [
    ("naturalness", penalty(lambda v, p: v.mean()), r"returned \(\) in torch.float32 on cpu; expected .*: \(1,\)"),
    ("naturalness", penalty(lambda v, p: v.double()), r"returned \(1,\) in torch.float64 on cpu"),
    ("naturalness", penalty(lambda v, p: v.detach()), r"without a gradient \(detached\?\)"),
    ("naturalness", penalty(lambda v, p: v / 0), "1 of 1 numbers that are not finite"),
    ("naturalness", penalty(lambda v, p: v.item()), "returned float; expected a finite penalty per face"),
    ("naturalness", penalty(lambda v, p: None), "returned NoneType"),
    ("naturalness", penalty(in_place), "changed a tensor that it was given"),
    ("naturalness", penalty(raises), r"raised ZeroDivisionError \(test_boundary.py, line \d+\): out of tune"),
    ("naturalness", penalty(leaves), r"raised SystemExit \(test_boundary.py, line \d+\): 2"),
    ("naturalness", penalty(switches), "left gradients or torch's default type switched"),
    ("naturalness", object(), "was built as object; expected an object with __call__"),
    ("naturalness", Plain, "was built as a class"),
    ("target_selector", Chooses(lambda s: torch.tensor([2])), r"chose the targets \[2\]; expected indices from 0 to 1"),
    ("target_selector", Chooses(lambda s: torch.tensor([-1])), r"chose the targets \[-1\]"),
    ("target_selector", Chooses(lambda s: s.now.to_targets.amin(dim=1)), r"returned \(1,\) in torch.float32"),
    ("target_selector", Chooses(lambda s: torch.tensor(0)), r"returned \(\) in torch.int64"),
    ("target_selector", Chooses(lambda s: 0), "returned int"),
    ("target_selector", Chooses(lambda s: s.now.to_targets.mul_(2).argmin(dim=1)), "changed a tensor that it"),
    ("optimizer", Steps(to_nan), "numbers that are not finite; expected a step per mask"),
    ("optimizer", Steps(lambda g: g[:, :1]), r"returned \(1, 1, \d+, \d+\) in torch.float32"),
    ("optimizer", Steps(lambda g: g.half()), "in torch.float16"),
    ("optimizer", Steps(lambda g: g, pair=False), "returned Tensor; expected a pair"),
    ("optimizer", Steps(lambda g: g.zero_()), "changed a tensor that it was given"),
    ("optimizer", Chooses(lambda s: s), "was built as Chooses; expected an object with init and update"),
    ("gradient", Steps(to_nan), "numbers that are not finite; expected a gradient per mask"),
    ("gradient", Steps(lambda g: g.mean(dim=1)), r"returned \(1, \d+, \d+\) in"),
    ("gradient", Steps(lambda g: g, pair=False), "expected a pair"),
    ("view", Sees(lambda x: x[..., 1:]), r"returned \(1, 3, \d+, \d+\) in torch.float32 on cpu; expected the pictures"),
    ("view", Sees(lambda x: x * 255), "returned values from .* to .*; expected pictures in"),
    ("view", Sees(lambda x: x.detach()), "without a gradient"),
    ("view", Sees(to_nan), "numbers that are not finite"),
    ("view", Sees(lambda x: x, lambda count: {"angle": 3.0}), r"drew \{.*angle: float\}; expected a mapping"),
    ("view", Sees(lambda x: x, lambda count: {"angle": torch.ones(count + 1)}), r"angle: \(2,\) on cpu"),
]  # fmt: skip


MARKS = np.arange(10.0).reshape(5, 2)
FACE = Found(np.array([1.0, 1, 9, 9]), MARKS, 0.9)


class Finds:
    """A detector that returns what a test says."""

    def __init__(self, find: Callable[[Any], Any]) -> None:
        self.search = find


class Boxes(Finds):
    def search_box(self, pixels: Any, box: Any) -> Any:
        return FACE._replace(probability=7)


def blacken(pixels: Any) -> list[Found]:
    pixels[:] = 0
    return []


@pytest.mark.parametrize(
    ("detector", "says"),
    [
        (Finds(lambda pixels: None), "returned NoneType; expected a list of facecrypt.plugin.Found"),
        (Finds(lambda pixels: [(1, 2)]), "returned tuple among others; expected a list of facecrypt.plugin.Found"),
        (Finds(lambda pixels: FACE), "returned Found; expected a list"),
        (Finds(lambda pixels: [FACE._replace(box=[1, 1, 9, 9])]), r"with box of list; expected an array \(4,\)"),
        (Finds(lambda pixels: [FACE._replace(landmarks=MARKS[:3])]), r"landmarks of \(3, 2\) in float64; expected an"),
        (Finds(lambda pixels: [FACE._replace(landmarks=MARKS * np.nan)]), "expected finite numbers"),
        (Finds(lambda pixels: [FACE._replace(landmarks=MARKS * 0)]), "expected five different points"),
        (
            Finds(lambda pixels: [FACE._replace(box=FACE.box[::-1])]),
            r"in the box \[9.0, 9.0, 1.0, 1.0\]; expected left",
        ),
        (Finds(lambda pixels: [FACE._replace(probability=1.2)]), "the probability 1.2; expected one from 0 to 1"),
        (Finds(lambda pixels: 1 / 0), "raised ZeroDivisionError"),
        (Boxes(lambda pixels: []), "the probability 7"),
        (object(), "was built as object; expected an object with search"),
    ],
)
def test_a_wrong_detector_has_a_name(detector: object, says: str, photo: Photo) -> None:
    def search() -> None:
        found = FaceDetector(guard(Component("detector", "mine", "", "", "plug"), detector))
        found.find(photo, "all")
        found.find_in(photo, FACE.box.tolist())

    with pytest.raises(PluginError, match=rf"detector 'mine' \(plug\): .*{says}"):
        search()


def test_a_detector_cannot_change_a_photo(photo: Photo) -> None:
    before = photo.pixels.copy()
    assert FaceDetector(guard(Component("detector", "mine", "", "", "plug"), Finds(blacken))).find(photo, "all") == []
    assert np.array_equal(photo.pixels, before)


class Maps:
    """A region that returns what a test says."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        self.change = change

    def map(self, pixels: Tensor, landmarks: Tensor) -> Any:
        return self.change(pixels)


class Starts(Maps):
    def map(self, pixels: Tensor, landmarks: Tensor) -> Any:
        return torch.ones_like(pixels[:1])

    def start(self, pixels: Tensor, landmarks: Tensor, generator: torch.Generator) -> Any:
        return self.change(pixels)


@pytest.mark.parametrize(
    ("region", "says"),
    [
        (Maps(lambda x: None), "returned NoneType; expected the share of epsilon at each pixel"),
        (Maps(lambda x: x), r"returned \(3, \d+, \d+\) in torch.float32 on cpu; expected .*: \(1, \d+, \d+\)"),
        (Maps(lambda x: x[:1] > 0.5), "in torch.bool"),
        (Maps(lambda x: x[:1] * 255), "returned shares from .* to .*; expected shares from 0 to 1"),
        (Maps(lambda x: x[:1] / 0), "not finite"),
        (Maps(lambda x: x.mul_(0)[:1]), "changed a tensor that it was given"),
        (Maps(lambda x: x / ()), "raised TypeError"),
        (Starts(lambda x: x[:1]), r"returned \(1, \d+, \d+\) .*; expected the first mask: \(3, "),
        (Starts(lambda x: x * torch.nan), "not finite; expected the first mask"),
        (object(), "was built as object; expected an object with map"),
    ],
)
def test_a_wrong_region_has_a_name(
    region: object, says: str, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    image = face_image._replace(pixels=face_image.pixels.clone())

    def protect() -> None:
        settings = Settings(
            8 / 255, 4 / 255, "linf", 1, region=guard(Component("region", "mine", "", "", "plug"), region)
        )
        ProtectionLoop(
            surrogates=[Surrogate("sface", sface_embedder, 1.0)], targets=targets[:2], settings=settings,
            target_selector=Fixed(), naturalness=[], optimizer=Plain(), views=[],
        ).run([image], [0])  # fmt: skip

    with pytest.raises(PluginError, match=rf"region 'mine' \(plug\): .*{says}"):
        protect()


@pytest.mark.parametrize(("kind", "built", "says"), WRONG)
def test_what_is_wrong_has_a_name(
    kind: Kind, built: object, says: str, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    with pytest.raises(PluginError) as error:
        run_with(kind, built, face_image, sface_embedder, targets)
    assert re.match(rf"{kind.replace('_', ' ')} 'mine' \(plug\): ", str(error.value))
    assert re.search(says, str(error.value)), str(error.value)
    assert str(error.value).endswith(f"Mend it, or name another {kind.replace('_', ' ')}.")
    assert torch.is_grad_enabled()


def test_a_bug_of_a_built_in_component_shows_where_it_is(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    with pytest.raises(ZeroDivisionError):
        run_with("naturalness", penalty(raises), face_image, sface_embedder, targets, registry.BUILT_IN)


def test_an_error_that_says_enough_comes_through(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    def fails(values: Tensor, protected: Tensor) -> Tensor:
        raise PhotoError("a.png: is no good")

    with pytest.raises(PhotoError, match="is no good"):
        run_with("naturalness", penalty(fails), face_image, sface_embedder, targets)


def test_what_is_right_computes_the_same_behind_its_guard(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    parts: dict[str, Any] = {
        "optimizer": Plain(), "gradient": PlainGradient(), "target_selector": Fixed(), "views": [blur(probability=0.5)]
    }  # fmt: skip
    kinds: dict[str, Kind] = {"optimizer": "optimizer", "gradient": "gradient", "target_selector": "target_selector"}
    guarded = {name: guard(Component(kind, "x", "", "", "plug"), parts[name]) for name, kind in kinds.items()}
    guarded["views"] = [guard(Component("view", "x", "", "", "plug"), view) for view in parts["views"]]
    settings = Settings(epsilon=8 / 255, step_size=4 / 255, norm="linf", steps=3)
    masks = [
        ProtectionLoop(
            surrogates=[Surrogate("sface", sface_embedder, 1.0)], targets=targets[:2], settings=settings,
            naturalness=[], **each,
        ).run([face_image], [0]).masks[0]
        for each in (parts, guarded)
    ]  # fmt: skip
    assert torch.equal(*masks)


class Network(nn.Module):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, crops: Tensor) -> Any:
        return self.change(self.layer(crops).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e[:1], r"returned \(1, 4\) in torch.float32 on cpu; expected a unit embedding per crop: \(2, 4\)"),
        (lambda e: e[:, :3], r"returned \(2, 3\)"),
        (lambda e: e * torch.nan, "8 of 8 numbers that are not finite"),
        (lambda e: e.detach(), "without a gradient"),
        (lambda e: [1, 2], "raised AttributeError|raised TypeError"),
        (lambda e: e / ((), 1), "raised TypeError"),
    ],
)
def test_a_surrogate_that_goes_wrong_later_has_a_name(
    change: Callable[[Tensor], Any], says: str, sface_embedder: Embedder
) -> None:
    spec: EmbedderSpec = replace(sface_embedder.spec, dimension=4)
    crops = torch.rand(2, 3, spec.height, spec.width).requires_grad_()
    with pytest.raises(PluginError, match=rf"surrogate 'mine' \(plug\): .*({says})"):
        embed_crops(Source("surrogate", "mine", "plug"), Embedder(Network(change), spec), crops)


def test_numbers_of_a_built_in_surrogate_that_are_not_finite_are_of_its_precision(sface_embedder: Embedder) -> None:
    spec = replace(sface_embedder.spec, dimension=4)
    crops = torch.rand(2, 3, spec.height, spec.width)
    with pytest.raises(EmbeddingError, match="surrogate mine: its embeddings hold .* Set trainer.precision to 32-true"):
        embed_crops(
            Source("surrogate", "mine", registry.BUILT_IN), Embedder(Network(lambda e: e * torch.nan), spec), crops
        )


def test_a_run_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An optimizer that gives NaN was once reported as success, with a change of 0."""
    nan = Component("optimizer", "nan", lambda: Steps(to_nan), "gives no numbers", "plug")
    registry.list_components()
    monkeypatch.setitem(registry._shared.components, ("optimizer", "nan"), nan)
    keys = [f"output={tmp_path / 'out'}", "optimizer={name: nan}", "steps=2", "held_out=[]", "trainer.accelerator=cpu"]
    assert cli.main(["run", str(ROOT / "tests" / "judged.yaml"), *keys]) not in (cli.DONE, cli.WEAK)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert re.search(
        r"optimizer 'nan' \(plug\): returned \d+ of \d+ numbers that are not finite", printed.err + printed.out
    )
    assert not list((tmp_path / "out").glob("*.png"))
    report = tmp_path / "out" / "report.json"
    assert not report.exists() or json.loads(report.read_text())["photos"][0]["status"] == "failed"
