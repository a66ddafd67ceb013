"""Faces that a judge keeps at a vendor's while a run lasts, and that none of them stays there.

A collection is deleted at the end of the run that made it. A command that is stopped is killed (see
`facecrypt.system.interrupts`), and so cannot do that. Therefore a small process watches over each collection: it waits,
in a session of its own, until the process that made the collection is gone, and deletes what was not deleted.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from facecrypt import registry
from facecrypt.errors import FacecryptError, JudgeError
from facecrypt.judges.service import RefusedError, Service

OPENED: Final = 2
"""Requests that a collection takes but for its faces: one makes it, one deletes it."""

_GONE: Final = "gone\n"
_BOOT: Final = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
told = sys.stdin.readline()
if told and sys.stdin.readline() != {_GONE!r}:
    import site
    site.main()
    sys.path[:] = sys.argv[1:]
    from facecrypt.judges.keeping import delete
    delete(told)
"""
"""What the watching process does. Mostly that is nothing, so nothing is imported for it (``-S``)."""
_MOMENT: Final = 5.0
"""Seconds in which a watching process ends that has nothing to do."""


class Forgets(Protocol):
    """A judge that can delete a collection which another process made."""

    def forget(self, collection: str) -> None:
        """Delete a collection; one that is not there is no error.

        Raises:
            JudgeError: If it may still be there.
        """
        ...


class Kept:
    """A collection of faces at a vendor's, made when it is first needed.

    Attributes:
        name: What the vendor calls it; empty while there is none.

    Args:
        service: Whom it is kept at; one request of its budget is reserved for the end.
        judge: Registered name of the judge.
        args: Its arguments, as far as it needs them to delete a collection. No key is among them.
        create: Makes a collection of a name.
        delete: As `Forgets.forget`.
    """

    def __init__(
        self,
        service: Service,
        judge: str,
        args: Mapping[str, Any],
        create: Callable[[str], None],
        delete: Callable[[str], None],
    ) -> None:
        self.name = ""
        self._service, self._judge, self._args = service, judge, dict(args)
        self._create, self._delete = create, delete
        self._watcher: subprocess.Popen[str] | None = None
        self._finalizer: weakref.finalize[[subprocess.Popen[str]], Kept] | None = None

    def open(self) -> str:
        """Return the name of the collection.

        Raises:
            JudgeError: If it cannot be made.
        """
        if self.name:
            return self.name
        name, before = f"facecrypt-{secrets.token_hex(8)}", self._service.spending.requests
        self._watch(name)
        self.name = name
        self._service.reserve(1)
        try:
            self._create(name)
        except FacecryptError as error:
            # If nothing was asked or it was refused, it was not made. After any other error, it may have been.
            if isinstance(error, RefusedError) or self._service.spending.requests == before:
                self._dismiss()
            raise
        return name

    def close(self) -> None:
        """Delete the collection, if there is one.

        Raises:
            JudgeError: If it may still be there.
        """
        if not self.name:
            return
        try:
            self._delete(self.name)
        except JudgeError as error:
            raise JudgeError(
                f"the collection {self.name}, in which faces of this run are, could not be deleted: {error}. Once more "
                "is tried when this program ends; see in the account whether it is gone"
            ) from error
        self._dismiss()

    def _watch(self, name: str) -> None:
        path = [os.path.abspath(folder) for folder in sys.path]
        try:
            watcher = subprocess.Popen(
                [sys.executable, "-P", "-S", "-c", _BOOT, *path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=os.path.abspath(os.sep),  # so that it holds no folder that somebody wants to remove
                start_new_session=True,
            )
        except OSError as error:
            raise JudgeError(
                f"no process can be started that would delete what {self._judge} keeps ({error}), so that it is given "
                "nothing. Run again, with more memory"
            ) from error
        self._watcher = watcher
        self._finalizer = weakref.finalize(self, _leave, watcher)
        _tell(watcher, f"{json.dumps([self._judge, self._args, name])}\n")

    def _dismiss(self) -> None:
        """Let the watching process go, as there is nothing left to watch over."""
        assert self._watcher is not None
        assert self._finalizer is not None
        self._finalizer.detach()
        _tell(self._watcher, _GONE)
        _close(self._watcher)
        try:
            self._watcher.wait(_MOMENT)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            self._watcher.wait()
        self.name, self._watcher, self._finalizer = "", None, None
        self._service.reserve(0)


def _tell(watcher: subprocess.Popen[str], line: str) -> None:
    """Tell a watching process something, if it still lives."""
    assert watcher.stdin is not None
    with suppress(OSError):
        watcher.stdin.write(line)
        watcher.stdin.flush()


def _close(watcher: subprocess.Popen[str]) -> None:
    assert watcher.stdin is not None
    with suppress(OSError):
        watcher.stdin.close()


def _leave(watcher: subprocess.Popen[str]) -> None:
    """Let a watching process do its work, which begins when it hears nothing more."""
    _close(watcher)
    watcher.returncode = 0  # Nobody waits for it.


def delete(told: str) -> None:
    """Delete a collection of which the process that made it has told.

    Args:
        told: The judge, its arguments and the collection, as JSON.
    """
    name, args, collection = json.loads(told)
    judge: Forgets = registry.build("judge", name, args)
    judge.forget(collection)
