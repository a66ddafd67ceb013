"""``facecrypt recipes``: the recipes that come with facecrypt."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.recipe.shipped import purpose, shipped_names
from facecrypt.system import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is one list."""


def run(arguments: argparse.Namespace) -> int:
    """List them, those that most people use first."""
    names = sorted(shipped_names(), key=lambda name: (name.count("/"), name != "quickstart", name))
    width = max(map(len, names))
    for name in names:
        console.say(f"{name:{width}}  {purpose(name)}")
    if "quiet" not in arguments:
        console.say("")
        console.say("facecrypt run NAME photo.jpg uses one; facecrypt cp NAME . copies one, to change it.")
    return DONE
