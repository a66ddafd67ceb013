"""Methods that are not the loop, from a recipe to the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PluginError, RecipeError
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.base import Bounds, MethodModule, Recognisers, Task, Uses
from facecrypt.methods.iterative.boundary import guard
from facecrypt.methods.obfuscation import obfuscate
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe
from facecrypt.registry import Component
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from tests.trying import task

ROOT = Path(__file__).parents[2]
QUICK = ["receipt.transforms=[]", "max_targets=2", "trainer.accelerator=cpu", "steps=3", "preset=null", "budget=null"]


class Made:
    """A method of a plugin that does what a test says."""

    def __init__(
        self, make: Callable[[Task, int], Any], uses: Uses = "gradients", bounded: bool = True, native: bool = False
    ) -> None:
        self.make, self.uses, self.bounded, self.native = make, uses, bounded, native

    def protect(self, task: Task) -> Sequence[Any]:
        return [self.make(task, number) for number in range(len(task.faces))]


def module(method: Any, embedder: Embedder, targets: list[Target], **bounds: Any) -> MethodModule:
    guarded = guard(Component("method", "mine", "", "", "plug"), method)
    given = {"epsilon": 8 / 255, "step_size": 2 / 255, "norm": "linf", "steps": 3} | bounds
    return MethodModule(guarded, ["sface"], [embedder], targets[:3], Bounds(**given))


def run(tmp_path: Path, *keys: str) -> dict[str, Any]:
    output = tmp_path / "out"
    status = cli.main(["run", "--allow-weak", str(ROOT / "tests" / "judged.yaml"), f"output={output}", *QUICK, *keys])
    assert status == cli.DONE
    loaded: dict[str, Any] = json.loads((output / "report.json").read_text())
    return loaded


@pytest.mark.parametrize(
    "how", ["pixelate", *(pytest.param(how, marks=pytest.mark.slow) for how in ("blur", "darken", "occlude"))]
)
def test_a_hidden_face_is_the_same_as_in_a_benchmark(
    how: Any, tmp_path: Path, photo: Photo, face: Face, detector: FaceDetector
) -> None:
    report = run(tmp_path, f"method={{name: {how}, args: {{strength: 0.4}}}}")
    (entry,) = report["photos"]
    saved = read_photo(Path(entry["output"])).pixels
    expected = obfuscate(photo.pixels, face, how, 0.4)
    difference = np.abs(saved.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # Two roundings, of the sum and of the change.
    assert (saved != photo.pixels).any()
    (told,) = entry["faces"]
    assert (told["queries"], told["expected"]) == (0, None)
    # Nobody gave gradients: both recognisers judge.
    assert {name: each["white_box"] for name, each in told["recognisers"].items()} == {
        "sface": False,
        "dlib_resnet": False,
    }


def test_a_method_of_scores_counts_what_it_asks(tmp_path: Path) -> None:
    report = run(tmp_path, "method={name: random_squares, args: {queries: 7}}", "epsilon=12")
    (told,) = report["photos"][0]["faces"]
    assert told["queries"] == 7
    assert 1 <= told["max_abs"] <= 12
    assert told["expected"] is None  # That was measured with masks of the loop.
    assert told["recognisers"]["sface"]["white_box"]


def test_a_feed_forward_method_and_one_with_gradients_protect(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    def one_step(task: Task, number: int) -> Tensor:
        pixels = task.faces[number].pixels[None].requires_grad_()
        aim = task.recognisers.targets[0][1]
        with torch.enable_grad():
            loss = 1 - task.recognisers.embed(number, pixels)[0] @ aim
            (gradient,) = torch.autograd.grad(loss, pixels)
        return -task.epsilon * gradient[0].sign()

    made = module(Made(one_step), sface_embedder, targets).run([face_image, face_image], [0, 1])
    assert made.queries == [1, 1]
    after = embed(sface_embedder, [face_image._replace(pixels=face_image.pixels + made.masks[0])])[0]
    before = embed(sface_embedder, [face_image])[0]
    aim = embed(sface_embedder, [targets[1].aim])[0]
    assert after @ aim > before @ aim + 0.05
    assert torch.equal(*made.masks)


@pytest.mark.parametrize(
    ("bounds", "size"),
    [({}, 8.0), ({"epsilon": 3 / 255}, 3.0), ({"norm": "l2", "ceiling": 5 / 255, "epsilon": 20 / 255}, 5.0)],
)
def test_whatever_a_method_makes_stays_in_its_bounds(
    bounds: dict[str, Any], size: float, sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    loud = Made(lambda task, number: torch.full_like(task.faces[number].pixels, 0.4), "nothing")
    (mask,) = module(loud, sface_embedder, targets, **bounds).run([face_image], [0]).masks
    changed = face_image.pixels + mask
    assert mask.abs().max().item() * 255 <= size + 1e-3
    assert mask.max().item() * 255 == pytest.approx(size, abs=0.01)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (mask * (1 - face_image.inside) == 0).all()


@pytest.mark.parametrize(
    ("uses", "ask", "says"),
    [
        ("scores", lambda r, x: r.embed(0, x), "a method that uses scores asked for gradients"),
        ("decisions", lambda r, x: r.similarity(0, x), "a method that uses decisions asked for scores"),
        ("nothing", lambda r, x: r.recognised(0, x), "a method that uses nothing asked for decisions"),
        ("scores", lambda r, x: r.original(0), "asked for gradients"),
    ],
)
def test_a_method_gets_no_more_than_it_says(
    uses: Uses,
    ask: Callable[..., Any],
    says: str,
    sface_embedder: Embedder,
    targets: list[Target],
    face_image: FaceImage,
) -> None:
    method = Made(lambda task, number: ask(task.recognisers, task.faces[number].pixels[None]), uses)
    with pytest.raises(PluginError, match=says):
        module(method, sface_embedder, targets).run([face_image], [0])


def test_decisions_are_those_of_the_threshold(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    seen: list[Tensor] = []

    def ask(task: Task, number: int) -> Tensor:
        pixels = task.faces[number].pixels
        seen.append(task.recognisers.recognised(number, torch.stack([pixels, torch.zeros_like(pixels)])))
        return torch.ones_like(pixels) / 255

    made = module(Made(ask, "decisions"), sface_embedder, targets).run([face_image], [0])
    assert seen[0].tolist() == [[True], [False]]
    assert made.queries == [2]


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (Made(lambda task, number: None), "returned NoneType; expected what is added to a face"),
        (Made(lambda task, number: task.faces[number].pixels * torch.nan), "numbers that are not finite"),
        (Made(lambda task, number: task.faces[number].pixels[:, 1:]), r"returned \(3, \d+, \d+\) in torch.float32"),
        (Made(lambda task, number: task.faces[number].pixels.double()), "in torch.float64"),
        (Made(lambda task, number: task.faces[number].pixels.add_(1)), "changed a tensor that it was given"),
        (Made(lambda task, number: 1 / 0), r"raised ZeroDivisionError \(test_base.py"),
        (Made(lambda task, number: None, "everything"), "has 'everything' for its attribute 'uses'; expected one of"),  # type: ignore[arg-type]
        (object(), "expected an object with protect"),
    ],
)
def test_what_is_wrong_has_a_name(
    method: Any, says: str, sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    own = face_image._replace(pixels=face_image.pixels.clone())
    with pytest.raises(PluginError, match=rf"method 'mine' \(plug\): .*{says}"):
        module(method, sface_embedder, targets).run([own], [0])


def test_a_mask_for_each_face(sface_embedder: Embedder, targets: list[Target], face_image: FaceImage) -> None:
    method = Made(lambda task, number: task.faces[0].pixels)
    method.protect = lambda task: []  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="returned 0 of them; expected a list of 1 tensors, one per face"):
        module(method, sface_embedder, targets).run([face_image], [0])


def test_nothing_is_expected_of_masks_of_another_kind() -> None:
    keys = {"surrogates": [{"name": "sface"}], "method": {"name": "blur"}}
    with pytest.raises(RecipeError, match="protect: what others make of masks by the method 'blur' was not measured"):
        check_recipe(keys | {"protect": 0.8})
    with pytest.raises(RecipeError, match="no method named 'blurr'. Did you mean 'blur'"):
        check_recipe(keys | {"method": {"name": "blurr"}})


@pytest.mark.slow
def test_a_native_method_sees_the_photo_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[tuple[int, tuple[float, ...]]] = []

    def look(task: Task, number: int) -> Tensor:
        sides.append((task.faces[number].pixels.shape[-1], task.boxes[number]))
        return torch.ones_like(task.faces[number].pixels) / 255

    def looks_natively() -> Made:
        return Made(look, "nothing", native=True)

    def looks_small() -> Made:
        return Made(look, "nothing")

    registry.list_components()
    big = tmp_path / "big.png"
    Image.open(runner.sample_photo()).resize((800, 800)).save(big)
    for native in (True, False):
        component = Component("method", "look", (looks_natively if native else looks_small), "x", "plug")
        monkeypatch.setitem(registry._shared.components, ("method", "look"), component)
        run(tmp_path / str(native), "method={name: look}", f"photos={big}")
    (own, box), (small, other) = sides
    assert own > 192 == small
    assert np.array(box) / own == pytest.approx(np.array(other) / small, abs=0.01)


@pytest.mark.slow
def test_recognisers_see_a_large_face_as_they_see_it_shrunk(
    sface_embedder: Embedder, photo: Photo, detector: FaceDetector
) -> None:
    """Sampled at its own resolution, without a low pass, it would be another picture."""
    pixels = np.asarray(Image.fromarray(np.asarray(photo.pixels)).resize((2560, 2560), Image.Resampling.BICUBIC))
    noisy = pixels.astype(int) + np.random.default_rng(0).integers(-60, 61, pixels.shape)
    large = Photo(photo.path, noisy.clip(0, 255).astype(np.uint8))
    (found,) = detector.find(large, "largest")
    own, small = cut(large, found, found.patch.side), cut(large, found)
    assert own.pixels.shape[-1] > 4 * small.pixels.shape[-1]
    recognisers = Recognisers(["sface"], [sface_embedder], [], [own], "gradients")
    assert (recognisers.original(0) @ embed(sface_embedder, [small])[0]).item() > 0.995
    assert recognisers.similarity(0, own.pixels[None]).item() == pytest.approx(1, abs=1e-5)
    assert recognisers.queries[0] == 1


def test_steps_under_l2_add_up_in_a_soft_region(face_image: FaceImage) -> None:
    """The share of a soft region counts once, however many steps there are; outside of it nothing is changed."""
    soft = torch.full_like(face_image.inside, 0.5)
    soft[..., :20, :] = 0
    given = task("nothing", [face_image], norm="l2", epsilon=0.5, regions=[soft])
    mask = torch.zeros_like(face_image.pixels)
    for _ in range(20):
        mask = given.project(0, mask + 0.001)
    inside = (face_image.inside * (soft > 0)).expand_as(mask) * (face_image.pixels < 0.9) > 0
    assert torch.allclose(mask[inside], torch.tensor(0.02), atol=1e-5)
    assert mask[:, :20].abs().max() == 0


class Network(nn.Module):
    """A network of a plugin that does what a test says from its third call on."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.change, self.calls = change, 0

    def forward(self, crops: Tensor) -> Any:
        self.calls += 1
        made = self.layer(crops).mean(dim=(2, 3))
        return made if self.calls < 3 else self.change(made)


