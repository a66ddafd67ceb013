"""Processes that do one thing at a time, and end: on time, on memory, by a tasks.crash, with their parent."""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecrypt.errors import PhotoError
from facecrypt.system.child import Child, ChildError
from tests import child_tasks as tasks
from tests.processes import ROOT, started

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hold a process to a number of bytes")


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child("facecrypt.errors")
    yield child
    child.close()


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for_end(process: int) -> None:
    end = time.monotonic() + 60
    while is_alive(process):
        assert time.monotonic() < end, f"{process} lives on"
        time.sleep(0.01)


def test_results_come_back_and_the_process_stays(child: Child) -> None:
    assert child.call(math.sqrt, 4.0, seconds=9) == 2
    first = child.call(tasks.number, seconds=9)
    assert first == child.call(tasks.number, seconds=9) != os.getpid()
    made = child.call(tasks.make_array, 3_000_000, seconds=9, memory=1 << 30)
    assert np.array_equal(made["large"], np.arange(3_000_000, dtype=np.uint16))
    assert not made["large"].flags.writeable


@pytest.mark.parametrize("module", ["facecrypt.photos.decoding", "facecrypt.surrogates.onnx.child"])
def test_it_imports_neither_torch_nor_what_the_program_is(module: str) -> None:
    child = Child(module)
    assert not {"torch", "lightning", "pytest"} & set(child.call(tasks.modules, seconds=9))
    child.close()


def test_what_it_prints_is_seen_by_nobody(child: Child, capfd: pytest.CaptureFixture[str]) -> None:
    assert child.call(tasks.talk, seconds=9) == ""
    assert child.call(math.sqrt, 9.0, seconds=9) == 3
    assert capfd.readouterr() == ("", "")


def test_errors_come_back_and_bugs_are_shown(child: Child) -> None:
    with pytest.raises(PhotoError, match=r"^photo\.png: is damaged\.$"):
        child.call(tasks.fail, "photo", seconds=9)
    with pytest.raises(MemoryError):
        child.call(tasks.fail, "memory", seconds=9)
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        child.call(tasks.fail, "bug", seconds=9)
    assert child.call(math.sqrt, 4.0, seconds=9) == 2


def test_a_module_that_cannot_be_imported_is_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="could not start"):
        Child("facecrypt.nothing").call(tasks.number, seconds=9)
    assert "ModuleNotFoundError" in capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="Windows knows no limit of computing time")
@pytest.mark.parametrize("function", [pytest.param(tasks.burn, marks=pytest.mark.slow), tasks.burn_in_native_code])
def test_computing_for_too_long_ends_it(function: Any, child: Child) -> None:
    before = child.call(tasks.number, seconds=9)
    with pytest.raises(ChildError, match="takes more than 1 s") as caught:
        child.call(function, *([1000.0] if function is tasks.burn else []), seconds=1)
    assert caught.value.overtime
    assert not is_alive(before)
    assert child.call(math.sqrt, 4.0, seconds=9) == 2
    assert child.call(tasks.number, seconds=9) != before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows knows no limit of computing time")
def test_the_time_is_that_of_each_call(child: Child) -> None:
    for _ in range(4):
        assert child.call(tasks.burn, 0.4, seconds=0.9) == 0.4


def test_waiting_for_too_long_ends_it(child: Child) -> None:
    child.call(tasks.number, seconds=9)
    with pytest.raises(ChildError, match=r"takes more than 0.2 s") as caught:
        child.call(time.sleep, 600, seconds=0.2)
    assert caught.value.overtime
    assert child.call(math.sqrt, 4.0, seconds=9) == 2


@LINUX
def test_memory_is_bounded(child: Child) -> None:
    assert child.call(tasks.take, 100 << 20, seconds=9, memory=200 << 20) == 100 << 20
    with pytest.raises(MemoryError):
        child.call(tasks.take, 300 << 20, seconds=9, memory=200 << 20)
    assert child.call(tasks.take, 300 << 20, seconds=9) == 300 << 20


@pytest.mark.parametrize(
    ("function", "argument", "says"),
    [
        (tasks.crash, signal.SIGSEGV, "SIGSEGV"),
        (tasks.crash, signal.SIGKILL, "SIGKILL"),
        (tasks.leave, 3, "exit status 3"),
    ],
)
def test_a_crash_is_told_and_survived(function: Any, argument: int, says: str, child: Child) -> None:
    with pytest.raises(ChildError, match=f"crashed \\({says}\\)") as caught:
        child.call(function, argument, seconds=9)
    assert not caught.value.overtime
    assert child.call(math.sqrt, 4.0, seconds=9) == 2


