"""``facecrypt check``: every fault of a recipe."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe as add_arguments
from facecrypt.system import console

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what judges will cost."""
    from facecrypt.benchmark.config import is_benchmark, load_benchmark
    from facecrypt.recipe.check import load_recipe
    from facecrypt.recipe.trainer_options import names_classes

    costs: list[str] = []
    if is_benchmark(arguments.recipe):
        load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    else:
        recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
        from facecrypt.cli.costs import describe_costs

        costs = describe_costs(recipe)
        if names_classes(recipe.trainer):
            from facecrypt.engine.class_paths import build_classes

            build_classes(recipe.trainer)
    console.say(f"{arguments.recipe}: no problems")
    for line in costs:
        console.say(line)
    return DONE
