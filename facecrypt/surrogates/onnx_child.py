"""An ONNX file in a process of its own: it is somebody's program, and may loop for ever or ask for all memory.

onnxruntime computes what is constant while it opens a file, and cannot be stopped from outside then. So the file is
checked, opened and run by a `facecrypt.child.Child`, which imports this module and not torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facecrypt.errors import WeightsError
from facecrypt.regular import open_regular, read_regular

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto, ValueInfoProto
    from onnxruntime import InferenceSession

MOST_BYTES = 2 << 30
"""Largest file that the format itself allows; more is kept in files beside it."""
_EXACT_INT8 = "session.x64quantprecision"
_SPIN = "session.intra_op.allow_spinning"
_BESIDE = "session.model_external_initializers_file_folder_path"

Declared = tuple[str, list[int | str | None]]
"""Type and shape of an input, as in ``tensor(float)``; a name or None stands for any number."""

_open: dict[Path, InferenceSession] = {}


def inputs_of(file: Path, threads: int) -> list[Declared]:
    """Return what an ONNX file takes.

    Args:
        file: The file, absolute.
        threads: How many may compute.

    Raises:
        WeightsError: If it cannot be read, or wants what is not beside it.
    """
    return [(each.type, list(each.shape)) for each in _session_of(file, threads).get_inputs()]


def run(file: Path, threads: int, crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first output of an ONNX file for one crop.

    Args:
        file: As `inputs_of` takes it.
        threads: Likewise.
        crop: The prepared crop, ``(1, 3, H, W)``.

    Raises:
        WeightsError: As `inputs_of` raises it, and if the file cannot be run.
    """
    session = _session_of(file, threads)
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: crop})[0], np.float32)
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has a dozen errors and no base class for them
        given = list(crop.shape)
        raise _fault(
            file, f"it cannot be run on a crop {given} ({_line(error)})", "Mend args.size, or export the network anew"
        ) from error


def _session_of(file: Path, threads: int) -> InferenceSession:
    """Return the session of a file, which stays open in this process."""
    if file in _open:
        return _open[file]
    model = read_model(file)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # It would print what it raises, and remarks on how the file was exported.
    options.intra_op_num_threads = threads
    options.add_session_config_entry(_SPIN, "0")  # Waiting would count as computing.
    # Its kernels for 8-bit weights saturate on x86 CPUs with AVX2 and without VNNI, and would make other embeddings
    # there than everywhere else. This takes kernels that are exact on all of them.
    options.add_session_config_entry(_EXACT_INT8, "1")
    options.add_session_config_entry(_BESIDE, str(file.parent))
    source: Any = file
    # Quantisation tools leave the weights that they replaced among the inputs, and onnxruntime would want them.
    if unused := _unused_inputs(model):
        for each in unused:
            model.graph.input.remove(each)
        source = model.SerializeToString()
    del model
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        raise _fault(
            file, f"onnxruntime cannot read it ({_line(error)})", "Download it again, or export the network anew"
        ) from error
    _open[file] = session
    return session


def _unused_inputs(model: ModelProto) -> list[ValueInfoProto]:
    from onnx import NodeProto

    kept = {each.name for each in model.graph.initializer}
    wanted = [each for each in model.graph.input if each.name not in kept]
    read = {name for node in _messages(model, NodeProto) for name in node.input}
    return [each for each in wanted if each.name not in read] if len(wanted) > 1 else []


def read_model(file: Path) -> ModelProto:
    """Return the content of an ONNX file, without that of the files that it names for its weights.

    Args:
        file: The file.

    Raises:
        WeightsError: If it is no such file, or names a file that is not in its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(read_regular(file, MOST_BYTES))
    except FileNotFoundError as error:
        raise _fault(file, "there is no such file", "Mend args.path") from error
    except OSError as error:
        raise _fault(file, f"cannot be read ({error.strerror})", "Name a file, or mend its permissions") from error
    except (DecodeError, ValueError) as error:
        raise _fault(
            file, f"it is no ONNX file ({_line(error)})", "Download it again, or export the network anew"
        ) from error
    folder = Path(os.path.realpath(file)).parent
    for tensor in _messages(model, onnx.TensorProto):
        if tensor.data_location == tensor.EXTERNAL:
            _check_external(file, folder, tensor)
    return model


def _messages(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Yield every part of one kind in a model, those of its functions and of graphs inside graphs included."""
    from google.protobuf.message import Message
    from onnx import TensorProto

    todo: list[Any] = [message]
    while todo:
        each = todo.pop()
        if isinstance(each, kind):
            yield each
        if isinstance(each, TensorProto):
            continue  # It has no parts, but many numbers.
        for field, value in each.ListFields():
            if field.message_type is not None:
                todo += [value] if isinstance(value, Message) else value


def _check_external(file: Path, folder: Path, tensor: TensorProto) -> None:
    """Refuse a tensor whose bytes lie elsewhere than in a regular file of the folder."""
    said = {each.key: each.value for each in tensor.external_data}
    place = said.get("location", "")
    try:
        path = Path(os.path.realpath(folder / place))
        if not place or os.path.isabs(place) or not path.is_relative_to(folder):
            raise _fault(file, f"its weights are said to be at {place!r}, outside its folder", "Export it anew")
        with open_regular(path) as opened:
            size = os.fstat(opened.fileno()).st_size
        offset, length = int(said.get("offset", 0)), int(said.get("length", 0))
    except OSError as error:
        raise _fault(
            file, f"its weights in {place!r} cannot be read ({error.strerror})", "Download that file, too"
        ) from error
    except ValueError as error:
        raise _fault(file, f"its weights in {place!r} have no place there", "Export it anew") from error
    if not (offset >= 0 and length >= 0 and offset + length <= size):
        raise _fault(file, f"its weights reach beyond the end of {place!r}", "Download that file again")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _fault(file: Path, what: str, remedy: str) -> WeightsError:
    return WeightsError(f"weights {file}: {what}. {remedy}.")
