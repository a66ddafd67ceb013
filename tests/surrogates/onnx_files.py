"""Writes ONNX files with the operators and layout of face recognisers. The weights are random: nobody is recognised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

DIMENSION = 16


class Writer:
    """A graph under construction: each method adds operations to a value and returns the name of the new one.

    Args:
        opset: Version of the operators.
        ir: Version of the file format.
    """

    def __init__(self, opset: int = 17, ir: int = 8) -> None:
        self.opset, self.ir = opset, ir
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{operator}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=f"node_{len(self.nodes)}", **attributes))
        return names[0]

    def constant(self, value: ArrayLike, kind: Any = np.float32) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(value, kind), f"tensor_{len(self.tensors)}"))
        return str(self.tensors[-1].name)

    def weight(self, *shape: int) -> str:
        return self.constant(self._random.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5)

    def numbers(self, count: int, low: float, high: float, *trailing: int) -> str:
        return self.constant(self._random.uniform(low, high, (count, *trailing)))

    def conv(self, x: str, before: int, after: int, kernel: int = 3, *, stride: int = 1, **options: Any) -> str:
        groups, bias = options.get("group", 1), options.pop("bias", True)
        inputs = [x, self.weight(after, before // groups, kernel, kernel)]
        inputs += [self.numbers(after, -0.1, 0.1)] if bias else []
        pads = options.pop("pads", [kernel // 2] * 4)
        return self.add("Conv", *inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, **options)

    def normalise(self, x: str, channels: int, epsilon: float = 1e-5) -> str:
        ranges = ((0.5, 1.5), (-0.2, 0.2), (-0.3, 0.3), (0.5, 2.0))
        return self.add("BatchNormalization", x, *(self.numbers(channels, *each) for each in ranges), epsilon=epsilon)

    def prelu(self, x: str, channels: int) -> str:
        return self.add("PRelu", x, self.numbers(channels, -0.1, 0.4, 1, 1))

    def gemm(self, x: str, before: int, after: int) -> str:
        return self.add("Gemm", x, self.weight(after, before), self.numbers(after, -0.1, 0.1), transB=1)

    def save(
        self,
        path: Path,
        output: str,
        *,
        shape: Sequence[int | str] = ("batch", 3, 112, 112),
        kind: Any = np.float32,
        listed: bool = False,
    ) -> Path:
        """Write the file. Its input is called ``x``; `listed` names the weights among the inputs too, as MXNet does."""
        inputs = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)]
        if listed:
            inputs += [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in self.tensors]
        graph = helper.make_graph(self.nodes, "net", inputs, [onnx.ValueInfoProto(name=output)], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=self.ir)
        onnx.save(model, path)
        return path


def iresnet(path: Path) -> Path:
    """As InsightFace's w600k_r50: opset 11, blocks of normalisation, two convolutions, PReLU and a shortcut."""
    w = Writer(opset=11, ir=6)
    x = w.prelu(w.conv("x", 3, 8), 8)
    before = 8
    for after in (8, 12, 16, 16):
        inner = w.prelu(w.conv(w.normalise(x, before), before, after), after)
        inner = w.conv(inner, after, after, stride=2)
        x = w.add("Add", inner, w.conv(x, before, after, 1, stride=2))
        before = after
    x = w.add("Flatten", w.normalise(x, 16, epsilon=2e-5), axis=1)
    return w.save(path, w.normalise(w.gemm(x, 16 * 49, DIMENSION), DIMENSION), shape=["None", 3, 112, 112])


def mobilefacenet(path: Path, opset: int = 11, dimension: int = DIMENSION) -> Path:
    """As InsightFace's w600k_mbf: depthwise convolutions, bottlenecks, and a last one over the whole map."""
    w = Writer(opset, ir=7)
    x = w.prelu(w.conv("x", 3, 8, stride=2), 8)
    x = w.prelu(w.conv(x, 8, 8, group=8), 8)
    for stride in (2, 2, 1, 2, 1):
        inner = w.prelu(w.conv(x, 8, 16, 1), 16)
        inner = w.prelu(w.conv(inner, 16, 16, group=16, stride=stride), 16)
        inner = w.conv(inner, 16, 8, 1)
        x = w.add("Add", x, inner) if stride == 1 else inner
    x = w.prelu(w.conv(x, 8, 32, 1), 32)
    x = w.conv(x, 32, 32, 7, group=32, pads=[0] * 4)
    x = w.add("Flatten", w.conv(x, 32, 32, 1))
    return w.save(path, w.normalise(w.gemm(x, 32, dimension), dimension))


