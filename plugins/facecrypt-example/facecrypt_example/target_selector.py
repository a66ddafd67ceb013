"""A target selector: the simplest one that visits every target."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from facecrypt.plugin import Field, Situation


class Cycle:
    """Every target in turn, in the order of their names, and then from the first again.

    Args:
        every: Steps towards a target before the next one has its turn.
    """

    def __init__(self, *, every: Annotated[int, Field(ge=1)] = 1) -> None:
        self.every = every

    def __call__(self, situation: Situation) -> Tensor:
        """Return the target whose turn it is, the same for each face, ``(B,)``."""
        faces, targets = situation.now.to_targets.shape
        turn = situation.step // self.every % targets
        return torch.full((faces,), turn, device=situation.now.to_targets.device)
