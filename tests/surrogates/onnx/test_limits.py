"""ONNX files that would loop for ever or take all memory: each is an error, soon, as a judge and as a surrogate."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from facecrypt.errors import WeightsError
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.onnx import graph as onnx_graph
from facecrypt.surrogates.onnx import recogniser as onnx_file
from facecrypt.surrogates.onnx.recogniser import OnnxNetwork
from facecrypt.surrogates.onnx.recogniser import onnx as build

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows knows no limit of computing time")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hold a process to a number of bytes")
MANY = 10**12
BASE = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["e"])]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, ArrayLike] | None = None,
    tensors: Sequence[TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
) -> Path:
    """Write a network that takes a crop ``x`` of 8x8 pixels and gives three numbers ``y``."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph([*BASE, *nodes], "net", [x], [onnx.ValueInfoProto(name="y")], [*kept, *tensors])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def loop(path: Path, start: str, trips: str, more: Sequence[onnx.NodeProto] = (), output: str = "y") -> Path:
    value = helper.make_tensor_value_info
    inside = helper.make_graph(
        [node("Identity", "c", "c2"), node("Add", "v v", "v2")],
        "inside",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("c2", TensorProto.BOOL, []), value("v2", TensorProto.FLOAT, None)],
    )
    nodes = [*more, node("Loop", f"{trips} true {start}", "l", body=inside), node("Add", "e l", output)]
    constants = {"true": True, "many": np.int64(MANY), "one": np.ones((1, 3), np.float32), "big": np.float32(1e13)}
    return save(path, nodes, constants)


def counted(path: Path) -> Path:
    return loop(path, "e", "many")


def of_constants(path: Path) -> Path:
    """It would be computed while the file is opened."""
    return loop(path, "one", "many")


def nested_functions(path: Path) -> Path:
    """A billion additions, once each function is put in its place."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = [helper.make_function("own", "f0", ["a"], ["o"], [node("Add", "a a", "o")], opsets)]
    for number in range(1, 30):
        twice = [
            helper.make_node(f"f{number - 1}", [before], [after], domain="own")
            for before, after in (("a", "m"), ("m", "o"))
        ]
        made.append(helper.make_function("own", f"f{number}", ["a"], ["o"], twice, opsets))
    return save(path, [helper.make_node("f29", ["e"], ["y"], domain="own")], functions=made)


ENDLESS = [counted, of_constants, nested_functions]


@pytest.fixture
def few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_SECONDS", 1.0)


@POSIX
@pytest.mark.usefixtures("few_seconds")
@pytest.mark.parametrize("write", [ENDLESS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in ENDLESS[1:])])
def test_a_loop_is_ended(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match=r"net.onnx: it takes more than 1 s to open or to run\. No recogniser does"):
        build(path=str(path), dimension=3, size=8)


@pytest.mark.slow
@POSIX
@pytest.mark.usefixtures("few_seconds")
def test_a_loop_on_some_faces_is_ended_once(tmp_path: Path) -> None:
    nodes = [node("ReduceMax", "x", "m", keepdims=0), node("Mul", "m big", "n"), node("Cast", "n", "trips", to=7)]
    path = loop(tmp_path / "net.onnx", "e", "trips", nodes)
    embedder = build(path=str(path), dimension=3, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    assert isinstance(embedder.network, OnnxNetwork)
    assert embedder.raw(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    crops = torch.ones(2, 3, 8, 8)
    for _ in range(3):
        with pytest.raises(WeightsError, match="it takes more than 1 s"):
            embedder.raw(crops)
    assert embedder.network._child is not None
    assert embedder.network._child._process is None
    began = time.process_time()
    with pytest.raises(WeightsError, match="it takes more than 1 s"):
        embedder.raw(torch.zeros(1, 3, 8, 8))
    assert time.process_time() - began < 1


def huge(operator: str) -> Callable[[Path], Path]:
    third = MANY // 3
    nodes, constants = {
        "ConstantOfShape": ([node("ConstantOfShape", "s", "z")], {"s": [MANY]}),
        "Expand": ([node("Expand", "e s", "z")], {"s": [third, 3]}),
        "Tile": ([node("Tile", "e s", "z")], {"s": [third, 1]}),
        "Range": ([node("Range", "a s d", "z")], {"a": 0.0, "s": float(MANY), "d": 1.0}),
        "Pad": ([node("Pad", "e s", "z")], {"s": [third, 0, 0, 0]}),
        "Resize": ([node("Resize", "x roi s", "z")], {"roi": np.zeros(0), "s": [1.0, 1.0, 1e6, 1e6]}),
        "MatMul": (
            [node("Expand", "e s", "b"), node("Transpose", "b", "t"), node("MatMul", "b t", "z")],
            {"s": [1_000_000, 3]},
        ),
        "Conv": ([node("Conv", "x w", "z", pads=[1_000_000] * 4, kernel_shape=[3, 3])], {"w": np.ones((3, 3, 3, 3))}),
        "Concat": (
            [
                node("Concat", f"{'e' if not n else f'd{n}'} " * 2, f"d{n + 1}" if n < 39 else "z", axis=0)
                for n in range(40)
            ],
            {},
        ),
    }[operator]
    kept = {name: np.asarray(value) for name, value in constants.items()}
    kept = {name: value.astype(np.int64 if value.dtype.kind == "i" else np.float32) for name, value in kept.items()}
    return lambda path: save(path, [*nodes, node("ReduceMean", "z", "r", keepdims=0), node("Add", "e r")], kept)


HUGE = ["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "MatMul", "Conv", "Concat"]


@LINUX
@pytest.mark.parametrize("operator", HUGE)
def test_a_tensor_of_a_million_millions_is_refused_by_a_judge(operator: str, tmp_path: Path) -> None:
    path = huge(operator)(tmp_path / "net.onnx")
    with pytest.raises(
        WeightsError, match=r"net.onnx: (it cannot be run on a crop|it needs more than|onnxruntime cannot)"
    ):
        build(path=str(path), dimension=3, size=8)


@pytest.mark.slow
@pytest.mark.parametrize("operator", HUGE)
def test_so_it_is_by_a_surrogate_that_onnxruntime_has_not_tried(operator: str, tmp_path: Path) -> None:
    path = huge(operator)(tmp_path / "net.onnx")
    began = time.process_time()
    with pytest.raises(WeightsError, match=r"net.onnx: (as a surrogate, it takes more than 4096 MiB|operator )"):
        onnx_graph.read_graph(path, torch.rand(2, 3, 8, 8))
    assert time.process_time() - began < 60


@pytest.mark.parametrize("constant", [False, True])
def test_a_surrogate_is_held_to_its_memory_in_what_it_keeps(constant: bool, tmp_path: Path) -> None:
    """Each of its tensors is small enough, and all of them together are not, in the forward pass or in gradients."""
    start = "k" if constant else "e"
    nodes = [node("Expand", f"{start} s", "v0")]
    nodes += [node("Sigmoid", f"v{number}", f"v{number + 1}") for number in range(100)]
    nodes += [node("ReduceMean", f"v{number}", f"m{number}", axes=[0]) for number in range(100)]
    sums = ["e", *(f"m{number}" for number in range(100))]
    path = save(
        tmp_path / "net.onnx",
        [*nodes, helper.make_node("Sum", sums, ["y"])],
        {"s": np.array([8_000_000, 3]), "k": np.ones((1, 3), np.float32)},
    )
    with pytest.raises(WeightsError, match="as a surrogate, it takes more than 1024 MiB of memory"):
        onnx_graph.read_graph(path, torch.rand(2, 3, 8, 8))


@pytest.fixture(autouse=True)
def less_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "keeps" in request.node.name:
        monkeypatch.setattr(onnx_graph, "_MOST_BYTES", 1 << 30)


@pytest.mark.slow
def test_a_network_of_very_many_operations_gives_no_gradients(tmp_path: Path) -> None:
    chain = [node("Identity", f"i{n}" if n else "e", f"i{n + 1}") for n in range(20_001)]
    path = save(tmp_path / "net.onnx", [*chain, node("Relu", "i20001")])
    assert build(path=str(path), dimension=3, size=8).raw(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    with pytest.raises(WeightsError, match="it has 20,004 operations, more than 20,000"):
        onnx_graph.read_graph(path, torch.rand(2, 3, 8, 8))


def deep(depth: int) -> bytes:
    """A graph in a node of a graph in a node, and so on."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    made = b""
    for _ in range(depth):
        made = field(1, field(5, field(6, made)))
    return field(7, made)


