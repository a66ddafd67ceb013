"""What an optimizer promises, in either norm: `facecrypt.optimizers.Optimizer`."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from facecrypt.choices import Norm
from facecrypt.optimizers.base import Optimizer, State
from facecrypt.testing.inputs import expect, expect_device, gap, unguarded, works

_NORMS: tuple[Norm, ...] = ("linf", "l2")


def returns_a_step_per_mask(optimizer: Optimizer) -> None:
    """A finite step of the gradients' shape and type, and a tuple as state."""
    gradients = _gradients()
    for norm in _NORMS:
        with works(f"returns a step per mask ({norm})", "See facecrypt.optimizers.Optimizer."):
            step, state = optimizer.update(gradients, optimizer.init(torch.zeros_like(gradients)), norm)
        alike = step.shape == gradients.shape and step.dtype == gradients.dtype and bool(step.isfinite().all())
        expect(
            alike and isinstance(state, tuple),
            f"returns a step per mask ({norm})",
            measured=f"{tuple(step.shape)} in {step.dtype}, state {type(state).__name__}",
            allowed=f"{tuple(gradients.shape)} in {gradients.dtype}, finite, state tuple",
            remedy="Return the step and a tuple of tensors.",
        )


def first_step_has_unit_length(optimizer: Optimizer) -> None:
    """The loop multiplies it by step_size: its largest value is 1, or under ``l2`` its length. Signs need not be."""
    gradients = _gradients()
    for norm in _NORMS:
        step, _ = optimizer.update(gradients, optimizer.init(torch.zeros_like(gradients)), norm)
        largest, lengths = step.abs().amax(dim=(1, 2, 3)), step.flatten(1).norm(dim=1)
        fitting = (largest - 1).abs() <= 1e-3
        if norm == "l2":  # What scales by the largest value whatever the norm is held by the projection.
            fitting = fitting | ((lengths - 1).abs() <= 1e-3)
        expect(
            fitting.all(),
            f"the first step has unit length ({norm})",
            measured=f"largest values {largest.tolist()}, lengths {lengths.tolist()}",
            allowed="a largest value of 1 within 0.001" + (", or a length of 1" if norm == "l2" else ""),
            remedy="End with facecrypt.optimizers.normalize, and correct the bias of averages.",
        )


def is_a_function_of_its_state(optimizer: Optimizer) -> None:
    """The same gradients and state give the same step again, whatever came between, and are left as they are."""
    gradients = _gradients()
    for norm in _NORMS:
        state = _descend(optimizer, norm, steps=3).state
        inputs = gradients.clone(), copy.deepcopy(state)
        first = optimizer.update(gradients, state, norm)
        for _ in range(3):
            optimizer.update(-7 * gradients.flip(0), optimizer.init(torch.zeros_like(gradients)), norm)
            again = optimizer.update(gradients, state, norm)
        expect(
            torch.equal(first[0], again[0]) and _equal(first[1], again[1]),
            f"is a function of its state ({norm})",
            measured=f"a step that differs by {gap(first[0], again[0]):.2g}, or another state, the second time",
            allowed="the same",
            remedy="Keep everything that is remembered in the state, and draw nothing.",
        )
        expect(
            torch.equal(gradients, inputs[0]) and _equal(state, inputs[1]),
            f"leaves gradients and state as they are ({norm})",
            measured="a change in place",
            allowed="none",
            remedy="Return new tensors.",
        )


def state_is_made_from_the_shape_alone(optimizer: Optimizer) -> None:
    """The first state depends on the shape of the masks and not on their values."""
    gradients = _gradients()
    masks = gradients.clone()
    states = optimizer.init(masks), optimizer.init(torch.zeros_like(masks))
    expect(
        _equal(*states) and torch.equal(masks, gradients),
        "the state is made from the shape alone",
        measured="another first state for other masks, or masks changed in place",
        allowed="the same",
        remedy="Start from zeros.",
    )


