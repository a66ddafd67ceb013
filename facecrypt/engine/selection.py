"""Which faces of a photo are protected, by the rules of a recipe, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from facecrypt import registry
from facecrypt.choices import FaceChoice
from facecrypt.detectors.base import SAME_FACE_OVERLAP, overlap
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import NoFaceFoundError, PhotoError
from facecrypt.faces.face import Face, SkippedFace, face_at, place_face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, find_photos, read_photo
from facecrypt.recipe.face_rules import RECOGNISER, SMALLEST_BOX, Faces, face_rules
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.system.timing import stage


class Selection(NamedTuple):
    """What rules make of a photo.

    Attributes:
        faces: The faces to protect: the largest first, those given by hand last.
        skipped: The other faces.
        reason: Why there is no face to protect, or empty.
    """

    faces: list[Face]
    skipped: list[SkippedFace]
    reason: str


@dataclass(frozen=True)
class References:
    """The people whom ``faces.only`` and ``faces.except`` name.

    Attributes:
        recogniser: Compares them with the faces of a photo, on the CPU.
        threshold: Cosine from which two faces are taken for one person (FAR 1 %).
        only: Unit embeddings of the faces to protect, ``(N, D)``; None where nobody is named.
        others: The same of the faces to leave.
    """

    recogniser: Embedder
    threshold: float
    only: Tensor | None
    others: Tensor | None


def load_references(choice: FaceChoice | Faces, detector: FaceDetector) -> References | None:
    """Return the people whom a recipe names by photos, or None where it names nobody.

    Args:
        choice: What the recipe says of faces.
        detector: Finds the faces of the photos, of which the largest counts.

    Raises:
        PhotoError: If a photo cannot be read.
        NoFaceFoundError: If a photo shows no face.
        WeightsError: If the recogniser cannot be loaded.
    """
    rules = face_rules(choice)
    if not rules.only and not rules.except_:
        return None
    recogniser: Embedder = registry.build("surrogate", RECOGNISER, {})
    threshold = recogniser.spec.threshold
    assert threshold is not None
    only, others = (
        _embed_references(key, paths, detector, recogniser) if paths else None
        for key, paths in (("only", rules.only), ("except", rules.except_))
    )
    return References(recogniser, threshold, only, others)


def _embed_references(key: str, names: Sequence[str], detector: FaceDetector, recogniser: Embedder) -> Tensor:
    images = []
    for name in names:
        try:
            for path in find_photos(name):
                photo = read_photo(path)
                faces = detector.find(photo, "largest")
                if not faces:
                    raise NoFaceFoundError(f"{path}: no face found. Name a photo with a larger, frontal face.")
                images.append(cut(photo, faces[0]))
        except PhotoError as error:
            raise type(error)(f"faces.{key}: {error}") from error
    return embed(recogniser, images)


@stage("detect")
def choose_faces(
    photo: Photo, choice: FaceChoice | Faces, detector: FaceDetector, references: References | None = None
) -> Selection:
    """Return the faces of a photo that a recipe means.

    A face that is found passes minimum size, number, ``only`` and ``except`` in this order, and then the largest is
    taken if that is asked for. Faces given by hand come in any case, in place of found ones that they overlap.

    Args:
        photo: The photo.
        choice: What the recipe says of faces.
        detector: Finds faces.
        references: From `load_references` with the same choice and detector.

    Raises:
        PhotoError: If an aligned face is not square, or a face given by hand lies outside the photo.
    """
    rules = face_rules(choice)
    by_hand = _faces_by_hand(photo, rules, detector)
    found: list[Face] = []
    if rules.choose is not None:
        word: FaceChoice = "aligned" if rules.choose == "aligned" else "all"
        found = detector.find(photo, word, rules.min_size)
    apart = [face for face in found if all(overlap(face.box, each.box) < SAME_FACE_OVERLAP for each in by_hand)]
    left, skipped = _sift(photo, apart, rules, references)
    absent = [
        SkippedFace(index, None, f"no such face: {len(found)} found")
        for index in sorted(set(rules.index or []))
        if index > len(found)
    ]
    reason = "" if left or by_hand else _reason(skipped)
    return Selection(left + by_hand, skipped + absent, reason)


def _faces_by_hand(photo: Photo, rules: Faces, detector: FaceDetector) -> list[Face]:
    height, width = photo.pixels.shape[:2]
    faces = []
    for number, box in enumerate(rules.box or []):
        inside = [max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)]
        if min(inside[2] - inside[0], inside[3] - inside[1]) < SMALLEST_BOX:
            raise PhotoError(f"{photo.path}: faces.box[{number}] lies outside its {width}x{height} pixels.")
        faces.append(detector.find_in(photo, inside) or place_face(inside))
    for number, points in enumerate(rules.landmarks or []):
        if not all(0 <= x < width and 0 <= y < height for x, y in points):
            raise PhotoError(f"{photo.path}: faces.landmarks[{number}] lies outside its {width}x{height} pixels.")
        faces.append(face_at(points))
    return faces


def _sift(
    photo: Photo, faces: Sequence[Face], rules: Faces, references: References | None
) -> tuple[list[Face], list[SkippedFace]]:
    left: list[Face] = []
    skipped: list[SkippedFace] = []
    for face in faces:
        reason, similarity = _fault(photo, face, rules, references)
        if not reason and rules.choose == "largest" and left:
            reason = "not the largest"
        if reason:
            assert face.index is not None  # The search numbers every face.
            x0, y0, x1, y1 = (round(value, 1) for value in face.box)
            skipped.append(SkippedFace(face.index, (x0, y0, x1, y1), reason, similarity))
        else:
            left.append(face)
    return left, skipped


def _fault(photo: Photo, face: Face, rules: Faces, references: References | None) -> tuple[str, float | None]:
    """Return why the rules leave a face, or nothing, and its similarity to the references where that decided."""
    left, top, right, bottom = face.box
    if rules.min_size and min(right - left, bottom - top) < rules.min_size:
        return f"too small: {right - left:.0f}x{bottom - top:.0f} pixels, faces.min_size is {rules.min_size:g}", None
    if rules.index and face.index not in rules.index:
        return f"not what faces.index names ({', '.join(map(str, rules.index))})", None
    if references is None:
        return "", None
    embedding = embed(references.recogniser, [cut(photo, face)])[0]
    scale = f"same person from {references.threshold:.3f} ({RECOGNISER})"
    if references.only is not None and (most := _likeness(embedding, references.only)) < references.threshold:
        return f"not like faces.only: similarity {most:+.3f}, {scale}", most
    if references.others is not None and (most := _likeness(embedding, references.others)) >= references.threshold:
        return f"like faces.except: similarity {most:+.3f}, {scale}", most
    return "", None


def _likeness(embedding: Tensor, references: Tensor) -> float:
    """Return the largest cosine of a face ``(D,)`` with one of the references ``(N, D)``."""
    return torch.mv(references, embedding).max().item()


def _reason(skipped: Sequence[SkippedFace]) -> str:
    """Return why a photo has no face to protect."""
    if not skipped:
        return (
            "no face found, nothing was written. Use a photo with a larger, unobstructed face, give it by hand "
            "(faces.box), or faces: aligned if it is an aligned face."
        )
    compared = [face for face in skipped if face.similarity is not None]
    nearest = min(compared, key=lambda face: -(face.similarity or 0.0), default=skipped[0])
    count = "its only face is not" if len(skipped) == 1 else f"none of its {len(skipped)} faces is"
    return f"{count} chosen, nothing was written. Face {nearest.index} is {nearest.reason}."
