"""The regions that come with facecrypt, against slow versions, and what the loop and other methods make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.errors import RecipeError
from facecrypt.faces.alignment import crop_to_image
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.base import Bounds, MethodModule, Task, Uses
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline.builders import build_region
from facecrypt.pipeline.runner import build_loop
from facecrypt.recipe.check import check_recipe
from facecrypt.recipe.schema import Region as Strengths
from facecrypt.recipe.schema import Slot
from facecrypt.regions.shapes import AllButEyes, Eyeglasses, FaceRegion, LowerFace, Skin
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from facecrypt.templates import ARCFACE_TEMPLATE

ROOT = Path(__file__).parents[2]
SIDE = 56


@pytest.fixture(scope="module")
def small(face_image: FaceImage) -> FaceImage:
    """The sample face in few pixels, since references are slow, and tilted."""
    scale = SIDE / face_image.pixels.shape[-1]
    pixels = torch.nn.functional.interpolate(face_image.pixels[None], size=(SIDE, SIDE), mode="area")[0]
    marks = (face_image.landmarks + 0.5) * scale - 0.5
    tilted = (marks - SIDE / 2) @ torch.tensor([[0.96, 0.28], [-0.28, 0.96]]) + SIDE / 2
    return face_image._replace(pixels=pixels, inside=torch.ones(1, SIDE, SIDE), landmarks=tilted)


def places(landmarks: Tensor) -> list[list[complex]]:
    """Where each pixel lies in the aligned crop."""
    (a, b, c), (d, e, f) = crop_to_image(landmarks[None], ARCFACE_TEMPLATE)[0].double().tolist()
    scale = a * e - b * d
    return [
        [complex((e * (x - c) - b * (y - f)) / scale, (a * (y - f) - d * (x - c)) / scale) for x in range(SIDE)]
        for y in range(SIDE)
    ]


def place(point: Tensor, landmarks: Tensor) -> complex:
    (a, b, c), (d, e, f) = crop_to_image(landmarks[None], ARCFACE_TEMPLATE)[0].double().tolist()
    x, y = point.tolist()
    scale = a * e - b * d
    return complex((e * (x - c) - b * (y - f)) / scale, (a * (y - f) - d * (x - c)) / scale)


def ramp(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def share_alike(share: Tensor, expected: list[list[float]], tolerance: float = 1e-3) -> float:
    return (share[0] - torch.tensor(expected)).abs().lt(tolerance).float().mean().item()


def test_eyeglasses_are_rims_a_bridge_and_temples(small: FaceImage) -> None:
    eyes = [place(each, small.landmarks) for each in small.landmarks[:2]]
    along = (eyes[1] - eyes[0]) / abs(eyes[1] - eyes[0])
    middle, half = (eyes[0] + eyes[1]) / 2, abs(eyes[1] - eyes[0]) / 2

    def on_frame(point: complex) -> float:
        at = (point - middle) / along  # The eyes on one level, their middle at 0.
        x, y = abs(at.real), at.imag
        u, v = abs(x - half), abs(y - 1.5)
        # A rim is what is within half its width of a rectangle with rounded corners.
        away = abs(complex(u - 7, v - 4)) - 7 if u > 7 and v > 4 else max(u - 14, v - 11)
        bar = abs(y + 5) <= 2 and (x < half - 14 or half + 14 < x < 48)
        return float(abs(away) <= 2 or bar)

    expected = [[on_frame(point) for point in row] for row in places(small.landmarks)]
    share = Eyeglasses().map(small.pixels, small.landmarks)
    assert share_alike(share, expected) > 0.998  # Pixels on an edge fall either way.
    assert 0.03 < share.mean().item() < 0.06
    assert set(share.unique().tolist()) == {0.0, 1.0}


def test_the_lower_face_lies_below_a_line(small: FaceImage) -> None:
    def inside(point: complex, soft: float) -> float:
        aside = abs(point.real - 56) / 44
        line = ARCFACE_TEMPLATE[0][1] + 0.4 * (ARCFACE_TEMPLATE[2][1] - ARCFACE_TEMPLATE[0][1]) + 14 * aside**2
        r = abs(complex((point.real - 56) / 44, (point.imag - 62) / 56))
        depth = min(point.imag - line, (1 - r) * 44)
        return ramp(depth / soft) if soft else float(depth > 0)

    for soft in (0.0, 6.0):
        expected = [[inside(point, soft) for point in row] for row in places(small.landmarks)]
        assert share_alike(LowerFace(soft=soft).map(small.pixels, small.landmarks), expected) > 0.998


def test_everything_but_the_eyes(small: FaceImage) -> None:
    eyes = [place(each, small.landmarks) for each in small.landmarks[:2]]

    def share(point: complex) -> float:
        near = min(abs(complex((point - eye).real / 9, (point - eye).imag / 6.3)) for eye in eyes)
        return 1 - 0.75 * ramp((1.3 - near) / 0.3)

    expected = [[share(point) for point in row] for row in places(small.landmarks)]
    assert share_alike(AllButEyes(radius=9, eyes=0.25).map(small.pixels, small.landmarks), expected) == 1


def test_skin_is_what_looks_like_the_cheeks(face_image: FaceImage) -> None:
    share = Skin().map(face_image.pixels, face_image.landmarks)[0]
    eyes, nose, mouth = face_image.landmarks[:2], face_image.landmarks[2], face_image.landmarks[3:].mean(dim=0)
    cheek = (nose + torch.tensor([14.0, 0.0])).round().int().tolist()
    assert share[cheek[1], cheek[0]] > 0.9
    for x, y in (*eyes.round().int().tolist(), mouth.round().int().tolist(), [4, 4], [160, 160]):
        assert share[y, x] < 0.05
    # Paint it another colour, and it is no skin.
    painted = face_image.pixels.clone()
    painted[:, cheek[1] - 3 : cheek[1] + 3, cheek[0] - 3 : cheek[0] + 3] = torch.tensor([0.1, 0.2, 0.9]).view(3, 1, 1)
    again = Skin().map(painted, face_image.landmarks)[0]
    assert again[cheek[1], cheek[0]] == 0
    assert (again - share).abs().mean() < 0.02
    hard = Skin(soft=0, tolerance=2).map(face_image.pixels, face_image.landmarks)
    assert hard.sum() < share.sum()


def test_skin_without_cheeks_is_nowhere(small: FaceImage) -> None:
    away = small.landmarks + 1000
    assert Skin().map(small.pixels, away).sum() == 0


def test_strengths_are_the_region_face(small: FaceImage) -> None:
    given = check_recipe({"surrogates": [{"name": "sface"}], "region": {"outside": 0.3}}).region
    named = check_recipe(
        {"surrogates": [{"name": "sface"}], "region": {"name": "face", "args": {"outside": 0.3}}}
    ).region
    assert check_recipe({"surrogates": [{"name": "sface"}], "region": "skin"}).region == Slot("skin")
    assert isinstance(given, Strengths)
    assert isinstance(named, Slot)
    maps = []
    for value in (given, named):
        built = build_region(value)
        assert built is not None
        maps.append(built.map(small.pixels, small.landmarks))
    assert torch.equal(*maps)
    assert torch.equal(maps[0], FaceRegion(outside=0.3).map(small.pixels, small.landmarks))


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ({"name": "glasses"}, "region: no region named 'glasses'. Did you mean 'eyeglasses'?"),
        ({"name": "eyeglasses", "args": {"rim": 0}}, "argument 'rim': 0 is wrong: input should be greater than 0"),
        ({"name": "eyeglasses", "arg": {}}, "region.arg: unknown key. Did you mean 'args'? Known: name, args."),
        ({"fase": 1}, "region.fase: unknown key. Did you mean 'face'? Known: face, outside, features."),
        ({"face": 2}, "region.face: 2 is wrong"),
        ("eyeglass", "region: no region named 'eyeglass'. Did you mean 'eyeglasses'?"),
        (3, "region: 3 is wrong"),
    ],
)
def test_a_wrong_region_is_told_of_once(region: Any, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe({"surrogates": [{"name": "sface"}], "region": region})
    (fault,) = error.value.faults
    assert says in fault


def test_nothing_is_expected_of_masks_in_a_region() -> None:
    values = {"surrogates": [{"name": "sface"}, {"name": "dlib_resnet"}], "protect": 0.7}
    check_recipe(values)
    check_recipe(values | {"region": {"outside": 0.5}})
    with pytest.raises(RecipeError, match="protect: what others make of masks in the region 'skin' was not measured"):
        check_recipe(values | {"region": {"name": "skin"}})


def loop_with(region: Any, embedder: Embedder, targets: Sequence[Target], **keys: Any) -> Any:
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "region": region, "views": []} | keys)
    return build_loop(recipe, [Surrogate("sface", embedder, 1.0)], list(targets[:2]))


def test_the_loop_paints_the_frame_alone(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    keys = {"epsilon": 255, "step_size": 8, "steps": 2, "target_selector": {"name": "farthest"}}
    region = {"name": "eyeglasses", "args": {"colour": [200, 30, 40]}}
    loop = loop_with(region, sface_embedder, targets, **keys)
    (mask,) = loop.run([face_image], [0]).masks
    frame = Eyeglasses().map(face_image.pixels, face_image.landmarks)[0] > 0
    assert mask[:, ~frame].abs().max() == 0
    colour = torch.tensor([200, 30, 40]).view(3, 1) / 255
    painted = (face_image.pixels + mask)[:, frame]
    assert 0 < (painted - colour).abs().max() <= 16.01 / 255  # Two steps away from the colour.
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_a_start_is_held_to_epsilon_and_drawn_anew_for_each_face(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    keys = {"epsilon": 10, "step_size": 0.01, "steps": 1, "target_selector": {"name": "farthest"}}
    loop = loop_with({"name": "eyeglasses"}, sface_embedder, targets, **keys)
    one, other = loop.run([face_image, face_image], [1, 2]).masks
    (again,) = loop.run([face_image], [2]).masks
    assert one.abs().max() <= 10.001 / 255
    assert not torch.equal(one.sign(), other.sign())
    assert (again - other).abs().max() < 1e-3


class Flat:
    """A method that adds what a test says wherever it may."""

    uses: Uses = "nothing"
    native = False

    def __init__(self, value: float, bounded: bool) -> None:
        self.value, self.bounded = value, bounded
        self.seen: list[Tensor] = []

    def protect(self, task: Task) -> list[Tensor]:
        self.seen = [task.region(number) for number in range(len(task.faces))]
        return [torch.full_like(face.pixels, self.value) for face in task.faces]


@pytest.mark.parametrize(("norm", "bounded"), [("linf", True), ("l2", True), ("linf", False)])
def test_other_methods_are_held_to_the_region_and_told_of_it(
    norm: Any, bounded: bool, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    grey = face_image._replace(pixels=torch.full_like(face_image.pixels, 0.5))
    region = FaceRegion(outside=0.0)
    share = region.map(grey.pixels, grey.landmarks)

    def made(place: FaceRegion | None) -> tuple[Tensor, Flat]:
        method = Flat(0.2, bounded)
        bounds = Bounds(0.1, 0.01, norm, 1, region=place)
        (mask,) = MethodModule(method, ["sface"], [sface_embedder], targets[:1], bounds).run([grey], [0]).masks
        return mask, method

    mask, method = made(region)
    assert torch.equal(method.seen[0], share)
    assert mask[:, share[0] == 0].abs().max() == 0
    whole = {("linf", True): 0.1, ("linf", False): 0.2}.get((norm, bounded))
    if whole:
        torch.testing.assert_close(mask, whole * share.expand(3, -1, -1))
    else:
        assert mask.square().mean().sqrt().item() == pytest.approx(0.1, rel=1e-3)
    everywhere, method = made(None)
    assert torch.equal(method.seen[0], torch.ones_like(share))
    assert everywhere.min() > 0


@pytest.mark.slow
def test_a_blur_of_the_lower_face(tmp_path: Path, photo: Photo, face: Face) -> None:
    keys = ["method={name: blur, args: {strength: 0.5}}", "region={name: lower_face}", "preset=null", "budget=null"]
    keys += ["receipt.transforms=[]", "max_targets=1", "trainer.accelerator=cpu", f"output={tmp_path / 'out'}"]
    assert cli.main(["run", "--allow-weak", str(ROOT / "tests" / "judged.yaml"), *keys]) == cli.DONE
    changed = (read_photo(tmp_path / "out" / "astronaut.png").pixels != photo.pixels).any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    eyes, mouth = face.landmarks[:2, 1].mean(), face.landmarks[3:, 1].mean()
    assert eyes < rows[0] < mouth < rows[-1] < face.box[3] + 20


@pytest.mark.slow
def test_eyeglasses_through_a_run(tmp_path: Path, photo: Photo, face: Face) -> None:
    """The recipe as it is: only the frame changes, and SFace takes the wearer for somebody else."""
    output = tmp_path / "out"
    keys = ["receipt.transforms=[]", "trainer.accelerator=cpu", "max_targets=1", f"output={output}"]
    recipe = str(ROOT / "recipes" / "methods" / "eyeglasses.yaml")
    assert cli.main(["run", "--allow-weak", recipe, *keys]) == cli.DONE
    saved = read_photo(output / "astronaut.png").pixels
    image = cut(photo, face)
    frame = Eyeglasses().map(image.pixels, image.landmarks)[0].numpy() > 0
    left, top, side = face.patch
    assert side == frame.shape[0]  # The patch is not shrunk, so its pixels are those of the photo.
    changed = np.zeros((side, side), bool)
    changed[:] = (saved != photo.pixels)[top : top + side, left : left + side].any(axis=2)
    assert not changed[~frame].any()
    assert changed[frame].mean() > 0.95
    assert (saved != photo.pixels).any(axis=2).sum() == changed.sum()
    (told,) = json.loads((output / "report.json").read_text())["photos"][0]["faces"]
    assert told["recognisers"]["sface"]["still_recognised"] is False
    assert told["expected"] is None


def test_every_region_is_listed() -> None:
    names = {component.name for component in registry.list_components("region") if component.origin == "built-in"}
    assert names == {"face", "eyeglasses", "lower_face", "skin", "all_but_eyes"}
