from __future__ import annotations

import numpy as np

from facecrypt.detectors.base import overlap
from facecrypt.faces.face import Face, face_at, place_face
from facecrypt.templates import ARCFACE_TEMPLATE


def test_a_placed_face_has_the_proportions_of_found_ones(face: Face) -> None:
    """The box of an upright face and its landmarks give each other."""
    points = np.asarray(ARCFACE_TEMPLATE, np.float32) * 1.7 + (40, 60)
    upright = face_at(points.tolist())
    assert upright.landmarks_from == "given"
    assert np.allclose(place_face(upright.box).landmarks, points, atol=0.05)
    placed = place_face(face.box)
    assert (placed.landmarks_from, placed.box) == ("placed in box", face.box)
    eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    assert np.linalg.norm(placed.landmarks - face.landmarks, axis=1).mean() < 0.4 * eyes
    assert overlap(face_at(face.landmarks.tolist()).box, face.box) > 0.6
