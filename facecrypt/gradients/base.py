"""Which gradient the optimizer is given: that at the masks, or one that tells of the loss around them.

A mask in a flat valley of the surrogates' loss is likelier to work on other recognisers than one in a narrow cleft. A
gradient component is a pure function of its state, like an optimizer: nothing is remembered between runs or faces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.optimizers.base import State

Samples = Annotated[int, Field(ge=1, le=256)]
Radius = Annotated[float, Field(gt=0, le=1000)]


@dataclass(frozen=True)
class Landscape:
    """What a gradient component may ask about the loss in one iteration, for B faces whose targets are chosen.

    Attributes:
        masks: The masks, ``(B, 3, H, W)``.
        at_masks: Returns the gradient of the loss at the masks. One backward pass; use `here`, which keeps it.
        elsewhere: Returns the gradient at other masks, ``(B, 3, H, W)``, in the views of a numbered sample: the same
            masks and number give the same gradient, another number other views. A forward and a backward pass.
        noise: Returns numbers uniform in [-1, 1], ``(B, 3, H, W)``, for a numbered sample, from each face's own seed;
            0 where a mask cannot be changed.
        epsilon: Radius of the ball per value, in the [0, 1] scale of pixels: its root mean square under ``l2``.
        step_size: Length of a step, measured like epsilon.
    """

    masks: Tensor
    at_masks: Callable[[], Tensor]
    elsewhere: Callable[[Tensor, int], Tensor]
    noise: Callable[[int], Tensor]
    epsilon: float
    step_size: float

    @cached_property
    def here(self) -> Tensor:
        """The gradient at the masks, computed on first use."""
        return self.at_masks()


class Gradient(Protocol):
    """Chooses the gradient that the optimizer is given."""

    def init(self, masks: Tensor) -> State:
        """Return the state before the first step.

        Args:
            masks: ``(B, 3, H, W)``; only shape, type and device are used.
        """
        ...

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        """Return the gradient to follow, ``(B, 3, H, W)``, and the next state. Faces never influence each other.

        Args:
            landscape: The loss around the masks.
            state: As returned by the previous call, or by `init`.
        """
        ...


class Plain:
    """The gradient at the masks. Cost: one gradient per step."""

    def __init__(self) -> None: ...

    def init(self, masks: Tensor) -> State:
        """Return the empty state: the gradient has no memory."""
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        """Return the gradient at the masks."""
        return landscape.here, state


class VarianceTuning:
    """Adds how the neighbours' gradients differed at the last step: VMI-FGSM (Wang & He, CVPR 2021).

    With the gradient g and N neighbours at u_i, uniform in the box of radius ``beta * epsilon`` around the masks m,

        followed = g(m) + v,  v' = mean of g(m + u_i) over i, minus g(m)

    where v is that of the step before, at first 0. Cost: 1 + samples gradients per step.

    Args:
        samples: Neighbours per step; the paper takes 20.
        beta: Radius of the box in units of epsilon.
    """

    def __init__(self, *, samples: Samples = 5, beta: Radius = 1.5) -> None:
        self.samples = samples
        self.beta = beta

    def init(self, masks: Tensor) -> State:
        """Return a variance of zero."""
        return (torch.zeros_like(masks),)

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        """Return the gradient at the masks plus the last variance, and the new variance."""
        here = landscape.here  # Before the others: it frees what the look at the masks holds in memory.
        radius = self.beta * landscape.epsilon
        total = torch.zeros_like(here)
        for sample in range(1, self.samples + 1):
            total = total + landscape.elsewhere(landscape.masks + radius * landscape.noise(sample), sample)
        return here + state[0], (total / self.samples - here,)


class PenaliseNorm:
    """Averages gradients of neighbours and of points uphill of them: PGN (Ge et al., NeurIPS 2023).

    For each of N neighbours n, uniform in the box of radius ``zeta * epsilon`` around the masks, the gradient g(n) and
    that at a further step of the step size against the descent are mixed:

        (1 - delta) * g(n) + delta * g(n + step_size * g(n) / mean of abs(g(n)))

    which to first order penalises the norm of the gradient. Cost: 2 * samples gradients per step, beside the forward
    pass in which the target is chosen.

    Args:
        samples: Neighbours per step; the paper takes 20.
        zeta: Radius of the box in units of epsilon.
        delta: Share of the gradient uphill.
    """

    def __init__(
        self,
        *,
        samples: Samples = 3,
        zeta: Radius = 3.0,
        delta: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.samples = samples
        self.zeta = zeta
        self.delta = delta

    def init(self, masks: Tensor) -> State:
        """Return the empty state: the gradient has no memory."""
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        """Return the mean of the mixed gradients."""
        total = torch.zeros_like(landscape.masks)
        for sample in range(1, self.samples + 1):
            neighbour = landscape.masks + self.zeta * landscape.epsilon * landscape.noise(sample)
            first = landscape.elsewhere(neighbour, sample)
            size = first.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(first.dtype).tiny)
            second = landscape.elsewhere(neighbour + landscape.step_size * first / size, sample)
            total = total + (1 - self.delta) * first + self.delta * second
        return total / self.samples, state
