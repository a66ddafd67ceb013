"""The values of a YAML file: read with overrides, and checked key by key. Shared by recipes and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facecrypt import registry
from facecrypt.errors import FacecryptError, RecipeError
from facecrypt.registry import Kind


def read_values(source: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a YAML file says, with overrides, unchecked but for being a mapping.

    Args:
        source: The file.
        overrides: ``key=value`` each.

    Raises:
        RecipeError: If the file or an override cannot be read.
    """
    try:
        config = OmegaConf.load(source)
    except OSError as error:
        raise RecipeError(source, [f"cannot be read: {error.strerror}. Give the path of a recipe file."]) from error
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise RecipeError(source, [f"is no YAML: {' '.join(str(error).split())}"]) from error
    if not OmegaConf.is_dict(config):
        raise RecipeError(source, ["is no mapping of keys to values. Start it with 'surrogates: [{name: sface}]'."])
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    return override_values({str(key): value for key, value in values.items()}, overrides, source)


_WORDS = {"faces": "choose"}
"""Keys whose value may be a word for a mapping of one key, so that an override of another key leaves the word alone."""


def override_values(values: Mapping[str, Any], overrides: Sequence[str], source: str) -> dict[str, Any]:
    """Return values with overrides and with every interpolation resolved, unchecked.

    Args:
        values: The keys of a file.
        overrides: ``key=value`` each; keys reach into lists.
        source: The file, for the error message.

    Raises:
        RecipeError: If an override cannot be read or an interpolation leads nowhere.
    """
    config = OmegaConf.create(dict(values))
    faults = []
    for override in overrides:
        key, equals, text = override.partition("=")
        try:
            if not equals or not key:
                raise ValueError("it has no '='")
            head, dot, _ = key.partition(".")
            if dot and head in _WORDS and isinstance(word := config.get(head), str):
                config[head] = {_WORDS[head]: word}
            OmegaConf.update(config, key, yaml.safe_load(text) if text else "", merge=False)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            faults.append(
                f"override {override!r}: {reason}. Write key=value, as in epsilon=8 or surrogates[0].weight=2."
            )
    if faults:
        raise RecipeError(source, faults)
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RecipeError(source, [" ".join(str(error).split())]) from error
    return {str(key): value for key, value in resolved.items()} if isinstance(resolved, dict) else {}


def structure_faults(error: pydantic.ValidationError, owner: type, parts: Mapping[str, type]) -> list[str]:
    """Return one line per fault that pydantic found: keys that do not exist or are missing, and values of wrong types.

    Args:
        error: What pydantic raised.
        owner: The dataclass of the whole file.
        parts: The dataclasses of those keys, at any depth, that hold mappings or lists of mappings.
    """
    faults = []
    for fault in error.errors():
        # Where a value may be one of two things, pydantic says in brackets which it took it for.
        *above, key = place = [part for part in fault["loc"] if not str(part).startswith("(")]
        path = _key_path(place)
        if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            keys = [each for each in above if isinstance(each, str)]
            known = [item.name.rstrip("_") for item in fields(parts.get(keys[-1], owner) if keys else owner)]
            faults.append(f"{path}: unknown key.{registry.suggest(str(key), known)} Known: {', '.join(known)}.")
        elif fault["type"] in ("missing", "missing_argument"):
            faults.append(f"{path}: missing, and it has no default.")
        else:
            faults.append(f"{path}: {registry.describe_fault(fault)}")
    return faults


def _key_path(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def component_faults(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[str]:
    """Return the faults of every named component: unknown names, and arguments that do not fit.

    Args:
        values: The keys of a file.
        kinds: The keys that name components, and the kind of each.
    """
    faults = []
    for key, kind in kinds.items():
        value = values.get(key)
        slots = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, slot in slots:
            path = key if index is None else f"{key}[{index}]"
            if not isinstance(slot, dict):
                continue  # Absent, or a fault of structure that is already reported.
            args = slot.get("args")
            faults += _named_faults(path, kind, slot.get("name"), args if isinstance(args, dict) else {})
            fallback = slot.get("fallback") if key == "surrogates" else None
            for number, name in enumerate(fallback if isinstance(fallback, list) else []):
                faults += _named_faults(f"{path}.fallback[{number}]", kind, name, {})
    return faults


def _named_faults(path: str, kind: Kind, name: object, args: dict[str, Any]) -> list[str]:
    if not isinstance(name, str):
        return []
    try:
        component = registry.get(kind, name)
        return [f"{path} ({name}): {fault}" for fault in component.bind(args)[1]]
    except FacecryptError as error:
        return [f"{path}: {error}"]
