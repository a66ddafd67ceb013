from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from facecrypt.benchmark.adversaries.clustering import agree, best_threshold, cut, link, measure
from tests.benchmark.adversaries.embeddings import draw


def slow_agreement(people: list[int], clusters: list[int]) -> tuple[float, float]:
    """Pair by pair."""
    together = right = own = 0
    for a, b in itertools.combinations(range(len(people)), 2):
        together += clusters[a] == clusters[b]
        own += people[a] == people[b]
        right += clusters[a] == clusters[b] and people[a] == people[b]
    return right / together if together else 1.0, right / own if own else 0.0


@pytest.mark.parametrize("spread", [0.3, 0.8, 1.5])
def test_linkage_is_that_of_scipy(spread: float) -> None:
    embeddings, _ = draw(9, 4, spread, 1)
    merges = link(embeddings)
    distances = 1 - (embeddings.double() @ embeddings.double().T).numpy()
    slow = linkage(distances[np.triu_indices(36, 1)], "average")
    assert np.allclose([1 - merge.similarity for merge in merges], slow[:, 2])
    for threshold in (0.2, 0.5, 0.8):
        mine = cut(merges, 36, threshold)
        theirs = fcluster(slow, 1 - threshold, "distance")
        assert torch.equal(mine[:, None] == mine, torch.tensor(theirs[:, None] == theirs))


def test_agreement_is_counted_pair_by_pair() -> None:
    generator = torch.Generator().manual_seed(3)
    for people, clusters in ((4, 3), (2, 9), (10, 1), (1, 1)):
        mine = torch.randint(people, (20,), generator=generator)
        found = torch.randint(clusters, (20,), generator=generator)
        assert agree(mine, found) == pytest.approx(slow_agreement(mine.tolist(), found.tolist()))
    alone = torch.arange(4)
    assert agree(torch.tensor([0, 0, 1, 1]), alone) == (1.0, 0.0)
    assert agree(alone, alone) == (1.0, 0.0)


def test_people_who_are_drawn_twice_count_twice_and_not_against_themselves() -> None:
    people = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    clusters = torch.tensor([5, 5, 6, 5, 6, 6, 6])
    weights = torch.tensor([2, 0, 1])
    pairs = [
        (people[a] == people[b], clusters[a] == clusters[b], weights[people[a]] * weights[people[b]], people[a])
        for a, b in itertools.combinations(range(7), 2)
    ]
    own = sum(int(weights[whose]) for same, _, _, whose in pairs if same)
    right = sum(int(weights[whose]) for same, together, _, whose in pairs if same and together)
    wrong = sum(int(weight) for same, together, weight, _ in pairs if together and not same)
    assert agree(people, clusters, weights) == pytest.approx((right / (right + wrong), right / own))


def test_the_threshold_is_where_known_people_agree_best() -> None:
    embeddings, people = draw(12, 4, 0.5, 4)
    threshold = best_threshold(embeddings, people)
    merges = link(embeddings)

    def score(at: float) -> float:
        purity, completeness = agree(people, cut(merges, len(people), at))
        return 2 * purity * completeness / (purity + completeness) if completeness else 0.0

    assert score(threshold) == pytest.approx(max(score(at) for at in np.linspace(-1, 1, 2001)), abs=1e-9)


def test_measures_come_with_intervals_over_people() -> None:
    embeddings, people = draw(20, 3, 0.6, 5)
    clusters = cut(link(embeddings), len(people), 0.6)
    found = measure(people, clusters, 0)
    for name, value in zip(("purity", "completeness"), slow_agreement(people.tolist(), clusters.tolist()), strict=True):
        assert found[name].value == pytest.approx(100 * value)
        assert 0 <= found[name].low < found[name].value < found[name].high <= 100
    assert measure(people, clusters, 0) == found
