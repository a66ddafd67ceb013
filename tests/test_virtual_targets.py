from __future__ import annotations

from pathlib import Path

import pytest

from facecrypt import pipeline
from facecrypt.data import make_virtual_targets
from facecrypt.errors import WeightsError
from facecrypt.faces import FaceDetector
from facecrypt.photos import read_photo

PACK = Path(pipeline.__file__).parent / "data" / "virtual_targets"
PEOPLE = sorted(path for path in PACK.iterdir() if path.name.startswith("v"))


def test_the_pack_is_complete() -> None:
    assert len(PEOPLE) >= 10
    for person in PEOPLE:
        names = [path.name for path in sorted(person.glob("*.png"))]
        assert len(names) >= 3
        assert names == [f"{number}.png" for number in range(len(names))]
    assert "DigiFace-1M" in (PACK / "PROVENANCE.md").read_text()


def test_every_image_shows_one_face(detector: FaceDetector) -> None:
    for path in PACK.glob("*/*.png"):
        assert len(detector.find(read_photo(path), "all")) == 1, path


def test_no_two_identities_are_closer_than_strangers_are() -> None:
    """Measured afresh on the files; the provenance page holds the same figures."""
    table, broken = make_virtual_targets.measure(PACK, [])
    assert broken == []
    page = (PACK / "PROVENANCE.md").read_text()
    for name in ("identities", "images"):
        assert f"| {name} | {table[name]} |" in page
    for recogniser, threshold in (("SFace", 0.307), ("dlib", 0.910)):
        between = float(table[f"{recogniser}: largest cosine between two identities"])
        within = float(table[f"{recogniser}: smallest cosine of a check image to its aim"])
        assert between < threshold < within


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.tar").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="sha256 is"):
        make_virtual_targets.main(["--weights", str(tmp_path / "weights.tar"), "--output", str(tmp_path / "pack")])
    assert not (tmp_path / "pack").exists()
