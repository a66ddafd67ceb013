"""The graph of an ONNX file as a torch module, so that gradients flow through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, defs, numpy_helper
from torch import Tensor, nn

from facecrypt.errors import WeightsError
from facecrypt.surrogates.onnx.child import read_model
from facecrypt.surrogates.onnx.operators import OPERATORS, WITHOUT_GRADIENT, Node
from facecrypt.system.byte_counter import ByteCounter

_DOMAINS = ("", "ai.onnx")
ROUNDING = 0.05
"""Largest relative difference that is put down to rounding; networks with rounded activations have the most of it."""


def read_graph(file: Path, crops: Tensor) -> OnnxGraph:
    """Return the network of an ONNX file, tried on two crops.

    Args:
        file: The file.
        crops: Two different prepared crops, ``(2, 3, H, W)``, float32, on the CPU.

    Raises:
        WeightsError: If an operator is unknown or cannot be differentiated, or the crops give no gradient. The message
            names the first such operator.
    """
    try:
        with ByteCounter(_MOST_BYTES):
            return _read(file, crops)
    except MemoryError as error:
        raise _fault(file, f"as a surrogate, {error}", _UNDER_HELD_OUT) from error


_MOST_NODES = 20_000
"""Operations of a network: each is done one by one at every step, and recognisers have hundreds of them."""
_MOST_BYTES = 4 << 30
"""Bytes that the network may take for two crops and their gradients. A ResNet-100 takes an eighth."""


def _read(file: Path, crops: Tensor) -> OnnxGraph:
    graph = _Reader(file).graph()
    with torch.no_grad():
        alone = graph(crops)
        graph.batches = True
        try:
            graph.batches = differs(alone, graph(crops)) < ROUNDING
        except WeightsError:  # Some files say deep inside that there is one crop, as by a Reshape to [1, 512].
            graph.batches = False
    crop = crops[:1].clone().requires_grad_()
    with torch.enable_grad():  # The caller may be about to judge only.
        embedding = graph(crop)
        gradient = torch.autograd.grad(embedding.sum(), crop)[0] if embedding.requires_grad else torch.zeros(1)
    if not gradient.isfinite().all() or not gradient.any():
        raise _fault(file, "its embedding has no finite gradient other than zero", _UNDER_HELD_OUT)
    return graph


def read_network(file: Path, outputs: Sequence[str]) -> OnnxGraph:
    """Return the network of an ONNX file that computes some of its outputs, untried.

    Args:
        file: The file.
        outputs: Their names, in the order in which `OnnxGraph.compute` returns them.

    Raises:
        WeightsError: If it has no such output, or an operator is unknown.
    """
    try:
        with ByteCounter(_MOST_BYTES):
            return _Reader(file, _ANOTHER_FILE).graph(outputs)
    except MemoryError as error:
        raise _fault(file, str(error), _ANOTHER_FILE) from error


def differs(a: Tensor, b: Tensor) -> float:
    """Return how far embeddings are from each other, relative to their length; infinite where shapes differ."""
    return float((a - b).norm() / a.norm()) if a.shape == b.shape else float("inf")


class OnnxGraph(nn.Module):
    """The operations of an ONNX file, each done by torch.

    Quantised files keep their rounding in the forward pass: `operators.OPERATORS` says what the gradient makes of
    it. What the file computes from constants alone was computed once, when it was read.

    Args:
        file: Where it came from, for messages.
        nodes: The operations, in an order in which they can be done.
        constants: The weights, and every other value that does not depend on the crop, by name.
        crop: Name of the input.
        outputs: Names of what is computed; the first one is the embedding of a recogniser.
        remedy: What to do where an operation fails.

    Attributes:
        batches: Whether the graph can be given several crops at once; otherwise it is given one after the other.
    """

    def __init__(
        self,
        file: Path,
        nodes: list[Node],
        constants: Mapping[str, Tensor],
        crop: str,
        outputs: Sequence[str],
        remedy: str,
    ) -> None:
        super().__init__()
        self.file = file
        self.batches = False
        self._nodes = nodes
        self._crop, self._outputs, self._remedy = crop, list(outputs), remedy
        # Floats are buffers, which follow the module to its device and type. Integers stay as they are: see OPERATORS.
        self._integers = {name: value for name, value in constants.items() if not value.is_floating_point()}
        self._floats: dict[str, str] = {}
        for name in constants.keys() - self._integers.keys():
            self._floats[name] = f"constant_{len(self._floats)}"
            self.register_buffer(self._floats[name], constants[name])
        last = {name: step for step, node in enumerate(nodes) for name in node.inputs}
        # Values are forgotten after their last use: without gradients that is most of the memory.
        self._spent = [[name for name in set(node.inputs) if last[name] == step] for step, node in enumerate(nodes)]

    def forward(self, prepared: Tensor) -> Tensor:
        """Return the raw embeddings ``(B, D)`` of prepared crops ``(B, 3, H, W)``.

        Raises:
            WeightsError: If an operation fails, in one line that names it.
        """
        kind = next((buffer.dtype for buffer in self.buffers()), prepared.dtype)
        crops = prepared.to(kind)
        groups = [crops] if self.batches else [crops[each : each + 1] for each in range(len(crops))]
        return torch.cat([self.compute(group)[0].reshape(len(group), -1) for group in groups])

    def compute(self, crops: Tensor) -> list[Tensor]:
        """Return the outputs of the graph, in their own shapes.

        Args:
            crops: What it is given, in the type of its weights.

        Raises:
            WeightsError: If an operation fails.
        """
        values: dict[str, Tensor | None] = {"": None, self._crop: crops, **self._integers}
        values |= {name: self.get_buffer(buffer) for name, buffer in self._floats.items()}
        for node, spent in zip(self._nodes, self._spent, strict=True):
            made = _do(self.file, node, [values[name] for name in node.inputs], self._remedy)
            values |= dict(zip(node.outputs, made, strict=False))
            for name in spent:
                if name not in self._outputs:
                    values[name] = None
        return [value for name in self._outputs if (value := values[name]) is not None]


class _Reader:
    """Reads one file, by way of what its output depends on.

    Args:
        file: The file.
        remedy: What to do where it cannot be read.
    """

    def __init__(self, file: Path, remedy: str = "") -> None:
        self._file, self._remedy = file, remedy or _UNDER_HELD_OUT
        self._model: ModelProto = read_model(file)
        self._opset = max((each.version for each in self._model.opset_import if each.domain in _DOMAINS), default=1)

    def graph(self, outputs: Sequence[str] = ()) -> OnnxGraph:
        """Return the network.

        Args:
            outputs: What it is to compute; the first output of the file by default.

        Raises:
            WeightsError: If it cannot be made differentiable, or has no such output.
        """
        source = self._model.graph
        if self._opset > defs.onnx_opset_version():
            raise _fault(
                self._file,
                f"opset {self._opset} is newer than the onnx package knows ({defs.onnx_opset_version()})",
                "Update that package (pip install -U onnx), or export the network to an older opset",
            )
        if len(source.node) > _MOST_NODES:
            raise _fault(self._file, f"it has {len(source.node):,} operations, more than {_MOST_NODES:,}", self._remedy)
        constants = {each.name: self._tensor(each) for each in source.initializer}
        outputs = list(outputs) or [source.output[0].name]
        if missing := set(outputs) - {each.name for each in source.output}:
            has = ", ".join(each.name for each in source.output)
            raise _fault(self._file, f"it has no output {min(missing)}, only {has}", self._remedy)
        needed = list(self._needed(outputs))
        crop = next((name for name in self._read(needed) if name not in constants), None)
        if crop is None:
            raise _fault(self._file, "its output does not depend on its input", "Export the network anew")
        nodes: list[Node] = []
        for each in needed:
            node = self._node(each)
            if node.operator == "Constant":
                constants[node.outputs[0]] = self._constant(node)
            elif all(name in constants or not name for name in node.inputs):
                with torch.no_grad():
                    made = _do(self._file, node, [constants.get(name) for name in node.inputs], self._remedy)
                constants |= dict(zip(node.outputs, made, strict=False))
            else:
                nodes.append(node)
        _fold_normalizations(nodes, constants, outputs)
        used = {name for node in nodes for name in node.inputs}
        kept = {name: value.contiguous() for name, value in constants.items() if name in used}
        return OnnxGraph(self._file, nodes, kept, crop, outputs, self._remedy)

    def _needed(self, outputs: Sequence[str]) -> Iterator[NodeProto]:
        """Yield the nodes that outputs depend on, in their order, which ONNX wants to be one that can be done."""
        wanted, needed = set(outputs), []
        for node in reversed(self._model.graph.node):
            if wanted & set(node.output):
                needed.append(node)
                wanted |= set(node.input)
        yield from reversed(needed)

    def _read(self, nodes: list[NodeProto]) -> Iterator[str]:
        """Yield the declared inputs of the file that the nodes read."""
        read = {name for node in nodes for name in node.input}
        yield from (each.name for each in self._model.graph.input if each.name in read)

    def _node(self, node: NodeProto) -> Node:
        operator, name = node.op_type, node.name or node.output[0]
        if node.domain not in _DOMAINS:
            raise self._refused(operator, name, f"is an extension of {node.domain} and not known")
        if operator in WITHOUT_GRADIENT:
            raise self._refused(operator, name, "cannot be differentiated")
        known = OPERATORS.get(operator)
        if known is None and operator != "Constant":
            raise self._refused(operator, name, "is not known")
        version: int = defs.get_schema(operator, self._opset, "").since_version
        if known is not None and not known.first <= version <= known.last:
            raise self._refused(operator, name, f"of opset {version} is not known, only {known.first} to {known.last}")
        attributes = {each.name: self._attribute(onnx.helper.get_attribute_value(each)) for each in node.attribute}
        return Node(operator, name, version, attributes, tuple(node.input), tuple(node.output))

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, TensorProto):
            return self._tensor(value)
        return value.decode() if isinstance(value, bytes) else value

    def _constant(self, node: Node) -> Tensor:
        """Return the value of a Constant; opset 12 brought attributes for lone numbers and lists of them."""
        ((name, value),) = node.attributes.items()
        if name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            raise self._refused("Constant", node.name, f"has {name}, which is not known")
        return value if isinstance(value, Tensor) else torch.tensor(value)

    def _tensor(self, tensor: TensorProto) -> Tensor:
        value: NDArray[Any] = numpy_helper.to_array(tensor, base_dir=str(self._file.parent))
        if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):  # kept in bytes, which torch can count with
            value = value.astype(np.int8)
        elif value.dtype.kind not in "iub":
            value = value.astype(np.float32)
        return torch.from_numpy(np.array(value))

    def _refused(self, operator: str, name: str, why: str) -> WeightsError:
        return _fault(self._file, f"operator {operator} (node {name}) {why}", self._remedy)


def _fold_normalizations(nodes: list[Node], constants: dict[str, Tensor], outputs: Sequence[str]) -> None:
    """Put each batch normalisation that follows a convolution into its weights, which nearly halves SFace's time."""
    uses = Counter(name for node in nodes for name in node.inputs)
    makers = {node.outputs[0]: place for place, node in enumerate(nodes)}
    folded = set()
    for place, node in [each for each in enumerate(nodes) if each[1].operator == "BatchNormalization"]:
        before = makers.get(node.inputs[0])
        conv = None if before is None else nodes[before]
        if (
            before is None
            or conv is None
            or conv.operator != "Conv"
            or uses[conv.outputs[0]] > 1
            or conv.outputs[0] in outputs
        ):
            continue
        parameters = [constants.get(name) for name in (*conv.inputs[1:], *node.inputs[1:]) if name]
        if any(each is None for each in parameters) or node.get("training_mode", 0) or not node.get("spatial", 1):
            continue
        weight, *bias, gain, shift, mean, variance = (each.double() for each in parameters if each is not None)
        factor = gain / (variance + node.get("epsilon", 1e-5)).sqrt()
        names = f"{node.outputs[0]} weight", f"{node.outputs[0]} bias"
        constants[names[0]] = (weight * factor.view(-1, *[1] * (weight.ndim - 1))).float()
        constants[names[1]] = (((bias[0] if bias else 0) - mean) * factor + shift).float()
        nodes[before] = replace(conv, inputs=(conv.inputs[0], *names), outputs=node.outputs[:1])
        folded.add(place)
    nodes[:] = [node for place, node in enumerate(nodes) if place not in folded]


def _do(file: Path, node: Node, inputs: list[Tensor | None], remedy: str) -> tuple[Tensor, ...]:
    """Return the outputs of one operation."""
    try:
        made = OPERATORS[node.operator].run(node, *inputs)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged or unusual file makes torch raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise _fault(file, f"operator {node.operator} (node {node.name}) failed ({reason})", remedy) from error
    return made if isinstance(made, tuple) else (made,)


_UNDER_HELD_OUT = "Name it under held_out, where it needs no gradients, or export the network anew"
_ANOTHER_FILE = "Name another file, or export the network anew"


def _fault(file: Path, what: str, remedy: str) -> WeightsError:
    return WeightsError(f"weights {file}: {what}. {remedy}.")
