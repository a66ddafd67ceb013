from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from skimage.filters import gaussian

from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation import traits
from facecrypt.evaluation.traits import head_pose, measure_face, measure_trait
from facecrypt.faces.face import Face, aligned_face, face_at
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.templates import ARCFACE_TEMPLATE
from tests.pictures import DATA

PACK = DATA / "virtual_targets"


def painted(*rgb: int) -> FaceImage:
    pixels = (torch.tensor(rgb) / 255).view(3, 1, 1).expand(3, 112, 112)
    return FaceImage(pixels, torch.ones(1, 112, 112), torch.tensor(ARCFACE_TEMPLATE))


def test_the_angle_of_skin_follows_its_formula() -> None:
    """CIELAB of (224, 177, 132) is L 75.43, b 29.53, and of (90, 56, 37) L 27.12, b 18.06."""
    light, dark = measure_trait("skin", [painted(224, 177, 132), painted(90, 56, 37)]).tolist()
    assert light == pytest.approx(40.73, abs=0.05)
    assert dark == pytest.approx(-51.72, abs=0.05)


def test_grey_and_blue_skin_has_an_angle_too() -> None:
    angles = measure_trait("skin", [painted(200, 200, 200), painted(20, 20, 20), painted(10, 20, 250)])
    assert angles.isfinite().all()
    assert angles.abs().max() <= 90


def test_the_cheeks_count_and_not_what_is_around() -> None:
    face = painted(224, 177, 132)
    pixels = face.pixels.clone()
    pixels[:, :40] = 0
    pixels[:, 100:] = 1
    pixels[:, :, 45:67] = 1
    changed = FaceImage(pixels, face.inside, face.landmarks)
    assert measure_trait("skin", [changed]).item() == pytest.approx(measure_trait("skin", [face]).item(), abs=0.5)


@pytest.mark.slow
def test_the_sex_of_virtual_people_is_told_as_eyes_tell_it(detector: FaceDetector) -> None:
    rows = [row for row in csv.DictReader((PACK / "labels.csv").read_text().splitlines()) if row["sex"] != "unclear"]
    photos = [read_photo(PACK / row["name"] / "0.png") for row in rows]
    told = measure_trait("sex", [cut(photo, detector.find(photo, "largest")[0]) for photo in photos]).tolist()
    assert set(told) == {0, 1}
    right = sum((row["sex"] == "woman") == bool(sex) for row, sex in zip(rows, told, strict=True))
    assert right >= 0.9 * len(rows)


def photo_of(pixels: Any) -> Photo:
    return Photo(Path("a.png"), np.asarray(pixels, np.uint8))


def plain(*rgb: int) -> Photo:
    return photo_of(np.full((112, 112, 3), rgb))


def noise() -> np.ndarray[Any, Any]:
    """A grey face in CIELAB's middle with detail of every size, ``(112, 112)`` in [0, 1]."""
    draw = np.random.default_rng(0).normal(size=(112, 112))
    return np.asarray(np.clip(0.5 + 0.1 * draw + gaussian(draw, 3), 0, 1))


def seen(grey: np.ndarray[Any, Any]) -> traits.FaceTraits:
    return measure_face(photo_of(np.rint(255 * grey)[..., None].repeat(3, axis=2)), aligned_face(112))


@pytest.mark.parametrize("rgb", [(224, 177, 132), (90, 56, 37), (240, 200, 180)], ids=str)
def test_the_tone_of_skin_follows_its_formula(rgb: tuple[int, int, int]) -> None:
    lightness, _, yellow = rgb2lab(np.array([[rgb]]) / 255)[0, 0]
    found = measure_face(plain(*rgb), aligned_face(112))
    assert found.skin == pytest.approx(math.degrees(math.atan((lightness - 50) / yellow)), abs=0.05)
    assert found.brightness == pytest.approx(lightness, abs=0.05)


def test_highlights_do_not_tell_the_tone_of_skin() -> None:
    pixels = plain(90, 56, 37).pixels.copy()
    pixels[:75] = 255  # Half of each cheek.
    matt, glaring = measure_face(photo_of(pixels), aligned_face(112)), plain(255, 240, 200)
    assert matt.skin == pytest.approx(-51.72, abs=0.05)
    assert measure_face(glaring, aligned_face(112)).skin is None


