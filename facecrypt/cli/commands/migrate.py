"""``facecrypt migrate``: a recipe of flat keys, written in groups."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.errors import FacecryptError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    parser.add_argument("--in-place", action="store_true", help="replace the file, which stays as FILE.bak")


def run(arguments: argparse.Namespace) -> int:
    """Print it, or write it in its place."""
    from facecrypt.benchmark.config import is_benchmark
    from facecrypt.cli.migrate import migrate_file

    if is_benchmark(arguments.recipe):
        raise FacecryptError(
            f"migrate: {arguments.recipe} is a benchmark, whose keys have no groups. Nothing is to do."
        )
    migrate_file(arguments.recipe, arguments.in_place)
    return DONE
