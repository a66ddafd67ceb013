"""A source: the photos that a text file names, as other programs write such lists."""

from __future__ import annotations

from pathlib import Path

from facecrypt.plugin import PhotoError, Room


class Listing:
    """The photos that a text file names, one a line, relative to its folder; numbered in its order."""

    def __init__(self) -> None: ...

    def fetch(self, photos: str | None, room: Room) -> None:
        """Copy the photos into the room."""
        if photos is None:
            raise PhotoError("photos: the source 'listing' reads a text file. Name it: photos=album.txt.")
        try:
            names = [line.strip() for line in Path(photos).read_text(encoding="utf-8").splitlines() if line.strip()]
            for number, name in enumerate(names, 1):
                path = Path(photos).parent / name
                room.add(f"{number:04d}-{path.name}", [path.read_bytes()])
        except (OSError, UnicodeDecodeError) as error:
            raise PhotoError(f"{photos}: cannot be read ({error}). Name a list of photos that are there.") from error
