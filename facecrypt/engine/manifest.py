"""What facecrypt wrote: a file beside the results, so that a run does nothing twice and replaces nothing but its own.

An entry says that one content is the protected version of another. It is written just before the file appears, so it is
true whatever happens next, and a killed run can be told from a finished one by the files alone. The files of a report
have entries, too, without a source.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.files import file_digest, write_bytes
from facecrypt.system.locks import lock
from facecrypt.system.places import FileId, file_id, fold
from facecrypt.system.private_files import narrow
from facecrypt.system.regular import read_text

NAME = "manifest.json"
"""The manifest of an output folder."""

NAME_IN_PLACE = "facecrypt-manifest.json"
"""The manifest of a folder whose photos are replaced."""

_VERSION = 1
_HEAD = f'{{"facecrypt_manifest": {_VERSION}, "photos": [\n'
_TAIL = "\n]}\n"


NameKey = tuple[FileId | None, str]
"""Folder of a file, and its name as any file system may spell it."""


@dataclass(frozen=True)
class Entry:
    """One file that facecrypt wrote.

    Attributes:
        source: The input file; empty for a report.
        source_sha256: SHA-256 of its content.
        output: The protected file, relative to the manifest.
        output_sha256: SHA-256 of its content.
        recipe_sha256: From `recipe_digest`.
        backup: Where the original is kept, relative to the manifest; None where it stays in its own place.
    """

    source: str
    source_sha256: str
    output: str
    output_sha256: str
    recipe_sha256: str
    backup: str | None = None


class Manifest:
    """The files that facecrypt wrote into one folder.

    Args:
        path: The manifest; it need not exist.

    Raises:
        FacecryptError: If the file is no manifest of this program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_name(f".{path.name}.lock")
        self._entries: dict[Entry, None] = {}  # a set that keeps its order
        self._by_output: dict[str, Entry] = {}
        self._by_place: dict[str, Entry] = {}
        self._contents: dict[tuple[str, str], list[Entry]] = {}
        for entry in self._read():
            self._know(entry)

    def find_reason(self, photo: Path, destination: Path, recipe: str, digest: str | None = None) -> str | None:
        """Return why a photo needs no work: it was written before, was made by facecrypt, or is a backup.

        Args:
            photo: The input file.
            destination: Where its protected version would go.
            recipe: Digest of the run's recipe.
            digest: SHA-256 of the photo, where it is known already.
        """
        if not self._entries:
            return None
        digest = digest or file_digest(photo)
        if digest is None:
            return None
        if (made := self._by_output.get(digest)) is not None:
            way_out = f" To protect it anew, restore {made.backup} first." if made.backup else ""
            settings = "these settings" if made.recipe_sha256 == recipe else "other settings"
            return f"{photo}: was made by facecrypt already, with {settings}.{way_out}"
        if (kept := self.find_backup(photo)) is not None:
            return f"{photo}: is the backup of {kept.output}."
        before = self._by_place.get(self._relative(destination))
        if before is None or (before.source_sha256, before.recipe_sha256) != (digest, recipe):
            return None
        if file_digest(destination) != before.output_sha256:
            return None
        return f"{photo}: was written before with these settings, as {destination}."

    def expected(self, destination: Path) -> str | None:
        """Return the SHA-256 that a protected photo has if it was not changed since; None where none is known.

        Args:
            destination: Where it is.
        """
        entry = self._by_place.get(self._relative(destination))
        return None if entry is None else entry.output_sha256

    def find_original(self, photo: Path, destination: Path) -> Path | None:
        """Return the original of a photo that was protected before; None where it is not kept as it was.

        Args:
            photo: The input file, which is the protected photo itself where it was replaced.
            destination: Where its protected version is.
        """
        entry = self._by_output.get(file_digest(destination) or "")
        if entry is None:
            return None
        for original in (photo, self.path.parent / entry.backup if entry.backup else photo):
            if file_digest(original) == entry.source_sha256:
                return original
        return None

    def has_other_settings(self, recipe: str, digest: str | None) -> bool:
        """Return whether a photo was replaced by what another recipe made of it, so that this one was not followed.

        Args:
            recipe: Digest of the run's recipe.
            digest: SHA-256 of the photo.
        """
        made = self._by_output.get(digest or "")
        return made is not None and made.backup is not None and made.recipe_sha256 != recipe

    def has_made(self, digest: str) -> bool:
        """Return whether a content is that of a protected photo."""
        return digest in self._by_output

    def entries_of(self, path: Path, digest: str) -> list[Entry]:
        """Return what it tells of a file that facecrypt wrote and nobody changed since; empty for any other.

        Args:
            path: The file.
            digest: SHA-256 of its content.
        """
        real = Path(os.path.realpath(path.parent), path.name)
        # File systems may spell a name otherwise; together with the content, it is still that file.
        names = {fold(self._relative(path)), fold(_relative(real, Path(os.path.realpath(self.path.parent))))}
        return [entry for name in names for entry in self._contents.get((name, digest), ())]

    @property
    def entries(self) -> Iterator[Entry]:
        """What it tells, the oldest first."""
        return iter(self._entries)

    @property
    def outputs(self) -> set[Path]:
        """The protected photos, behind all links."""
        return {Path(os.path.realpath(self.path.parent / entry.output)) for entry in self._by_output.values()}

    @property
    def knows_reports(self) -> bool:
        """Whether it tells of reports, as those of this version do."""
        return any(not entry.source for entry in self._entries)

    def find_backup(self, photo: Path) -> Entry | None:
        """Return the entry of the photo whose original a file is, whatever it holds by now; None if it is none."""
        real = Path(os.path.realpath(photo))
        kept = self.backups.get(name_key(real))
        # Of two names of one file, one may be the photo itself.
        return kept if kept and kept.backup and file_id(self.path.parent / kept.backup) == file_id(real) else None

    @cached_property
    def backups(self) -> dict[NameKey, Entry]:
        """The originals that are kept, by their folder and name. Those that are added later are not among them."""
        return {name_key(self.path.parent / entry.backup): entry for entry in self._entries if entry.backup}

    def add(self, photo: Path, digest: str, output: Path, output_digest: str, recipe: str, backup: Path | None) -> None:
        """Note that a protected photo is about to appear, beside what other processes note.

        Args:
            photo: The input file.
            digest: SHA-256 of its content.
            output: The protected file.
            output_digest: SHA-256 of its content.
            recipe: Digest of the run's recipe.
            backup: Where the original is kept.

        Raises:
            FacecryptError: If the manifest cannot be written.
        """
        name = self._relative(output)
        kept = None if backup is None else self._relative(backup)
        self._add(Entry(str(photo), digest, name, output_digest, recipe, kept))

    def add_report(self, path: Path, digest: str) -> None:
        """Note that a file of a report is about to appear.

        Args:
            path: The file.
            digest: SHA-256 of its content.

        Raises:
            FacecryptError: If the manifest cannot be written.
        """
        entry = Entry("", "", self._relative(path), digest, "")
        if entry not in self._entries or not self.path.exists():
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        # Older contents of the same output stay known: a killed run may have left any of them in its place.
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with lock(self._lock, wait=True):
                if not self._append(entry):
                    # What this process knows comes first: somebody may have removed the file.
                    others = dict.fromkeys((*self._entries, *self._read()))
                    others.pop(entry, None)
                    lines = ",\n".join(json.dumps(asdict(each)) for each in (*others, entry))
                    write_bytes((_HEAD + lines + _TAIL).encode(), self.path)
        except OSError as error:
            raise PhotoError(
                f"{self.path}: cannot be written ({error.strerror}). Check the free space and your rights."
            ) from error
        except PhotoError:
            raise
        except FacecryptError as error:  # something strange took its name meanwhile, which is one photo's bad luck
            raise PhotoError(str(error)) from error
        self._know(entry)

    def _append(self, entry: Entry) -> bool:
        """Add an entry at the end, whatever the length of the file; return False where it must be written anew.

        Writing all of it for every photo would make the time of a run grow with the square of its photos.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return False
        with open(descriptor, "r+b", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise PhotoError(f"{self.path}: is no regular file any more. Move it away and run again.")
            narrow(descriptor)
            end = file.seek(0, os.SEEK_END) - len(_TAIL)
            file.seek(max(0, end - 1))
            # A copy made of hard links must not change with the original.
            if found.st_nlink > 1 or file.read() != f"}}{_TAIL}".encode():
                return False
            try:
                _write_at(file, end, f",\n{json.dumps(asdict(entry))}{_TAIL}".encode())
                os.fsync(descriptor)
            except OSError:  # no room for it, but for what was there
                _write_at(file, end, _TAIL.encode())
                file.truncate()
                raise
        return True

    def _know(self, entry: Entry) -> None:
        self._entries[entry] = None
        self._by_place[entry.output] = entry
        self._contents.setdefault((fold(entry.output), entry.output_sha256), []).append(entry)
        if entry.source:
            self._by_output[entry.output_sha256] = entry

    def _relative(self, path: Path) -> str:
        return _relative(path.absolute(), self.path.parent.absolute())

    def _read(self) -> list[Entry]:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode) or self.path.is_symlink():
                raise ValueError("it is a link or no regular file")
            content = _parse(read_text(self.path))
            if content["facecrypt_manifest"] != _VERSION:
                raise ValueError(f"version {content['facecrypt_manifest']}")
            return [_entry(row) for row in content["photos"]]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise FacecryptError(f"{self.path}: cannot be read ({error.strerror}). Mend its permissions.") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise FacecryptError(
                f"{self.path}: is no manifest of facecrypt {_VERSION} ({' '.join(str(error).split())}). Move it away, "
                "or name another output folder; without it, photos that are protected already cannot be told."
            ) from error


def name_key(path: Path) -> NameKey:
    """Return the same for all spellings of a name in one folder that a file system may take for one."""
    return file_id(path.parent), fold(path.name)


def _entry(row: dict[str, Any]) -> Entry:
    entry = Entry(**row)
    if not all(isinstance(value, str) for key, value in asdict(entry).items() if value is not None or key != "backup"):
        raise TypeError("an entry holds something else than text")
    return entry


def _write_at(file: FileIO, place: int, data: bytes) -> None:
    file.seek(place)
    while data:
        data = data[file.write(data) :]


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _parse(text: str) -> Any:
    """Return the content of a manifest, without the last entry where writing that was cut off."""
    try:
        return json.loads(text)
    except ValueError:
        head, newline, _ = text.rpartition(",\n")
        if not newline or not text.startswith(_HEAD):
            raise
        return json.loads(head + _TAIL)


def manifest_path(destination: Path, output: Path, in_place: bool) -> Path:
    """Return the manifest that knows of a protected photo.

    Args:
        destination: The protected photo.
        output: The output folder of the run.
        in_place: Whether photos are replaced: then each folder of photos has its own, as has every folder outside the
            output folder that photos are written to.
    """
    if in_place or not lies_in(destination, output):
        return destination.parent / NAME_IN_PLACE
    return output / NAME


def lies_in(destination: Path, output: Path) -> bool:
    """Return whether a protected photo goes to the output folder, or one below it, and not to its original's folder."""
    return destination.absolute().is_relative_to(output.absolute())


def open_manifests(output: Path, destinations: Sequence[Path], in_place: bool) -> dict[Path, Manifest]:
    """Return the manifests of a run by their paths, that of the output folder, which tells of its report, among them.

    Args:
        output: The output folder.
        destinations: The protected photos.
        in_place: As for `manifest_path`.

    Raises:
        FacecryptError: If a file of that name is no manifest.
    """
    paths = {manifest_path(destination, output, in_place) for destination in destinations}
    return {path: Manifest(path) for path in sorted({*paths, output / NAME})}
