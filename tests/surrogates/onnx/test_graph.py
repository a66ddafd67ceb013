from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import quantization
from torch import Tensor, nn
from torch.nn import functional

from facecrypt import registry
from facecrypt.errors import WeightsError
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.onnx import child as onnx_child
from facecrypt.surrogates.onnx.graph import OnnxGraph, differs, read_graph
from facecrypt.surrogates.onnx.operators import OPERATORS
from facecrypt.surrogates.onnx.recogniser import OnnxNetwork
from facecrypt.surrogates.spec import EmbedderSpec
from tests.surrogates.onnx_files import DIMENSION, NETWORKS, Writer, mobilefacenet

ROOT = Path(__file__).resolve().parents[3]

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops(astronaut_crop: Callable[[EmbedderSpec], Pixels], as_crops: Callable[[Pixels], Tensor]) -> Tensor:
    """A real face, mirrored and brighter."""
    face = as_crops(astronaut_crop(SFACE))
    return torch.cat([face, face.flip(3), (face * 1.2).clamp(max=1)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {name: write(folder / f"{name}.onnx") for name, write in NETWORKS.items()}


def judge(path: Path, **changed: Any) -> Embedder:
    args = {"path": str(path), "dimension": DIMENSION, **changed}
    if path.stem == "sface":
        args |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    built: Embedder = registry.build("surrogate", "onnx", args)
    return built


def surrogate(path: Path, **changed: Any) -> Embedder:
    embedder = judge(path, **changed)
    embedder.require_gradients()
    return embedder


def graph_of(embedder: Embedder) -> OnnxGraph:
    assert isinstance(embedder.network, OnnxGraph)
    return embedder.network


def raw(embedder: Embedder, crops: Tensor) -> Tensor:
    with torch.no_grad():
        return embedder.raw(crops)


def exact(path: Path, crops: Tensor) -> Tensor:
    """Raw embeddings of a graph that rounds between its operators, computed operator by operator in single precision.

    Without optimisation onnxruntime fuses nothing into kernels of 8 bits, which are inexact on some processors.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    embedder = judge(path)
    assert isinstance(embedder.network, OnnxNetwork)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    class Exact(nn.Module):
        def forward(self, prepared: Tensor) -> Tensor:
            made = [session.run(None, {name: crop[None].numpy()})[0].reshape(-1) for crop in prepared]
            return torch.from_numpy(np.stack(made))

    embedder.network = Exact()
    return raw(embedder, crops)


@pytest.mark.parametrize("name", NETWORKS)
class TestNetworks:
    """Files in the layout of well-known recognisers."""

    def test_agrees_with_onnxruntime(self, name: str, files: dict[str, Path], crops: Tensor) -> None:
        expected = raw(judge(files[name]), crops)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(raw(surrogate(files[name]), crops), expected, rtol=0, atol=1e-4)

    def test_batch_equals_one_by_one(self, name: str, files: dict[str, Path], crops: Tensor) -> None:
        embedder = surrogate(files[name])
        assert graph_of(embedder).batches == (name != "one_crop")
        alone = torch.cat([raw(embedder, crop[None]) for crop in crops])
        torch.testing.assert_close(raw(embedder, crops), alone, rtol=1e-5, atol=2e-5)

    def test_gradient_agrees_with_differences(
        self,
        name: str,
        files: dict[str, Path],
        crops: Tensor,
        relative_gradient_error: Callable[[Embedder, Tensor], float],
    ) -> None:
        assert relative_gradient_error(surrogate(files[name]).double(), crops[:2]) < 1e-3

    @pytest.mark.parametrize(
        "clone",
        [
            pytest.param(copy.deepcopy, id="copy", marks=pytest.mark.slow),
            pytest.param(lambda it: pickle.loads(pickle.dumps(it)), id="pickle"),
        ],
    )
    def test_survives_a_copy_and_another_process(
        self, name: str, files: dict[str, Path], crops: Tensor, clone: Callable[[Embedder], Embedder]
    ) -> None:
        embedder = surrogate(files[name])
        assert torch.equal(raw(clone(embedder), crops), raw(embedder, crops))

    def test_follows_its_module_to_other_types(self, name: str, files: dict[str, Path], crops: Tensor) -> None:
        embedder = surrogate(files[name])
        expected = raw(embedder, crops)
        double = raw(embedder.double(), crops)
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), expected, rtol=0, atol=1e-4)
        half = raw(embedder.bfloat16(), crops)
        assert half.dtype == torch.bfloat16
        # Not the scaling in the graph: bfloat16 has 8 bits, which is what a pixel has.
        assert functional.cosine_similarity(half.float(), expected).min() > 0.98

    def test_runs_under_autocast(self, name: str, files: dict[str, Path], crops: Tensor) -> None:
        embedder = surrogate(files[name])
        expected = embedder(crops)
        image = crops.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            found = embedder(image)
        assert (found * expected).sum(dim=1).min() > 0.98
        (gradient,) = torch.autograd.grad(found[:, 0].sum(), image)
        assert gradient.isfinite().all()

    def test_integers_stay_on_the_cpu_and_nothing_else(self, name: str, files: dict[str, Path], crops: Tensor) -> None:
        # Torch's device without memory refuses what a GPU refuses, tensors of two devices in one operation, everywhere.
        embedder = surrogate(files[name]).to("meta")
        found = embedder.raw(crops.to("meta").requires_grad_())
        assert (found.shape, found.device.type) == ((3, DIMENSION), "meta")
        found.sum().backward()

    @pytest.mark.gpu
    def test_moves_between_devices(self, name: str, files: dict[str, Path], crops: Tensor, gpu: torch.device) -> None:
        embedder = surrogate(files[name])
        expected = raw(embedder, crops)
        image = crops.to(gpu).requires_grad_()
        found = embedder.to(gpu).raw(image)
        assert found.device.type == "cuda"
        assert differs(expected, found.detach().cpu()) < 1e-2
        (gradient,) = torch.autograd.grad(found.sum(), image)
        assert gradient.isfinite().all()
        assert gradient.any()


def test_converts_once(files: dict[str, Path]) -> None:
    embedder = surrogate(files["sface"])
    network = embedder.network
    embedder.require_gradients()
    assert embedder.network is network
    assert not list(network.parameters())
    assert not any(module.training for module in network.modules())


@torch.no_grad()
def test_converts_where_gradients_are_off(files: dict[str, Path]) -> None:
    assert graph_of(surrogate(files["vit"])).batches


def test_conversion_draws_no_random_numbers(files: dict[str, Path]) -> None:
    before = torch.get_rng_state()
    surrogate(files["one_crop"])
    assert torch.equal(torch.get_rng_state(), before)


def test_normalisations_are_folded(files: dict[str, Path]) -> None:
    left = [node.operator for node in graph_of(surrogate(files["sface"]))._nodes]
    assert left.count("Conv") == 9
    assert left.count("BatchNormalization") == 2, "those that follow no convolution"


@pytest.fixture(scope="module", params=[pytest.param("per tensor", marks=pytest.mark.slow), "per channel"])
def rounded(
    request: pytest.FixtureRequest, crops: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A network, and the same with weights and activations of 8 bits, by onnxruntime's own quantiser."""
    folder = tmp_path_factory.mktemp("quantised")
    plain, quantised = mobilefacenet(folder / "plain.onnx", opset=13), folder / "int8.onnx"

    class Faces(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Gives the quantiser the crops, once."""

        def __init__(self) -> None:
            self.left = [{"x": ((crop[None] - 0.5) / 0.5).numpy()} for crop in crops]

        def get_next(self) -> dict[str, Any] | None:
            return self.left.pop() if self.left else None

    quantization.quantize_static(
        plain,
        quantised,
        Faces(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=request.param == "per channel",
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return plain, quantised


class TestQuantised:
    def test_block_quantised_sface_is_the_port(self, crops: Tensor, sface_embedder: Embedder) -> None:
        path = SFACE.weights.require()
        with pytest.raises(
            Exception, match="Required inputs"
        ):  # onnxruntime wants values for inputs that nothing reads
            onnxruntime.InferenceSession(path).run(None, {"data": np.zeros((1, 3, 112, 112), np.float32)})
        embedder = judge(path, dimension=128, mean=[0, 0, 0], std=[1, 1, 1])
        expected = raw(sface_embedder, crops)
        torch.testing.assert_close(raw(embedder, crops), expected, rtol=0, atol=1e-4)
        embedder.require_gradients()
        torch.testing.assert_close(raw(embedder, crops), expected, rtol=0, atol=1e-4)
        images = [crops.clone().requires_grad_() for _ in range(2)]
        for image, each in zip(images, (embedder, sface_embedder), strict=True):
            each(image)[:, 0].sum().backward()
        assert images[0].grad is not None
        assert images[1].grad is not None
        # Where rounding turns a PReLU over, single pixels differ.
        assert (images[0].grad - images[1].grad).norm() < 0.01 * images[1].grad.norm()

    def test_rounding_stays_in_the_forward_pass(self, rounded: tuple[Path, Path], crops: Tensor) -> None:
        plain, quantised = rounded
        embedder = surrogate(quantised)
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.operator for node in graph_of(embedder)._nodes}
        unrounded, reference, found = raw(surrogate(plain), crops), exact(quantised, crops), raw(embedder, crops)
        # A value on the edge between two steps may fall on either side; leaving the rounding out is much farther off.
        assert differs(reference, found) < 0.2 * differs(reference, unrounded)

    def test_judges_are_exact_on_every_processor(self, rounded: tuple[Path, Path], crops: Tensor) -> None:
        plain, quantised = rounded
        embedder = judge(quantised)
        reference, found = exact(quantised, crops), raw(embedder, crops)
        assert differs(reference, found) < 0.2 * differs(reference, raw(judge(plain), crops))
        # Where the processor has VNNI, the kernels that saturate elsewhere are exact, and only the option tells.
        file = onnx_child.OnnxFile(quantised, alone=True, threads=1)
        options = onnx_child._session_of(file).get_session_options()
        assert options.get_session_config_entry("session.x64quantprecision") == "1"

    def test_gradient_resembles_that_without_rounding(self, rounded: tuple[Path, Path], crops: Tensor) -> None:
        gradients = []
        for path in rounded:
            image = crops[:1].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(surrogate(path)(image)[0, 0], image)
            gradients.append(gradient.flatten())
        assert functional.cosine_similarity(*gradients, dim=0) > 0.7


def fault(path: Path) -> str:
    embedder = judge(path)
    with pytest.raises(WeightsError) as error:
        embedder.require_gradients()
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"weights {path}: ")
    assert "held_out" in message
    return message


def broken(path: Path, operator: str, *, opset: int = 17, domain: str = "", **attributes: Any) -> Path:
    """Write a network in which one operation cannot be converted."""
    w = Writer(opset)
    x = w.add("GlobalAveragePool", w.conv("x", 3, DIMENSION))
    x = w.add(operator, x, domain=domain, **attributes)
    w.save(path, w.add("Flatten", w.add("Floor", x)))
    model = onnx.load(path)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    return path


class TestFaults:
    def test_operator_without_gradient(self, tmp_path: Path) -> None:
        assert "operator Ceil (node node_2) cannot be differentiated" in fault(broken(tmp_path / "x.onnx", "Ceil"))

    def test_unknown_operator(self, tmp_path: Path) -> None:
        assert "operator Selu (node node_2) is not known" in fault(broken(tmp_path / "x.onnx", "Selu"))

    def test_unknown_opset(self, tmp_path: Path) -> None:
        w = Writer(6)
        x = w.add("BatchNormalization", w.conv("x", 3, DIMENSION), *(w.numbers(DIMENSION, 0.5, 1) for _ in range(4)))
        path = w.save(tmp_path / "x.onnx", w.add("Flatten", w.add("GlobalAveragePool", x)))
        with pytest.raises(WeightsError, match=r"operator BatchNormalization \(node node_1\) of opset 6 is not known"):
            read_graph(path, torch.rand(2, 3, 112, 112))

    def test_newer_opset_than_the_library(self, files: dict[str, Path], tmp_path: Path) -> None:
        model = onnx.load(files["vit"])
        model.opset_import[0].version = 999
        onnx.save(model, tmp_path / "x.onnx")
        with pytest.raises(WeightsError, match="opset 999 is newer than the onnx package knows"):
            read_graph(tmp_path / "x.onnx", torch.rand(2, 3, 112, 112))

    def test_extension(self, tmp_path: Path) -> None:
        path = broken(tmp_path / "x.onnx", "QuickGelu", domain="com.microsoft")
        assert "operator QuickGelu (node node_2) is an extension of com.microsoft and not known" in fault(path)

    def test_attribute_that_is_not_known(self, tmp_path: Path) -> None:
        w = Writer(15)
        x = w.conv("x", 3, DIMENSION)
        ranges = [w.numbers(DIMENSION, 0.5, 1) for _ in range(4)]
        x = w.add("BatchNormalization", x, *ranges, outputs=3, training_mode=1)
        path = w.save(tmp_path / "x.onnx", w.add("Flatten", w.add("GlobalAveragePool", x)))
        assert "operator BatchNormalization (node node_1) failed (NotImplementedError: training_mode 1" in fault(path)

    def test_no_gradient_arrives(self, tmp_path: Path) -> None:
        w = Writer()
        x = w.add("Mul", w.add("GlobalAveragePool", w.conv("x", 3, DIMENSION)), w.constant(0.0))
        path = w.save(tmp_path / "x.onnx", w.add("Add", w.add("Flatten", x), w.numbers(DIMENSION, 0, 1)))
        assert "no finite gradient other than zero" in fault(path)

    def test_constant_embedding(self, tmp_path: Path) -> None:
        w = Writer()
        path = w.save(tmp_path / "x.onnx", w.add("Identity", w.numbers(1, 0, 1, DIMENSION)))
        with pytest.raises(WeightsError, match="does not depend on its input"):
            surrogate(path)

    def test_disagreement_with_onnxruntime(self, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        embedder = judge(files["vit"])
        monkeypatch.setitem(OPERATORS, "Erf", OPERATORS["Tanh"])  # type: ignore[arg-type]
        monkeypatch.setitem(OPERATORS, "Softmax", OPERATORS["Identity"])  # type: ignore[arg-type]
        with pytest.raises(WeightsError, match="torch computes other embeddings than onnxruntime"):
            embedder.require_gradients()

    def test_nothing_that_the_embedding_does_not_need_is_converted(self, tmp_path: Path) -> None:
        w = Writer()
        x = w.add("Flatten", w.add("GlobalAveragePool", w.conv("x", 3, DIMENSION)))
        w.add("ArgMax", x)
        path = w.save(tmp_path / "x.onnx", x)
        assert graph_of(surrogate(path)).batches


@pytest.fixture(scope="module")
def stand_ins() -> Path:
    """The folder of recognisers to take gradients from, which are not part of the project."""
    folder = Path(os.environ.get("FACECRYPT_WEIGHTS", ROOT.parent / "shared" / "weights")) / "surrogates"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set FACECRYPT_WEIGHTS to the folder above it")
    return folder


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(("name", "dimension"), [("mobilefacenet_arcface", 128), ("mobileface_v2", 256)])
def test_real_recogniser(
    name: str,
    dimension: int,
    stand_ins: Path,
    crops: Tensor,
    relative_gradient_error: Callable[[Embedder, Tensor], float],
) -> None:
    args = {"dimension": dimension, "mean": [0, 0, 0], "std": [1, 1, 1]}
    reference = judge(stand_ins / f"{name}.onnx", **args)
    embedder = surrogate(stand_ins / f"{name}.onnx", **args)
    torch.testing.assert_close(raw(embedder, crops), raw(reference, crops), rtol=0, atol=1e-4)
    assert (embedder(crops[:1]) * embedder(crops[1:])).sum(dim=1).min() > 0.7, "one person"
    assert relative_gradient_error(embedder.double(), crops[:1]) < 1e-3
