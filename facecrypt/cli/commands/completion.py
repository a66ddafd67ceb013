"""``facecrypt completion``: what a shell needs to complete commands, by argcomplete."""

from __future__ import annotations

import argparse

from facecrypt.cli.statuses import DONE
from facecrypt.system import console

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode

    console.write(shellcode(["facecrypt"], shell=arguments.shell) + "\n")
    return DONE
