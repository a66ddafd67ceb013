"""What a source promises: `facecrypt.carriers.base.Source`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

from facecrypt.carriers.base import Room, Source
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.files import file_digest
from facecrypt.photos.reading import read_photo
from facecrypt.system.private_files import temporary_folder
from facecrypt.testing.inputs import expect, works


def brings_pictures_that_can_be_read(source: Source, photos: str | None) -> None:
    """What a source adds to its room are pictures, and nothing else is put there."""
    promise = "brings pictures that can be read"
    with _filled(source, photos, promise) as room:
        there = sorted(path.relative_to(room.folder).as_posix() for path in room.folder.rglob("*") if path.is_file())
        expect(
            bool(room.names) and there == sorted(room.names),
            promise,
            measured=f"{room.names or 'nothing'} by Room.add, and {there} in its folder",
            allowed="one picture at least, and the same in the folder",
            remedy="Put every picture into the room by Room.add, and nothing by another way.",
        )
        for name in room.names:
            with works(promise, "Add the whole file of a picture, under a name that ends like its format."):
                read_photo(room.folder / name)


def brings_the_same_again(source: Source, photos: str | None) -> None:
    """What was done already is known by names and content, so both stay the same, and their order does."""
    promise = "brings the same again"
    found = []
    for _ in range(2):
        with _filled(source, photos, promise) as room:
            found.append([(name, file_digest(room.folder / name)) for name in room.names])
    expect(
        found[0] == found[1],
        promise,
        measured="other names, another order or other content the second time",
        allowed="the same",
        remedy="Sort what has no order of its own, and encode without times and random numbers.",
    )


def leaves_what_it_reads_as_it_is(source: Source, photos: str | None) -> None:
    """Inputs never change."""
    promise = "leaves what it reads as it is"
    before = _digests(photos)
    with _filled(source, photos, promise):
        pass
    expect(
        _digests(photos) == before,
        promise,
        measured=f"another content of {photos}",
        allowed="the same",
        remedy="Open files for reading alone.",
    )


def stops_where_its_room_is_full(source: Source, photos: str | None) -> None:
    """The bounds of a room end a source: it does not swallow what `Room.add` raises."""
    promise = "stops where its room is full"
    with temporary_folder("check") as folder:
        room = Room(folder, files=0)
        try:
            source.fetch(photos, room)
        except PhotoError:
            return
        except Exception as error:  # A component is somebody else's code: it may raise anything.
            measured = type(error).__name__
        else:
            measured = f"no error, and {len(room.names)} pictures"
    expect(False, promise, measured=measured, allowed="PhotoError", remedy="Let what Room.add raises pass.")


def says_what_is_missing(source: Source, photos: str | None) -> None:
    """Where there is nothing to read, a user gets a line and no traceback."""
    promise = "says what is missing"
    if photos is None:
        raise SkipTest("it reads what no name tells, such as standard input")
    with temporary_folder("check") as folder:
        try:
            source.fetch(str(folder / "no such file"), Room(folder))
        except FacecryptError:
            return
        except Exception as error:
            measured = f"{type(error).__name__}: {error}"
        else:
            measured = "no error"
    expect(False, promise, measured=measured, allowed="PhotoError", remedy="Raise PhotoError, saying what to do.")


@contextmanager
def _filled(source: Source, photos: str | None, promise: str) -> Iterator[Room]:
    with temporary_folder("check") as folder:
        room = Room(folder)
        with works(promise, "Read what 'photos' names, and add its pictures to the room."):
            source.fetch(photos, room)
        yield room


def _digests(photos: str | None) -> list[tuple[str, str | None]]:
    if photos is None:
        return []
    path = Path(photos)
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [(str(file), file_digest(file)) for file in files]


CHECKS = (
    brings_pictures_that_can_be_read,
    brings_the_same_again,
    leaves_what_it_reads_as_it_is,
    stops_where_its_room_is_full,
    says_what_is_missing,
)
