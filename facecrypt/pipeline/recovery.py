"""Photos that an earlier run protected and was stopped before it had measured them: they are measured now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from facecrypt.engine.selection import Selection
from facecrypt.engine.strength import Goal, level_keys
from facecrypt.errors import EmbeddingError, PhotoError
from facecrypt.evaluation.verification import Jury, verify
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.photos.encoding import is_lossless
from facecrypt.photos.files import Photo, file_digest, read_photo
from facecrypt.report.writer import PhotoReport
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from facecrypt.verdicts.verdict import worst


def measure_again(
    photo: PhotoReport,
    destination: Path,
    original: Path | None,
    *,
    choose: Callable[[Photo], Selection],
    surrogates: Sequence[Surrogate],
    jury: Jury,
    goal: Goal,
    in_place: bool,
) -> PhotoReport:
    """Return a photo that was protected before with its faces, measured on the files as they are.

    It costs what verifying a photo costs, and no mask is made. What no file tells stays open: the time of each mask is
    0, its strength is not named, and its target is the one that the surrogates find nearest to the saved face.

    Args:
        photo: What this run knows of it.
        destination: The protected photo.
        original: The photo as it was; None where that is not kept, so that nothing can be measured.
        choose: Says which faces the recipe means.
        surrogates: The recognisers that gave gradients.
        jury: Who judges, and how.
        goal: What masks are to reach, in this run as in the earlier one.
        in_place: Whether the photo was replaced, so that its original is a backup.
    """
    if original is None:
        return photo
    try:
        before, after = read_photo(original), read_photo(destination)
        chosen = choose(before)
        if before.pixels.shape != after.pixels.shape or not chosen.faces:
            return photo
        faces = verify(
            destination,
            before,
            chosen.faces,
            _nearest(after, chosen.faces, jury.targets, surrogates),
            [0.0] * len(chosen.faces),
            jury,
        )
    except (PhotoError, EmbeddingError):
        # Somebody moved a file meanwhile, or a surrogate fails on a face: the photo is as it was, without numbers.
        return photo
    faces = [replace(face, **level_keys(goal, face, None)) for face in faces]
    lossless = is_lossless(after, after._format)
    return replace(
        photo,
        reason=f"{photo.reason} Its faces were measured now, since no report of an earlier run has them.",
        output=str(destination),
        faces=faces,
        backup=str(original) if in_place else None,
        encoding=f"{'lossless' if lossless else 'lossy'} {after._format}",
        skipped=chosen.skipped,
        source_sha256=before.digest,
        output_sha256=file_digest(destination),
        verdict=worst(face.verdict for face in faces),
    )


def _nearest(
    protected: Photo, faces: Sequence[Face], targets: Sequence[Target], surrogates: Sequence[Surrogate]
) -> list[int]:
    """Return the target that each protected face, where it was in the original, is most like."""
    likeness = torch.zeros(len(faces), len(targets))
    for each in surrogates:
        seen = embed(each.embedder, [cut(protected, face) for face in faces]).cpu()
        likeness += seen @ embed(each.embedder, [target.aim for target in targets]).cpu().T
    nearest: list[int] = likeness.argmax(dim=1).tolist()
    return nearest
