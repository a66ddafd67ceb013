"""The evolutionary attack (Dong et al., CVPR 2019): decisions alone, searched in few dimensions that adapt."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.errors import FacecryptError
from facecrypt.faces.alignment import ALIGNED_SIDE
from facecrypt.methods.aligned import align, replace_face
from facecrypt.methods.base import Task, Uses
from facecrypt.templates import ARCFACE_TEMPLATE

_C_C, _C_COV = 0.01, 0.001
"""Learning rates of the evolution path and of the covariance (section 3.2)."""
_MEMORY = 30
"""Trials of which the share of successes steers mu."""


class Evolutionary:
    """Algorithm 1 of the paper, to dodge: a picture that nobody takes for the person comes ever nearer to the face.

    C is a diagonal covariance of m dimensions, p_c its evolution path. At each trial, z ~ N(0, C) has all but k of its
    coordinates, drawn in proportion to C, set to 0, is enlarged to the face bilinearly, given the length sigma
    D(x*, x), and carried mu of the way to the face: x* + z + mu (x - x*). Where that is nearer to x and no surrogate
    recognises it, x* goes there, and

    p_c = (1 - c_c) p_c + sqrt(c_c (2 - c_c)) z / sigma, c_ii = (1 - c_cov) c_ii + c_cov (p_c)_i^2 (Eqs. 6 and 7).

    mu is multiplied by exp(P - 1/5) for the share P of the last 30 trials that succeeded. A trial that is no nearer
    than x* is not shown to anybody. It begins with a target's face in place of the own one, or with grey. The change is
    as large as it is after `steps` trials: epsilon bounds it nowhere, since a bound would undo what was found.

    Args:
        side: m is 3 side^2; 45 in the paper, for faces of 112 pixels.
        share: k / m, 1/20 in the paper.
        sigma: Length of a random step as a share of the distance from the face.
        mu: Share of the way to the face, at first.
    """

    uses: Uses = "decisions"
    bounded = False
    native = False

    def __init__(
        self,
        *,
        side: Annotated[int, Field(ge=1, le=192)] = 45,
        share: Annotated[float, Field(gt=0, le=1)] = 0.05,
        sigma: Annotated[float, Field(gt=0, le=1)] = 0.01,
        mu: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    ) -> None:
        self.side, self.share, self.sigma, self.mu = side, share, sigma, mu

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what turns each face into the nearest picture found that nobody takes for the person.

        Raises:
            FacecryptError: If the surrogates take even a grey square for the person.
        """
        return [self._search(task, number) for number in range(len(task.faces))]

    def _search(self, task: Task, number: int) -> Tensor:
        draw = task.generator(number)
        x = task.faces[number].pixels.to(task.device)
        best = self._begin(task, number, x, draw)
        side = min(self.side, x.shape[-1])
        c, p_c = torch.ones(3 * side * side), torch.zeros(3 * side * side)
        k = max(1, round(self.share * len(c)))
        mu, trials = self.mu, deque[bool](maxlen=_MEMORY)
        for step in range(task.steps):
            chosen = torch.multinomial(c, k, generator=draw)
            z = torch.zeros_like(c)
            z[chosen] = torch.randn(k, generator=draw) * c[chosen].sqrt()
            large = functional.interpolate(z.view(1, 3, side, side), size=x.shape[1:], mode="bilinear")[0].to(x.device)
            length = self.sigma * (x - best).norm() / large.norm()
            tried = (best + length * large + mu * (x - best)).clamp(0, 1)
            tried = torch.where(task.faces[number].inside.to(x.device) > 0, tried, x)
            won = bool((tried - x).norm() < (best - x).norm()) and self._escapes(task, number, tried)
            if won:
                best = tried
                p_c = (1 - _C_C) * p_c + (_C_C * (2 - _C_C)) ** 0.5 * z
                c = (1 - _C_COV) * c + _C_COV * p_c.square()
            trials.append(won)
            if len(trials) == _MEMORY:
                mu = min(mu * torch.tensor(sum(trials) / _MEMORY - 0.2).exp().item(), 0.5)
            task.on_step(step + 1, None)
        return best - x

    def _begin(self, task: Task, number: int, x: Tensor, draw: torch.Generator) -> Tensor:
        for index in torch.randperm(len(task.targets), generator=draw).tolist():
            aligned = align(task.targets[index], ARCFACE_TEMPLATE, ALIGNED_SIDE)
            start = replace_face(task.faces[number], aligned, ARCFACE_TEMPLATE).to(x.device)
            if self._escapes(task, number, start):
                return start
        grey = torch.where(task.faces[number].inside.to(x.device) > 0, torch.full_like(x, 0.5), x)
        if self._escapes(task, number, grey):
            return grey
        raise FacecryptError(
            "method evolutionary: the surrogates take even a grey square for the person, so there is nowhere to begin. "
            "Name others."
        )

    @staticmethod
    def _escapes(task: Task, number: int, image: Tensor) -> bool:
        return not task.recognisers.recognised(number, image[None]).any()
