"""Presets: named strengths, filled into recipes before these are checked. Their values stand in data/presets.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any

import yaml

from facecrypt.checking import suggest
from facecrypt.overrides import Override
from facecrypt.texts import brief

KEYS = (
    "preset",
    "budget",
    "epsilon",
    "norm",
    "ceiling",
    "steps",
    "step_size",
    "views",
    "views_mode",
    "views_per_step",
    "surrogates_per_step",
    "self_weight",
    "own_identity",
    "naturalness",
    "gradient",
    "optimizer",
    "region",
    "colour",
    "texture",
    "feather",
    "low_pass",
)
"""The keys of a recipe that presets and levels of strength may set: what a mask may cost, and how it is sought."""


@cache
def load_presets() -> dict[str, dict[str, Any]]:
    """Return the keys that each preset sets, by its name, from the lightest to the strongest. Not to be changed."""
    text = (resources.files("facecrypt") / "data" / "presets.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded


def describe(values: Mapping[str, Any]) -> str:
    """Return the keys of a preset or a level on one line, as YAML: ``budget: {ssim: 0.92}, epsilon: 8``."""
    text = yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=10_000)
    return text.strip().removeprefix("{").removesuffix("}")


def override_with_preset(overrides: Sequence[str | Override]) -> list[str | Override]:
    """Return overrides with the values of the preset that they name, which they replace in the file.

    A preset in a file fills in what the file leaves open; one that is named afterwards means to change the file. Other
    overrides still come last.

    Args:
        overrides: ``key=value`` each, or what is meant by it.
    """
    named = [name for each in overrides if (name := _named(each)) is not None]
    values = load_presets().get(named[-1], {}) if named else {}
    return [*(Override(key, deepcopy(value)) for key, value in values.items()), *overrides]


def _named(override: str | Override) -> str | None:
    """Return the preset that an override names; nothing where it names none, None where it is about something else."""
    if isinstance(override, str):
        key, _, text = override.partition("=")
        return text.strip("\"' ") if key.rstrip(":") == "preset" else None
    if override.key != "preset":
        return None
    return override.value if isinstance(override.value, str) else getattr(override.value, "text", "")


def fill(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of a recipe with those of its preset, and the presets of its levels of strength, filled in.

    Args:
        values: The keys of a recipe, unchecked; those that are there win.

    Returns:
        All keys, of which filling in again changes none, and one line per preset that does not exist.
    """
    filled, faults = _fill(values, "preset")
    strength = filled.get("strength")
    if isinstance(strength, dict):
        levels = strength.get("levels", list(load_presets()))
        if isinstance(levels, list):
            done = []
            for index, level in enumerate(levels):
                if isinstance(level, str):  # The name of a preset, for short.
                    level, found = _fill({"preset": level}, f"strength.levels[{index}]")
                elif isinstance(level, dict):
                    level, found = _fill(level, f"strength.levels[{index}].preset")
                else:
                    found = []
                done.append(level)
                faults += found
            filled["strength"] = strength | {"levels": done}
    return filled, faults


def _fill(values: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    name, presets = values.get("preset"), load_presets()
    if not isinstance(name, str):
        return dict(values), []
    if name not in presets:
        return dict(values), [
            f"{path}: {brief(name)} is no preset.{suggest(name, presets)} Known: {', '.join(presets)}."
        ]
    return {**presets[name], **values}, []
