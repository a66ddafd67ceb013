"""What was measured of photos that a later run into the same report did not name: it is kept for the next that does.

``facecrypt a.jpg`` and then ``facecrypt b.jpg`` share a report, which tells of the last run. Without this, the third,
of both, would have to measure ``a.jpg`` again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from facecrypt.photos.files import write_bytes
from facecrypt.system.regular import read_text

EARLIER = "earlier.json"
"""The file among the records of an output folder."""


_FINDS = ("faces", "detector")
"""Keys that decide whether a photo shows a face to protect."""


def keep_earlier(report: Path, records: Path, named: Collection[str], recipe: Mapping[str, Any]) -> None:
    """Keep the photos of a report that is about to be replaced, but for those that the new one has.

    Args:
        report: The report.json.
        records: The folder of the records.
        named: The photos of the new one.
        recipe: The recipe of the new one, as report.json has it.

    Raises:
        PhotoError: If it cannot be written.
    """
    if records.is_symlink():  # Whoever made it one may have it.
        return
    old, kept = _read(report), dict[str, dict[str, Any]]()
    then = old.get("recipe")
    alike = isinstance(then, Mapping) and all(then.get(key) == recipe[key] for key in _FINDS)
    for content in (_read(records / EARLIER), old):
        photos = content.get("photos")
        for photo in photos if isinstance(photos, list) else ():
            if _is_measured(photo) and (photo["faces"] or alike):
                kept[photo["source"]] = photo
    left = [photo for source, photo in kept.items() if source not in named]
    if left:
        write_bytes(json.dumps({"facecrypt": old.get("facecrypt"), "photos": left}).encode(), records / EARLIER)
    else:
        (records / EARLIER).unlink(missing_ok=True)


def _is_measured(photo: Any) -> bool:
    """Return whether a photo has faces that were measured, or was searched and has none."""
    known = isinstance(photo, Mapping) and {"source", "faces", "source_sha256"} <= photo.keys()
    return known and isinstance(photo["source"], str) and bool(photo["source_sha256"])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
