"""The report as one HTML page that needs no network: pictures, style and script are inside it."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from facecrypt.errors import PhotoError
from facecrypt.photos.files import read_photo
from facecrypt.system.texts import plain
from facecrypt.verdicts.sentences import face_names, face_sentence, label_of
from facecrypt.verdicts.verdict import is_evidence

if TYPE_CHECKING:
    from facecrypt.report.model import Report

SHOWN_FACES = 200
"""A page with the pictures of more faces than this would not open on a phone; report.json holds all numbers."""
MASK_GAIN = 8
"""How many times stronger the mask is shown."""
_PICTURE_SIDE = 320
_MANY_FACES = 40
_SMALL_SIDE = 200
"""Side of the pictures where there are more faces than `_MANY_FACES`."""
_QUALITY = 90


def render(report: Report, files: Mapping[str, Path] = MappingProxyType({})) -> str:
    """Return the report as one self-contained HTML page, with the pictures of up to 200 faces.

    Args:
        report: The report.
        files: The files of photos that lie elsewhere than their names say.
    """
    style, script = (_read(name) for name in ("report.css", "report.js"))
    originals = bool(report.recipe["report"]["originals"])
    count = sum(len(photo["faces"]) for photo in report.photos)
    side, left, photos = _PICTURE_SIDE if count <= _MANY_FACES else _SMALL_SIDE, SHOWN_FACES, []
    for photo in report.photos:
        pictures = _pictures(photo, left, side, originals, files)
        left -= len(pictures)
        names = face_names(photo["faces"])
        faces = [
            face
            | {
                "number": number,
                "name": names[number - 1],
                "pictures": pictures[number - 1] if number <= len(pictures) else None,
                "verdict": face.get("verdict"),
                "visible": face.get("visible"),
                "expected": face.get("expected"),
                "sentence": face.get("sentence") or face_sentence(face["recognisers"]),
                "judges": _judges(face["recognisers"]),
            }
            for number, face in enumerate(photo["faces"], 1)
        ]
        photos.append(photo | {"name": Path(photo["source"]).name, "faces": faces})
    ranked = any(judge["ranked"] for photo in photos for face in photo["faces"] for judge in face["judges"])
    return _template().render(
        report=report,
        photos=photos,
        faces=count,
        ranked=ranked,
        chosen=any(judge.get("chooses") for photo in photos for face in photo["faces"] for judge in face["judges"]),
        earlier=sum(bool(photo.get("already")) for photo in photos),
        gain=MASK_GAIN,
        slug=_slug,
        originals=originals,
        # Not escaped: both are files of this package.
        style=Markup(style),
        script=Markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )


def _shown(value: Any) -> Any:
    """Return what a page says in place of a value: names of files may hold what turns text around or is no UTF-8."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _slug(verdict: str | None) -> str:
    """Return what the style calls a verdict."""
    return (verdict or "").replace(" ", "-")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return environment.from_string(_read("report.html.jinja"))


def _read(name: str) -> str:
    return (resources.files("facecrypt") / "data" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return what a content security policy calls an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _judges(verdicts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the receipts of a face, those of held-out recognisers first."""
    return [
        {
            "name": name,
            "role": _role(verdict),
            "evidence": is_evidence(verdict),
            "rows": _rows(verdict),
            "ranked": _is_ranked(verdict),
            "way": _way(verdict),
            "cannot_judge": "",
            **verdict,
        }
        for name, verdict in sorted(verdicts.items(), key=lambda item: not is_evidence(item[1]))
    ]


def _role(verdict: Mapping[str, Any]) -> str:
    if verdict["white_box"]:
        return "surrogate: masks were made with it, shows no protection"
    return "chose the strength: no evidence" if verdict.get("chooses") else "held-out: had no part in the mask"


def _way(verdict: Mapping[str, Any]) -> str:
    """Return how a judge was asked for its opinion, and whom it named."""
    asked = verdict.get("asked")
    if asked == "pair":
        return "decides by itself, beside the original"
    if asked == "enrolled photos":
        return f"decides by itself, beside photos of {verdict['person'] or 'the person'}"
    if asked == "ranking" and not verdict.get("cannot_judge"):
        return f"ranks the enrolled people; of {verdict['person']}'s face it says: {verdict['named'] or 'nobody'}"
    return "ranks the enrolled people" if asked else ""


def _is_ranked(verdict: Mapping[str, Any]) -> bool:
    """Return whether there was a gallery: of a photo that was carried over, only its own numbers tell."""
    return any(sighting["place"] for sighting in verdict.get("before", {}).values())


def _rows(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    before = verdict.get("before", {})
    after = verdict.get("after") or {"none": {**verdict, "place": None}}
    return [
        {
            "label": label_of(name),
            "saved": name == "none",
            "before": before.get(name) and {"cannot_judge": "", **before[name]},
            "after": {"cannot_judge": "", **now},
        }
        for name, now in after.items()
    ]


def _pictures(
    photo: Mapping[str, Any], limit: int, side: int, originals: bool, files: Mapping[str, Path]
) -> list[dict[str, str]]:
    """Return the original, the protected face and the amplified mask of a photo's first faces as data URLs.

    Args:
        photo: An entry of the report.
        limit: Most faces to show.
        side: Longest side of a picture in pixels.
        originals: Whether to show more than the protected faces.
        files: The files of photos that lie elsewhere than their names say.
    """
    if photo["output"] is None or limit <= 0:
        return []
    try:
        protected = read_photo(Path(photo["output"]))
        after = protected.pixels
        source = photo.get("backup") or files.get(photo["source"], photo["source"])
        before = read_photo(Path(source)).pixels if originals else None
    except PhotoError:
        return []  # Somebody moved the files meanwhile; the numbers still stand.
    if before is not None and before.shape != after.shape:
        return []
    if not originals and photo.get("output_sha256") not in (None, protected.digest):
        return []  # Somebody put another photo there, which may be the original.
    pictures = []
    for face in photo["faces"][:limit]:
        region = _around(face["box"], after.shape[1], after.shape[0])
        if not after[region].size:
            break
        shown = {"protected": after[region]}
        if before is not None:
            mask = 128 + MASK_GAIN * (after[region].astype(np.int16) - before[region])
            shown |= {"original": before[region], "mask": mask.clip(0, 255).astype(np.uint8)}
        pictures.append({name: _data_url(pixels, side) for name, pixels in shown.items()})
    return pictures


def _around(box: Sequence[float], width: int, height: int) -> tuple[slice, slice]:
    left, top, right, bottom = box
    margin = 0.25 * max(right - left, bottom - top)
    return (
        slice(max(0, int(top - margin)), min(height, int(bottom + margin) + 1)),
        slice(max(0, int(left - margin)), min(width, int(right + margin) + 1)),
    )


def _data_url(pixels: NDArray[np.uint8], side: int) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
