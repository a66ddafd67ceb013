"""Photos on their way through a run: read, searched for faces, and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from facecrypt.choices import FaceChoice, MetadataPolicy
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.planned import NoWork, PlannedPhoto, write_planned
from facecrypt.engine.selection import Selection, choose_faces, load_references
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces.face import Face, SkippedFace
from facecrypt.faces.patches import FaceImage, add_masks, cut
from facecrypt.methods.budget import fit_photo
from facecrypt.photos.files import Photo, read_photo, write_photo
from facecrypt.photos.reading import measure_photo
from facecrypt.recipe.check import Recipe
from facecrypt.recipe.face_rules import Faces
from facecrypt.system import limits
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.timing import stage


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
        queries: Pictures of each face that recognisers were shown; None where they are not counted.
        bounded: Whether the recipe's epsilon and budget bound the mask of each face.
        already: Whether there is nothing to do, since it was done before.
        encoding: How the file was written, such as ``lossy JPEG``.
        settings: From `facecrypt.engine.digest.recipe_digest`, for the manifest.
        skipped: Faces that are left as they are.
    """

    index: int
    source: Path
    destination: Path
    photo: Photo | None = None
    faces: list[Face] = field(default_factory=list)
    images: list[FaceImage] = field(default_factory=list)
    error: str = ""
    status: str = "written"
    masks: list[torch.Tensor] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    queries: list[int | None] = field(default_factory=list)
    bounded: list[bool] = field(default_factory=list)
    already: bool = False
    encoding: str | None = None
    settings: str = ""
    skipped: list[SkippedFace] = field(default_factory=list)

    def prepare(self) -> None:
        """Make room for what is made of each face, beginning at the lightest level."""
        count = len(self.faces)
        self.masks = [torch.empty(0)] * count
        self.levels, self.targets, self.seconds = [0] * count, [0] * count, [0.0] * count
        self.queries, self.bounded = [None] * count, [True] * count

    def release(self) -> None:
        """Give back the memory of a photo that is done, whoever still holds the job."""
        self.photo, self.images, self.masks = None, [], []

    def fail(self, error: FacecryptError, status: str = "failed") -> Job:
        """Note why the photo cannot be protected."""
        self.error, self.status = str(error), status
        return self


class Photos(Dataset[Job]):
    """The photos of a run, read and searched for faces.

    Attributes:
        found: The choice of faces in photos that were searched before, by the number of the photo; these are not
            searched again.
        bounds: What each photo may take of memory and time to be read.

    Args:
        paths: The photos.
        destinations: Where the protected version of each goes.
        choice: What the recipe says of faces.
        detector: Finds the faces.
        no_work: Why nothing is done with some photos, by their numbers.
        settings: From `facecrypt.engine.digest.recipe_digest`, where a manifest notes what is made.

    Raises:
        FacecryptError: If a photo of a person whom the recipe names, as in ``faces.only``, cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        destinations: Sequence[Path],
        choice: FaceChoice | Faces,
        detector: FaceDetector,
        no_work: Mapping[int, NoWork] | None = None,
        settings: str = "",
    ) -> None:
        self.found: Mapping[int, Selection] = {}
        self.bounds = limits.current()
        self._paths = list(paths)
        self._destinations = list(destinations)
        self._no_work = dict(no_work or {})
        self._choice = choice
        self._settings = settings
        self._detector = detector
        self._references = load_references(choice, detector)

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

    def measure(self, index: int) -> limits.Need:
        """Return what a photo needs of memory by its header; nothing where it needs no work or cannot be read."""
        return limits.Need(0, 0) if index in self._no_work else measure_photo(self._paths[index], self.bounds)

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
        return choose_faces(photo, self._choice, self._detector, self._references)

    def _read(self, index: int) -> Job:
        """Return a photo without its faces."""
        job = Job(index, self._paths[index], self._destinations[index], settings=self._settings)
        if (none := self._no_work.get(index)) is not None:
            job.already = none.already
            return job.fail(PhotoError(none.reason), none.status)
        try:
            job.photo = read_photo(job.source, self.bounds)
        except PhotoError as error:
            return job.fail(error)
        return job


@stage("write")
def save(
    job: Job,
    levels: Sequence[Recipe],
    metadata: MetadataPolicy,
    planned: PlannedPhoto | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Write the protected version of a photo; a failure becomes the job's error.

    Args:
        job: The photo with its masks.
        levels: The recipe at each level of its strength, as `level_recipes` returns it.
        metadata: What the file keeps.
        planned: What was planned for it; without it, its destination is replaced and noted nowhere.
        announce: Called with the SHA-256 of the file just before it appears.
    """
    if job.error or job.photo is None:
        return
    try:
        pixels = draw(job, job.photo, levels, metadata)
        if planned is None:
            job.encoding = write_photo(job.photo, pixels, job.destination, metadata, announce=announce)
        else:
            job.encoding = write_planned(planned, job.photo, pixels, metadata, job.settings, announce)
    except PhotoError as error:
        job.fail(error)


def draw(job: Job, photo: Photo, levels: Sequence[Recipe], metadata: MetadataPolicy = "strip") -> NDArray[np.uint8]:
    """Return the pixels of a protected photo, ``(H, W, 3)``: every face within the bounds of its own level.

    Args:
        job: The photo with its masks.
        photo: What was read of it.
        levels: The recipe at each level of its strength.
        metadata: What its file will keep.
    """
    held = job.bounded or [True] * len(job.levels)
    made = [levels[level] for level in job.levels]
    bounds = [int(each.epsilon if each.norm == "linf" else each.ceiling or 255) for each in made]
    bounds = [bound if bounded else 255 for bound, bounded in zip(bounds, held, strict=True)]
    epsilon = max(bounds)
    masks = [
        mask if bound == epsilon else mask.clamp(-bound / 255, bound / 255)
        for mask, bound in zip(job.masks, bounds, strict=True)
    ]
    budgets = [each.budget if bounded else None for each, bounded in zip(made, held, strict=True)]
    if any(budgets):
        masks = fit_photo(photo, job.faces, masks, epsilon, budgets, _as_saved(photo, job.destination, metadata))
    return add_masks(photo, job.faces, masks, epsilon)


def _as_saved(
    photo: Photo, destination: Path, metadata: MetadataPolicy
) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
    """Return what tells the pixels that a lossy file will show of those it is given; None for a lossless one."""
    if destination.suffix.lower() in _LOSSLESS:
        return None

    def saved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with temporary_folder("fit") as folder:
            trial = Path(folder) / destination.name
            write_photo(photo, pixels, trial, metadata)
            return read_photo(trial).pixels

    return saved


_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")
