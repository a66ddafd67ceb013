"""``facecrypt help``: what ``--help`` says."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.cli.table import COMMANDS, make_parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("topic", metavar="COMMAND", nargs="?", choices=COMMANDS, help="one of them; all by default")


def run(arguments: argparse.Namespace) -> int:
    """Print the help of a command, or of the program."""
    if arguments.topic is None:
        make_parser("").print_help()
    else:
        make_parser(arguments.topic).parse_args([arguments.topic, "--help"])
    return DONE
