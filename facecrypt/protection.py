"""The protection loop: TIP-IM's iterations over a batch of faces, in plain torch.

For every face on its own, `ProtectionLoop.run` repeats: look at the face in random views through every surrogate,
choose a target, follow the gradient of the identity loss (Eq. 2) and of the naturalness terms (Eq. 4) at the mask or
around it, take a step, and project it back onto the ball (Eq. 5).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.budget import largest_fit, next_share
from facecrypt.faces import FaceImage, crop, crop_grid, face_grid
from facecrypt.gradients import Gradient, Landscape, Plain
from facecrypt.naturalness import Naturalness, ssim
from facecrypt.optimizers import Optimizer, euclidean_norm, normalize, project
from facecrypt.recipe import Region
from facecrypt.regions import strength_map
from facecrypt.settings import Norm
from facecrypt.surrogates.dropout import FeatureDropout
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.mixup import Features, Mixup, mixing, record
from facecrypt.targets import Distances, Situation, Target, TargetSelector
from facecrypt.views import Params, View, draw

OnStep = Callable[[int, float], None]
"""Called after each iteration with its number, from 1, and the mean cosine between the faces and their originals."""


class Surrogate(NamedTuple):
    """A recogniser that gives gradients.

    Attributes:
        name: What the report calls it.
        embedder: The recogniser.
        weight: Weight of its voice among the surrogates of a step.
        dropout: Share of its features that is dropped where it gives gradients.
        mixup: How its features are mixed with clean ones where it gives gradients; None is not at all.
    """

    name: str
    embedder: Embedder
    weight: float
    dropout: float = 0.0
    mixup: Mixup | None = None


@dataclass(frozen=True)
class Settings:
    """The numbers of the loop, in the [0, 1] scale of pixels.

    Attributes:
        epsilon: Radius of the ball: of every channel (``linf``), or the root mean square over a face's patch (``l2``).
        step_size: Length of a step, measured like epsilon.
        norm: Which ball.
        steps: Number of iterations.
        self_weight: Weight of the distance from the own identity in Eq. 2.
        own_weight: Weight of the cosine with the own identity above `own_hinge`, a term of its own.
        own_hinge: Cosine with the own identity below which that term is 0.
        views_per_step: Views of each face at each iteration.
        surrogates_per_step: How many surrogates give gradients at an iteration, drawn anew each time; None is all.
        seed: Seed of that draw.
        region: Where in a patch the mask may be how strong; None: everywhere the same.
        feather: Width of the fade to 0 at a patch's border, in pixels.
        low_pass: Standard deviation of the Gaussian that smooths gradients and steps, in pixels; 0: none.
        ssim_budget: Lowest SSIM of the face area, which may lower a face's epsilon; None: no such bound.
    """

    epsilon: float
    step_size: float
    norm: Norm
    steps: int
    self_weight: float = 1.0
    own_weight: float = 0.0
    own_hinge: float = 0.0
    views_per_step: int = 1
    surrogates_per_step: int | None = None
    seed: int = 0
    region: Region | None = None
    feather: int = 0
    low_pass: float = 0.0
    ssim_budget: float | None = None


class Masks(NamedTuple):
    """What the loop made.

    Attributes:
        masks: One per face, ``(3, S, S)``, on the CPU, at the resolution of the face's `FaceImage`.
        targets: Index of the target that each face approached in the last iteration.
    """

    masks: list[Tensor]
    targets: list[int]


class ProtectionLoop(nn.Module):
    """Makes masks for batches of faces.

    Args:
        surrogates: Recognisers whose gradients are followed.
        targets: The target identities.
        target_selector: Chooses a target per face and iteration.
        naturalness: Terms of the loss with their weights (gamma).
        optimizer: Turns gradients into steps.
        views: Random views, applied one after the other.
        settings: The numbers.
        gradient: Chooses the gradient that is followed; that at the masks by default.

    Raises:
        FacecryptError: If a surrogate has no features to drop and is asked to.
    """

    def __init__(
        self,
        *,
        surrogates: Sequence[Surrogate],
        targets: Sequence[Target],
        target_selector: TargetSelector,
        naturalness: Sequence[tuple[Naturalness, float]],
        optimizer: Optimizer,
        views: Sequence[View],
        settings: Settings,
        gradient: Gradient | None = None,
    ) -> None:
        super().__init__()
        self.embedders = [surrogate.embedder for surrogate in surrogates]
        self.mixups = [surrogate.mixup for surrogate in surrogates]
        self._moved = nn.ModuleList(self.embedders)  # A plain list would stay behind when the loop goes to a device.
        self.target_selector = target_selector
        self.naturalness = [(term, weight) for term, weight in naturalness if weight > 0]
        self.gradient = gradient or Plain()
        self.optimizer = optimizer
        self.views = list(views)
        self.settings = settings
        self.weights = [surrogate.weight for surrogate in surrogates]
        self.dropouts = [
            FeatureDropout(surrogate.embedder.network, surrogate.dropout, surrogate.name) if surrogate.dropout else None
            for surrogate in surrogates
        ]
        aims = [target.aim for target in targets]
        for number, surrogate in enumerate(surrogates):
            self.register_buffer(f"targets_{number}", embed(surrogate.embedder, aims), persistent=False)
            if surrogate.mixup:
                self.register_buffer(f"aims_{number}", _crops(surrogate.embedder, aims), persistent=False)

    def surrogates_at(self, step: int) -> list[int]:
        """Return the numbers of the surrogates that give gradients at an iteration, in ascending order.

        One draw serves all faces, from the seed of the settings and the number of the iteration alone: a face's mask
        then depends on no other face, and the other networks need not run, as they would if each face of a batch had
        surrogates of its own.

        Args:
            step: Number of the iteration, from 0.
        """
        every, count = len(self.embedders), self.settings.surrogates_per_step
        if count is None:
            return list(range(every))
        generator = torch.Generator().manual_seed(_seeds([self.settings.seed], step, "surrogates")[0])
        return sorted(torch.randperm(every, generator=generator)[:count].tolist())

    def run(self, faces: Sequence[FaceImage], seeds: Sequence[int], on_step: OnStep | None = None) -> Masks:
        """Return a mask for each face. A face's mask does not depend on the other faces, unless a term couples them.

        Args:
            faces: The faces, any number and sizes.
            seeds: One per face, for everything random about it.
            on_step: Told of the progress.
        """
        settings = self.settings
        batch = _Batch(self, faces, seeds)
        masks = torch.zeros_like(batch.pixels)
        state, memory = self.optimizer.init(masks), self.gradient.init(masks)
        chosen: Tensor | None = None
        for step in range(settings.steps):
            look = _Look(batch, masks, step)
            chosen = self.target_selector(look.situation(chosen))
            gradient, memory = self.gradient.update(look.landscape(chosen), memory)
            gradient = batch.smooth(gradient)
            direction, state = self.optimizer.update(gradient, state, settings.norm)
            masks = batch.move(masks, direction)
            batch.adapt_epsilon(masks)
            if on_step:
                on_step(step + 1, 1 - look.now.to_self.mean().item() / 2)
        masks = batch.spend_budget(masks)
        assert chosen is not None  # There is at least one iteration.
        sides = [face.pixels.shape[-1] for face in faces]
        return Masks([mask[:, :side, :side].cpu() for mask, side in zip(masks, sides, strict=True)], chosen.tolist())


class _Batch:
    """Faces of one run of the loop, padded to a common size, with all that stays the same over the iterations."""

    def __init__(self, loop: ProtectionLoop, faces: Sequence[FaceImage], seeds: Sequence[int]) -> None:
        settings = loop.settings
        device = next(loop.buffers()).device
        self.loop = loop
        self.seeds = seeds
        self.sides = [face.pixels.shape[-1] for face in faces]
        self.side = max(self.sides)
        self.pixels = torch.stack([_pad(face.pixels, self.side) for face in faces]).to(device)
        landmarks = torch.stack([face.landmarks for face in faces])
        self.grids = [_embedder_grid(embedder, landmarks, self.side).to(device) for embedder in loop.embedders]
        self.face_grid = face_grid(landmarks, self.side).to(device)
        self.targets: list[Tensor] = [getattr(loop, f"targets_{number}") for number in range(len(loop.embedders))]
        with torch.no_grad():
            self.originals = self.embed(self.pixels, range(len(loop.embedders)))
        self.clean: list[Features] = [
            record(embedder, torch.cat([getattr(loop, f"aims_{number}"), crop(self.pixels, grid)])) if mixup else []
            for number, (embedder, mixup, grid) in enumerate(zip(loop.embedders, loop.mixups, self.grids, strict=True))
        ]
        # A ball of root mean square e over n values is the Euclidean ball of radius e * sqrt(n).
        inside = torch.stack([_pad(face.inside, self.side) for face in faces]).to(device)
        values = inside.sum(dim=(1, 2, 3), keepdim=True) * 3
        unit = values.sqrt() if settings.norm == "l2" else torch.ones_like(values)
        maps = [
            strength_map(*each, settings.region, settings.feather) for each in zip(landmarks, self.sides, strict=True)
        ]
        self.strength = inside * torch.stack([_pad(each, self.side) for each in maps]).to(device)
        self.epsilon = settings.epsilon * unit
        self.step_size = settings.step_size * unit
        # The share of epsilon that each face may use; below 1 only where there is a budget.
        self.share = torch.ones_like(unit)
        self.area = crop(self.pixels, self.face_grid)

    def embed(self, images: Tensor, numbers: Sequence[int], at: tuple[int, int] | None = None) -> list[Tensor]:
        """Return the unit embeddings ``(N, D)`` of pictures in some surrogates.

        Args:
            images: ``(N, 3, S, S)``, face by face, N a multiple of the faces.
            numbers: Which surrogates.
            at: Step and sample of a look that follows gradients, in which features are dropped and mixed where that is
                asked for; None is the networks as they are.
        """
        copies = images.shape[0] // len(self.seeds)
        embeddings = []
        for number in numbers:
            crops = crop(images, self.grids[number].repeat_interleave(copies, dim=0))
            with self._disturbed(number, copies, at):
                embeddings.append(self.loop.embedders[number](crops))
        return embeddings

    @contextmanager
    def _disturbed(self, number: int, copies: int, at: tuple[int, int] | None) -> Iterator[None]:
        """Drop and mix the features of a surrogate inside the block, in every view of every face on its own."""
        dropout, mixup = self.loop.dropouts[number], self.loop.mixups[number]
        with ExitStack() as disturbances:
            if dropout is not None and at is not None:
                views = [_seeds(self.seeds, at[0], "dropout", at[1], number, view) for view in range(copies)]
                disturbances.enter_context(dropout.active([seed for face in zip(*views, strict=True) for seed in face]))
            if mixup is not None and at is not None:
                seeds = _seeds(self.seeds, at[0], "mixup", at[1], number)
                clean, count = self.clean[number], len(self.targets[number])
                disturbances.enter_context(mixing(self.loop.embedders[number], mixup, clean, count, seeds))
            yield

    def noise(self, step: int, sample: int) -> Tensor:
        """Return numbers uniform in [-1, 1], ``(B, 3, S, S)``, times the share of epsilon that each pixel may use."""
        drawn = []
        for seed, side in zip(_seeds(self.seeds, step, "noise", sample), self.sides, strict=True):
            uniform = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
            drawn.append(_pad(2 * uniform - 1, self.side))
        return torch.stack(drawn).to(self.pixels.device) * self.strength

    def distances(self, embeddings: Sequence[Tensor], numbers: Sequence[int]) -> list[Distances]:
        """Return the distances in some surrogates, ``(B, V)`` and ``(B, V, K)``, of embeddings ``(B * V, D)``."""
        result = []
        for number, protected in zip(numbers, embeddings, strict=True):
            views = protected.view(len(self.seeds), -1, protected.shape[1])
            # D of unit vectors: |a - b|^2 = 2 - 2 ab.
            to_self = 2 - 2 * torch.einsum("bvd,bd->bv", views, self.originals[number])
            result.append(Distances(to_self, 2 - 2 * views @ self.targets[number].T))
        return result

    def smooth(self, images: Tensor) -> Tensor:
        """Return images ``(N, 3, S, S)`` after the low pass of the recipe; beyond the patch they count as 0."""
        sigma = self.loop.settings.low_pass
        if not sigma:
            return images
        return gaussian_blur2d(images, 2 * math.ceil(3 * sigma) + 1, (sigma, sigma), border_type="constant")

    def move(self, masks: Tensor, direction: Tensor) -> Tensor:
        """Return the masks after a step of each against its direction, inside the ball and inside the photo.

        A smoothed step is a weighted mean of steps, so it is no longer than one, and the projection comes last: the
        bound holds whatever the low pass and the map do. The map scales the step and, where the ball bounds single
        channels, the ball.
        """
        return self._project(masks - self.step_size * self.strength * self.smooth(direction))

    def adapt_epsilon(self, masks: Tensor) -> None:
        """Set each face's share of epsilon to what would use up its SSIM budget, judging by the mask it has now."""
        budget = self.loop.settings.ssim_budget
        if budget is not None:
            used = (self._size(masks) / self.epsilon).flatten()
            self.share = next_share(self._ssim(masks), budget, used).view(-1, 1, 1, 1)

    def spend_budget(self, masks: Tensor) -> Tensor:
        """Return the masks, each scaled to the largest size within epsilon that keeps its SSIM budget."""
        budget = self.loop.settings.ssim_budget
        if budget is None:
            return masks
        self.share = torch.ones_like(self.share)

        def scaled(factors: Tensor) -> Tensor:
            return self._project(factors.view(-1, 1, 1, 1) * masks)

        high = (self.epsilon / self._size(masks).clamp_min(1e-6)).clamp(1, 2).flatten()
        return scaled(largest_fit(lambda factors: self._ssim(scaled(factors)) >= budget, high))

    def _project(self, masks: Tensor) -> Tensor:
        norm = self.loop.settings.norm
        bound = self.epsilon * self.share * (self.strength if norm == "linf" else 1)
        return project(masks, self.pixels, bound, norm)

    def _size(self, masks: Tensor) -> Tensor:
        """Return the radius of the smallest ball that holds each mask, ``(B, 1, 1, 1)``."""
        if self.loop.settings.norm == "l2":
            return euclidean_norm(masks)
        tiny = torch.finfo(masks.dtype).tiny
        return (masks.abs() / self.strength.clamp_min(tiny)).amax(dim=(1, 2, 3), keepdim=True)

    def _ssim(self, masks: Tensor) -> Tensor:
        """Return the SSIM of each face area under its mask in whole grey levels, as it is saved, ``(B,)``."""
        return ssim(crop(self.pixels + (masks * 255).round() / 255, self.face_grid), self.area)


