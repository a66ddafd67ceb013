"""What a recipe may tell Lightning's Trainer: every argument but those that facecrypt must set itself.

Lightning is not imported for it; a test compares the names with the Trainer's signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from facecrypt.choices import Accelerator, Precision, Strategy
from facecrypt.system.texts import PathText

OWNED: Mapping[str, str] = {
    "inference_mode": "gradients make the masks, so it is always off",
    "use_distributed_sampler": "photos are shared out by their faces, so it is always off",
    "enable_checkpointing": "a run trains nothing, and the protected photos are what it keeps",
    "reload_dataloaders_every_n_epochs": "the photos are gone through once",
}
"""Arguments that facecrypt sets itself, each with the reason."""

HARDWARE = ("accelerator", "devices", "strategy", "precision", "num_nodes")
"""Arguments that a resolved recipe always names; the others where they are not left to Lightning."""

MOST_DEVICES = 1024
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _check_devices(value: object) -> object:
    """Return ``auto``, a number of devices, or a list of the numbers of GPUs, which Lightning also takes as texts."""
    given = value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,4}(,\d{1,4})*,?", value):
        numbers = [int(each) for each in value.split(",") if each]
        given = numbers if "," in value else numbers[0]
    if given == "auto" or (type(given) is int and (given == -1 or 1 <= given <= MOST_DEVICES)):
        return given
    indices = given if isinstance(given, list) else []
    proper = all(type(each) is int and 0 <= each < MOST_DEVICES for each in indices)
    if indices and proper and len(set(indices)) == len(indices):
        return indices
    raise PydanticCustomError(
        "devices", "Input should be 'auto', a number of devices from 1 on, -1 for all GPUs, or a list of different GPUs"
    )


Devices = Annotated[int | list[int] | Literal["auto"], pydantic.BeforeValidator(_check_devices)]


def _entry(value: object) -> dict[str, Any]:
    entry = {"class_path": value} if isinstance(value, str) else value
    if isinstance(entry, dict) and entry.keys() <= {"class_path", "init_args"}:
        path, arguments = entry.get("class_path"), entry.get("init_args") or {}
        if isinstance(path, str) and _CLASS.fullmatch(path) and isinstance(arguments, dict):
            return {"class_path": path, "init_args": arguments}
    raise PydanticCustomError(
        "class_path",
        "Input should be {{class_path: ..., init_args: {{...}}}}, or a list of such, as in "
        "{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: logs}}}}",
    )


def _check_entries(value: object) -> object:
    return [_entry(each) for each in (value if isinstance(value, list) else [] if value is None else [value])]


def _check_logger(value: object) -> object:
    return value if isinstance(value, bool) else _check_entries(value)


def _check_profiler(value: object) -> object:
    return value if value is None or value in _PROFILERS else _entry(value)


def _check_strategy(value: object) -> object:
    if isinstance(value, dict):
        return _entry(value)
    if value in get_args(Strategy):
        return value
    words = " or ".join(map(repr, get_args(Strategy)))
    raise PydanticCustomError("strategy", f"Input should be {words}, or a class of Lightning by class_path")


def _check_batches(value: object) -> object:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise PydanticCustomError(
        "batches", "Input should be a whole number of batches, since how many there are shows only on the way, or null"
    )


_PROFILERS = ("simple", "advanced", "pytorch", "xla")
Entry = dict[str, Any]
"""A class by ``class_path``, and its ``init_args``; a name without points is one of Lightning's own."""
Entries = Annotated[list[Entry], pydantic.BeforeValidator(_check_entries)]
Logger = Annotated[bool | list[Entry], pydantic.BeforeValidator(_check_logger)]
Profiler = Annotated[str | Entry | None, pydantic.BeforeValidator(_check_profiler)]
Strategies = Annotated[str | Entry, pydantic.BeforeValidator(_check_strategy)]
Batches = Annotated[int | None, pydantic.BeforeValidator(_check_batches)]
Count = Annotated[int, Field(ge=0)]
Duration = str | dict[str, int] | None


