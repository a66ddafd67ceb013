"""What report.json holds. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from facecrypt.verdicts.verdict import FaceVerdict


@dataclass(frozen=True)
class Report:
    """A run: the content of report.json.

    Attributes:
        facecrypt: Version of this package.
        versions: Versions of the packages that matter to the result.
        recipe: The recipe with every default.
        seed: Seed of the run.
        device: Device that made the masks.
        seconds: Duration of the run.
        notes: What a reader must know, such as a fallback taken.
        photos: One entry per photo, as `PhotoReport` describes, in the order of the input.
        summary: The verdict, how visible the changes are and what to do if they protect too little, in plain words.
        verdict: The worst of all faces; None where none was measured.
        gallery: Folder, number of photos and number of people in which ranks were measured; None without a gallery.
        judges: Judges that were asked for their opinion, with the number of requests and what they cost; None without
            any, and then no part of report.json.
        undoing: What could undo protection, as `facecrypt.report.undoing.what_undoes` tells it; None where no face was
            changed.
        faults: Why the report itself could not be written; not part of report.json.
    """

    facecrypt: str
    versions: dict[str, str]
    recipe: dict[str, Any]
    seed: int
    device: str
    seconds: float
    notes: list[str]
    photos: list[dict[str, Any]]
    summary: str = ""
    verdict: FaceVerdict | None = None
    gallery: dict[str, Any] | None = None
    judges: list[dict[str, Any]] | None = None
    undoing: dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every photo was written, now or before, and so was the report."""
        return not self.faults and all(photo["status"] == "written" or photo.get("already") for photo in self.photos)
