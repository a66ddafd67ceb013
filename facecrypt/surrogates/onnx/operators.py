"""The ONNX operators that face recognisers use, as torch functions with gradients.

Each follows the operator's page at https://onnx.ai/onnx/operators in every version that its row in `OPERATORS` names.
Integers (shapes, axes, indices) are kept on the CPU: they are read as numbers, and a graph must not wait for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.surrogates.frozen import frozen_prelu
from facecrypt.surrogates.onnx import shapes as onnx_shapes


@dataclass(frozen=True)
class Node:
    """One operation of a graph. The inputs that it names are given to the operator, None for those left out.

    Attributes:
        operator: Type of the operation.
        name: Its name in the file, or that of its first output where it has none.
        version: Opset in which its type last changed.
        attributes: Its attributes; strings as str, tensors as `Tensor`.
        inputs: Names of the values it takes; an empty name is an input left out.
        outputs: Names of the values it makes.
    """

    operator: str
    name: str
    version: int
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, or its default where the file leaves it out."""
        return self.attributes.get(name, default)


Operation = Callable[..., Tensor | tuple[Tensor, ...]]
"""Takes the node and its inputs, returns its outputs (a tuple where there may be several).

Raises NotImplementedError, with the reason, for an attribute that it does not know.
"""


def _elementwise(function: Callable[..., Tensor]) -> Operation:
    return lambda node, *inputs: function(*inputs)


