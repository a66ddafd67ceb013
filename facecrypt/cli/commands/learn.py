"""``facecrypt learn``: one mask for all photos of a person."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import add_recipe
from facecrypt.cli.telling import HELPED
from facecrypt.system import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the mask, a new .safetensors file")
    add_recipe(parser)


def run(arguments: argparse.Namespace) -> int:
    """Learn, and say what came of it."""
    from facecrypt.recipe.check import load_recipe
    from facecrypt.system.naming import given_path

    recipe = load_recipe(arguments.recipe, arguments.overrides, allow_env=arguments.allow_env)
    output = given_path(arguments.output)
    from facecrypt.pipeline.learning import learn_person

    learned = learn_person(recipe, output)
    for path in learned.faceless:
        console.say(f"no face found, left out: {path}")
    console.say(f"written: {output}, a mask learned from {learned.photos} photos")
    for name, similarity in learned.similarities.items():
        console.say(f"  {name}*: similarity of these faces with themselves {similarity:+.3f} under it")
    console.say(HELPED)
    return DONE
