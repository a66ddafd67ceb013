"""What a run leaves besides photos: report.json for programs, report.html for people, recipe.yaml to run it again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pydantic

from facecrypt.errors import PhotoError
from facecrypt.evaluation.verification import FaceReport
from facecrypt.faces.face import SkippedFace
from facecrypt.photos.files import file_digest
from facecrypt.report.earlier import EARLIER
from facecrypt.report.model import Report
from facecrypt.report.page import render
from facecrypt.report.summary import summarise
from facecrypt.report.undoing import what_undoes
from facecrypt.system.private_files import write_whole
from facecrypt.system.regular import read_text
from facecrypt.system.timing import stage
from facecrypt.verdicts.verdict import FaceVerdict, assess, worst

_PACKAGES = ("torch", "lightning", "kornia", "torchmetrics", "timm", "facenet-pytorch", "numpy", "pillow")


@dataclass(frozen=True)
class PhotoReport:
    """One photo of a run.

    Attributes:
        source: The input file.
        output: The protected file; None where nothing was written.
        status: ``written``, ``unchanged`` (no face, or written by an earlier run) or ``failed``.
        reason: Why it was not written, or empty.
        faces: The faces that were changed.
        backup: Where the original is kept if it was replaced; else None.
        encoding: How the file was written: ``lossless PNG``, ``lossy JPEG``, ...; None where nothing was.
        already: Whether an earlier run did the work, so that this one left it alone.
        skipped: Faces that were found and left as they are, each with the reason.
        source_sha256: SHA-256 of the input as it was protected, or as no face was found in it; else None.
        output_sha256: SHA-256 of the protected file.
        carried_over: Whether an earlier run protected and measured the photo: all but source, status and reason are
            from its report.
        verdict: The worst of its faces; None where none was measured.
    """

    __pydantic_config__ = pydantic.ConfigDict(allow_inf_nan=False)

    source: str
    output: str | None
    status: str
    reason: str
    faces: list[FaceReport] = field(default_factory=list)
    backup: str | None = None
    encoding: str | None = None
    already: bool = False
    skipped: list[SkippedFace] = field(default_factory=list)
    source_sha256: str | None = None
    output_sha256: str | None = None
    carried_over: bool = False
    verdict: FaceVerdict | None = None


def make(
    recipe: dict[str, Any],
    notes: Sequence[str],
    photos: Sequence[dict[str, Any]],
    seconds: float,
    device: str,
    gallery: dict[str, Any] | None = None,
    judges: list[dict[str, Any]] | None = None,
) -> Report:
    """Return the report of a run.

    Args:
        recipe: The recipe that ran, with every default, as `recipe_values` returns it.
        notes: Remarks for its reader.
        photos: One `PhotoReport` per photo, as a mapping.
        seconds: Duration of the run.
        device: Device that made the masks.
        gallery: Folder, number of photos and number of people of the gallery of its receipts.
        judges: What is to be said of judges that were asked for their opinion.
    """
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return Report(
        metadata.version("facecrypt"),
        versions,
        recipe,
        recipe["seed"],
        device,
        round(seconds, 2),
        list(notes),
        list(photos),
        summarise(photos, recipe),
        worst(photo.get("verdict") for photo in photos),
        gallery,
        judges,
        what_undoes(recipe, [face for photo in photos for face in photo["faces"]]),
    )


def read_earlier(folder: Path, records: Path) -> dict[str, PhotoReport]:
    """Return the measured photos of earlier runs by their sources.

    Args:
        folder: The output folder, with the report of the last run that came to its end, and what `keep_earlier` kept.
        records: Where a run that did not left what it had measured, a file for each photo. These are newer.
    """
    photos: list[Any] = []
    reports, left = (records / EARLIER, folder / "report.json"), sorted(records.glob("*.json"))
    for path in (*reports, *(each for each in left if each not in reports)):
        try:
            content = json.loads(read_text(path))
            photos += content["photos"] if path in reports else [content]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue  # It is no report, or was cut short: then there is nothing to take over.
    adapter, earlier = pydantic.TypeAdapter(PhotoReport), {}
    for photo in photos:
        try:
            entry = adapter.validate_python(photo)
        except pydantic.ValidationError:
            continue
        if entry.faces:
            earlier[entry.source] = _judged(entry)
    return earlier


def _judged(photo: PhotoReport) -> PhotoReport:
    """Return a photo of an earlier run as this version would have judged it, if the version of that run did not."""
    faces = [face if face.verdict else replace(face, **assess(asdict(face), None)) for face in photo.faces]
    status = "written" if photo.status == "protected" else photo.status
    return replace(photo, faces=faces, status=status, verdict=worst(face.verdict for face in faces))


def carry_over(
    photos: Sequence[dict[str, Any]],
    destinations: Sequence[Path],
    earlier: Mapping[str, PhotoReport],
    originals: Mapping[str, Path] | None = None,
) -> list[dict[str, Any]]:
    """Return photos of a run; those that an earlier one protected have the faces that it measured, marked so.

    Only where source and output are the same files with the same content, so that the numbers still hold.

    Args:
        photos: One `PhotoReport` per photo, as a mapping.
        destinations: Where the protected version of each goes.
        earlier: From `read_earlier`.
        originals: The files of photos that a source has laid out, by what the report calls them.
    """
    carried = []
    for photo, destination in zip(photos, destinations, strict=True):
        old = earlier.get(photo["source"]) if photo["already"] else None
        if old is not None and _still_true(
            old, (originals or {}).get(photo["source"], Path(photo["source"])), destination
        ):
            new = replace(old, status=photo["status"], reason=photo["reason"], already=True, carried_over=True)
            carried.append(asdict(new))
        else:
            carried.append(photo)
    return carried


def _still_true(old: PhotoReport, source: Path, destination: Path) -> bool:
    if old.output is None or Path(old.output).absolute() != destination.absolute():
        return False
    if None in (old.source_sha256, old.output_sha256) or file_digest(destination) != old.output_sha256:
        return False
    # A photo that was replaced is its own output: its original, if it is kept, has another name.
    return file_digest(source) in (old.source_sha256, old.output_sha256)


@stage("report")
def write(
    report: Report,
    folder: Path,
    recipe: str | None,
    announce: Callable[[Path, str], None] | None = None,
    originals: Mapping[str, Path] | None = None,
) -> None:
    """Write report.json, report.html and recipe.yaml into the output folder, each at once or not at all.

    Args:
        report: The report.
        folder: The output folder.
        recipe: The resolved recipe as YAML; None leaves recipe.yaml as it is.
        announce: Called with each file and its SHA-256 just before it appears; what it raises leaves it as it is.
        originals: The files of photos that a source has laid out, by what the report calls them.

    Raises:
        PhotoError: If a file cannot be written.
    """
    left_out = {"faults"} if report.judges else {"faults", "judges"}
    content = {key: value for key, value in vars(report).items() if key not in left_out}
    # In pieces and without a copy: with many photos, each of them would take as much memory as the report itself.
    pieces = json.JSONEncoder(indent=2, allow_nan=False).iterencode(content)
    _write(folder / "report.json", itertools.chain(pieces, "\n"), announce)
    _write(folder / "report.html", [render(report, originals or {})], announce)
    if recipe is not None:
        _write(folder / "recipe.yaml", [recipe], announce)


def write_text(path: Path, text: str) -> None:
    """Write a file at once or not at all, creating its folder.

    Args:
        path: The file to write or replace.
        text: Its content.

    Raises:
        PhotoError: If it cannot be written.
    """
    _write(path, [text])


def _write(path: Path, pieces: Iterable[str], announce: Callable[[Path, str], None] | None = None) -> None:
    def prepare(temporary: Path) -> None:
        if announce:
            announce(path, str(file_digest(temporary)))

    try:
        write_whole(path, (piece.encode(errors="backslashreplace") for piece in pieces), prepare)
    except OSError as error:
        raise PhotoError(
            f"{path}: cannot be written ({error.strerror}). Free some space or name another output folder."
        ) from error
