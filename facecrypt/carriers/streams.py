"""One photo from standard input, and one to standard output, while all messages go to standard error."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from facecrypt.carriers.base import Delivery, Room, read_pieces
from facecrypt.errors import PhotoError
from facecrypt.system.locks import is_first_process

_KINDS = {
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".webp": rb"RIFF....WEBP",
    ".tif": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    ".bmp": rb"BM",
    ".avif": rb"....ftypavi[fs]",
    ".heic": rb"....ftyp(?:hei|hev|mif|msf)",
    ".gif": rb"GIF8",
}
"""How the files of each format begin; the extension tells the run which format it writes."""

_kept: BinaryIO | None = None


@contextmanager
def stdout_for_data() -> Iterator[None]:
    """Let all that this process and its children print go to standard error, but for what `StdoutSink` writes."""
    global _kept
    sys.stdout.flush()
    before, data = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        with os.fdopen(data, "wb", closefd=False) as _kept:
            yield
    finally:
        _kept = None
        sys.stdout = before
        os.dup2(data, 1)
        os.close(data)


class StdinSource:
    """The bytes of one photo on standard input, as from ``facecrypt run ... source=stdin < photo.jpg``."""

    def __init__(self) -> None: ...

    def fetch(self, photos: str | None, room: Room) -> None:
        """Read the photo."""
        stream = sys.stdin.buffer
        if stream.isatty():
            raise PhotoError("source: standard input is a terminal. Send a photo: source=stdin < photo.jpg.")
        first = stream.read(32)
        suffix = next((each for each, start in _KINDS.items() if re.match(start, first, re.DOTALL)), None)
        if suffix is None:
            what = "is no photo of a known format" if first else "holds nothing"
            raise PhotoError(f"source: standard input {what}. Send the bytes of one photo, such as a JPEG or PNG file.")
        room.add(f"photo{suffix}", _joined(first, stream))


def _joined(first: bytes, rest: BinaryIO) -> Iterator[bytes]:
    yield first
    yield from read_pieces(rest)


class StdoutSink:
    """The bytes of one protected photo on standard output; nothing else is left, and all messages go to standard error.

    Where the photo could not be protected, nothing is written.
    """

    private = True

    def __init__(self) -> None: ...

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        """Refuse several photos, and a terminal."""
        if len(names) != 1:
            raise PhotoError(f"sink: standard output takes one photo, and these are {len(names)}. Set sink: archive.")
        if is_first_process() and _stream().isatty():
            raise PhotoError("sink: standard output is a terminal. Send it to a file: sink=stdout > photo.jpg.")
        return []

    def deliver(self, delivery: Delivery) -> None:
        """Write the photo."""
        (photo,) = delivery.photos
        if photo.protected is None:
            raise PhotoError("sink: nothing was written to standard output, since the photo has no protected version.")
        try:
            stream = _stream()
            stream.write(photo.protected.read_bytes())
            stream.flush()
        except OSError as error:
            raise PhotoError(f"sink: standard output cannot be written ({error.strerror}).") from error


def _stream() -> BinaryIO:
    return _kept if _kept is not None else sys.stdout.buffer
