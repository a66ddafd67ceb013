from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt.detectors.base import overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.selection import Selection, choose_faces, load_references
from facecrypt.errors import NoFaceFoundError, PhotoError
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo
from facecrypt.recipe.check import check_recipe
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from tests.pictures import DATA, SHEET_COLUMNS, SHEET_STEP, contact_sheet, sheet_people

SHEET = 30
PACK = DATA / "virtual_targets"


@pytest.fixture(scope="module")
def sheet(photo: Photo) -> Photo:
    return replace(photo, pixels=np.asarray(contact_sheet(SHEET)))


def choose(photo: Photo, detector: FaceDetector, rules: Any) -> Selection:
    faces = check_recipe({"surrogates": [{"name": "sface"}], "faces": rules}).faces
    return choose_faces(photo, faces, detector, load_references(faces, detector))


def cells(faces: list[Face]) -> list[int]:
    """The places of faces on the contact sheet."""
    middles = [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in faces]
    return sorted(int(y // SHEET_STEP) * SHEET_COLUMNS + int(x // SHEET_STEP) for x, y in middles)


@pytest.mark.slow
def test_thirty_faces_in_one_photo(sheet: Photo, detector: FaceDetector) -> None:
    faces, skipped, reason = choose(sheet, detector, "all")
    assert cells(faces) == list(range(SHEET))
    assert [face.index for face in faces] == list(range(1, SHEET + 1))
    areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert (skipped, reason) == ([], "")
    # Each number names the same face again, and a number that no face has is told.
    some = choose(sheet, detector, {"index": [2, 30, 99]})
    assert [face.box for face in some.faces] == [faces[1].box, faces[29].box]
    assert [each.index for each in some.skipped] == [1, *range(3, 30), 99]
    assert some.skipped[0].reason == "not what faces.index names (2, 30, 99)"
    assert np.allclose(some.skipped[0].box or (), faces[0].box, atol=0.051)
    assert (some.skipped[-1].box, some.skipped[-1].reason) == (None, "no such face: 30 found")
    assert choose(sheet, detector, {"index": 99}).reason == (
        "none of its 30 faces is chosen, nothing was written. Face 1 is not what faces.index names (99)."
    )


@pytest.mark.slow
def test_one_person_among_thirty(sheet: Photo, detector: FaceDetector, sface_embedder: Embedder) -> None:
    """By photos that are not on the sheet, against cosines computed one by one."""
    person = PACK / "v03"
    mine = [number for number, name in enumerate(sheet_people(SHEET)) if name == "v03"]
    only = choose(sheet, detector, {"only": str(person / "0.png")})
    assert cells(only.faces) == mine
    other = choose(sheet, detector, {"except": str(person / "0.png")})
    assert cells(other.faces) == [number for number in range(SHEET) if number not in mine]
    assert [face.index for face in only.faces] == [each.index for each in other.skipped]
    (reference,) = detector.find(replace(sheet, pixels=np.asarray(Image.open(person / "0.png"))), "largest")
    reference_image = cut(replace(sheet, pixels=np.asarray(Image.open(person / "0.png"))), reference)
    found = detector.find(sheet, "all")
    for each in (*only.skipped, *other.skipped):
        images = [cut(sheet, found[each.index - 1]), reference_image]
        first, second = (embed(sface_embedder, [image])[0] for image in images)
        assert each.similarity == pytest.approx(float(first @ second), abs=1e-4)
        assert (each.similarity >= 0.307) == each.reason.startswith("like faces.except: similarity +0.")
    # Of several references, one is enough; and the largest of those that are left.
    both = choose(sheet, detector, {"only": [str(person), str(PACK / "v05" / "0.png")]})
    assert cells(both.faces) == [number for number, name in enumerate(sheet_people(SHEET)) if name in ("v03", "v05")]
    largest = choose(sheet, detector, {"choose": "largest", "only": str(person)})
    assert [face.index for face in largest.faces] == [only.faces[0].index]
    assert "not the largest" in [each.reason for each in largest.skipped]


def test_nobody_like_the_reference(photo: Photo, detector: FaceDetector) -> None:
    faces, skipped, reason = choose(photo, detector, {"only": str(PACK / "v01")})
    assert faces == []
    assert skipped[0].similarity is not None
    assert reason == (
        f"its only face is not chosen, nothing was written. Face 1 is not like faces.only: similarity "
        f"{skipped[0].similarity:+.3f}, same person from 0.307 (sface)."
    )


def test_references_that_cannot_be_used(tmp_path: Path, photo: Photo, detector: FaceDetector) -> None:
    Image.new("RGB", (200, 200)).save(tmp_path / "black.png")
    with pytest.raises(NoFaceFoundError, match=r"^faces.only: .*black.png: no face found. Name a photo with"):
        choose(photo, detector, {"only": str(tmp_path / "black.png")})
    with pytest.raises(PhotoError, match=r"^faces.except: .*nobody.jpg: there is no such file or folder"):
        choose(photo, detector, {"except": str(tmp_path / "nobody.jpg")})


def test_the_smallest_size(photo: Photo, detector: FaceDetector) -> None:
    half = np.asarray(photo.pixels)[::2, ::2]
    scene = replace(photo, pixels=np.concatenate([photo.pixels, np.pad(half, ((0, 256), (0, 0), (0, 0)))], axis=1))
    large, small = choose(scene, detector, "all").faces
    faces, (skipped,), _ = choose(scene, detector, {"min_size": 60})
    assert [face.box for face in faces] == [large.box]
    assert skipped.index == small.index == 2
    assert skipped.reason.startswith("too small: 4")
    assert skipped.reason.endswith(" pixels, faces.min_size is 60")
    assert "too small" in choose(scene, detector, {"min_size": 400}).reason


def test_a_minimum_size_makes_the_search_of_a_large_photo_finer(photo: Photo, detector: FaceDetector) -> None:
    face = Image.fromarray(np.asarray(photo.pixels)).resize((150, 150), Image.Resampling.LANCZOS)  # 26 pixels wide
    scene = Image.new("RGB", (4800, 400), "gray")
    scene.paste(face, (2500, 100))
    large = replace(photo, pixels=np.asarray(scene))
    assert choose(large, detector, "all").reason.startswith("no face found, nothing was written.")
    (found,) = choose(large, detector, {"min_size": 20}).faces
    assert 2500 < found.box[0] < found.box[2] < 2650


def test_a_face_given_by_hand(photo: Photo, face: Face, detector: FaceDetector) -> None:
    by_box = choose(photo, detector, {"box": list(face.box)})
    assert [each.landmarks_from for each in by_box.faces] == ["detected in box"]
    assert np.abs(by_box.faces[0].landmarks - face.landmarks).max() < 4
    assert by_box.skipped == []  # Nothing else was searched.
    by_points = choose(photo, detector, {"landmarks": face.landmarks.tolist()})
    (given,) = by_points.faces
    assert (given.landmarks_from, given.index, given.patch) == ("given", None, face.patch)
    assert overlap(given.box, face.box) > 0.6
    # Together with the found faces, a given one stands in for the found one that it overlaps.
    with_others = choose(photo, detector, {"choose": "all", "landmarks": face.landmarks.tolist()})
    assert [each.landmarks_from for each in with_others.faces] == ["given"]
    elsewhere = choose(photo, detector, {"choose": "all", "box": [400, 400, 460, 480]})
    assert [(each.index, each.landmarks_from) for each in elsewhere.faces] == [(1, "detected"), (None, "placed in box")]


def test_a_face_given_outside_the_photo(photo: Photo, detector: FaceDetector) -> None:
    with pytest.raises(PhotoError, match=r"faces.box\[0\] lies outside its 512x512 pixels"):
        choose(photo, detector, {"box": [600, 20, 700, 120]})
    with pytest.raises(PhotoError, match=r"faces.landmarks\[0\] lies outside its 512x512 pixels"):
        choose(photo, detector, {"landmarks": [[500, 20], [530, 20], [515, 40], [503, 60], [527, 60]]})
