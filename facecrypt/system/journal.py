"""Which photos of a run are protected, noted as it goes: so that whoever finds it stopped can tell, and is right."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from facecrypt.system.regular import digest_regular, open_regular


class Journal:
    """The notes of one run; all its processes add to one file.

    Args:
        path: The file, which begins anew.
        known: Photos that an earlier run seems to have protected: number, file, and the SHA-256 that this should have.
    """

    def __init__(self, path: Path, known: Iterable[tuple[int, Path, str]] = ()) -> None:
        self._file = _open(path)
        self._write([[number, str(file.absolute()), digest] for number, file, digest in known])

    def announce(self, number: int, file: Path, digest: str) -> None:
        """Note that a protected photo is about to appear.

        Args:
            number: Its place among the photos of the run.
            file: Where it goes.
            digest: SHA-256 of its content.
        """
        self._write([[number, str(file.absolute()), digest]])

    def settle(self, number: int, protected: bool) -> None:
        """Note whether a photo is protected.

        Args:
            number: Its place among the photos of the run.
            protected: Whether it is.
        """
        self._write([[number, protected]])

    def close(self) -> None:
        """End the notes."""
        os.close(self._file)

    def _write(self, notes: list[list[object]]) -> None:
        # Processes write at once, each line in one go. Without room on the disk, the photos themselves tell.
        with suppress(OSError):
            os.write(self._file, "".join(f"{json.dumps(note)}\n" for note in notes).encode())


def _open(path: Path) -> int:
    """Open an empty file to add to. What has its name and is no file of its own, such as a link, goes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with suppress(OSError):
        file = os.open(path, flags, 0o666)
        about = os.fstat(file)
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            os.ftruncate(file, 0)
            return file
        os.close(file)
    path.unlink(missing_ok=True)
    return os.open(path, flags | os.O_EXCL, 0o666)


def count_protected(path: Path, seconds: float) -> int:
    """Return how many photos of a run are protected.

    A photo that was about to appear counts if the file has the right content.

    Args:
        path: The journal; where it is gone, nothing is known, and nothing counts.
        seconds: How long to read photos; after that, it counts that there is a file.
    """
    begin = time.monotonic()
    states: dict[int, bool | tuple[str, str]] = {}
    with suppress(OSError), open_regular(path) as file:
        for line in file:
            with suppress(ValueError, TypeError):  # It was being written.
                number, *rest = json.loads(line)
                states[number] = rest[0] if len(rest) == 1 else (rest[0], rest[1])
    count = sum(state is True for state in states.values())
    for state in states.values():
        if isinstance(state, tuple):
            late = time.monotonic() - begin > seconds
            count += os.path.exists(state[0]) if late else _has(*state)
    return count


def _has(path: str, digest: str) -> bool:
    try:
        return digest_regular(path) == digest
    except OSError:
        return False
