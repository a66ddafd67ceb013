from __future__ import annotations

import copy
import csv
import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from facecrypt import registry
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError, WeightsError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.iterative.loop import ProtectionLoop, Settings, Surrogate
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.builders import same_network
from facecrypt.surrogates.catalogue import INSIGHTFACE_BUFFALO_S
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.surrogates.onnx import recogniser as onnx_file
from facecrypt.surrogates.onnx.graph import OnnxGraph
from facecrypt.surrogates.onnx.recogniser import OnnxNetwork
from facecrypt.targets.selectors import Nearest, Target
from facecrypt.templates import ARCFACE_TEMPLATE
from tests.surrogates.onnx_files import mobilefacenet

ROOT = Path(__file__).resolve().parents[3]
ROWS, COLUMNS, DIMENSION = 12, 10, 6
FEATURES = 4 * (ROWS // 2) * (COLUMNS // 2)
CROPS = torch.rand(3, 3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    """Return the network that the files hold. Its weights are random: it recognises nobody."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(FEATURES, DIMENSION))


def write(
    path: Path, *, batch: int | str = "batch", inside: int = -1, inputs: int = 1, unread: int = 0, kind: int = 1
) -> Path:
    """Write the network as ONNX, by hand.

    Args:
        path: The file.
        batch: What the file declares as its batch.
        inside: Rows of the reshape before the last layer, -1 for any number.
        inputs: Number of inputs; all are added up.
        unread: Number of further inputs that no node reads.
        kind: Type of the input.
    """
    names = {"0.weight": "kernel", "0.bias": "kernel_bias", "2.weight": "matrix", "2.bias": "matrix_bias"}
    tensors = [numpy_helper.from_array(value.numpy(), names[key]) for key, value in network().state_dict().items()]
    tensors.append(numpy_helper.from_array(np.array([inside, FEATURES]), "shape"))
    nodes = [
        helper.make_node("Sum" if inputs > 1 else "Identity", list("xyz"[:inputs]), ["sum"]),
        helper.make_node("Cast", ["sum"], ["crop"], to=TensorProto.FLOAT),
        helper.make_node(
            "Conv", ["crop", "kernel", "kernel_bias"], ["map"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("Reshape", ["map", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "matrix_bias"], ["embedding"], transB=1),
    ]
    declared = [
        helper.make_tensor_value_info(name, kind, [batch, 3, ROWS, COLUMNS])
        for name in [*"xyz"[:inputs], *"uvw"[:unread]]
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, DIMENSION])
    graph = helper.make_graph(nodes, "tiny", declared, [output], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.onnx")


def build(path: Path, **changed: Any) -> Embedder:
    args: dict[str, Any] = {"path": str(path), "dimension": DIMENSION, "size": (ROWS, COLUMNS), **changed}
    return onnx_file.onnx(**args)


def expected(prepared: Tensor) -> Tensor:
    with torch.no_grad():
        embeddings: Tensor = network()(prepared)
    return embeddings


@pytest.mark.parametrize(
    "written",
    [{}, {"batch": 1}, {"batch": 1, "inside": 1}, {"inside": 1}, {"unread": 2}],
    ids=["any", "one", "one inside", "hidden", "inputs that nothing reads"],
)
def test_agrees_with_torch_whatever_the_batch(written: dict[str, Any], tmp_path: Path) -> None:
    embedder = build(write(tmp_path / "tiny.onnx", **written))
    torch.testing.assert_close(embedder.raw(CROPS), expected((CROPS - 0.5) / 0.5), rtol=0, atol=1e-5)
    assert embedder.raw(CROPS[:1]).shape == (1, DIMENSION)
    torch.testing.assert_close(embedder(CROPS).norm(dim=1), torch.ones(3))


def test_mean_std_and_channel_order_reach_the_network(file: Path) -> None:
    mean, std = (1.0, 2.0, 3.0), (40.0, 50.0, 60.0)
    prepared = (CROPS * 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for order, seen in (("rgb", prepared), ("bgr", prepared.flip(1))):
        found = build(file, mean=mean, std=std, channel_order=order).raw(CROPS)
        torch.testing.assert_close(found, expected(seen), rtol=0, atol=1e-5)


def test_spec_says_what_the_recipe_said(file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    spec = build(file, sha256=digest.upper(), threshold=0.25, licence="MIT", permissive=True).spec
    assert (spec.height, spec.width, spec.dimension) == (ROWS, COLUMNS, DIMENSION)
    assert (spec.threshold, spec.threshold_source) == (0.25, "given by the recipe")
    assert (spec.weights.origin, spec.weights.path, spec.weights.size) == ("file", str(file), file.stat().st_size)
    assert (spec.weights.sha256, spec.weights.licence, spec.weights.permissive) == (digest, "MIT", True)
    assert build(file).spec.threshold_source == "not measured"


def test_template_is_scaled_and_centred() -> None:
    assert onnx_file._arcface(112, 112) == ARCFACE_TEMPLATE
    left_eye, *_, mouth = onnx_file._arcface(224, 224)
    assert left_eye == pytest.approx((2 * 38.2946, 2 * 51.6963))
    assert mouth == pytest.approx((2 * 70.7299, 2 * 92.2041))
    # The crop of 112x96 that SphereFace and CosFace use is ArcFace's without 8 columns on each side.
    assert onnx_file._arcface(112, 96)[0] == pytest.approx((38.2946 - 8, 51.6963))


def test_recipe_gives_lists(file: Path) -> None:
    points = [[3, 4], [6, 4], [5, 6], [3, 8], [6.5, 8]]
    args = {"path": str(file), "dimension": DIMENSION, "size": [ROWS, COLUMNS], "template": points, "std": [1, 1, 1]}
    embedder = registry.build("surrogate", "onnx", args)
    assert embedder.spec.template == ((3, 4), (6, 4), (5, 6), (3, 8), (6.5, 8))
    _, faults = registry.get("surrogate", "onnx").bind(args | {"std": [1, 0, 1], "sha256": "abc", "size": 0})
    assert {fault.split(":")[0] for fault in faults} == {"argument 'size'", "argument 'std'", "argument 'sha256'"}


def test_gradient_is_refused(file: Path) -> None:
    embedder = build(file)
    crops = CROPS.clone().requires_grad_()
    with pytest.raises(FacecryptError, match=r"tiny\.onnx was asked for a gradient.*require_gradients\(\)"):
        embedder(crops)
    with torch.no_grad():
        assert torch.equal(embedder(crops), embedder(CROPS))


def test_gradient_is_given_once_it_is_required(file: Path) -> None:
    embedder = build(file)
    embedder.require_gradients()
    crops = CROPS.clone().requires_grad_()
    (found,) = torch.autograd.grad(embedder.raw(crops).sum(), crops)
    (wanted,) = torch.autograd.grad(network()((crops - 0.5) / 0.5).sum(), crops)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(embedder.raw(CROPS), expected((CROPS - 0.5) / 0.5), rtol=0, atol=1e-5)


def loop(embedder: Embedder, target: Target) -> ProtectionLoop:
    return ProtectionLoop(
        surrogates=[Surrogate("onnx", embedder, 1.0)],
        targets=[target],
        target_selector=Nearest(),
        naturalness=[],
        optimizer=registry.build("optimizer", "momentum", {}),
        views=[],
        settings=Settings(epsilon=0.05, step_size=0.01, norm="linf", steps=1),
    )


def test_the_loop_wants_gradients(file: Path, face_image: FaceImage, targets: list[Target]) -> None:
    embedder = build(file)
    with pytest.raises(FacecryptError, match="asked for a gradient"):
        loop(embedder, targets[0]).run([face_image], [0])
    embedder.require_gradients()
    (mask,) = loop(embedder, targets[0]).run([face_image], [0]).masks
    assert mask.abs().max() > 0


@pytest.mark.parametrize("name", ["buffalo_l", "buffalo_s"])
def test_insightface_file_that_is_not_there_or_another(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    component = registry.get("surrogate", f"insightface_{name}")
    spec = component.spec
    assert spec is not None
    assert spec.weights.find() is None
    with pytest.raises(WeightsError) as error:
        registry.build("surrogate", component.name, {})
    there = tmp_path / ".insightface" / "models" / name / Path(spec.weights.path).name
    assert f"insightface/{name}" in one_line(error, there)
    there.parent.mkdir(parents=True)
    there.write_bytes(file.read_bytes())
    assert spec.weights.find() == there
    for args, found in (({}, there), ({"path": str(file)}, file)):
        with pytest.raises(WeightsError) as error:
            registry.build("surrogate", component.name, args)
        assert f"expected {spec.weights.sha256[:12]}..." in one_line(error, found)


def test_insightface_file_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The published file may not be copied here: another one of the same shape and its digest stand in for it.
    path = mobilefacenet(tmp_path / "w600k_mbf.onnx", dimension=512)
    weights = replace(INSIGHTFACE_BUFFALO_S.weights, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(onnx_file, "INSIGHTFACE_BUFFALO_S", replace(INSIGHTFACE_BUFFALO_S, weights=weights))
    embedder = onnx_file.insightface_buffalo_s(path=str(path))
    assert embedder.spec.weights == replace(weights, path=str(path))
    assert embedder(torch.rand(1, 3, 112, 112)).shape == (1, 512)
    embedder.require_gradients()
    assert isinstance(embedder.network, OnnxGraph)
    copied = onnx_file.onnx(path=str(path), dimension=512, sha256=weights.sha256)
    assert same_network(embedder, copied), "one digest, one network"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "pickle"])
def test_survives_a_copy_and_another_process(clone: Callable[[Embedder], Embedder], file: Path) -> None:
    embedder = build(file)
    other = clone(embedder)
    assert torch.equal(other(CROPS), embedder(CROPS))


@pytest.mark.gpu
def test_moves_between_devices(file: Path, gpu: torch.device) -> None:
    embedder = build(file).to(gpu)
    embeddings = embedder(CROPS.to(gpu))
    assert embeddings.device.type == "cuda"
    torch.testing.assert_close(embeddings.cpu(), build(file)(CROPS), rtol=0, atol=1e-5)


def one_line(error: pytest.ExceptionInfo[WeightsError], path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"weights {path}: ")
    return message


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_missing_file(sha256: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        build(tmp_path / "absent.onnx", sha256=sha256)
    assert "path" in one_line(error, tmp_path / "absent.onnx")


def test_corrupt_file(file: Path) -> None:
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError) as error:
        build(file)
    assert "it is no ONNX file (DecodeError" in one_line(error, file)


def test_truncated_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(WeightsError) as error:
        build(file)
    assert "it is no ONNX file" in one_line(error, file)


def test_other_file(file: Path) -> None:
    with pytest.raises(WeightsError) as error:
        build(file, sha256="0" * 64)
    assert "expected 000000000000" in one_line(error, file)


@pytest.mark.parametrize(
    ("written", "changed", "reason"),
    [
        ({}, {"size": 112}, "takes tensor(float) ['batch', 3, 12, 10], but gets tensor(float) [1, 3, 112, 112]"),
        ({"batch": 4}, {}, "takes tensor(float) [4, 3, 12, 10], but gets"),
        ({"inputs": 2}, {}, "takes tensor(float) ['batch', 3, 12, 10] and tensor(float)"),
        ({"kind": TensorProto.UINT8}, {}, "takes tensor(uint8)"),
        ({"inside": 7}, {}, "cannot be run on a crop [1, 3, 12, 10] ("),
        ({}, {"dimension": 512}, "one crop gives [1, 6], not 512 numbers. Mend args.dimension"),
    ],
    ids=["size", "batch", "inputs", "type", "graph", "dimension"],
)
def test_file_that_does_not_fit(
    written: dict[str, Any], changed: dict[str, Any], reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "tiny.onnx", **written)
    with pytest.raises(WeightsError) as error:
        build(path, **changed)
    assert reason in one_line(error, path)
    captured = capfd.readouterr()
    assert captured.out + captured.err == "", "onnxruntime writes to the terminal too"


def test_missing_onnxruntime(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError) as error:
        build(file)
    assert "pip install 'facecrypt[onnx]'" in one_line(error, file)


def test_nothing_is_opened_before_it_is_used(file: Path) -> None:
    assert OnnxNetwork(file.with_name("absent.onnx"))._child is None


@pytest.fixture(scope="module")
def weights() -> Path:
    """The folder of recognisers to judge with, which are not part of the project."""
    folder = Path(os.environ.get("FACECRYPT_WEIGHTS", ROOT.parent / "shared" / "weights"))
    if not (folder / "fr_feature.onnx").is_file() or not (folder / "edgeface_xxs.onnx").is_file():
        pytest.skip(f"no fr_feature.onnx and edgeface_xxs.onnx in {folder}: set FACECRYPT_WEIGHTS to their folder")
    return folder


@pytest.fixture(scope="module")
def people(lfw: Path, detector: FaceDetector) -> list[list[FaceImage]]:
    """Two faces of each of eight people."""
    with (lfw / "protocol.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["identity"], row["image"]))
    groups = [list(each) for _, each in groupby(rows, lambda row: row["identity"])]
    pairs = [group[:2] for group in groups if len(group) >= 2][:8]
    photos = [[read_photo(lfw / row["image"]) for row in pair] for pair in pairs]
    return [[cut(photo, detector.find(photo, "largest")[0]) for photo in pair] for pair in photos]


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "mean", "std", "threshold"),
    [("fr_feature", 127.0, 128.0, 0.250), ("edgeface_xxs", 127.5, 127.5, 0.208)],
    ids=["fr_feature", "edgeface_xxs"],
)
def test_recognises_people(
    name: str, mean: float, std: float, threshold: float, weights: Path, people: list[list[FaceImage]]
) -> None:
    args = {"dimension": 512, "mean": (mean,) * 3, "std": (std,) * 3, "threshold": threshold}
    embedder = onnx_file.onnx(path=str(weights / f"{name}.onnx"), **args)  # type: ignore[arg-type]
    first, second = (embed(embedder, [pair[number] for pair in people]) for number in (0, 1))
    assert first.shape == (8, 512)
    similarity = first @ second.T
    own, others = similarity.diag(), similarity[~torch.eye(8, dtype=torch.bool)]
    # One hard pair may miss the threshold, and about one stranger in a hundred reaches it.
    assert (own > threshold).sum() >= 7
    assert (others > threshold).float().mean() < 0.04
