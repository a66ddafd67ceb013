"""A gradient: that of the place where a plain step would lead."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from facecrypt.plugin import Field, Landscape, State, normalize


class Ahead:
    """The gradient a step further downhill: the extragradient method (Korpelevich, 1976).

    With the gradient g at the masks m, the gradient at ``m - reach * step_size * sign(g)`` is followed from m. It sees
    where the loss bends upwards before a step is taken. Cost: two gradients per step.

    Args:
        reach: Length of the look ahead, in steps.
    """

    def __init__(self, *, reach: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.reach = reach

    def init(self, masks: Tensor) -> State:
        """Return the empty state: the gradient has no memory."""
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        """Return the gradient ahead; sample 0 has the views of the gradient at the masks."""
        step = self.reach * landscape.step_size * normalize(landscape.here, "linf")
        return landscape.elsewhere(landscape.masks - step, 0), state
