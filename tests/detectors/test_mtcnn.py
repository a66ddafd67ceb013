"""Faces that lie on their side or upside down, alone and among others, and what it costs to look for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image

from facecrypt import api
from facecrypt.cli import main as cli
from facecrypt.detectors import mtcnn
from facecrypt.detectors.base import overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.selection import choose_faces
from facecrypt.evaluation.robustness import see_again
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.recipe.face_rules import Faces
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import VIRTUAL, load_targets
from facecrypt.transforms.base import publish
from tests.pictures import DATA, SHEET_COLUMNS, SHEET_STEP, contact_sheet, sheet_people

Pixels = NDArray[np.uint8]
TURNS = (1, 2, 3)
SOME_TURNS = (1, *(pytest.param(turns, marks=pytest.mark.slow) for turns in TURNS[1:]))


def turned(photo: Photo, turns: int) -> Photo:
    return Photo(photo.path, np.rot90(photo.pixels, turns).copy())


def turn_points(points: NDArray[Any], turns: int, size: tuple[int, int]) -> NDArray[Any]:
    """Where points of a picture of some width and height are after `numpy.rot90`, one quarter after the other."""
    width, height = size
    for _ in range(turns):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        width, height = height, width
    return points


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes of the pictures that were searched, in the order of the searches."""
    sizes: list[tuple[int, ...]] = []
    detect = mtcnn._detect

    def count(network: Any, pixels: Pixels, turns: int) -> Any:
        sizes.append(pixels.shape[:2])
        return detect(network, pixels, turns)

    monkeypatch.setattr(mtcnn, "_detect", count)
    return sizes


def similarity(embedder: Embedder, first: tuple[Photo, Face], second: tuple[Photo, Face]) -> float:
    a, b = embed(embedder, [cut(*first), cut(*second)])
    return float(a @ b)


@pytest.mark.parametrize("turns", TURNS)
def test_a_photo_on_its_side(
    turns: int, photo: Photo, face: Face, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    """The landmarks are those of the face itself, so that every recogniser sees it upright."""
    wide = Photo(photo.path, photo.pixels[:300])  # Not square, so that sides cannot be taken for each other.
    lying = turned(wide, turns)
    (found,) = detector.find(lying, "all")
    expected = turn_points(face.landmarks, turns, (512, 300))
    eyes = np.linalg.norm(face.landmarks[0] - face.landmarks[1])
    assert np.abs(found.landmarks - expected).max() < 0.1 * eyes
    corners = turn_points(np.array(face.box).reshape(2, 2), turns, (512, 300))
    assert overlap(found.box, (*corners.min(axis=0), *corners.max(axis=0))) > 0.8
    assert (found.index, found.landmarks_from) == (1, "detected")
    assert similarity(sface_embedder, (photo, face), (lying, found)) > 0.95


@pytest.mark.parametrize("turns", [1, *(pytest.param(turns, marks=pytest.mark.slow) for turns in (2, 3))])
def test_everybody_in_a_photo_on_its_side(turns: int, detector: FaceDetector) -> None:
    sheet = Photo(Path("sheet.png"), np.asarray(contact_sheet(8)))
    upright = detector.find(sheet, "all")
    assert len(upright) == 8
    lying = detector.find(turned(sheet, turns), "all")
    assert len(lying) == 8
    height, width = sheet.pixels.shape[:2]
    for face in upright:
        expected = turn_points(face.landmarks, turns, (width, height))
        assert min(np.abs(other.landmarks - expected).max() for other in lying) < 6


@pytest.mark.parametrize("turns", SOME_TURNS)
@pytest.mark.parametrize("who", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (4, 11))])
def test_one_of_a_group_lies_on_their_side(
    turns: int, who: int, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    upright = Photo(Path("sheet.png"), np.asarray(contact_sheet(12)))
    pixels = upright.pixels.copy()
    row, column = who // SHEET_COLUMNS * SHEET_STEP, who % SHEET_COLUMNS * SHEET_STEP
    tile = (slice(row, row + 160), slice(column, column + 160))
    pixels[tile] = np.rot90(pixels[tile], turns)
    group = Photo(upright.path, pixels)
    faces = detector.find(group, "all")
    assert len(faces) == len(sheet_people(12))

    def there(face: Face) -> bool:
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        return column <= x < column + 160 and row <= y < row + 160

    (before,) = filter(there, detector.find(upright, "all"))
    (after,) = filter(there, faces)
    assert similarity(sface_embedder, (upright, before), (group, after)) > 0.9


def test_what_is_upright_is_searched_once(
    photo: Photo, detector: FaceDetector, searches: list[tuple[int, ...]]
) -> None:
    for pixels in (photo.pixels, np.asarray(contact_sheet(30))):
        searches.clear()
        assert detector.find(Photo(photo.path, pixels), "all")
        assert searches == [pixels.shape[:2]]


def test_without_a_face_four_searches_are_the_most(
    detector: FaceDetector, searches: list[tuple[int, ...]], generator: Any
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 150, 3)).astype(np.uint8)
    stripes = np.tile(np.arange(150, dtype=np.uint8)[None, :, None], (90, 1, 3))
    for pixels in (noise, stripes, np.zeros((90, 150, 3), np.uint8)):
        searches.clear()
        assert detector.find(Photo(Path("x.png"), pixels), "all") == []
        assert searches == [(90, 150)] * 4
    assert detector.find(Photo(Path("x.png"), np.zeros((90, 10, 3), np.uint8)), "all") == []


