"""One whose faces are found and aligned otherwise than those for which masks were made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Shown
from facecrypt.benchmark.adversaries.entries import Looseness, Noise
from facecrypt.benchmark.adversaries.galleries import answer_by
from facecrypt.choices import FaceChoice
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.face import Face, patch_around
from facecrypt.photos.files import Photo
from facecrypt.pipeline.builders import build_detector
from facecrypt.recipe.schema import Slot


class Realigned(FaceDetector):
    """Another detector, whose landmarks are then moved.

    Args:
        detector: Finds the faces.
        noise: Standard deviation of each coordinate of each landmark, in distances between the eyes. It is drawn from
            the pixels of the photo, so that a photo has always the same.
        looser: By how much farther apart landmarks are taken to be, around their mean: as much more is then in a crop.
        again: Whether a face is searched again in a crop around it, and aligned by what is found there.
    """

    def __init__(self, detector: FaceDetector, *, noise: float = 0.0, looser: float = 1.0, again: bool = False) -> None:
        self._finder, self._noise, self._looser, self._again = detector, noise, looser, again
        parts = (detector.identity, noise, looser, again)
        moved = (noise, looser, again) != (0.0, 1.0, False)
        self.identity = hashlib.sha256(repr(("realigned", *parts)).encode()).hexdigest() if moved else detector.identity

    def find(self, photo: Photo, choice: FaceChoice, min_size: float | None = None) -> list[Face]:
        """Return the faces of a photo, the largest first, as `FaceDetector.find` does, with their landmarks moved."""
        faces = []
        for face in self._finder.find(photo, choice, min_size):
            closer = self._finder.find_in(photo, face.box) if self._again and choice != "aligned" else None
            points = self._move(face.landmarks if closer is None else closer.landmarks, photo)
            # An aligned face fills its photo, and there is nothing around it.
            patch = face.patch if choice == "aligned" else patch_around(points)
            faces.append(replace(face, landmarks=points, patch=patch))
        return faces

    def _move(self, points: NDArray[np.float32], photo: Photo) -> NDArray[np.float32]:
        middle = points.mean(axis=0)
        moved: NDArray[np.floating[Any]] = middle + self._looser * (points - middle)
        if self._noise:
            digest = hashlib.sha256(photo.pixels.tobytes()).digest()
            eyes = float(np.linalg.norm(points[1] - points[0]))
            drawn = np.random.default_rng(int.from_bytes(digest[:8], "little")).normal(size=points.shape)
            moved = moved + self._noise * eyes * drawn
        return np.asarray(moved, np.float32)


class OtherAlignment:
    """Finds and aligns faces otherwise, in the probes and in the gallery alike.

    Args:
        detector: Registered name of its detector.
        noise: As `Realigned` takes it.
        looser: As `Realigned` takes it.
        again: As `Realigned` takes it: crop and align again.
    """

    needs: Needs = Needs()
    rows: Rows = "all"

    def __init__(
        self, *, detector: str = "yunet", noise: Noise = 0.0, looser: Looseness = 1.0, again: bool = False
    ) -> None:
        self._detector = Realigned(build_detector(Slot(detector)), noise=noise, looser=looser, again=again)

    def prepare(self, lab: Lab) -> _Aligner:
        """Return it with the gallery as it sees it."""
        entries = lab.cast.protocol.gallery
        seen = lab.embed([entry.image for entry in entries], self._detector)
        labels = torch.tensor([lab.cast.numbers[entry.identity] for entry in entries])
        return _Aligner(lab, Gallery(seen.embeddings[seen.found], labels[seen.found]), self._detector)


@dataclass(frozen=True)
class _Aligner:
    lab: Lab
    gallery: Gallery
    detector: FaceDetector

    def answer(self, shown: Shown) -> Answer:
        return answer_by(self.gallery, self.lab.embed(shown.files, self.detector), self.lab.own, self.lab.seed)
