"""The command ``facecrypt``: `main` finds out which command is meant, and runs it.

Exit status: `facecrypt.cli.statuses`. The commands: `facecrypt.cli.table`.

What takes long to import is imported where it is used, so that the program soon knows what to do with a signal.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TextIO

from facecrypt.cli.statuses import DONE, INTERRUPTED, SOME_FAILED, WEAK, WRONG
from facecrypt.cli.table import COMMANDS, GLOBAL_FLAGS, make_parser
from facecrypt.errors import FacecryptError, FacecryptWarning
from facecrypt.system import console, interrupts

__all__ = ["DONE", "INTERRUPTED", "SOME_FAILED", "WEAK", "WRONG", "complete", "main", "parse"]

_LINE, _POINT = "COMP_LINE", "COMP_POINT"
"""Environment variables by which a shell says what was typed, and where the cursor is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: Arguments without the program's name; by default those of the process, which then is this program's own
            and splits in two (`facecrypt.system.interrupts`).
    """
    console.prepare()  # First, or what is opened here would take the place of a stream that is closed.
    if argv is None:
        interrupts.supervise()
    try:
        return _main(argv)
    except KeyboardInterrupt:  # where nobody waits for signals
        console.report(FacecryptError(f"stopped: {interrupts.ending()}"))
        return INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    if argv is None:
        import sys

        argv = sys.argv[1:]
    try:
        arguments = parse(argv)
        if "offline" in arguments:
            from facecrypt.surrogates import weights

            # In the environment, so that processes which a run starts are offline too.
            os.environ[weights.OFFLINE] = "1"
        command: Callable[[argparse.Namespace], int] = arguments.command
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.simplefilter("ignore" if "quiet" in arguments else "always", FacecryptWarning)
            # What a dependency deprecates is news for its callers' developers, who see it as an error in the tests.
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            return command(arguments)
    except FacecryptError as error:
        console.report(error)
        return WRONG


def complete() -> None:
    """Tell a shell what may stand where the cursor is, and end the program."""
    import argcomplete

    program, _, typed = os.environ[_LINE].partition(" ")
    words = [word for word in typed.split(" ") if word not in GLOBAL_FLAGS]
    first = words[0] if len(words) > 1 else ""
    if first and first not in COMMANDS and not first.startswith("-"):  # Photos alone mean the command run.
        os.environ[_LINE] = f"{program} run {typed}"
        os.environ[_POINT] = str(int(os.environ[_POINT]) + len("run "))
        first = "run"
    argcomplete.autocomplete(make_parser(first), always_complete_options="long")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says. One that begins with a photo, or with what only ``run`` takes, means ``run``.

    Args:
        argv: Arguments without the program's name.

    Raises:
        FacecryptError: If a recipe's name stands for nothing.
        SystemExit: If an argument is wrong, which is told then, or help is asked for.
    """
    words = list(argv)
    place = next((index for index, word in enumerate(words) if word not in GLOBAL_FLAGS), len(words))
    first = words[place] if place < len(words) else ""
    if first and first not in COMMANDS and first not in ("-h", "--help", "-V", "--version"):
        from facecrypt.cli.words import why_no_photo

        if (fault := why_no_photo(first)) and not first.startswith("-"):
            make_parser("").error(fault)
        words.insert(place, first := "run")
    parser = make_parser(first if first in COMMANDS else "")
    arguments, rest = parser.parse_known_args(words)
    taken = "words" if "words" in arguments else "overrides"
    if rest and (any(each.startswith("-") and each != "-" for each in rest) or taken not in arguments):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes no further words after an option any more.
        setattr(arguments, taken, [*getattr(arguments, taken), *rest])
    if taken == "overrides" and getattr(arguments, "recipe", None):
        from facecrypt.recipe.shipped import find_recipe

        arguments.recipe = find_recipe(arguments.recipe)
    return arguments


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # What others write over several lines is one here, as everything that commands say.
    ours = issubclass(category, FacecryptWarning)
    console.warn(message if ours else " ".join(str(message).split()))
