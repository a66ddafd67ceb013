"""What a region promises: `facecrypt.regions.base.Region`."""

from __future__ import annotations

import pickle
from unittest import SkipTest

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.regions.base import Region
from facecrypt.testing.inputs import expect, gap, sample_face, works

_SIDES = (168, 60)


def returns_a_share_per_pixel(region: Region) -> None:
    """A finite float32 map ``(1, S, S)`` from 0 to 1, for large and small faces."""
    for side in _SIDES:
        share = _map(region, *_face(side))
        fine = tuple(share.shape) == (1, side, side) and share.dtype == torch.float32 and bool(share.isfinite().all())
        low, high = share.min().item(), share.max().item()
        expect(
            fine and low >= 0 and high <= 1,
            "returns a share per pixel",
            measured=f"{tuple(share.shape)} in {share.dtype}, from {low:.3g} to {high:.3g}",
            allowed=f"(1, {side}, {side}) in torch.float32, from 0 to 1",
            remedy="Return the share of epsilon that each pixel may use.",
        )


def leaves_some_room(region: Region) -> None:
    """Of a portrait, some part may be changed fully or nearly so."""
    for side in _SIDES:
        share = _map(region, *_face(side))
        expect(
            share.max().item() > 0.5,
            "leaves some room",
            measured=f"at most {share.max().item():.3g} with {side}x{side} pixels",
            allowed="more than 0.5 somewhere",
            remedy="Draw it on the landmarks: facecrypt.plugin.crop_points tells where pixels lie in the aligned face.",
        )


def follows_the_face(region: Region) -> None:
    """Of a face that is moved in its patch, the region is moved likewise."""
    pixels, landmarks = _face(_SIDES[0])
    moved = functional.pad(pixels[:, 12:, 12:], (0, 12, 0, 12), mode="replicate")
    before, after = _map(region, pixels, landmarks), _map(region, moved, landmarks - 12)
    # What is far from the face may be cut off by the border, so the middle counts.
    differs = (before[:, 52:-40, 52:-40] - after[:, 40:-52, 40:-52]).abs().gt(0.1).float().mean().item()
    expect(
        differs < 0.05,
        "follows the face",
        measured=f"another share at {100 * differs:.0f} % of the pixels of a face that is 12 pixels higher",
        allowed="< 5 %",
        remedy="Measure from the landmarks, not from the corner of the patch.",
    )


def keeps_no_state(region: Region) -> None:
    """The same face has the same region again, and is left as it is."""
    pixels, landmarks = _face(_SIDES[0])
    copies = pixels.clone(), landmarks.clone()
    first = _map(region, pixels, landmarks)
    _map(region, *_face(_SIDES[1]))
    again = _map(region, pixels, landmarks)
    expect(
        torch.equal(first, again),
        "keeps no state",
        measured=f"a difference of {gap(first, again):.2g} the second time",
        allowed=0,
        remedy="Remove what is random or remembered from one face to the next.",
    )
    expect(
        torch.equal(pixels, copies[0]) and torch.equal(landmarks, copies[1]),
        "leaves the face as it is",
        measured="a face changed in place",
        allowed="no change",
        remedy="Change nothing in place.",
    )


def starts_the_same_again(region: Region) -> None:
    """A first mask, where it sets one, is finite, has the face's size, and is the same for the same seed."""
    start = getattr(region, "start", None)
    if start is None:
        raise SkipTest("it sets no first mask")
    pixels, landmarks = _face(_SIDES[0])
    with works("starts", "Take pixels, landmarks and a torch.Generator, return (3, S, S)."):
        first, again = (start(pixels, landmarks, torch.Generator().manual_seed(7)) for _ in range(2))
    expect(
        first.shape == pixels.shape and first.dtype == torch.float32 and bool(first.isfinite().all()),
        "starts with a mask",
        measured=f"{tuple(first.shape)} in {first.dtype}",
        allowed=f"{tuple(pixels.shape)} in torch.float32, finite",
        remedy="Return what is to be added to the face: a colour minus its pixels.",
    )
    expect(
        torch.equal(first, again) and bool((first * _map(region, pixels, landmarks)).any()),
        "starts the same again",
        measured=f"a difference of {gap(first, again):.2g}, and a largest change of {first.abs().max().item():.2g}",
        allowed="no difference, and some change inside the region",
        remedy="Draw random numbers from the generator alone.",
    )


def goes_to_other_processes(region: Region) -> None:
    """It can be sent to the processes of a run on several devices."""
    with works("goes to other processes", "Keep nothing in it that cannot be pickled."):
        copy = pickle.loads(pickle.dumps(region))
    pixels, landmarks = _face(_SIDES[0])
    difference = gap(_map(copy, pixels, landmarks), _map(region, pixels, landmarks))
    expect(
        difference == 0,
        "goes to other processes",
        measured=f"a difference of {difference:.2g} by a copy",
        allowed=0,
        remedy="Take along all that decides.",
    )


CHECKS = (
    returns_a_share_per_pixel,
    leaves_some_room,
    follows_the_face,
    keeps_no_state,
    starts_the_same_again,
    goes_to_other_processes,
)
"""Every check of a region, in the order in which they help most."""


def _map(region: Region, pixels: Tensor, landmarks: Tensor) -> Tensor:
    with works("returns a map", "Take pixels (3, S, S) and landmarks (5, 2), return (1, S, S)."):
        return region.map(pixels, landmarks)


def _face(side: int) -> tuple[Tensor, Tensor]:
    """Return the sample face and its landmarks at a size."""
    face = sample_face()
    whole = face.pixels.shape[-1]
    pixels = functional.interpolate(face.pixels[None], size=(side, side), mode="bilinear", antialias=True)[0]
    return pixels.clamp(0, 1), (face.landmarks + 0.5) * (side / whole) - 0.5
