from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from facecrypt import pipeline
from facecrypt.faces import Face, FaceDetector, FaceImage, cut
from facecrypt.photos import Photo, read_photo
from facecrypt.surrogates import dlib_resnet, sface
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets import VIRTUAL, Target, load_targets

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def lfw() -> Path:
    """The folder of LFW photos to measure on, which is not part of the project."""
    folder = Path(os.environ.get("FACECRYPT_LFW", ROOT.parent / "shared" / "lfw"))
    if not (folder / "protocol.csv").is_file():
        pytest.skip(f"no LFW photos with a protocol.csv in {folder}: set FACECRYPT_LFW to their folder")
    return folder


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="session")
def sface_embedder() -> Embedder:
    return sface.build()


@pytest.fixture(scope="session")
def dlib_embedder() -> Embedder:
    return dlib_resnet.build()


@pytest.fixture(scope="session")
def photo() -> Photo:
    return read_photo(pipeline.sample_photo())


@pytest.fixture(scope="session")
def face(photo: Photo, detector: FaceDetector) -> Face:
    (face,) = detector.find(photo, "all")
    return face


@pytest.fixture(scope="session")
def face_image(photo: Photo, face: Face) -> FaceImage:
    return cut(photo, face)


@pytest.fixture(scope="session")
def targets(detector: FaceDetector) -> list[Target]:
    return load_targets(VIRTUAL, 10, detector, "all")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
