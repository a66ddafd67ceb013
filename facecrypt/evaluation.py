"""What recognisers see in a saved file: it is read and its faces are found afresh, as anybody else would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from facecrypt.faces import Face, FaceDetector, cut, face_area
from facecrypt.naturalness import mmd
from facecrypt.photos import Photo, read_photo
from facecrypt.protection import embed
from facecrypt.settings import FaceChoice
from facecrypt.stopwatch import stage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets import Target

_SAME_FACE_OVERLAP = 0.3
"""Intersection over union from which two detections are the same face; a mask moves a box by a few pixels at most."""


@dataclass(frozen=True)
class Verdict:
    """What one recogniser says of one protected face.

    Attributes:
        white_box: Whether the recogniser gave gradients in this run: its numbers show no protection from others.
        similarity: Cosine between the protected and the original face; None where no face is found any more.
        target_similarity: Largest cosine between the protected face and the target's images that no mask has aimed at
            (the aimed-at image where there is no other); None where no face is found any more.
        threshold: Cosine from which the recogniser takes two faces for one person (FAR 1 %); None where it is unknown.
        still_recognised: Whether the similarity reaches the threshold; None where one of them is unknown.
    """

    white_box: bool
    similarity: float | None
    target_similarity: float | None
    threshold: float | None
    still_recognised: bool | None


@dataclass(frozen=True)
class FaceReport:
    """One protected face, measured on the saved file.

    Attributes:
        box: Left, top, right, bottom in photo pixels.
        target: Name of the target identity of the last iteration.
        seconds: Time that its mask took; faces that were protected together share theirs equally.
        max_abs: Largest change of a channel within its patch, in grey levels.
        psnr: Peak signal-to-noise ratio of the aligned 112x112 face, in dB; None where nothing changed.
        ssim: Structural similarity of the aligned face, at most 1.
        mmd: Maximum mean discrepancy of the aligned face (Eq. 3).
        recognisers: Verdicts by name of the recogniser.
    """

    box: tuple[float, float, float, float]
    target: str
    seconds: float
    max_abs: int
    psnr: float | None
    ssim: float
    mmd: float
    recognisers: dict[str, Verdict] = field(default_factory=dict)


@dataclass
class Judge:
    """A recogniser that judges saved files.

    Attributes:
        name: How the report calls it.
        embedder: The recogniser.
        white_box: Whether it is a surrogate of the run.
        targets: Its embeddings of the faces that check each target, ``(M, D)`` per target.
    """

    name: str
    embedder: Embedder
    white_box: bool
    targets: list[Tensor]


def make_judge(name: str, embedder: Embedder, white_box: bool, targets: Sequence[Target]) -> Judge:
    """Return a judge that knows the targets."""
    return Judge(
        name, embedder, white_box, [embed(embedder, target.checks or (target.aim,)).cpu() for target in targets]
    )


@stage("verify")
def verify(
    saved: Path,
    photo: Photo,
    faces: Sequence[Face],
    chosen: Sequence[int],
    seconds: Sequence[float],
    *,
    targets: Sequence[Target],
    judges: Sequence[Judge],
    detector: FaceDetector,
    choice: FaceChoice,
) -> list[FaceReport]:
    """Return what the judges see in a saved photo, face by face.

    Args:
        saved: The protected file.
        photo: The original.
        faces: The faces of the original that were protected.
        chosen: Index of the target of each face.
        seconds: Time that each face's mask took.
        targets: The target identities.
        judges: The recognisers.
        detector: Finds the faces of the saved file.
        choice: ``aligned`` where the photo is an aligned face; else every face is searched.

    Raises:
        PhotoError: If the saved file cannot be read.
    """
    protected = read_photo(saved)
    found = detector.find(protected, "aligned" if choice == "aligned" else "all")
    reports = []
    for face, target, spent in zip(faces, chosen, seconds, strict=True):
        again = max(found, key=lambda other: overlap(face.box, other.box), default=None)
        if again is not None and overlap(face.box, again.box) < _SAME_FACE_OVERLAP:
            again = None
        before, after = face_area(photo, face), face_area(protected, face)
        unchanged = torch.equal(before, after)
        reports.append(
            FaceReport(
                box=tuple(round(value, 1) for value in face.box),  # type: ignore[arg-type]  # four in, four out
                target=targets[target].name,
                seconds=round(spent, 3),
                max_abs=_largest_change(photo, protected, face),
                psnr=None if unchanged else peak_signal_noise_ratio(after, before, data_range=1.0).item(),
                ssim=float(structural_similarity_index_measure(after, before, data_range=1.0)),  # type: ignore[arg-type]
                mmd=mmd(after, before).item(),
                recognisers={judge.name: _judge(judge, photo, face, protected, again, target) for judge in judges},
            )
        )
    return reports


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes, given as left, top, right, bottom."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def _judge(judge: Judge, photo: Photo, face: Face, protected: Photo, again: Face | None, target: int) -> Verdict:
    threshold = judge.embedder.spec.threshold
    if again is None:
        return Verdict(judge.white_box, None, None, threshold, None)
    original = embed(judge.embedder, [cut(photo, face)]).cpu()[0]
    now = embed(judge.embedder, [cut(protected, again)]).cpu()[0]
    similarity = torch.dot(now, original).item()
    to_target = (judge.targets[target] @ now).max().item()
    return Verdict(
        judge.white_box, similarity, to_target, threshold, None if threshold is None else similarity >= threshold
    )


def _largest_change(photo: Photo, protected: Photo, face: Face) -> int:
    left, top, side = face.patch
    rows, columns = slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
    change = protected.pixels[rows, columns].astype(np.int16) - photo.pixels[rows, columns].astype(np.int16)
    return int(np.abs(change).max())