@dataclass
class TrainerOptions:
    """What Lightning's Trainer is told; see its documentation for the values.

    Attributes:
        accelerator: ``auto`` takes a GPU where there is one; ``gpu`` is either of ``cuda`` and ``mps``.
        devices: How many devices, or which: ``auto``, a number, or a list of GPUs, numbered from 0; -1 is all GPUs.
        strategy: How several devices work together; ``auto`` takes ``ddp`` where there are several. Or a class.
        precision: Of the surrogates while they give gradients.
        num_nodes: Number of machines.
        callbacks: Further callbacks, each ``{class_path: ..., init_args: {...}}``; a ``class_path`` without points is a
            class of Lightning.
        logger: True for Lightning's own choice, or loggers by ``class_path``. They get the similarity of the faces to
            their originals at every step, and photos, faces and seconds of every batch.
        profiler: ``simple``, ``advanced``, ``pytorch``, ``xla``, or a class.
        plugins: Plugins of Lightning by ``class_path``.
        fast_dev_run: Protect one batch of photos, or so many, without loggers, to see whether all works.
        limit_predict_batches: Protect so many batches in each process; the others are left out and not done.
        enable_progress_bar: Show how far the run is on the terminal.
        enable_model_summary: Left to Lightning.
        default_root_dir: Where Lightning's loggers and profilers write that are not told otherwise.
        deterministic: Refuse, or with ``warn`` name, computations that give other bits each time.
        benchmark: Let cuDNN try which of its algorithms is fastest.
        detect_anomaly: Look for NaN in gradients, which is slow.
        barebones: Leave out all of Lightning that costs time.
        sync_batchnorm: For training.
        max_epochs: For training.
        min_epochs: For training.
        max_steps: For training.
        min_steps: For training.
        max_time: For training.
        limit_train_batches: For training.
        limit_val_batches: For training.
        limit_test_batches: For training.
        overfit_batches: For training.
        val_check_interval: For training.
        check_val_every_n_epoch: For training.
        num_sanity_val_steps: For training.
        log_every_n_steps: For training.
        accumulate_grad_batches: For training.
        gradient_clip_val: For training.
        gradient_clip_algorithm: For training.
        enable_autolog_hparams: For training.
        model_registry: For training.
    """

    __pydantic_config__ = _STRICT
    accelerator: Accelerator = "auto"
    devices: Devices = "auto"
    strategy: Strategies = "auto"
    precision: Precision = "32-true"
    num_nodes: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    callbacks: Entries = field(default_factory=list)
    logger: Logger = False
    profiler: Profiler = None
    plugins: Entries = field(default_factory=list)
    fast_dev_run: bool | Count = False
    limit_predict_batches: Batches = None
    enable_progress_bar: bool = True
    enable_model_summary: bool = False
    default_root_dir: PathText | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: Duration = None
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    limit_test_batches: int | float | None = None
    overfit_batches: int | float = 0.0
    val_check_interval: int | float | Duration = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int | None = None
    log_every_n_steps: Count | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    enable_autolog_hparams: bool = True
    model_registry: str | None = None


def given_options(options: TrainerOptions) -> dict[str, Any]:
    """Return the hardware options, and of the others those that do not have their default."""
    values = {item.name: getattr(options, item.name) for item in fields(options)}
    return {name: value for name, value in values.items() if name in HARDWARE or value != _DEFAULTS[name]}


_DEFAULTS = {
    item.name: item.default_factory() if item.default_factory is not MISSING else item.default
    for item in fields(TrainerOptions)
}


def names_classes(options: TrainerOptions) -> bool:
    """Return whether some class must be imported to know whether the options are right."""
    return any(
        isinstance(value, dict | list) and value for name, value in given_options(options).items() if name != "devices"
    )


def owned_faults(trainer: object) -> list[str]:
    """Return a line for each argument of the key ``trainer`` that is not the recipe's to set.

    Args:
        trainer: Its value, unchecked.
    """
    given = trainer if isinstance(trainer, dict) else {}
    refused = "facecrypt sets this itself"
    return [f"trainer.{name}: {refused}: {why}. Leave it out." for name, why in OWNED.items() if name in given]
