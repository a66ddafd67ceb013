"""Adversarial image perturbation as a game (Oh, Fritz & Schiele, ICCV 2017): a mask drawn from the equilibrium."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from itertools import product
from typing import Annotated, Literal, NamedTuple

import torch
from kornia.filters import gaussian_blur2d
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.errors import FacecryptError
from facecrypt.methods.base import Task, Uses

Attack = Literal["fgs", "bi", "ga", "gaman"]
Process = Literal["none", "translate", "noise", "blur", "crop", "all"]

_SHIFT, _NOISE, _BLUR, _MARGIN = 0.05, 10 / 255, 2.0, 0.1
"""Most that a process does: share of the side, standard deviation in the [0, 1] scale, that of a filter in pixels of a
face of 112, share of the side that is cut off."""
_SIDE = 112


class Game(NamedTuple):
    """The user's optimal strategy.

    Attributes:
        theta: Probability of each of the user's I strategies, ``(I,)``.
        value: The recogniser's payoff against it, at most.
    """

    theta: Tensor
    value: float


class Gaman:
    """The user's equilibrium strategy in a game where the recogniser processes pictures before it looks at them.

    A strategy of the user is an attack made robust to a process: r = argmax of the mean of L(g(x + r)) over draws of
    the process g. ``gaman`` ascends L = max over targets of cos(f, t) - cos(f, own), the way to whom the face resembles
    most already; ``ga`` ascends -cos(f, own), both by gradients of Euclidean length 1. ``bi`` ascends the latter by
    signs, and ``fgs`` in one step. A strategy of the recogniser is a process. The payoff p_ij is the cosine with the
    own identity under the user's i and the recogniser's j, and the user minimises the largest column of theta p (the
    linear programme of section 4.1). The mask is that of a strategy drawn from theta, so nobody knows which process
    would undo it.

    In the paper payoffs are rates of recognition over many photos; here they are the face's own cosines.

    Args:
        attacks: Attacks of the user.
        robust_to: Processes that the user prepares for; each attack with each is a strategy.
        processes: Processes of the recogniser.
        draws: Draws of a process at each step, and for each payoff.
    """

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        attacks: Annotated[Sequence[Attack], Field(min_length=1)] = ("gaman",),
        robust_to: Annotated[Sequence[Process], Field(min_length=1)] = (
            "none",
            "translate",
            "noise",
            "blur",
            "crop",
            "all",
        ),
        processes: Annotated[Sequence[Process], Field(min_length=1)] = ("none", "translate", "noise", "blur", "crop"),
        draws: Annotated[int, Field(ge=1, le=64)] = 2,
    ) -> None:
        if importlib.util.find_spec("scipy") is None:
            raise FacecryptError("method gaman: needs scipy, which is not installed. Install facecrypt[game].")
        self.strategies = list(product(attacks, robust_to))
        self.processes, self.draws = list(processes), draws

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return a mask drawn from the equilibrium of each face."""
        return [self._play(task, number) for number in range(len(task.faces))]

    def _play(self, task: Task, number: int) -> Tensor:
        draw = task.generator(number)
        masks = [self._attack(task, number, *strategy, draw) for strategy in self.strategies]
        game = equilibrium(torch.stack([self._payoffs(task, number, mask, draw) for mask in masks]))
        return masks[int(torch.multinomial(game.theta, 1, generator=draw))]

    def _attack(self, task: Task, number: int, attack: Attack, process: Process, draw: torch.Generator) -> Tensor:
        """Return the mask of one strategy of the user."""
        face = task.faces[number]
        x = face.pixels.to(task.device)
        unit = (3 * face.inside.sum()).sqrt().item()  # So that steps of Euclidean length have their root mean square.
        mask = torch.zeros_like(x)
        for step in range(1 if attack == "fgs" else task.steps):
            changed = (x + mask)[None].requires_grad_()
            with torch.enable_grad():
                own, nearest = self._cosines(task, number, self._seen(changed, process, draw))
                loss = nearest - own if attack == "gaman" else -own
                (gradient,) = torch.autograd.grad(loss.mean(), changed)
            if attack in ("fgs", "bi"):
                move = gradient[0].sign() * (task.epsilon if attack == "fgs" else task.step_size)
            else:
                length = gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
                move = task.step_size * unit * gradient[0] / length
            mask = task.project(number, mask + move)
            task.on_step(step + 1, own.mean().item())
        return mask

    def _payoffs(self, task: Task, number: int, mask: Tensor, draw: torch.Generator) -> Tensor:
        """Return p_ij of a strategy of the user against each process of the recogniser, ``(J,)``."""
        changed = (task.faces[number].pixels.to(mask.device) + mask)[None]
        with torch.no_grad():
            seen = [self._seen(changed, process, draw) for process in self.processes]
            return torch.stack([self._cosines(task, number, images)[0].mean().cpu() for images in seen])

    def _seen(self, image: Tensor, process: Process, draw: torch.Generator) -> Tensor:
        return torch.cat([processed(image, process, draw) for _ in range(1 if process == "none" else self.draws)])

    @staticmethod
    def _cosines(task: Task, number: int, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines with the own identity and with the nearest target, ``(N,)``, means over the surrogates."""
        recognisers = task.recognisers
        seen = [recognisers.embed(number, images, each) for each in range(len(recognisers.names))]
        own = [f @ recognisers.original(number, each) for each, f in enumerate(seen)]
        nearest = [(f @ recognisers.targets[each].T).amax(dim=1) for each, f in enumerate(seen)]
        return torch.stack(own).mean(dim=0), torch.stack(nearest).mean(dim=0)


def equilibrium(payoffs: Tensor) -> Game:
    """Return the user's optimal mixed strategy: min over theta of the max over j of sum_i theta_i p_ij.

    As a linear programme: the least v with sum_i theta_i p_ij <= v for all j, theta >= 0 and sum_i theta_i = 1.

    Args:
        payoffs: What the recogniser gains by strategy j against the user's i, ``(I, J)``.
    """
    from scipy.optimize import linprog

    strategies, processes = payoffs.shape
    solved = linprog(
        c=[0.0] * strategies + [1.0],
        A_ub=torch.cat([payoffs.double().T, -torch.ones(processes, 1).double()], dim=1).numpy(),
        b_ub=[0.0] * processes,
        A_eq=[[1.0] * strategies + [0.0]],
        b_eq=[1.0],
        bounds=[(0.0, None)] * strategies + [(None, None)],
    )
    theta = torch.as_tensor(solved.x[:-1]).clamp_min(0).float()
    return Game(theta / theta.sum(), float(solved.x[-1]))


def processed(image: Tensor, process: Process, draw: torch.Generator) -> Tensor:
    """Return a picture ``(1, 3, S, S)`` as a recogniser that processes it sees it, differentiable.

    Args:
        image: RGB in [0, 1].
        process: ``translate``, ``noise``, ``blur`` and ``crop`` at random strength, ``all`` of them, or ``none``.
        draw: Draws the strength.
    """
    for name in ("translate", "noise", "blur", "crop") if process == "all" else (process,):
        image = _PROCESSES[name](image, draw)
    return image


def _translate(image: Tensor, draw: torch.Generator) -> Tensor:
    reach = round(_SHIFT * image.shape[-1])
    right, down = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
    return functional.pad(image, (right, -right, down, -down))


def _noise(image: Tensor, draw: torch.Generator) -> Tensor:
    return (image + _NOISE * torch.randn(image.shape, generator=draw).to(image.device)).clamp(0, 1)


def _blur(image: Tensor, draw: torch.Generator) -> Tensor:
    largest = _BLUR * image.shape[-1] / _SIDE
    sigma = max(largest * torch.rand((), generator=draw).item(), 0.05)
    return gaussian_blur2d(image, 2 * int(2 * largest) + 1, (sigma, sigma))


def _crop(image: Tensor, draw: torch.Generator) -> Tensor:
    side = image.shape[-1]
    cut = int(torch.randint(round(_MARGIN * side) + 1, (), generator=draw))
    top, left = torch.randint(cut + 1, (2,), generator=draw).tolist()
    part = image[..., top : top + side - cut, left : left + side - cut]
    return functional.interpolate(part, size=(side, side), mode="bilinear")


_PROCESSES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": lambda image, draw: image,
    "translate": _translate,
    "noise": _noise,
    "blur": _blur,
    "crop": _crop,
}
