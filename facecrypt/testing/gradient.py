"""What a gradient component promises: `facecrypt.gradients.Gradient`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.gradients.base import Gradient, Landscape
from facecrypt.testing.inputs import expect, expect_device, gap, unguarded, works

_FACES = range(3)


def returns_a_gradient_per_mask(gradient: Gradient) -> None:
    """A finite gradient of the masks' shape and type, and a tuple as state."""
    masks = _masks()
    with works("returns a gradient per mask", "See facecrypt.gradients.Gradient."):
        followed, state = gradient.update(_landscape(masks, _FACES), gradient.init(masks))
    alike = followed.shape == masks.shape and followed.dtype == masks.dtype and bool(followed.isfinite().all())
    expect(
        alike and isinstance(state, tuple),
        "returns a gradient per mask",
        measured=f"{tuple(followed.shape)} in {followed.dtype}, state {type(state).__name__}",
        allowed=f"{tuple(masks.shape)} in {masks.dtype}, finite, state tuple",
        remedy="Return the gradient and a tuple of tensors.",
    )


def leads_downhill(gradient: Gradient) -> None:
    """On a bumpy bowl, each face's gradient points away from the bottom, or is zero once the face needs no more."""
    masks = _masks()
    uphill = (masks - _BOTTOM).flatten(1)
    for number, followed in enumerate(_follow(gradient, masks, _FACES, fixed=True)):
        cosines = functional.cosine_similarity(followed.flatten(1), uphill)
        stopped = (followed == 0).flatten(1).all(dim=1) & (number > 0)
        expect(
            bool((stopped | (cosines > 0.5)).all()),
            f"leads downhill (step {number})",
            measured=f"cosines with the way uphill of {[round(each, 3) for each in cosines.tolist()]}",
            allowed="above 0.5, or a gradient of zero after the first step",
            remedy="Build the gradient from those that the landscape gives; the loop steps against it.",
        )


def is_a_function_of_its_state(gradient: Gradient) -> None:
    """The same landscapes and first state give the same gradients again; its noise is the only random number."""
    masks = _masks()
    kept, numbers = masks.clone(), torch.get_rng_state()
    first = _follow(gradient, masks, _FACES)
    _follow(gradient, -masks, _FACES)
    again = _follow(gradient, masks, _FACES)
    expect(
        all(torch.equal(a, b) for a, b in zip(first, again, strict=True)),
        "is a function of its state",
        measured="other gradients the second time",
        allowed="the same",
        remedy="Keep everything that is remembered in the state.",
    )
    expect(
        torch.equal(torch.get_rng_state(), numbers) and torch.equal(masks, kept),
        "changes nothing else",
        measured="torch's random numbers drawn, or the masks changed in place",
        allowed="neither",
        remedy="Take random numbers from the landscape's noise, and return new tensors.",
    )


def faces_are_independent(gradient: Gradient) -> None:
    """A face's gradient is the same in a batch, alone, and in another order."""
    masks, some = _masks(), [2, 0]
    together, apart = _follow(gradient, masks, _FACES), _follow(gradient, masks[some], some)
    widest = max(gap(many[some], few) for many, few in zip(together, apart, strict=True))
    expect(
        widest <= 1e-5,
        "faces are independent",
        measured=f"a gradient that differs by {widest:.2g} in another batch",
        allowed="at most 1e-05",
        remedy="Reduce over dimensions 1 to 3 only.",
    )


def the_order_of_faces_does_not_matter(gradient: Gradient) -> None:
    """The same faces in another order have the same gradients."""
    masks, turned = _masks(), list(reversed(_FACES))
    first, again = _follow(gradient, masks, _FACES), _follow(gradient, masks.flip(0), turned)
    widest = max(gap(one, other.flip(0)) for one, other in zip(first, again, strict=True))
    expect(
        widest <= 1e-5,
        "the order of faces does not matter",
        measured=f"a gradient that differs by {widest:.2g} in another order",
        allowed="at most 1e-05",
        remedy="Keep nothing of earlier faces but in the state.",
    )


def stays_on_its_device(gradient: Gradient) -> None:
    """It computes where the masks are."""

    def compute(device: torch.device) -> Tensor:
        masks = _masks().to(device)
        followed: Tensor = _follow(unguarded(gradient), masks, _FACES)[-1]
        return followed

    expect_device("stays on its device", compute)


def a_face_without_gradient_has_none(gradient: Gradient) -> None:
    """Where the loss is flat all around, nothing is followed."""
    masks = _masks()
    flat = replace(
        _landscape(masks, _FACES),
        at_masks=lambda: torch.zeros_like(masks),
        elsewhere=lambda at, sample: torch.zeros_like(at),
    )
    followed, _ = gradient.update(flat, gradient.init(masks))
    expect(
        (followed == 0).all(),
        "a face without gradient has none",
        measured=f"up to {followed.abs().max().item():.2g}",
        allowed="0",
        remedy="Divide by a length only after keeping it from 0.",
    )


_BOTTOM = 0.1


def _masks() -> Tensor:
    return 0.05 * torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _landscape(masks: Tensor, faces: Sequence[int], step: int = 0) -> Landscape:
    """Return a bumpy bowl, with bumps of each face's own: all of it without a recogniser."""

    def numbers(face: int, sample: int) -> Tensor:
        return torch.rand(masks.shape[1:], generator=torch.Generator().manual_seed(1000 * face + 10 * step + sample))

    def gradient(at: Tensor, sample: int) -> Tensor:
        bumps = torch.stack([numbers(face, sample) for face in faces]).to(masks.device)
        return at - _BOTTOM + 0.01 * (20 * at + bumps).sin()

    return Landscape(
        masks=masks,
        at_masks=lambda: gradient(masks, 0),
        elsewhere=gradient,
        noise=lambda sample: 2 * torch.stack([numbers(face, 5 + sample) for face in faces]).to(masks.device) - 1,
        epsilon=0.05,
        step_size=0.01,
    )


def _follow(gradient: Gradient, masks: Tensor, faces: Sequence[int], *, fixed: bool = False) -> list[Tensor]:
    """Return the gradients of three steps from some masks, or of three looks at the same place."""
    state, followed = gradient.init(masks), []
    for step in range(3):
        now, state = gradient.update(_landscape(masks, faces, step), state)
        followed.append(now)
        if not fixed:
            masks = masks - 0.01 * now.sign()
    return followed


CHECKS = (
    returns_a_gradient_per_mask,
    leads_downhill,
    is_a_function_of_its_state,
    faces_are_independent,
    the_order_of_faces_does_not_matter,
    a_face_without_gradient_has_none,
    stays_on_its_device,
)
