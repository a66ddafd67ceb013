"""Photos on their way through a run: read, searched for faces, and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Dataset

from facecrypt.budget import fit_photo
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces import Face, FaceDetector, FaceImage, add_masks, cut
from facecrypt.manifest import Manifest, manifest_path, recipe_digest
from facecrypt.naming import beside
from facecrypt.photos import Photo, read_photo, write_photo
from facecrypt.recipe import Recipe
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
        targets: Index of each face's target.
        seconds: Time of each face.
        backup: Where the original stays when the destination is the photo itself.
        manifest: What knows of the photos that are protected already.
        already: Whether there is nothing to do, since it was done before.
        encoding: How the file was written, such as ``lossy JPEG``.
        settings: From `recipe_digest`, for the manifest.
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
    targets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    backup: Path | None = None
    manifest: Manifest | None = None
    already: bool = False
    encoding: str | None = None
    settings: str = ""

    def fail(self, error: FacecryptError, status: str = "failed") -> Job:
        """Note why the photo cannot be protected."""
        self.error, self.status = str(error), status
        return self


class Photos(Dataset[Job]):
    """The photos of a run, read and searched for faces.

    Attributes:
        found: Faces of photos that were searched before, by the number of the photo; these are not searched again.

    Args:
        paths: The photos.
        destinations: Where the protected version of each goes.
        recipe: For the choice of faces, and for what happens to the photo itself.
        detector: Finds the faces.
        manifests: What knows of photos that are protected already; without it, each is protected.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        destinations: Sequence[Path],
        recipe: Recipe,
        detector: FaceDetector,
        manifests: Mapping[Path, Manifest] | None = None,
    ) -> None:
        self.found: Mapping[int, list[Face]] = {}
        self._manifests = manifests or {}
        self._recipe = recipe
        self._digest = recipe_digest(recipe)
        self._paths = list(paths)
        self._detector = detector
        self._choice = recipe.faces
        self._destinations = list(destinations)
        self._first: dict[Path, int] = {}
        for index, destination in enumerate(destinations):
            self._first.setdefault(destination, index)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Job:
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
                job.already = True
                return job.fail(PhotoError(reason), "unchanged")
            job.photo = read_photo(job.source)
            known = self.found.get(index)
            job.faces = self._detector.find(job.photo, self._choice) if known is None else known
        except PhotoError as error:
            return job.fail(error)
        if not job.faces:
            return job.fail(
                NoFaceFoundError(
                    f"{job.source}: no face found, nothing was written. Use a photo with a larger, unobstructed face, "
                    "or faces: aligned if it is an aligned face."
                ),
                "unchanged",
            )
        job.images = [cut(job.photo, face) for face in job.faces]
        return job


@stage("write")
def save(job: Job, recipe: Recipe) -> None:
    """Write the protected version of a photo; a failure becomes the job's error."""
    if job.error or job.photo is None:
        return
    # Only the infinity norm bounds a single channel.
    epsilon = int(recipe.epsilon) if recipe.norm == "linf" else 255
    photo, manifest = job.photo, job.manifest

    def announce(written: str) -> None:
        if manifest:
            manifest.add(job.source, photo.digest, job.destination, written, job.settings, job.backup)

    masks = job.masks
    if recipe.budget:
        masks = fit_photo(photo, job.faces, masks, epsilon, recipe.budget.ssim)
    try:
        pixels = add_masks(photo, job.faces, masks, epsilon)
        job.encoding = write_photo(
            photo, pixels, job.destination, recipe.metadata, backup=job.backup, announce=announce
        )
    except PhotoError as error:
        job.fail(error)
