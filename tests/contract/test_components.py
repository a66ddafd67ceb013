"""What every registered component must do, plugins included: one test per promise that the protection loop relies on.

A component needs nothing here but its registration. ``pytest tests/contract -k NAME`` checks a single one.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecrypt import registry
from facecrypt.errors import PluginError
from facecrypt.faces import FaceImage, crop, crop_grid, face_grid
from facecrypt.naturalness import Naturalness
from facecrypt.optimizers import Optimizer, State
from facecrypt.registry import KINDS, Component
from facecrypt.settings import Norm
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec
from facecrypt.targets import Distances, Situation, TargetSelector
from facecrypt.views import Params, View

NORMS: tuple[Norm, ...] = ("linf", "l2")
TARGETS = 5
TILES = 4
"""A gradient reaches every part of a picture if it is somewhere nonzero in each of TILES x TILES parts."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # A broken plugin is reported by a test of its own, not by all of them.
    COMPONENTS = registry.list_components()


def components(kind: registry.Kind | None = None) -> pytest.MarkDecorator:
    """Return the mark that runs a test for every component, or for every one of a kind that can be built here."""
    chosen = [each for each in COMPONENTS if kind is None or (kind == each.kind and not missing(each))]
    return pytest.mark.parametrize("component", chosen, ids=lambda component: f"{component.kind}-{component.name}")


def missing(component: Component) -> str:
    """Return what a surrogate lacks to be built on this machine, or nothing. Other kinds lack nothing."""
    if component.kind != "surrogate":
        return ""
    try:
        arguments = component.arguments()
    except PluginError as error:
        return str(error)
    required = [name for name, (_, default) in arguments.items() if default is inspect.Parameter.empty]
    if required:
        return f"surrogate {component.name} has no default for {', '.join(required)}"
    if component.spec is not None and component.spec.weights.find() is None:
        return f"the weights of surrogate {component.name} are not on this machine: {component.spec.weights.source}"
    return ""


def build(component: Component) -> Any:
    """Return the component with its default arguments."""
    return component.load()()


@cache
def build_surrogate(component: Component) -> Embedder:
    """Return a surrogate, built once: reading its weights takes a while."""
    embedder = build(component)
    assert isinstance(embedder, Embedder)
    return embedder


Crops = Callable[[EmbedderSpec], Tensor]
Pictures = Callable[[int, int], tuple[Tensor, Tensor]]
Square = Callable[[int], Tensor]


@pytest.fixture(scope="module")
def crops(face_image: FaceImage) -> Crops:
    """Return a function that crops the sample face for a recogniser, with two changed versions: ``(3, 3, H, W)``."""

    @cache
    def make(spec: EmbedderSpec) -> Tensor:
        side = face_image.pixels.shape[-1]
        grid = crop_grid(face_image.landmarks[None], spec.template, (spec.height, spec.width), side)
        image = crop(face_image.pixels[None], grid)
        return torch.cat([image, image.flip(3), image * 0.7 + 0.1])

    return make


