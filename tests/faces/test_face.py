from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from facecrypt.detectors.mtcnn import overlap
from facecrypt.errors import PhotoError
from facecrypt.faces.face import (
    WORKING_SIDE,
    Face,
    FaceDetector,
    Patch,
    add_masks,
    crop,
    crop_grid,
    crop_to_image,
    cut,
    face_at,
    place_face,
)
from facecrypt.photos.files import Photo, read_photo
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


def test_overlap_counts_pixels() -> None:
    first, second = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    first[2:10, 1:9], second[5:15, 4:12] = True, True
    expected = (first & second).sum() / (first | second).sum()
    assert overlap((1, 2, 9, 10), (4, 5, 12, 15)) == pytest.approx(expected)
    assert overlap((0, 0, 1, 1), (5, 5, 6, 6)) == 0.0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_the_similarity_is_the_least_squares_fit(face: Face) -> None:
    """Against the normal equations of x' = a x - b y + c, y' = b x + a y + d, solved by numpy."""
    rows, values = [], []
    for (x, y), (u, v) in zip(face.landmarks.astype(float), ARCFACE_TEMPLATE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    image_to_crop = np.array([[a, -b, c], [b, a, d], [0, 0, 1]])
    matrix = crop_to_image(torch.from_numpy(face.landmarks)[None], ARCFACE_TEMPLATE)[0]
    assert np.allclose(np.linalg.inv(image_to_crop)[:2], matrix.numpy(), atol=1e-3)


def test_crops_agree_with_opencv(photo: Photo, face: Face) -> None:
    image = cut(photo, face)
    side = image.pixels.shape[-1]
    ours = crop(image.pixels[None], crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (112, 112), side))[0]
    matrix = crop_to_image(torch.from_numpy(face.landmarks)[None], ARCFACE_TEMPLATE)[0].numpy()
    theirs = cv2.warpAffine(
        np.asarray(photo.pixels).astype(np.float32), matrix, (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    # OpenCV rounds positions to 1/32 pixel.
    assert np.abs(ours.permute(1, 2, 0).numpy() * 255 - theirs).mean() < 0.5


def test_the_gradient_of_a_crop_reaches_the_patch(photo: Photo, face: Face) -> None:
    image = cut(photo, face)
    pixels = image.pixels[None].double().requires_grad_()
    grid = crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (8, 8), image.pixels.shape[-1]).double()
    direction = torch.randn(pixels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(crop(pixels, grid).square().sum(), pixels)
    change = (
        crop(pixels + 1e-5 * direction, grid).square().sum() - crop(pixels - 1e-5 * direction, grid).square().sum()
    ) / 2e-5
    assert change.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-6)


def test_masks_change_nothing_outside_patches_and_stay_within_epsilon(photo: Photo, face: Face) -> None:
    other = Face(face.box, face.landmarks, Patch(face.patch.left + 30, face.patch.top - 60, face.patch.side))
    masks = [torch.full_like(cut(photo, each).pixels, 12 / 255) for each in (face, other)]
    changed = add_masks(photo, [face, other], masks, 12)
    difference = changed.astype(int) - photo.pixels
    assert np.abs(difference).max() == 12  # Also where the two patches overlap.
    inside = np.zeros(photo.pixels.shape[:2], bool)
    for patch in (face.patch, other.patch):
        inside[max(patch.top, 0) : patch.top + patch.side, max(patch.left, 0) : patch.left + patch.side] = True
    assert (difference[~inside] == 0).all()
    assert inside.sum() < inside.size


def test_a_coarse_mask_keeps_its_bound(photo: Photo, face: Face) -> None:
    large = replace(photo, pixels=np.full((900, 900, 3), 128, np.uint8))
    patch = Face(face.box, face.landmarks, Patch(100, 100, 700))
    mask = torch.empty(3, WORKING_SIDE, WORKING_SIDE).uniform_(
        -7 / 255, 7 / 255, generator=torch.Generator().manual_seed(0)
    )
    difference = add_masks(large, [patch], [mask], 7).astype(int) - 128
    assert np.abs(difference).max() <= 7
    assert np.abs(difference[:100]).max() == 0


def test_grayscale_stays_grayscale(tmp_path: Path, face: Face, photo: Photo) -> None:
    from PIL import Image

    Image.fromarray(np.asarray(photo.pixels)).convert("L").save(tmp_path / "gray.png")
    gray = read_photo(tmp_path / "gray.png")
    mask = torch.stack([torch.full(cut(photo, face).pixels.shape[1:], value / 255) for value in (12.0, 6.0, 3.0)])
    changed = add_masks(gray, [face], [mask], 12)
    assert (changed == changed[..., :1]).all()
    assert (changed.astype(int) - gray.pixels).max() == 7
