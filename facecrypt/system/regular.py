"""Read files that somebody else named: regular ones alone, so that no pipe, device or socket makes a program wait."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from facecrypt.system.limits import show_size

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "it is a folder"),
    (stat.S_ISFIFO, errno.EINVAL, "it is a named pipe, not a regular file"),
    (stat.S_ISSOCK, errno.EINVAL, "it is a socket, not a regular file"),
    (stat.S_ISCHR, errno.EINVAL, "it is a device, not a regular file"),
    (stat.S_ISBLK, errno.EINVAL, "it is a device, not a regular file"),
)
_CHUNK = 1 << 20
MOST_TEXT = 256 << 20
"""Bytes of a text that this program wrote: the report of 40,000 photos, the manifest of 800,000."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Return a regular file, open for reading.

    Args:
        path: The file, or a link to one.

    Raises:
        OSError: If there is none, it cannot be read, or it is no regular file; `strerror` says what it is instead.
    """
    try:
        # Asked first, because opening alone already does something to some devices.
        _require_regular(os.stat(path).st_mode, path)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except ValueError as error:  # a NUL character in the name
        raise FileNotFoundError(errno.ENOENT, "it has no possible name", os.fspath(path)) from error
    try:
        _require_regular(os.fstat(handle).st_mode, path)  # it may have become another one since
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file, or a link to one.
        limit: The most bytes that it may have.

    Raises:
        OSError: As `open_regular` raises it, and if the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Not to its end in one go: a file of the system has no size, and any file may grow while it is read.
        pieces, have = [], 0
        while size <= limit and have <= limit and (piece := file.read(max(size + 1 - have, _CHUNK))):
            pieces.append(piece)
            have += len(piece)
    if max(size, have) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {show_size(limit)}", os.fspath(path))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_text(path: str | os.PathLike[str], limit: int = MOST_TEXT) -> str:
    """Return the text of a regular file in UTF-8.

    Args:
        path: The file, or a link to one.
        limit: The most bytes that it may have.

    Raises:
        OSError: As `read_regular` raises it.
        UnicodeDecodeError: If it is no UTF-8.
    """
    return read_regular(path, limit).decode("utf-8")


def digest_regular(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file, 64 hexadecimal digits.

    Raises:
        OSError: As `open_regular` raises it.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file, or a link to one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    for is_kind, number, what in _KINDS:
        if is_kind(mode):
            raise OSError(number, what, os.fspath(path))
