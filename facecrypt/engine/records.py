"""What the processes of a run tell each other, and a later run, until the report is written: a file for each photo."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.photos.files import write_bytes
from facecrypt.system.regular import read_text

RECORDS = ".facecrypt"
"""Folder inside the output that holds the records."""

PHOTO_LIST = "photos.txt"
"""The photos that were named on standard input, for processes that cannot read it."""

_OWN = re.compile(r"\d+\.json|photos\.txt|journal\.jsonl|\.facecrypt-.*\.tmp")


class Records:
    """The records of one run. What this process adds it also keeps, so that its own report does not depend on them.

    Args:
        folder: Their folder, `RECORDS` in the output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._added: dict[int, dict[str, Any]] = {}

    def open(self, names: Sequence[Path] | None = None) -> None:
        """Make the folder, and make sure that it can be written to.

        Args:
            names: The photos, for processes that cannot find out themselves.

        Raises:
            FacecryptError: If that fails.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check()
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"room?")
            if names is not None:
                write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names), self.folder / PHOTO_LIST)
        except OSError as error:
            raise FacecryptError(
                f"output: {self.folder.parent} cannot be written to ({error.strerror}). Name another folder, or mend "
                "its permissions."
            ) from error

    def add(self, index: int, photo: dict[str, Any]) -> None:
        """Keep what became of a photo.

        Args:
            index: Number of the photo.
            photo: A `PhotoReport` as a mapping.

        Raises:
            PhotoError: If it cannot be written; this process knows it nevertheless.
        """
        self._added[index] = photo
        self._check()
        write_bytes(json.dumps(photo).encode(), self.folder / f"{index}.json")

    def collect(self, count: int) -> list[dict[str, Any] | None]:
        """Return what became of the photos, in their order; None for those of processes that could not tell.

        Args:
            count: Number of photos.
        """
        return [self._added[index] if index in self._added else self._read(index) for index in range(count)]

    def remove(self) -> None:
        """Remove the records, and their folder if nothing else is in it."""
        if self.folder.is_symlink():
            return
        with contextlib.suppress(OSError):
            for path in list(self.folder.iterdir()):
                if _OWN.fullmatch(path.name):
                    path.unlink()
            self.folder.rmdir()

    def _read(self, index: int) -> dict[str, Any] | None:
        try:
            self._check()
            photo: dict[str, Any] = json.loads(read_text(self.folder / f"{index}.json"))
            return photo
        except (OSError, ValueError, PhotoError):
            return None

    def _check(self) -> None:
        if self.folder.is_symlink():
            raise PhotoError(f"{self.folder}: became a link while the run was at work. Remove it and run again.")
