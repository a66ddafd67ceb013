"""LOTS, layerwise origin-target synthesis (Rozsa, Günther & Boult, IJCB 2017): towards a target's deep features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.methods.base import Features, Task, Uses
from facecrypt.system.texts import FreeText


class Lots:
    """Iterative LOTS: the face moves until its features at a layer are as near to a target's as the distance says.

    Each step follows eta(x, t) = grad_x 1/2 ||f(t) - f(x)||^2, scaled so that its largest element is one step:
    x <- x - step_size * eta / max|eta|. Where there are several surrogates, their losses are added, and all of them
    must be near enough. The paper's step is one grey level, and it has no ball.

    Args:
        layer: Name of a module of the surrogates' networks whose outputs f are; null for the unit embeddings.
        distance: Euclidean distance at which a face is done. Null: where the surrogate takes the face for the target,
            by its own threshold; at inner layers, and without a threshold, all steps are done.
        target: Number of the target, from 0; null draws one for each face.
    """

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        layer: FreeText | None = None,
        distance: Annotated[float, Field(gt=0)] | None = None,
        target: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.layer, self.distance, self.target = layer, distance, target

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what leads each face to its target.

        Raises:
            FacecryptError: If there is no such target, or a network has no such layer.
        """
        if self.target is not None and self.target >= len(task.targets):
            count = len(task.targets)
            raise FacecryptError(f"method lots: target {self.target} of {count} targets. Allowed: 0 to {count - 1}.")
        return [self._approach(task, number) for number in range(len(task.faces))]

    def _approach(self, task: Task, number: int) -> Tensor:
        recognisers = task.recognisers
        surrogates = range(len(recognisers.names))
        drawn = int(torch.randint(len(task.targets), (), generator=task.generator(number)))
        target = task.targets[drawn if self.target is None else self.target]
        aims = [recognisers.features_of(target, self.layer, each).layer for each in surrogates]
        enough = [self._enough(recognisers.thresholds[each]) for each in surrogates]
        origin = task.faces[number].pixels.to(task.device)
        mask = torch.zeros_like(origin)
        for step in range(task.steps):
            x = (origin + mask)[None].requires_grad_()
            with torch.enable_grad():
                seen = [recognisers.features(number, x, self.layer, each) for each in surrogates]
                loss = sum(
                    ((aim - f.layer).square().sum() / 2 for aim, f in zip(aims, seen, strict=True)), x.new_zeros(())
                )
                (eta,) = torch.autograd.grad(loss, x)
            distances = [(aim - f.layer).norm().item() for aim, f in zip(aims, seen, strict=True)]
            if all(distance <= most for distance, most in zip(distances, enough, strict=True)):
                break
            largest = eta.abs().max().clamp_min(torch.finfo(eta.dtype).tiny)
            mask = task.project(number, mask - task.step_size * eta[0] / largest)
            task.on_step(step + 1, _own(task, number, seen))
        return mask

    def _enough(self, threshold: float | None) -> float:
        if self.distance is not None:
            return self.distance
        if self.layer is not None or threshold is None:
            return 0.0
        return math.sqrt(2 - 2 * threshold)  # Of unit vectors whose cosine is the threshold.


def _own(task: Task, number: int, seen: Sequence[Features]) -> float:
    """Return the mean cosine with the face as it was."""
    own = [f.embeddings[0] @ task.recognisers.original(number, each) for each, f in enumerate(seen)]
    return torch.stack(own).mean().item()
