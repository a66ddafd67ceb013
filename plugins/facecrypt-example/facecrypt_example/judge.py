"""A judge of its own: it ranks people, and tells neither a similarity nor whether two pictures show one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor
from torch.nn import functional

from facecrypt.plugin import Field, Match, Picture, Question, Spending


class Thumbnails:
    """Names the people whose faces are most alike as tiny grey pictures, after Turk & Pentland's simplest baseline.

    It knows light from dark and little else: masks do not fool it, since they do not change what a face looks like.

    Args:
        side: Pixels on a side of what it looks at.
    """

    remote = False
    answers: tuple[Question, ...] = ("rank",)
    spending: Spending | None = None

    def __init__(self, *, side: Annotated[int, Field(ge=4, le=64)] = 16) -> None:
        self._side = side
        self._known: dict[str, list[Tensor]] = {}

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Keep a tiny picture of each photo."""
        self._known.setdefault(person, []).extend(map(self._shrink, photos))

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return the people by their most similar photo."""
        face = self._shrink(photo)
        alike = {person: max(float(each @ face) for each in known) for person, known in self._known.items()}
        return [Match(person) for person in sorted(alike, key=lambda person: -alike[person])[:count]]

    def _shrink(self, photo: Picture) -> Tensor:
        """Return a face as a vector of unit length, without its mean, so that light counts for nothing."""
        grey = photo.face.pixels.mean(dim=0)[None, None]
        small = functional.interpolate(grey, size=(self._side, self._side), mode="bilinear", antialias=True).flatten()
        return functional.normalize(small - small.mean(), dim=0)
