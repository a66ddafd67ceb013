"""Those who identify, and what they do about protection: search a gallery, let it grow, or train on protected photos.

Each sees embeddings of one recogniser. `facecrypt.benchmark.identification` makes the photos and asks them who is
shown.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.metrics import threshold_at_far
from facecrypt.errors import FacecryptError
from facecrypt.evaluation.embedding_cache import search

FAR = 0.01
"""False accept rate at which a tracker measures a threshold that nobody tells it."""

_MEASURED_PHOTOS = 2000
_PAIRS_AT_LEAST = 100


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


def measure_threshold(gallery: Gallery, seed: int) -> float:
    """Return the threshold that whoever owns a labelled gallery can measure: that of a FAR of 1 % among its photos.

    Args:
        gallery: The photos, of which 2,000 are drawn where there are more.
        seed: Seed of that draw.

    Raises:
        FacecryptError: If it holds too few people.
    """
    drawn = torch.randperm(gallery.size, generator=torch.Generator().manual_seed(seed))[:_MEASURED_PHOTOS]
    embeddings, labels = gallery.embeddings[drawn].double(), gallery.labels[drawn]
    first, second = torch.triu_indices(len(drawn), len(drawn), offset=1)
    strangers = labels[first] != labels[second]
    if strangers.sum() < _PAIRS_AT_LEAST:
        raise FacecryptError(
            f"gallery: {int(strangers.sum())} pairs of strangers are too few to measure the threshold of a recogniser "
            f"that has none; {_PAIRS_AT_LEAST} are needed. Add photos, or give the recogniser a threshold."
        )
    cosines = (embeddings @ embeddings.T)[first, second][strangers]
    return threshold_at_far(cosines.float(), FAR)


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on the embeddings of a recogniser that stays as it is.

    Attributes:
        weights: One row per identity, ``(C, D)``.
        bias: One per identity, ``(C,)``.
        identities: The identities, ``(C,)``.
        size: Number of photos that it was trained on.
    """

    weights: Tensor
    bias: Tensor
    identities: Tensor
    size: int

    def rank(self, embeddings: Tensor, top: int) -> Tensor:
        """Return the identities of the largest logits, ``(N, top)``, each once; the last again where there are no more.

        That names more people than the nearest photos do, of which several may show one person.
        """
        logits = embeddings.double() @ self.weights.T + self.bias
        # Stable, so that of equal logits the first identity comes first.
        order = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
        missing = order[:, -1:].expand(-1, top - order.shape[1])
        return self.identities[torch.cat([order, missing], dim=1)]


def train_linear_probe(embeddings: Tensor, labels: Tensor, l2: float = 1e-3, steps: int = 200) -> LinearProbe:
    """Return a multinomial logistic regression: the minimum of the mean cross-entropy plus l2 / 2 times |weights|^2.

    Embeddings are centred and divided by one number, their standard deviation over all elements, so that the penalty
    means the same for recognisers that spread people widely and for those that crowd them. The problem is convex and
    L-BFGS starts from zero, with all photos in every step: nothing about it is random.

    Args:
        embeddings: Unit embeddings of the photos to train on, ``(N, D)``.
        labels: Whom each shows, ``(N,)``.
        l2: Penalty of the weights, as they are for the scaled embeddings; the bias has none.
        steps: Largest number of iterations.
    """
    identities, classes = torch.unique(labels, return_inverse=True)
    mean = embeddings.double().mean(dim=0)
    scale = (embeddings.double() - mean).square().mean().sqrt()
    inputs = (embeddings.double() - mean) / scale
    weights = torch.zeros(len(identities), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(identities), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=steps, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(inputs @ weights.T + bias, classes) + l2 / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    unscaled = weights.detach() / scale
    return LinearProbe(unscaled, bias.detach() - unscaled @ mean, identities, len(labels))
