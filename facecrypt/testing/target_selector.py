"""What a target selector promises: `facecrypt.targets.TargetSelector`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facecrypt.targets.selectors import Distances, Person, Situation, TargetSelector
from facecrypt.testing.inputs import expect, expect_device, unguarded, works

_TARGETS = 5


def returns_the_index_of_a_target_per_face(selector: TargetSelector) -> None:
    """One index below the number of targets for each face, also where there is only one target."""
    for targets in (1, _TARGETS):
        with works("returns the index of a target per face", "Return a tensor (B,) of dtype torch.long."):
            chosen = choose(selector, range(4), targets)
        inside = bool(((chosen >= 0) & (chosen < targets)).all())
        expect(
            tuple(chosen.shape[1:]) == (4,) and chosen.dtype == torch.long and inside,
            "returns the index of a target per face",
            measured=f"{tuple(chosen.shape[1:])} in {chosen.dtype}, from {chosen.min()} to {chosen.max()}",
            allowed=f"(4,) in torch.int64, from 0 to {targets - 1}, for 4 faces and {targets} targets",
            remedy="Return one index per face, counted from 0.",
        )


def same_choice_twice(selector: TargetSelector) -> None:
    """Another run chooses the same, whatever was chosen in between and whatever global random numbers are.

    `Situation.draw` has the face's own.
    """
    first = choose(selector, range(4))
    choose(selector, range(4, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        second = choose(selector, range(4))
    expect(
        torch.equal(first, second),
        "chooses the same twice",
        measured=f"{int((first != second).sum())} of {first.numel()} choices differ in a second run",
        allowed=0,
        remedy="Keep nothing from one run to the next, and draw by situation.draw alone.",
    )


def faces_are_independent(selector: TargetSelector) -> None:
    """A face's target does not depend on the other faces of its batch, nor on their order."""
    together, alone = choose(selector, range(6))[:, [4, 1]], choose(selector, [4, 1])
    alone = torch.where(choose(selector, range(5, -1, -1))[:, [1, 4]] == together, alone, -1)
    expect(
        torch.equal(alone, together),
        "faces are independent",
        measured=f"{int((alone != together).sum())} of {alone.numel()} choices differ in another batch",
        allowed=0,
        remedy="Choose for every face from its own row.",
    )


def stays_on_its_device(selector: TargetSelector) -> None:
    """It computes where the distances are."""

    def compute(device: torch.device) -> Tensor:
        chosen: Tensor = unguarded(selector)(_situation(range(4), 0, _TARGETS, None, device))
        return chosen

    expect_device("stays on its device", compute)


def choose(selector: TargetSelector, faces: Sequence[int], targets: int = _TARGETS, steps: int = 7) -> Tensor:
    """Return the choices of some iterations, ``(steps, B)``, of faces that are told apart by their numbers alone."""
    chosen: list[Tensor] = []
    for step in range(steps):
        chosen.append(selector(_situation(faces, step, targets, chosen[-1] if chosen else None)))
    return torch.stack(chosen)


def _situation(
    faces: Sequence[int], step: int, targets: int, previous: Tensor | None, device: torch.device | str = "cpu"
) -> Situation:
    """Return an iteration in which face i is described by random numbers that depend on i and the step alone."""

    def numbers(face: int, *shape: int) -> Tensor:
        return _numbers(1000 * face + step, *shape).to(device)

    def stack(*shape: int) -> Tensor:
        return torch.stack([numbers(face, *shape) for face in faces])

    return Situation(
        step=step,
        previous=previous,
        now=Distances(stack(), stack(targets)),
        try_targets=lambda wanted: Distances(
            stack(targets), stack(targets, targets).masked_fill(~wanted.unsqueeze(2), torch.inf)
        ),
        draw=lambda below: (stack() / 4 * below).long(),
        # Of every two faces one is known; traits belong to the face, whatever the step.
        people=[Person(f"person {face}", numbers(face, targets)) if face % 2 else None for face in faces],
        apart=lambda trait: torch.stack([_numbers(face, targets) for face in faces]).round().to(device),
    )


def _numbers(seed: int, *shape: int) -> Tensor:
    return 4 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


CHECKS = (
    returns_the_index_of_a_target_per_face,
    same_choice_twice,
    faces_are_independent,
    stays_on_its_device,
)
