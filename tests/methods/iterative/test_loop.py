from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import avg_pool2d

from facecrypt.benchmark.metrics import face_ssim
from facecrypt.choices import Norm
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError
from facecrypt.faces.alignment import crop, crop_grid, face_grid
from facecrypt.faces.face import Face, Patch, patch_around
from facecrypt.faces.patches import FaceImage, cut, face_area
from facecrypt.gradients.base import Landscape, VarianceTuning
from facecrypt.methods.budget import spent
from facecrypt.methods.iterative.loop import ProtectionLoop, Settings, Surrogate
from facecrypt.methods.iterative.mixup import Mixup
from facecrypt.methods.iterative.objective import own_identity
from facecrypt.methods.reference import Literal
from facecrypt.naturalness.base import MMD, SSIM
from facecrypt.optimizers.base import Momentum, Plain, State, project
from facecrypt.photos.files import Photo
from facecrypt.recipe.schema import Budget
from facecrypt.regions.maps import feather_map
from facecrypt.regions.shapes import FaceRegion
from facecrypt.surrogates import sface
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import (
    Center,
    Distances,
    Farthest,
    Fixed,
    Greedy,
    Nearest,
    Random,
    Situation,
    Target,
    TargetSelector,
    gain,
)
from facecrypt.views.base import affine
from facecrypt.vision.eye import FULL_HD, Eye

EPSILON, STEP = 12 / 255, 1.5 / 255


class Spy:
    """Notes what a selector chooses."""

    def __init__(self, selector: TargetSelector) -> None:
        self.selector = selector
        self.choices: list[list[int]] = []

    def __call__(self, situation: Situation) -> Tensor:
        chosen = self.selector(situation)
        self.choices.append(chosen.tolist())
        return chosen


def make_loop(
    embedders: Sequence[Embedder], targets: Sequence[Target], selector: TargetSelector, **changes: Any
) -> ProtectionLoop:
    dropout = changes.pop("dropout", 0.0)
    settings: dict[str, Any] = {"epsilon": EPSILON, "step_size": STEP, "norm": "linf", "steps": 4}
    mixup = changes.pop("mixup", None)
    settings |= {key: changes.pop(key) for key in list(changes) if key in Settings.__dataclass_fields__}
    parts: dict[str, Any] = {"naturalness": [], "optimizer": Momentum(), "views": []} | changes
    surrogates = [Surrogate(f"s{number}", embedder, 1.0, dropout, mixup) for number, embedder in enumerate(embedders)]
    return ProtectionLoop(
        surrogates=surrogates, targets=targets, target_selector=selector, settings=Settings(**settings), **parts
    )


@pytest.fixture(scope="session")
def people(face_image: FaceImage, targets: list[Target]) -> list[FaceImage]:
    """Faces to protect: the sample photo, and check images of two target identities, which differ in size."""
    return [face_image, targets[3].checks[0], targets[7].checks[1]]


@pytest.mark.parametrize(
    ("recogniser", "selector"),
    [
        pytest.param("sface_embedder", Greedy(), id="sface-greedy", marks=pytest.mark.slow),
        pytest.param("sface_embedder", Greedy(margin=None), id="sface-greedy without a margin", marks=pytest.mark.slow),
        pytest.param("sface_embedder", Center(), id="sface-center", marks=pytest.mark.slow),
        pytest.param("dlib_embedder", Greedy(), id="dlib-greedy"),
        pytest.param("dlib_embedder", Greedy(margin=None), id="dlib-greedy without a margin", marks=pytest.mark.slow),
        pytest.param("dlib_embedder", Center(), id="dlib-center", marks=pytest.mark.slow),
    ],
)
def test_selectors_choose_as_algorithm_1_transcribed(
    selector: TargetSelector,
    recogniser: str,
    people: list[FaceImage],
    targets: list[Target],
    request: pytest.FixtureRequest,
) -> None:
    embedder = request.getfixturevalue(recogniser)
    some = targets[:4]
    spy = Spy(selector)
    loop = make_loop([embedder], some, spy, steps=3)
    loop.run(people, [0, 1, 2])
    together = [list(step) for step in spy.choices]
    for number, person in enumerate(people):
        choices, mask = Literal(embedder, person, some, center=isinstance(selector, Center)).run(3)
        assert [step[number] for step in together] == choices
        # Alone, since batching rounds differently, and the sign of a gradient near 0 hangs on rounding.
        (alone,), _ = loop.run([person], [number])
        assert (alone - mask[0]).abs().gt(1e-4).float().mean() < 0.05
    assert len({choice for step in spy.choices for choice in step}) > 1  # Else any constant would pass.