@pytest.mark.parametrize("rgb", [(150, 150, 150), (152, 149, 146), (60, 60, 140)], ids=["grey", "nearly grey", "blue"])
def test_light_without_colour_and_blue_light_tell_no_tone(rgb: tuple[int, int, int]) -> None:
    assert measure_face(plain(*rgb), aligned_face(112)).skin is None


def above(photo: Photo, by: int) -> traits.FaceTraits:
    """What shows of a face of which so many rows lie above the photo."""
    whole = aligned_face(112)
    points = whole.landmarks - np.array([0, by], np.float32)
    return measure_face(photo, Face((0, -by, 112, 112 - by), points, whole.patch._replace(top=-by)))


def test_cheeks_beyond_the_edge_of_the_photo_tell_nothing() -> None:
    skin = plain(90, 56, 37)
    assert above(skin, 70).skin == pytest.approx(-51.72, abs=0.05)
    assert above(photo_of(skin.pixels[:3]), 70).skin is None  # A sixth of the cheeks is left.
    outside = above(photo_of(skin.pixels[:3]), 109)
    assert (outside.skin, outside.brightness, outside.sharpness) == (None, 0.0, 0.0)


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray[Any, Any]:
    """Where the landmarks of a head are seen that nods, turns and leans, by one rotation after another."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    nod = [[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]]
    turn = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    lean = [[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]]
    points = traits._FACE @ (np.array(lean) @ np.array(turn) @ np.array(nod)).T
    return np.asarray(40 * points[:, :2] + (130, 90))


def test_a_head_is_found_as_it_was_turned() -> None:
    for pose in itertools.product((-50, -15, 0, 30), (-30, 0, 20), (-100, -20, 0, 75)):
        assert head_pose(turned(*pose)) == pytest.approx(pose, abs=1e-6)


def test_the_pose_of_other_faces_is_that_which_a_slow_search_finds_nearest() -> None:
    """Of all poses in steps of two degrees, with the best size and place of each."""
    shaken = turned(20, -10, 5) + np.random.default_rng(1).normal(scale=0.7, size=(5, 2))
    centred = shaken - shaken.mean(axis=0)

    def error(pose: tuple[int, int, int]) -> float:
        points = turned(*pose)
        points -= points.mean(axis=0)
        size = (points * centred).sum() / (points**2).sum()
        return float(((size * points - centred) ** 2).sum())

    nearest = min(itertools.product(range(0, 40, 2), range(-30, 12, 2), range(-6, 16, 2)), key=error)
    assert head_pose(shaken) == pytest.approx(nearest, abs=4)


def test_a_mirrored_head_is_turned_the_other_way() -> None:
    points = turned(25, 10, -8)
    mirrored = (points * (-1, 1))[[1, 0, 2, 4, 3]]
    yaw, pitch, roll = head_pose(points)
    assert head_pose(mirrored) == pytest.approx((-yaw, pitch, -roll), abs=1e-6)


def test_sharpness_follows_its_definition_pixel_by_pixel() -> None:
    grey = np.rint(255 * noise()) / 255

    def variance(picture: np.ndarray[Any, Any], rows: range, columns: range) -> float:
        around = ((-1, 0), (1, 0), (0, -1), (0, 1))
        values = [sum(picture[y + dy, x + dx] for dy, dx in around) - 4 * picture[y, x] for y in rows for x in columns]
        return float(np.var(values, ddof=1))

    half = np.array([[grey[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(56)] for y in range(56)])
    expected = variance(grey, range(28, 108), range(24, 88)) / variance(half, range(14, 54), range(12, 44))
    assert seen(grey).sharpness == pytest.approx(expected, rel=1e-3)


def test_blur_takes_sharpness_and_contrast_does_not() -> None:
    sharp, soft = seen(noise()).sharpness, seen(gaussian(noise(), 1.5)).sharpness
    assert soft < 0.5 * sharp
    assert seen(0.5 + 0.4 * (noise() - 0.5)).sharpness == pytest.approx(sharp, rel=0.05)
    assert seen(np.full((112, 112), 0.5)).sharpness == 0.0


def test_the_size_of_a_face_is_that_in_the_photo() -> None:
    face = face_at([(207, 108), (247, 105), (228, 128), (210, 150), (243, 149)])
    found = measure_face(read_photo(runner.sample_photo()), face)
    assert found.size == pytest.approx(math.hypot(40, 3))
    assert abs(found.yaw) < 15
    assert found.skin is not None
