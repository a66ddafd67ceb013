"""A method of its own: a random search that sees similarities alone, and counts what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from facecrypt.plugin import Field, Task, Uses

Share = Annotated[float, Field(gt=0, le=1)]


class RandomSquares:
    """Random search by scores, after Square Attack (Andriushchenko et al., ECCV 2020), simplified.

    It begins with vertical stripes, and changes one square after another to another corner of the ball, where that
    makes the face less similar to itself in the mean of the surrogates. Squares get smaller as queries are used up.

    Args:
        queries: Pictures of each face that recognisers are shown.
        share: Share of the face that the first squares cover.
    """

    uses: Uses = "scores"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        queries: Annotated[int, Field(ge=1, le=1_000_000)] = 50,
        share: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        self.queries, self.share = queries, share

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return the best mask that was tried for each face."""
        return [self._search(task, number) for number in range(len(task.faces))]

    def _search(self, task: Task, number: int) -> Tensor:
        face, draw = task.faces[number], task.generator(number)
        pixels, side = face.pixels.to(task.device), face.pixels.shape[-1]

        def signs(*shape: int) -> Tensor:
            return torch.randint(2, shape, generator=draw).float() * 2 - 1

        def similarity(mask: Tensor) -> float:
            images = (pixels + mask.to(task.device)).clamp(0, 1)[None]
            return task.recognisers.similarity(number, images).mean().item()

        best = task.epsilon * signs(3, 1, side).expand(3, side, side).clone()
        least = similarity(best)
        for query in range(1, self.queries):
            left = 1 - query / self.queries
            wide = max(1, round(side * (self.share * left) ** 0.5))
            top, start = (int(torch.randint(side - wide + 1, (), generator=draw)) for _ in range(2))
            tried = best.clone()
            tried[:, top : top + wide, start : start + wide] = task.epsilon * signs(3, 1, 1)
            if (now := similarity(tried)) < least:
                best, least = tried, now
            task.on_step(query, least)
        return best