@pytest.mark.slow
def test_only_contested_targets_are_tried(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    wanted = torch.tensor([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    seen: list[Distances] = []

    class Curious:
        def __call__(self, situation: Situation) -> Tensor:
            seen.append(situation.try_targets(wanted))
            seen.append(situation.candidates)
            return torch.tensor([1, 2, 2])

    make_loop([sface_embedder], targets[:5], Curious(), steps=1).run(people, [0, 1, 2])
    some, every = seen
    torch.testing.assert_close(some.to_targets[wanted], every.to_targets[wanted], rtol=0, atol=2e-3)
    torch.testing.assert_close(some.to_self[wanted], every.to_self[wanted], rtol=0, atol=2e-3)
    assert (gain(some)[~wanted] == 0).all()
    assert (gain(every) > 0).all()


def test_a_selector_may_choose_what_it_has_not_tried(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    class Contrary:
        def __call__(self, situation: Situation) -> Tensor:
            wanted = torch.zeros_like(situation.now.to_targets, dtype=torch.bool)
            wanted[:, 0] = True
            situation.try_targets(wanted)
            return torch.tensor([0, 1, 2])

    masks, _ = make_loop([sface_embedder], targets[:3], Contrary(), steps=1).run(people, [0, 1, 2])
    for number, person in enumerate(people):
        (alone,), _ = make_loop([sface_embedder], targets[:3], Fixed(index=number), steps=1).run([person], [number])
        assert (alone - masks[number]).abs().gt(1e-4).float().mean() < 0.05


def test_masks_stay_in_the_ball_and_in_the_photo(
    photo: Photo, face: Face, sface_embedder: Embedder, targets: list[Target]
) -> None:
    beyond = Face(face.box, face.landmarks, Patch(-20, -10, 300))
    image = cut(photo, beyond)
    (mask,), _ = make_loop([sface_embedder], targets, Nearest(), steps=10).run([image], [0])
    assert mask.abs().max() <= EPSILON + 1e-6
    assert mask.abs().max() > EPSILON * 0.9
    assert (mask * (1 - image.inside)).abs().max() == 0
    assert (image.pixels + mask).min() >= 0
    assert (image.pixels + mask).max() <= 1


def test_l2_ball_is_a_root_mean_square(face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]) -> None:
    epsilon = 3 / 255
    (mask,), _ = make_loop([sface_embedder], targets, Nearest(), norm="l2", epsilon=epsilon, steps=10).run(
        [face_image], [0]
    )
    assert mask.square().mean().sqrt().item() == pytest.approx(epsilon, rel=0.02)


def test_a_ceiling_bounds_single_channels_of_an_l2_ball(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    parts: dict[str, Any] = {"norm": "l2", "epsilon": 6 / 255, "steps": 6}
    (free,), _ = make_loop([sface_embedder], targets, Nearest(), **parts).run([face_image], [0])
    (bounded,), _ = make_loop([sface_embedder], targets, Nearest(), ceiling=16 / 255, **parts).run([face_image], [0])
    assert free.abs().max() > 24 / 255
    assert 15.9 / 255 < bounded.abs().max() <= 16 / 255 + 1e-6
    assert bounded.square().mean().sqrt() <= 6 / 255 * 1.0001


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_colour_is_the_share_of_what_channels_do_beyond_their_mean(
    norm: str, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    def colourfulness(colour: float) -> float:
        loop = make_loop([sface_embedder], targets[:1], Fixed(), norm=norm, colour=colour, steps=1, step_size=1 / 255)
        (mask,), _ = loop.run([face_image], [0])
        # Where neither black nor white is near, or the projection onto valid pixels would colour a grey step.
        inside = ((face_image.pixels > 0.1) & (face_image.pixels < 0.9)).all(dim=0)
        tint = (mask - mask.mean(dim=0))[:, inside].square().sum().sqrt()
        return (tint / mask[:, inside].square().sum().sqrt()).item()

    full, half, none = colourfulness(1), colourfulness(0.5), colourfulness(0)
    assert none < 1e-5
    assert 0.1 < half < 0.75 * full


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_colour_comes_into_a_photo_without_colour(
    norm: str, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    grey = face_image._replace(pixels=face_image.pixels.mean(dim=0, keepdim=True).expand(3, -1, -1).contiguous())
    loop = make_loop([sface_embedder], targets[:1], Fixed(), norm=norm, colour=0.5, steps=2, step_size=1 / 255)
    (mask,), _ = loop.run([grey], [0])
    assert mask.abs().max() > 0.5 / 255
    assert (mask - mask.mean(dim=0)).abs().max() < 1e-6


def test_a_ceiling_holds_where_a_budget_scales_masks(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    loop = make_loop(
        [sface_embedder],
        targets,
        Nearest(),
        norm="l2",
        epsilon=20 / 255,
        ceiling=10 / 255,
        budget=Budget(ssim=0.9),
        steps=6,
    )
    (mask,), _ = loop.run([face_image], [0])
    assert mask.abs().max() <= 10 / 255 + 1e-6


@pytest.mark.slow
def test_a_face_does_not_depend_on_its_batch(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    def make() -> ProtectionLoop:
        return make_loop([sface_embedder], targets, Random(), views=[affine()], views_per_step=2, steps=2)

    together = make().run(people, [5, 6, 7])
    for number in range(3):
        alone = make().run([people[number]], [5 + number])
        assert alone.targets == [together.targets[number]]
        assert (alone.masks[0] - together.masks[number]).abs().gt(1e-4).float().mean() < 0.05


def test_the_same_seed_gives_the_same_mask_and_another_does_not(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    def mask(seed: int) -> Tensor:
        return (
            make_loop([sface_embedder], targets, Nearest(), views=[affine()], steps=2)
            .run([face_image], [seed])
            .masks[0]
        )

    assert torch.equal(mask(1), mask(1))
    assert not torch.equal(mask(1), mask(2))


@pytest.mark.parametrize(
    "selector",
    [Greedy(), pytest.param(Greedy(margin=None), marks=pytest.mark.slow)],
    ids=["greedy", "all targets tried"],
)
def test_under_autocast_only_the_surrogates_compute_in_half_precision(
    selector: TargetSelector, people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    inside: set[torch.dtype] = set()
    convolution = next(module for module in sface_embedder.network.modules() if isinstance(module, nn.Conv2d))
    hook = convolution.register_forward_hook(lambda module, args, output: inside.add(output.dtype))
    looks: list[Situation] = []

    class Watch:
        def __call__(self, situation: Situation) -> Tensor:
            looks.append(situation)
            return selector(situation)

    class Steps(Momentum):
        def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
            smoothed.add(gradients.dtype)
            return super().update(gradients, state, norm)

    smoothed: set[torch.dtype] = set()
    parts: dict[str, Any] = {
        "optimizer": Steps(),
        "low_pass": 1.0,
        "texture": 1.0,
        "norm": "l2",
        "budget": Budget(ssim=0.9, ms_ssim=0.9),
        "mixup": Mixup(0.5, 0.5),
    }
    parts |= {"naturalness": [(SSIM(), 1.0), (MMD(), 1.0)], "views": [affine()]}
    masks = []
    try:
        for precision in (torch.float32, torch.bfloat16):
            inside.clear()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
                made = make_loop([sface_embedder], targets[:3], Watch(), steps=2, **parts).run(people[:2], [3, 4])
                assert torch.is_autocast_enabled("cpu") == (precision is torch.bfloat16)
            # The targets' own embeddings are computed before the loop runs.
            assert precision in inside
            masks.append(made.masks)
    finally:
        hook.remove()
    assert smoothed == {tensor.dtype for look in looks for tensor in look.now} == {torch.float32}
    for full, half in zip(*masks, strict=True):
        assert half.dtype == torch.float32
        assert nn.functional.cosine_similarity(full.flatten(), half.flatten(), dim=0) > 0.8


def test_the_identity_loss_falls(face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]) -> None:
    cosines: list[float] = []
    loop = make_loop([sface_embedder], targets, Nearest(), steps=12)
    made = loop.run([face_image], [0], lambda step, cosine: cosines.append(cosine))
    assert cosines[0] == pytest.approx(1, abs=1e-3)
    assert cosines[-1] < 0.3
    protected = face_image._replace(pixels=face_image.pixels + made.masks[0])
    target = embed(sface_embedder, [targets[made.targets[0]].aim])
    before, after = embed(sface_embedder, [face_image]) @ target.T, embed(sface_embedder, [protected]) @ target.T
    assert after > before + 0.3


@pytest.mark.slow
def test_gamma_keeps_the_face_more_natural(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    def size(gamma: float) -> float:
        loop = make_loop([sface_embedder], targets, Fixed(), optimizer=Plain(), steps=12, naturalness=[(MMD(), gamma)])
        return loop.run([face_image], [0]).masks[0].square().mean().item()

    assert size(10.0) < size(0.0)


@pytest.mark.slow
def test_an_ensemble_gives_every_surrogate_its_say(
    face_image: FaceImage, sface_embedder: Embedder, dlib_embedder: Embedder, targets: list[Target]
) -> None:
    """dlib's gradients are a ninth of SFace's: added as they are, SFace would decide alone."""

    def similarity(embedders: Sequence[Embedder], judge: Embedder) -> float:
        made = make_loop(embedders, targets, Fixed(), steps=10).run([face_image], [0])
        protected = face_image._replace(pixels=face_image.pixels + made.masks[0])
        return (embed(judge, [protected]) @ embed(judge, [face_image]).T).item()

    assert (
        similarity([sface_embedder, dlib_embedder], dlib_embedder) < similarity([sface_embedder], dlib_embedder) - 0.03
    )
    assert similarity([sface_embedder, dlib_embedder], sface_embedder) < 0.307


def test_with_one_surrogate_the_gradient_is_that_of_eq_4(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    """One plain L2 step, in which lengths matter, against autograd on Eq. 4 written out."""
    gamma, target = 2.0, targets[0]
    loop = make_loop(
        [sface_embedder],
        [target],
        Fixed(),
        optimizer=Plain(),
        norm="l2",
        steps=2,
        naturalness=[(MMD(), gamma)],
        epsilon=1.0,
    )
    (mask,), _ = loop.run([face_image], [0])
    literal = Literal(sface_embedder, face_image, [target])
    radius = STEP * math.sqrt(face_image.inside.sum().item() * 3)
    x = literal.original
    for _ in range(2):
        x = x.detach().requires_grad_()
        template = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
        grid = crop_grid(face_image.landmarks[None], template, (112, 112), face_image.pixels.shape[-1])
        natural = MMD()(crop(x, grid)[None], crop(literal.original, grid)[None]).sum()
        (gradient,) = torch.autograd.grad(literal.loss(literal.t[0], x) + gamma * natural, x)
        step = radius * gradient / gradient.norm()
        x = literal.original + project(x.detach() - step - literal.original, literal.original, radius * 1e9, "l2")
    assert torch.allclose(mask, (x - literal.original)[0], atol=1e-5)


class Counting(nn.Module):
    """A network that counts how often it is asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        embeddings: Tensor = self.network(images)
        return embeddings


def small(seed: int) -> Embedder:
    """Return an untrained recogniser, which takes no time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=4), nn.Tanh(), nn.Conv2d(4, 8, 3, stride=2), nn.Flatten(), nn.Linear(8 * 169, 16)
        )
    return Embedder(Counting(network), replace(SFACE, dimension=16))


def ensemble(count: int, targets: Sequence[Target], **changes: Any) -> ProtectionLoop:
    selector = changes.pop("selector", Fixed())
    return make_loop([small(seed) for seed in range(count)], targets, selector, **changes)


def calls(loop: ProtectionLoop) -> list[int]:
    return [embedder.network.calls for embedder in loop.embedders]


def test_surrogates_that_are_not_drawn_do_not_run(people: list[FaceImage], targets: list[Target]) -> None:
    loop = ensemble(4, targets[:3], selector=Greedy(margin=None), surrogates_per_step=2, steps=5)
    before = calls(loop)
    loop.run(people[:2], [0, 1])  # Six candidates: few enough for one pass on a CPU, too.
    drawn = [loop.surrogates_at(step) for step in range(5)]
    assert all(len(set(numbers)) == 2 for numbers in drawn)
    assert len({tuple(numbers) for numbers in drawn}) > 1
    times = [sum(number in numbers for numbers in drawn) for number in range(4)]
    # Once for the originals; at its steps, once for the gradients and once for the candidates of Algorithm 1.
    assert [after - first for after, first in zip(calls(loop), before, strict=True)] == [1 + 2 * each for each in times]


def test_every_surrogate_is_drawn_equally_often(targets: list[Target]) -> None:
    loop = ensemble(3, targets[:1], surrogates_per_step=2)
    drawn = [number for step in range(600) for number in loop.surrogates_at(step)]
    shares = [drawn.count(number) / len(drawn) for number in range(3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)
    other = ensemble(3, targets[:1], surrogates_per_step=2, seed=1)
    numbers = [other.surrogates_at(step) for step in range(20)]
    assert numbers != [loop.surrogates_at(step) for step in range(20)]
    assert numbers[:19] != [loop.surrogates_at(step) for step in range(1, 20)]


def test_steps_follow_the_drawn_surrogates_by_weight(
    face_image: FaceImage, sface_embedder: Embedder, dlib_embedder: Embedder, targets: list[Target]
) -> None:
    """Plain L2 steps against autograd, with each surrogate's gradient of Eq. 2 written out and scaled by hand."""
    other = Embedder(sface_embedder.network, replace(SFACE, mean=(30.0, 0.0, 0.0)))  # Sees other colours.
    embedders, weights, target = [sface_embedder, dlib_embedder, other], [1.0, 3.0, 2.0], targets[0]
    settings = Settings(epsilon=1.0, step_size=STEP, norm="l2", steps=3, surrogates_per_step=2, seed=8)
    loop = ProtectionLoop(
        surrogates=[Surrogate(str(n), e, w) for n, (e, w) in enumerate(zip(embedders, weights, strict=True))],
        targets=[target], target_selector=Fixed(), naturalness=[], optimizer=Plain(), views=[], settings=settings,
    )  # fmt: skip
    (mask,), _ = loop.run([face_image], [0])
    literals = [Literal(embedder, face_image, [target]) for embedder in embedders]
    radius = STEP * math.sqrt(face_image.inside.sum().item() * 3)
    x = literals[0].original
    drawn = [loop.surrogates_at(step) for step in range(3)]
    assert len({tuple(numbers) for numbers in drawn}) > 1
    for numbers in drawn:
        direction = torch.zeros_like(x)
        for number in numbers:
            gradient = literals[number].gradient(literals[number].t[0], x)
            direction += weights[number] * gradient / gradient.norm()
        x = (x - radius * direction / direction.norm()).clamp(0, 1)
    # Over three steps, rounding that closes a ReLU of dlib moves single pixels; wrong weights would move all of them.
    expected = (x - literals[0].original)[0]
    assert (mask - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("changes", [{"surrogates_per_step": 1}, {"dropout": 0.2}], ids=["subset", "dropout"])
def test_neighbours_change_neither_the_drawn_surrogates_nor_the_dropped_features(
    changes: dict[str, Any], people: list[FaceImage], targets: list[Target]
) -> None:
    def make() -> ProtectionLoop:
        return ensemble(
            2, targets[:2], optimizer=Plain(), norm="l2", views=[affine()], views_per_step=2, steps=3, **changes
        )

    together = make().run(people, [5, 6, 7])
    assert all(torch.equal(*pair) for pair in zip(together.masks, make().run(people, [5, 6, 7]).masks, strict=True))
    for number in range(3):
        alone = make().run([people[number]], [5 + number])
        # Not a sign in sight: rounding may change a value a little, but not turn it over.
        assert torch.allclose(alone.masks[0], together.masks[number], atol=1e-4)
        assert not torch.allclose(make().run([people[number]], [9]).masks[0], together.masks[number], atol=1e-4)


class Dropping(nn.Module):
    """SFace in which every convolution is followed by a layer that drops what it was told."""

    def __init__(self, network: nn.Module, generator: torch.Generator, share: float) -> None:
        super().__init__()
        assert isinstance(network, nn.Sequential)
        self.layers, self.generator, self.share = list(network), generator, share

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers:
            images = layer(images)
            if isinstance(layer, nn.Conv2d):
                kept = torch.rand(images.shape[1:], generator=self.generator) >= self.share
                images = images * kept / (1 - self.share)
        return images


def test_dropout_is_only_where_the_gradients_come_from(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    """A plain L2 step on SFace, against SFace with dropout layers put in, after distances that know of no dropout."""
    share, target, seed = 0.1, targets[0], 3
    loop = make_loop([sface_embedder], [target], Fixed(), optimizer=Plain(), norm="l2", steps=1, dropout=share)
    (mask,), _ = loop.run([face_image], [seed])
    literal = Literal(sface_embedder, face_image, [target])
    named = repr((seed, 0, "dropout", 0, 0, 0))  # Step, sample, surrogate and view 0.
    generator = torch.Generator().manual_seed(zlib.crc32(named.encode()))
    literal.embedder = Embedder(Dropping(sface_embedder.network, generator, share), SFACE)
    gradient = literal.gradient(literal.t[0], literal.original)
    radius = STEP * math.sqrt(face_image.inside.sum().item() * 3)
    x = (literal.original - radius * gradient / gradient.norm()).clamp(0, 1)
    assert torch.allclose(mask, (x - literal.original)[0], atol=1e-5)
    # Judges see the network as it is.
    assert torch.equal(embed(sface_embedder, [target.aim]), embed(sface.build(), [target.aim]))


def test_no_dropout_is_the_plain_loop(people: list[FaceImage], targets: list[Target]) -> None:
    none, plain, some = (
        ensemble(1, targets[:3], selector=Greedy(), **changes).run(people, [1, 2, 3]).masks
        for changes in ({"dropout": 0.0}, {}, {"dropout": 0.3})
    )
    assert all(torch.equal(*pair) for pair in zip(none, plain, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(some, plain, strict=True))


def test_a_surrogate_without_features_cannot_drop_any(targets: list[Target]) -> None:
    flat = Embedder(nn.Flatten(), replace(SFACE, dimension=3 * 112 * 112))
    with pytest.raises(FacecryptError, match="surrogate s0: dropout 0.1 needs a network of"):
        make_loop([flat], targets[:1], Fixed(), dropout=0.1)


class Record:
    """Follows the gradient, at the masks or at random ones, and keeps both."""

    def __init__(self, radius: float = 0.0) -> None:
        self.radius = radius
        self.kept: list[tuple[Tensor, Tensor]] = []

    def init(self, masks: Tensor) -> State:
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        masks, gradient = landscape.masks, landscape.here
        if self.radius:
            masks = masks + self.radius * landscape.noise(1)
            gradient = landscape.elsewhere(masks, 0)
        self.kept.append((masks, gradient))
        return gradient, state


@pytest.mark.parametrize("hinge", [-1.0, 0.9], ids=["above the hinge", "soon below it"])
def test_the_own_identity_term_is_its_formula(
    hinge: float, face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    """Against autograd on D(p, t) - self_weight * D(p, r) + weight * max(0, cos(p, r) - hinge)."""
    record = Record()
    own: dict[str, Any] = {"own_weight": 3.0, "own_hinge": hinge, "self_weight": 0.5}
    make_loop([sface_embedder], targets[:1], Fixed(), gradient=record, steps=3, **own).run([face_image], [0])
    literal = Literal(sface_embedder, face_image, targets[:1])
    t, r = literal.t[0][0], literal.r[0]
    below = []
    for mask, gradient in record.kept:
        x = (literal.original + mask).requires_grad_()
        p = literal.f(x)[0]
        term = max(torch.zeros(()), (p / p.norm()).dot(r / r.norm()) - hinge)
        loss = (p - t).square().sum() - 0.5 * (p - r).square().sum() + 3 * term
        (expected,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
        below.append(term.item() == 0)
    assert set(below) == ({False} if hinge == -1 else {False, True})


def test_the_own_identity_term_counts_in_every_view_and_surrogate(
    face_image: FaceImage, sface_embedder: Embedder, dlib_embedder: Embedder, targets: list[Target]
) -> None:
    """Against the gradients of single surrogates, scaled to one length; and the hinge against that of each view."""
    distances = torch.tensor([[0.2, 1.9, 3.0]])
    assert own_identity(distances, 0.3).tolist()[0] == pytest.approx([0.6, 0.0, 0.0])  # Cosines 0.9, 0.05 and -0.5.

    def gradient(embedders: Sequence[Embedder], weight: float = 3.0) -> Tensor:
        record = Record(radius=EPSILON)  # At the original face itself, the term has no gradient.
        make_loop(embedders, targets[:1], Fixed(), gradient=record, own_weight=weight, steps=1).run([face_image], [0])
        return record.kept[0][1]

    both = gradient([sface_embedder, dlib_embedder])
    first, second = gradient([sface_embedder]), gradient([dlib_embedder])
    expected = (first / first.norm() + second / second.norm()) / 2 * (first.norm() + second.norm()) / 2
    torch.testing.assert_close(both, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    assert functional.cosine_similarity(first.flatten(), gradient([sface_embedder], 0.0).flatten(), dim=0) < 0.99


class Ask:
    """Follows the gradient at the masks, and notes what the landscape answers on the way."""

    def __init__(self) -> None:
        self.landscapes: list[Landscape] = []

    def init(self, masks: Tensor) -> State:
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        here = landscape.here
        same = landscape.elsewhere(landscape.masks, 0)
        torch.testing.assert_close(same, here, rtol=1e-3, atol=1e-3 * here.abs().max().item())
        other = landscape.elsewhere(landscape.masks, 1)
        assert torch.equal(other, landscape.elsewhere(landscape.masks, 1))
        assert not torch.allclose(other, same, rtol=1e-3, atol=1e-3 * here.abs().max().item()), "the views are the same"
        self.landscapes.append(landscape)
        return here, state


@pytest.mark.parametrize(
    "selector", [pytest.param(Nearest(), id="nearest", marks=pytest.mark.slow), pytest.param(Greedy(), id="greedy")]
)
def test_a_gradient_component_sees_the_loss_around_the_masks(
    selector: TargetSelector, photo: Photo, face: Face, sface_embedder: Embedder, targets: list[Target]
) -> None:
    beyond = cut(photo, Face(face.box, face.landmarks, Patch(-20, -10, 300)))
    small = targets[3].checks[0]
    ask = Ask()
    parts: dict[str, Any] = {"views": [affine()], "gradient": ask, "naturalness": [(MMD(), 1.0)]}
    mixup = Mixup(0.5, 0.5)
    make_loop([sface_embedder], targets[:2], selector, steps=2, mixup=mixup, **parts).run([beyond, small], [3, 4])
    first, second = ask.landscapes
    assert (first.masks == 0).all()
    assert (second.masks != 0).any()
    assert (first.epsilon, first.step_size) == (EPSILON, STEP)
    noise = first.noise(1)
    assert torch.equal(noise, first.noise(1))
    assert not torch.equal(noise, first.noise(2))
    assert not torch.equal(noise, second.noise(1))
    assert noise.abs().max() <= 1
    assert noise[0][:, beyond.inside[0] == 1].std().item() == pytest.approx(1 / math.sqrt(3), rel=0.02)
    assert (noise[0][:, beyond.inside[0] == 0] == 0).all()
    side = small.pixels.shape[-1]
    assert (noise[1, :, side:] == 0).all()
    assert (noise[1, :, :, side:] == 0).all()


def test_no_part_makes_a_face_depend_on_its_batch(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    def run(faces: Sequence[FaceImage], seeds: Sequence[int]) -> list[Tensor]:
        parts: dict[str, Any] = {"gradient": VarianceTuning(samples=1), "mixup": Mixup(0.3, 0.75), "views": [affine()]}
        loop = make_loop([sface_embedder], targets[:3], Nearest(), steps=2, views_per_step=2, own_weight=1.0, **parts)
        return loop.run(faces, seeds).masks

    together = run(people[:2], [5, 6])
    for number in range(2):
        (alone,) = run([people[number]], [5 + number])
        assert (alone - together[number]).abs().gt(1e-4).float().mean() < 0.05


def rounded(mask: Tensor) -> Tensor:
    """Return a mask as a file holds it, in whole grey levels."""
    return (mask * 255).round()


def test_region_and_feather_bound_every_pixel(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    """Faces of different sizes in one batch: each has its own map."""
    region = FaceRegion(face=0.8, outside=0.25, features=1.0)
    made = make_loop([sface_embedder], targets, Nearest(), region=region, feather=10, steps=10).run(people, [0, 1, 2])
    for person, mask in zip(people, made.masks, strict=True):
        side = person.pixels.shape[-1]
        strength = region.map(person.pixels, person.landmarks) * feather_map(side, 10)
        bound = EPSILON * strength
        assert (mask.abs() <= bound + 1e-6).all()
        assert (mask.abs() > 0.8 * bound)[:, strength[0] > 0.1].float().mean() > 0.3
        seam = torch.cat([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], dim=1)
        assert rounded(seam).abs().max() == 0


def test_region_shapes_an_l2_mask(face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]) -> None:
    epsilon = 3 / 255
    loop = make_loop([sface_embedder], targets, Nearest(), norm="l2", epsilon=epsilon, feather=20, steps=6)
    (mask,), _ = loop.run([face_image], [0])
    assert mask.square().mean().sqrt() <= epsilon * 1.001
    assert mask[:, 0].abs().max() == 0


@pytest.mark.slow
def test_the_low_pass_smooths_the_mask_within_its_bound(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    cosines: list[float] = []

    def mask(low_pass: float) -> Tensor:
        loop = make_loop([sface_embedder], targets, Nearest(), low_pass=low_pass, steps=10)
        return loop.run([face_image], [0], lambda step, cosine: cosines.append(cosine)).masks[0]

    def roughness(mask: Tensor) -> float:
        """Share of the mask that a 3x3 mean takes away."""
        return ((mask - avg_pool2d(mask, 3, 1, 1)).square().mean() / mask.square().mean()).item()

    smooth, plain = mask(2.0), mask(0.0)
    assert roughness(smooth) < 0.1 < 0.3 < roughness(plain)
    assert smooth.abs().max() <= EPSILON + 1e-6
    assert smooth.abs().max() > 0.5 * EPSILON
    assert cosines[9] < 0.6  # It still protects.


@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])
def test_a_budget_of_ssim_is_kept_and_spent_face_by_face(
    norm: str, people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    budget = 0.96
    made = make_loop([sface_embedder], targets, Nearest(), budget=Budget(ssim=budget), steps=8, norm=norm).run(
        people, [0, 1, 2]
    )
    largest = []
    for person, mask in zip(people, made.masks, strict=True):
        grid = face_grid(person.landmarks[None], person.pixels.shape[-1])
        before = crop(person.pixels[None], grid)
        after = crop((person.pixels + rounded(mask) / 255).clamp(0, 1)[None], grid)
        similarity = face_ssim(after.clamp(0, 1), before.clamp(0, 1)).item()
        assert budget - 1e-5 <= similarity < budget + 0.02
        largest.append(mask.abs().max().item())
    if norm == "linf":
        assert max(largest) <= EPSILON + 1e-6
        assert max(largest) > 1.1 * min(largest)  # Faces differ in what they can hide.


def test_a_budget_of_jod_is_kept_and_spent_face_by_face(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    parts: dict[str, Any] = {"norm": "l2", "epsilon": 16 / 255, "step_size": 1 / 255, "steps": 12}
    loop = make_loop([sface_embedder], targets, Farthest(), budget=Budget(jod=9.4), **parts)
    for person, mask in zip(people, loop.run(people, [0, 1, 2]).masks, strict=True):
        changed = (person.pixels + (mask * 255).round() / 255).clamp(0, 1)
        # The patch alone: with the photo around it, which a face of this report has, a little more is left.
        display = replace(FULL_HD, pixels_per_degree=FULL_HD.pixels_per_degree / person.scale)
        assert 9.25 < Eye(person.pixels[None], display).jod(changed[None]).item() < 9.45


@pytest.mark.parametrize("budget", [Budget(delta_e=1.0), Budget(creases=0.25)])
def test_a_budget_of_colour_or_creases_is_kept_and_spent_face_by_face(
    budget: Budget, people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    parts: dict[str, Any] = {"norm": "l2", "epsilon": 16 / 255, "step_size": 1 / 255, "steps": 8}
    loop = make_loop([sface_embedder], targets, Farthest(), budget=budget, **parts)
    for person, mask in zip(people, loop.run(people, [0, 1, 2]).masks, strict=True):
        grid = face_grid(person.landmarks[None], person.pixels.shape[-1])
        changed = (person.pixels + rounded(mask) / 255).clamp(0, 1)
        used = spent(budget, crop(changed[None], grid), crop(person.pixels[None], grid)).item()
        assert 0.9 < used < 1.02


def test_epsilon_stays_the_bound_where_the_budget_allows_more(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    (mask,), _ = make_loop([sface_embedder], targets, Nearest(), budget=Budget(ssim=0.2), steps=10).run(
        [face_image], [0]
    )
    assert 0.98 * EPSILON < mask.abs().max() <= EPSILON + 1e-6


@pytest.mark.slow
@pytest.mark.weights
def test_literal_choices_on_faces_of_lfw(
    lfw: Any, detector: FaceDetector, sface_embedder: Embedder, targets: list[Target]
) -> None:
    from facecrypt.photos.files import read_photo

    paths = sorted(lfw.glob("images/*/*.jpg"))[::500][:4]
    photos = [read_photo(path) for path in paths]
    people = [cut(photo, detector.find(photo, "largest")[0]) for photo in photos]
    spy = Spy(Greedy())
    make_loop([sface_embedder], targets, spy, steps=3).run(people, range(len(people)))
    for number, person in enumerate(people):
        assert [step[number] for step in spy.choices] == Literal(sface_embedder, person, targets).run(3)[0]


def test_the_face_area_stays_in_range(photo: Photo, face: Face) -> None:
    white = replace(photo, pixels=np.full_like(photo.pixels, 255))
    for shift in np.linspace(0, 1, 7, dtype=np.float32):
        moved = replace(face, landmarks=face.landmarks + shift)
        area = face_area(white, moved)
        assert area.shape == (1, 3, 112, 112)
        assert area.max() == 1


def test_patches_hold_every_crop(face: Face, sface_embedder: Embedder, dlib_embedder: Embedder, photo: Photo) -> None:
    image = cut(photo, face)
    for embedder in (sface_embedder, dlib_embedder):
        spec = embedder.spec
        grid = crop_grid(image.landmarks[None], spec.template, (spec.height, spec.width), image.pixels.shape[-1])
        assert grid.abs().max() <= 1
    assert patch_around(face.landmarks) == face.patch


def test_without_a_target_masks_lead_away_from_the_own_identity_alone(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    """From the first step on, where the distance from the own identity has no gradient; nobody chooses a target."""

    def choose(situation: Situation) -> Tensor:
        raise AssertionError("a target was chosen, which costs a look at each of them")

    loops = [make_loop([sface_embedder], given, choose, target_weight=0.0) for given in (targets, targets[5:])]
    first, second = (loop.run(people[:1], [3]).masks[0] for loop in loops)
    assert torch.equal(first, second)
    assert first.abs().max() <= EPSILON + 1e-6
    face = people[0]
    changed = FaceImage((face.pixels + first).clamp(0, 1), face.inside, face.landmarks)
    before, after = embed(sface_embedder, [face, changed])
    assert before @ after < 0.7
    (other,) = loops[0].run(people[:1], [4]).masks
    assert not torch.equal(first, other)
