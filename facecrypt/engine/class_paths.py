"""Classes that a recipe names for Lightning: imported, checked and made, as LightningCLI does it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from lightning.pytorch import callbacks, loggers, plugins, profilers, strategies
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from facecrypt.checking import suggest
from facecrypt.errors import RecipeError
from facecrypt.recipe.trainer_options import TrainerOptions
from facecrypt.system.texts import brief, plain

_HOMES: Mapping[str, tuple[ModuleType, type]] = {
    "callbacks": (callbacks, Callback),
    "logger": (loggers, Logger),
    "profiler": (profilers, Profiler),
    "plugins": (plugins, object),
    "strategy": (strategies, Strategy),
}
"""Where a class of each key is sought that is named without points, and what it must be."""


def build_classes(options: TrainerOptions) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer that a recipe names classes for, made.

    Args:
        options: A checked part of a recipe.

    Raises:
        RecipeError: With a line for each class that is not there, is of another kind, or cannot be made as it is said.
    """
    made: dict[str, Any] = {}
    faults: list[str] = []
    for key in _HOMES:
        value = getattr(options, key)
        try:
            if isinstance(value, dict):
                made[key] = _make(value, f"trainer.{key}", key)
        except _WrongError as error:
            faults.append(str(error))
        if isinstance(value, list) and value:
            made[key] = []
            for index, entry in enumerate(value):
                try:
                    made[key].append(_make(entry, f"trainer.{key}[{index}]", key))
                except _WrongError as error:
                    faults.append(str(error))
    if faults:
        raise RecipeError("recipe", faults)
    return made


class _WrongError(Exception):
    pass


def _make(entry: Mapping[str, Any], path: str, key: str) -> Any:
    home, kind = _HOMES[key]
    found = _find(entry["class_path"], path, home)
    if not issubclass(found, kind):
        raise _WrongError(f"{path}: {brief(entry['class_path'])} is no {kind.__name__} of Lightning. Name one.")
    return _call(found, entry, path, home)


def _find(class_path: str, path: str, home: ModuleType) -> type:
    module, _, name = class_path.rpartition(".")
    try:
        place = importlib.import_module(module) if module else home
    except (Exception, SystemExit) as error:  # Whatever somebody's module does when it is imported.
        raise _WrongError(
            f"{path}: {brief(module)} cannot be imported ({type(error).__name__}: {plain(error)}). Install it, or "
            "mend class_path."
        ) from error
    found = getattr(place, name, None)
    if not inspect.isclass(found):
        known = [each for each in dir(place) if inspect.isclass(getattr(place, each)) and not each.startswith("_")]
        raise _WrongError(
            f"{path}: {place.__name__} has no class {brief(name)}.{suggest(name, known)} Mend class_path, as in "
            "lightning.pytorch.loggers.CSVLogger."
        )
    return found


def _call(found: type, entry: Mapping[str, Any], path: str, home: ModuleType) -> Any:
    arguments = dict(entry.get("init_args", {}))
    for name, value in arguments.items():
        if isinstance(value, dict) and "class_path" in value:
            place = f"{path}.init_args.{name}"
            arguments[name] = _call(_find(value["class_path"], place, home), value, place, home)
    try:
        inspect.signature(found).bind(**arguments)
        return found(**arguments)
    except (Exception, SystemExit) as error:
        raise _WrongError(
            f"{path}: {found.__name__} cannot be made with init_args {brief(arguments)}: {plain(error)}. It takes "
            f"{inspect.signature(found)}."
        ) from error
