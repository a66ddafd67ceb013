"""Beyond the saved file: faces after the photo was changed once more, and their rank in a gallery of known people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecrypt.detectors.base import SAME_FACE_OVERLAP, overlap
from facecrypt.detectors.search import FaceDetector, search_scale
from facecrypt.errors import PhotoError
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.faces.face import Face, Window, patch_around
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import Photo, file_digest, find_photos
from facecrypt.recipe.face_rules import Faces
from facecrypt.surrogates.embedder import Embedder
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder
from facecrypt.transforms.base import Published

FoundAgain = Literal["detected", "detected in box", "known landmarks"]
"""How a face was found again: by the search of the photo or, for a face given by hand that this does not find, by a
search around its box, or not at all, so that it is judged where it was in the original."""


class FoundFace(NamedTuple):
    """A face of the original in some state of the photo.

    Attributes:
        image: What recognisers see of it.
        how: How it was found.
        face: Where it is in that state of the photo.
    """

    image: FaceImage
    how: FoundAgain = "detected"
    face: Face | None = None


@dataclass(frozen=True)
class Place:
    """Where a face stands in a gallery whose photos one recogniser sorts by similarity, the most similar first.

    Attributes:
        own_rank: Rank of the first photo of the person; None where the recogniser does not know the unprotected face.
        own_similarity: Cosine with that photo.
        target_rank: Rank of the first photo of the face's target.
    """

    own_rank: int | None
    own_similarity: float | None
    target_rank: int


@dataclass(frozen=True)
class Sighting:
    """What one recogniser sees of a face in one state of the photo.

    Attributes:
        similarity: Cosine with the original face; None where no face is found.
        still_recognised: Whether it reaches the recogniser's threshold; None where one of them is unknown.
        place: Where the face stands in the gallery; None without a gallery, or where no face is found.
        cannot_judge: Why the recogniser has no similarity although a face is found, or empty.
    """

    similarity: float | None
    still_recognised: bool | None
    place: Place | None
    cannot_judge: str = ""


@dataclass(frozen=True)
class People:
    """Photos of known people, as one recogniser sees them.

    Attributes:
        names: Whose photo each is; photos without a face are left out.
        digests: SHA-256 of each file.
        embeddings: Unit embeddings, ``(G, D)``, on the CPU.
    """

    names: Sequence[str]
    digests: Sequence[str | None]
    embeddings: Tensor

    def without(self, digest: str) -> People:
        """Return the photos but for copies of a file: to find the very same file would say nothing."""
        if digest not in self.digests:
            return self
        kept = [row for row, each in enumerate(self.digests) if each != digest]
        names, digests = [self.names[row] for row in kept], [self.digests[row] for row in kept]
        return People(names, digests, self.embeddings[kept])

    def recognise(self, face: Tensor, threshold: float | None) -> str | None:
        """Return whose photo is most similar to a face, or None where that does not reach the threshold.

        Args:
            face: Unit embedding, ``(D,)``.
            threshold: Cosine from which two faces are one person; with None nobody is known.
        """
        if threshold is None or not self.names:
            return None
        similarity, row = (self.embeddings @ face).max(dim=0)
        return self.names[int(row)] if similarity.item() >= threshold else None

    def place(self, face: Tensor, person: str | None, targets: Sequence[Tensor], target: int) -> Place:
        """Return where a face stands among these photos and those of all targets.

        Args:
            face: Unit embedding, ``(D,)``.
            person: Whose photos are its own; None where that is not known.
            targets: Unit embeddings of each target's photos, ``(M, D)``, which are in the gallery, too.
            target: Index of the face's target.
        """
        known = self.embeddings @ face
        aimed = [photos @ face for photos in targets]
        every = torch.cat([known, *aimed])

        def rank(similarity: Tensor) -> int:
            return 1 + int((every > similarity).sum())

        target_rank = rank(aimed[target].max())
        own = known[[row for row, name in enumerate(self.names) if name == person]]
        if person is None or not len(own):
            return Place(None, None, target_rank)
        return Place(rank(own.max()), own.max().item(), target_rank)


class Gallery:
    """A folder with photos of known people: a subfolder for each person, and any photo beside them is one person.

    Args:
        where: The folder.
        detector: Finds the largest face of each photo.
        aligned: Whether each photo is itself an aligned face.
        cache: Folder that keeps the embeddings for later runs; None keeps none.

    Raises:
        PhotoError: If it is no folder or holds no photos.
    """

    def __init__(self, where: str, detector: FaceDetector, *, aligned: bool, cache: str | None) -> None:
        folder = expand_home(where)
        if not folder.is_dir():
            raise PhotoError(
                f"receipt.gallery: {where!r} is no folder. Name one with a subfolder of photos for each person."
            )
        self.folder = folder
        self.photos = find_photos(str(folder), recursive=True)
        parts = [path.relative_to(folder).parts for path in self.photos]
        self.names = [names[0] if len(names) > 1 else Path(names[0]).stem for names in parts]
        self._digests = [file_digest(path) for path in self.photos]
        self._detector, self._aligned, self._cache = detector, aligned, cache

    def describe(self, people: People) -> dict[str, Any]:
        """Return what report.json says of it: the folder, its photos that show a face, and how many people they show.

        Args:
            people: The gallery as any recogniser sees it.
        """
        return {"folder": str(self.folder), "photos": len(people.names), "people": len(set(people.names))}

    def people(self, embedder: Embedder) -> People:
        """Return the gallery as a recogniser sees it.

        Raises:
            PhotoError: With all photos that cannot be used, or if none shows a face.
            EmbeddingError: If the recogniser gives no embedding of a photo.
        """
        with temporary_folder("gallery") as scratch:
            folder = scratch if self._cache is None else expand_home(self._cache)
            try:
                embeddings, found = EmbeddingCache(folder).embed_files(
                    self.photos,
                    embedder,
                    recogniser_key(embedder),
                    self._detector,
                    "aligned" if self._aligned else "largest",
                )
            except PhotoError as error:
                raise PhotoError(f"receipt.gallery: {error.lines[0]}", error.faults) from error
        if not found.any():
            raise PhotoError(f"receipt.gallery: no face found in {self.folder}. Name a folder with photos of faces.")
        rows = found.nonzero().flatten().tolist()
        return People([self.names[row] for row in rows], [self._digests[row] for row in rows], embeddings[found])


def see_again(
    photo: Photo, transform: Published, faces: Sequence[Face], detector: FaceDetector, rules: Faces
) -> list[FoundFace | None]:
    """Return faces as they are found in a photo that was changed; None for one that is not found any more.

    The photo as it is, is searched as a whole. A changed one is searched around the known places where that is much
    less work than the whole, and the whole once otherwise.

    Args:
        photo: The original or the protected photo.
        transform: What happens to it.
        faces: Its faces, as they were found in the original.
        detector: Finds the faces.
        rules: Which faces the recipe means: the photo is searched as finely as they say, and not at all where it is
            itself an aligned face.
    """
    height, width = photo.pixels.shape[:2]
    changed = Photo(photo.path, transform(photo.pixels))
    scale = np.array([changed.pixels.shape[1] / width, changed.pixels.shape[0] / height], np.float32)
    known = [_scaled(face, scale) for face in faces]
    aligned = rules.choose == "aligned"
    min_size = rules.min_size and rules.min_size * float(scale.min())
    windows = [] if aligned or transform.is_nothing else _windows(changed, [face.box for face in known], min_size)
    if windows:
        found = [face for window in windows for face in _find_in(changed, window, detector, min_size)]
    else:
        found = detector.find(changed, "aligned" if aligned else "all", min_size)
    return [_find_again(face, changed, found, detector) for face in known]


def _scaled(face: Face, scale: NDArray[np.float32]) -> Face:
    """Return a face in a photo whose width and height were multiplied."""
    if (scale == 1).all():
        return face
    left, top, right, bottom = (np.array(face.box) * np.tile(scale, 2)).tolist()
    landmarks = face.landmarks * scale
    return replace(face, box=(left, top, right, bottom), landmarks=landmarks, patch=patch_around(landmarks))


def _find_again(face: Face, photo: Photo, found: Sequence[Face], detector: FaceDetector) -> FoundFace | None:
    # A mask or a transform moves a box by a few pixels at most.
    again = max(found, key=lambda other: overlap(face.box, other.box), default=None)
    if again is not None and overlap(face.box, again.box) >= SAME_FACE_OVERLAP:
        return FoundFace(cut(photo, again), face=again)
    if face.landmarks_from == "detected":
        return None
    # Somebody knew where this face is, so somebody else may know it too: no reason to take it for safe.
    if (again := detector.find_in(photo, face.box)) is not None:
        return FoundFace(cut(photo, again), "detected in box", again)
    return FoundFace(cut(photo, face), "known landmarks", face)


def _windows(photo: Photo, boxes: Sequence[Sequence[float]], min_size: float | None) -> list[Window]:
    """Return each box with its own size of room on every side; nothing where that is no small part of the photo."""
    height, width = photo.pixels.shape[:2]
    windows = []
    for left, top, right, bottom in boxes:
        room = max(right - left, bottom - top)
        low, high = (max(0, int(left - room)), max(0, int(top - room))), (int(right + room) + 1, int(bottom + room) + 1)
        windows.append(Window(*low, min(width, high[0]), min(height, high[1])))
    work = sum(_work(window.right - window.left, window.bottom - window.top, min_size) for window in windows)
    return windows if work < _work(width, height, min_size) / 4 else []


def _work(width: int, height: int, min_size: float | None) -> float:
    """Return how many pixels are searched of a picture."""
    return width * height * search_scale(width, height, min_size) ** 2


def _find_in(photo: Photo, window: Window, detector: FaceDetector, min_size: float | None) -> list[Face]:
    left, top, right, bottom = window
    faces = detector.find(
        Photo(photo.path, np.ascontiguousarray(photo.pixels[top:bottom, left:right])), "all", min_size
    )
    moved = []
    for face in faces:
        landmarks = face.landmarks + np.array([left, top], np.float32)
        x0, y0, x1, y1 = face.box
        box = (x0 + left, y0 + top, x1 + left, y1 + top)
        moved.append(replace(face, box=box, landmarks=landmarks, patch=patch_around(landmarks)))
    return moved