def test_one_that_was_killed_between_two_calls_is_replaced(child: Child) -> None:
    process = child.call(tasks.number, seconds=9)
    os.kill(process, signal.SIGKILL)
    wait_for_end(process)
    assert child.call(math.sqrt, 4.0, seconds=9) == 2


def test_an_interrupted_call_leaves_no_answer_behind(child: Child) -> None:
    before = child.call(tasks.number, seconds=9)

    class InterruptError(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    old = signal.signal(signal.SIGUSR1, interrupt)
    try:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(InterruptError):
            child.call(tasks.burn, 60.0, seconds=90)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert not is_alive(before)
    assert child.call(math.sqrt, 4.0, seconds=9) == 2


def test_threads_wait_for_each_other(child: Child) -> None:
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda size=size: results.append(child.call(tasks.make_array, size, seconds=9)))
        for size in range(1000, 9000, 1000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(each["large"]) for each in results) == list(range(1000, 9000, 1000))
    assert all(np.array_equal(each["large"], np.arange(len(each["large"]))) for each in results)


def test_it_ends_with_its_object() -> None:
    child = Child("facecrypt.errors")
    process = child.call(tasks.number, seconds=9)
    del child
    gc.collect()
    wait_for_end(process)


PARENT = """
import os, sys, threading
from facecrypt.system.child import Child
from tests import child_tasks as tasks
child = Child("facecrypt.errors")
print(child.call(tasks.number, seconds=9), flush=True)
if sys.argv[1] == "busy":
    threading.Thread(target=lambda: print("start", flush=True)).start()
    child.call(tasks.burn_in_native_code, seconds=900)
elif sys.argv[1] == "forked":
    # A fork that lives longer, as the worker of a data loader may.
    if os.fork() == 0:
        print(child.call(tasks.number, seconds=9), flush=True)
        while True:
            child.call(tasks.burn, 1.0, seconds=9)
print("end", flush=True)
if sys.argv[1] != "exit":
    threading.Event().wait()
"""


@LINUX
@pytest.mark.parametrize("how", ["idle", "busy", "exit"])
def test_it_ends_with_its_parent(how: str) -> None:
    with started([sys.executable, "-c", PARENT, how], folder=ROOT) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.stdout.readline() in ("start\n", "end\n")
        assert is_alive(child) or how == "exit"
        if how != "exit":
            process.kill()
        process.wait()
        wait_for_end(child)


@LINUX
def test_a_forked_process_has_one_of_its_own_and_holds_none_open() -> None:
    with started([sys.executable, "-c", PARENT, "forked"], folder=ROOT) as process:
        assert process.stdout is not None
        lines = {process.stdout.readline() for _ in range(3)} - {"end\n"}
        first, second = sorted(map(int, lines))
        assert first != second
        parents = {
            int(Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[1]): each for each in (first, second)
        }
        own = parents.pop(process.pid)
        ((fork, other),) = parents.items()
        process.kill()
        process.wait()
        wait_for_end(own)
        assert is_alive(fork)
        assert is_alive(other)
        with suppress(ProcessLookupError):
            os.kill(fork, signal.SIGKILL)
        wait_for_end(other)


def test_the_terminal_does_not_stop_it(child: Child) -> None:
    process = child.call(tasks.number, seconds=9)
    assert os.getpgid(process) != os.getpgid(0)
    os.kill(process, signal.SIGINT)
    assert child.call(tasks.number, seconds=9) == process


def test_it_finds_the_package_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file of the working folder was imported')")
    monkeypatch.chdir(tmp_path)
    child = Child("facecrypt.photos.decoding")
    assert child.call(math.sqrt, 4.0, seconds=9) == 2
    child.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal when a pipe closes")
def test_no_question_sends_a_signal() -> None:
    """That for the last bytes of a question may come when the task is at work, and would end it."""
    child = Child("facecrypt.errors")
    signalling = child.call(tasks.pipes_that_signal, seconds=9)
    assert child._process is not None
    assert child._process.stdin is not None
    assert len(signalling) == 1
    assert os.fstat(child._process.stdin.fileno()).st_ino not in signalling
