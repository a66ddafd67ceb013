"""Files beside an ONNX file that hold its weights: only regular ones of its own folder are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from facecrypt.errors import WeightsError
from facecrypt.system.regular import open_regular


def require_own_data(model: ModelProto, file: Path, *, alone: bool = False) -> None:
    """Refuse an ONNX file that would have other files of this machine read.

    Args:
        model: Its content.
        file: Where it is.
        alone: Whether its weights must be inside it, since its digest says nothing of files beside it.

    Raises:
        WeightsError: If it names what is no regular file of its own folder or too short, or any file where it must hold
            its weights itself.
    """
    folder = Path(os.path.realpath(file)).parent
    for tensor in messages(model, TensorProto):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        where = said.get("location", "")
        if alone:
            raise WeightsError(
                f"weights {file}: its weights are in another file, {where!r}, of which its sha256 says nothing. "
                "Save it in one file, or give no sha256."
            )
        if fault := _find_fault(said, folder, where):
            raise WeightsError(
                f"weights {file}: it wants to read {where!r}, {fault}: refused. Export the network anew, best into one "
                "file."
            )


def messages(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Yield every part of one kind in a model, those of its functions and of graphs inside graphs included.

    Args:
        message: The model.
        kind: Class of the parts.
    """
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


def _find_fault(said: dict[str, str], folder: Path, where: str) -> str | None:
    try:
        # Resolved, because a link in the folder may lead out of it.
        beside = Path(os.path.realpath(folder / where))
        offset, length = int(said.get("offset", 0)), int(said.get("length", 0))
        if not where or not beside.is_relative_to(folder) or beside == folder:
            return "which is no file in its own folder"
        with open_regular(beside) as opened:
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        return f"which cannot be read ({error.strerror})"
    except ValueError:  # no name of a file, no number
        return "which is no file in its own folder"
    return None if 0 <= offset <= offset + length <= size else "and more than is in it"
