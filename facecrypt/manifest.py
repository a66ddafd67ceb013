"""What was protected already: a file beside the results, so that a run that is repeated does nothing twice.

An entry says that one content is the protected version of another. It is written just before the file appears, so it is
true whatever happens next, and a killed run can be told from a finished one by the files alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos import file_digest, write_bytes
from facecrypt.private_files import narrow
from facecrypt.recipe import Recipe, dump_recipe

NAME = "manifest.json"
"""The manifest of an output folder."""

NAME_IN_PLACE = "facecrypt-manifest.json"
"""The manifest of a folder whose photos are replaced."""

_VERSION = 1
_HEAD = f'{{"facecrypt_manifest": {_VERSION}, "photos": [\n'
_TAIL = "\n]}\n"


@dataclass(frozen=True)
class Entry:
    """One protected photo.

    Attributes:
        source: The input file.
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
    """The protected photos of one folder.

    Args:
        path: The manifest; it need not exist.
        across_machines: Whether processes of several machines add to it: the lock then lies beside it.

    Raises:
        FacecryptError: If the file is no manifest of this program.
    """

    def __init__(self, path: Path, across_machines: bool = False) -> None:
        self.path = path
        self._lock = path.with_name(f".{path.name}.lock") if across_machines else _machine_lock(path)
        self._entries = self._read()
        self._by_output = {entry.output_sha256: entry for entry in self._entries}
        self._by_place = {entry.output: entry for entry in self._entries}
        self._backups = {entry.backup: entry for entry in self._entries if entry.backup}

    def find_reason(self, photo: Path, destination: Path, recipe: str, digest: str | None = None) -> str | None:
        """Return why a photo needs no work: it was protected before, is a protected photo, or is a backup.

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
            return f"{photo}: is protected already, with {settings}.{way_out}"
        if (kept := self._backups.get(self._relative(photo))) is not None and kept.source_sha256 == digest:
            return f"{photo}: is the backup of {kept.output}."
        before = self._by_place.get(self._relative(destination))
        if before is None or (before.source_sha256, before.recipe_sha256) != (digest, recipe):
            return None
        if file_digest(destination) != before.output_sha256:
            return None
        return f"{photo}: was protected before with these settings, as {destination}."

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

    def has_other_settings(self, photo: Path, recipe: str) -> bool:
        """Return whether a photo was replaced by what another recipe made of it, so that this one was not followed.

        Args:
            photo: The input file.
            recipe: Digest of the run's recipe.
        """
        made = self._by_output.get(file_digest(photo) or "")
        return made is not None and made.backup is not None and made.recipe_sha256 != recipe

    def add(self, photo: Path, digest: str, output: Path, output_digest: str, recipe: str, backup: Path | None) -> None:
        """Note that a file is about to appear, beside what other processes note.

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
        entry = Entry(
            str(photo), digest, name, output_digest, recipe, None if backup is None else self._relative(backup)
        )
        # Older contents of the same output stay known: a killed run may have left any of them in its place.
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock):
            if not self._append(entry):
                others = [other for other in self._read() if other != entry]
                lines = ",\n".join(json.dumps(asdict(each)) for each in (*others, entry))
                write_bytes((_HEAD + lines + _TAIL).encode(), self.path)

    def _append(self, entry: Entry) -> bool:
        """Add an entry at the end, whatever the length of the file; return False where it must be written anew.

        Writing all of it for every photo would make the time of a run grow with the square of its photos.
        """
        try:
            with self.path.open("r+b") as file:
                narrow(file.fileno())
                end = file.seek(0, os.SEEK_END) - len(_TAIL)
                file.seek(max(0, end - 1))
                if file.read() != f"}}{_TAIL}".encode():
                    return False
                file.seek(end)
                file.write(f",\n{json.dumps(asdict(entry))}{_TAIL}".encode())
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise PhotoError(
                f"{self.path}: cannot be written ({error.strerror}). Check the free space and your rights."
            ) from error
        return True

    def _relative(self, path: Path) -> str:
        path, folder = path.absolute(), self.path.parent.absolute()
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    def _read(self) -> list[Entry]:
        try:
            content = _parse(self.path.read_text(encoding="utf-8"))
            if content["facecrypt_manifest"] != _VERSION:
                raise ValueError(f"version {content['facecrypt_manifest']}")
            return [Entry(**row) for row in content["photos"]]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise FacecryptError(f"{self.path}: cannot be read ({error.strerror}). Mend its permissions.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise FacecryptError(
                f"{self.path}: is no manifest of facecrypt {_VERSION} ({' '.join(str(error).split())}). Move it away, "
                "or name another output folder; without it, photos that are protected already cannot be told."
            ) from error


def _parse(text: str) -> Any:
    """Return the content of a manifest, without the last entry where writing that was cut off."""
    try:
        return json.loads(text)
    except ValueError:
        head, newline, _ = text.rpartition(",\n")
        if not newline or not text.startswith(_HEAD):
            raise
        return json.loads(head + _TAIL)


def _machine_lock(path: Path) -> Path:
    """Return what the processes of this machine lock, outside the folders of photos."""
    return Path(tempfile.gettempdir()) / f"facecrypt-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()}.lock"


def manifest_path(destination: Path, output: Path, in_place: bool) -> Path:
    """Return the manifest that knows of a protected photo.

    Args:
        destination: The protected photo.
        output: The output folder of the run.
        in_place: Whether photos are replaced: then each folder of photos has its own.
    """
    return destination.parent / NAME_IN_PLACE if in_place else output / NAME


def recipe_digest(recipe: Recipe) -> str:
    """Return the SHA-256 of everything in a recipe that changes what a photo becomes."""
    neutral = replace(
        recipe,
        preset=None,
        photos=None,
        output="protected",
        held_out=[],
        receipt=type(recipe.receipt)(),
        report=type(recipe.report)(),
        batch_size=1,
        workers=0,
        allow_white_box=False,
        in_place=False,
        name="{stem}{suffix}",
        backup="{stem}.original{suffix}",
        trainer=type(recipe.trainer)(precision=recipe.trainer.precision),
    )
    return hashlib.sha256(dump_recipe(neutral).encode()).hexdigest()


def open_manifests(recipe: Recipe, destinations: Sequence[Path]) -> dict[Path, Manifest]:
    """Return the manifests of a run by their paths.

    Raises:
        FacecryptError: If a file of that name is no manifest.
    """
    output = Path(recipe.output).expanduser()
    paths = {manifest_path(destination, output, recipe.in_place) for destination in destinations}
    return {path: Manifest(path, recipe.trainer.num_nodes > 1) for path in sorted(paths)}
