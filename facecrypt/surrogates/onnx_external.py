"""Files beside an ONNX file that hold its weights: only those of its own folder are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from facecrypt.errors import WeightsError
from facecrypt.regular import is_regular


def require_own_data(file: Path, *, alone: bool = False) -> None:
    """Refuse an ONNX file that would have other files of this machine read.

    A file that cannot be read is left to whoever runs it.

    Args:
        file: The file.
        alone: Whether its weights must be inside it, since its digest says nothing of files beside it.

    Raises:
        WeightsError: If it names a file outside its own folder, or any where it must hold its weights itself.
    """
    if not is_regular(file):
        return
    try:
        model = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError, ValueError):
        return
    folder = file.resolve().parent
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if alone:
            raise WeightsError(
                f"weights {file}: its weights are in another file, {where!r}, of which its sha256 says nothing. "
                "Save it in one file, or give no sha256."
            )
        # Resolved, because a link in the folder may lead out of it.
        beside = (folder / where).resolve()
        if not where or not beside.is_relative_to(folder) or (beside.exists() and not beside.is_file()):
            raise WeightsError(
                f"weights {file}: it wants to read {where!r}, which is no file in its own folder: refused. Export the "
                "network anew, best into one file."
            )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(graph)
