"""Square Attack (Andriushchenko et al., ECCV 2020): a random search by scores, one square after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.methods.base import Task, Uses

_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10,000 from which on the share p of pixels in a square is half of what it was (section 3)."""


class Square:
    """Algorithms 1 and 2 of the paper, in the infinity ball: the cosine with the own identity is what falls.

    x begins with vertical stripes of +-epsilon. At iteration i, a square of side h(i), drawn anew, is set to +-epsilon,
    a sign per channel, and stays where the mean cosine over the surrogates is less than before. h(i) = sqrt(p w^2), and
    p halves at iterations 10, 50, 200, 1000, 2000, 4000, 6000, 8000 of 10,000, in proportion to `steps`, which is the
    number of queries.

    Args:
        p: Share of the face that the first squares cover.
        below: Mean cosine below which a face is done; null uses all queries.
    """

    uses: Uses = "scores"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        p: Annotated[float, Field(gt=0, le=1)] = 0.05,
        below: Annotated[float, Field(ge=-1, le=1)] | None = None,
    ) -> None:
        self.p, self.below = p, below

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return the best mask that was found for each face."""
        return [self._search(task, number) for number in range(len(task.faces))]

    def side(self, iteration: int, iterations: int, width: int) -> int:
        """Return h(i), the side of a square in pixels of a picture of that width."""
        halvings = sum(iteration / iterations > at / 10_000 for at in _HALVED_AT)
        return min(max(round(math.sqrt(self.p / 2**halvings) * width), 1), width)

    def _search(self, task: Task, number: int) -> Tensor:
        draw, w = task.generator(number), task.faces[number].pixels.shape[-1]
        x = task.faces[number].pixels.to(task.device)

        def signs(*shape: int) -> Tensor:
            return task.epsilon * (2.0 * torch.randint(2, shape, generator=draw) - 1).to(task.device)

        def loss(mask: Tensor) -> float:
            return task.recognisers.similarity(number, (x + mask)[None]).mean().item()

        best = task.project(number, signs(3, 1, w).expand(3, w, w))
        least = loss(best)
        for i in range(1, task.steps):
            if self.below is not None and least < self.below:
                break
            h = self.side(i, task.steps, w)
            r, s = (int(torch.randint(w - h + 1, (), generator=draw)) for _ in range(2))
            tried = best.clone()
            tried[:, r : r + h, s : s + h] = signs(3, 1, 1)
            tried = task.project(number, tried)
            if (now := loss(tried)) < least:
                best, least = tried, now
            task.on_step(i, least)
        return best
