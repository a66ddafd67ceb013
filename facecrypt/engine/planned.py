"""What a run is to do with one photo, and its file written as planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facecrypt.choices import MetadataPolicy
from facecrypt.engine.manifest import Manifest
from facecrypt.errors import PhotoError
from facecrypt.photos.files import Photo, write_photo
from facecrypt.system.places import State, check_unchanged


@dataclass(frozen=True)
class NoWork:
    """Why nothing is done with a photo.

    Attributes:
        reason: In words.
        status: What the report says of it.
        already: Whether it is as the recipe wants it, since it was done before.
        protected: The protected version that is there: the photo itself, where facecrypt made it, or its destination;
            None where there is none, as of a backup, which is an original.
    """

    reason: str
    status: Literal["unchanged", "failed"] = "unchanged"
    already: bool = False
    protected: Path | None = None


@dataclass(frozen=True)
class PlannedPhoto:
    """What a run is to do with one photo.

    Attributes:
        source: The input file.
        destination: Where its protected version goes: the file itself, behind all links, where it is replaced.
        manifest: Where its protected version is noted.
        seen: What is at the destination.
        backup: Where its original stays, if it is replaced.
        no_work: Why nothing is done with it; None if it is to be protected.
        name: How it is called where a source has laid it out in the place `source`; None for a file that is its own.
    """

    source: Path
    destination: Path
    manifest: Manifest
    seen: State | None
    backup: Path | None = None
    no_work: NoWork | None = None
    name: Path | None = None

    @property
    def known_as(self) -> Path:
        """What a reader calls the input: the file, or what a source calls it."""
        return self.name or self.source


def write_planned(
    planned: PlannedPhoto,
    photo: Photo,
    pixels: NDArray[np.uint8],
    metadata: MetadataPolicy,
    settings: str,
    announce: Callable[[str], None] | None = None,
) -> str:
    """Write the protected version of a photo where its run planned it, if that place is still as it was.

    Args:
        planned: The plan.
        photo: What was read of the photo.
        pixels: The protected pixels, ``(H, W, 3)``.
        metadata: What of EXIF and XMP to keep.
        settings: From `recipe_digest`.
        announce: Called with the SHA-256 of the file when it is noted, just before it appears.

    Returns:
        How the file was written, as `write_photo` says it.

    Raises:
        PhotoError: If it cannot be written, or something else came to its place.
    """
    manifest, backup = planned.manifest, planned.backup

    def note(written: str) -> None:
        if backup is None:  # else it is the photo itself, which is compared with what was read of it
            check_unchanged(planned.destination, planned.seen)
        if manifest.has_made(photo.digest):
            raise PhotoError(f"{planned.source}: became one that facecrypt made while the run was at work, and stays.")
        manifest.add(planned.known_as, photo.digest, planned.destination, written, settings, backup)
        if announce:
            announce(written)

    return write_photo(photo, pixels, planned.destination, metadata, backup=backup, announce=note)
