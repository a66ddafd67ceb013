"""Processes that tests start: they end with the test, and so does all that they start, whatever happens.

Every process carries a mark in its environment, which those that it starts inherit, whatever session they are moved to
and whoever adopts them. On Linux the mark finds them all; elsewhere, those of the same process group end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "FACECRYPT_TEST_PROCESS"
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


@contextmanager
def started(
    command: Sequence[str | os.PathLike[str]],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    before: Callable[[], object] = lambda: None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a session of its own; afterwards it and its descendants are gone.

    Args:
        command: The program and its arguments.
        environment: Its environment; by default that of this process.
        folder: Where it runs.
        before: Called in the new process before the program, as for limits on what it may do.
        stdin: As `subprocess.Popen` takes it, like `stdout` and `stderr`.
    """
    mark = f"{os.getpid()}-{uuid.uuid4().hex}"

    def prepare() -> None:
        begin()
        before()

    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**(os.environ if environment is None else environment), MARK: mark},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        end(process)
        for pid in marked(mark):
            _kill(pid)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # what was still to be written has no reader any more
                    stream.close()


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    before: Callable[[], object] = lambda: None,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Return what a process printed, once it has ended; with `check` it must end with status 0."""
    # Into files: a pipe would stay open for as long as anything that the process left behind.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with started(
            command,
            environment=environment,
            folder=folder,
            before=before,
            stdout=out.fileno(),
            stderr=err.fileno(),
        ) as process:
            status = process.wait()
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(command, status, out.read(), err.read())
    assert not check or status == 0, done.stderr
    return done


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process of `started` with its group, if it still runs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark; none where the system does not tell."""
    wanted = f"{MARK}={mark}".encode()
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if any(entry.startswith(wanted) for entry in _environment(folder).split(b"\0"))
    ]


def _environment(folder: Path) -> bytes:
    try:
        while not (found := (folder / "environ").read_bytes()):
            (
                folder / "exe"
            ).readlink()  # A program that has just begun has none for a moment; the kernel's have no file.
    except OSError:  # it has ended, or is somebody else's
        return b""
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def begin() -> None:
    """Let this new process end with the thread that started it, where the system knows that, and hear every signal.

    What a shell or nohup starts in the background ignores some, and so would all that it starts.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