class _Look:
    """How the surrogates see the faces in one iteration, and the gradients that follow from it.

    Sample 0 of an iteration is the look at the masks; others are looks elsewhere, each number in views of its own.
    """

    def __init__(self, batch: _Batch, masks: Tensor, step: int, sample: int = 0) -> None:
        self.batch = batch
        self.loop = batch.loop
        self.step = step
        self._surrogates = self.loop.surrogates_at(step)
        weights = torch.tensor([self.loop.weights[number] for number in self._surrogates])
        self._weights: list[float] = (weights / weights.sum()).tolist()
        self.masks = masks.detach().requires_grad_()
        seeds = _seeds(batch.seeds, step, "views", sample) if sample else _seeds(batch.seeds, step)
        self._draws: list[Params] = (
            draw(self.loop.views, seeds, batch.sides, self.loop.settings.views_per_step) if self.loop.views else []
        )
        with torch.enable_grad():
            self._seen = self._view(batch.pixels + self.masks)
            embeddings = batch.embed(self._seen, self._surrogates, at=(step, sample))
            views = batch.distances(embeddings, self._surrogates)
            self._distances = [Distances(each.to_self.mean(1), each.to_targets.mean(1)) for each in views]
            self._own = [own_identity(each.to_self, self.loop.settings.own_hinge).mean(1) for each in views]
        self.now = self._weighted(self._distances)
        self._target_gradients: Tensor | None = None

    def situation(self, previous: Tensor | None) -> Situation:
        """Return what the target selector may know."""
        return Situation(self.step, previous, self.now, self._try_all, self._draw_indices)

    def landscape(self, chosen: Tensor) -> Landscape:
        """Return what a gradient component may ask about the loss around the masks."""
        batch, step, settings = self.batch, self.step, self.loop.settings
        return Landscape(
            masks=self.masks.detach(),
            at_masks=lambda: self.gradient(chosen),
            elsewhere=lambda masks, sample: _Look(batch, masks, step, sample).gradient(chosen),
            noise=lambda sample: batch.noise(step, sample),
            epsilon=settings.epsilon,
            step_size=settings.step_size,
        )

    def gradient(self, chosen: Tensor) -> Tensor:
        """Return the gradient of the loss (Eq. 4) by the masks for each face's chosen target, ``(B, 3, S, S)``."""
        return self._identity_gradient(chosen) + self._naturalness_gradient()

    def _identity_gradient(self, chosen: Tensor) -> Tensor:
        """Return the gradient of Eq. 2 and of the own-identity term by the masks, ``(B, 3, S, S)``.

        The surrogates' gradients are scaled to one length per face before they are added, or the one with the largest
        gradients would decide alone; the sum then has their mean length. With one surrogate it is the plain gradient.
        """
        if self._target_gradients is not None:
            return self._target_gradients[chosen, torch.arange(len(chosen), device=chosen.device)]
        return self._gradient_towards(chosen, last=True)

    def _naturalness_gradient(self) -> Tensor | float:
        """Return the weighted gradient of the naturalness terms by the masks, ``(B, 3, S, S)``, or 0 without terms."""
        if not self.loop.naturalness:
            return 0.0
        batch = self.batch
        copies = self._seen.shape[0] // len(batch.seeds)
        grid = batch.face_grid.repeat_interleave(copies, dim=0)
        with torch.enable_grad():
            protected, original = crop(self._seen, grid), crop(self._view(batch.pixels), grid)
            shape = (len(batch.seeds), copies, *protected.shape[1:])
            loss = torch.stack(
                [
                    weight * term(protected.view(shape), original.view(shape)).sum()
                    for term, weight in self.loop.naturalness
                ]
            ).sum()
            (gradient,) = torch.autograd.grad(loss, self.masks)
        return gradient

    def _view(self, images: Tensor) -> Tensor:
        """Return the views of this iteration, ``(B * V, 3, S, S)``; the same for protected and original faces."""
        if not self._draws:
            return images
        images = images.repeat_interleave(self.loop.settings.views_per_step, dim=0)
        for view, params in zip(self.loop.views, self._draws, strict=True):
            images = view.apply(images, params)
        return images

    def _gradient_towards(self, targets: Tensor, *, last: bool) -> Tensor:
        """Return the gradient of Eq. 2 and of the own-identity term for one target per face, ``(B, 3, S, S)``.

        Args:
            targets: Index of each face's target, ``(B,)``.
            last: Whether no other target follows.
        """
        settings = self.loop.settings
        gradients = []
        for number, (each, own) in enumerate(zip(self._distances, self._own, strict=True)):
            # The surrogates and the naturalness terms share the graph of the views: it goes with its last user.
            keep = not last or number < len(self._distances) - 1 or bool(self.loop.naturalness)
            with torch.enable_grad():
                to_target = each.to_targets.gather(1, targets.unsqueeze(1)).squeeze(1)
                loss = (to_target - settings.self_weight * each.to_self + settings.own_weight * own).sum()
            gradients.append(torch.autograd.grad(loss, self.masks, retain_graph=keep)[0])
        return _balance(gradients, self._weights)

    def _try_all(self) -> Distances:
        """Take the candidate step of Algorithm 1 towards every target and measure where it leads."""
        batch, settings = self.batch, self.loop.settings
        faces, count = self.now.to_targets.shape
        every = torch.arange(count, device=self.masks.device)
        gradients = [self._gradient_towards(target.expand(faces), last=target == count - 1) for target in every]
        self._target_gradients = torch.stack(gradients)
        with torch.no_grad():
            masks = self.masks.detach()
            steps = [normalize(batch.smooth(each), settings.norm) for each in gradients]
            candidates = torch.stack([batch.move(masks, step) for step in steps], dim=1)
            images = (batch.pixels.unsqueeze(1) + candidates).flatten(0, 1)
            return self._weighted(batch.distances(batch.embed(images, self._surrogates), self._surrogates))

    def _weighted(self, distances: Sequence[Distances]) -> Distances:
        """Return the average over the surrogates of this iteration, without gradient."""
        pairs = list(zip(distances, self._weights, strict=True))
        to_self = torch.stack([weight * each.to_self.detach() for each, weight in pairs]).sum(0)
        to_targets = torch.stack([weight * each.to_targets.detach() for each, weight in pairs]).sum(0)
        return Distances(to_self, to_targets)

    def _draw_indices(self, below: int) -> Tensor:
        generators = [torch.Generator().manual_seed(seed + self.step) for seed in self.batch.seeds]
        indices = [torch.randint(below, (), generator=generator) for generator in generators]
        return torch.stack(indices).to(self.masks.device)


