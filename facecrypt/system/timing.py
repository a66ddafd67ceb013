"""Where the time of a program goes: stages that are marked in the code and counted only while somebody measures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar

Path = tuple[str, ...]
"""Names of the stages that are inside each other, the outermost first."""


class Stopwatch:
    """Seconds by stage.

    Attributes:
        seconds: Time spent in each stage itself, without the stages inside it. The key ``()`` is what no stage covers,
            so that all values add up to the whole time.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        """Start with nothing measured.

        Args:
            wait: Called at both ends of every stage: lets a device finish what it was told to do.
        """
        self.seconds: defaultdict[Path, float] = defaultdict(float)
        self._wait = wait
        self._inside: Path = ()
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[Stopwatch]:
        """Measure what happens inside the block, in this thread and process."""
        token = _active.set(self)
        self._since = time.perf_counter()
        try:
            yield self
        finally:
            self._book()
            _active.reset(token)

    def enter(self, name: str) -> None:
        """Begin a stage inside the present one."""
        self._book()
        self._inside = (*self._inside, name)

    def leave(self) -> None:
        """End the present stage."""
        self._book()
        self._inside = self._inside[:-1]

    def _book(self) -> None:
        self._wait()
        now = time.perf_counter()
        self.seconds[self._inside] += now - self._since
        self._since = now


_active: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


class stage(ContextDecorator):  # noqa: N801  # Used as a decorator and in with statements, like contextlib's own.
    """Marks a function or a block as a stage; costs nothing to speak of where nobody measures.

    Args:
        name: What the stage is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        watch = _active.get()
        if watch:
            watch.enter(self._name)

    def __exit__(self, *_: object) -> None:
        watch = _active.get()
        if watch:
            watch.leave()
