"""The faces of one run of the protection loop, and how their masks may move."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional

from facecrypt.faces.alignment import crop, face_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aims import distances_to_targets
from facecrypt.methods.budget import largest_fit, next_share, spent
from facecrypt.methods.calls import embed_crops
from facecrypt.methods.iterative.mixup import Features, mixing, record
from facecrypt.methods.iterative.visibility import Visibility, watches
from facecrypt.optimizers.base import euclidean_norm, normalize, project
from facecrypt.regions.maps import colourfulness, feather_map, texture_map
from facecrypt.surrogates.crops import embedder_grid
from facecrypt.targets.selectors import Distances, Person

if TYPE_CHECKING:
    from facecrypt.methods.iterative.loop import ProtectionLoop


class Batch:
    """Faces of one run of the loop, padded to a common size, with all that stays the same over the iterations.

    Args:
        loop: Whose batch it is.
        faces: The faces.
        seeds: One per face.
        mixed: The precision in which the surrogates compute.
    """

    def __init__(
        self, loop: ProtectionLoop, faces: Sequence[FaceImage], seeds: Sequence[int], mixed: torch.autocast
    ) -> None:
        settings = loop.settings
        device = next(loop.buffers()).device
        self.loop = loop
        self.faces = faces
        self.seeds = seeds
        self.mixed = mixed
        self.sides = [face.pixels.shape[-1] for face in faces]
        self.side = max(self.sides)
        self.pixels = torch.stack([_pad(face.pixels, self.side) for face in faces]).to(device)
        landmarks = torch.stack([face.landmarks for face in faces])
        self.grids = [embedder_grid(embedder, landmarks, self.side).to(device) for embedder in loop.embedders]
        self.face_grid = face_grid(landmarks, self.side).to(device)
        self.targets: list[Tensor] = [getattr(loop, f"targets_{number}") for number in range(len(loop.embedders))]
        with torch.no_grad():
            originals = self.embed(self.pixels, range(len(loop.embedders)))
        owners = loop.own_photos.recognise(faces) if loop.own_photos else [None] * len(faces)
        self.identities = [self._identities(each, number, owners) for number, each in enumerate(originals)]
        self.people = self._people(owners)
        self.clean: list[Features] = []
        for number, (embedder, mixup, grid) in enumerate(zip(loop.embedders, loop.mixups, self.grids, strict=True)):
            features: Features = []
            if mixup:
                crops = torch.cat([getattr(loop, f"aims_{number}"), crop(self.pixels, grid)])
                with mixed:
                    features = record(embedder, crops)
            self.clean.append(features)
        # A ball of root mean square e over n values is the Euclidean ball of radius e * sqrt(n).
        inside = torch.stack([_pad(face.inside, self.side) for face in faces]).to(device)
        values = inside.sum(dim=(1, 2, 3), keepdim=True) * 3
        unit = values.sqrt() if settings.norm == "l2" else torch.ones_like(values)
        region, feather = settings.region, settings.feather
        maps = [feather_map(side, feather) for side in self.sides]
        if region is not None:
            shares = [region.map(face.pixels, face.landmarks) for face in faces]
            maps = [share * each for share, each in zip(shares, maps, strict=True)]
        self.strength = inside * torch.stack([_pad(each, self.side) for each in maps]).to(device)
        if settings.texture:
            shares = [texture_map(face.pixels[None].to(device), settings.texture)[0] for face in faces]
            self.strength = self.strength * torch.stack([_pad(each, self.side) for each in shares])
        self.colour = settings.colour * colourfulness(self.pixels)
        self.epsilon = settings.epsilon * unit
        self.step_size = settings.step_size * unit
        # The share of epsilon that each face may use; below 1 only where there is a budget.
        self.share = torch.ones_like(unit)
        self.area = crop(self.pixels, self.face_grid)
        self.watched: list[Visibility] = []
        if settings.budget is not None and watches(settings.budget):
            self.watched = [
                Visibility(self._own(self.pixels, number), face.landmarks, settings.budget, face.scale, face.fit)
                for number, face in enumerate(faces)
            ]

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
            with self.mixed, self._disturbed(number, copies, at):
                embeddings.append(embed_crops(self.loop.sources[number], self.loop.embedders[number], crops))
        return embeddings

    @contextmanager
    def _disturbed(self, number: int, copies: int, at: tuple[int, int] | None) -> Iterator[None]:
        """Drop and mix the features of a surrogate inside the block, in every view of every face on its own."""
        dropout, mixup = self.loop.dropouts[number], self.loop.mixups[number]
        with ExitStack() as disturbances:
            if dropout is not None and at is not None:
                views = [seeds_at(self.seeds, at[0], "dropout", at[1], number, view) for view in range(copies)]
                disturbances.enter_context(dropout.active([seed for face in zip(*views, strict=True) for seed in face]))
            if mixup is not None and at is not None:
                seeds = seeds_at(self.seeds, at[0], "mixup", at[1], number)
                clean, count = self.clean[number], len(self.loop.aims)
                disturbances.enter_context(mixing(self.loop.embedders[number], mixup, clean, count, seeds))
            yield

    def noise(self, step: int, sample: int) -> Tensor:
        """Return numbers uniform in [-1, 1], ``(B, 3, S, S)``, times the share of epsilon that each pixel may use."""
        drawn = []
        for seed, side in zip(seeds_at(self.seeds, step, "noise", sample), self.sides, strict=True):
            uniform = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
            drawn.append(_pad(2 * uniform - 1, self.side))
        return torch.stack(drawn).to(self.pixels.device) * self.strength

    def distances(self, embeddings: Sequence[Tensor], numbers: Sequence[int]) -> list[Distances]:
        """Return the distances in some surrogates, ``(B, V)`` and ``(B, V, K)``, of embeddings ``(B * V, D)``."""
        result = []
        for number, protected in zip(numbers, embeddings, strict=True):
            views = protected.view(len(self.seeds), -1, protected.shape[1])
            to_self = 2 - 2 * torch.einsum("bvd,bd->bv", views, self.identities[number])
            result.append(Distances(to_self, distances_to_targets(views, self.targets[number], self.loop.rows)))
        return result

    def _identities(self, originals: Tensor, number: int, owners: Sequence[int | None]) -> Tensor:
        """Return the own identity of each face in a surrogate, ``(B, D)``: its person's mean, or itself alone."""
        photos = self.loop.own_photos
        if photos is None or not photos.shares.identity:
            return originals
        sums: Tensor = getattr(self.loop, f"own_{number}")
        own = [
            original if owner is None else sums[owner] + (original if photos.further else 0)
            for original, owner in zip(originals, owners, strict=True)
        ]
        return functional.normalize(torch.stack(own))

    def _people(self, owners: Sequence[int | None]) -> list[Person | None]:
        """Return who the faces are, with how far the mean of each person's own photos is from the targets."""
        own = self.loop.own_photos
        if own is None:
            return []
        weights = torch.tensor(self.loop.weights)
        shares = (weights / weights.sum()).tolist()
        away = torch.zeros(len(own.names), len(self.loop.aims), device=self.pixels.device)
        for number, (targets, share) in enumerate(zip(self.targets, shares, strict=True)):
            mean = functional.normalize(getattr(self.loop, f"own_{number}"))
            away += share * distances_to_targets(mean, targets, self.loop.rows)
        return [None if owner is None else Person(own.names[owner], away[owner]) for owner in owners]

    def start(self) -> Tensor:
        """Return the masks of the first iteration: none, what the region begins with, or else a random step.

        That is taken where only the own identity counts: at it the distance from it has no gradient to follow.
        """
        begin = getattr(self.loop.settings.region, "start", None)
        if begin is not None:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds_at(self.seeds, 0, "region")]
            return self.take_up(
                [begin(face.pixels, face.landmarks, each) for face, each in zip(self.faces, generators, strict=True)]
            )
        masks = torch.zeros_like(self.pixels)
        if self.loop.settings.target_weight:
            return masks
        return self.move(masks, normalize(self.noise(0, 0), self.loop.settings.norm))

    def smooth(self, images: Tensor) -> Tensor:
        """Return images ``(N, 3, S, S)`` after the low pass of the recipe; beyond the patch they count as 0."""
        sigma = self.loop.settings.low_pass
        if not sigma:
            return images
        return gaussian_blur2d(images, 2 * math.ceil(3 * sigma) + 1, (sigma, sigma), border_type="constant")

    def take_up(self, masks: Sequence[Tensor]) -> Tensor:
        """Return masks of these faces, ``(3, S, S)`` each, as the loop moves them, kept within what it allows."""
        padded = torch.stack([_pad(mask, self.side) for mask in masks]).to(self.pixels.device)
        return self._project(padded * (self.strength > 0))

    def move(self, masks: Tensor, direction: Tensor) -> Tensor:
        """Return the masks after a step of each against its direction, inside the ball and inside the photo.

        A smoothed step is a weighted mean of steps, so it is no longer than one, and the projection comes last: the
        bound holds whatever the low pass and the map do. The map scales the step and, where the ball bounds single
        channels, the ball.
        """
        return self._project(masks - self.step_size * self.strength * self.smooth(self._fade_colour(direction)))

    def _fade_colour(self, direction: Tensor) -> Tensor:
        """Return steps with less colour: what a channel does beyond the mean of the three counts by a share only.

        Where the photo has no colour, none comes: people see it at once in grey hair, in teeth, and all over a
        black-and-white photo. The mean of signs lies between them, so steps under ``linf`` stay as long as they were at
        most; those under ``l2`` get their length back.
        """
        if self.loop.settings.colour == 1:
            return direction
        grey = direction.mean(dim=1, keepdim=True)
        faded = grey + self.colour * (direction - grey)
        if self.loop.settings.norm == "linf":
            return faded
        tiny = torch.finfo(faded.dtype).tiny
        return faded * (euclidean_norm(direction) / euclidean_norm(faded).clamp_min(tiny))

    def adapt_epsilon(self, masks: Tensor) -> None:
        """Set each face's share of epsilon to what would use up its budget of similarity, judging by its mask now.

        Args:
            masks: The masks.
        """
        budget = self.loop.settings.budget
        if budget is not None and (budget.ssim is not None or budget.ms_ssim is not None):
            size = (self._size(masks) / self.epsilon).flatten()
            self.share = next_share(self._spent(masks), size).view(-1, 1, 1, 1)

    def hide(self, masks: Tensor) -> Tensor:
        """Return the masks, moved to where they show no more than the budget lets them, by the shortest way.

        That is a step of Newton's method along the gradient of what shows, so that a mask gives up what shows most and
        keeps what does not; to scale it down would give up both. The gradient is smoothed and faded like any step, so
        that masks stay as smooth, and as grey, as the recipe wants them.

        Args:
            masks: The masks.
        """
        if not self.watched:
            return masks
        masks = masks.detach().requires_grad_()
        with torch.enable_grad():
            seen = torch.stack(
                [each.joined(self._own(self.pixels + masks, number)) for number, each in enumerate(self.watched)]
            )
            (gradient,) = torch.autograd.grad(seen.sum(), masks)
        masks = masks.detach()
        gradient = self._fade_colour(gradient)
        tiny = torch.finfo(masks.dtype).tiny
        length = euclidean_norm(gradient).clamp_min(tiny)
        wanted = (seen.detach() - 1).clamp_min(0).view(-1, 1, 1, 1) / length
        # Far from the bound, the gradient here says little of that there.
        return masks - torch.minimum(wanted, _LONGEST * euclidean_norm(masks)) * gradient / length

    def spend_budget(self, masks: Tensor) -> Tensor:
        """Return the masks, each scaled to the largest size within epsilon that keeps its budget."""
        if self.loop.settings.budget is None:
            return masks
        self.share = torch.ones_like(self.share)

        def scaled(factors: Tensor) -> Tensor:
            return self._project(factors.view(-1, 1, 1, 1) * masks)

        def used(factors: Tensor) -> Tensor:
            return self._spent(scaled(factors))

        high = (self.epsilon / self._size(masks).clamp_min(1e-6)).clamp(1, 2).flatten()
        return scaled(largest_fit(used, high))

    def _project(self, masks: Tensor) -> Tensor:
        norm, ceiling = self.loop.settings.norm, self.loop.settings.ceiling
        if ceiling is not None:
            masks = masks.clamp(-ceiling, ceiling)  # The projection onto the ball only shortens what is left.
        bound = self.epsilon * self.share * (self.strength if norm == "linf" else 1)
        return project(masks, self.pixels, bound, norm)

    def _size(self, masks: Tensor) -> Tensor:
        """Return the radius of the smallest ball that holds each mask, ``(B, 1, 1, 1)``."""
        if self.loop.settings.norm == "l2":
            return euclidean_norm(masks)
        tiny = torch.finfo(masks.dtype).tiny
        return (masks.abs() / self.strength.clamp_min(tiny)).amax(dim=(1, 2, 3), keepdim=True)

    def _spent(self, masks: Tensor) -> Tensor:
        """Return how much of its budget each face uses up under its mask in whole grey levels, ``(B,)``."""
        budget = self.loop.settings.budget
        assert budget is not None
        changed = self.pixels + (masks * 255).round() / 255
        shares = [spent(budget, crop(changed, self.face_grid), self.area)]
        if self.watched:
            with torch.no_grad():
                seen = [each.shares(self._own(changed, number)).amax() for number, each in enumerate(self.watched)]
            shares.append(torch.stack(seen))
        return torch.stack(shares).amax(dim=0)

    def _own(self, images: Tensor, number: int) -> Tensor:
        """Return a face of a batch without the padding, ``(1, 3, S, S)``."""
        side = self.sides[number]
        return images[number : number + 1, :, :side, :side]


_LONGEST = 0.5
"""Of a mask's length: how far `Batch.hide` moves it at once."""


def seeds_at(seeds: Sequence[int], step: int, *purpose: object) -> list[int]:
    """Return the faces' seeds for one iteration, others for each purpose; of the views at the masks if none is named.

    They are hashed because torch's generators on the CPU look at 32 bits only.
    """
    return [zlib.crc32(repr((seed, step, *purpose)).encode()) if purpose else seed + step for seed in seeds]


def _pad(image: Tensor, side: int) -> Tensor:
    missing = side - image.shape[-1]
    return functional.pad(image, (0, missing, 0, missing))
