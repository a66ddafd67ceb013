"""What a method promises: `facecrypt.methods.base.Method`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import get_args

import torch

from facecrypt.choices import VIRTUAL
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.base import Method, Recognisers, Task, Uses
from facecrypt.surrogates import sface
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import load_targets
from facecrypt.testing.inputs import detector, expect, works

_EPSILON = 8 / 255


def says_what_it_uses(method: Method) -> None:
    """Its attributes tell what it learns of recognisers, whether epsilon bounds it, and its resolution."""
    told = (getattr(method, "uses", None), getattr(method, "bounded", None), getattr(method, "native", None))
    expect(
        told[0] in get_args(Uses) and all(isinstance(each, bool) for each in told[1:]),
        "says what it uses",
        measured=f"uses {told[0]!r}, bounded {told[1]!r}, native {told[2]!r}",
        allowed=f"uses one of {', '.join(get_args(Uses))}; bounded and native true or false",
        remedy="Set the three attributes on the class.",
    )


def returns_one_mask_per_face(method: Method) -> None:
    """One finite float32 mask per face, of the face's own size, that changes something."""
    people = _people()[:2]
    with works("returns one mask per face", "Take a Task, return a list of tensors (3, S, S)."):
        masks = method.protect(_task(method, people, [0, 1]))
    fine = len(masks) == len(people) and all(
        mask.shape == face.pixels.shape and mask.dtype == torch.float32 and bool(mask.isfinite().all())
        for mask, face in zip(masks, people, strict=True)
    )
    expect(
        fine,
        "returns one mask per face",
        measured=f"{[(tuple(mask.shape), mask.dtype) for mask in masks]}",
        allowed=f"{[tuple(face.pixels.shape) for face in people]} in torch.float32, finite",
        remedy="Return what is to be added to each face, in the [0, 1] scale.",
    )
    expect(  # A face that needs no change, or no more of it, may be left as it is.
        any(mask.any() for mask in masks),
        "changes some face",
        measured="masks of zeros for all faces",
        allowed="some change",
        remedy="Return the change, not the changed face.",
    )


def repeats_itself(method: Method) -> None:
    """The same faces and seeds give the same masks, whatever was protected before."""
    people, other = _people()[:1], _people()[1:2]
    first = method.protect(_task(method, people, [3]))
    method.protect(_task(method, other, [4]))
    again = method.protect(_task(method, people, [3]))
    expect(
        torch.equal(first[0], again[0]),
        "repeats itself",
        measured=f"a difference of up to {(first[0] - again[0]).abs().max().item():.3g}",
        allowed="none",
        remedy="Draw random numbers from task.generator(face) alone, and keep nothing between calls.",
    )


def faces_stay_as_they_are(method: Method) -> None:
    """The faces that it is given are not changed in place."""
    people = _people()[:1]
    before = people[0].pixels.clone()
    method.protect(_task(method, people, [0]))
    expect(
        torch.equal(before, people[0].pixels),
        "leaves faces as they are",
        measured="a face that was changed in place",
        allowed="no change",
        remedy="Work on a copy.",
    )


def no_face_depends_on_its_batch(method: Method) -> None:
    """A face gets the same mask alone and beside another one, in either order."""
    people = _people()[:2]
    together = method.protect(_task(method, people, [0, 1]))[0]
    turned = method.protect(_task(method, people[::-1], [1, 0]))[1]
    alone = method.protect(_task(method, people[:1], [0]))[0]
    share = max((together - each).abs().gt(1 / 255).float().mean().item() for each in (turned, alone))
    expect(
        share < 0.02,
        "no face depends on its batch",
        measured=f"{100 * share:.1f} % of a mask differ by more than a grey level beside another face",
        allowed="2 %, since batches round differently",
        remedy="Treat each face by itself, with its own random numbers.",
    )


CHECKS = (
    says_what_it_uses,
    returns_one_mask_per_face,
    repeats_itself,
    faces_stay_as_they_are,
    no_face_depends_on_its_batch,
)
"""Every check of a method, in the order in which they help most."""


def _task(method: Method, people: Sequence[FaceImage], seeds: Sequence[int]) -> Task:
    embedder = _recogniser()
    aims = _people()[2:]
    sides = [float(face.pixels.shape[-1]) for face in people]

    def tell(step: int, similarity: float | None) -> None:
        pass

    return Task(
        faces=people,
        boxes=[(side * 0.2, side * 0.15, side * 0.8, side * 0.85) for side in sides],
        seeds=seeds,
        recognisers=Recognisers(["sface"], [embedder], [embed(embedder, aims)], people, method.uses),
        epsilon=_EPSILON,
        step_size=_EPSILON / 4,
        norm="linf",
        steps=4,
        device=torch.device("cpu"),
        on_step=tell,
        targets=aims,
    )


@cache
def _recogniser() -> Embedder:
    return sface.build()


@cache
def _people() -> list[FaceImage]:
    return [person.aim for person in load_targets(VIRTUAL, 4, detector(), "all")]
