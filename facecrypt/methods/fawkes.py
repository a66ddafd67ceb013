"""Fawkes (Shan et al., USENIX Security 2020): cloaks that move a face in feature space, within a bound of DSSIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.methods.base import Task, Uses
from facecrypt.naturalness.base import ssim

_TRIES = 20
"""Halvings of the interval in which the largest cloak within rho is sought: to a millionth."""
_CLIP = 1 - 1e-6
"""tanh reaches black and white only at infinity."""


class Fawkes:
    """A cloak: delta = argmin Dist(Phi(x_T), Phi(x + delta)) with |delta| < rho, by a penalty (Eqs. 2 and 3).

    Phi is the unit embedding of the surrogates, whose distances are added, and |delta| = (1 - SSIM(x, x + delta)) / 2.
    T is the target that is most dissimilar to the face. As in the published code, Adam moves w in x + delta =
    (tanh(w) + 1) / 2, so that pixels stay valid, and at last the cloak is scaled to what rho allows. Its step is
    `step_size` at a mid grey.

    The paper chooses one T for all photos of a person, the one whose centre is farthest from the nearest of them; here
    each face chooses its own. Use one target (max_targets: 1) for the same one throughout.

    Args:
        rho: Largest DSSIM of a cloak. The paper's is 0.007.
        penalty: lambda of Eq. 3: weight of how far DSSIM is beyond rho.
    """

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        rho: Annotated[float, Field(gt=0, le=1)] = 0.007,
        penalty: Annotated[float, Field(gt=0, le=1e6)] = 1000.0,
    ) -> None:
        self.rho, self.penalty = rho, penalty

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return the cloak of each face."""
        return [self._cloak(task, number) for number in range(len(task.faces))]

    def _cloak(self, task: Task, number: int) -> Tensor:
        x = task.faces[number].pixels.to(task.device)[None]
        aims = _most_dissimilar(task, number)
        w = torch.atanh((2 * x - 1) * _CLIP).requires_grad_()
        adam = torch.optim.Adam([w], lr=2 * task.step_size)  # The slope of (tanh(w) + 1) / 2 is a half at most.
        for step in range(task.steps):
            with torch.enable_grad():
                cloaked = (torch.tanh(w) + 1) / 2
                phi = [task.recognisers.embed(number, cloaked, each)[0] for each in range(len(aims))]
                distance = torch.stack([(aim - own).norm() for aim, own in zip(aims, phi, strict=True)]).sum()
                excess = (dssim(cloaked, x)[0] - self.rho).clamp_min(0)
                (w.grad,) = torch.autograd.grad(distance + self.penalty * excess, w)
            adam.step()
            cosines = [own @ task.recognisers.original(number, each) for each, own in enumerate(phi)]
            task.on_step(step + 1, torch.stack(cosines).mean().item())
        return task.project(number, _largest_within(((torch.tanh(w) + 1) / 2 - x).detach(), x, self.rho)[0])


def dssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural dissimilarity (1 - SSIM) / 2 of pictures ``(N, 3, H, W)`` in [0, 1], ``(N,)``."""
    return (1 - ssim(a, b)) / 2


def _most_dissimilar(task: Task, number: int) -> list[Tensor]:
    """Return the embeddings in each surrogate of the target that the face resembles least in their mean."""
    recognisers = task.recognisers
    cosines = [targets @ recognisers.original(number, each) for each, targets in enumerate(recognisers.targets)]
    farthest = int(torch.stack(cosines).mean(dim=0).argmin())
    return [targets[farthest] for targets in recognisers.targets]


def _largest_within(delta: Tensor, x: Tensor, rho: float) -> Tensor:
    """Return the largest multiple of a cloak ``(1, 3, S, S)``, up to itself, whose DSSIM is at most rho."""
    if dssim(x + delta, x).item() <= rho:
        return delta
    low, high = 0.0, 1.0
    for _ in range(_TRIES):
        middle = (low + high) / 2
        if dssim(x + middle * delta, x).item() <= rho:
            low = middle
        else:
            high = middle
    return low * delta
