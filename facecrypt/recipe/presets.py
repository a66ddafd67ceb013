"""Presets: named strengths, filled into recipes before these are checked. Their values stand in data/presets.yaml."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any

import yaml

from facecrypt.checking import suggest
from facecrypt.recipe.merging import merge
from facecrypt.recipe.overrides import Override
from facecrypt.system.texts import brief

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
    "target_weight",
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


def name_level(level: Mapping[str, Any]) -> str:
    """Return what a report calls a level: the name of its preset, or the keys that it sets."""
    return str(level.get("preset") or describe(level))


def settle_strength(overrides: Sequence[str | Override], file: Mapping[str, Any]) -> list[str | Override]:
    """Return overrides with all that follows from those which say how strong masks are to be.

    A preset in a file fills in what the file leaves open; one that is named afterwards means to change the file, so its
    values replace those of the file. So does `protect`, which tries all presets. Of `preset`, `protect` and `strength`,
    the last one that is given takes away what contradicts it. Other overrides still come last, and hold at every level.

    Args:
        overrides: ``key=value`` each, or what is meant by it.
        file: The keys of the file, unchecked.
    """
    said = [_said(each) for each in overrides]
    latest = dict(said)
    given = [(key, latest[key]) for key, _ in said if key in _CONTRADICTED and latest[key] not in _NOTHING]
    last, name = given[-1] if given else ("", "")
    presets = load_presets()
    made: dict[str, Any] = {}
    if last == "preset":
        made = {**presets.get(name, {}), "protect": None, "levels": None}
    elif last == "protect" and not _holds(file, "protect"):
        levels = [{"preset": each, **values} for each, values in presets.items()]
        made = {**list(presets.values())[-1], "preset": None, "strength": None, "levels": levels}
    elif last == "strength":
        made = {"protect": None, "levels": None}
    changed = {key for key, _ in said} & set(KEYS) - {"preset"}
    tried = made.get("levels", file.get("levels"))
    if changed and isinstance(tried, list):
        made["levels"] = [_without(level, changed) for level in tried]
    filled = {} if latest.keys() & _CONTRADICTED.keys() else _filled_in(file)
    # What reaches into a value of the file's preset, as views[0].args.degrees does, changes that value.
    inside = [key for override, (key, _) in zip(overrides, said, strict=True) if _key(override) != key]
    made |= {key: filled[key] for key in inside if key in filled and key not in file and key not in made}
    # In a file without the key there is nothing to take away.
    implied = [Override(key, deepcopy(value)) for key, value in made.items() if value is not None or key in file]
    contradicted = _CONTRADICTED.get(last, ())
    return [*implied, *(each for each, (key, _) in zip(overrides, said, strict=True) if key not in contradicted)]


def give_way(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a recipe's base without those that give way to what the recipe says of strength.

    As on the command line, a preset or a protection that is named later replaces all that presets set, and takes away
    what contradicts it.

    Args:
        base: The keys of the base, unchecked.
        own: Those of the recipe.
    """
    named = [key for key in own if key in _CONTRADICTED and _holds(own, key)]
    if not named:
        return dict(base)
    gone, presets = set(_CONTRADICTED[named[-1]]), load_presets()
    if named[-1] == "preset":
        gone |= {"levels", *presets.get(str(getattr(own["preset"], "value", own["preset"])), ())}
    elif named[-1] == "strength":
        gone |= {"levels"}
    elif not _holds(base, "protect"):
        gone |= {key for values in presets.values() for key in values}
    return {key: value for key, value in base.items() if key not in gone}


_CONTRADICTED: Mapping[str, Sequence[str]] = {
    "preset": ("protect",),
    "protect": ("preset", "strength"),
    "strength": ("protect",),
}
"""What goes where one of these is given afterwards."""

_NOTHING = ("", "null", "~")


def _said(override: str | Override) -> tuple[str, str]:
    """Return the outermost key of an override, and what it says, as far as that is a plain value."""
    key = re.split(r"[.\[]", _key(override))[0]
    if isinstance(override, str):
        return key, override.partition("=")[2].strip("\"' ")
    text: object = getattr(override.value, "text", override.value)
    return key, "null" if text is None else str(text)


def _key(override: str | Override) -> str:
    return override.partition("=")[0].removesuffix(":") if isinstance(override, str) else override.key


def _filled_in(file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that `fill` gives a recipe of which these are the keys."""
    presets = load_presets()
    if _holds(file, "protect"):
        return list(presets.values())[-1]
    return presets.get(str(getattr(file.get("preset"), "value", file.get("preset"))), {})


def _holds(file: Mapping[str, Any], key: str) -> bool:
    value = file.get(key)
    return getattr(value, "value", value) is not None


def _without(level: Any, keys: Collection[str]) -> Any:
    return {key: value for key, value in level.items() if key not in keys} if isinstance(level, dict) else level


def fill(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of a recipe with those of its preset, and the presets of all levels that are tried, filled in.

    Args:
        values: The keys of a recipe, unchecked; those that are there win.

    Returns:
        All keys, of which filling in again changes none, and one line per preset that does not exist.
    """
    filled, faults = _fill(values, "preset")
    presets = load_presets()
    if filled.get("protect") is not None or filled.get("levels") is not None:
        own = {key: value for key, value in values.items() if key in KEYS}
        tried = filled.get("levels")
        filled["levels"], found = _fill_levels(list(presets) if tried is None else tried, "levels", own)
        faults += found
        if tried is None:
            filled = _over(list(presets.values())[-1], filled)
    strength = filled.get("strength")
    if isinstance(strength, dict):
        levels, found = _fill_levels(strength.get("levels", list(presets)), "strength.levels", {})
        faults += found
        filled["strength"] = strength | {"levels": levels}
    return filled, faults


def _fill_levels(levels: Any, path: str, own: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return levels with their presets filled in; what the recipe says itself wins over these."""
    if not isinstance(levels, list):
        return levels, []
    done, faults = [], []
    for index, level in enumerate(levels):
        found: list[str] = []
        if isinstance(level, str):  # The name of a preset, for short.
            level, found = _fill({"preset": level}, f"{path}[{index}]", own)
        elif isinstance(level, dict):
            level, found = _fill(level, f"{path}[{index}].preset", own)
        done.append(level)
        faults += found
    return done, faults


def _fill(
    values: Mapping[str, Any], path: str, own: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    name, presets = values.get("preset"), load_presets()
    if not isinstance(name, str):
        return dict(values), []
    if name not in presets:
        return dict(values), [
            f"{path}: {brief(name)} is no preset.{suggest(name, presets)} Known: {', '.join(presets)}."
        ]
    kept = {key: value for key, value in (own or {}).items() if key in presets[name]}
    return _over(_over(presets[name], kept), values), []


def _over(preset: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values laid over those of a preset, as over a base, but for what a preset promises as a whole."""
    return {**merge(preset, values), **{key: values[key] for key in WHOLE if key in values}}


WHOLE = ("budget",)
"""Keys that a recipe gives as a whole, or not at all: a budget of its own promises what it names, and no more."""
