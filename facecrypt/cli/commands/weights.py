"""``facecrypt weights``: the recognisers' weights."""

from __future__ import annotations

import argparse

from facecrypt.cli.table import offline_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its own commands."""
    from facecrypt.cli.weights import add_commands

    add_commands(parser, offline_option())


def run(arguments: argparse.Namespace) -> int:
    """List them, where no command says what else to do."""
    from facecrypt.cli.weights import list_weights

    return list_weights(arguments)
