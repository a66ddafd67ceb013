"""ONNX operators on shapes, axes and types: the part of `operators` that is not a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from facecrypt.surrogates.onnx.operators import Node, Operation


def together(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors on one device: integers that were made on the CPU meet the image there."""
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
    return [tensor.to(device) for tensor in tensors]


def numbers(given: Tensor | None, attribute: list[int] | None) -> list[int] | None:
    """Return integers that old opsets write as an attribute and new ones as an input."""
    return attribute if given is None else [int(number) for number in given.flatten().tolist()]


# Reductions


def reduction(function: Callable[..., Tensor]) -> Operation:
    """Return an operation over some axes. `function` takes x, the axes and whether they are kept."""

    def shrink(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = numbers(axes, node.get("axes", None))
        if not chosen:
            if node.get("noop_with_empty_axes", 0):
                return x
            chosen = list(range(x.ndim))
        return function(x, dim=chosen, keepdim=bool(node.get("keepdims", 1)))

    return shrink


def square_sum(x: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    """Return the sum of squares."""
    return x.square().sum(dim=dim, keepdim=keepdim)


def lp_normalization(node: Node, x: Tensor) -> Tensor:
    """Divide by the norm along one axis."""
    norms: Tensor = torch.linalg.vector_norm(x, node.get("p", 2), dim=node.get("axis", -1), keepdim=True)
    return x / norms


# Shapes


def flatten(node: Node, x: Tensor) -> Tensor:
    """Return a matrix: the axes before one, and those from it on."""
    axis = node.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape; a size of 0 stands for that of x."""
    sizes = [int(size) for size in shape.tolist()]
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def transpose(node: Node, x: Tensor) -> Tensor:
    """Permute the axes, or reverse their order."""
    return x.permute(node.get("perm", list(range(x.ndim))[::-1]))


def squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Take axes of length 1 away."""
    chosen = numbers(axes, node.get("axes", None))
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Put axes of length 1 in."""
    chosen = numbers(axes, node.get("axes", None)) or []
    for axis in sorted(axis % (x.ndim + len(chosen)) for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast to a shape, in both directions."""
    return x * torch.ones([int(size) for size in shape.tolist()], dtype=x.dtype, device=x.device)


def take_slices(
    node: Node,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Take a range of entries along some axes."""
    first, last = numbers(starts, node.get("starts", None)) or [], numbers(ends, node.get("ends", None)) or []
    chosen = numbers(axes, node.get("axes", None)) or range(len(first))
    strides = numbers(steps, None) or [1] * len(first)
    for axis, start, end, stride in zip(chosen, first, last, strides, strict=True):
        taken = range(x.shape[axis])[start:end:stride]  # ONNX clamps as Python does
        if stride == 1:
            x = x.narrow(axis, taken.start, len(taken))
        else:
            x = x.index_select(axis, torch.tensor(taken, dtype=torch.long, device=x.device))
    return x


def split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Split an axis into given or into equal parts."""
    axis = node.get("axis", 0)
    given = numbers(sizes, node.get("split", None))
    size = math.ceil(x.shape[axis] / len(node.outputs))
    given = given or [min(size, x.shape[axis] - start) for start in range(0, x.shape[axis], size)]
    return torch.split_with_sizes(x, given, axis)


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Pick entries of an axis; negative indices count from its end."""
    axis = node.get("axis", 0) % x.ndim
    wrapped = torch.where(indices < 0, indices + x.shape[axis], indices).long()
    picked = x.index_select(axis, wrapped.flatten().to(x.device))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def resize(
    node: Node, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """Take the nearest entry along each axis, as pyramids of features are enlarged; nothing in between is computed."""
    mode = node.get("mode", "nearest")
    where, way = node.get("coordinate_transformation_mode", "half_pixel"), node.get("nearest_mode", _NEAREST)
    if (
        mode != "nearest"
        or where not in ("half_pixel", "asymmetric")
        or node.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise ValueError(f"mode {mode} with {where} is not known, only nearest with half_pixel or asymmetric")
    axes = numbers(None, node.get("axes", None)) or list(range(x.ndim))
    wanted = numbers(sizes, None) or []
    for place, axis in enumerate(axes):
        length = x.shape[axis]
        factor = wanted[place] / length if sizes is not None else float(scales[place]) if scales is not None else 1.0
        count = wanted[place] if sizes is not None else math.floor(length * factor)
        at = torch.arange(count, dtype=torch.float64)
        at = at / factor if where == "asymmetric" else (at + 0.5) / factor - 0.5
        nearest = {
            _NEAREST: torch.ceil(at - 0.5),
            "round_prefer_ceil": torch.floor(at + 0.5),
            "floor": torch.floor(at),
            "ceil": torch.ceil(at),
        }[way]
        x = x.index_select(axis, nearest.long().clamp(0, length - 1).to(x.device))
    return x


_NEAREST = "round_prefer_floor"


def pad(node: Node, x: Tensor, pads: Tensor | None = None, *others: Tensor | None) -> Tensor:
    """Pad; negative amounts crop."""
    value, axes = (*others, None, None)[:2]
    amounts = numbers(pads, node.get("pads", None)) or []
    chosen = numbers(axes, None) or list(range(x.ndim))
    pairs = dict.fromkeys(range(x.ndim), (0, 0))
    half = len(amounts) // 2
    pairs |= {axis % x.ndim: (amounts[i], amounts[half + i]) for i, axis in enumerate(chosen)}
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        node.get("mode", "constant")
    ]
    axes_padded = [axis for axis in pairs if pairs[axis] != (0, 0)]
    flat = [amount for axis in range(x.ndim - 1, min(axes_padded, default=x.ndim) - 1, -1) for amount in pairs[axis]]
    if mode != "constant":
        return functional.pad(x, flat, mode) if flat else x
    return functional.pad(x, flat, value=node.get("value", 0.0) if value is None else float(value))


def shape(node: Node, x: Tensor) -> Tensor:
    """Return the shape, on the CPU."""
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end", None)], dtype=torch.long)


def constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    """Return a tensor filled with one value."""
    value: Tensor = node.get("value", torch.zeros(1))
    return value.reshape(()).expand(shape.tolist()).clone()


def concat(node: Node, *inputs: Tensor) -> Tensor:
    """Concatenate along an axis."""
    return torch.cat(together(*inputs), dim=node.attributes["axis"])


def cast(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    """Change the type."""
    kind = torch_type(node.attributes["to"])
    # A float stays as wide as the module is: its owner chose that, not the file.
    return x if x.is_floating_point() and kind.is_floating_point else x.to(kind)


def torch_type(code: int) -> torch.dtype:
    """Return the type that stands for one of ONNX's ``TensorProto.DataType``; every float is float32 here.

    Raises:
        NotImplementedError: If there is none.
    """
    if code not in _TYPES:
        raise NotImplementedError(f"type {code}")
    return _TYPES[code]


_TYPES = {
    **dict.fromkeys((1, 10, 11, 16), torch.float32),
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}


# Quantisation


def _spread(node: Node, parameter: Tensor, x: Tensor) -> Tensor:
    """Return a scale or zero point, given once, per entry of an axis, or per block along it, for every value of x."""
    axis = node.get("axis", 1) % max(x.ndim, 1)
    block = node.get("block_size", 0)
    parameter = parameter.to(x.device)
    if block:
        return parameter.repeat_interleave(block, dim=axis).narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if each == axis else 1 for each in range(x.ndim)])


def quantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Round to the steps of `scale` and clip to the type's range; the result is still a float.

    Rounding has no useful derivative, so the gradient passes straight through it (Bengio et al., 2013,
    https://arxiv.org/abs/1308.3432) wherever the value is not clipped.
    """
    kind = torch_type(node.get("output_dtype", 0) or 2) if zero is None else zero.dtype
    limits = torch.iinfo(kind)
    origin = 0 if zero is None else _spread(node, zero, x).to(x.dtype)
    steps = x / _spread(node, scale, x)
    rounded = (steps.round() + origin).clamp(limits.min, limits.max)
    # The value that carries the gradient: what rounds to the outermost steps is not clipped yet.
    passed = (steps + origin).clamp(limits.min - 0.5, limits.max + 0.5)
    return passed + (rounded - passed).detach()


def dequantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Return the values that steps of `scale` stand for."""
    steps = x.to(scale)
    if zero is not None:
        steps = steps - _spread(node, zero, x).to(scale)
    return steps * _spread(node, scale, x)
