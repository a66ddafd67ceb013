"""One who groups a folder of photos by person, without a gallery and without names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecrypt.benchmark.adversaries.base import Answer, Lab, Measure, Needs, Rows, Seen, Shown
from facecrypt.benchmark.adversaries.entries import People, Photos
from facecrypt.benchmark.adversaries.galleries import choose_photos, others_of

_SAMPLES = 2000


class Merge(NamedTuple):
    """Two clusters that became one: the numbers of a photo in each, and the mean cosine between them."""

    first: int
    second: int
    similarity: float


def link(embeddings: Tensor) -> list[Merge]:
    """Return the merges of average linkage (UPGMA; Sokal and Michener 1958), the most similar first, to one cluster.

    The similarity of two clusters is the mean cosine of all pairs of a photo of one and a photo of the other.

    Args:
        embeddings: Unit embeddings, ``(N, D)``.
    """
    count = len(embeddings)
    similarity: NDArray[np.float64] = (embeddings.double() @ embeddings.double().T).numpy().copy()
    np.fill_diagonal(similarity, -np.inf)
    sizes = np.ones(count)
    merges = []
    best = similarity.max(axis=1, initial=-np.inf)
    for _ in range(count - 1):
        first = int(best.argmax())
        second = int(similarity[first].argmax())
        merges.append(Merge(first, second, float(best[first])))
        # The mean over all pairs is the mean of both, weighted by their sizes (Lance and Williams 1967).
        total = sizes[first] + sizes[second]
        joined = (sizes[first] * similarity[first] + sizes[second] * similarity[second]) / total
        joined[[first, second]] = -np.inf
        similarity[first], similarity[:, first] = joined, joined
        similarity[second], similarity[:, second] = -np.inf, -np.inf
        sizes[first] = total
        best = similarity.max(axis=1)
    return merges


def cut(merges: Sequence[Merge], count: int, threshold: float) -> Tensor:
    """Return the cluster of each of `count` photos, ``(N,)``: of merges as similar as the threshold asks."""
    clusters = torch.arange(count)
    for merge in merges:
        if merge.similarity >= threshold:
            clusters[clusters == clusters[merge.second]] = clusters[merge.first].clone()
    return clusters


class Agreement(NamedTuple):
    """How well clusters are people, as shares.

    Attributes:
        purity: Of the pairs of photos in one cluster, those that show one person; 1 where there is no pair.
        completeness: Of the pairs of photos of one person, those in one cluster; 0 where there is no pair.
    """

    purity: float
    completeness: float


def agree(people: Tensor, clusters: Tensor, weights: Tensor | None = None) -> Agreement:
    """Return pairwise precision and recall, with which face clusterings are compared (Otto, Wang and Jain 2018).

    Args:
        people: Whom each photo shows, ``(N,)``.
        clusters: Its cluster, ``(N,)``.
        weights: How often each person counts, in ascending order of their numbers; as drawn by a bootstrap. No pair of
            a person with their own double counts.
    """
    _, rows = torch.unique(people, return_inverse=True)
    _, columns = torch.unique(clusters, return_inverse=True)
    counts = torch.zeros(int(rows.max()) + 1, int(columns.max()) + 1, dtype=torch.float64)
    counts.index_put_((rows, columns), torch.ones(len(rows), dtype=torch.float64), accumulate=True)
    weight = torch.ones(len(counts), dtype=torch.float64) if weights is None else weights.double()
    sizes = counts.sum(dim=1)
    right = float((weight * (counts * (counts - 1) / 2).sum(dim=1)).sum())
    own = float((weight * sizes * (sizes - 1) / 2).sum())
    weighted = weight[:, None] * counts
    wrong = float((weighted.sum(dim=0).square() - weighted.square().sum(dim=0)).sum()) / 2
    return Agreement(right / (right + wrong) if right + wrong else 1.0, right / own if own else 0.0)


def best_threshold(embeddings: Tensor, people: Tensor) -> float:
    """Return the mean cosine down to which clusters should be joined: where photos of known people agree best.

    That is where the harmonic mean of purity and completeness is largest, half-way to the next merge.

    Args:
        embeddings: Unit embeddings, ``(N, D)``.
        people: Whom they show, ``(N,)``.
    """
    merges = link(embeddings)
    clusters = torch.arange(len(embeddings))
    best, threshold = -1.0, 1.0
    for number, merge in enumerate(merges):
        clusters[clusters == clusters[merge.second]] = clusters[merge.first].clone()
        purity, completeness = agree(people, clusters)
        score = 2 * purity * completeness / (purity + completeness) if completeness else 0.0
        if score > best:
            following = merges[number + 1].similarity if number + 1 < len(merges) else merge.similarity
            best, threshold = score, (merge.similarity + following) / 2
    return threshold


class Clusterer:
    """Groups the protected photos of the protected people: the probes, and the other photos of these people.

    Args:
        photos: Most photos of each person.
        people: People by whose clean photos the threshold is chosen.
    """

    rows: Rows = "all"

    def __init__(self, *, photos: Photos = 5, people: People = 50) -> None:
        self._photos, self._people = photos, people
        self.needs = Needs(collected=True, validation=people)

    def prepare(self, lab: Lab) -> _Clusters:
        """Return it with its threshold."""
        families = lab.cast.families(self._people, self._photos)
        known = lab.embed([file for family in families for file in family])
        whose = torch.tensor([number for number, family in enumerate(families) for _ in family])
        threshold = best_threshold(known.embeddings[known.found], whose[known.found])
        labels, names = others_of(lab)
        stay = choose_photos(labels, names, self._photos - 1, lab.seed) if self._photos > 1 else []
        files = lab.others()
        seen = lab.embed([files[index] for index in stay])
        return _Clusters(lab, threshold, seen, torch.tensor([labels[index] for index in stay], dtype=torch.int64))


@dataclass(frozen=True)
class _Clusters:
    lab: Lab
    threshold: float
    others: Seen
    labels: Tensor

    def answer(self, shown: Shown) -> Answer:
        probes = self.lab.embed(shown.files)
        found = torch.cat([probes.found, self.others.found])
        embeddings = torch.cat([probes.embeddings, self.others.embeddings])[found]
        people = torch.cat([self.lab.own, self.labels])
        # A photo without a face is with no other.
        clusters = torch.arange(len(people)) + len(people)
        clusters[found] = cut(link(embeddings), len(embeddings), self.threshold)
        return Answer(None, len(people), measures=measure(people, clusters, self.lab.seed))


def measure(people: Tensor, clusters: Tensor, seed: int) -> dict[str, Measure]:
    """Return purity and completeness in percent, each with its 95 % bootstrap interval over people."""
    value, count = agree(people, clusters), len(set(people.tolist()))
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(_SAMPLES):
        drawn = torch.randint(count, (count,), generator=generator)
        samples.append(agree(people, clusters, torch.bincount(drawn, minlength=count)))
    ends = torch.quantile(torch.tensor(samples, dtype=torch.float64), torch.tensor([0.025, 0.975]).double(), dim=0)
    found = zip(("purity", "completeness"), value, ends.T.tolist(), strict=True)
    return {name: Measure(100 * each, 100 * low, 100 * high) for name, each, (low, high) in found}
