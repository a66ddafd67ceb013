from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facecrypt.faces import (
    Face,
    FaceDetector,
    FaceImage,
    Patch,
    crop,
    crop_grid,
    cut,
    face_area,
    face_grid,
    patch_around,
)
from facecrypt.metrics import face_ssim
from facecrypt.naturalness import MMD
from facecrypt.optimizers import Momentum, Plain, project
from facecrypt.photos import Photo
from facecrypt.protection import ProtectionLoop, Settings, Surrogate, embed
from facecrypt.recipe import Region
from facecrypt.regions import strength_map
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets import Center, Fixed, Greedy, Nearest, Random, Situation, Target, TargetSelector
from facecrypt.views import affine

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
    settings: dict[str, Any] = {"epsilon": EPSILON, "step_size": STEP, "norm": "linf", "steps": 4}
    settings |= {key: changes.pop(key) for key in list(changes) if key in Settings.__dataclass_fields__}
    parts: dict[str, Any] = {"naturalness": [], "optimizer": Momentum(), "views": []} | changes
    surrogates = [Surrogate(f"s{number}", embedder, 1.0) for number, embedder in enumerate(embedders)]
    return ProtectionLoop(
        surrogates=surrogates, targets=targets, target_selector=selector, settings=Settings(**settings), **parts
    )


class Literal:
    """TIP-IM for one face and one surrogate, transcribed from the paper line by line and sparing no computation."""

    def __init__(self, embedder: Embedder, face: FaceImage, targets: Sequence[Target], center: bool = False) -> None:
        self.embedder, self.original, self.inside, self.center = embedder, face.pixels[None], face.inside[None], center
        spec = embedder.spec
        self.grid = crop_grid(face.landmarks[None], spec.template, (spec.height, spec.width), face.pixels.shape[-1])
        self.r = self.f(self.original)
        self.t = [embed(embedder, [target.aim]) for target in targets]

    def f(self, x: Tensor) -> Tensor:
        return self.embedder(crop(x, self.grid))

    def loss(self, target: Tensor, x: Tensor) -> Tensor:
        """Eq. 2: D(x, t) - D(x, r)."""
        p = self.f(x)
        return (p - target).square().sum() - (p - self.r).square().sum()

    def gradient(self, target: Tensor, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(self.loss(target, x), x)[0]

    def gain(self, x: Tensor) -> float:
        """Eq. 7, or G1 of section 5.1."""
        with torch.no_grad():
            p = self.f(x)
            terms = [math.exp((p - self.r).square().sum().item() - (p - t).square().sum().item()) for t in self.t]
        return math.log(1 + (sum(terms) if self.center else max(terms)))

    def ball(self, x: Tensor) -> Tensor:
        """The projection of Eq. 5; what lies beyond the photo's border cannot change."""
        return (self.original + self.inside * (x - self.original).clamp(-EPSILON, EPSILON)).clamp(0, 1)

    def algorithm_1(self, x: Tensor) -> int:
        g_best, best = 0.0, -1
        for index, target in enumerate(self.t):
            candidate = self.ball(x - STEP * self.gradient(target, x).sign())
            g = self.gain(candidate)
            if g > g_best:
                g_best, best = g, index
        return best

    def run(self, steps: int) -> tuple[list[int], Tensor]:
        """Eq. 5 with momentum (Dong et al., 2018)."""
        x, momentum, choices = self.original, torch.zeros_like(self.original), []
        for _ in range(steps):
            choices.append(self.algorithm_1(x))
            gradient = self.gradient(self.t[choices[-1]], x)
            momentum = momentum + gradient / gradient.abs().sum()
            x = self.ball(x - STEP * momentum.sign())
        return choices, x - self.original


@pytest.fixture(scope="session")
def people(face_image: FaceImage, targets: list[Target]) -> list[FaceImage]:
    """Faces to protect: the sample photo, and check images of two target identities, which differ in size."""
    return [face_image, targets[3].checks[0], targets[7].checks[1]]


@pytest.mark.parametrize("center", [False, True], ids=["greedy", "center"])
@pytest.mark.parametrize("recogniser", ["sface_embedder", "dlib_embedder"])
def test_selectors_choose_as_algorithm_1_transcribed(
    center: bool, recogniser: str, people: list[FaceImage], targets: list[Target], request: pytest.FixtureRequest
) -> None:
    embedder = request.getfixturevalue(recogniser)
    some = targets[:5]
    spy = Spy(Center() if center else Greedy())
    loop = make_loop([embedder], some, spy, steps=3)
    loop.run(people, [0, 1, 2])
    together = [list(step) for step in spy.choices]
    for number, person in enumerate(people):
        choices, mask = Literal(embedder, person, some, center).run(3)
        assert [step[number] for step in together] == choices
        # Alone, since batching rounds differently, and the sign of a gradient near 0 hangs on rounding.
        (alone,), _ = loop.run([person], [number])
        assert (alone - mask[0]).abs().gt(1e-4).float().mean() < 0.05
    assert len({choice for step in spy.choices for choice in step}) > 1  # Else any constant would pass.


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


def test_a_face_does_not_depend_on_its_batch(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    def make() -> ProtectionLoop:
        return make_loop([sface_embedder], targets, Random(), views=[affine()], views_per_step=2, steps=3)

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


def test_gamma_keeps_the_face_more_natural(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    def size(gamma: float) -> float:
        loop = make_loop([sface_embedder], targets, Fixed(), optimizer=Plain(), steps=12, naturalness=[(MMD(), gamma)])
        return loop.run([face_image], [0]).masks[0].square().mean().item()

    assert size(10.0) < size(0.0)


def test_an_ensemble_gives_every_surrogate_its_say(
    face_image: FaceImage, sface_embedder: Embedder, dlib_embedder: Embedder, targets: list[Target]
) -> None:
    """dlib's gradients are a ninth of SFace's: added as they are, SFace would decide alone."""

    def similarity(embedders: Sequence[Embedder], judge: Embedder) -> float:
        made = make_loop(embedders, targets, Fixed(), steps=15).run([face_image], [0])
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


def rounded(mask: Tensor) -> Tensor:
    """Return a mask as a file holds it, in whole grey levels."""
    return (mask * 255).round()


def test_region_and_feather_bound_every_pixel(
    people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    """Faces of different sizes in one batch: each has its own map."""
    region = Region(face=0.8, outside=0.25, features=1.0)
    made = make_loop([sface_embedder], targets, Nearest(), region=region, feather=10, steps=10).run(people, [0, 1, 2])
    for person, mask in zip(people, made.masks, strict=True):
        side = person.pixels.shape[-1]
        strength = strength_map(person.landmarks, side, region, 10)
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


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_budget_of_ssim_is_kept_and_spent_face_by_face(
    norm: str, people: list[FaceImage], sface_embedder: Embedder, targets: list[Target]
) -> None:
    budget = 0.96
    made = make_loop([sface_embedder], targets, Nearest(), ssim_budget=budget, steps=8, norm=norm).run(
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


def test_epsilon_stays_the_bound_where_the_budget_allows_more(
    face_image: FaceImage, sface_embedder: Embedder, targets: list[Target]
) -> None:
    (mask,), _ = make_loop([sface_embedder], targets, Nearest(), ssim_budget=0.2, steps=10).run([face_image], [0])
    assert 0.98 * EPSILON < mask.abs().max() <= EPSILON + 1e-6


@pytest.mark.weights
def test_literal_choices_on_faces_of_lfw(
    lfw: Any, detector: FaceDetector, sface_embedder: Embedder, targets: list[Target]
) -> None:
    from facecrypt.photos import read_photo

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
