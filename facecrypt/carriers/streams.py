"""One photo from standard input, and one to standard output, while all messages go to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from facecrypt.carriers.base import Delivery, Room, read_pieces
from facecrypt.errors import PhotoError
from facecrypt.photos.decoding import suffix_of
from facecrypt.system.locks import is_first_process

_BEGINNING = 128
"""Bytes by which the format of a photo is known."""

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
        first = stream.read(_BEGINNING)
        suffix = suffix_of(first)  # It tells the run which format it writes.
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
