"""The people whose photos a user gives to a judge, and which of them a face is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from facecrypt import registry
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PhotoError
from facecrypt.faces.patches import FaceImage
from facecrypt.judges.base import Picture
from facecrypt.judges.pictures import show
from facecrypt.photos.files import file_digest, read_photo
from facecrypt.photos.finding import find_photos
from facecrypt.recipe.face_rules import RECOGNISER
from facecrypt.recipe.judge_rules import person_of
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed, look
from facecrypt.system.naming import expand_home


def enrolment_photos(where: str) -> tuple[Path, list[Path]]:
    """Return a folder of people to enrol, and its photos.

    Raises:
        PhotoError: If it is no folder or holds no photos.
    """
    folder = expand_home(where)
    if not folder.is_dir():
        raise PhotoError(f"enrol: {where!r} is no folder. Name one with a subfolder of photos for each person.")
    try:
        return folder, find_photos(str(folder), recursive=True)
    except PhotoError as error:
        raise PhotoError(f"enrol: {error.lines[0]}", error.faults) from error


class Enrolment:
    """The people of a folder: a subfolder for each, and any photo beside them is one person. The largest face counts.

    Attributes:
        where: The folder.
        people: Pictures of each person, by name.
        left_out: How many photos are left out: those without a face, and copies of photos that are to be protected.

    Args:
        where: The folder.
        detector: Finds the faces.
        aligned: Whether each photo is itself an aligned face.
        protected: SHA-256 of the photos of the run, which are originals and no photos for a judge.

    Raises:
        PhotoError: If it is no folder, a photo cannot be read, or none is left.
    """

    def __init__(self, where: str, detector: FaceDetector, *, aligned: bool, protected: Collection[str | None]) -> None:
        folder, paths = enrolment_photos(where)
        self.where, self.left_out = where, 0
        self.people: dict[str, list[Picture]] = {}
        for path in paths:
            photo = read_photo(path)
            faces = [] if photo.digest in protected else detector.find(photo, "aligned" if aligned else "largest")
            if faces:
                self.people.setdefault(person_of(path, folder), []).append(show(photo, faces[0]))
            else:
                self.left_out += 1
        if not self.people:
            raise PhotoError(
                f"enrol: no photo of {folder} shows a face and is none of the photos that are to be protected. Name a "
                "folder with other photos of the people."
            )
        self._recogniser: Embedder = registry.build("surrogate", RECOGNISER, {})
        faces_of = [(name, picture.face) for name, pictures in self.people.items() for picture in pictures]
        self._names = [name for name, _ in faces_of]
        self._known = embed(self._recogniser, [face for _, face in faces_of])

    def recognise(self, face: FaceImage) -> str | None:
        """Return who of the people a face is, by a recogniser on this machine; None where it is nobody of them."""
        seen = look(self._recogniser, [face])
        threshold = self._recogniser.spec.threshold
        assert threshold is not None
        if seen.fault:
            return None
        similarity, nearest = torch.mv(self._known, seen.embeddings[0]).max(dim=0)
        return self._names[int(nearest)] if similarity.item() >= threshold else None


def digests_of(paths: Collection[Path]) -> set[str | None]:
    """Return the SHA-256 of files."""
    return {file_digest(path) for path in paths}
