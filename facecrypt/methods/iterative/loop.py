"""The protection loop: TIP-IM's iterations over a batch of faces, in plain torch.

For every face on its own, `ProtectionLoop.run` repeats: look at the face in random views through every surrogate,
choose a target, follow the gradient of the identity loss (Eq. 2) and of the naturalness terms (Eq. 4) at the mask or
around it, take a step, and project it back onto the ball (Eq. 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from facecrypt.choices import Norm, TargetEmbedding, Trait
from facecrypt.errors import FacecryptError
from facecrypt.evaluation.traits import measure_trait
from facecrypt.faces.patches import FaceImage
from facecrypt.gradients.base import Gradient, Plain
from facecrypt.methods.aims import embed_targets, target_rows
from facecrypt.methods.base import Masks, OnStep, Uses
from facecrypt.methods.calls import Source
from facecrypt.methods.iterative.batch import Batch, seeds_at
from facecrypt.methods.iterative.dropout import FeatureDropout
from facecrypt.methods.iterative.mixup import Mixup
from facecrypt.methods.iterative.objective import Look
from facecrypt.naturalness.base import Naturalness
from facecrypt.optimizers.base import Optimizer
from facecrypt.recipe.schema import Budget
from facecrypt.regions.base import Region
from facecrypt.registry import BUILT_IN
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target, TargetSelector
from facecrypt.views.base import View

if TYPE_CHECKING:
    from facecrypt.methods.iterative.own_photos import OwnPhotos

_EVERY = 2
"""Steps after which masks are brought back to where they show no more than they may, which takes as long as a step."""


class Surrogate(NamedTuple):
    """A recogniser that gives gradients.

    Attributes:
        name: What the report calls it.
        embedder: The recogniser.
        weight: Weight of its voice among the surrogates of a step.
        dropout: Share of its features that is dropped where it gives gradients.
        mixup: How its features are mixed with clean ones where it gives gradients; None is not at all.
        origin: ``built-in``, or the plugin that it is of.
    """

    name: str
    embedder: Embedder
    weight: float
    dropout: float = 0.0
    mixup: Mixup | None = None
    origin: str = BUILT_IN


@dataclass(frozen=True)
class Settings:
    """The numbers of the loop, in the [0, 1] scale of pixels.

    Attributes:
        epsilon: Radius of the ball: of every channel (``linf``), or the root mean square over a face's patch (``l2``).
        step_size: Length of a step, measured like epsilon.
        norm: Which ball.
        steps: Number of iterations.
        target_weight: Weight of the distance from the target in Eq. 2; with 0 masks lead away from the own identity,
            wherever that is.
        target_embedding: What of a target's photos counts: see `methods.aims.embed_targets`.
        self_weight: Weight of the distance from the own identity in Eq. 2.
        own_weight: Weight of the cosine with the own identity above `own_hinge`, a term of its own.
        own_hinge: Cosine with the own identity below which that term is 0.
        views_per_step: Views of each face at each iteration.
        surrogates_per_step: How many surrogates give gradients at an iteration, drawn anew each time; None is all.
        seed: Seed of that draw.
        region: Where in a patch the mask may be, and how strong; None: everywhere the same.
        colour: Share of a step's colour that is kept; 1: all of it, 0: steps change lightness alone.
        texture: How strictly the mask follows the texture of the face, see `regions.maps.texture_map`; 0: not at all.
        feather: Width of the fade to 0 at a patch's border, in pixels.
        low_pass: Standard deviation of the Gaussian that smooths gradients and steps, in pixels; 0: none.
        ceiling: Largest change of a channel under ``l2``; None: no such bound.
        budget: What of its looks each face area must keep, which may lower its epsilon; None: no such bound.
    """

    epsilon: float
    step_size: float
    norm: Norm
    steps: int
    target_weight: float = 1.0
    target_embedding: TargetEmbedding = "first"
    self_weight: float = 1.0
    own_weight: float = 0.0
    own_hinge: float = 0.0
    views_per_step: int = 1
    surrogates_per_step: int | None = None
    seed: int = 0
    region: Region | None = None
    colour: float = 1.0
    texture: float = 0.0
    feather: int = 0
    low_pass: float = 0.0
    ceiling: float | None = None
    budget: Budget | None = None


class Iterative:
    """TIP-IM and its relatives: the loop below, which the keys of a recipe set."""

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(self) -> None: ...


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
        own_photos: Photos of the people, as these surrogates see them, and what those of one person share.

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
        own_photos: OwnPhotos | None = None,
    ) -> None:
        super().__init__()
        self.names = [surrogate.name for surrogate in surrogates]
        self.sources = [Source("surrogate", surrogate.name, surrogate.origin) for surrogate in surrogates]
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
        self.own_photos = own_photos
        self.aims = [target.aim for target in targets]
        weights = [target.weight for target in targets]
        self.rows: Tensor | None
        self.target_weights: Tensor | None
        self.register_buffer("rows", target_rows(targets, settings.target_embedding), persistent=False)
        weighted = None if set(weights) <= {1.0} else torch.tensor(weights)
        self.register_buffer("target_weights", weighted, persistent=False)
        self._traits: dict[Trait, Tensor] = {}
        for number, surrogate in enumerate(surrogates):
            self.register_buffer(
                f"targets_{number}",
                embed_targets(surrogate.embedder, targets, settings.target_embedding),
                persistent=False,
            )
            if own_photos:
                sums = own_photos.sums[number].to(next(surrogate.embedder.buffers()).device)
                self.register_buffer(f"own_{number}", sums, persistent=False)
            if surrogate.mixup:
                self.register_buffer(f"aims_{number}", crops(surrogate.embedder, self.aims), persistent=False)

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
        generator = torch.Generator().manual_seed(seeds_at([self.settings.seed], step, "surrogates")[0])
        return sorted(torch.randperm(every, generator=generator)[:count].tolist())

    def apart(self, faces: Sequence[FaceImage], trait: Trait) -> Tensor:
        """Return how far faces are from the targets in a trait, ``(B, K)``; see `evaluation.traits.measure_trait`.

        Args:
            faces: The original faces.
            trait: Which trait.
        """
        if trait not in self._traits:
            self._traits[trait] = measure_trait(trait, self.aims)
        own = measure_trait(trait, faces)
        return (own.unsqueeze(1) - self._traits[trait]).abs().to(next(self.buffers()).device)

    def run(
        self,
        faces: Sequence[FaceImage],
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Sequence[Tensor] | None = None,
    ) -> Masks:
        """Return a mask for each face. A face's mask does not depend on the other faces, unless a term couples them.

        Under autocast, the surrogates alone compute in its precision: a mask of some grey levels, or the distance of
        two embeddings, would lose what counts.

        Args:
            faces: The faces, any number and sizes.
            seeds: One per face, for everything random about it.
            on_step: Told of the progress.
            start: Masks of these faces to go on from, as `Masks` holds them, made for less than this loop allows. That
                takes half of the steps, the last half.

        Raises:
            EmbeddingError: If a surrogate's gradient is not finite; the message names it.
            FacecryptError: If a mask is not finite.
        """
        kind = next(self.buffers()).device.type
        mixed = torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))
        with torch.autocast(kind, enabled=False):
            return self._run(Batch(self, faces, seeds, mixed), on_step, start)

    def _run(self, batch: Batch, on_step: OnStep | None, start: Sequence[Tensor] | None) -> Masks:
        settings = self.settings
        masks = batch.start() if start is None else batch.take_up(start)
        state, memory = self.optimizer.init(masks), self.gradient.init(masks)
        previous: Tensor | None = None
        chosen = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
        for step in range(0 if start is None else settings.steps // 2, settings.steps):
            look = Look(batch, masks, step)
            if settings.target_weight:  # Without one no target makes a difference, and trying them costs the most.
                chosen = previous = self.target_selector(look.situation(previous))
            gradient, memory = self.gradient.update(look.landscape(chosen), memory)
            gradient = batch.smooth(gradient)
            direction, state = self.optimizer.update(gradient, state, settings.norm)
            masks = batch.move(masks, direction)
            if step % _EVERY == _EVERY - 1 or step >= settings.steps - _EVERY:
                masks = batch.hide(masks)
            batch.adapt_epsilon(masks)
            if on_step:
                on_step(step + 1, 1 - look.now.to_self.mean().item() / 2)
        masks = batch.spend_budget(masks)
        if not masks.isfinite().all():
            raise FacecryptError(
                "protection: the masks hold numbers that are not finite, so no photo is written. Look for what makes "
                "them in naturalness, gradient, optimizer and views of the recipe, or lower their weights."
            )
        cut = [mask[:, :side, :side].cpu() for mask, side in zip(masks, batch.sides, strict=True)]
        return Masks(cut, chosen.tolist())