def own_identity(to_self: Tensor, hinge: float) -> Tensor:
    """Return how far the cosine with the own identity lies above a hinge: max(0, cos(p, r) - hinge).

    Args:
        to_self: Squared distances of unit embeddings, D(p, r) = 2 - 2 cos(p, r), of any shape.
        hinge: Cosine from which on the face counts as somebody else's, and the term as 0.
    """
    return (1 - to_self / 2 - hinge).clamp_min(0)


def embed(embedder: Embedder, faces: Sequence[FaceImage]) -> Tensor:
    """Return the unit embeddings ``(N, D)`` of faces of any sizes, without gradient, on the embedder's device."""
    device = next(embedder.buffers()).device
    with torch.no_grad():
        embeddings: Tensor = embedder(_crops(embedder, faces).to(device))
    return embeddings


def _embedder_grid(embedder: Embedder, landmarks: Tensor, side: int) -> Tensor:
    spec = embedder.spec
    return crop_grid(landmarks, spec.template, (spec.height, spec.width), side)


def _crops(embedder: Embedder, faces: Sequence[FaceImage]) -> Tensor:
    """Return what a recogniser is shown of faces of any sizes, ``(N, 3, H, W)``."""
    return torch.cat(
        [
            crop(face.pixels[None], _embedder_grid(embedder, face.landmarks[None], face.pixels.shape[-1]))
            for face in faces
        ]
    )


def _seeds(seeds: Sequence[int], step: int, *purpose: object) -> list[int]:
    """Return the faces' seeds for one iteration, others for each purpose; of the views at the masks if none is named.

    They are hashed because torch's generators on the CPU look at 32 bits only.
    """
    return [zlib.crc32(repr((seed, step, *purpose)).encode()) if purpose else seed + step for seed in seeds]


def _balance(gradients: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    if len(gradients) == 1:
        return gradients[0]
    lengths = [torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True) for gradient in gradients]
    tiny = torch.finfo(gradients[0].dtype).tiny
    units = [
        weight * gradient / length.clamp_min(tiny)
        for gradient, length, weight in zip(gradients, lengths, weights, strict=True)
    ]
    return torch.stack(units).sum(0) * torch.stack(lengths).mean(0)


def _pad(image: Tensor, side: int) -> Tensor:
    missing = side - image.shape[-1]
    return functional.pad(image, (0, missing, 0, missing))
