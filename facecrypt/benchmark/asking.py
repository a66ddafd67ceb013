"""Judges that identify without embeddings: the gallery is enrolled, and they are asked who each saved photo shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from facecrypt.benchmark.metrics import NO_FACE
from facecrypt.benchmark.protocol import Entry
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError
from facecrypt.judges.base import NotSentError, Picture, Sworn
from facecrypt.judges.pictures import show
from facecrypt.photos.files import read_photo

Choice = Literal["largest", "aligned"]


@dataclass
class AskedEvaluator:
    """A judge that ranks, with the gallery enrolled. People go by numbers: a remote judge is told no names.

    Attributes:
        label: How tables call it.
        judge: The judge.
        originals: Whether it may have unprotected probes, as a judge on this machine may.
        detector: Finds the face of each photo.
        choice: ``largest``, or ``aligned`` where each photo is itself an aligned face.
        size: Number of gallery photos that it was given.
        people: Number of each identity, by the name that the judge knows it by.
    """

    label: str
    judge: Sworn
    originals: bool
    detector: FaceDetector
    choice: Choice
    size: int = 0
    people: dict[str, int] = field(default_factory=dict)
    _asked: int = 0

    def enrol(self, gallery: Sequence[Entry], numbers: Mapping[str, int]) -> None:
        """Enrol the people of a gallery.

        Args:
            gallery: Its photos; those without a face are left out.
            numbers: The number of each identity.

        Raises:
            JudgeError: If the judge does not answer.
            FacecryptError: If it does not rank people, or a photo cannot be read.
        """
        if "rank" not in self.judge.answers:
            raise FacecryptError(
                f"evaluators: {self.label} compares, and a benchmark asks who somebody is. Name a judge that ranks (of "
                "http: args: {ask: rank}), or leave it out."
            )
        ordered = sorted(gallery, key=lambda entry: entry.identity)
        for identity, entries in groupby(ordered, key=lambda entry: entry.identity):
            pictures = [picture for entry in entries if (picture := self._see(entry.image))]
            if not pictures:
                continue
            name = f"person-{len(self.people) + 1}"
            self.people[name] = numbers[identity]
            self.size += len(pictures)
            self._asked += 1
            try:
                self.judge.enrol(name, pictures)
            except NotSentError:
                continue

    def rank(self, files: Sequence[Path], top: int, unprotected: Sequence[bool]) -> tuple[Tensor, Tensor]:
        """Return the identities that the judge names, the likeliest first, ``(P, top)``, and where a face was found.

        Where it names fewer people, the rest is a number that nobody has.

        Args:
            files: P saved photos.
            top: How many people.
            unprotected: Which of the photos are as they were: these are shown to nobody who may have no originals.

        Raises:
            JudgeError: If it does not answer; `NotSentError` once all is counted in a dry run.
        """
        nobody = max(self.people.values(), default=0) + 1_000_000
        ranked, found = torch.full((len(files), top), NO_FACE), torch.zeros(len(files), dtype=torch.bool)
        unsent: NotSentError | None = None
        for row, file in enumerate(files):
            picture = None if unprotected[row] and not self.originals else self._see(file)
            if picture is None:
                continue
            self._asked += 1
            try:
                named = [self.people[match.person] for match in self.judge.rank(picture, top)]
            except NotSentError as error:
                unsent = error
                continue
            found[row] = True
            ranked[row] = torch.tensor(named + [nobody] * (top - len(named)))
        if unsent is not None:
            raise unsent
        return ranked, found

    @property
    def queries(self) -> int:
        """Questions so far; of a judge that counts its requests, these, with repetitions and those of a dry run."""
        spent = self.judge.spending
        return self._asked if spent is None else spent.requests + spent.unsent

    def describe_cost(self) -> str:
        """Return how often it was asked, and what that cost, in a few words."""
        spent = self.judge.spending
        cost = "" if spent is None or spent.cost is None else f", estimated to cost {spent.cost:g}"
        return f"{self.queries:,} {'questions' if spent is None else 'requests'}{cost}"

    def _see(self, path: Path) -> Picture | None:
        photo = read_photo(path)
        faces = self.detector.find(photo, self.choice)
        return show(photo, faces[0]) if faces else None
