"""Photos on their way through a run: read, searched for faces, and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from facecrypt.budget import fit_photo
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces import Face, FaceDetector, FaceImage, add_masks, cut
from facecrypt.manifest import Manifest, manifest_path, recipe_digest
from facecrypt.naming import beside
from facecrypt.photos import Photo, read_photo, write_photo
from facecrypt.recipe import Recipe
from facecrypt.selection import Selection, SkippedFace, choose_faces, load_references
from facecrypt.stopwatch import stage


@dataclass
class Job:
    """One photo on its way through a run.

    Attributes:
        index: Its place among the photos.
        source: The input file.
        destination: The output file.
        photo: What was read; None where that failed.
        faces: The faces to protect.
        images: Their patches.
        error: Why the photo cannot be protected, or empty.
        status: ``failed`` or ``unchanged`` where there is an error.
        masks: One per face.
        levels: Number of the level of strength at which each mask was made, the lightest being 0.
        targets: Index of each face's target.
        seconds: Time of each face.
        backup: Where the original stays when the destination is the photo itself.
        manifest: What knows of the photos that are protected already.
        already: Whether there is nothing to do, since it was done before.
        encoding: How the file was written, such as ``lossy JPEG``.
        settings: From `recipe_digest`, for the manifest.
        skipped: Faces that are left as they are.
    """

    index: int
    source: Path
    destination: Path
    photo: Photo | None = None
    faces: list[Face] = field(default_factory=list)
    images: list[FaceImage] = field(default_factory=list)
    error: str = ""
    status: str = "protected"
    masks: list[torch.Tensor] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    backup: Path | None = None
    manifest: Manifest | None = None
    already: bool = False
    encoding: str | None = None
    settings: str = ""
    skipped: list[SkippedFace] = field(default_factory=list)

    def prepare(self) -> None:
        """Make room for what is made of each face, beginning at the lightest level."""
        count = len(self.faces)
        self.masks = [torch.empty(0)] * count
        self.levels, self.targets, self.seconds = [0] * count, [0] * count, [0.0] * count

    def fail(self, error: FacecryptError, status: str = "failed") -> Job:
        """Note why the photo cannot be protected."""
        self.error, self.status = str(error), status
        return self


class Photos(Dataset[Job]):
    """The photos of a run, read and searched for faces.

    Attributes:
        found: The choice of faces in photos that were searched before, by the number of the photo; these are not
            searched again.

    Args:
        paths: The photos.
        destinations: Where the protected version of each goes.
        recipe: For the choice of faces, and for what happens to the photo itself.
        detector: Finds the faces.
        manifests: What knows of photos that are protected already; without it, each is protected.

    Raises:
        FacecryptError: If a photo of a person whom the recipe names, as in ``faces.only``, cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        destinations: Sequence[Path],
        recipe: Recipe,
        detector: FaceDetector,
        manifests: Mapping[Path, Manifest] | None = None,
    ) -> None:
        self.found: Mapping[int, Selection] = {}
        self._manifests = manifests or {}
        self._recipe = recipe
        self._digest = recipe_digest(recipe)
        self._paths = list(paths)
        self._detector = detector
        self._references = load_references(recipe.faces, detector)
        self._destinations = list(destinations)
        self._first: dict[Path, int] = {}
        for index, destination in enumerate(destinations):
            self._first.setdefault(destination, index)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Job:
        job = self._read(index)
        if job.photo is None:
            return job
        try:
            job.faces, job.skipped, reason = self.found.get(index) or self.choose(job.photo)
        except PhotoError as error:
            return job.fail(error)
        if reason:
            return job.fail(NoFaceFoundError(f"{job.source}: {reason}"), "unchanged")
        job.images = [cut(job.photo, face) for face in job.faces]
        return job

    def search(self, index: int) -> Selection | None:
        """Return the choice of faces in a photo; None for one that cannot be used or needs no work.

        Args:
            index: Number of the photo.
        """
        photo = self._read(index).photo
        try:
            return None if photo is None else self.choose(photo)
        except PhotoError:
            return None  # Whoever takes the photo will say why.

    def choose(self, photo: Photo) -> Selection:
        """Return which faces of a photo the recipe means.

        Raises:
            PhotoError: If there are none of the kind that it wants, or a face given by hand lies outside the photo.
        """
        return choose_faces(photo, self._recipe.faces, self._detector, self._references)

    def _read(self, index: int) -> Job:
        """Return a photo without its faces."""
        job = Job(index, self._paths[index], self._destinations[index], settings=self._digest)
        recipe = self._recipe
        job.manifest = self._manifests.get(
            manifest_path(job.destination, Path(recipe.output).expanduser(), recipe.in_place)
        )
        if recipe.in_place:
            job.backup = beside(job.destination, recipe.backup)
        try:
            first = self._first[job.destination]
            if first != index:
                raise PhotoError(
                    f"{job.source}: its output would be {job.destination}, as that of {self._paths[first]}. "
                    "Rename one of them, or protect them into different folders."
                )
            if job.manifest and (reason := job.manifest.find_reason(job.source, job.destination, self._digest)):
                job.already = not job.manifest.has_other_settings(job.source, self._digest)
                return job.fail(PhotoError(reason), "unchanged")
            job.photo = read_photo(job.source)
        except PhotoError as error:
            return job.fail(error)
        return job


@stage("write")
def save(job: Job, recipe: Recipe, levels: Sequence[Recipe], announce: Callable[[str], None] | None = None) -> None:
    """Write the protected version of a photo; a failure becomes the job's error.

    Args:
        job: The photo with its masks.
        recipe: The recipe of the run.
        levels: The recipe at each level of its strength, as `level_recipes` returns it.
        announce: Called with the SHA-256 of the file just before it appears.
    """
    if job.error or job.photo is None:
        return
    photo, manifest = job.photo, job.manifest

    def note(written: str) -> None:
        if manifest:
            manifest.add(job.source, photo.digest, job.destination, written, job.settings, job.backup)
        if announce:
            announce(written)

    try:
        pixels = draw(job, photo, levels)
        job.encoding = write_photo(photo, pixels, job.destination, recipe.metadata, backup=job.backup, announce=note)
    except PhotoError as error:
        job.fail(error)


def draw(job: Job, photo: Photo, levels: Sequence[Recipe]) -> NDArray[np.uint8]:
    """Return the pixels of a protected photo, ``(H, W, 3)``: every face within the bounds of its own level.

    Args:
        job: The photo with its masks.
        photo: What was read of it.
        levels: The recipe at each level of its strength.
    """
    made = [levels[level] for level in job.levels]
    bounds = [int(each.epsilon if each.norm == "linf" else each.ceiling or 255) for each in made]
    epsilon = max(bounds)
    masks = [
        mask if bound == epsilon else mask.clamp(-bound / 255, bound / 255)
        for mask, bound in zip(job.masks, bounds, strict=True)
    ]
    budgets = [each.budget for each in made]
    if any(budgets):
        masks = fit_photo(photo, job.faces, masks, epsilon, budgets)
    return add_masks(photo, job.faces, masks, epsilon)
