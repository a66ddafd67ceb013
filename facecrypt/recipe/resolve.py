"""The recipe of a program that has pictures, not files: whatever it is given, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, check_recipe, override_recipe, recipe_values
from facecrypt.recipe.compose import compose, read_composed
from facecrypt.recipe.config_values import mapping_nodes, nodes_of
from facecrypt.recipe.groups import flatten_overrides
from facecrypt.recipe.overrides import Override
from facecrypt.recipe.shipped import find_recipe, shipped_recipe

AnyRecipe = str | os.PathLike[str] | Recipe | Mapping[str, Any] | None
"""A recipe: the path of a YAML file, a checked one, a mapping of its keys, OmegaConf's too; None is `quickstart`."""

_OWNED = ("photos", "output", "in_place", "backup", "name", "overwrite")
"""Keys of a recipe about files, which a call has none of."""


def resolve_recipe(
    recipe: AnyRecipe = None,
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return a checked recipe that says nothing about files and uses one device of this process.

    Args:
        recipe: As `protect` takes it.
        overrides: Keys with other values.

    Raises:
        RecipeError: With every fault.
    """
    source, overrides = "recipe", overrides or {}
    if recipe is None or isinstance(recipe, str | os.PathLike):
        source = find_recipe(os.fsdecode(quickstart() if recipe is None else recipe))
        values = read_composed(source).values
    elif isinstance(recipe, Recipe):
        values = recipe_values(recipe)
    else:
        values = compose(mapping_nodes(recipe, source), source, Path()).values
    given = [Override(str(key), nodes_of(key, value, verbatim=True)) for key, value in overrides.items()]
    keys = [each.key for each in flatten_overrides(given, values) if isinstance(each, Override)]
    named = [key for key in _OWNED if key in keys]
    if named:
        words = "is for files. Give protect() the pictures, and save its results."
        raise RecipeError(source, [f"{key}: {words}" for key in named])
    values = override_recipe(values, given, source)
    checked = check_recipe({key: value for key, value in values.items() if key not in _OWNED}, source)
    trainer = checked.trainer
    single = trainer.devices in ("auto", 1, "1") or (isinstance(trainer.devices, list) and len(trainer.devices) == 1)
    if not single or trainer.num_nodes > 1:
        raise RecipeError(
            source,
            ["trainer: protect() works in this process, on one device. Set devices: 1, or call 'facecrypt run'."],
        )
    # Left to itself, Lightning would start this program again for every GPU.
    return replace(checked, trainer=replace(trainer, devices=1)) if trainer.devices == "auto" else checked


def quickstart() -> Path:
    """Return the recipe of those who name none."""
    return shipped_recipe("quickstart")