def faces_are_independent(optimizer: Optimizer) -> None:
    """Other gradients of other faces, or another order of them, leave the step of a face as it is."""
    gradients = _gradients()
    changed = gradients.clone()
    changed[1:] = -5 * gradients[1:]
    for norm in _NORMS:
        steps = []
        for each in (gradients, changed, gradients.flip(0), gradients[:1]):
            _, state = optimizer.update(each, optimizer.init(torch.zeros_like(each)), norm)
            steps.append(optimizer.update(each, state, norm)[0])
        own = steps[0][:1]
        worst = max(gap(own, steps[1][:1]), gap(own, steps[2][2:]), gap(own, steps[3]))
        expect(
            worst <= 1e-5,
            f"faces are independent ({norm})",
            measured=f"a change of {worst:.2g} in a face whose gradient stayed",
            allowed="<= 1e-05",
            remedy="Measure lengths per face, over dimensions 1, 2 and 3.",
        )


def a_face_without_gradient_stays(optimizer: Optimizer) -> None:
    """Zeros give a step of zeros, and nothing that is no number; the other faces move."""
    gradients = _gradients()
    gradients[1] = 0
    for norm in _NORMS:
        state = optimizer.init(torch.zeros_like(gradients))
        for _ in range(2):
            step, state = optimizer.update(gradients, state, norm)
            expect(
                bool(step.isfinite().all() and (step[1] == 0).all() and (step[[0, 2]] != 0).any()),
                f"a face without gradient stays ({norm})",
                measured=f"a step of up to {step[1].abs().max():.2g} there, {step[[0, 2]].abs().max():.2g} elsewhere",
                allowed="0 there, more elsewhere",
                remedy="Keep divisions away from zero by the smallest positive number.",
            )


def scale_of_the_gradient_does_not_matter(optimizer: Optimizer) -> None:
    """A recogniser's gradients may be a tenth or a millionth of another's."""
    gradients = _gradients()
    for norm in _NORMS:
        state = optimizer.init(torch.zeros_like(gradients))
        plain, _ = optimizer.update(gradients, state, norm)
        for scale in (1e-12, 1e6):
            worst = gap(optimizer.update(gradients * scale, state, norm)[0], plain)
            expect(
                worst <= 1e-3,
                f"the scale of the gradient does not matter ({norm})",
                measured=f"a difference of {worst:.2g} for gradients times {scale:g}",
                allowed="<= 0.001",
                remedy="Normalise gradients before they are added up.",
            )


def descends_a_quadratic(optimizer: Optimizer) -> None:
    """It goes down at once and stays below the start; how fast is its own affair."""
    for norm in _NORMS:
        losses = _descend(optimizer, norm, steps=10).losses
        expect(
            losses[1] < losses[0] and losses[-1] < losses[0],
            f"descends a quadratic ({norm})",
            measured=f"{losses[0]:.4g}, then {losses[1]:.4g}, after ten steps {losses[-1]:.4g}",
            allowed="less than at first, after one step and after ten",
            remedy="The loop subtracts the step: return it with the gradient's sign.",
        )


def stays_on_its_device(optimizer: Optimizer) -> None:
    """It computes where the gradients are."""
    for norm in _NORMS:

        def compute(device: torch.device, norm: Norm = norm) -> Tensor:
            gradients, raw = _gradients().to(device), unguarded(optimizer)
            state = raw.init(torch.zeros_like(gradients))
            for _ in range(2):
                step, state = raw.update(gradients, state, norm)
            found: Tensor = step
            return found

        expect_device(f"stays on its device ({norm})", compute)


class _Descent(NamedTuple):
    losses: list[float]
    state: State


def _gradients() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _descend(optimizer: Optimizer, norm: Norm, steps: int) -> _Descent:
    """Return what happens to half the squared distance from random points, from zero."""
    aim = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros_like(aim)
    # The l2 step of a face has length 1 over all of its values; the linf step has length 1 in each.
    step_size = 0.05 * (aim[0].numel() ** 0.5 if norm == "l2" else 1.0)
    state = optimizer.init(masks)
    losses = []
    for _ in range(steps):
        losses.append(0.5 * (masks - aim).square().sum().item())
        step, state = optimizer.update(masks - aim, state, norm)
        masks = masks - step_size * step
    losses.append(0.5 * (masks - aim).square().sum().item())
    return _Descent(losses, state)


def _equal(a: State, b: State) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


CHECKS = (
    returns_a_step_per_mask,
    first_step_has_unit_length,
    is_a_function_of_its_state,
    state_is_made_from_the_shape_alone,
    faces_are_independent,
    a_face_without_gradient_stays,
    scale_of_the_gradient_does_not_matter,
    descends_a_quadratic,
    stays_on_its_device,
)
