"""Small, turned and covered faces of LFW: how many are found by the search, and how many in a box given by hand.

docs/faces.md has the tables that these tests print:
``FACECRYPT_LFW=lfw python -m pytest tests/test_hard_faces.py -m slow -s``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facecrypt.detectors.base import SAME_FACE_OVERLAP, overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.face import Face, face_at, place_face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed

pytestmark = [pytest.mark.slow, pytest.mark.weights]

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
Change = Callable[[Pixels, Points], tuple[Pixels, Points]]


def shrunk(width: float) -> Change:
    """The whole photo smaller, so that the face's box is so many pixels wide."""

    def change(pixels: Pixels, points: Points) -> tuple[Pixels, Points]:
        box = face_at(points.tolist()).box
        scale = width / (box[2] - box[0])
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        factor = np.array([small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0]])
        # The small photo in the middle of a grey one, as a distant person in a scene.
        scene = np.full((250, 250, 3), 128, np.uint8)
        top, left = (250 - small.shape[0]) // 2, (250 - small.shape[1]) // 2
        scene[top : top + small.shape[0], left : left + small.shape[1]] = small
        return scene, ((points + 0.5) * factor - 0.5 + (left, top)).astype(np.float32)

    return change


def rolled(degrees: float) -> Change:
    """The whole photo turned, as a head leaning to one side or a camera held on its side."""

    def change(pixels: Pixels, points: Points) -> tuple[Pixels, Points]:
        height, width = pixels.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        turned = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(turned, np.uint8), (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

    return change


def covered(left: float, top: float, right: float, bottom: float, grey: int) -> Change:
    """A rectangle over a part of the face, in shares of the detector's box."""

    def change(pixels: Pixels, points: Points) -> tuple[Pixels, Points]:
        x0, y0, x1, y1 = face_at(points.tolist()).box
        hidden = pixels.copy()
        rows = slice(max(0, round(y0 + top * (y1 - y0))), round(y0 + bottom * (y1 - y0)))
        columns = slice(max(0, round(x0 + left * (x1 - x0))), round(x0 + right * (x1 - x0)))
        hidden[rows, columns] = grey
        return hidden, points

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda pixels, points: (pixels, points),
    "32 pixels wide": shrunk(32),
    "24 pixels wide": shrunk(24),
    "20 pixels wide": shrunk(20),
    "16 pixels wide": shrunk(16),
    "12 pixels wide": shrunk(12),
    "rolled by 20 degrees": rolled(20),
    "rolled by 40 degrees": rolled(40),
    "rolled by 60 degrees": rolled(60),
    "rolled by 90 degrees": rolled(90),
    "eyes covered (dark band)": covered(0.0, 0.25, 1.0, 0.5, 20),
    "mouth and nose covered (mask)": covered(-0.05, 0.52, 1.05, 1.05, 200),
    "left half covered": covered(-0.1, -0.1, 0.5, 1.1, 90),
}


class Case(NamedTuple):
    """A changed photo and where its face is."""

    photo: Photo
    face: Face


def probes(lfw: Path, count: int) -> list[Path]:
    with (lfw / "protocol.csv").open() as file:
        return [lfw / row["image"] for row in csv.DictReader(file) if row["role"] == "probe"][:count]


LARGEST: dict[Path, Points] = {}


def cases(paths: list[Path], detector: FaceDetector, change: Change) -> list[Case]:
    made = []
    for path in paths:
        photo = read_photo(path)
        if path not in LARGEST:
            LARGEST[path] = detector.find(photo, "largest")[0].landmarks
        pixels, points = change(photo.pixels, LARGEST[path])
        made.append(Case(replace(photo, pixels=pixels), face_at(points.tolist())))
    return made


def search(case: Case, detector: FaceDetector) -> Face | None:
    found = detector.find(case.photo, "all")
    return next((face for face in found if overlap(case.face.box, face.box) >= SAME_FACE_OVERLAP), None)


def by_eye(box: tuple[float, ...], generator: np.random.Generator) -> list[float]:
    """A box as a person draws it: each side off by up to a tenth."""
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    return [float(value) for value in np.array(box) + generator.uniform(-0.1, 0.1, 4) * size]


def error(face: Face, case: Case) -> float:
    """Mean distance of the landmarks from where they are, in distances of the eyes."""
    truth = case.face.landmarks
    eyes = float(np.linalg.norm(truth[1] - truth[0]))
    return float(np.linalg.norm(face.landmarks - truth, axis=1).mean()) / eyes


def mean_error(faces: list[Face | None], truth: list[Case]) -> str:
    errors = [error(face, case) for face, case in zip(faces, truth, strict=True) if face]
    return f"{np.mean(errors):.2f}" if errors else "-"


def test_how_many_hard_faces_are_found(lfw: Path, detector: FaceDetector) -> None:
    generator = np.random.default_rng(0)
    found: dict[str, float] = {}
    print("\n| face | found by the search (%) | landmarks off by | found in a box (%) | off by | if placed, off by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, change in CHANGES.items():
        each = cases(probes(lfw, 12), detector, change)
        boxes = [by_eye(case.face.box, generator) for case in each]
        whole = [search(case, detector) for case in each]
        inside = [detector.find_in(case.photo, box) for case, box in zip(each, boxes, strict=True)]
        found[name] = 100 * float(np.mean([face is not None for face in whole]))
        share = 100 * float(np.mean([face is not None for face in inside]))
        placed = np.mean([error(place_face(box), case) for case, box in zip(each, boxes, strict=True)])
        there = f"{found[name]:.0f} | {mean_error(whole, each)} | {share:.0f} | {mean_error(inside, each)}"
        print(f"| {name} | {there} | {placed:.2f} |", flush=True)
    assert found["as it is"] == 100
    assert found["24 pixels wide"] >= 90
    assert found["rolled by 20 degrees"] >= 90


def test_how_often_references_are_right(lfw: Path, detector: FaceDetector, sface_embedder: Embedder) -> None:
    """One reference photo each: how often the same person passes `only`, and how often a stranger does."""
    with (lfw / "protocol.csv").open() as file:
        rows = list(csv.DictReader(file))
    people = [row["identity"] for row in rows if row["role"] == "probe"][:100]
    first = {row["identity"]: row["image"] for row in rows if row["role"] == "probe"}
    second = {row["identity"]: row["image"] for row in reversed(rows) if row["role"] == "gallery"}

    def embedded(images: list[str]) -> torch.Tensor:
        photos = [read_photo(lfw / image) for image in images]
        faces = [cut(photo, detector.find(photo, "largest")[0]) for photo in photos]
        return torch.cat([embed(sface_embedder, faces[start : start + 20]) for start in range(0, len(faces), 20)])

    cosines = embedded([first[person] for person in people]) @ embedded([second[person] for person in people]).T
    threshold = sface_embedder.spec.threshold
    assert threshold is not None
    same = cosines.diagonal() >= threshold
    others = (cosines >= threshold)[~torch.eye(len(people), dtype=torch.bool)]
    print(f"\nsame person: {100 * same.float().mean():.1f} % of {len(same)}", end="; ")
    print(f"strangers: {100 * others.float().mean():.2f} % of {len(others)} pairs")
    assert same.float().mean() > 0.9
    assert others.float().mean() < 0.02
