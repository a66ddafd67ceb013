"""A gallery that takes in what it recognises, as a tracker's does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Shown
from facecrypt.benchmark.adversaries.galleries import answer_by, measure_threshold, others_of
from facecrypt.evaluation.embedding_cache import search


@dataclass(frozen=True)
class Grown:
    """A gallery that took in what it recognised.

    Attributes:
        gallery: The gallery at the end.
        joined: Number of photos that joined.
        right: Number of these that joined under the identity that they show.
    """

    gallery: Gallery
    joined: int
    right: int


def stream_of(identities: Sequence[int], names: Sequence[str], seed: int) -> list[int]:
    """Return which photos a tracker meets later, in the order in which it meets them.

    Of every identity's photos that is half, rounded down, so that each keeps one photo at least.

    Args:
        identities: Identity of each photo.
        names: A name of each photo, unique within its identity: the choice depends on nothing else but the seed.
        seed: Seed of the choice and of the order.
    """

    def draw(purpose: str, index: int) -> float:
        purpose = f"{seed}/{purpose}/{identities[index]}/{names[index]}"
        return random.Random(purpose.encode(errors="surrogateescape")).random()

    later: list[int] = []
    for identity in dict.fromkeys(identities):
        photos = [index for index, each in enumerate(identities) if each == identity]
        later += sorted(photos, key=lambda index: draw("half", index))[: len(photos) // 2]
    return sorted(later, key=lambda index: draw("order", index))


def grow(gallery: Gallery, stream: Tensor, labels: Tensor, threshold: float) -> Grown:
    """Return a gallery after photos have come by, one after the other, as in DynTracker.

    Each photo whose nearest neighbour is similar enough joins, under the neighbour's identity, right or wrong, and is
    searched with the others from then on.

    Args:
        gallery: What the tracker starts with.
        stream: Unit embeddings of the photos in the order of their coming, ``(S, D)``.
        labels: Whom they show, ``(S,)``: only counted, never told.
        threshold: Cosine from which two faces are taken for one person.
    """
    if not len(stream):
        return Grown(gallery, 0, 0)
    # The gallery is searched once for all of the stream; what joined is small and searched anew each time.
    cosines, indices = (each[:, 0] for each in search(stream, gallery.embeddings, 1))
    joined, named = stream[:0], gallery.labels[:0]
    right = 0
    for number in range(len(stream)):
        photo = stream[number : number + 1]
        best, name = cosines[number], gallery.labels[indices[number]]
        if len(joined):
            cosine, index = (each[0, 0] for each in search(photo, joined, 1))
            if cosine > best:
                best, name = cosine, named[index]
        if best >= threshold:
            joined, named = torch.cat([joined, photo]), torch.cat([named, name[None]])
            right += int(name == labels[number])
    return Grown(gallery.joined(joined, named), len(joined), right)


class GrowingGallery:
    """A gallery that begins without half of the photos of the protected people and takes in what it recognises."""

    needs: Needs = Needs(collected=True)
    rows: Rows = "all"

    def prepare(self, lab: Lab) -> _Tracker:
        """Return who searches it, once all photos have come by."""
        labels, names = others_of(lab)
        evaluator, places = lab.evaluator, lab.cast.others.places
        seen, own = lab.embed(lab.others()), torch.tensor(labels)
        later = stream_of(labels, names, lab.seed)
        arriving = torch.tensor([index for index in later if seen.found[index]], dtype=torch.int64)
        away = places[torch.tensor(later, dtype=torch.int64)]
        begin = evaluator.gallery.without(torch.isin(evaluator.places, away))
        threshold = evaluator.embedder.spec.threshold
        if threshold is None:
            threshold = measure_threshold(begin, lab.seed)
        grown = grow(begin, seen.embeddings[arriving], own[arriving], threshold)
        stream = {"photos": len(arriving), "joined": grown.joined, "right": grown.right}
        return _Tracker(lab, grown.gallery, stream)


@dataclass(frozen=True)
class _Tracker:
    lab: Lab
    gallery: Gallery
    stream: dict[str, int]

    def answer(self, shown: Shown) -> Answer:
        return replace(
            answer_by(self.gallery, self.lab.embed(shown.files), self.lab.own, self.lab.seed), stream=self.stream
        )