@pytest.mark.parametrize("data", [deep(5000), b"", b"\xff" * 1000, b"\x08\x07" * 100_000, bytes(1_000_000)])
def test_odd_content(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(WeightsError, match=r"net.onnx: (it is no ONNX file|onnxruntime cannot read it|it takes )"):
        build(path=str(tmp_path / "net.onnx"), dimension=3, size=8)


def external(path: Path, location: str, offset: str = "0", length: str = "12", size: int = 3) -> Path:
    tensor = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[size], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return save(path, [node("Add", "e k")], tensors=[tensor])


@pytest.mark.parametrize(
    ("location", "more", "says"),
    [
        ("pipe", {}, "named pipe"),
        ("device", {}, "no file in its own folder"),
        ("/dev/zero", {}, "no file in its own folder"),
        ("../net.bin", {}, "no file in its own folder"),
        ("folder", {}, "it is a folder"),
        ("gone.bin", {}, "No such file"),
        ("net.bin\0", {}, "no file in its own folder"),
        ("net.bin", {"length": "1000000000000", "size": 250_000_000_000}, "more than is in it"),
        ("net.bin", {"offset": "-4"}, "more than is in it"),
        ("net.bin", {"offset": "4"}, "more than is in it"),
        ("net.bin", {"offset": "x"}, "no file in its own folder"),
    ],
)
def test_weights_beside_a_file(location: str, more: dict[str, Any], says: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "net.bin").write_bytes(np.ones(3, np.float32).tobytes())
    path = external(tmp_path / "net.onnx", location, **more)
    with pytest.raises(WeightsError, match=f"{says}.*refused"):
        build(path=str(path), dimension=3, size=8)


def test_weights_beside_a_file_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(np.array([0, 1, 2, 3], np.float32).tobytes())
    embedder = build(path=str(external(tmp_path / "net.onnx", "net.bin", offset="4")), dimension=3, size=8)
    crops = torch.rand(2, 3, 8, 8)
    expected = embedder.raw(crops)
    assert torch.allclose(expected[0] - expected[1], embedder.raw(crops)[0] - embedder.raw(crops)[1])
    embedder.require_gradients()
    torch.testing.assert_close(embedder.raw(crops), expected)
    assert isinstance(embedder, Embedder)


def test_a_tensor_without_its_bytes(tmp_path: Path) -> None:
    tensor = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[MANY])
    path = save(tmp_path / "net.onnx", [node("Add", "e k")], tensors=[tensor])
    with pytest.raises(WeightsError, match="onnxruntime cannot read it"):
        build(path=str(path), dimension=3, size=8)