def test_an_aligned_face_is_not_searched(photo: Photo, detector: FaceDetector, searches: list[Any]) -> None:
    detector.find(turned(photo, 1), "aligned")
    assert searches == []


@pytest.mark.slow
def test_lower_thresholds_change_no_face(photo: Photo, detector: FaceDetector) -> None:
    """Against MTCNN as its package sets it up."""
    reference = MTCNN(keep_all=True, min_face_size=20, device="cpu")
    for pixels in (photo.pixels, np.asarray(contact_sheet(30))):
        boxes, probabilities, landmarks = reference.detect(Image.fromarray(pixels), landmarks=True)
        expected = sorted(
            (*box, *points.flatten())
            for box, probability, points in zip(boxes, probabilities, landmarks, strict=True)
            if probability >= 0.9
        )
        found = sorted(
            (*face.box, *face.landmarks.flatten()) for face in detector.find(Photo(photo.path, pixels), "all")
        )
        np.testing.assert_allclose(np.array(found, float), np.array(expected, float), atol=1e-2)


@pytest.mark.parametrize("turns", SOME_TURNS)
@pytest.mark.parametrize(
    "transform", ["none", *(pytest.param(each, marks=pytest.mark.slow) for each in ("jpeg_75", "half_size"))]
)
def test_it_is_seen_again_in_the_same_turn(
    turns: int, transform: Any, photo: Photo, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    """In a small window of a large photo, too."""
    pixels = np.full((900, 1100, 3), 127, np.uint8)
    pixels[300:812, 500:1012] = np.rot90(photo.pixels, turns)
    large = Photo(photo.path, pixels)
    (face,) = detector.find(large, "all")
    (again,) = see_again(large, publish(transform), [face], detector, Faces(choose="all"))
    assert again is not None
    assert again.how == "detected"
    first, second = embed(sface_embedder, [cut(large, face), again.image])
    assert float(first @ second) > 0.9


@pytest.mark.slow
def test_rules_of_faces_hold_for_those_on_their_side(photo: Photo, detector: FaceDetector) -> None:
    lying = turned(photo, 3)
    assert len(choose_faces(lying, Faces(index=[1]), detector).faces) == 1
    assert choose_faces(lying, Faces(min_size=300), detector).skipped[0].reason.startswith("too small")
    box = detector.find(lying, "all")[0].box
    (by_hand,) = choose_faces(lying, Faces(box=[list(box)]), detector).faces
    assert by_hand.landmarks_from == "detected in box"


def test_a_target_on_its_side(tmp_path: Path, detector: FaceDetector, sface_embedder: Embedder) -> None:
    upright = DATA / "virtual_targets" / "v03" / "0.png"
    Image.open(upright).rotate(90, expand=True).save(tmp_path / "v03.png")
    (lying,) = load_targets(str(tmp_path), 1, detector, "largest")
    same = next(target for target in load_targets(VIRTUAL, 10, detector, "all") if target.name == "v03")
    first, second = embed(sface_embedder, [lying.aim, same.aim])
    assert float(first @ second) > 0.9


@pytest.mark.slow
def test_a_run_protects_and_judges_them_upright(
    tmp_path: Path, photo: Photo, face: Face, sface_embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the report says of a saved photo holds for whoever turns it upright; the photo keeps its own way up."""
    (tmp_path / "in").mkdir()
    for turns in (1, 2):
        Image.fromarray(np.rot90(photo.pixels, turns)).save(tmp_path / "in" / f"{turns}.png")
    recipe = str(Path(__file__).parents[2] / "recipes" / "tipim.yaml")
    arguments = ["steps=8", "max_targets=2", "target_selector={name: nearest}", "trainer.accelerator=cpu"]
    arguments += ["receipt.transforms=[jpeg_75]", "held_out=[]", "views=[]", f"photos={tmp_path / 'in'}"]
    assert cli.main(["run", "--allow-weak", recipe, f"output={tmp_path / 'out'}", *arguments]) == cli.DONE
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    upright = (photo, face)
    for turns, entry in zip((1, 2), report["photos"], strict=True):
        (told,) = entry["faces"]
        verdict = told["recognisers"]["sface"]
        assert verdict["still_recognised"] is False
        assert verdict["before"]["jpeg_75"]["still_recognised"] is True
        saved = read_photo(Path(entry["output"]))
        assert saved.pixels.shape == (512, 512, 3)
        difference = np.abs(saved.pixels.astype(int) - np.rot90(photo.pixels, turns).astype(int))
        assert difference.max() <= 12
        again = Photo(saved.path, np.rot90(saved.pixels, -turns).copy())
        assert similarity(sface_embedder, upright, (again, face)) < 0.307
        left, top, right, bottom = told["box"]
        assert difference[int(top) : int(bottom), int(left) : int(right)].any()


@pytest.mark.slow
def test_the_api_takes_them_too(photo: Photo) -> None:
    result = api.protect(
        np.rot90(photo.pixels).copy(), steps=1, max_targets=2, target_selector={"name": "nearest"}, held_out=[],
        trainer={"accelerator": "cpu"}, receipt={"transforms": []}, preset="mid",
    )  # fmt: skip
    assert result.status == "written"
    assert result.pixels.shape == photo.pixels.shape


def test_overlap_counts_pixels() -> None:
    first, second = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    first[2:10, 1:9], second[5:15, 4:12] = True, True
    expected = (first & second).sum() / (first | second).sum()
    assert overlap((1, 2, 9, 10), (4, 5, 12, 15)) == pytest.approx(expected)
    assert overlap((0, 0, 1, 1), (5, 5, 6, 6)) == 0.0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0
