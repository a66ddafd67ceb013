"""Recipes: YAML files and overrides, read and checked in full before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facecrypt.recipe.check import (
        Recipe,
        check_recipe,
        dump_recipe,
        load_recipe,
    )

__all__ = ["Recipe", "load_recipe", "check_recipe", "dump_recipe"]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is: the registry needs a part of this folder, and recipes need the registry."""
    if name in __all__:
        from facecrypt.recipe import check

        return getattr(check, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
