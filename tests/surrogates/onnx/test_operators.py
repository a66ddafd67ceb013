"""Each operator against onnxruntime, in old and new versions and with every attribute that is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, defs

from facecrypt.surrogates.onnx.graph import _Reader
from facecrypt.surrogates.onnx.operators import OPERATORS
from tests.surrogates.onnx_files import single

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> NDArray[np.float32]:
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> NDArray[np.float32]:
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


class Case(NamedTuple):
    operator: str
    opset: int
    x: NDArray[Any]
    others: tuple[ArrayLike | None, ...] = ()
    attributes: Mapping[str, Any] = MappingProxyType({})


X = numbers(2, 4, 7, 6)
"""Two maps of four channels, with sizes that differ and that strides do not divide."""
ROWS = numbers(2, 6)
KERNEL = numbers(6, 4, 3, 2)
GRID = dict(kernel_shape=[3, 2])
UINT8, INT8 = np.array(100, np.uint8), np.array(-3, np.int8)

UNARY = [
    "Abs",
    "Elu",
    "Erf",
    "Exp",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
]

CASES = [
    *(Case(operator, 11, X) for operator in UNARY),
    *(Case(operator, 22, X) for operator in [*UNARY, "HardSwish", "Gelu", "Mish"]),
    *(Case(operator, 13, positive(2, 4, 5)) for operator in ("Log", "Reciprocal", "Sqrt")),
    *(Case(operator, 14, X, (positive(6),)) for operator in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *(Case(operator, 13, X, (numbers(4, 1, 1), numbers(1))) for operator in ("Max", "Mean", "Min", "Sum")),
    Case("Pow", 15, positive(2, 3), (np.float32(2.5),)),
    Case("Pow", 13, X, (ints(2),)),
    Case("Elu", 11, X, (), {"alpha": 0.4}),
    Case("Gelu", 20, X, (), {"approximate": "tanh"}),
    Case("HardSigmoid", 11, X, (), {"alpha": 0.3, "beta": 0.4}),
    Case("LeakyRelu", 16, X, (), {"alpha": 0.3}),
    Case("Clip", 6, X, (), {"min": -0.2, "max": 0.7}),
    Case("Clip", 6, X),
    Case("Clip", 13, X, (np.float32(-0.2), np.float32(0.7))),
    Case("Clip", 13, X, (None, np.float32(0.7))),
    Case("Clip", 11, X, (np.float32(-0.2),)),
    Case("Clip", 13, X),
    Case("PRelu", 7, X, (numbers(4, 1, 1),)),
    Case("PRelu", 9, X, (numbers(1),)),
    Case("PRelu", 16, X, (numbers(6),)),
    Case("PRelu", 16, X, (numbers(1, 4, 1, 1),)),
    Case("PRelu", 16, ROWS, (numbers(6),)),
    *(Case("Softmax", opset, X) for opset in (9, 11, 13)),
    *(Case("Softmax", opset, X, (), {"axis": 2}) for opset in (11, 13)),
    Case("LogSoftmax", 13, X, (), {"axis": 1}),
    Case("LogSoftmax", 11, X),
    # Layers
    Case("Conv", 1, X, (KERNEL,)),
    Case("Conv", 11, X, (KERNEL, numbers(6)), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
    Case("Conv", 22, X, (KERNEL, numbers(6)), {"strides": [2, 2], "pads": [0, 1, 2, 0]}),
    Case("Conv", 11, X, (KERNEL,), {"pads": [2, 1, 2, 1], "dilations": [2, 2]}),
    Case("Conv", 11, X, (numbers(8, 2, 3, 3),), {"group": 2, "pads": [1, 0, 1, 0]}),
    Case("Conv", 11, numbers(2, 4, 9), (numbers(3, 4, 3),), {"pads": [1, 0]}),
    *(
        Case("Conv", 11, X, (KERNEL,), {"auto_pad": how, "strides": [2, 3]})
        for how in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    *(
        Case(operator, 11, X, (), GRID | attributes)
        for operator in ("MaxPool", "AveragePool")
        for attributes in (
            {},
            {"strides": [2, 2]},
            {"strides": [2, 2], "pads": [1, 0, 1, 1]},
            {"strides": [3, 2], "ceil_mode": 1},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        )
    ),
    Case("AveragePool", 11, X, (), GRID | {"pads": [1, 0, 1, 1], "count_include_pad": 1}),
    Case("MaxPool", 12, X, (), GRID | {"dilations": [2, 1]}),
    Case("GlobalAveragePool", 1, X),
    Case("GlobalMaxPool", 22, X),
    *(
        Case("BatchNormalization", opset, X, (positive(4), numbers(4), numbers(4), positive(4)), {"epsilon": 0.01})
        for opset in (7, 9, 15)
    ),
    Case("BatchNormalization", 9, ROWS, (positive(6), numbers(6), numbers(6), positive(6))),
    Case("LayerNormalization", 17, X, (positive(6), numbers(6))),
    Case("LayerNormalization", 17, X, (positive(7, 6),), {"axis": 2, "epsilon": 0.1}),
    Case("InstanceNormalization", 6, X, (positive(4), numbers(4)), {"epsilon": 0.01}),
    Case("GroupNormalization", 21, X, (positive(4), numbers(4)), {"num_groups": 2}),
    Case("LpNormalization", 1, ROWS, (), {"p": 1}),
    Case("LpNormalization", 22, X, (), {"axis": 1}),
    Case("Gemm", 7, ROWS, (numbers(6, 3), numbers(3))),
    Case("Gemm", 11, ROWS, (numbers(3, 6),), {"transB": 1}),
    Case(
        "Gemm", 13, numbers(6, 2), (numbers(3, 6), numbers(2, 3)), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    ),
    Case("MatMul", 13, X, (numbers(6, 5),)),
    Case("MatMul", 9, X, (numbers(2, 4, 6, 3),)),
    Case("Einsum", 12, X, (numbers(4, 5),), {"equation": "bchw,cd->bdhw"}),
    Case("Dropout", 7, X, (), {"ratio": 0.4}),
    Case("Dropout", 13, X, (np.float32(0.4),)),
    # Reductions
    *(
        Case(operator, 11, X, (), attributes)
        for operator in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
        for attributes in ({"axes": [2, 3]}, {"axes": [-1], "keepdims": 0})
    ),
    *(
        Case(operator, 18, X, (ints(1, 3),), {"keepdims": 0})
        for operator in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
    ),
    Case("ReduceMean", 18, X[:1]),
    Case("ReduceSum", 13, X, (), {"noop_with_empty_axes": 1}),
    # Shapes
    Case("Flatten", 9, X),
    Case("Flatten", 21, X, (), {"axis": 2}),
    Case("Flatten", 13, X, (), {"axis": -1}),
    Case("Reshape", 5, X, (ints(0, -1, 6),)),
    Case("Reshape", 21, X, (ints(2, 28, 6),)),
    Case("Transpose", 13, X, (), {"perm": [0, 2, 3, 1]}),
    Case("Transpose", 21, X),
    Case("Squeeze", 11, numbers(2, 1, 3, 1), (), {"axes": [1, -1]}),
    Case("Squeeze", 13, numbers(2, 1, 3, 1), (ints(3),)),
    Case("Squeeze", 13, numbers(2, 1, 3, 1)),
    Case("Unsqueeze", 11, X, (), {"axes": [1, 3]}),
    Case("Unsqueeze", 13, X, (ints(-1, 0),)),
    Case("Expand", 13, numbers(2, 1, 3), (ints(1, 4, 1),)),
    Case("Slice", 9, X, (), {"starts": [1, -3], "ends": [3, 1000], "axes": [1, 2]}),
    Case("Slice", 13, X, (ints(0, 1), ints(2, -1))),
    Case("Slice", 13, X, (ints(1), ints(6), ints(2), ints(2))),
    Case("Slice", 13, X, (ints(-1), ints(-(2**63) + 1), ints(3), ints(-1))),
    Case("Gather", 13, X, (ints(2, -1, 0),), {"axis": 1}),
    Case("Gather", 11, X, (np.array([[0, 1], [3, 2]]),), {"axis": -1}),
    Case("Gather", 13, X, (np.int64(1),), {"axis": 2}),
    Case("Concat", 13, X, (numbers(2, 3, 7, 6),), {"axis": 1}),
    Case("Split", 11, X, (), {"axis": 1, "split": [3, 1], "outputs": 2}),
    Case("Split", 13, X, (ints(1, 3),), {"axis": 1, "outputs": 2}),
    Case("Split", 11, X, (), {"axis": 1, "outputs": 2}),
    Case("Split", 18, X, (), {"axis": 2, "outputs": 2, "num_outputs": 2}),
    Case("Pad", 2, X, (), {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 0.5}),
    Case("Pad", 13, X, (ints(0, 1, 0, 2, 0, 0, 0, 1), np.float32(0.5))),
    Case("Pad", 18, X, (ints(1, 2), None, ints(-1)), {"mode": "constant"}),
    Case("Pad", 13, X, (ints(0, 0, 1, 2, 0, 0, 3, 0),), {"mode": "reflect"}),
    Case("Pad", 13, X, (ints(0, 0, 1, 2, 0, 0, 3, 0),), {"mode": "edge"}),
    Case("Pad", 19, X, (ints(0, 0, 1, 2, 0, 0, 3, 0),), {"mode": "wrap"}),
    Case("Pad", 13, X, (ints(0, 0, -1, 0, 0, 0, 0, -2),)),
    Case(
        "Resize",
        11,
        X,
        (np.float32([]), np.float32([1, 1, 2, 2])),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    *(
        Case("Resize", opset, X, (np.float32([]), np.float32([1, 1, 1.6, 0.6])), {"nearest_mode": way})
        for opset in (11, 13, 19)
        for way in ("round_prefer_floor", "round_prefer_ceil", "ceil")
    ),
    Case("Resize", 13, X, (None, None, ints(2, 4, 11, 3))),
    Case("Resize", 18, X, (None, None, ints(5, 13)), {"axes": [2, 3]}),
    Case("Cast", 13, X, (), {"to": TensorProto.FLOAT}),
    Case("Shape", 15, X, (), {"start": 1, "end": -1}),
    Case("Shape", 13, X),
    Case("ConstantOfShape", 9, ints(2, 3), (), {"value": onnx.numpy_helper.from_array(np.float32([2.5]))}),
    Case("ConstantOfShape", 9, ints(2, 3)),
    Case("Div", 14, ints(7, -7, 9), (ints(2, 2, 4),)),
    Case("Equal", 13, ints(1, 2, 3), (ints(1, 0, 3),)),
    Case("Where", 16, np.array([[True, False, True]]), (numbers(1, 3), numbers(1))),
    # Quantisation
    Case("QuantizeLinear", 10, 3 * X, (np.float32(0.02), UINT8)),
    Case("QuantizeLinear", 13, 3 * X, (np.float32(0.02),)),
    Case("QuantizeLinear", 13, X, (positive(4) / 50, np.array([0, 1, -2, 3], np.int8)), {"axis": 1}),
    Case("QuantizeLinear", 21, X, (positive(2, 2, 7, 6) / 50, None), {"axis": 1, "block_size": 2, "output_dtype": 3}),
    Case("DequantizeLinear", 13, RANDOM.integers(-128, 128, (2, 4, 5)).astype(np.int8), (np.float32(0.02), INT8)),
    Case("DequantizeLinear", 10, RANDOM.integers(0, 256, (2, 4)).astype(np.uint8), (np.float32(0.02),)),
    Case("DequantizeLinear", 13, RANDOM.integers(-9999, 9999, (2, 4)).astype(np.int32), (positive(4),), {"axis": 1}),
    Case(
        "DequantizeLinear",
        21,
        RANDOM.integers(-128, 128, (2, 5)).astype(np.int8),
        (positive(2, 2), np.array([[1, 2], [3, 4]], np.int8)),
        {"axis": 1, "block_size": 3},
    ),
]


def both(case: Case, path: Path) -> tuple[NDArray[Any], torch.Tensor]:
    """Return what onnxruntime and torch make of a file of one operation."""
    single(path, case.operator, case.x, case.others, case.opset, **case.attributes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = _Reader(path).graph()
    (node,) = graph._nodes
    constants = {"": None, **graph._integers} | {name: graph.get_buffer(it) for name, it in graph._floats.items()}
    values = constants | {"x": torch.tensor(case.x)}
    found = OPERATORS[case.operator].run(node, *(values[name] for name in node.inputs))
    return session.run(None, {"x": case.x})[0], found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operator}-{case.opset}")
def test_agrees_with_onnxruntime(case: Case, tmp_path: Path) -> None:
    expected, found = both(case, tmp_path / "single.onnx")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_every_operator_is_compared() -> None:
    assert {case.operator for case in CASES} == set(OPERATORS)


@pytest.mark.skipif(
    defs.onnx_opset_version() < max(operator.last for operator in OPERATORS.values()),
    reason="this onnx does not know the newest versions of the operators yet",
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_versions_are_those_of_onnx(operator: str) -> None:
    known = OPERATORS[operator]
    versions = {
        each.since_version for each in defs.get_all_schemas_with_history() if each.name == operator and not each.domain
    }
    assert {known.first, known.last} <= versions
    assert known.last == max(versions), "onnx has a newer version: read what changed, then raise the last one"


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.x.dtype == np.float32 and case.operator not in ("Shape", "QuantizeLinear", "Elu")],
    ids=lambda case: f"{case.operator}-{case.opset}",
)
def test_gradient_agrees_with_differences(case: Case, tmp_path: Path) -> None:
    single(tmp_path / "single.onnx", case.operator, case.x, case.others, case.opset, **case.attributes)
    graph = _Reader(tmp_path / "single.onnx").graph().double()
    (node,) = graph._nodes
    constants = {"": None, **graph._integers} | {name: graph.get_buffer(it) for name, it in graph._floats.items()}

    def run(x: torch.Tensor) -> torch.Tensor:
        made = OPERATORS[case.operator].run(node, *((constants | {"x": x})[name] for name in node.inputs))
        return made[0] if isinstance(made, tuple) else made

    assert torch.autograd.gradcheck(run, torch.tensor(case.x).double().requires_grad_(), fast_mode=True)


def test_gradient_passes_straight_through_rounding(tmp_path: Path) -> None:
    x = np.array([[-200.0, -100.3, 0.2, 7.6, 155.4, 156.0, 300.0]], np.float32)
    single(tmp_path / "single.onnx", "QuantizeLinear", x, (np.float32(1), UINT8), 13)
    (node,) = _Reader(tmp_path / "single.onnx").graph()._nodes
    crop = torch.tensor(x, requires_grad=True)
    steps = OPERATORS["QuantizeLinear"].run(node, crop, torch.tensor(1.0), torch.tensor(UINT8))
    assert isinstance(steps, torch.Tensor)
    torch.testing.assert_close(steps, torch.tensor([[0.0, 0, 100, 108, 255, 255, 255]]))
    (gradient,) = torch.autograd.grad(steps.sum(), crop)
    # -200, 156 (the 256th step) and 300 are clipped; -100.3 rounds to the lowest step.
    assert gradient.tolist() == [[0, 1, 1, 1, 1, 0, 0]]
