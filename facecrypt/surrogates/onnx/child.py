"""An ONNX file in a process of its own: it is somebody's program, and may loop for ever or ask for all memory.

onnxruntime computes what is constant while it opens a file, and cannot be stopped from outside then. So the file is
checked, opened and run by a `facecrypt.system.child.Child`, which imports this module and not torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facecrypt.errors import WeightsError
from facecrypt.system.regular import read_regular

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto
    from onnxruntime import InferenceSession

MOST_BYTES = 2 << 30
"""Largest file that the format itself allows; more is kept in files beside it."""
_EXACT_INT8 = "session.x64quantprecision"
_SPIN = "session.intra_op.allow_spinning"
_BESIDE = "session.model_external_initializers_file_folder_path"

Declared = tuple[str, list[int | str | None]]
"""Type and shape of an input, as in ``tensor(float)``; a name or None stands for any number."""


class OnnxFile(NamedTuple):
    """An ONNX file and how it is run.

    Attributes:
        path: Where it is, absolute.
        alone: Whether its weights must be inside it.
        threads: How many may compute.
    """

    path: Path
    alone: bool
    threads: int


_open: dict[OnnxFile, InferenceSession] = {}


def inputs_of(file: OnnxFile) -> list[Declared]:
    """Return what an ONNX file takes.

    Raises:
        WeightsError: If it cannot be read, or wants what is not beside it.
    """
    return [(each.type, list(each.shape)) for each in _session_of(file).get_inputs()]


def run(file: OnnxFile, crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first output of an ONNX file for one crop.

    Args:
        file: The file.
        crop: The prepared crop, ``(1, 3, H, W)``.

    Raises:
        WeightsError: As `inputs_of` raises it, and if the file cannot be run.
    """
    session = _session_of(file)
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: crop})[0], np.float32)
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has a dozen errors and no base class for them
        raise _fault(
            file.path,
            f"it cannot be run on a crop {list(crop.shape)} ({_line(error)})",
            "Mend args.size, or export the network anew",
        ) from error


def _session_of(file: OnnxFile) -> InferenceSession:
    """Return the session of a file, which stays open in this process."""
    if file in _open:
        return _open[file]
    model = read_model(file.path, alone=file.alone)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # It would print what it raises, and remarks on how the file was exported.
    options.intra_op_num_threads = file.threads
    options.add_session_config_entry(_SPIN, "0")  # Waiting would count as computing.
    # Its kernels for 8-bit weights saturate on x86 CPUs with AVX2 and without VNNI, and would make other embeddings
    # there than everywhere else. This takes kernels that are exact on all of them.
    options.add_session_config_entry(_EXACT_INT8, "1")
    options.add_session_config_entry(_BESIDE, str(file.path.parent))
    source: Any = file.path
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
            file.path, f"onnxruntime cannot read it ({_line(error)})", "Download it again, or export the network anew"
        ) from error
    _open[file] = session
    return session


def _unused_inputs(model: ModelProto) -> list[ValueInfoProto]:
    from onnx import NodeProto

    from facecrypt.surrogates.onnx.external import messages

    kept = {each.name for each in model.graph.initializer}
    wanted = [each for each in model.graph.input if each.name not in kept]
    read = {name for node in messages(model, NodeProto) for name in node.input}
    return [each for each in wanted if each.name not in read] if len(wanted) > 1 else []


def read_model(path: Path, *, alone: bool = False) -> ModelProto:
    """Return the content of an ONNX file, without that of the files that it names for its weights.

    Args:
        path: The file.
        alone: Whether its weights must be inside it.

    Raises:
        WeightsError: If it is no such file, or names a file for its weights that it may not have.
    """
    import onnx
    from google.protobuf.message import DecodeError

    from facecrypt.surrogates.onnx.external import require_own_data

    try:
        model = onnx.load_model_from_string(read_regular(path, MOST_BYTES))
    except FileNotFoundError as error:
        raise _fault(path, "there is no such file", "Mend args.path") from error
    except OSError as error:
        raise _fault(path, f"cannot be read ({error.strerror})", "Name a file, or mend its permissions") from error
    except (DecodeError, ValueError) as error:
        raise _fault(
            path, f"it is no ONNX file ({_line(error)})", "Download it again, or export the network anew"
        ) from error
    require_own_data(model, path, alone=alone)
    return model


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _fault(path: Path, what: str, remedy: str) -> WeightsError:
    return WeightsError(f"weights {path}: {what}. {remedy}.")
