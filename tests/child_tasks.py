"""What the processes of `tests.test_child` do; it imports little, since each of them imports it."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from typing import Any

import numpy as np

from facecrypt.errors import PhotoError


def make_array(count: int) -> dict[str, Any]:
    return {"large": np.arange(count, dtype=np.uint16), "text": "x"}


def fail(kind: str) -> None:
    if kind == "photo":
        raise PhotoError("photo.png: is damaged.")
    if kind == "memory":
        raise MemoryError
    raise KeyError("a bug")


def burn(seconds: float) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        math.factorial(2000)
    return seconds


def burn_in_native_code() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")  # No line of Python runs meanwhile.


def take(size: int) -> int:
    return int(np.ones(size, np.uint8).sum())


def crash(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(status: int) -> None:
    os._exit(status)


def talk() -> str:
    os.write(1, b"to standard output\n")
    os.write(2, b"to standard error\n")
    print("printed")
    return sys.stdin.read()


def number() -> int:
    return os.getpid()


def modules() -> list[str]:
    return sorted(sys.modules)


def crash_on(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def pipes_that_signal() -> list[int]:
    """The inodes of the files for which Linux sends this process a signal when something happens to them."""
    import fcntl

    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ASYNC:
                found.append(os.fstat(int(name)).st_ino)
        except OSError:  # that of the listing itself
            pass
    return found
