"""The photos of one row of a benchmark: protected by its method when they are first asked for, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from facecrypt.benchmark.cast import Cast, Trial
from facecrypt.benchmark.config import Row
from facecrypt.benchmark.files import Probe, Saved, folder_of, make_files

T = TypeVar("T")

_AT_ONCE = 50
"""Photos for pairs that are kept in one folder: those of 100 are a part of those of 500."""


class Material:
    """What the method of one row makes.

    Attributes:
        row: The row.
        cast: Whom the benchmark is about.
        clean: Whether the photos stay as they are.
        saved: The probes, one `Saved` per run.
        folder: Where they are.

    Args:
        row: As above.
        cast: As above.
        output: The folder of the benchmark.
    """

    def __init__(self, row: Row, cast: Cast, output: Path) -> None:
        self.row, self.cast, self._output = row, cast, output
        self._made: dict[str, list[Saved]] = {}
        self._remembered: dict[tuple[object, ...], Any] = {}
        self.clean = row.recipe is None and row.obfuscation is None
        known = cast.known_faces(row, cast.probes)
        self.saved = make_files(row, cast.probes, cast.targets, output, known)
        self.folder = output / "photos" / folder_of(row, cast.probes, cast.targets, known)

    @cached_property
    def collected(self) -> list[Saved]:
        """The other photos of the protected people."""
        photos = self.cast.others.photos
        return self._make(self.row, photos) if photos else [replace(each, files=[]) for each in self.saved]

    def pairs(self, number: int | Literal["all"]) -> tuple[list[Probe], list[list[Path]]]:
        """Return photos of further people, and their protected versions by run."""
        photos = self.cast.pair_photos(number)
        return photos, self._share_out(photos)

    def validation(self, people: int) -> tuple[Trial, list[list[Path]]]:
        """Return photos of people for validation, and their protected versions by run."""
        trial = self.cast.trial(people)
        return trial, self._share_out(trial.photos)

    def copies(self, number: int) -> list[list[Saved]]:
        """Return the probes, protected again with so many other seeds: of each seed, one `Saved` per run."""
        recipe = self.row.recipe
        if recipe is None:
            raise ValueError("the photos of a row without a recipe have no seed.")
        seeds = range(recipe.seed + 1, recipe.seed + 1 + number)
        rows = [replace(self.row, recipe=replace(recipe, seed=seed)) for seed in seeds]
        return [self._make(row, self.cast.probes) for row in rows]

    def remember(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what was made under a key, making it the first time."""
        if key not in self._remembered:
            self._remembered[key] = make()
        known: T = self._remembered[key]
        return known

    def _share_out(self, photos: Sequence[Probe]) -> list[list[Path]]:
        runs: list[list[Path]] = [[] for _ in self.saved]
        for start in range(0, len(photos), _AT_ONCE):
            for files, saved in zip(runs, self._make(self.row, photos[start : start + _AT_ONCE]), strict=True):
                files += saved.files
        return runs

    def _make(self, row: Row, photos: Sequence[Probe]) -> list[Saved]:
        known = self.cast.known_faces(row, photos)
        place = folder_of(row, photos, self.cast.targets, known)
        if place not in self._made:
            self._made[place] = make_files(row, photos, self.cast.targets, self._output, known)
        return self._made[place]