def _broadcast(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    """Return an operation over any number of tensors of shapes that broadcast."""
    return lambda node, *inputs: reduce(function, onnx_shapes.together(*inputs))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


def _mean(node: Node, *inputs: Tensor) -> Tensor:
    return reduce(torch.add, inputs) / len(inputs)


# Layers


def _padding(node: Node, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Return what each spatial axis gets before and after it, in the order of ``torch.nn.functional.pad``."""
    axes = len(kernel)
    how = node.get("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = node.get("pads", [0] * 2 * axes)
        pairs = list(zip(pads[:axes], pads[axes:], strict=True))
    elif how == "VALID":
        pairs = [(0, 0)] * axes
    else:  # SAME_UPPER and SAME_LOWER: the odd pixel goes to the end or to the start
        pairs = []
        for size, width, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
            less, more = total // 2, total - total // 2
            pairs.append((less, more) if how == "SAME_UPPER" else (more, less))
    return [amount for pair in reversed(pairs) for amount in pair]


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = x.ndim - 2
    kernel = list(weight.shape[2:])
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    pads = _padding(node, x, kernel, strides, dilations)
    before, after = pads[::2], pads[1::2]
    if before != after:
        x, before = functional.pad(x, pads), [0] * axes
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    return convolve(x, weight, bias, strides, before[::-1], dilations, node.get("group", 1))


def _window(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, dilations and padding of a pool over two axes."""
    kernel = node.attributes["kernel_shape"]
    if len(kernel) != 2:
        raise NotImplementedError(f"a window over {len(kernel)} axes")
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    return kernel, strides, dilations, _padding(node, x, kernel, strides, dilations)


def _max_pool(node: Node, x: Tensor) -> Tensor:
    kernel, strides, dilations, pads = _window(node, x)
    padded = functional.pad(x, pads, value=-math.inf) if any(pads) else x
    return functional.max_pool2d(padded, kernel, strides, 0, dilations, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel, strides, dilations, pads = _window(node, x)
    if dilations != [1, 1]:
        raise NotImplementedError(f"dilations {dilations}")
    ceil = bool(node.get("ceil_mode", 0))
    if not any(pads):
        return functional.avg_pool2d(x, kernel, strides, 0, ceil)
    # The mean over padded pixels, divided by the share of them that counts.
    counted = functional.pad(torch.ones_like(x[:1, :1]), pads, value=float(node.get("count_include_pad", 0)))
    sums = functional.avg_pool2d(functional.pad(x, pads), kernel, strides, 0, ceil)
    return sums / functional.avg_pool2d(counted, kernel, strides, 0, ceil)


def _global_pool(function: Callable[..., Tensor]) -> Operation:
    return lambda node, x: function(x, dim=tuple(range(2, x.ndim)), keepdim=True)


def _batch_normalization(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node.get("training_mode", 0) or not node.get("spatial", 1):
        raise NotImplementedError("training_mode 1 or spatial 0: export the network in evaluation mode")
    return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, node.get("epsilon", 1e-5))


def _layer_normalization(node: Node, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    shape = x.shape[node.get("axis", -1) :]
    shift = None if shift is None else shift.expand(shape)
    return functional.layer_norm(x, shape, scale.expand(shape), shift, node.get("epsilon", 1e-5))


def _instance_normalization(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


def _group_normalization(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return functional.group_norm(x, node.attributes["num_groups"], scale, shift, node.get("epsilon", 1e-5))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product: Tensor = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


# Activations


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == 1 or slope.shape == (x.shape[1], *[1] * (x.ndim - 2)):
        return frozen_prelu(x, slope.flatten())
    return torch.where(x < 0, slope * x, x)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if node.version < 11:
        return x.clamp(node.get("min", -math.inf), node.get("max", math.inf))
    if low is None and high is None:
        return x
    return torch.clamp(x, low, high)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    line: Tensor = node.get("alpha", 0.2) * x + node.get("beta", 0.5)
    return line.clamp(0, 1)


def _softmax(function: Callable[..., Tensor]) -> Operation:
    def normalise(node: Node, x: Tensor) -> Tensor:
        if node.version >= 13:
            return function(x, dim=node.get("axis", -1))
        # Up to opset 12 it is taken over this axis and all after it.
        return function(x.flatten(node.get("axis", 1)), dim=-1).reshape(x.shape)

    return normalise


@dataclass(frozen=True)
class Operator:
    """What computes an operator, and the versions (opsets in which it changed) that it follows: first and last."""

    run: Operation
    first: int
    last: int


OPERATORS: Mapping[str, Operator] = {
    "Abs": Operator(_elementwise(torch.abs), 1, 13),
    "Add": Operator(_broadcast(torch.add), 7, 14),
    "AveragePool": Operator(_average_pool, 1, 22),
    "BatchNormalization": Operator(_batch_normalization, 7, 15),
    "Cast": Operator(onnx_shapes.cast, 6, 28),
    "Clip": Operator(_clip, 6, 13),
    "Concat": Operator(onnx_shapes.concat, 4, 13),
    "ConstantOfShape": Operator(onnx_shapes.constant_of_shape, 9, 25),
    "Conv": Operator(_conv, 1, 22),
    "DequantizeLinear": Operator(onnx_shapes.dequantize, 10, 28),
    "Div": Operator(_broadcast(_divide), 7, 14),
    "Dropout": Operator(lambda node, x, *others: x, 7, 22),
    "Einsum": Operator(lambda node, *x: torch.einsum(node.attributes["equation"], *x), 12, 28),
    "Elu": Operator(lambda node, x: functional.elu(x, node.get("alpha", 1.0)), 1, 22),
    "Equal": Operator(_broadcast(torch.eq), 7, 19),
    "Erf": Operator(_elementwise(torch.erf), 9, 13),
    "Exp": Operator(_elementwise(torch.exp), 1, 13),
    "Expand": Operator(onnx_shapes.expand, 8, 13),
    "Flatten": Operator(onnx_shapes.flatten, 1, 25),
    "Gather": Operator(onnx_shapes.gather, 1, 13),
    "Gelu": Operator(lambda node, x: functional.gelu(x, approximate=node.get("approximate", "none")), 20, 20),
    "Gemm": Operator(_gemm, 7, 13),
    "GlobalAveragePool": Operator(_global_pool(torch.mean), 1, 22),
    "GlobalMaxPool": Operator(_global_pool(torch.amax), 1, 22),
    "GroupNormalization": Operator(_group_normalization, 21, 21),
    "HardSigmoid": Operator(_hard_sigmoid, 1, 22),
    "HardSwish": Operator(lambda node, x: x * (x / 6 + 0.5).clamp(0, 1), 14, 22),
    "Identity": Operator(lambda node, x: x, 1, 25),
    "InstanceNormalization": Operator(_instance_normalization, 1, 22),
    "LayerNormalization": Operator(_layer_normalization, 17, 17),
    "LeakyRelu": Operator(lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)), 1, 16),
    "Log": Operator(_elementwise(torch.log), 1, 13),
    "LogSoftmax": Operator(_softmax(torch.log_softmax), 1, 13),
    "LpNormalization": Operator(onnx_shapes.lp_normalization, 1, 22),
    "MatMul": Operator(_elementwise(torch.matmul), 1, 13),
    "Max": Operator(_broadcast(torch.maximum), 6, 13),
    "MaxPool": Operator(_max_pool, 1, 22),
    "Mean": Operator(_mean, 6, 13),
    "Min": Operator(_broadcast(torch.minimum), 6, 13),
    "Mish": Operator(_elementwise(functional.mish), 18, 22),
    "Mul": Operator(_broadcast(torch.mul), 7, 14),
    "Neg": Operator(_elementwise(torch.neg), 1, 13),
    "PRelu": Operator(_prelu, 7, 16),
    "Pad": Operator(onnx_shapes.pad, 2, 25),
    "Pow": Operator(_broadcast(torch.pow), 7, 15),
    "QuantizeLinear": Operator(onnx_shapes.quantize, 10, 28),
    "Reciprocal": Operator(_elementwise(torch.reciprocal), 1, 13),
    "ReduceL2": Operator(onnx_shapes.reduction(torch.linalg.vector_norm), 1, 18),
    "ReduceMax": Operator(onnx_shapes.reduction(torch.amax), 1, 20),
    "ReduceMean": Operator(onnx_shapes.reduction(torch.mean), 1, 18),
    "ReduceMin": Operator(onnx_shapes.reduction(torch.amin), 1, 20),
    "ReduceSum": Operator(onnx_shapes.reduction(torch.sum), 1, 13),
    "ReduceSumSquare": Operator(onnx_shapes.reduction(onnx_shapes.square_sum), 1, 18),
    "Relu": Operator(_elementwise(torch.relu), 1, 14),
    "Reshape": Operator(onnx_shapes.reshape, 5, 25),
    "Resize": Operator(onnx_shapes.resize, 11, 19),
    "Shape": Operator(onnx_shapes.shape, 1, 25),
    "Sigmoid": Operator(_elementwise(torch.sigmoid), 1, 13),
    "Slice": Operator(onnx_shapes.take_slices, 1, 13),
    "Softmax": Operator(_softmax(torch.softmax), 1, 13),
    "Softplus": Operator(_elementwise(functional.softplus), 1, 22),
    "Split": Operator(onnx_shapes.split, 2, 18),
    "Sqrt": Operator(_elementwise(torch.sqrt), 1, 13),
    "Squeeze": Operator(onnx_shapes.squeeze, 1, 25),
    "Sub": Operator(_broadcast(torch.sub), 7, 14),
    "Sum": Operator(_broadcast(torch.add), 6, 13),
    "Tanh": Operator(_elementwise(torch.tanh), 1, 13),
    "Transpose": Operator(onnx_shapes.transpose, 1, 25),
    "Unsqueeze": Operator(onnx_shapes.unsqueeze, 1, 25),
    "Where": Operator(lambda node, *inputs: torch.where(*onnx_shapes.together(*inputs)), 9, 16),
}

WITHOUT_GRADIENT = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Ceil",
        "ConvInteger",
        "DynamicQuantizeLinear",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "MatMulInteger",
        "NonZero",
        "QLinearConv",
        "QLinearMatMul",
        "Round",
        "Sign",
    }
)
"""Operators that no gradient passes, for the message: comparisons, rounding and arithmetic in integers."""
