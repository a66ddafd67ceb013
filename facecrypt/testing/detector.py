"""What a detector promises: `facecrypt.detectors.base.Detector`."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facecrypt.detectors.base import SAME_FACE_OVERLAP, SMALLEST_FACE, Detector, Found, overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import sample_photo
from facecrypt.testing.inputs import detector, expect, sample_pixels, works

_NEAR = 0.35
"""How far a landmark may be from that of MTCNN, in distances between the eyes."""


def finds_the_face_of_a_portrait(component: Detector) -> None:
    """The largest face of the sample photo is where it is, and its landmarks are about where they are."""
    found = _search(component, sample_pixels())
    expect(
        bool(found),
        "finds the face of a portrait",
        measured="no face",
        allowed="the face of the sample photo (facecrypt.pipeline.sample_photo)",
        remedy="Ask for less certainty, and take pixels as (H, W, 3), RGB, from 0 to 255.",
    )
    known = detector().find(read_photo(sample_photo()), "largest")[0]
    face = max(found, key=lambda face: overlap(face.box, known.box))
    expect(
        overlap(face.box, known.box) >= SAME_FACE_OVERLAP,
        "finds the face of a portrait",
        measured=f"the box {np.round(face.box).tolist()}",
        allowed=f"one like {np.round(known.box).tolist()}",
        remedy="Return left, top, right, bottom in pixels of the picture.",
    )
    eyes = float(np.linalg.norm(known.landmarks[1] - known.landmarks[0]))
    away = float(np.linalg.norm(face.landmarks - known.landmarks, axis=1).max()) / eyes
    expect(
        away <= _NEAR,
        "landmarks are where they are",
        measured=f"{away:.2f} distances between the eyes from those of MTCNN: {np.round(face.landmarks).tolist()}",
        allowed=f"<= {_NEAR}",
        remedy="Return left eye, right eye, nose, left and right corner of the mouth, left and right as seen.",
    )


def returns_what_a_face_is(component: Detector) -> None:
    """Each face is a `Found`: a box (4,), landmarks (5, 2), finite, and a probability from 0 to 1."""
    for face in _search(component, sample_pixels()):
        fine = (
            isinstance(face, Found)
            and np.shape(face.box) == (4,)
            and np.shape(face.landmarks) == (5, 2)
            and bool(np.isfinite(face.box).all() and np.isfinite(face.landmarks).all())
            and face.box[0] < face.box[2]
            and face.box[1] < face.box[3]
            and 0 <= face.probability <= 1
        )
        expect(
            fine,
            "returns what a face is",
            measured=repr(face),
            allowed="Found(box (4,) left top right bottom, landmarks (5, 2), probability from 0 to 1)",
            remedy="Return a list of facecrypt.plugin.Found.",
        )


def finds_nobody_where_nobody_is(component: Detector) -> None:
    """Plain pictures show no face, whatever their shape."""
    for shape in ((SMALLEST_FACE, SMALLEST_FACE), (64, 200), (333, 77)):
        found = _search(component, np.full((*shape, 3), 128, np.uint8))
        expect(
            not found,
            "finds nobody where nobody is",
            measured=f"{len(found)} faces in a grey picture of {shape[1]}x{shape[0]} pixels",
            allowed="none",
            remedy="Ask for more certainty.",
        )


def finds_the_same_again(component: Detector) -> None:
    """The same picture gives the same faces, and is left as it is."""
    pixels = sample_pixels().copy()
    first = _search(component, pixels)
    _search(component, np.ascontiguousarray(pixels[:, ::-1]))
    again = _search(component, pixels)
    expect(
        _alike(first, again),
        "finds the same again",
        measured=f"{first} first, {again} later",
        allowed="no difference",
        remedy="Draw no random numbers, and keep nothing from one picture to the next.",
    )
    expect(
        np.array_equal(pixels, sample_pixels()),
        "leaves the picture as it is",
        measured="pixels that were changed in place",
        allowed="no change",
        remedy="Work on a copy.",
    )


def finds_a_face_in_a_box(component: Detector) -> None:
    """Where a person says that there is a face, it is found there, and none where nobody is."""
    photo = read_photo(sample_photo())
    known = detector().find(photo, "largest")[0]
    finder = FaceDetector(component)
    with works("finds a face in a box", "Leave search_box out, or let it return a Found or None."):
        face, nobody = finder.find_in(photo, known.box), finder.find_in(photo, [0, 0, 60, 60])
    expect(
        face is not None and overlap(face.box, known.box) >= SAME_FACE_OVERLAP and nobody is None,
        "finds a face in a box",
        measured=f"{face and face.box} where it is, {nobody and nobody.box} where nobody is",
        allowed=f"about {np.round(known.box).tolist()}, and None",
        remedy="Return the likeliest face that overlaps the box.",
    )


def goes_to_other_processes(component: Detector) -> None:
    """It can be sent to processes that read photos ahead (workers), and finds the same there."""
    with works("goes to other processes", "Keep nothing in it that cannot be pickled: load that when it is needed."):
        copy = pickle.loads(pickle.dumps(component))
    first, again = _search(component, sample_pixels()), _search(copy, sample_pixels())
    expect(
        _alike(first, again),
        "goes to other processes",
        measured=f"{again} by a copy, {first} by itself",
        allowed="no difference",
        remedy="Take along all that decides.",
    )


CHECKS = (
    finds_the_face_of_a_portrait,
    returns_what_a_face_is,
    finds_nobody_where_nobody_is,
    finds_the_same_again,
    finds_a_face_in_a_box,
    goes_to_other_processes,
)
"""Every check of a detector, in the order in which they help most."""


def _search(component: Detector, pixels: NDArray[np.uint8]) -> Sequence[Found]:
    with works("searches a picture", "Take pixels (H, W, 3), uint8, RGB, and return a list of Found."):
        return component.search(pixels)


def _alike(first: Sequence[Found], again: Sequence[Found]) -> bool:
    return len(first) == len(again) and all(
        np.array_equal(a.box, b.box) and np.array_equal(a.landmarks, b.landmarks) and a.probability == b.probability
        for a, b in zip(first, again, strict=True)
    )
