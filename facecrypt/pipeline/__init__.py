"""One run from photos to report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facecrypt.pipeline.runner import (
        prepare,
        run,
        sample_photo,
    )

__all__ = ["prepare", "run", "sample_photo"]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is: the parts of a run need not load torch, which the run does."""
    if name in __all__:
        from facecrypt.pipeline import runner

        return getattr(runner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
