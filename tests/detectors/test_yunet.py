"""YuNet: what OpenCV makes of the same file, the formula, and files that are no YuNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from facecrypt import registry
from facecrypt.cli import main as cli
from facecrypt.detectors.base import Found, overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.detectors.yunet import PACKAGED, Yunet, decode
from facecrypt.errors import WeightsError
from facecrypt.faces.face import Face
from facecrypt.photos.files import Photo, read_photo
from tests.pictures import DATA

ROOT = Path(__file__).parents[2]
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


@pytest.fixture(scope="module")
def yunet() -> Yunet:
    return Yunet()


@pytest.fixture(scope="module")
def crowd() -> NDArray[np.uint8]:
    """Twelve people in a picture whose sides no stride divides."""
    people = sorted(DATA.glob("virtual_targets/*/*.png"))[:36:3]
    sheet = np.zeros((3 * 150 + 7, 4 * 150 + 13, 3), np.uint8)
    for number, path in enumerate(people):
        top, left = divmod(number, 4)
        face = Image.open(path).convert("RGB").resize((150 - 10 * top, 150 - 10 * top))
        sheet[top * 150 : top * 150 + face.height, left * 150 : left * 150 + face.width] = np.asarray(face)
    return sheet


@pytest.mark.parametrize("score", [0.9, 0.5])
def test_sees_what_opencv_sees(crowd: NDArray[np.uint8], photo: Photo, score: float) -> None:
    for pixels in (crowd, photo.pixels):
        size = pixels.shape[1::-1]
        theirs = cv2.FaceDetectorYN.create(str(PACKAGED.require()), "", size, score, 0.3)
        rows = theirs.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]
        found = Yunet(score=score)._look(pixels)
        assert len(rows) == len(found) >= 1
        for row, face in zip(sorted(rows, key=lambda row: -row[14]), found, strict=True):
            np.testing.assert_allclose(face.box, [row[0], row[1], row[0] + row[2], row[1] + row[3]], atol=0.02)
            np.testing.assert_allclose(face.landmarks.flatten(), row[4:14], atol=0.02)
            assert face.probability == pytest.approx(row[14], abs=1e-4)
    assert len(found) <= 2


def test_a_map_is_read_by_its_formula(generator: torch.Generator) -> None:
    rows, columns, stride = 5, 7, 16
    classes, objects = (torch.rand(rows * columns, 1, generator=generator) * 1.2 - 0.1 for _ in range(2))
    boxes, points = (torch.randn(rows * columns, count, generator=generator) for count in (4, 10))
    expected = []
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        score = (min(max(classes[place].item(), 0), 1) * min(max(objects[place].item(), 0), 1)) ** 0.5
        if score < 0.4:
            continue
        b = boxes[place].tolist()
        x, y = (column + b[0]) * stride, (row + b[1]) * stride
        width, height = np.exp(b[2]) * stride, np.exp(b[3]) * stride
        p = points[place].tolist()
        marks = [((column + p[2 * n]) * stride, (row + p[2 * n + 1]) * stride) for n in range(5)]
        expected.append(((x - width / 2, y - height / 2, x + width / 2, y + height / 2), marks, score))
    found = decode(classes, objects, boxes, points, stride, columns, 0.4)
    assert len(found) == len(expected) > 5
    for face, (box, marks, score) in zip(found, expected, strict=True):
        np.testing.assert_allclose(face.box, box, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(face.landmarks, marks, rtol=1e-4, atol=1e-3)
        assert face.probability == pytest.approx(score, abs=1e-6)


def write(path: Path, values: dict[str, NDArray[np.float32]], side: int = 64) -> Path:
    """A file whose outputs are what is said, whatever the picture shows."""
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    nodes += [helper.make_node("Sub", ["mean", "mean"], ["nothing"])]
    outputs = []
    for name, value in values.items():
        nodes.append(helper.make_node("Add", ["nothing", f"{name}_value"], [name]))
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))
    given = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, side, side])
    tensors = [numpy_helper.from_array(value, f"{name}_value") for name, value in values.items()]
    graph = helper.make_graph(nodes, "yunet", [given], outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def outputs(side: int = 64) -> dict[str, NDArray[np.float32]]:
    """Nobody anywhere."""
    return {
        f"{head}_{stride}": np.zeros((1, (side // stride) ** 2, size), np.float32)
        for stride in (8, 16, 32)
        for head, size in HEADS.items()
    }


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    values = outputs()
    place = 2 * 8 + 3  # Row 2, column 3 of the map with a stride of 8.
    values["cls_8"][0, place], values["obj_8"][0, place] = 0.9, 0.8
    values["bbox_8"][0, place] = [0.5, 0.25, np.log(3), np.log(4)]
    values["kps_8"][0, place] = [-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]
    # Beside it and less likely: the same face, which is left out.
    values["cls_8"][0, place + 1], values["obj_8"][0, place + 1] = 0.8, 0.8
    values["bbox_8"][0, place + 1] = [-0.5, 0.25, np.log(3), np.log(4)]
    built: Any = registry.build("detector", "yunet", {"path": str(write(tmp_path / "y.onnx", values)), "score": 0.7})
    (face,) = built.search(np.zeros((60, 50, 3), np.uint8))
    assert face.probability == pytest.approx((0.9 * 0.8) ** 0.5)
    np.testing.assert_allclose(face.box, [28 - 12, 18 - 16, 28 + 12, 18 + 16], atol=1e-4)
    np.testing.assert_allclose(face.landmarks, [[16, 8], [32, 8], [24, 16], [16, 24], [32, 24]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(b"no network"), "it is no ONNX file"),
        (lambda path: write(path, {"cls_8": np.zeros((1, 64, 1), np.float32)}), "it has no output bbox_16, only cls_8"),
    ],
)
def test_files_that_are_none(tmp_path: Path, change: Any, says: str) -> None:
    path = write(tmp_path / "y.onnx", outputs())
    change(path)
    with pytest.raises(WeightsError, match=f"{path.name}: {says}") as error:
        Yunet(path=str(path))
    assert "held_out" not in str(error.value)  # That is no way out for a detector.


@pytest.mark.slow
def test_a_large_face_is_found_too(photo: Photo, face: Face, yunet: Yunet) -> None:
    """Larger than the network knows."""
    left, top, right, bottom = (round(value) for value in face.box)
    near = photo.pixels[top - 20 : bottom + 20, left - 20 : right + 20]
    large = np.asarray(Image.fromarray(near).resize((near.shape[1] * 9, near.shape[0] * 9)))
    assert not [each for each in yunet._look(large) if each.box[2] - each.box[0] > 500]
    found = max(yunet.search(large), key=lambda each: each.box[2] - each.box[0])
    known = [180, 180, 180 + 9 * (right - left), 180 + 9 * (bottom - top)]
    assert overlap(found.box, known) > 0.6


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_lies_on_its_side(turns: int, photo: Photo, yunet: Yunet) -> None:
    (upright,) = yunet.search(photo.pixels)
    (lying,) = yunet.search(np.ascontiguousarray(np.rot90(photo.pixels, turns)))
    assert lying.turns == -turns % 4
    centre = np.array([255.5, 255.5])
    turned = lying.landmarks - centre
    for _ in range(turns):  # A quarter back, clockwise: x, y become -y, x.
        turned = np.stack([-turned[:, 1], turned[:, 0]], axis=1)
    np.testing.assert_allclose(turned + centre, upright.landmarks, atol=1e-3)


class Once:
    """Finds what a test says, and has no way of its own to search a box."""

    def __init__(self, *faces: Found) -> None:
        self.faces = faces

    def search(self, pixels: NDArray[np.uint8]) -> list[Found]:
        self.shape = pixels.shape
        return list(self.faces)


def test_a_box_is_searched_by_its_surroundings(photo: Photo) -> None:
    marks = np.array([[110, 120], [190, 120], [150, 150], [120, 180], [180, 180]])
    wrong = Found(np.array([0, 0, 60.0, 60]), marks, 0.99)
    right = Found(np.array([80.0, 80, 240, 240]), marks, 0.7)
    detector = Once(wrong, right)
    found = FaceDetector(detector).find_in(photo, [200, 100, 280, 180])
    # A box of 80 pixels is shown with half of that around it, 160 pixels wide itself.
    assert detector.shape == (322, 322, 3)
    assert found is not None
    np.testing.assert_allclose(found.box, [200, 100, 280, 180], atol=1)
    np.testing.assert_allclose(found.landmarks, np.array([160, 60]) + marks / 2, atol=1)
    assert FaceDetector(Once(wrong)).find_in(photo, [200, 100, 280, 180]) is None


@pytest.mark.slow
def test_a_run_with_another_detector_for_the_judges(tmp_path: Path, yunet: Yunet, photo: Photo, face: Face) -> None:
    output = tmp_path / "out"
    keys = ["detector={name: yunet}", "receipt.detector={name: mtcnn}", "receipt.transforms=[]", "steps=1"]
    keys += ["preset=null", "budget=null", "max_targets=1", "trainer.accelerator=cpu", f"output={output}"]
    assert cli.main(["run", "--allow-weak", str(ROOT / "tests" / "judged.yaml"), *keys]) == cli.DONE
    report = json.loads((output / "report.json").read_text())
    (told,) = report["photos"][0]["faces"]
    (mine,) = FaceDetector(yunet).find(photo, "all")
    np.testing.assert_allclose(told["box"], mine.box, atol=0.06)
    assert np.abs(np.array(told["box"]) - face.box).max() > 3
    assert told["found_again"] == "detected"
    assert any("found by mtcnn" in note for note in report["notes"])
    # What was changed is the patch of the face that YuNet finds.
    changed = (read_photo(output / "astronaut.png").pixels != photo.pixels).any(axis=2)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    left, top, side = mine.patch
    assert left <= columns[0] <= columns[-1] < left + side
    assert top <= rows[0] <= rows[-1] < top + side
