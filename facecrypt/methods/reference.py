"""TIP-IM to the letter: one face, one surrogate and one target at a time. The fast loop must match it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target


class Literal:
    """The paper's method for one face and one surrogate, transcribed line by line and sparing no computation.

    Args:
        embedder: The surrogate.
        face: The face.
        targets: The target identities.
        epsilon: Radius of the infinity ball in the [0, 1] scale.
        step_size: Length of a step in the same scale.
        center: Use the gain G1 of section 5.1 instead of that of Eq. 7.
    """

    def __init__(
        self,
        embedder: Embedder,
        face: FaceImage,
        targets: Sequence[Target],
        *,
        epsilon: float = 12 / 255,
        step_size: float = 1.5 / 255,
        center: bool = False,
    ) -> None:
        device = next(embedder.buffers()).device
        spec, side = embedder.spec, face.pixels.shape[-1]
        self.embedder, self.epsilon, self.step_size, self.center = embedder, epsilon, step_size, center
        self.original, self.inside = face.pixels[None].to(device), face.inside[None].to(device)
        self.grid = crop_grid(face.landmarks[None], spec.template, (spec.height, spec.width), side).to(device)
        self.r = self.f(self.original)
        self.t = [embed(embedder, [target.aim]) for target in targets]

    def f(self, x: Tensor) -> Tensor:
        """Return the unit embedding of a face, ``(1, D)``."""
        embedding: Tensor = self.embedder(crop(x, self.grid))
        return embedding

    def loss(self, target: Tensor, x: Tensor) -> Tensor:
        """Return Eq. 2: D(x, t) - D(x, r)."""
        p = self.f(x)
        return (p - target).square().sum() - (p - self.r).square().sum()

    def gradient(self, target: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of Eq. 2 by the face."""
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.loss(target, x), x)[0]

    def gain(self, x: Tensor) -> float:
        """Return Eq. 7, or G1 of section 5.1."""
        with torch.no_grad():
            p = self.f(x)
            terms = [math.exp((p - self.r).square().sum().item() - (p - t).square().sum().item()) for t in self.t]
        return math.log(1 + (sum(terms) if self.center else max(terms)))

    def ball(self, x: Tensor) -> Tensor:
        """Return the projection of Eq. 5; what lies beyond the photo's border cannot change."""
        return (self.original + self.inside * (x - self.original).clamp(-self.epsilon, self.epsilon)).clamp(0, 1)

    def algorithm_1(self, x: Tensor) -> int:
        """Return the index of the target whose candidate step gains most."""
        g_best, best = 0.0, -1
        for index, target in enumerate(self.t):
            candidate = self.ball(x - self.step_size * self.gradient(target, x).sign())
            g = self.gain(candidate)
            if g > g_best:
                g_best, best = g, index
        return best

    def run(self, steps: int) -> tuple[list[int], Tensor]:
        """Return the targets chosen and the mask, ``(1, 3, S, S)``: Eq. 5 with momentum (Dong et al., 2018)."""
        x, momentum, choices = self.original, torch.zeros_like(self.original), []
        for _ in range(steps):
            choices.append(self.algorithm_1(x))
            gradient = self.gradient(self.t[choices[-1]], x)
            momentum = momentum + gradient / gradient.abs().sum()
            x = self.ball(x - self.step_size * momentum.sign())
        return choices, x - self.original
