"""``facecrypt show``: a recipe with every default."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe
from facecrypt.errors import FacecryptError
from facecrypt.system import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("--grouped", action="store_true", help="write the keys in their groups")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--resolved", action="store_true", help="every value as a run would take it (the default)")
    ways.add_argument(
        "--origin", action="store_true", help="say of each value where it comes from: default, preset, file, override"
    )
    add_recipe(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from facecrypt.benchmark.config import dump_benchmark, is_benchmark, load_benchmark
    from facecrypt.recipe.check import show_recipe

    if is_benchmark(arguments.recipe):
        if arguments.origin:
            raise FacecryptError(
                f"show: {arguments.recipe} is a benchmark, and --origin tells of recipes. Leave it out."
            )
        benchmark, _ = load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
        console.write(dump_benchmark(benchmark, ascii_only=not console.takes_unicode()))
    else:
        shown = show_recipe(
            arguments.recipe,
            arguments.overrides,
            origin=arguments.origin,
            grouped=arguments.grouped,
            allow_env=arguments.allow_env,
            ascii_only=not console.takes_unicode(),
        )
        console.write(shown)
    return DONE
