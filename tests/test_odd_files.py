"""Pipes, sockets, devices and folders in place of files: nobody waits for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from facecrypt import registry
from facecrypt.benchmark.protocol import load_protocol
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.evaluation.embedding_cache import EmbeddingCache
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.runner import sample_photo
from facecrypt.recipe.check import load_recipe
from facecrypt.surrogates.checkpoint import load_state_dict
from facecrypt.surrogates.onnx.recogniser import onnx
from facecrypt.targets.selectors import load_targets
from tests.pictures import make_image

QUICKSTART = Path(__file__).parents[1] / "tests" / "judged.yaml"


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def sock(path: Path) -> Path:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


ODD = pytest.mark.parametrize("make", [pipe, sock, device, folder])
Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@ODD
def test_odd_files_in_place_of_a_file_that_somebody_names(make: Make, tmp_path: Path) -> None:
    for name, read in (
        ("photo.jpg", read_photo),
        ("recipe.yaml", load_recipe),
        ("protocol.csv", load_protocol),
        ("weights.pth", load_state_dict),
        ("weights.safetensors", load_state_dict),
        ("network.onnx", lambda path: onnx(path=str(path), dimension=3)),
        ("digest.onnx", lambda path: onnx(path=str(path), dimension=3, sha256="0" * 64)),
    ):
        with pytest.raises(FacecryptError) as caught:
            read(make(tmp_path / name))  # type: ignore[operator]
        assert name in str(caught.value)
        assert "not a regular file" in str(caught.value) or "is a folder" in str(caught.value)


@ODD
def test_odd_files_among_targets_references_and_a_gallery(make: Make, detector: FaceDetector, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(sample_photo().read_bytes())
    odd = make(photos / "b.png")
    if make is folder:
        (odd / "c.txt").touch()
    if make is folder:  # as a target, a folder without photos is an identity without a face
        with pytest.raises(PhotoError, match=r"b\.png: no photos found"):
            load_targets(str(photos), 10, detector, "largest")
    else:
        assert [target.name for target in load_targets(str(photos), 10, detector, "largest")] == ["a"]
    sface = registry.build("surrogate", "sface", {})
    with pytest.raises(PhotoError, match=r"b\.png: cannot be read \(it is a"):
        EmbeddingCache(tmp_path / "cache").embed_files([odd], sface, "sface", detector, "largest")


@pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")  # that it has no place for its notes
@ODD
def test_odd_files_in_an_output_folder(make: Make, tmp_path: Path) -> None:
    """What would be replaced by a file of the run stops it, the others are passed over."""
    make_image(size=(40, 30)).save(tmp_path / "none.png")
    for name, says in (
        ("report.json", "report.json"),
        ("manifest.json", "manifest.json"),
        ("recipe.yaml", "recipe.yaml"),
        (".facecrypt/0.json", ""),
        (".facecrypt/photos.txt", ""),
    ):
        output = tmp_path / name.replace("/", "-")
        (output / name).parent.mkdir(parents=True)
        make(output / name)
        keys = [f"photos={tmp_path / 'none.png'}", f"output={output}", "steps=1", "max_targets=1"]
        try:
            report = runner.run(load_recipe(QUICKSTART, keys))
            seen = str(report.photos[0]["status"])
        except FacecryptError as error:
            seen = str(error)
        assert says in seen
        assert says or seen == "unchanged" or name in seen  # there is no face in it