def sface(path: Path) -> Path:
    """As the OpenCV Zoo's fp32 file, which MXNet wrote: it scales its input, and lists its weights among the inputs."""
    w = Writer(opset=8, ir=3)
    x = w.add("Mul", w.add("Sub", "x", w.constant([127.5])), w.constant([0.0078125]))
    x = w.prelu(w.normalise(w.conv(x, 3, 8, bias=False), 8, 1e-3), 8)
    for before, after in ((8, 8), (8, 12), (12, 16), (16, 16)):
        x = w.prelu(w.normalise(w.conv(x, before, before, bias=False, group=before, stride=2), before, 1e-3), before)
        x = w.prelu(w.normalise(w.conv(x, before, after, 1, bias=False), after, 1e-3), after)
    x = w.add("Flatten", w.add("Dropout", w.normalise(x, 16, 2e-5), ratio=0.4))
    x = w.normalise(w.gemm(x, 16 * 49, DIMENSION), DIMENSION, 2e-5)
    return w.save(path, x, shape=[1, 3, 112, 112], listed=True)


def vit(path: Path) -> Path:
    """A small vision transformer as torch exports it: sizes are computed, attention and GELU are spelt out."""
    w = Writer(opset=17)
    width, heads, tokens = 12, 2, 50
    x = w.add("Conv", "x", w.weight(width, 3, 16, 16), kernel_shape=[16, 16], strides=[16, 16])

    def count(value: str) -> str:
        first = w.add("Gather", w.add("Shape", value), w.constant(0, np.int64), axis=0)
        return w.add("Unsqueeze", first, w.constant([0], np.int64))

    def rows(*sizes: int) -> str:
        return w.add("Concat", count(x), w.constant(sizes, np.int64), axis=0)

    x = w.add("Transpose", w.add("Reshape", x, rows(width, -1)), perm=[0, 2, 1])
    shape = rows(1, width)
    any_size = w.add("Equal", shape, w.constant([-1] * 3, np.int64))
    one = w.add(
        "ConstantOfShape", w.constant([3], np.int64), value=numpy_helper.from_array(np.array([1], np.int64), "one")
    )
    first = w.add("Expand", w.weight(1, 1, width), w.add("Where", any_size, one, shape))
    x = w.add("Add", w.add("Concat", first, x, axis=1), w.numbers(1, -0.3, 0.3, tokens, width))

    def norm(value: str) -> str:
        return w.add(
            "LayerNormalization", value, w.numbers(width, 0.5, 1.5), w.numbers(width, -0.2, 0.2), axis=-1, epsilon=1e-6
        )

    def linear(value: str, before: int, after: int) -> str:
        return w.add("Add", w.numbers(after, -0.1, 0.1), w.add("MatMul", value, w.weight(before, after)))

    for _ in range(2):
        qkv = w.add("Reshape", linear(norm(x), width, 3 * width), rows(tokens, 3, heads, width // heads))
        qkv = w.add("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        query, key, value = (w.add("Gather", qkv, w.constant(index, np.int64), axis=0) for index in (0, 1, 2))
        scores = w.add("MatMul", query, w.add("Transpose", key, perm=[0, 1, 3, 2]))
        scores = w.add("Softmax", w.add("Div", scores, w.constant((width / heads) ** 0.5)), axis=-1)
        mixed = w.add("Transpose", w.add("MatMul", scores, value), perm=[0, 2, 1, 3])
        x = w.add("Add", x, linear(w.add("Reshape", mixed, rows(tokens, width)), width, width))
        hidden = linear(norm(x), width, 2 * width)
        bell = w.add("Erf", w.add("Div", hidden, w.constant(2**0.5)))
        gelu = w.add("Mul", w.add("Mul", hidden, w.add("Add", bell, w.constant(1))), w.constant(0.5))
        x = w.add("Add", x, linear(gelu, 2 * width, width))
    pooled = w.add("ReduceMean", norm(x), axes=[1], keepdims=0)
    starts, ends, axes = (w.constant([number], np.int64) for number in (0, 1, 1))
    own = w.add("Squeeze", w.add("Slice", x, starts, ends, axes), axes)
    return w.save(path, linear(w.add("Concat", pooled, own, axis=1), 2 * width, DIMENSION))


def one_crop(path: Path) -> Path:
    """A network that says deep inside, by a reshape, that there is one crop."""
    w = Writer()
    x = w.add("HardSwish", w.conv("x", 3, 8, stride=4))
    x = w.add("Reshape", x, w.constant([1, 8 * 28 * 28], np.int64))
    return w.save(path, w.gemm(x, 8 * 28 * 28, DIMENSION))


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "iresnet": iresnet,
    "mobilefacenet": mobilefacenet,
    "sface": sface,
    "vit": vit,
    "one_crop": one_crop,
}


def single(
    path: Path, operator: str, x: NDArray[Any], others: Sequence[ArrayLike | None], opset: int, **attributes: Any
) -> Path:
    """Write a file of one operation on ``x``; the other inputs are constants, None where one is left out."""
    w = Writer(opset, ir=8 if opset < 19 else 10)
    names = ["" if each is None else w.constant(each, np.asarray(each).dtype) for each in others]
    return w.save(path, w.add(operator, "x", *names, **attributes), shape=x.shape, kind=x.dtype)
