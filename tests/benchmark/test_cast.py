"""Who is left for adversaries to learn from, on the virtual people."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facecrypt.benchmark.cast import Cast
from facecrypt.benchmark.config import Benchmark, EvaluatorSlot, Method, ProtocolSource
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import ProtocolError
from tests.pictures import DATA

PACK = DATA / "virtual_targets"


def cast_of(tmp_path: Path, detector: FaceDetector, seed: int = 0, probes: int | None = 3) -> Cast:
    """Six people with a probe, of whom three are protected; one target; five further ones, the last with one photo."""
    people = sorted(path for path in PACK.iterdir() if path.is_dir() and not path.name.startswith("_"))[:12]
    lines = ["image,identity,role"]
    for number, person in enumerate(people):
        first, *others = sorted(person.glob("*.png"))
        role = "probe" if number < 6 else "target" if number == 6 else "gallery"
        lines.append(f"{first},{person.name},{role}")
        lines += [f"{other},{person.name},gallery" for other in others if number < 11]
    file = tmp_path / f"{seed}.csv"
    file.write_text("\n".join(lines) + "\n")
    source = ProtocolSource(file=str(file))
    benchmark = Benchmark("t", [EvaluatorSlot("sface")], [Method("clean")], source, probes=probes, seed=seed)
    return Cast(benchmark, detector)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory, detector: FaceDetector) -> Cast:
    return cast_of(tmp_path_factory.mktemp("cast"), detector)


def test_pairs_validation_and_test_share_nobody(cast: Cast) -> None:
    tested = {cast.numbers[entry.identity] for entry in (*cast.protocol.probes, *cast.protocol.targets)}
    pairs = cast.pair_photos("all")
    trial = cast.trial(100)
    learnt, chosen = ({photo.label for photo in photos} for photos in (pairs, trial.photos))
    assert learnt
    assert chosen
    assert not learnt & chosen
    assert not tested & (learnt | chosen)
    # Everybody else is either, the people whose probes are not protected included.
    assert len(tested | learnt | chosen) == 12
    assert len(chosen) == cast.n_validation
    assert len({photo.path for photo in pairs}) == len(pairs) == cast.n_pairs


def test_more_pairs_begin_with_fewer_and_show_everybody_before_anybody_twice(cast: Cast) -> None:
    pairs = cast.pair_photos("all")
    few = cast.pair_photos(3)
    assert [photo.path for photo in few] == [photo.path for photo in pairs[:3]]
    people = [photo.label for photo in pairs]
    count = len(set(people))
    assert len(set(people[:count])) == count
    assert len(cast.trial(1).photos) == 1
    assert cast.trial(1).photos[0].path == cast.trial(2).photos[0].path


def test_a_photo_of_validation_is_not_in_the_gallery_or_its_place_is_known(cast: Cast) -> None:
    trial = cast.trial(100)
    left = torch.ones(len(cast.protocol.gallery), dtype=torch.bool)
    left[trial.places[trial.places >= 0]] = False
    for photo, place in zip(trial.photos, trial.places.tolist(), strict=True):
        names = [entry.image for entry in cast.protocol.gallery]
        assert (place == -1 and photo.path not in names) or names[place] == photo.path
        others = [cast.protocol.gallery[index].identity for index in left.nonzero().flatten().tolist()]
        assert photo.label in {cast.numbers[name] for name in others}
    families = cast.families(100, 2)
    assert len(families) == cast.n_validation
    assert all(1 < len(family) <= 2 for family in families)


def test_the_seed_decides_who_is_who(tmp_path: Path, detector: FaceDetector, cast: Cast) -> None:
    again = cast_of(tmp_path, detector)
    assert [photo.path for photo in again.pair_photos("all")] == [photo.path for photo in cast.pair_photos("all")]
    other = cast_of(tmp_path, detector, seed=1)
    assert [photo.path for photo in other.pair_photos("all")] != [photo.path for photo in cast.pair_photos("all")]


def test_too_few_people_are_told_before_anything_is_made(cast: Cast) -> None:
    cast.require("student", "all", 0)
    with pytest.raises(ProtocolError, match="adversaries: student needs 500 photos of other people for its pairs"):
        cast.require("student", 500, 0)
    with pytest.raises(ProtocolError, match="clusterer needs 50 other people with two or more photos"):
        cast.require("clusterer", 0, 50)
