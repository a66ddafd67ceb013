"""Every recogniser as a judge: it compares and ranks by its embeddings, and decides by its threshold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facecrypt.choices import Question
from facecrypt.errors import JudgeError
from facecrypt.judges.base import Match, Opinion, Picture, Spending
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look


class RecogniserJudge:
    """A recogniser, asked as a service would be.

    Args:
        embedder: The recogniser. Without a threshold, it decides nothing and ranks everybody.
    """

    remote = False
    answers: tuple[Question, ...] = ("compare", "rank")
    spending: Spending | None = None

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._people: dict[str, Tensor] = {}

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return the cosine of both faces, and whether it reaches the threshold."""
        one, other = self._look([first, second])
        similarity, threshold = torch.dot(one, other).item(), self._embedder.spec.threshold
        return Opinion(similarity, None if threshold is None else similarity >= threshold)

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Keep the embeddings of somebody's photos."""
        known = self._people.get(person)
        fresh = self._look(photos)
        self._people[person] = fresh if known is None else torch.cat([known, fresh])

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return the people by their most similar photo, without those whose photos all stay below the threshold."""
        (face,) = self._look([photo])
        threshold = self._embedder.spec.threshold
        matches = [Match(person, (photos @ face).max().item()) for person, photos in self._people.items()]
        near = [each for each in matches if threshold is None or (each.similarity or 0.0) >= threshold]
        return sorted(near, key=lambda match: -(match.similarity or 0.0))[:count]

    def _look(self, photos: Sequence[Picture]) -> Tensor:
        seen = look(self._embedder, [photo.face for photo in photos])
        if seen.fault:
            raise JudgeError(seen.fault)
        return seen.embeddings
