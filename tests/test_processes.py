from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.processes import run, started

# A process that moves to another session and outlives the one that started it.
CHILD = "import time; time.sleep(600)"
STRAY = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def wait_for_the_end(pid: int) -> None:
    while is_running(pid):
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the environment of other processes")
def test_what_a_process_started_ends_with_the_test() -> None:
    stray = int(run([sys.executable, "-c", STRAY], check=True).stdout)
    wait_for_the_end(stray)
    with started([sys.executable, "-c", STRAY + CHILD]) as process:
        assert process.stdout is not None
        stray = int(process.stdout.readline())
        assert is_running(stray)
    wait_for_the_end(stray)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_test_takes_its_processes_along() -> None:
    test = (
        "import sys\nfrom tests.processes import started\n"
        f"with started([sys.executable, '-c', {CHILD!r}]) as child:\n"
        "    print(child.pid, flush=True)\n    sys.stdin.read()\n"
    )
    with started([sys.executable, "-c", test], stdin=-1) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        wait_for_the_end(child)


def test_the_status_is_checked_where_asked() -> None:
    assert run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3
    with pytest.raises(AssertionError, match="said"):
        run([sys.executable, "-c", "raise SystemExit('said')"], check=True)
