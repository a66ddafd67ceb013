"""``facecrypt bench``: how fast a recipe is, and where its time and memory go."""

from __future__ import annotations

import argparse
import json
import logging
import time
from typing import TYPE_CHECKING

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe
from facecrypt.system import console

if TYPE_CHECKING:
    from facecrypt.cli.bench import Figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("--faces", type=_count, metavar="N", default=4, help="measure on at least N faces (default: 4)")
    parser.add_argument("--literal", action="store_true", help="time the paper's Algorithm 1 to the letter beside it")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_recipe(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print a table."""
    started = time.process_time()
    began = time.perf_counter()
    from facecrypt.recipe.check import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    from facecrypt.cli import bench
    from facecrypt.system import limits

    started += time.perf_counter() - began
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with limits.applied(limits.resolve(recipe.limits)):
        figures = bench.measure(recipe, arguments.faces, arguments.literal, started)
    if arguments.json:
        from dataclasses import asdict

        console.write(json.dumps(asdict(figures), indent=2, allow_nan=False) + "\n")
    else:
        _tabulate(figures)
    return DONE


def _tabulate(figures: Figures) -> None:
    table = console.make_table("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for row in (*figures.stages, None):
        if row:
            table.add_row(row.stage, f"{row.seconds:.2f}", f"{row.share:.1%}")
        else:
            table.add_row("all", f"{figures.seconds:.2f}", f"{sum(row.share for row in figures.stages):.1%}")
    console.print_table(table)
    machine = f"{figures.device}, {figures.threads} of {figures.cores} cores"
    console.say("")
    console.say(f"{figures.faces} faces of {figures.photos} photos, {figures.steps} steps each, on {machine}:")
    console.say(
        f"{figures.seconds_per_face:.3g} s per face without start-up and build, {figures.faces_per_second:.3g} faces/s"
    )
    sizes = {"main memory": figures.peak_memory, "GPU memory": figures.gpu_peak_memory}
    console.say("at the peak " + ", ".join(f"{size / 2**20:.0f} MiB of {name}" for name, size in sizes.items() if size))
    each, what = figures.seconds_per_face_and_step, figures.arithmetic
    console.say(
        f"{each:.3g} s per face and step; one forward and backward pass has {what.forward_backward_gflop:.3g} GFLOP, "
        f"{what.floor_seconds:.3g} s at this machine's {what.machine_gflops:.3g} GFLOP/s: {what.ratio:.3g} times that"
    )
    console.say(f"a step does {what.done_gflop:.3g} GFLOP in all, at {what.used:.0%} of the machine's rate")
    if figures.literal:
        slower = figures.literal
        console.say(
            f"Algorithm 1 to the letter: {slower.seconds_per_step:.3g} s per step, {slower.ratio:.3g} times this recipe"
        )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)
