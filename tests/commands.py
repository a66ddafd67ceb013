"""Commands in a session of their own: everything that they start is seen, and ends with the test whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.processes import begin

ROOT = Path(__file__).parents[1]
RUN = (
    sys.executable, "-m", "facecrypt", "run", "--allow-weak", "tests/judged.yaml", "steps=1", "budget=null",
    "max_targets=2",
    "target_selector={name: nearest}", "held_out=[]", "receipt.transforms=[]", "batch_size=1",
    "trainer.accelerator=cpu",
)  # fmt: skip
"""A run that makes its masks in no time."""


def promise() -> float:
    """Seconds within which a command ends that is asked to: 5 where nothing else runs."""
    return 5.0 * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))


class Command:
    """A program and what it starts. Linux only: processes are found in /proc.

    Args:
        command: The program and its arguments.
        environment: Variables beside those of this process.
        before: Called in the new process before the program, as for its umask.
        closed: Standard streams that are closed when it starts.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] = lambda: None,
        closed: Sequence[int] = (),
    ) -> None:
        self._err, self._out = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115

        def prepare() -> None:
            begin()
            before()
            for stream in closed:
                os.close(stream)

        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | own | dict(environment or {}), stdout=self._out, stderr=self._err,
            stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare,
        )  # fmt: skip

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while living := self.living():
            for process in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.poll()
        self.process.wait()
        self._err.close()
        self._out.close()

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return _read(self._err)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return _read(self._out)

    def living(self) -> list[int]:
        """The processes of its session that are no zombies."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdecimal():
                try:
                    state, _, _, session = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()[:4]
                except OSError:  # It is gone.
                    continue
                if int(session) == self.process.pid and state not in (b"Z", b"X"):
                    found.append(int(name))
        return found

    def children(self, parent: int | None = None) -> list[int]:
        """The processes that one of them, by default the first, has started."""
        parent = parent or self.process.pid
        return [
            process for process in self.living()
            if int(Path("/proc", str(process), "stat").read_bytes().rpartition(b")")[2].split()[1]) == parent
        ]  # fmt: skip

    def until(self, condition: Callable[[], object], seconds: float = 240) -> None:
        """Wait for something to come true, or for the end of the program."""
        end = time.monotonic() + seconds
        while not condition() and self.process.poll() is None:
            assert time.monotonic() < end, f"it never came: {self.stderr}"
            time.sleep(0.005)

    def until_gone(self, seconds: float) -> None:
        """Wait for the last process of the session."""
        end = time.monotonic() + seconds
        while living := self.living():
            assert time.monotonic() < end, [Path("/proc", str(each), "cmdline").read_text() for each in living]
            self.process.poll()
            time.sleep(0.01)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the program, or to its whole group as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self, seconds: float = 240) -> int:
        """Return the exit status."""
        return self.process.wait(seconds)


def _read(file: tempfile._TemporaryFileWrapper[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="backslashreplace")
