"""What a run leaves besides photos: report.json for programs, report.html for people, recipe.yaml to run it again."""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facecrypt.errors import PhotoError
from facecrypt.evaluation import FaceReport
from facecrypt.photos import read_photo
from facecrypt.recipe import Recipe, recipe_values
from facecrypt.selection import SkippedFace
from facecrypt.stopwatch import stage

_PACKAGES = ("torch", "lightning", "kornia", "torchmetrics", "timm", "facenet-pytorch", "omegaconf", "numpy", "pillow")
_SHOWN_FACES = 200
"""A page with more faces than this would not open on a phone; report.json holds them all."""
_MASK_GAIN = 8
_PICTURE_SIDE = 320


@dataclass(frozen=True)
class PhotoReport:
    """One photo of a run.

    Attributes:
        source: The input file.
        output: The protected file; None where nothing was written.
        status: ``protected``, ``unchanged`` (no face, or protected already) or ``failed``.
        reason: Why it was not protected, or empty.
        faces: Its protected faces.
        backup: Where the original is kept if it was replaced; else None.
        encoding: How the file was written: ``lossless PNG``, ``lossy JPEG``, ...; None where nothing was.
        already: Whether an earlier run did the work, so that this one left it alone.
        skipped: Faces that were found and left as they are, each with the reason.
    """

    source: str
    output: str | None
    status: str
    reason: str
    faces: list[FaceReport] = field(default_factory=list)
    backup: str | None = None
    encoding: str | None = None
    already: bool = False
    skipped: list[SkippedFace] = field(default_factory=list)


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
    """

    facecrypt: str
    versions: dict[str, str]
    recipe: dict[str, Any]
    seed: int
    device: str
    seconds: float
    notes: list[str]
    photos: list[dict[str, Any]]

    @property
    def complete(self) -> bool:
        """Whether every photo was protected, now or before."""
        return all(photo["status"] == "protected" or photo.get("already") for photo in self.photos)


def make(recipe: Recipe, notes: Sequence[str], photos: Sequence[dict[str, Any]], seconds: float, device: str) -> Report:
    """Return the report of a run.

    Args:
        recipe: The recipe that ran.
        notes: Remarks for its reader.
        photos: One `PhotoReport` per photo, as a mapping.
        seconds: Duration of the run.
        device: Device that made the masks.
    """
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return Report(
        metadata.version("facecrypt"),
        versions,
        recipe_values(recipe),
        recipe.seed,
        device,
        round(seconds, 2),
        list(notes),
        list(photos),
    )


@stage("report")
def write(report: Report, folder: Path, recipe: str) -> None:
    """Write report.json, report.html and recipe.yaml into the output folder, each at once or not at all.

    Args:
        report: The report.
        folder: The output folder.
        recipe: The resolved recipe as YAML.

    Raises:
        PhotoError: If a file cannot be written.
    """
    # In pieces and without a copy: with many photos, each of them would take as much memory as the report itself.
    _write(folder / "report.json", json.JSONEncoder(indent=2, allow_nan=False).iterencode(vars(report)), end="\n")
    write_text(folder / "report.html", render(report))
    write_text(folder / "recipe.yaml", recipe)


def render(report: Report) -> str:
    """Return the report as one self-contained HTML page, with the pictures of up to 200 faces."""
    template = (resources.files("facecrypt") / "data" / "report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    photos, left = [], _SHOWN_FACES
    for photo in report.photos:
        pictures = _pictures(photo, left)
        left -= len(pictures)
        photos.append({**photo, "pictures": pictures})
    verdicts = [v for p in report.photos for f in p["faces"] for v in f["recognisers"].values()]
    held_out = any(not (v["white_box"] or v.get("chooses")) for v in verdicts)
    return environment.from_string(template).render(report=report, photos=photos, held_out=held_out, gain=_MASK_GAIN)


def _pictures(photo: Mapping[str, Any], limit: int) -> list[dict[str, str]]:
    """Return the original, the protected face and the amplified mask of a photo's first faces as data URLs."""
    if photo["output"] is None or limit <= 0:
        return []
    try:
        original = photo.get("backup") or photo["source"]
        before, after = read_photo(Path(original)).pixels, read_photo(Path(photo["output"])).pixels
    except PhotoError:
        return []  # Somebody moved the files meanwhile; the numbers still stand.
    pictures = []
    for face in photo["faces"][:limit]:
        region = _around(face["box"], before.shape[1], before.shape[0])
        original, protected = before[region], after[region]
        mask = 128 + _MASK_GAIN * (protected.astype(np.int16) - original)
        pictures.append(
            {
                "original": _data_url(original),
                "protected": _data_url(protected),
                "mask": _data_url(mask.clip(0, 255).astype(np.uint8)),
            }
        )
    return pictures


def _around(box: Sequence[float], width: int, height: int) -> tuple[slice, slice]:
    left, top, right, bottom = box
    margin = 0.25 * max(right - left, bottom - top)
    return (
        slice(max(0, int(top - margin)), min(height, int(bottom + margin) + 1)),
        slice(max(0, int(left - margin)), min(width, int(right + margin) + 1)),
    )


def _data_url(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_text(path: Path, text: str) -> None:
    """Write a file at once or not at all, creating its folder.

    Args:
        path: The file to write or replace.
        text: Its content.

    Raises:
        PhotoError: If it cannot be written.
    """
    _write(path, [text])


def _write(path: Path, pieces: Iterable[str], end: str = "") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(pieces)
                file.write(end)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PhotoError(
            f"{path}: cannot be written ({error.strerror}). Free some space or name another output folder."
        ) from error
