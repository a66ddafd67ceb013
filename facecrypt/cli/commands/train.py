"""``facecrypt train``: a network that makes masks in one pass."""

from __future__ import annotations

import argparse
import logging

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe
from facecrypt.cli.telling import HELPED
from facecrypt.system import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the network, a new .safetensors file")
    add_recipe(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and say what came of it."""
    from facecrypt.recipe.check import load_recipe
    from facecrypt.system.naming import given_path

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    output = given_path(arguments.output)
    from facecrypt.pipeline.training import train_generator

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trained = train_generator(recipe, output)
    console.say(f"written: {output}, a network trained on {trained.faces} faces")
    console.say(f"  similarity of faces that it was not trained on with themselves*: {trained.similarity:+.3f}")
    console.say(HELPED)
    return DONE
