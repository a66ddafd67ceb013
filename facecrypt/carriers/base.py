"""Sources and sinks as components: pictures are laid out as ordinary files, protected there, and collected.

A source fills a `Room`, a private folder that bounds what comes in; the whole run works on the files in it. A sink gets
a `Delivery`, which knows the protected files and writes new ones whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol

from facecrypt import registry
from facecrypt.errors import PhotoError
from facecrypt.photos.files import file_digest
from facecrypt.registry import Component
from facecrypt.system.limits import show_size
from facecrypt.system.naming import FORMATS, path_fault
from facecrypt.system.private_files import sync_folder, unfinished
from facecrypt.system.texts import brief

FOLDER = "folder"
"""The source and the sink of files where they are, which the keys `photos` and `output` name."""

MOST_FILES = 100_000
"""Most pictures that a source may bring."""
MOST_BYTES = 64 << 30
"""Most bytes that they may have together."""
LARGEST_FILE = 1 << 30
"""Most bytes of one of them."""
_SPARED = 256 << 20
"""Bytes of the disk that are left to others."""

PICTURES = (*FORMATS, ".gif")
"""Extensions of pictures; GIF files are named as ones that cannot be protected."""


class Folder:
    """Files where they are: the keys ``photos`` and ``output`` name them. The default source and sink."""

    def __init__(self) -> None: ...


class Source(Protocol):
    """Where pictures come from."""

    def fetch(self, photos: str | None, room: Room) -> None:
        """Put the pictures into a room, in their order, by `Room.add`.

        Args:
            photos: What the recipe says under ``photos``.
            room: Where they go.

        Raises:
            PhotoError: If there are none, or what is there cannot be read.
        """
        ...


class Sink(Protocol):
    """Where protected pictures go.

    Attributes:
        private: Whether the run works in a folder that is removed at its end, so that nothing is left but what the sink
            delivers; else the output folder holds the protected pictures and the report as ever.
    """

    private: bool

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        """Return the names of the files that will be written to the output folder, before anything is computed.

        Args:
            names: The pictures, as the source calls them.
            photos: What the recipe says under ``photos`` where a source has read it; None where they are files.

        Raises:
            PhotoError: If it cannot take these.
        """
        ...

    def deliver(self, delivery: Delivery) -> None:
        """Write what a run made.

        Raises:
            PhotoError: If that cannot be done.
        """
        ...


class Room:
    """A private folder into which a source puts pictures, within bounds.

    Attributes:
        names: What is in it, relative and with slashes, in the order in which it came.

    Args:
        folder: The folder, which is there.
        files: Most pictures.
        size: Most bytes.
    """

    def __init__(self, folder: Path, files: int = MOST_FILES, size: int = MOST_BYTES) -> None:
        self.folder = folder
        self.names: list[str] = []
        self._files, self._left = files, size

    def add(self, name: str, pieces: Iterable[bytes]) -> None:
        """Add a picture.

        Args:
            name: Relative, with slashes between folders; it ends like a picture.
            pieces: The bytes of its file.

        Raises:
            PhotoError: If the name leads elsewhere, is there already or is that of no picture, or there is too much.
        """
        check_name(name)
        if PurePosixPath(name).suffix.lower() not in PICTURES:
            raise PhotoError(f"{brief(name)}: ends like no picture. Allowed: {', '.join(FORMATS)}.")
        if len(self.names) >= self._files:
            raise PhotoError(f"photos: more than {self._files} pictures come from one source. Share them out.")
        path = self.folder.joinpath(*name.split("/"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                self._fill(file, name, pieces)
        except FileExistsError as error:
            raise PhotoError(f"{brief(name)}: is there twice. Rename one.") from error
        except OSError as error:
            raise PhotoError(
                f"{brief(name)}: cannot be laid out in {self.folder.parent} ({error.strerror})."
            ) from error
        self.names.append(name)

    def _fill(self, file: BinaryIO, name: str, pieces: Iterable[bytes]) -> None:
        have = 0
        for piece in pieces:
            have += len(piece)
            self._left -= len(piece)
            if have > LARGEST_FILE or self._left < 0:
                bound = f"{show_size(LARGEST_FILE)} each" if have > LARGEST_FILE else "what a source may bring together"
                raise PhotoError(f"{brief(name)}: is too large: pictures have at most {bound}. Share them out.")
            if shutil.disk_usage(self.folder).free < len(piece) + _SPARED:
                raise PhotoError(
                    f"{brief(name)}: no room is left in {self.folder.parent}. Free some, or set TMPDIR to another disk."
                )
            file.write(piece)


def check_name(name: str) -> None:
    """Refuse a name that leads out of the folder that it is put in, or that no file can have.

    Raises:
        PhotoError: If it is absolute, goes up, is hidden behind names of facecrypt, or cannot be a file's.
    """
    parts = name.split("/")
    wrong = (
        path_fault(name)
        or "\\" in name
        or any(part in ("", ".", "..") or part.startswith(".facecrypt") for part in parts)
        or ":" in parts[0]
        or not name.isprintable()
    )
    if wrong:
        raise PhotoError(
            f"{brief(name)} is no name for a file below a folder. It must be relative, without '..', and printable."
        )


Status = Literal["written", "unchanged", "failed"]


@dataclass(frozen=True)
class Delivered:
    """A picture at the end of a run.

    Attributes:
        source: How the source calls it, relative and with slashes.
        name: What its protected version is called, likewise.
        status: ``written``, now or by an earlier run; ``unchanged``, where no face is to be protected; ``failed``.
        original: The file as it came.
        protected: The protected file; None where there is none.
    """

    source: str
    name: str
    status: Status
    original: Path
    protected: Path | None


@dataclass
class Delivery:
    """What a run made, for a sink.

    Attributes:
        photos: The pictures in the order of the source.
        origin: What the recipe says under ``photos`` where a source has read it; None where they are files.
        output: The output folder.
        allowed: The files that may be written to it.
        announce: Called with each file and its SHA-256 just before it appears; what it raises leaves it as it is.
        notes: What the sink has to say, for the user and the report.
    """

    photos: Sequence[Delivered]
    origin: str | None
    output: Path
    allowed: Sequence[str]
    announce: Callable[[Path, str], None]
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """Give a new file, which appears in the output folder under its name when the block ends, whole or not at all.

        Args:
            name: One of those that `Sink.files` named.

        Raises:
            PhotoError: If it cannot be written.
        """
        if name not in self.allowed:
            raise PhotoError(f"{brief(name)}: was not among the files that the sink said it would write.")
        path = self.output / name
        temporary = unfinished(path.parent)
        try:
            with temporary.open("xb+") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.announce(path, file_digest(temporary) or "")
            os.replace(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            raise PhotoError(
                f"{path}: cannot be written ({error.strerror}). Check the free space and your rights."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


class GuardedSource:
    """A source that a recipe names, each call of which is checked."""

    def __init__(self, component: Component, source: Source) -> None:
        component.require(source, "fetch")
        self._component, self._source = component, source

    def fetch(self, photos: str | None, room: Room) -> None:
        """Fill a room.

        Raises:
            PhotoError: If nothing came.
            PluginError: If the source does not keep its promise.
        """
        self._component.call(self._source.fetch, photos, room)
        there = {path.relative_to(room.folder).as_posix() for path in room.folder.rglob("*") if not path.is_dir()}
        if there != set(room.names) or any(room.folder.joinpath(name).is_symlink() for name in there):
            raise self._component.broken("put files into the room by another way than Room.add", "what it adds alone")
        if not room.names:
            raise PhotoError(f"photos: the source {self._component.name!r} brought no pictures. Name another.")


class GuardedSink:
    """A sink that a recipe names, each call of which is checked."""

    def __init__(self, component: Component, sink: Sink) -> None:
        component.require(sink, "files", "deliver")
        if not isinstance(getattr(sink, "private", None), bool):
            raise component.broken(f"has {getattr(sink, 'private', None)!r} for 'private'", "true or false")
        self._component, self._sink = component, sink
        self.private = sink.private

    def files(self, names: Sequence[str], photos: str | None) -> list[str]:
        """Return the files that it will write.

        Raises:
            PhotoError: If it cannot take these pictures.
            PluginError: If it does not keep its promise.
        """
        came: object = self._component.call(self._sink.files, tuple(names), photos)
        if not isinstance(came, list | tuple) or not all(isinstance(each, str) for each in came):
            raise self._component.broken(f"named {came!r} as its files", "a list of names")
        for name in came:
            check_name(name)
        return list(came)

    def deliver(self, delivery: Delivery) -> None:
        """Write what a run made.

        Raises:
            PhotoError: If that cannot be done.
            PluginError: If it does not keep its promise.
        """
        self._component.call(self._sink.deliver, delivery)


def build_source(name: str, args: dict[str, object]) -> GuardedSource | None:
    """Return the source that a recipe names, guarded; None for files where they are."""
    return None if name == FOLDER else GuardedSource(registry.get("source", name), registry.build("source", name, args))


def build_sink(name: str, args: dict[str, object]) -> GuardedSink | None:
    """Return the sink that a recipe names, guarded; None for files where they are."""
    return None if name == FOLDER else GuardedSink(registry.get("sink", name), registry.build("sink", name, args))


class Readable(Protocol):
    """What can be read, a part at a time."""

    def read(self, size: int = ..., /) -> bytes:
        """Return the next bytes; none at the end."""
        ...


def read_pieces(file: Readable) -> Iterator[bytes]:
    """Yield the rest of an open file, a mebibyte at a time."""
    while piece := file.read(1 << 20):
        yield piece
