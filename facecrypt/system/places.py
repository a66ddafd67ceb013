"""Which names stand for one file, whatever links, mounts, cases or Unicode forms lie between them.

What exists is compared by device and inode: the file system itself has then resolved and folded the name. Of what does
not exist yet, the folder is compared so, and the name by asking the file system: no table of rules knows them all.
"""

from __future__ import annotations

import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facecrypt.errors import PhotoError

FileId = tuple[int, int]
"""Device and inode."""

State = tuple[int, ...]
"""What changes with a directory entry and with the content behind it; see `state`."""


def file_id(path: Path) -> FileId | None:
    """Return what tells the file or folder that a path leads to from all others; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def state(path: Path) -> State | None:
    """Return what is different as soon as another file, another link or other content has this name; None for none."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    return stat.S_IFMT(found.st_mode), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def check_unchanged(path: Path, seen: State | None) -> None:
    """Make sure that nothing else has come to a place since it was looked at, so that it may be written.

    Args:
        path: The file about to be written.
        seen: Its `state` then.

    Raises:
        PhotoError: If something is there now that was not.
    """
    now = state(path)
    if now is not None and now != seen:
        what = "appeared" if seen is None else "was changed"
        raise PhotoError(f"{path}: {what} while the run was at work, so it stays as it is. Move it away and run again.")


@dataclass(frozen=True)
class Place:
    """Where a file is or would be.

    Attributes:
        anchor: The deepest folder on the way to it that exists.
        names: What follows, the name of the file last.
        folder: A path of the anchor.
    """

    anchor: FileId | None
    names: tuple[str, ...]
    folder: Path = field(compare=False)


def place(path: Path) -> Place:
    """Return where a name is, behind all links on the way to it; one that is itself a link is not followed."""
    return Places()._place(path)


def _locate(folder: Path) -> Place:
    found, names = Path(os.path.realpath(folder)), list[str]()
    while (anchor := file_id(found)) is None and found != found.parent:
        names.insert(0, found.name)
        found = found.parent
    return Place(anchor, tuple(names), found)


def fold(name: str) -> str:
    """Return the same for all names that any file system might take for one; some others fold alike, too."""
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).upper().casefold())
    # Some ignore what is invisible, and some what stands at the end.
    return "".join(letter for letter in wide if unicodedata.category(letter) != "Cf").rstrip(". ")


def is_one_name(folder: Path, first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether a folder's file system takes two names for one; True where it cannot be asked.

    Args:
        folder: A folder that exists. A hidden folder is made in it for a moment, which has its rules.
        first: A path inside it, in parts.
        second: Another.
    """
    if tuple(first) == tuple(second):
        return True
    try:
        with tempfile.TemporaryDirectory(prefix=".facecrypt-", dir=folder) as scratch:
            made = Path(scratch, *first)
            made.parent.mkdir(parents=True, exist_ok=True)
            made.touch(exist_ok=False)
            return os.path.lexists(Path(scratch, *second))
    except (OSError, ValueError):
        return True


class Places:
    """Finds paths that stand for one place, and files where a folder is needed; the folders must stay as they are."""

    def __init__(self) -> None:
        self._folders: dict[Path, Place] = {}
        self._found: dict[tuple[FileId | None, tuple[str, ...]], list[tuple[Place, int]]] = {}

    def add(self, path: Path, number: int) -> int:
        """Return the number of the path that was added first for this place: its own where there was none.

        Args:
            path: A path; it need not exist.
            number: Any number for it.
        """
        here = self._place(path)
        for there, first in self._among(here):
            if is_one_name(here.folder, there.names, here.names):
                return first
        self._found.setdefault(_key(here), []).append((here, number))
        return number

    def inside(self, path: Path) -> int | None:
        """Return the number of a path that was added and would have to be a folder on the way to this one."""
        here = self._place(path)
        for length in range(1, len(here.names)):
            above = Place(here.anchor, here.names[:length], here.folder)
            for there, first in self._among(above):
                if is_one_name(here.folder, there.names, above.names):
                    return first
        return None

    def _place(self, path: Path) -> Place:
        if path.parent not in self._folders:
            self._folders[path.parent] = _locate(path.parent)
        above = self._folders[path.parent]
        return Place(above.anchor, (*above.names, path.name), above.folder)

    def _among(self, place: Place) -> Iterator[tuple[Place, int]]:
        yield from self._found.get(_key(place), ())


def _key(place: Place) -> tuple[FileId | None, tuple[str, ...]]:
    return place.anchor, tuple(fold(name) for name in place.names)
