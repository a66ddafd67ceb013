"""What recognisers see in a saved file: it is read and its faces are found afresh, as anybody else would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from facecrypt.face_rules import Faces, face_rules
from facecrypt.faces import SAME_FACE_OVERLAP, Face, FaceDetector, cut, face_area, overlap
from facecrypt.naturalness import mmd
from facecrypt.photos import Photo, read_photo
from facecrypt.protection import embed
from facecrypt.settings import FaceChoice, LandmarksFrom
from facecrypt.stopwatch import stage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets import Target

FoundAgain = Literal["detected", "detected in box", "known landmarks"]
"""How a face was found in the saved file: by the search of the whole photo or, for a face given by hand that this does
not find, by a search around its box, or not at all, so that it is judged where it was in the original."""


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
        chooses: Whether the recogniser chose the strength of the mask: its numbers show no protection from others.
    """

    white_box: bool
    similarity: float | None
    target_similarity: float | None
    threshold: float | None
    still_recognised: bool | None
    chooses: bool = False


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
        level: The level of strength that was chosen; None where the recipe leaves no choice.
        escaped: Whether the face escapes every judge that chooses, with the margin of the recipe; None likewise.
        index: Its number among all faces that were found in the original, from 1, the largest first; None for one
            given by hand.
        landmarks: How its landmarks in the original came about.
        found_again: How it was found in the saved file; None where it was not, so that there is no verdict.
    """

    box: tuple[float, float, float, float]
    target: str
    seconds: float
    max_abs: int
    psnr: float | None
    ssim: float
    mmd: float
    recognisers: dict[str, Verdict] = field(default_factory=dict)
    level: str | None = None
    escaped: bool | None = None
    index: int | None = None
    landmarks: LandmarksFrom = "detected"
    found_again: FoundAgain | None = None


@dataclass
class Judge:
    """A recogniser that judges saved files.

    Attributes:
        name: How the report calls it.
        embedder: The recogniser.
        white_box: Whether it is a surrogate of the run.
        targets: Its embeddings of the faces that check each target, ``(M, D)`` per target.
        chooses: Whether it chooses the strength of the masks.
    """

    name: str
    embedder: Embedder
    white_box: bool
    targets: list[Tensor]
    chooses: bool = False


def make_judge(
    name: str, embedder: Embedder, white_box: bool, targets: Sequence[Target], chooses: bool = False
) -> Judge:
    """Return a judge that knows the targets."""
    known = [embed(embedder, target.checks or (target.aim,)).cpu() for target in targets]
    return Judge(name, embedder, white_box, known, chooses)


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
    choice: FaceChoice | Faces,
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
        choice: What the recipe says of faces: ``aligned`` where the photo is an aligned face; else every face is
            searched, as finely as in the original.

    Raises:
        PhotoError: If the saved file cannot be read.
    """
    protected = read_photo(saved)
    rules = face_rules(choice)
    found = detector.find(protected, "aligned" if rules.choose == "aligned" else "all", rules.min_size)
    reports = []
    for face, target, spent in zip(faces, chosen, seconds, strict=True):
        again, how = _find_again(face, protected, found, detector)
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
                index=face.index,
                landmarks=face.landmarks_from,
                found_again=how,
            )
        )
    return reports


def _find_again(
    face: Face, protected: Photo, found: Sequence[Face], detector: FaceDetector
) -> tuple[Face | None, FoundAgain | None]:
    """Return a face of the original as it is found in the saved file, and how."""
    # A mask moves a box by a few pixels at most.
    again = max(found, key=lambda other: overlap(face.box, other.box), default=None)
    if again is not None and overlap(face.box, again.box) >= SAME_FACE_OVERLAP:
        return again, "detected"
    if face.landmarks_from == "detected":
        return None, None
    # Somebody knew where this face is, so somebody else may know it too: no reason to take it for safe.
    if (again := detector.find_in(protected, face.box)) is not None:
        return again, "detected in box"
    return face, "known landmarks"


def _judge(judge: Judge, photo: Photo, face: Face, protected: Photo, again: Face | None, target: int) -> Verdict:
    threshold = judge.embedder.spec.threshold
    if again is None:
        return Verdict(judge.white_box, None, None, threshold, None, chooses=judge.chooses)
    original = embed(judge.embedder, [cut(photo, face)]).cpu()[0]
    now = embed(judge.embedder, [cut(protected, again)]).cpu()[0]
    similarity = torch.dot(now, original).item()
    to_target = (judge.targets[target] @ now).max().item()
    still = None if threshold is None else similarity >= threshold
    return Verdict(judge.white_box, similarity, to_target, threshold, still, chooses=judge.chooses)


def _largest_change(photo: Photo, protected: Photo, face: Face) -> int:
    left, top, side = face.patch
    rows, columns = slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
    change = protected.pixels[rows, columns].astype(np.int16) - photo.pixels[rows, columns].astype(np.int16)
    return int(np.abs(change).max())
