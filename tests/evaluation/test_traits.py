from __future__ import annotations

import csv

import pytest
import torch

from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.traits import measure_trait
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
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
