"""One look of the protection loop at its faces: what the surrogates see, and the gradients that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from facecrypt.errors import EmbeddingError, FacecryptError
from facecrypt.faces.alignment import crop
from facecrypt.gradients.base import Landscape
from facecrypt.methods.iterative.batch import Batch, seeds_at
from facecrypt.methods.iterative.boundary import blame
from facecrypt.naturalness.base import Naturalness
from facecrypt.optimizers.base import normalize
from facecrypt.targets.selectors import Distances, Situation
from facecrypt.views.base import Params, draw


class Look:
    """How the surrogates see the faces in one iteration, and the gradients that follow from it.

    Sample 0 of an iteration is the look at the masks; others are looks elsewhere, each number in views of its own.
    """

    def __init__(self, batch: Batch, masks: Tensor, step: int, sample: int = 0) -> None:
        self.batch = batch
        self.loop = batch.loop
        self.step = step
        self._surrogates = self.loop.surrogates_at(step)
        weights = torch.tensor([self.loop.weights[number] for number in self._surrogates])
        self._weights: list[float] = (weights / weights.sum()).tolist()
        self.masks = masks.detach().requires_grad_()
        seeds = seeds_at(batch.seeds, step, "views", sample) if sample else seeds_at(batch.seeds, step)
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
        self._tried: tuple[Tensor, Tensor] | None = None

    def situation(self, previous: Tensor | None) -> Situation:
        """Return what the target selector may know."""
        own = self.loop.own_photos
        return Situation(
            self.step,
            previous,
            self.now,
            self._try_targets,
            self._draw_indices,
            people=self.batch.people,
            apart=partial(self.loop.apart, self.batch.faces),
            weights=self.loop.target_weights,
            shared=own is not None and own.shares.target,
        )

    def landscape(self, chosen: Tensor) -> Landscape:
        """Return what a gradient component may ask about the loss around the masks."""
        batch, step, settings = self.batch, self.step, self.loop.settings
        return Landscape(
            masks=self.masks.detach(),
            at_masks=lambda: self.gradient(chosen),
            elsewhere=lambda masks, sample: Look(batch, masks, step, sample).gradient(chosen),
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
        if self._tried is not None:
            order, gradients = self._tried
            same = order == chosen.unsqueeze(1)
            if same.any(dim=1).all():
                return gradients[torch.arange(len(chosen), device=chosen.device), same.to(torch.uint8).argmax(dim=1)]
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
            terms = [
                (term, partial(_penalty, term, original.view(shape)), protected.view(shape))
                for term, _ in self.loop.naturalness
            ]
            gradient = _differentiate(loss, self.masks, terms)
        if not gradient.isfinite().all():
            raise blame([*terms, *self._viewed()]) or EmbeddingError(
                f"naturalness: the gradient of its terms at step {self.step + 1} holds numbers that are not finite, so "
                "no mask can be made. Leave one out after the other to see which it is."
            )
        return gradient

    def _viewed(self) -> Iterator[Use]:
        """Yield the views of this iteration with the pictures that each was given."""
        images = (self.batch.pixels + self.masks).detach()
        if self._draws:
            images = images.repeat_interleave(self.loop.settings.views_per_step, dim=0)
        for view, params in zip(self.loop.views, self._draws, strict=True):
            yield view, partial(view.apply, params=params), images
            with torch.no_grad():
                images = view.apply(images, params)

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
            last: Whether the graph of the surrogates is of no further use.
        """
        settings = self.loop.settings
        gradients = []
        for number, (each, own) in enumerate(zip(self._distances, self._own, strict=True)):
            # The surrogates and the naturalness terms share the graph of the views: it goes with its last user.
            keep = not last or number < len(self._distances) - 1 or bool(self.loop.naturalness)
            with torch.enable_grad():
                to_target = each.to_targets.gather(1, targets.unsqueeze(1)).squeeze(1)
                aim = settings.target_weight * to_target
                if self.loop.target_weights is not None:
                    aim = aim * self.loop.target_weights[targets]
                loss = (aim - settings.self_weight * each.to_self + settings.own_weight * own).sum()
            gradient = _differentiate(loss, self.masks, self._viewed(), keep=keep)
            if not gradient.isfinite().all():
                if (wrong := blame(self._viewed())) is not None:
                    raise wrong
                name = self.loop.names[self._surrogates[number]]
                raise EmbeddingError(
                    f"surrogate {name}: its gradient at step {self.step + 1} holds numbers that are not finite, so no "
                    "mask can be made by it. Set trainer.precision to 32-true if it is less, or name another."
                )
            gradients.append(gradient)
        return _balance(gradients, self._weights)

    def _try_targets(self, wanted: Tensor) -> Distances:
        """Take the candidate step of Algorithm 1 towards every wanted target and measure where it leads.

        Args:
            wanted: Which targets of each face, ``(B, K)``; at least one of each.
        """
        batch, settings = self.batch, self.loop.settings
        faces, count = wanted.shape
        # In each round every face tries one of its own: the wanted ones first, and the first again once they are out.
        rounds = int(wanted.sum(dim=1).max())
        order = (~wanted).to(torch.uint8).argsort(dim=1, stable=True)[:, :rounds]
        order = torch.where(wanted.gather(1, order), order, order[:, :1])
        gradients = [self._gradient_towards(order[:, i], last=False) for i in range(rounds)]
        self._tried = order, torch.stack(gradients, dim=1)
        with torch.no_grad():
            masks = self.masks.detach()
            steps = [normalize(batch.smooth(each), settings.norm) for each in gradients]
            candidates = torch.stack([batch.move(masks, step) for step in steps], dim=1)
            images = (batch.pixels.unsqueeze(1) + candidates).flatten(0, 1)
            after = self._weighted(batch.distances(batch.embed(images, self._surrogates), self._surrogates))
        to_self = self.now.to_self.unsqueeze(1).repeat(1, count)
        to_targets = torch.full((faces, count, count), math.inf, device=wanted.device)
        place = order.unsqueeze(2).expand(-1, -1, count)
        return Distances(to_self.scatter(1, order, after.to_self), to_targets.scatter(1, place, after.to_targets))

    def _weighted(self, distances: Sequence[Distances]) -> Distances:
        """Return the average over the surrogates of this iteration, without gradient."""
        pairs = list(zip(distances, self._weights, strict=True))
        to_self = torch.stack([weight * each.to_self.detach() for each, weight in pairs]).sum(0)
        to_targets = torch.stack([weight * each.to_targets.detach() for each, weight in pairs]).sum(0)
        return Distances(to_self, to_targets)

    def _draw_indices(self, below: int) -> Tensor:
        seeds = self.batch.seeds
        own = self.loop.own_photos
        if own is not None and own.shares.target:  # One person, one draw.
            shared = seeds_at([self.loop.settings.seed], 0, "person")[0]
            seeds = [
                seed if person is None else seeds_at([shared], 0, person.name)[0]
                for seed, person in zip(seeds, self.batch.people, strict=True)
            ]
        generators = [torch.Generator().manual_seed(seed + self.step) for seed in seeds]
        indices = [torch.randint(below, (), generator=generator) for generator in generators]
        return torch.stack(indices).to(self.masks.device)


Use: TypeAlias = tuple[object, Callable[[Tensor], Tensor], Tensor]
"""A component, as a function of one tensor, and that tensor."""


def _penalty(term: Naturalness, original: Tensor, protected: Tensor) -> Tensor:
    return term(protected, original)


def _differentiate(loss: Tensor, masks: Tensor, users: Iterable[Use], *, keep: bool = False) -> Tensor:
    """Return the gradient of a loss by the masks.

    Raises:
        PluginError: If the backward pass of a component raises something.
    """
    try:
        gradient: Tensor = torch.autograd.grad(loss, masks, retain_graph=keep)[0]
    except (FacecryptError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if (wrong := blame(users)) is not None:
            raise wrong from error
        raise
    return gradient


def own_identity(to_self: Tensor, hinge: float) -> Tensor:
    """Return how far the cosine with the own identity lies above a hinge: max(0, cos(p, r) - hinge).

    Args:
        to_self: Squared distances of unit embeddings, D(p, r) = 2 - 2 cos(p, r), of any shape.
        hinge: Cosine from which on the face counts as somebody else's, and the term as 0.
    """
    return (1 - to_self / 2 - hinge).clamp_min(0)


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
