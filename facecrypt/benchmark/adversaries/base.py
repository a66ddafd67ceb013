"""What an adversary is: one who knows of protection and identifies, or measures, what it can by one recogniser.

`Lab` is all that it may ask for. What is in it is made when it is first asked for, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from facecrypt.benchmark.cast import Trial
from facecrypt.benchmark.files import Probe, transform_folder, transformed
from facecrypt.benchmark.material import Material
from facecrypt.benchmark.metrics import NO_FACE
from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.embedding_cache import EmbeddingCache, search
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import Published

T = TypeVar("T")

TOP = (1, 5)
"""The N of Rank-N-T and Rank-N-UT."""

Rows = Literal["all", "protected", "recipe"]
"""Which rows an adversary faces: all; those whose photos are changed; those whose recipe has a seed."""


class Identifier(Protocol):
    """Somebody who says whom photos show."""

    @property
    def size(self) -> int:
        """Number of photos that it knows."""

    def rank(self, embeddings: Tensor, top: int) -> Tensor:
        """Return the identities that it finds likeliest, the likeliest first, ``(N, top)``.

        Args:
            embeddings: Unit embeddings, ``(N, D)``.
            top: How many.
        """


@dataclass(frozen=True)
class Gallery:
    """Searches labelled photos: ranks the identities of the nearest photos, one identity as often as it comes.

    Attributes:
        embeddings: Unit embeddings, ``(G, D)``.
        labels: Identity of each, ``(G,)``.
    """

    embeddings: Tensor
    labels: Tensor

    @property
    def size(self) -> int:
        """Number of photos."""
        return len(self.labels)

    def rank(self, embeddings: Tensor, top: int) -> Tensor:
        """Return the identities of the nearest photos, ``(N, top)``."""
        return self.labels[search(embeddings, self.embeddings, top)[1]]

    def without(self, rows: Tensor) -> Gallery:
        """Return the gallery without some rows, ``(G,)`` bool."""
        return Gallery(self.embeddings[~rows], self.labels[~rows])

    def joined(self, embeddings: Tensor, labels: Tensor) -> Gallery:
        """Return the gallery with further photos at its end."""
        return Gallery(torch.cat([self.embeddings, embeddings]), torch.cat([self.labels, labels]))


@dataclass(frozen=True)
class Evaluator:
    """A recogniser with its embeddings of the gallery.

    Attributes:
        label: How tables call it.
        embedder: The recogniser.
        key: Its key in the cache.
        gallery: The gallery photos that show a face.
        places: Place of each of them in the protocol's gallery, ``(G,)``.
    """

    label: str
    embedder: Embedder
    key: str
    gallery: Gallery
    places: Tensor


class Seen(NamedTuple):
    """What a recogniser makes of N photos.

    Attributes:
        embeddings: Unit embeddings, ``(N, D)``; zeros where no face is found.
        found: Whether one is found, ``(N,)`` bool.
    """

    embeddings: Tensor
    found: Tensor


class Measure(NamedTuple):
    """A number with its interval, all in the unit that its name says."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """What an adversary makes of the probes.

    Attributes:
        ranked: Identities that it finds likeliest for each probe, the likeliest first, ``(P, at least 5)``; a row of
            `NO_FACE` where no face is found. None where it names nobody.
        size: Number of labelled photos that it knows.
        verified: Whether it takes each probe for the person whom it shows, ``(P,)`` bool; None where it does not say.
        measures: What else it measures, by name.
        stream: How many photos came by, joined, and joined rightly.
        chosen: What it chose by its own validation, where it did.
    """

    ranked: Tensor | None = None
    size: int = 0
    verified: Tensor | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    stream: Mapping[str, int] | None = None
    chosen: str | None = None


@dataclass(frozen=True)
class Shown:
    """The probes as an adversary meets them.

    Attributes:
        files: One per probe, after the transform that the benchmark does to all saved photos.
        name: Of that transform, as folders can have it.
        after: Takes other files of the same probes and a name for their folder; returns them after that transform.
    """

    files: Sequence[Path]
    name: str
    after: Callable[[Sequence[Path], str], Sequence[Path]]


@dataclass(frozen=True)
class Pairs:
    """Photos of people who are neither protected nor aimed at: each as it was, and protected.

    Attributes:
        photos: The photos, each with a face.
        clean: Their files.
        protected: Their protected versions, by the method of the row.
    """

    photos: Sequence[Probe]
    clean: Sequence[Path]
    protected: Sequence[Path]


@dataclass(frozen=True)
class Needs:
    """What must be made before an adversary prepares itself.

    Attributes:
        collected: Protected versions of the other photos of the protected people.
        pairs: How many pairs, or all.
        validation: People for its own validation, none of whom is in a pair.
        copies: Further protected versions of each probe.
    """

    collected: bool = False
    pairs: int | Literal["all"] = 0
    validation: int = 0
    copies: int = 0


class Opponent(Protocol):
    """An adversary that has prepared itself."""

    def answer(self, shown: Shown) -> Answer:
        """Return what it makes of the probes."""


class Adversary(Protocol):
    """One who identifies. Its constructor's arguments are keyword-only, typed, and have defaults.

    Attributes:
        needs: What must be made for it.
        rows: Which rows it faces.
    """

    needs: Needs
    rows: Rows

    def prepare(self, lab: Lab) -> Opponent:
        """Return it prepared for one recogniser and one run of a method: what it collects, measures and trains."""


class Lab:
    """One recogniser and the photos of one run of one method.

    Attributes:
        evaluator: The recogniser, with its embeddings of the gallery.
        cast: Whom the benchmark is about.
        clean: Whether nobody protects: protected versions are then the photos themselves.
        seed: Of everything random.

    Args:
        evaluator: As above.
        material: Makes the photos of the row.
        run: Which run of the method, of those that run once per target.
        collects: The transform after which photos are collected.
        cache: Embeddings that are known.
    """

    def __init__(
        self, evaluator: Evaluator, material: Material, run: int, collects: Published, cache: EmbeddingCache
    ) -> None:
        self.evaluator, self.cast = evaluator, material.cast
        self.clean, self.seed = material.clean, material.cast.benchmark.seed
        self._material, self._run, self._collects, self._cache = material, run, collects, cache

    @property
    def probes(self) -> Sequence[Probe]:
        """The photos of the probes as they were."""
        return self.cast.probes

    @property
    def own(self) -> Tensor:
        """Whom each probe shows, ``(P,)``."""
        return torch.tensor([probe.label for probe in self.cast.probes])

    @property
    def targets(self) -> Sequence[Target]:
        """At whom the masks of the row aim."""
        recipe = self._material.row.recipe
        return self.cast.targets[: recipe.max_targets] if recipe else []

    @property
    def folder(self) -> Path:
        """Where an adversary may keep pictures that it makes of this run's."""
        return self._material.folder / "adversaries" / f"{self._run:02d}"

    def embed(self, files: Sequence[Path], detector: FaceDetector | None = None) -> Seen:
        """Return the embeddings of photos, through the cache.

        Args:
            files: The photos.
            detector: Finds their faces; the benchmark's by default.

        Raises:
            EmbeddingError: If the recogniser gives no embedding of a photo.
        """
        evaluator, cast = self.evaluator, self.cast
        finder = detector or cast.detector
        return Seen(*self._cache.embed_files(files, evaluator.embedder, evaluator.key, finder, cast.benchmark.faces))

    def faces(self, files: Sequence[Path]) -> tuple[list[FaceImage], Tensor]:
        """Return the faces of the photos that show one, and where there is one, ``(N,)`` bool."""
        images = self._cache.find_faces(files, self.cast.detector, self.cast.benchmark.faces)
        found = torch.tensor([number in images for number in range(len(files))])
        return [images[number] for number in sorted(images)], found

    def shared(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what is the same for all recognisers of a run, such as what was trained without them: made once."""
        return self._material.remember((self._run, *key), make)

    def others(self) -> list[Path]:
        """Return the gallery photos of the protected people, as this adversary collects them: after protection."""
        saved = self._material.collected[self._run]
        if self._collects.is_nothing:
            return saved.files
        place = self._material.folder / "collected" / transform_folder(self._collects) / f"{self._run:02d}"
        return transformed(saved, self._collects, place, self.cast.others.photos)

    def pairs(self, number: int | Literal["all"]) -> Pairs:
        """Return pairs; fewer than asked for where a method leaves a photo as it is."""
        photos, saved = self._material.pairs(number)
        files = saved[self._run]
        made = [index for index, photo in enumerate(photos) if self.clean or files[index] != photo.path]
        return Pairs([photos[i] for i in made], [photos[i].path for i in made], [files[i] for i in made])

    def validation(self, people: int) -> tuple[Trial, list[Path]]:
        """Return photos of people for the adversary's own validation, and their protected versions."""
        trial, saved = self._material.validation(people)
        return trial, saved[self._run]

    def copies(self, number: int) -> list[list[Path]]:
        """Return further protected versions of all probes, each made with another seed."""
        return [saved[self._run].files for saved in self._material.copies(number)]

    def change(self, files: Sequence[Path], photos: Sequence[Probe], transform: Published, name: str) -> list[Path]:
        """Return files after a transform, kept.

        Args:
            files: One per photo.
            photos: Whose they are.
            transform: What is done to them.
            name: Tells them from other files of the same run.
        """
        saved = replace(self._material.saved[self._run], files=list(files))
        return transformed(saved, transform, self.folder / name / transform_folder(transform), photos)


def rank_by(identifier: Identifier, seen: Seen) -> Tensor:
    """Return the identities that somebody finds likeliest, ``(P, 5)``; `NO_FACE` where there is no face."""
    ranked = torch.full((len(seen.found), max(TOP)), NO_FACE)
    if seen.found.any():
        ranked[seen.found] = identifier.rank(seen.embeddings[seen.found], max(TOP))
    return ranked
