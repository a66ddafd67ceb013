"""What a run leaves besides photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facecrypt.report.model import Report
    from facecrypt.report.writer import (
        PhotoReport,
        carry_over,
        make,
        read_earlier,
        write,
        write_text,
    )

__all__ = ["PhotoReport", "Report", "make", "read_earlier", "carry_over", "write", "write_text"]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is: a program that asks for nothing but the summary loads no torch."""
    if name in __all__:
        from facecrypt.report import writer

        return getattr(writer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
