"""``facecrypt new``: the files of a plugin to begin with."""

from __future__ import annotations

import argparse
from pathlib import Path

from facecrypt.cli.statuses import DONE
from facecrypt.system import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    from facecrypt.cli.template import template_kinds

    things = parser.add_subparsers(metavar="WHAT", required=True)
    plugin = things.add_parser("plugin", help="a package with one component, its test and its entry point")
    plugin.add_argument("name", metavar="NAME", help="the name of the package, such as facecrypt-mine")
    plugin.add_argument("--folder", metavar="FOLDER", default=".", help="where its folder is made (default: here)")
    plugin.add_argument(
        "--kind",
        metavar="KIND",
        default="naturalness",
        choices=template_kinds(),
        help=f"of its component (default: naturalness): {', '.join(template_kinds())}",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write them."""
    from facecrypt.cli.template import write_plugin

    folder = write_plugin(arguments.name, Path(arguments.folder), arguments.kind)
    console.say(f"written: {folder}. Next: pip install -e {folder}, and python -m pytest {folder}/tests")
    return DONE
