"""What the commands print: one way to the terminal, for texts that others wrote, such as file names and plugins' words.

Whatever such a text holds, it changes nothing in a terminal: every character is seen, as itself or as an escape. Where
the terminal's encoding lacks a character, an escape stands for it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from facecrypt.errors import FacecryptError
from facecrypt.system.texts import is_shown, plain

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

_WIDE = 400
"""Width of a table that goes to a file or a pipe, where programs read it: wide enough for every cell."""


def prepare() -> None:
    """Make the standard streams take any text. One that is closed becomes one that nobody reads."""
    # Else the next file that is opened would be standard output, and a photo might get what is printed.
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # Open until the program ends.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object, *, error: bool = False) -> None:
    """Print a text on one line.

    Args:
        text: May hold what others wrote.
        error: Whether it goes to standard error.

    Raises:
        FacecryptError: If standard output cannot be written, and somebody is there to read it.
    """
    _print(f"{plain(text)}\n", error)


def write(text: str, *, error: bool = False) -> None:
    """Print a text of several lines as it is but for characters that are not seen.

    Args:
        text: Its line breaks are meant, so what others wrote is plain in it already.
        error: Whether it goes to standard error.

    Raises:
        FacecryptError: If standard output cannot be written, and somebody is there to read it.
    """
    _print("".join(each if each == "\n" or is_shown(each) else plain(each) for each in text), error)


def _print(text: str, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except OSError as fault:
        # Python tries to write the rest at its end, which would fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        # Whoever reads the output, such as head, may have seen enough; the command goes on.
        if error or isinstance(fault, BrokenPipeError):
            return
        raise FacecryptError(f"standard output: cannot be written ({fault.strerror}). Free some space.") from fault


def report(error: FacecryptError) -> None:
    """Print an error that the user can mend, a line for each of its faults."""
    first, *others = error.lines
    say(f"facecrypt: {first}", error=True)
    for line in others:
        say(f"  {line}", error=True)


def warn(message: object) -> None:
    """Print what the user should know and the program survives."""
    say(f"facecrypt: warning: {message}", error=True)


def takes_unicode() -> bool:
    """Return whether what is printed is UTF-8, so that a file that it goes to can be read as such."""
    encoding = getattr(sys.stdout, "encoding", None)  # A buffer in memory has none, and takes everything.
    return encoding is None or encoding.lower().replace("-", "") == "utf8"


def make_table(*headings: str) -> Table:
    """Return an empty table without borders."""
    from rich.table import Table

    return Table(*headings, box=None, pad_edge=False)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts, in which nothing is markup."""
    from rich.text import Text

    table.add_row(*(Text(plain(cell)) for cell in cells))


def print_table(table: Table, width: int = _WIDE) -> None:
    """Print a table.

    Args:
        table: The table.
        width: Columns that it may take, where it does not go to a terminal, which has its own number of them.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=terminal, width=None if terminal else width).print(table)
    _print(drawn.getvalue(), error=False)


def make_progress(*columns: ProgressColumn) -> Progress:
    """Return progress bars on standard error, shown on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


class Parser(argparse.ArgumentParser):
    """An argument parser that prints as the commands do."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and end the program."""
        super().error(plain(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        try:
            write(message, error=file is not sys.stdout)
        except FacecryptError as error:
            report(error)
            sys.exit(2)
