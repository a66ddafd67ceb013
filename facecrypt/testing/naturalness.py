"""What a naturalness term promises: `facecrypt.naturalness.Naturalness`."""

from __future__ import annotations

from unittest import SkipTest

import torch

from facecrypt.naturalness.base import Naturalness
from facecrypt.testing.inputs import expect, expect_device, expect_everywhere, gap, pictures, unguarded, works


def returns_one_number_per_face(term: Naturalness) -> None:
    """One finite float32 number per face, for one view and for several."""
    for faces, views in ((1, 1), (3, 2)):
        with works("returns one number per face", "Take two tensors (B, V, 3, H, W), return (B,)."):
            penalty = term(*pictures(faces, views))
        expect(
            tuple(penalty.shape) == (faces,) and penalty.dtype == torch.float32 and bool(penalty.isfinite().all()),
            "returns one number per face",
            measured=f"{tuple(penalty.shape)} in {penalty.dtype}: {penalty.flatten()[:3].tolist()}",
            allowed=f"({faces},) in torch.float32, finite, for {faces} faces in {views} views",
            remedy="Average over views, channels and pixels, and not over faces.",
        )


def tells_changed_faces_from_untouched_ones(term: Naturalness) -> None:
    """A changed face has another penalty than the untouched one, whatever that is; a remark, where it has less.

    Most terms grow with what is seen of a mask. One that leads away from the original, as the distance of features in
    LowKey does, falls with it, so that this is no fault; nor need an untouched face cost nothing.
    """
    protected, original = pictures(3, 2)
    untouched, changed = term(original, original), term(protected, original)
    told = f"{untouched.tolist()} untouched, {changed.tolist()} changed"
    expect(
        (untouched != changed).all(),
        "tells changed faces from untouched ones",
        measured=told,
        allowed="other numbers where changed",
        remedy="Return a penalty that follows from both arguments.",
    )
    if (untouched > changed).all():
        raise SkipTest(f"it rewards change ({told}): where that is not meant, change its sign")


def every_picture_has_a_gradient(term: Naturalness) -> None:
    """The gradient by the protected face is finite everywhere, and nonzero somewhere in every view of every face."""
    promise, remedy = "every picture has a gradient", "Use torch's differentiable functions throughout."
    for views in (1, 2):
        protected, original = pictures(2, views)
        protected.requires_grad_()
        with works(promise, remedy):
            (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
        expect_everywhere(gradient.flatten(0, 1), promise, remedy, parts=1)


def gradient_is_finite_for_untouched_faces(term: Naturalness) -> None:
    """The first step starts at an untouched face."""
    _, original = pictures(2, 1)
    protected = original.clone().requires_grad_()
    with works("an untouched face has a gradient", "Use torch's differentiable functions throughout."):
        (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
    count = int((~gradient.isfinite()).sum())
    expect(
        count == 0,
        "the gradient is finite for untouched faces",
        measured=f"{count} values that are not finite",
        allowed="none",
        remedy="Keep roots, norms and divisions away from zero.",
    )


def faces_are_independent(term: Naturalness) -> None:
    """A face's penalty does not depend on the other faces of its batch."""
    protected, original = pictures(3, 2)
    together = term(protected, original)
    alone = torch.cat([term(protected[i : i + 1], original[i : i + 1]) for i in range(3)])
    worst = ((together - alone).abs() / alone.abs().clamp_min(torch.finfo(alone.dtype).tiny)).max().item()
    expect(
        worst <= 1e-3,
        "faces are independent",
        measured=f"a relative difference of {worst:.2g} between a face in a batch and alone",
        allowed="<= 0.001",
        remedy="Take no statistics over the faces.",
    )


def the_order_of_faces_does_not_matter(term: Naturalness) -> None:
    """The same faces in another order have the same penalties, so nothing is remembered of those seen before."""
    protected, original = pictures(3, 2)
    first, turned = term(protected, original), term(protected.flip(0), original.flip(0)).flip(0)
    worst = ((first - turned).abs() / first.abs().clamp_min(torch.finfo(first.dtype).tiny)).max().item()
    expect(
        worst <= 1e-3,
        "the order of faces does not matter",
        measured=f"a relative difference of {worst:.2g} in another order",
        allowed="<= 0.001",
        remedy="Compute from the two arguments alone: keep nothing of earlier faces, here or in a global.",
    )


def keeps_no_state(term: Naturalness) -> None:
    """The same faces have the same penalty again, whatever came in between, and are left as they are."""
    protected, original = pictures(2, 2)
    copies = protected.clone(), original.clone()
    first = term(protected, original)
    for _ in range(3):
        term(original, protected)
        second = term(protected, original)
    expect(
        torch.equal(first, second),
        "keeps no state",
        measured=f"a difference of {gap(first, second):.2g} the second time",
        allowed=0,
        remedy="Remove what is random or remembered from one call to the next.",
    )
    expect(
        torch.equal(protected, copies[0]) and torch.equal(original, copies[1]),
        "faces are left as they are",
        measured="faces changed in place",
        allowed="no change",
        remedy="Change nothing in place.",
    )


def stays_on_its_device(term: Naturalness) -> None:
    """It computes where the faces are."""

    def compute(device: torch.device) -> torch.Tensor:
        protected, original = (each.to(device) for each in pictures(2, 2))
        penalty: torch.Tensor = unguarded(term)(protected.requires_grad_(), original)
        torch.autograd.grad(penalty.sum(), protected)
        return penalty

    expect_device("stays on its device", compute)


CHECKS = (
    returns_one_number_per_face,
    tells_changed_faces_from_untouched_ones,
    every_picture_has_a_gradient,
    gradient_is_finite_for_untouched_faces,
    faces_are_independent,
    the_order_of_faces_does_not_matter,
    keeps_no_state,
    stays_on_its_device,
)
