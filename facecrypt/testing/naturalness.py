"""What a naturalness term promises: `facecrypt.naturalness.Naturalness`."""

from __future__ import annotations

import torch

from facecrypt.naturalness.base import Naturalness
from facecrypt.testing.inputs import expect, expect_everywhere, gap, pictures, works


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


def is_least_for_untouched_faces(term: Naturalness) -> None:
    """An untouched face is more natural than a changed one."""
    protected, original = pictures(3, 2)
    untouched, changed = term(original, original), term(protected, original)
    expect(
        (untouched < changed).all(),
        "is least for untouched faces",
        measured=f"{untouched.tolist()} untouched, {changed.tolist()} changed",
        allowed="less where untouched",
        remedy="Return a penalty: it grows with what is seen of the mask.",
    )


def gradient_reaches_every_part_of_the_image(term: Naturalness) -> None:
    """The gradient by the protected face is finite everywhere and nonzero in every part."""
    promise, remedy = "the gradient reaches every part of the image", "Use torch's differentiable functions throughout."
    for views in (1, 2):
        protected, original = pictures(2, views)
        protected.requires_grad_()
        with works(promise, remedy):
            (gradient,) = torch.autograd.grad(term(protected, original).sum(), protected)
        expect_everywhere(gradient.flatten(0, 1), promise, remedy)


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


def keeps_no_state(term: Naturalness) -> None:
    """The same faces have the same penalty again, and are left as they are."""
    protected, original = pictures(2, 2)
    copies = protected.clone(), original.clone()
    first, second = term(protected, original), term(protected, original)
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


CHECKS = (
    returns_one_number_per_face,
    is_least_for_untouched_faces,
    gradient_reaches_every_part_of_the_image,
    gradient_is_finite_for_untouched_faces,
    faces_are_independent,
    keeps_no_state,
)
