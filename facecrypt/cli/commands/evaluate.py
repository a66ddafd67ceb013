"""``facecrypt evaluate``: methods compared by identification on labelled photos."""

from __future__ import annotations

import argparse
import logging
import shlex

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe as add_arguments
from facecrypt.system import console, interrupts

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print the table."""
    from facecrypt.benchmark.config import load_benchmark
    from facecrypt.system.naming import expand_home

    benchmark, rows = load_benchmark(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    interrupts.tell_ending(f"what was made so far is kept in {benchmark.output}; the same command goes on from there")
    from facecrypt.benchmark import identification

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    allowed = ["--allow-env"] if arguments.allow_env else []
    command = shlex.join(["facecrypt", "evaluate", *allowed, arguments.recipe, *arguments.overrides])
    identification.evaluate(benchmark, rows, command)
    output = expand_home(benchmark.output)
    console.write((output / "table.md").read_text(encoding="utf-8"))
    console.say(f"tables, plots and numbers: {output}")
    return DONE
