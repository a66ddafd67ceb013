"""Those who search labelled photos: a clean gallery, one of protected photos or a mix, and one that grows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Seen, Shown, rank_by
from facecrypt.benchmark.adversaries.entries import Photos, Portion
from facecrypt.benchmark.metrics import threshold_at_far
from facecrypt.errors import FacecryptError

FAR = 0.01
"""False accept rate at which a tracker measures a threshold that nobody tells it."""

FMR = 1e-3
"""False match rate at which a gallery verifies."""

_MEASURED_PHOTOS = 2000
_PAIRS_AT_LEAST = 100


def measure_threshold(gallery: Gallery, seed: int, far: float = FAR) -> float:
    """Return the threshold that whoever owns a labelled gallery can measure: that of a false accept rate in it.

    Args:
        gallery: The photos, of which 2,000 are drawn where there are more.
        seed: Seed of that draw.
        far: The rate among pairs of strangers.

    Raises:
        FacecryptError: If it holds too few people.
    """
    cosines = _cosines_of_strangers(gallery, seed)
    needed = max(_PAIRS_AT_LEAST, math.ceil(1 / far))
    if len(cosines) < needed:
        raise FacecryptError(
            f"gallery: {len(cosines)} pairs of strangers are too few to measure the threshold of a recogniser that has "
            f"none; {needed} are needed. Add photos, or give the recogniser a threshold."
        )
    return threshold_at_far(cosines, far)


def _cosines_of_strangers(gallery: Gallery, seed: int) -> Tensor:
    drawn = torch.randperm(gallery.size, generator=torch.Generator().manual_seed(seed))[:_MEASURED_PHOTOS]
    embeddings, labels = gallery.embeddings[drawn].double(), gallery.labels[drawn]
    first, second = torch.triu_indices(len(drawn), len(drawn), offset=1)
    strangers = labels[first] != labels[second]
    return (embeddings @ embeddings.T)[first, second][strangers].float()


def verify(gallery: Gallery, seen: Seen, own: Tensor, threshold: float) -> Tensor:
    """Return whether each probe is as near to a photo of its person as the threshold asks, ``(P,)`` bool.

    Args:
        gallery: The photos.
        seen: The probes; one without a face is nobody's.
        own: Whom each shows, ``(P,)``.
        threshold: Cosine from which two faces are taken for one person.
    """
    cosines = (seen.embeddings.double() @ gallery.embeddings.double().T).float()
    reached = (cosines >= threshold) & (gallery.labels == own[:, None])
    return reached.any(dim=1) & seen.found


def answer_by(gallery: Gallery, seen: Seen, own: Tensor, seed: int) -> Answer:
    """Return what a gallery makes of probes: whom it ranks, and whom it verifies at a false match rate of 1e-3.

    It says of nobody whether it verifies them where it holds too few pairs of strangers to measure that rate.
    """
    strangers = _cosines_of_strangers(gallery, seed)
    verified = None
    if len(strangers) >= 1 / FMR:
        verified = verify(gallery, seen, own, threshold_at_far(strangers, FMR))
    return Answer(rank_by(gallery, seen), gallery.size, verified)


def choose_photos(labels: Sequence[int], names: Sequence[str], photos: int | None, seed: int) -> list[int]:
    """Return which photos stay where only some of each person's may, in their order; more of them hold fewer.

    Args:
        labels: Whom each photo shows.
        names: A name of each, unique among its person's.
        photos: Most photos of each person; None for all.
        seed: Seed of the choice.
    """
    if photos is None:
        return list(range(len(labels)))
    chosen: list[int] = []
    for label in dict.fromkeys(labels):
        mine = [index for index, each in enumerate(labels) if each == label]
        chosen += sorted(mine, key=lambda index: _draw(seed, "photos", labels[index], names[index]))[:photos]
    return sorted(chosen)


def choose_protected(labels: Sequence[int], names: Sequence[str], share: float, seed: int) -> list[bool]:
    """Return which photos are protected ones where only a share of each person's is.

    Of n photos, share * n are, rounded down or up by a draw of each person's own whose mean is exact.
    """
    protected = [False] * len(labels)
    for label in dict.fromkeys(labels):
        mine = [index for index, each in enumerate(labels) if each == label]
        ordered = sorted(mine, key=lambda index: _draw(seed, "share", labels[index], names[index]))
        count = int(share * len(mine) + _draw(seed, "rounding", label, ""))
        for index in ordered[:count]:
            protected[index] = True
    return protected


def _draw(seed: int, purpose: str, label: int, name: str) -> float:
    return random.Random(f"{seed}/{purpose}/{label}/{name}".encode(errors="surrogateescape")).random()


@dataclass(frozen=True)
class Searcher:
    """Whoever has a gallery and searches it for what it is shown.

    Attributes:
        lab: Of the recogniser.
        gallery: The gallery.
        probe: Whether the protected probe is looked for, or the photo as it was.
    """

    lab: Lab
    gallery: Gallery
    probe: Literal["protected", "clean"] = "protected"

    def answer(self, shown: Shown) -> Answer:
        """Return whom the gallery finds and verifies."""
        files = shown.files
        if self.probe == "clean":
            files = shown.after([probe.path for probe in self.lab.probes], "clean")
        return answer_by(self.gallery, self.lab.embed(files), self.lab.own, self.lab.seed)


class Known:
    """The clean gallery, as it is."""

    needs: Needs = Needs()
    rows: Rows = "all"

    def prepare(self, lab: Lab) -> Searcher:
        """Return who searches it."""
        return Searcher(lab, lab.evaluator.gallery)


class CleanGallery:
    """The clean gallery with fewer photos of each protected person.

    Args:
        photos: Most photos of each; chosen with the seed.
    """

    needs: Needs = Needs()
    rows: Rows = "all"

    def __init__(self, *, photos: Photos = 1) -> None:
        self._photos = photos

    def prepare(self, lab: Lab) -> Searcher:
        """Return who searches it."""
        places = lab.cast.others.places
        stay = choose_photos(*others_of(lab), self._photos, lab.seed)
        gone = torch.ones(len(places), dtype=torch.bool)
        gone[stay] = False
        gallery = lab.evaluator.gallery
        return Searcher(lab, gallery.without(torch.isin(lab.evaluator.places, places[gone])))


class ProtectedGallery:
    """The gallery, in which protected versions stand in place of photos of the protected people.

    Args:
        photos: Most photos of each of them, chosen with the seed; all by default.
        share: Share of these that are protected; the others are clean.
        probe: Whether a ``protected`` photo is looked for, or a ``clean`` one.
    """

    needs: Needs = Needs(collected=True)
    rows: Rows = "protected"

    def __init__(
        self, *, photos: Photos | None = None, share: Portion = 1.0, probe: Literal["protected", "clean"] = "protected"
    ) -> None:
        self._photos, self._share = photos, share
        self._probe: Literal["protected", "clean"] = probe

    def prepare(self, lab: Lab) -> Searcher:
        """Return who searches it."""
        labels, names = others_of(lab)
        stay = choose_photos(labels, names, self._photos, lab.seed)
        chosen = choose_protected([labels[i] for i in stay], [names[i] for i in stay], self._share, lab.seed)
        protected = torch.tensor([i for i, mine in zip(stay, chosen, strict=True) if mine], dtype=torch.int64)
        clean = torch.tensor([i for i, mine in zip(stay, chosen, strict=True) if not mine], dtype=torch.int64)
        places, gallery = lab.cast.others.places, lab.evaluator.gallery
        known = torch.isin(lab.evaluator.places, places[clean])
        theirs = torch.isin(lab.evaluator.places, places)
        seen = lab.embed(lab.others())
        there = protected[seen.found[protected]]
        mixed = gallery.without(theirs & ~known).joined(seen.embeddings[there], torch.tensor(labels)[there])
        return Searcher(lab, mixed, self._probe)


def others_of(lab: Lab) -> tuple[list[int], list[str]]:
    """Return whom the other photos of the protected people show, and their names."""
    photos = lab.cast.others.photos
    return [photo.label for photo in photos], [photo.path.name for photo in photos]