LATE = [
    (lambda e: 1 / 0, "raised ZeroDivisionError"),
    (lambda e: sys.exit(3), "raised SystemExit"),
    (lambda e: e.detach(), "without a gradient"),
    (lambda e: e * torch.nan, "4 of 4 numbers that are not finite"),
    (lambda e: e[:, :2], r"returned \(1, 2\)"),
]


@pytest.mark.parametrize("layer", [None, "layer"])
@pytest.mark.parametrize(("change", "says"), LATE)
def test_a_surrogate_that_goes_wrong_later_has_a_name_under_any_method(
    change: Callable[[Tensor], Any],
    says: str,
    layer: str | None,
    sface_embedder: Embedder,
    targets: list[Target],
    face_image: FaceImage,
) -> None:
    wrong = Embedder(Network(change), replace(sface_embedder.spec, dimension=4))

    def follow(task: Task, number: int) -> Tensor:
        pixels = task.faces[number].pixels[None].clone().requires_grad_()
        with torch.enable_grad():
            seen = task.recognisers.features(number, pixels, layer)
        return torch.zeros_like(pixels[0]) + seen.embeddings.sum().detach() * 0

    method = guard(Component("method", "asks", "", "", "other"), Made(follow))
    made = MethodModule(method, ["mine"], [wrong], targets[:1], Bounds(8 / 255, 2 / 255, "linf", 1), "first", ["plug"])
    with pytest.raises(PluginError, match=rf"^surrogate 'mine' \(plug\): .*{says}"):
        made.run([face_image], [0])


class Aside(nn.Module):
    """A network with a layer beside its embeddings."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.aside = nn.Identity()
        self.change = change

    def forward(self, crops: Tensor) -> Tensor:
        self.aside(self.change(crops))
        return crops.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: torch.cat([x, x]), "its layer 'aside' gave 2 rows; expected features of one length for each of 1"),
        (lambda x: x * torch.nan, "its layer 'aside' gave numbers that are not finite"),
    ],
)
def test_what_a_layer_gives_is_checked(
    change: Callable[[Tensor], Tensor], says: str, sface_embedder: Embedder, face_image: FaceImage
) -> None:
    wrong = Embedder(Aside(change), replace(sface_embedder.spec, dimension=3))
    asked = Recognisers(["mine"], [wrong], [], [face_image], "gradients", ["plug"])
    with pytest.raises(PluginError, match=rf"surrogate 'mine' \(plug\): {says}"):
        asked.features(0, face_image.pixels[None], "aside")
