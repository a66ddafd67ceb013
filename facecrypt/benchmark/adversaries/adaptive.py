"""One who knows the recipe and the pack of targets, and takes away what masks add to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Seen, Shown, rank_by
from facecrypt.benchmark.adversaries.entries import Pairs
from facecrypt.evaluation.embedding_cache import search
from facecrypt.surrogates.judging import embed

By = Literal["projection", "change"]


class Adaptive:
    """Takes the directions of the targets out of embeddings, or what the method adds on the way to each target.

    Args:
        by: ``projection``: no embedding, of probes and gallery alike, keeps its part in the span of the targets.
            ``change``: from its pairs it learns the mean change towards each target, and searches for a probe as it is
            and less each of these changes; the nearest photo of all counts.
        pairs: From how many pairs; only by ``change``.
    """

    rows: Rows = "recipe"

    def __init__(self, *, by: By = "projection", pairs: Pairs = 100) -> None:
        self._by, self._pairs = by, pairs
        self.needs = Needs(pairs=pairs if by == "change" else 0)

    def prepare(self, lab: Lab) -> _Adapted:
        """Return it with what it takes away."""
        targets = embed(lab.evaluator.embedder, [target.aim for target in lab.targets]).cpu()
        gallery = lab.evaluator.gallery
        if self._by == "projection":
            basis = span(targets)
            return _Adapted(lab, Gallery(take_out(gallery.embeddings, basis), gallery.labels), basis, None)
        pairs = lab.pairs(self._pairs)
        clean, protected = lab.embed(pairs.clean), lab.embed(pairs.protected)
        both = clean.found & protected.found
        changes = mean_changes(clean.embeddings[both], protected.embeddings[both], targets)
        return _Adapted(lab, gallery, None, changes)


@dataclass(frozen=True)
class _Adapted:
    lab: Lab
    gallery: Gallery
    basis: Tensor | None
    changes: Tensor | None

    def answer(self, shown: Shown) -> Answer:
        seen = self.lab.embed(shown.files)
        if self.basis is not None:
            seen = Seen(take_out(seen.embeddings, self.basis), seen.found)
        searcher = self.gallery if self.changes is None else Tries(self.gallery, self.changes)
        return Answer(rank_by(searcher, seen), self.gallery.size)


def span(directions: Tensor) -> Tensor:
    """Return orthonormal rows ``(R, D)`` that span directions ``(T, D)``."""
    _, values, rows = torch.linalg.svd(directions.double(), full_matrices=False)
    kept: Tensor = rows[values > 1e-6 * values.max()]
    return kept


def take_out(embeddings: Tensor, basis: Tensor) -> Tensor:
    """Return embeddings ``(N, D)`` without their part in a subspace, of unit length; zeros where nothing is left."""
    rest = embeddings.double() - embeddings.double() @ basis.T @ basis
    return functional.normalize(rest, dim=1).float()


def mean_changes(clean: Tensor, protected: Tensor, targets: Tensor) -> Tensor:
    """Return the mean change of embeddings of those pairs that moved towards each target, ``(K, D)``, K at most T.

    A pair moved towards the target with whose direction its change has the largest product.

    Args:
        clean: Unit embeddings of photos as they were, ``(N, D)``.
        protected: The same of the protected photos.
        targets: Unit embeddings of the targets, ``(T, D)``.
    """
    changes = protected.double() - clean.double()
    nearest = (changes @ targets.double().T).argmax(dim=1)
    means = [changes[nearest == target].mean(dim=0) for target in sorted(set(nearest.tolist()))]
    return torch.stack(means) if means else changes.new_zeros(0, clean.shape[1])


@dataclass(frozen=True)
class Tries:
    """Searches a gallery for an embedding as it is and less each of some changes: the largest cosine of all counts.

    Attributes:
        gallery: The gallery.
        changes: The changes, ``(K, D)``.
    """

    gallery: Gallery
    changes: Tensor

    @property
    def size(self) -> int:
        """Number of photos."""
        return self.gallery.size

    def rank(self, embeddings: Tensor, top: int) -> Tensor:
        """Return the identities of the photos that are nearest to any try, ``(N, top)``."""
        none = self.changes.new_zeros(1, self.changes.shape[1])
        tries = embeddings.double()[:, None] - torch.cat([none, self.changes])
        units = functional.normalize(tries, dim=2).float().flatten(0, 1)
        # The nearest photos to the nearest try of each are among the nearest to some try.
        cosines, places = (each.view(len(embeddings), -1) for each in search(units, self.gallery.embeddings, top))
        ranked = []
        for row, columns in zip(cosines, places, strict=True):
            order = row.argsort(descending=True, stable=True)
            nearest = list(dict.fromkeys(columns[order].tolist()))[:top]
            ranked.append(self.gallery.labels[torch.tensor(nearest)])
        return torch.stack(ranked)
