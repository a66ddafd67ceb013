"""Checkpoints as they are published: read without running code from them, and fitted to a network key by key."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from facecrypt.errors import WeightsError
from facecrypt.system.naming import given_path
from facecrypt.system.regular import open_regular

_COUNTER: Final = "num_batches_tracked"  # of batch normalisation: only training reads it, and old files lack it
_SHOWN: Final = 3  # keys named in an error: enough to see what is wrong


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the CPU.

    Args:
        path: A file of safetensors (by its suffix), or one that ``torch.save`` wrote: a state dict, or a mapping that
            holds one under ``state_dict``. Of the latter, only tensors and plain containers are read: a pickle that
            would run code is refused. The ``module.`` that ``DataParallel`` puts before every name is taken off.

    Raises:
        WeightsError: If the file cannot be read, would run code, or holds something else than named tensors.
    """
    path = given_path(path)
    if path.suffix != ".safetensors":
        require_plain_archive(path)
    try:
        with open_regular(path) as file:
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _fault(path, "there is no such file", "Mend the path, or fetch it again") from error
    except OSError as error:
        raise _fault(path, f"cannot be read ({error.strerror or error})", "Mend its permissions") from error
    except Exception as error:  # for a damaged file, torch and safetensors have many classes of errors
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise _fault(
                path,
                f"it holds more than tensors ({foreign[1]}), and reading that would run code from the file: refused",
                "Have whoever made it save the state dict alone, best as safetensors",
            ) from error
        raise _fault(
            path,
            f"no checkpoint, or a truncated one ({type(error).__name__})",
            "Delete it and download it again",
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    # Sparse, quantised, complex and imagined tensors would fail in the middle of a run.
    if isinstance(state, Mapping) and (
        odd := [name for name, value in state.items() if isinstance(value, Tensor) and not _is_plain(value)]
    ):
        raise _fault(path, f"{odd[0]} holds no plain numbers ({state[odd[0]].dtype})", "Save it as dense tensors")
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise _fault(path, f"it holds no named tensors ({_kinds(state)})", "Name the checkpoint of this recogniser")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return dict(state)


def require_plain_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is.

    ``torch.save`` compresses nothing, so a checkpoint takes no more memory than its file has bytes. An archive that
    is compressed, or names the same bytes many times, could fill the memory before anybody sees what it holds.

    Raises:
        WeightsError: If the file is such an archive.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            records = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # It is no archive: whoever reads it says what is wrong with it.
    unpacked = sum(record.file_size for record in records)
    if any(record.compress_type != zipfile.ZIP_STORED for record in records) or unpacked > path.stat().st_size:
        raise _fault(
            path,
            f"it unpacks to {unpacked:,} bytes, more than the file has, which no checkpoint of torch does: refused",
            "Have whoever made it save the state dict with torch.save, best as safetensors",
        )


def fill(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, *, ignore: Sequence[str] = ()) -> None:
    """Load tensors into a network, which must take every one of them and get every one that it needs.

    Args:
        network: The network, on the CPU or not made yet (torch's ``meta`` device); it keeps its own precision.
        state: Tensors by name.
        path: Where they come from, for the reader of an error.
        ignore: Starts of names that belong to no part of `network`, such as a classifier of the training.

    Raises:
        WeightsError: If names are missing or left over, or shapes differ; the first of them are named.
    """
    given = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(ignore))}
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name.endswith(_COUNTER):
            given.setdefault(name, torch.zeros((), dtype=tensor.dtype))
    shapes = [
        f"{name} is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
        for name, tensor in given.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    faults = [
        f"{what}: {', '.join(found[:_SHOWN])}{f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''}"
        for what, found in (
            ("missing", [name for name in expected if name not in given]),
            ("unexpected", [name for name in given if name not in expected]),
            ("wrong shape", shapes),
        )
        if found
    ]
    if faults:
        raise _fault(
            Path(path),
            f"it does not fit {type(network).__name__}. {'; '.join(faults)}",
            "Name the checkpoint of this recogniser",
        )
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in given.items()}, assign=True)


def _is_plain(tensor: Tensor) -> bool:
    dense = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    return dense and not tensor.is_complex()


def _kinds(state: object) -> str:
    if not isinstance(state, Mapping):
        return f"but a {type(state).__name__}"
    return "but " + ", ".join(f"{key}: {type(value).__name__}" for key, value in list(state.items())[:_SHOWN])


def _fault(path: Path, what: str, remedy: str) -> WeightsError:
    return WeightsError(f"weights {path}: {what}. {remedy}.")
