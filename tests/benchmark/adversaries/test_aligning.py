from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from facecrypt.benchmark.adversaries.aligning import Realigned
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.alignment import crop_to_image
from facecrypt.photos.files import Photo
from facecrypt.templates import ARCFACE_TEMPLATE


def scale_of(points: np.ndarray) -> float:
    """Pixels of the photo across one of the crop."""
    matrix = crop_to_image(torch.from_numpy(points)[None], ARCFACE_TEMPLATE)[0]
    return float(matrix[:, :2].det().sqrt())


def test_landmarks_move_as_asked_and_always_alike(detector: FaceDetector, photo: Photo) -> None:
    (face,) = detector.find(photo, "largest")
    eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    same = Realigned(detector)
    assert same.identity == detector.identity
    assert np.array_equal(same.find(photo, "largest")[0].landmarks, face.landmarks)
    noisy = Realigned(detector, noise=0.05)
    first, second = (noisy.find(photo, "largest")[0] for _ in range(2))
    assert np.array_equal(first.landmarks, second.landmarks)
    moved = np.abs(first.landmarks - face.landmarks)
    assert 0 < moved.max() < 0.25 * eyes
    other = replace(photo, pixels=photo.pixels + np.uint8(1))
    assert not np.array_equal(noisy.find(other, "largest")[0].landmarks - face.landmarks, moved)
    loose = Realigned(detector, looser=1.25)
    assert np.isclose(scale_of(loose.find(photo, "largest")[0].landmarks), 1.25 * scale_of(face.landmarks), rtol=1e-4)
    assert loose.find(photo, "largest")[0].patch.side > face.patch.side
    assert len({each.identity for each in (same, noisy, loose, Realigned(detector, again=True))}) == 4


def test_a_face_that_is_searched_again_is_the_same_face(detector: FaceDetector, photo: Photo) -> None:
    (face,) = detector.find(photo, "largest")
    (again,) = Realigned(detector, again=True).find(photo, "largest")
    eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    distance = np.abs(again.landmarks - face.landmarks).max()
    assert 0 < distance < 0.2 * eyes


def test_a_photo_that_is_an_aligned_face_keeps_its_patch(detector: FaceDetector) -> None:
    square = Photo(path=Path("x.png"), pixels=np.zeros((112, 112, 3), np.uint8))
    (face,) = Realigned(detector, looser=1.2, again=True).find(square, "aligned")
    assert face.patch == (0, 0, 112)
