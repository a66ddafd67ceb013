"""Locks on folders that the operating system takes back from a process, however it ends."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import platform
import stat
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from facecrypt.errors import FacecryptError, FacecryptWarning
from facecrypt.system import interrupts

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import resource

NAME = ".facecrypt.lock"
"""Lies in a folder while a run works on it, and says which."""

_KEY = "facecrypt_lock"
_PATIENCE = 2.0  # seconds: whoever holds a lock has written its name into it by then
_HELD: set[int] = set()
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")


def is_first_process() -> bool:
    """Return whether this process is the first of its run, going by what Lightning and its launchers tell them."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock for as long as a block runs: a file, which says who holds it and is removed afterwards.

    Args:
        path: The file. It is never reached through a link, and none that is somebody's own is touched.
        wait: Whether to wait for another process that holds it.

    Raises:
        FacecryptError: If another process holds it, naming that one, or another file has that name.
        OSError: If the file cannot be made.
    """
    descriptor = _acquire(path, wait)
    interrupts.tell_lock(path)
    owner = os.getpid()
    _HELD.add(descriptor)
    try:
        yield
    finally:
        # A process that was forked meanwhile comes by here, too, if it ends by an exception.
        if os.getpid() == owner:
            _HELD.discard(descriptor)
            if sys.platform == "win32":  # which keeps files that are open
                os.close(descriptor)
                path.unlink(missing_ok=True)
            else:
                with contextlib.suppress(OSError):
                    if _is_at(descriptor, path):
                        path.unlink()
                with contextlib.suppress(OSError):  # for a child, too, that was forked between opening and noting it
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)


def remove_dead(path: Path) -> None:
    """Remove the file of a lock that a process left which was ended, unless another one has it by now.

    Args:
        path: The file.

    Raises:
        OSError: If it is not there, or not a file that this user may lock.
    """
    if sys.platform == "win32":
        path.unlink()  # which fails while somebody has it open
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):  # Who locks it from now on looks, too.
            path.unlink()
    finally:
        os.close(descriptor)


@contextmanager
def locked_folders(output: Path, others: Iterable[Path]) -> Iterator[dict[Path, str]]:
    """Keep other runs away from some folders for as long as a block runs.

    Args:
        output: The output folder of a run, which is made if need be, and removed again where nothing came into it.
        others: Folders of photos that the run writes to.

    Yields:
        Those of the others that cannot be written to, each with the reason.

    Raises:
        FacecryptError: If another run works on one of them, naming it, or the output folder cannot be written to.
    """
    closed: dict[Path, str] = {}
    folders = sorted({Path(os.path.realpath(folder)) for folder in others})
    _allow_files(len(folders))
    with ExitStack() as stack:
        try:
            _make(output, stack)
            stack.enter_context(lock(output / NAME))
        except OSError as error:
            raise FacecryptError(
                f"output: {output} cannot be written to ({error.strerror}). Name another folder, or mend its "
                "permissions."
            ) from error
        here = Path(os.path.realpath(output))
        for folder in folders:
            if folder == here:
                continue
            try:
                stack.enter_context(lock(folder / NAME))
            except OSError as error:
                closed[folder] = str(error.strerror)
        yield closed


def _make(folder: Path, stack: ExitStack) -> None:
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        interrupts.tell_folder(each)
        stack.callback(_remove_if_empty, each)
    if missing and not missing[0].is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _allow_files(count: int) -> None:
    """Let this process keep as many more files open, as far as the system allows it."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + 1024
        if count > 100 and soft != resource.RLIM_INFINITY and soft < wanted:
            allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _acquire(path: Path, wait: bool) -> int:
    while True:
        descriptor = _open(path)
        try:
            if not _seize(descriptor, path, wait):
                raise FacecryptError(
                    f"{path.parent}: another run is at work here: {_holder(descriptor)}. Wait until it is over, or "
                    "name another folder."
                )
            if _is_at(descriptor, path):  # else its last holder removed it between opening and locking
                _check_own(descriptor, path)
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    strange = FacecryptError(f"{path}: is no lock of facecrypt. Move it away; facecrypt needs this name.")
    if path.is_symlink():  # where the flag below does not exist
        raise strange
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise strange from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise strange
    return descriptor


def _seize(descriptor: int, path: Path, wait: bool) -> bool:
    """Lock an open file; return whether that worked."""
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which others read
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
            time.sleep(0.05)
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            if not wait:
                words = f"{path.parent}: its file system has no locks ({error.strerror}). Let no second run work on it."
                warnings.warn(words, FacecryptWarning, stacklevel=2)
        _let_go_in_children()
        return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _check_own(descriptor: int, path: Path) -> None:
    text = _read(descriptor)
    if text.strip(b"\0") and _KEY.encode() not in text:
        raise FacecryptError(f"{path}: is no lock of facecrypt. Move it away; facecrypt needs this name.")


def _sign(descriptor: int) -> None:
    note = {
        _KEY: 1,
        "pid": os.getpid(),
        "host": platform.node(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and does not say by whom
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(note).encode())


def _holder(descriptor: int) -> str:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            note: Any = json.loads(_read(descriptor))
            return f"process {int(note['pid'])} on {note['host']}, since {note['started']}"
        except (OSError, ValueError, TypeError, KeyError):
            if time.monotonic() > until:
                return "an unknown process"
            time.sleep(0.05)


def _read(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 4096)


@functools.cache
def _let_go_in_children() -> None:
    """Let processes that are forked from now on, such as those that read photos, not keep the locks of a dead one."""
    os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for descriptor in _HELD:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _HELD.clear()
