"""The values of a YAML file: read with overrides, and checked key by key. Shared by recipes and benchmarks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import pydantic

from facecrypt import registry
from facecrypt.checking import MOST_FAULTS, at_most, describe_fault, fault_place, suggest, validate
from facecrypt.errors import FacecryptError, RecipeError
from facecrypt.recipe.interpolation import resolve
from facecrypt.recipe.key_paths import join_key
from facecrypt.recipe.key_types import Schema, settle_overrides
from facecrypt.recipe.overrides import Override, apply
from facecrypt.recipe.shipped import shipped_names
from facecrypt.recipe.yaml_values import LONGEST, Node, Scalar, YamlError, parse
from facecrypt.registry import Kinds
from facecrypt.system.regular import read_regular
from facecrypt.system.texts import plain

_Checked = TypeVar("_Checked")


def read_file(source: str, role: str = "") -> dict[str, Node]:
    """Return what a YAML file says, without overrides, its interpolations unresolved.

    Args:
        source: The file.
        role: What the origin of each value begins with: ``recipe``, or ``base``; without it, values have none.

    Raises:
        RecipeError: If it cannot be read, is too large, or holds no mapping.
    """
    try:
        node = parse(read_text(source), f"{role} {source}" if role else "")
    except ValueError as error:
        raise RecipeError(source, [f"is no YAML: {error}."]) from error
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return {}
    if not isinstance(node, dict):
        raise RecipeError(source, ["is no mapping of keys to values. Start it with 'surrogates: [{name: sface}]'."])
    return node


def read_text(source: str) -> str:
    """Return the text of a YAML file.

    Raises:
        RecipeError: If it cannot be read, is too large, or is no text.
    """
    try:
        return _decode(read_regular(source, 4 * LONGEST))
    except OSError as error:
        meant = suggest(source, shipped_names())
        raise RecipeError(
            source, [f"cannot be read: {error.strerror}. Give the path of a recipe file.{meant}"]
        ) from error
    except YamlError as error:
        raise RecipeError(source, [f"is no YAML: {error}."]) from error


def _decode(content: bytes) -> str:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"line {line}: byte {content[error.start]:#04x} is no UTF-8. Save the file as UTF-8") from error


def read_values(
    source: str, schema: Schema, overrides: Sequence[str | Override] = (), *, allow_env: bool = False
) -> dict[str, Node]:
    """Return what a YAML file says, with overrides, unchecked but for being a mapping.

    Args:
        source: The file.
        schema: What it may say.
        overrides: ``key=value`` each, or what is meant by it.
        allow_env: Whether ``${oc.env:NAME}`` may read the environment.

    Raises:
        RecipeError: If the file or an override cannot be read, or an interpolation leads nowhere.
    """
    return override_values(read_file(source), schema, overrides, source, allow_env=allow_env)


def override_values(
    values: dict[str, Node],
    schema: Schema,
    overrides: Sequence[str | Override],
    source: str,
    *,
    allow_env: bool = False,
) -> dict[str, Node]:
    """Return values with overrides and with every interpolation resolved, unchecked.

    Args:
        values: The keys of a file, which change.
        schema: What it may say.
        overrides: ``key=value`` each, or what is meant by it; keys reach into lists.
        source: The file, for the error message.
        allow_env: Whether ``${oc.env:NAME}`` may read the environment.

    Raises:
        RecipeError: If an override cannot be read or an interpolation leads nowhere.
    """
    place_overrides(values, schema, overrides, source)
    values, faults = resolve(values, allow_env, schema.flat)
    if faults:
        raise RecipeError(source, at_most(faults))
    return values


def place_overrides(values: dict[str, Node], schema: Schema, overrides: Sequence[str | Override], source: str) -> None:
    """Put overrides into values, which change; interpolations stay as they are.

    Args:
        values: The keys of a file.
        schema: What it may say.
        overrides: ``key=value`` each, or what is meant by it; keys reach into lists.
        source: The file, for the error message.

    Raises:
        RecipeError: If an override cannot be read.
    """
    faults = apply(values, overrides) or settle_overrides(values, schema)
    if faults:
        raise RecipeError(source, at_most(faults))


def is_config(value: object) -> bool:
    """Return whether a value is a mapping or list of OmegaConf, which whoever made it has imported."""
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(value, (omegaconf.DictConfig, omegaconf.ListConfig))


def _unwrap(key: str, config: Any) -> object:
    """Return a mapping or list of OmegaConf as a plain one, with its interpolations as they were written."""
    from omegaconf import MissingMandatoryValue, OmegaConf

    try:
        return OmegaConf.to_container(config, resolve=False, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RecipeError("recipe", [f"{key}: {plain(error)}. Give the config a value in place of '???'."]) from None


def mapping_nodes(mapping: Mapping[str, Any], source: str) -> dict[str, Node]:
    """Return a mapping that Python code gave as the keys of a file, its interpolations unresolved.

    Raises:
        RecipeError: If it is no mapping, or has a value that no file can have.
    """
    given = _unwrap(source, mapping) if is_config(mapping) else mapping
    if not isinstance(given, Mapping):
        raise RecipeError(source, [f"{type(mapping).__name__} holds no keys. Give a mapping that does."])
    return {key: nodes_of(key, value) for key, value in given.items()}


def nodes_of(key: str, value: object, *, verbatim: bool = False) -> Node:
    """Return a value that Python code gave as the node of a file.

    Args:
        key: Its key path.
        value: Text, number, truth value, None, path, list or mapping, OmegaConf's included.
        verbatim: Whether its texts stand for themselves; else they may be interpolations, as those of OmegaConf are.

    Raises:
        RecipeError: If it is something else, or nested too deeply.
    """
    return _nodes_of(str(key), value, verbatim, 0)


def _nodes_of(key: str, value: object, verbatim: bool, depth: int) -> Node:
    if is_config(value):
        value, verbatim = _unwrap(key, value), False
    if isinstance(value, str):
        return str(value) if verbatim else Scalar(value, value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if depth < _DEEPEST and isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
        return {name: _nodes_of(f"{key}.{name}", each, verbatim, depth + 1) for name, each in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [_nodes_of(f"{key}[{index}]", each, verbatim, depth + 1) for index, each in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) else int(value)
    kind = type(value).__name__
    raise RecipeError("recipe", [f"{key}: {kind} is no value of a recipe. Give numbers, strings, lists or dicts."])


_DEEPEST = 40


def check_values(
    values: Mapping[str, Any], adapter: pydantic.TypeAdapter[_Checked], schema: Schema, source: str, faults: list[str]
) -> _Checked:
    """Return plain values as the dataclass of their file.

    Args:
        values: The keys of a file.
        adapter: Knows the dataclass.
        schema: What the file may say.
        source: The file, for the error message.
        faults: What is known to be wrong already.

    Raises:
        RecipeError: With every fault of structure, and those that are known.
    """
    try:
        return validate(adapter, values)
    except pydantic.ValidationError as error:
        told = {fault.partition(": ")[0] for fault in faults}
        found = [fault for fault in _structure_faults(error, schema) if fault.partition(": ")[0] not in told]
        raise RecipeError(source, at_most([*found, *faults])) from None
    except TypeError as error:
        raise RecipeError(source, at_most([str(error), *faults])) from None


def _structure_faults(error: pydantic.ValidationError, schema: Schema) -> list[str]:
    """Return one line per fault that pydantic found: keys that do not exist or are missing, values of wrong types."""
    faults = []
    for fault in error.errors(include_url=False)[: MOST_FAULTS + 1]:
        *above, key = place = fault_place(fault)
        path = join_key(place)
        if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            tag = fault["loc"][-2] if len(fault["loc"]) > 1 else ""  # Says which of two dataclasses is meant.
            keys = [each for each in above if isinstance(each, str)]
            keys += [tag] if isinstance(tag, str) and tag in schema.parts else []
            owner = schema.parts.get(keys[-1], schema.owner) if keys else schema.owner
            known = [item.name.rstrip("_") for item in fields(owner)]
            faults.append(f"{path}: unknown key.{suggest(str(key), known)} Known: {', '.join(known)}.")
        elif fault["type"] in ("missing", "missing_argument"):
            faults.append(f"{path}: missing, and it has no default.")
        else:
            faults.append(f"{path}: {describe_fault(fault)}")
    return faults


_MOST_SLOTS = 200
"""Components whose arguments are checked in one list: a recipe with more of them is refused for that."""


def component_faults(values: Mapping[str, Any], kinds: Mapping[str, Kinds]) -> list[str]:
    """Return the faults of every named component: unknown names, and arguments that do not fit.

    Args:
        values: The keys of a file, as plain values.
        kinds: The keys that name components, and the kind or kinds of each.
    """
    faults = []
    for key, kind in kinds.items():
        value = values.get(key)
        slots = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, slot in slots[:_MOST_SLOTS]:
            path = key if index is None else f"{key}[{index}]"
            if not isinstance(slot, dict):
                continue  # Absent, or a fault of structure that is already reported.
            args = slot.get("args")
            faults += _named_faults(path, kind, slot.get("name"), args if isinstance(args, dict) else {})
            fallback = slot.get("fallback") if key == "surrogates" else None
            for number, name in enumerate(fallback[:_MOST_SLOTS] if isinstance(fallback, list) else []):
                faults += _named_faults(f"{path}.fallback[{number}]", kind, name, {})
    return faults


def _named_faults(path: str, kind: Kinds, name: object, args: dict[str, Any]) -> list[str]:
    if not isinstance(name, str):
        return []
    try:
        component = registry.get(kind, name)
        return [f"{path} ({name}): {fault}" for fault in component.bind(args)[1]]
    except FacecryptError as error:
        return [f"{path}: {error}"]
