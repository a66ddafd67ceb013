"""Files that appear whole or not at all, with the rights that the user's umask leaves, and temporary folders.

What a run leaves goes through `write_whole`. Temporary folders are this user's alone, and those of programs that were
killed are removed by the next one.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facecrypt.system import interrupts

_FOLDER = re.compile(r"facecrypt-[a-z]+-\d+-[0-9a-f]{16}")
_UNFINISHED = re.compile(r"\.facecrypt-[0-9a-f]{8}-(\d+)-[0-9a-f]{32}\.tmp")

_held: dict[Path, int] = {}
"""The temporary folders of this process, with what is open to tell others that it lives."""


def write_whole(path: Path, pieces: Iterable[bytes], prepare: Callable[[Path], None] | None = None) -> None:
    """Write a file at once or not at all, creating its folder; its rights are what the umask leaves.

    Args:
        path: The file to write or replace.
        pieces: Its content.
        prepare: Called with the finished temporary file just before it takes its place.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path.parent)
    try:
        with temporary.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        if prepare:
            prepare(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk, where the system can do that."""
    if os.name == "posix":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def unfinished(folder: Path) -> Path:
    """Return a new name for a file on its way, which is removed if this process is ended before it renames the file."""
    path = folder / f".facecrypt-{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
    interrupts.tell_unfinished(path)
    return path


def sweep(folders: Iterable[Path]) -> None:
    """Remove the unfinished files that a killed run of this machine left in some folders."""
    if os.name != "posix":  # elsewhere, nobody can ask for a process without disturbing it
        return
    for folder in set(folders):
        for path in folder.glob(f".facecrypt-{_machine()}-*.tmp"):
            found = _UNFINISHED.fullmatch(path.name)
            if found and not is_running(int(found[1])):
                path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Return whether a process of this machine lives; only POSIX can ask without disturbing it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def narrow(file: int) -> None:
    """Take from an open file the rights that a new one would not get.

    Args:
        file: Its descriptor.
    """
    if os.name != "posix":
        return
    mask = os.umask(0o077)  # It can only be read by setting it: what another thread makes meanwhile is too private.
    os.umask(mask)
    rights = stat.S_IMODE(os.fstat(file).st_mode)
    if rights & mask:
        with suppress(PermissionError):  # it is somebody else's
            os.fchmod(file, rights & ~mask)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Give a new folder that only this user can read; it goes at the end, or after a kill at the next start.

    Args:
        purpose: A word for its name, in lower case.
    """
    folder = make_temporary_folder(purpose)
    try:
        yield folder
    finally:
        remove_temporary_folder(folder)


def make_temporary_folder(purpose: str) -> Path:
    """Return a new folder that only this user can read, to be removed by `remove_temporary_folder`.

    Args:
        purpose: A word for its name, in lower case.
    """
    while True:
        folder = Path(tempfile.gettempdir()) / f"facecrypt-{purpose}-{os.getpid()}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        if (held := _hold(folder)) is not None:
            _held[folder] = held
            return folder


def remove_temporary_folder(folder: Path) -> None:
    """Remove a folder of `make_temporary_folder` with all that is in it."""
    held = _held.pop(folder, None)
    if held is not None and sys.platform == "win32":  # Nothing goes there while it is open.
        os.close(held)
    shutil.rmtree(folder, ignore_errors=True)
    if held is not None and sys.platform != "win32":
        os.close(held)


def sweep_temporary_folders() -> None:
    """Remove the temporary folders of this user's programs that were killed.

    Who made a folder holds a lock on it while it lives. The number of a process would not tell: another process, or one
    in another container, may have it.
    """
    with suppress(OSError), os.scandir(parent := tempfile.gettempdir()) as entries:
        rights = os.stat(parent).st_mode
        if rights & stat.S_IWOTH and not rights & stat.S_ISVTX and os.name == "posix":
            return  # Others could put something else in the place of a folder while it is being removed.
        for entry in entries:
            if _FOLDER.fullmatch(entry.name) and Path(entry.path) not in _held:
                with suppress(OSError):  # It is another user's, or another program removes it, too.
                    _remove_if_dead(Path(entry.path))


if sys.platform == "win32":
    _LOCK = ".facecrypt-lock"

    def _hold(folder: Path) -> int | None:
        """Keep others from taking a new folder for a dead one, until what is returned is closed; None if one did."""
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)

    def _remove_if_dead(folder: Path) -> None:
        (folder / _LOCK).unlink()  # An open file cannot be removed there.
        shutil.rmtree(folder, ignore_errors=True)

else:
    import fcntl

    def _hold(folder: Path) -> int | None:
        """Keep others from taking a new folder for a dead one, until what is returned is closed; None if one did."""
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        with suppress(OSError):  # Where a file system knows no locks, nobody takes a folder for a dead one.
            fcntl.flock(held, fcntl.LOCK_EX)  # Others have it for a moment at most, to see whether it is free.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder), os.fstat(held)):
                return held
        os.close(held)
        return None

    def _remove_if_dead(folder: Path) -> None:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(held).st_uid == os.geteuid():
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"
