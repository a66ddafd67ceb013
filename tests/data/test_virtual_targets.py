from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from facecrypt.data import make_virtual_targets
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import WeightsError
from facecrypt.evaluation.traits import measure_trait
from facecrypt.faces.patches import cut
from facecrypt.photos.files import read_photo
from tests.pictures import DATA

PACK = DATA / "virtual_targets"
PEOPLE = sorted(path for path in PACK.iterdir() if path.name.startswith("v"))


def test_the_pack_is_complete() -> None:
    assert len(PEOPLE) >= 40
    for person in PEOPLE:
        names = [path.name for path in sorted(person.glob("*.png"))]
        assert len(names) >= 3
        assert names == [f"{number}.png" for number in range(len(names))]
    assert "DigiFace-1M" in (PACK / "PROVENANCE.md").read_text()


@pytest.mark.slow
def test_every_image_shows_one_face(detector: FaceDetector) -> None:
    for path in PACK.glob("*/*.png"):
        assert len(detector.find(read_photo(path), "all")) == 1, path


@pytest.mark.slow
def test_no_two_identities_are_closer_than_strangers_are() -> None:
    """Measured afresh on the files; the provenance page holds the same figures."""
    table, broken = make_virtual_targets.measure(PACK, [])
    assert broken == []
    page = (PACK / "PROVENANCE.md").read_text()
    for name in ("identities", "images"):
        assert f"| {name} | {table[name]} |" in page
    for recogniser, threshold in (("SFace", 0.307), ("dlib", 0.910)):
        name = f"{recogniser}: largest cosine between the aims of two identities"
        assert f"| {name} | {table[name]} |" in page
        between = float(table[name])
        within = float(table[f"{recogniser}: smallest cosine of a check image to its aim"])
        assert between < threshold < within


def test_everybody_is_labelled(detector: FaceDetector) -> None:
    rows = list(csv.DictReader((PACK / "labels.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [person.name for person in PEOPLE]
    assert {row["sex"] for row in rows} == {"man", "woman", "unclear"}
    assert {row["age"] for row in rows} == {"young", "adult", "older"}
    assert {row["skin"] for row in rows} == {"light", "medium", "dark"}
    photos = [read_photo(person / "0.png") for person in PEOPLE]
    angles = measure_trait("skin", [cut(photo, detector.find(photo, "largest")[0]) for photo in photos])
    assert [int(row["ita"]) for row in rows] == pytest.approx(angles.tolist(), abs=1)
    means = [np.mean([int(row["ita"]) for row in rows if row["skin"] == skin]) for skin in ("light", "medium", "dark")]
    assert means == sorted(means, reverse=True)


def test_the_first_ten_stay() -> None:
    """Runs that take ten targets aim at the same people as ever."""
    digest = hashlib.sha256()
    for person in PEOPLE[:10]:
        digest.update((person / "0.png").read_bytes())
    assert digest.hexdigest() == "c7335217a66b8cf669544820c5a7c0b988c0ac788f52a7fab32dce96dc7109c5"


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.tar").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="sha256 is"):
        make_virtual_targets.main(["--weights", str(tmp_path / "weights.tar"), "--output", str(tmp_path / "pack")])
    assert not (tmp_path / "pack").exists()