@pytest.fixture(scope="module")
def pictures(face_image: FaceImage) -> Pictures:
    """Return a function that makes protected and original faces ``(B, V, 3, 112, 112)``, up to 12 grey levels apart."""
    grid = face_grid(face_image.landmarks[None], face_image.pixels.shape[-1])
    image = crop(face_image.pixels[None], grid)

    def make(faces: int, views: int) -> tuple[Tensor, Tensor]:
        shifted = torch.stack([image[0].roll(5 * number, dims=2) for number in range(faces * views)])
        original = shifted.view(faces, views, *image.shape[1:])
        noise = torch.rand(original.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        levels = torch.linspace(12, 4, faces).view(-1, 1, 1, 1, 1)  # Each face is changed more than the next.
        return (original + noise * levels / 255).clamp(0, 1), original

    return make


@pytest.fixture(scope="module")
def square(face_image: FaceImage) -> Square:
    """Return a function that scales the sample face to ``(1, 3, side, side)``, with a black and a white corner."""

    def make(side: int) -> Tensor:
        image = functional.interpolate(face_image.pixels[None], size=(side, side), mode="bilinear", antialias=True)
        image[..., : side // 8, : side // 8] = 0  # Where many a formula has no finite gradient.
        image[..., -side // 8 :, -side // 8 :] = 1
        return image

    return make


def assert_reaches_every_part(gradient: Tensor) -> None:
    """Fail unless the gradient ``(N, 3, H, W)`` is finite and nonzero in every part of every picture."""
    assert gradient.isfinite().all(), "the gradient is not finite everywhere"
    tiles = functional.adaptive_max_pool2d(gradient.abs().amax(dim=1, keepdim=True), TILES)
    assert (tiles > 0).all(), f"parts of the picture get no gradient:\n{tiles.squeeze(1)}"


class TestEveryComponent:
    """What recipes rely on."""

    def test_there_is_one_of_each_kind(self) -> None:
        assert {component.kind for component in COMPONENTS} == set(KINDS)

    def test_no_plugin_is_broken(self) -> None:
        assert registry.broken_plugins() == {}

    @components()
    def test_name_is_one_lowercase_word(self, component: Component) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", component.name)

    @components()
    def test_summary_is_one_short_line(self, component: Component) -> None:
        assert component.summary == component.summary.strip()
        assert 1 <= len(component.summary.splitlines()) == 1
        assert len(component.summary) <= 100

    @components()
    def test_says_what_it_does(self, component: Component) -> None:
        assert inspect.getdoc(component.load())

    @components()
    def test_arguments_are_keyword_only_and_typed(self, component: Component) -> None:
        arguments = component.arguments()  # Raises for positional arguments, *args and **kwargs.
        assert [name for name, (annotation, _) in arguments.items() if annotation is Any] == []

    @components()
    def test_defaults_are_valid_arguments(self, component: Component) -> None:
        arguments = component.arguments()
        defaults = {name: value for name, (_, value) in arguments.items() if value is not inspect.Parameter.empty}
        required = arguments.keys() - defaults.keys()
        bound, faults = component.bind(defaults)
        assert bound.keys() == defaults.keys()
        assert len(faults) == len(required), "a default is not a value that a recipe could give"
        assert component.kind == "surrogate" or not required, "only a surrogate may have arguments without a default"

    @components()
    def test_unknown_argument_is_refused(self, component: Component) -> None:
        _, faults = component.bind({"no_such_argument": 1})
        assert any("no_such_argument" in fault for fault in faults)

    @components()
    def test_builds_without_arguments_and_random_numbers(self, component: Component) -> None:
        if missing(component):
            pytest.skip(missing(component))
        before = torch.get_rng_state()
        build(component)
        assert torch.equal(torch.get_rng_state(), before), "building changes what a run with the same seed does"


@components("surrogate")
class TestSurrogate:
    """`facecrypt.surrogates.embedder.Embedder`."""

    @pytest.fixture
    def embedder(self, component: Component) -> Embedder:
        return build_surrogate(component)

    def test_spec_is_the_registered_one(self, component: Component, embedder: Embedder) -> None:
        if component.spec is None:
            pytest.skip("its arguments decide the network")
        assert embedder.spec == component.spec

    def test_template_lies_in_the_crop(self, embedder: Embedder) -> None:
        size = torch.tensor([embedder.spec.width, embedder.spec.height])
        points = torch.tensor(embedder.spec.template)
        assert points.shape == (5, 2)
        assert ((points > 0) & (points < size)).all()

    def test_returns_unit_embeddings(self, embedder: Embedder, crops: Crops) -> None:
        embeddings = embedder(crops(embedder.spec))
        assert embeddings.shape == (3, embedder.spec.dimension)
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))

    def test_takes_a_slightly_changed_photo_for_the_same_person(self, embedder: Embedder, crops: Crops) -> None:
        if embedder.spec.threshold is None:
            pytest.skip("its threshold is not known")
        original, mirrored, brighter = embedder(crops(embedder.spec))
        assert original @ mirrored >= embedder.spec.threshold
        assert original @ brighter >= embedder.spec.threshold

    def test_same_answer_twice(self, embedder: Embedder, crops: Crops) -> None:
        assert torch.equal(embedder(crops(embedder.spec)), embedder(crops(embedder.spec)))

    def test_same_answer_when_built_again(self, component: Component, embedder: Embedder, crops: Crops) -> None:
        images = crops(embedder.spec)[:1]
        assert torch.equal(build(component)(images), embedder(images))

    def test_same_answer_in_a_batch_and_alone(self, embedder: Embedder, crops: Crops) -> None:
        images = crops(embedder.spec)
        alone = torch.cat([embedder(image[None]) for image in images])
        torch.testing.assert_close(embedder(images), alone, rtol=0, atol=1e-4)

    def test_gradient_reaches_every_part_of_the_crop(self, embedder: Embedder, crops: Crops) -> None:
        images = crops(embedder.spec)[:2].clone().requires_grad_()
        first, second = embedder(images)
        (gradient,) = torch.autograd.grad(first @ second, images)
        assert_reaches_every_part(gradient)

    def test_gradient_is_finite_on_a_black_crop(self, embedder: Embedder, crops: Crops) -> None:
        image = torch.zeros_like(crops(embedder.spec)[:1]).requires_grad_()
        (gradient,) = torch.autograd.grad(embedder(image).sum(), image)
        assert gradient.isfinite().all()

    def test_refuses_other_sizes(self, embedder: Embedder) -> None:
        height, width = embedder.spec.height, embedder.spec.width
        for shape in ((1, 3, height + 1, width), (1, 3, height, width - 1), (1, 1, height, width)):
            with pytest.raises(ValueError, match=str(height)):
                embedder(torch.zeros(shape))

    def test_is_never_trained(self, embedder: Embedder, crops: Crops) -> None:
        embedder.train()
        assert not any(module.training for module in embedder.modules())
        assert not any(parameter.requires_grad for parameter in embedder.parameters())
        assert not embedder(crops(embedder.spec)[:1]).requires_grad


@components("naturalness")
class TestNaturalness:
    """`facecrypt.naturalness.Naturalness`."""

    @pytest.fixture
    def term(self, component: Component) -> Naturalness:
        built: Naturalness = build(component)
        return built

    @pytest.mark.parametrize(("faces", "views"), [(1, 1), (3, 2)])
    def test_returns_one_number_per_face(self, term: Naturalness, pictures: Pictures, faces: int, views: int) -> None:
        penalty = term(*pictures(faces, views))
        assert penalty.shape == (faces,)
        assert penalty.dtype == torch.float32
        assert penalty.isfinite().all()

    def test_is_least_for_untouched_faces(self, term: Naturalness, pictures: Pictures) -> None:
        protected, original = pictures(3, 2)
        assert (term(original, original) < term(protected, original)).all()

    @pytest.mark.parametrize("views", [1, 2])
    def test_gradient_reaches_every_part_of_the_image(self, term: Naturalness, pictures: Pictures, views: int) -> None:
        protected, original = pictures(2, views)
        protected.requires_grad_()
        (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
        assert_reaches_every_part(gradient.flatten(0, 1))

    def test_gradient_is_finite_for_untouched_faces(self, term: Naturalness, pictures: Pictures) -> None:
        _, original = pictures(2, 1)  # The first step starts here.
        protected = original.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
        assert gradient.isfinite().all()

    def test_faces_are_independent(self, term: Naturalness, pictures: Pictures) -> None:
        protected, original = pictures(3, 2)
        together = term(protected, original)
        alone = torch.cat([term(protected[i : i + 1], original[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=0)

    def test_keeps_no_state(self, term: Naturalness, pictures: Pictures) -> None:
        protected, original = pictures(2, 2)
        copies = protected.clone(), original.clone()
        assert torch.equal(term(protected, original), term(protected, original))
        assert torch.equal(protected, copies[0])
        assert torch.equal(original, copies[1])


def situation(faces: Sequence[int], step: int, targets: int = TARGETS, previous: Tensor | None = None) -> Situation:
    """Return an iteration in which face i is described by random numbers that depend on i and the step alone."""

    def numbers(face: int, *shape: int) -> Tensor:
        return 4 * torch.rand(shape, generator=torch.Generator().manual_seed(1000 * face + step))

    def stack(*shape: int) -> Tensor:
        return torch.stack([numbers(face, *shape) for face in faces])

    return Situation(
        step=step,
        previous=previous,
        now=Distances(stack(), stack(targets)),
        try_all=lambda: Distances(stack(targets), stack(targets, targets)),
        draw=lambda below: (stack() / 4 * below).long(),
    )


def choose(selector: TargetSelector, faces: Sequence[int], targets: int = TARGETS, steps: int = 7) -> Tensor:
    """Return the choices of some iterations, ``(steps, B)``."""
    chosen: list[Tensor] = []
    for step in range(steps):
        chosen.append(selector(situation(faces, step, targets, chosen[-1] if chosen else None)))
    return torch.stack(chosen)


@components("target_selector")
class TestTargetSelector:
    """`facecrypt.targets.TargetSelector`."""

    @pytest.fixture
    def selector(self, component: Component) -> TargetSelector:
        built: TargetSelector = build(component)
        return built

    @pytest.mark.parametrize("targets", [1, TARGETS])
    def test_returns_the_index_of_a_target_per_face(self, selector: TargetSelector, targets: int) -> None:
        chosen = choose(selector, range(4), targets)
        assert chosen.shape[1:] == (4,)
        assert chosen.dtype == torch.long
        assert ((chosen >= 0) & (chosen < targets)).all()

    def test_same_choice_twice(self, component: Component, selector: TargetSelector) -> None:
        first = choose(selector, range(4))
        torch.manual_seed(1)  # The only random numbers allowed are those of `Situation.draw`.
        assert torch.equal(choose(selector, range(4)), first), "a run remembers the one before it"
        assert torch.equal(choose(build(component), range(4)), first)

    def test_faces_are_independent(self, selector: TargetSelector) -> None:
        together = choose(selector, range(6))
        assert torch.equal(choose(selector, [4, 1]), together[:, [4, 1]])


class Descent(NamedTuple):
    """Losses along a few steps, and what came out of the last one."""

    losses: list[float]
    step: Tensor
    state: State


def descend(optimizer: Optimizer, norm: Norm, steps: int) -> Descent:
    """Return what happens to half the squared distance from random points, from zero."""
    aim = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros_like(aim)
    # The l2 step of a face has length 1 over all of its values; the linf step has length 1 in each.
    step_size = 0.05 * (aim[0].numel() ** 0.5 if norm == "l2" else 1.0)
    state = optimizer.init(masks)
    losses = []
    step = masks
    for _ in range(steps):
        losses.append(0.5 * (masks - aim).square().sum().item())
        step, state = optimizer.update(masks - aim, state, norm)
        masks = masks - step_size * step
    losses.append(0.5 * (masks - aim).square().sum().item())
    return Descent(losses, step, state)


@components("optimizer")
@pytest.mark.parametrize("norm", NORMS)
class TestOptimizer:
    """`facecrypt.optimizers.Optimizer`."""

    @pytest.fixture
    def optimizer(self, component: Component) -> Optimizer:
        built: Optimizer = build(component)
        return built

    @pytest.fixture
    def gradients(self) -> Tensor:
        return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def test_returns_a_step_per_mask(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        step, state = optimizer.update(gradients, optimizer.init(torch.zeros_like(gradients)), norm)
        assert step.shape == gradients.shape
        assert step.dtype == gradients.dtype
        assert step.isfinite().all()
        assert isinstance(state, tuple)

    def test_first_step_has_unit_length(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        step, _ = optimizer.update(gradients, optimizer.init(torch.zeros_like(gradients)), norm)
        lengths = step.abs().amax(dim=(1, 2, 3)) if norm == "linf" else step.flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(3), rtol=0, atol=1e-3)

    def test_is_a_function_of_its_state(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        state = descend(optimizer, norm, steps=3).state
        inputs = gradients.clone(), copy.deepcopy(state)
        first = optimizer.update(gradients, state, norm)
        again = optimizer.update(gradients, state, norm)
        assert torch.equal(first[0], again[0])
        assert all(torch.equal(a, b) for a, b in zip(first[1], again[1], strict=True))
        assert torch.equal(gradients, inputs[0]), "the gradients were changed in place"
        assert all(torch.equal(a, b) for a, b in zip(state, inputs[1], strict=True)), "the state was changed in place"

    def test_state_is_made_from_the_shape_alone(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        masks = gradients.clone()
        states = optimizer.init(masks), optimizer.init(torch.zeros_like(masks))
        assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
        assert torch.equal(masks, gradients)

    def test_faces_are_independent(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        changed = gradients.clone()
        changed[1:] = -5 * gradients[1:]
        steps = []
        for each in (gradients, changed):
            _, state = optimizer.update(each, optimizer.init(torch.zeros_like(each)), norm)
            steps.append(optimizer.update(each, state, norm)[0])
        torch.testing.assert_close(steps[0][:1], steps[1][:1])
        assert not torch.equal(steps[0][1:], steps[1][1:])

    def test_a_face_without_gradient_stays(self, optimizer: Optimizer, norm: Norm, gradients: Tensor) -> None:
        gradients[1] = 0
        state = optimizer.init(torch.zeros_like(gradients))
        for _ in range(2):
            step, state = optimizer.update(gradients, state, norm)
            assert step.isfinite().all()
            assert (step[1] == 0).all()
            assert (step[[0, 2]] != 0).any()

    @pytest.mark.parametrize("scale", [1e-12, 1e6])
    def test_scale_of_the_gradient_does_not_matter(
        self, optimizer: Optimizer, norm: Norm, gradients: Tensor, scale: float
    ) -> None:
        # A recogniser's gradients may be a tenth or a millionth of another's.
        state = optimizer.init(torch.zeros_like(gradients))
        plain, _ = optimizer.update(gradients, state, norm)
        scaled, _ = optimizer.update(gradients * scale, state, norm)
        torch.testing.assert_close(scaled, plain, rtol=0, atol=1e-3)

    def test_descends_a_quadratic(self, optimizer: Optimizer, norm: Norm) -> None:
        losses = descend(optimizer, norm, steps=10).losses
        assert losses[1] < losses[0]
        assert losses[-1] < 0.7 * losses[0]


def draw(view: View, count: int, side: int, seed: int) -> Params:
    """Return views from a seed, without touching the random numbers of other tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return view.sample(count, side)


def equal(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@components("view")
class TestView:
    """`facecrypt.views.View`."""

    SIDE = 120

    @pytest.fixture
    def view(self, component: Component) -> View:
        built: View = build(component)
        return built

    @pytest.mark.parametrize("count", [1, 4])
    def test_draws_a_row_per_view_on_the_cpu(self, view: View, count: int) -> None:
        params = draw(view, count, self.SIDE, seed=0)
        assert params
        assert {len(value) for value in params.values()} == {count}
        assert {value.device.type for value in params.values()} == {"cpu"}

    def test_draws_of_different_sides_can_be_put_together(self, view: View, square: Square) -> None:
        # Faces of a batch have patches of different sizes; their draws are concatenated.
        small, large = (draw(view, 2, side, seed=0) for side in (self.SIDE, self.SIDE + 37))
        assert small.keys() == large.keys()
        joined = {name: torch.cat([small[name], large[name]]) for name in small}
        images = square(self.SIDE + 37).expand(4, -1, -1, -1)
        assert view.apply(images, joined).shape == images.shape

    def test_draws_depend_on_the_seed_alone(self, view: View) -> None:
        assert equal(draw(view, 3, self.SIDE, seed=0), draw(view, 3, self.SIDE, seed=0))
        assert not equal(draw(view, 3, self.SIDE, seed=0), draw(view, 3, self.SIDE, seed=1))

    def test_two_views_differ(self, view: View, square: Square) -> None:
        first, second = view.apply(square(self.SIDE).expand(2, -1, -1, -1), draw(view, 2, self.SIDE, seed=0))
        assert not torch.equal(first, second)

    def test_keeps_shape_and_range(self, view: View, square: Square) -> None:
        images = square(self.SIDE).expand(6, -1, -1, -1)
        seen = view.apply(images, draw(view, 6, self.SIDE, seed=0))
        assert seen.shape == images.shape
        assert seen.dtype == images.dtype
        assert seen.min() >= 0
        assert seen.max() <= 1

    def test_applying_is_a_function_of_the_draw(self, view: View, square: Square) -> None:
        images = square(self.SIDE).expand(3, -1, -1, -1).clone()
        original = images.clone()
        params = draw(view, 3, self.SIDE, seed=0)
        kept = copy.deepcopy(dict(params))
        before = torch.get_rng_state()
        first = view.apply(images, params)
        draw(view, 5, self.SIDE, seed=1)  # A draw in between must not be remembered.
        assert torch.equal(view.apply(images, params), first)
        assert torch.equal(torch.get_rng_state(), before), "applying draws random numbers"
        assert torch.equal(images, original), "the images were changed in place"
        assert equal(params, kept), "the draw was changed in place"

    def test_images_are_independent(self, view: View, square: Square) -> None:
        images = torch.cat([square(self.SIDE), square(self.SIDE).flip(3), square(self.SIDE).flip(2)])
        params = draw(view, 3, self.SIDE, seed=0)
        rows = [{name: value[i : i + 1] for name, value in params.items()} for i in range(3)]
        alone = torch.cat([view.apply(images[i : i + 1], rows[i]) for i in range(3)])
        torch.testing.assert_close(view.apply(images, params), alone, rtol=0, atol=1e-4)

    def test_gradient_reaches_every_part_of_the_image(self, view: View, square: Square) -> None:
        image = square(self.SIDE).clone().requires_grad_()
        seen = view.apply(image.expand(8, -1, -1, -1), draw(view, 8, self.SIDE, seed=0))
        # Random weights, so that no gradient cancels out; over a few views, so that one may cover a part.
        weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad((seen * weights).sum(), image)
        assert_reaches_every_part(gradient)

    def test_is_still_mostly_the_same_picture(self, view: View, square: Square) -> None:
        images = square(self.SIDE).expand(8, -1, -1, -1)
        seen = view.apply(images, draw(view, 8, self.SIDE, seed=0))
        pairs = torch.stack([images.flatten(1), seen.flatten(1)], dim=1)
        assert min(torch.corrcoef(pair)[0, 1] for pair in pairs) > 0.5
