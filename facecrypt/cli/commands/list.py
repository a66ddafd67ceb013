"""``facecrypt list``: the components and presets that recipes can name."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    from facecrypt.registry import KINDS

    kinds = (*KINDS, "preset")
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=kinds, help=f"only one kind: {', '.join(kinds)}")
    parser.add_argument("name", metavar="NAME", nargs="?", help="all about one component: its arguments, its source")


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    from facecrypt.cli import listing

    if arguments.name is None:
        listing.list_components(arguments.kind)
    else:
        listing.describe(arguments.kind, arguments.name)
    return DONE
