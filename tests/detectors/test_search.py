from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PhotoError
from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.face import Face, Patch
from facecrypt.faces.patches import WORKING_SIDE, cut
from facecrypt.photos.files import Photo
from facecrypt.templates import ARCFACE_TEMPLATE


def test_finds_the_face_of_the_sample_photo(photo: Photo, face: Face) -> None:
    left, top, right, bottom = face.box
    eyes = face.landmarks[:2].mean(axis=0)
    assert left < eyes[0] < right
    assert top < eyes[1] < bottom
    assert face.landmarks[0, 0] < face.landmarks[1, 0]  # The left eye as seen in the photo comes first.


def test_faces_are_those_of_the_package_as_it_comes(photo: Photo, detector: FaceDetector) -> None:
    scene = np.tile(photo.pixels, (1, 2, 1))
    boxes, _, landmarks = MTCNN(keep_all=True, device="cpu").detect(Image.fromarray(scene), landmarks=True)
    by_place = sorted(detector.find(replace(photo, pixels=scene), "all"), key=lambda face: face.box)
    order = boxes[:, 0].argsort()
    assert len(by_place) == 2
    for face, box, points in zip(by_place, boxes[order], landmarks[order], strict=True):
        assert np.abs(np.subtract(face.box, box.astype(float))).max() < 0.01
        assert np.abs(face.landmarks - points.astype(float)).max() < 0.01


def test_many_faces_largest_first(photo: Photo, detector: FaceDetector) -> None:
    half = np.asarray(photo.pixels)[::2, ::2]
    canvas = np.zeros((512, 1024, 3), np.uint8)
    canvas[:, :512] = photo.pixels
    canvas[:256, 600:856] = half
    scene = replace(photo, pixels=canvas)
    faces = detector.find(scene, "all")
    assert len(faces) == 2
    assert faces[0].box[0] < 512 < faces[1].box[0]
    assert [face.box for face in detector.find(scene, "largest")] == [faces[0].box]


@pytest.mark.parametrize("size", [(1, 1), (30, 20000), (19, 19), (200, 200)])
def test_no_face_is_an_empty_list(size: tuple[int, int], photo: Photo, detector: FaceDetector) -> None:
    assert detector.find(replace(photo, pixels=np.zeros((*size, 3), np.uint8)), "all") == []


def test_large_photos_are_searched_at_a_smaller_size(photo: Photo, face: Face, detector: FaceDetector) -> None:
    large = cv2.resize(np.asarray(photo.pixels), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    (found,) = detector.find(replace(photo, pixels=large), "all")
    assert np.abs(found.landmarks / 5 - face.landmarks).max() < 3
    image = cut(replace(photo, pixels=large), found)
    assert image.pixels.shape == (3, WORKING_SIDE, WORKING_SIDE)


def test_aligned_faces_are_taken_as_they_are(photo: Photo, detector: FaceDetector) -> None:
    aligned = replace(photo, pixels=np.zeros((112, 112, 3), np.uint8))
    (face,) = detector.find(aligned, "aligned")
    assert face.patch == Patch(0, 0, 112)
    grid = crop_grid(torch.from_numpy(face.landmarks)[None], ARCFACE_TEMPLATE, (112, 112), 112)
    images = torch.rand(1, 3, 112, 112)
    assert torch.allclose(crop(images, grid), images, atol=1e-4)
    with pytest.raises(PhotoError, match="112x96 pixels, but an aligned face is square"):
        detector.find(replace(photo, pixels=np.zeros((96, 112, 3), np.uint8)), "aligned")


def test_a_small_face_in_a_box(photo: Photo, face: Face, detector: FaceDetector) -> None:
    """A face of 13 pixels, which the search of the whole photo does not find."""
    scale = 0.15
    tiny = cv2.resize(np.asarray(photo.pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene = np.full((400, 600, 3), 128, np.uint8)
    scene[100 : 100 + tiny.shape[0], 300 : 300 + tiny.shape[1]] = tiny
    distant = replace(photo, pixels=scene)
    truth = (face.landmarks + 0.5) * tiny.shape[0] / 512 - 0.5 + np.float32((300, 100))
    box = np.array(face.box) * tiny.shape[0] / 512 + (300, 100, 300, 100)
    found = detector.find_in(distant, box.tolist())
    assert found is not None
    assert found.landmarks_from == "detected in box"
    assert np.abs(found.landmarks - truth).max() < 2
    assert detector.find_in(distant, [20, 20, 60, 80]) is None


@pytest.mark.parametrize("turns", range(4))
def test_a_face_that_lies_on_its_side(turns: int, photo: Photo, face: Face, detector: FaceDetector) -> None:
    """Points are compared with those of a picture that marks the landmarks, turned in the same way."""
    marked = np.full(photo.pixels.shape[:2], -1)
    for number, (x, y) in enumerate(face.landmarks.round().astype(int)):
        marked[y, x] = number
    turned = np.rot90(marked, turns)
    truth = [np.argwhere(turned == number)[0, ::-1] for number in range(5)]
    low, high = np.min(truth, axis=0) - 25, np.max(truth, axis=0) + 25
    lying = replace(photo, pixels=np.rot90(photo.pixels, turns).copy())
    found = detector.find_in(lying, [*low.tolist(), *high.tolist()])
    assert found is not None
    assert np.abs(found.landmarks - truth).max() < 4


def test_a_box_at_the_border_of_the_photo(photo: Photo, face: Face, detector: FaceDetector) -> None:
    left, top, right, bottom = map(int, face.box)
    cut_off = replace(photo, pixels=photo.pixels[top + 5 : bottom - 5, left + 5 : right - 5])
    found = detector.find_in(cut_off, [-5, -5, right - left - 5, bottom - top - 5])
    assert found is not None
    moved = found.landmarks + np.float32((left + 5, top + 5))
    assert np.abs(moved - face.landmarks).max() < 8
