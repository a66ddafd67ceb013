from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from facecrypt.benchmark.adversaries.adaptive import Tries, mean_changes, span, take_out
from facecrypt.benchmark.adversaries.base import Gallery
from tests.benchmark.adversaries.embeddings import draw


def test_what_is_taken_out_is_the_part_in_the_span_of_the_targets() -> None:
    targets, _ = draw(3, 1, 0.0, 1)
    targets = torch.cat([targets, targets[:1]])  # One twice: the span has three dimensions.
    basis = span(targets)
    assert basis.shape == (3, 8)
    embeddings, _ = draw(5, 2, 0.5, 2)
    rest = take_out(embeddings, basis)
    for mine, left in zip(embeddings.double().numpy(), rest.numpy(), strict=True):
        solved = np.linalg.lstsq(targets.double().numpy().T, mine, rcond=None)[0]
        slow = mine - targets.double().numpy().T @ solved
        assert np.allclose(left, slow / np.linalg.norm(slow), atol=1e-6)
    assert (rest.double() @ targets.double().T).abs().max() < 1e-6


def test_changes_are_those_of_the_pairs_that_moved_towards_each_target() -> None:
    targets, _ = draw(3, 1, 0.0, 1)
    clean, _ = draw(10, 1, 0.4, 3)
    towards = torch.tensor([0, 2, 2, 0, 2, 0, 0, 2, 2, 0])
    protected = functional.normalize(clean + 3 * targets[towards], dim=1)
    changes = mean_changes(clean, protected, targets)
    assert len(changes) == 2  # Nobody moved towards the second target.
    for row, target in zip(changes, (0, 2), strict=True):
        mine = [index for index in range(10) if towards[index] == target]
        slow = sum((protected[index] - clean[index]).double() for index in mine) / len(mine)
        assert torch.allclose(row, slow, atol=1e-6)


def test_the_nearest_photo_to_any_try_counts() -> None:
    embeddings, labels = draw(10, 3, 0.5, 4)
    probes, _ = draw(10, 1, 0.8, 5)
    changes = torch.randn(4, 8, generator=torch.Generator().manual_seed(6)).double()
    tries = Tries(Gallery(embeddings, labels), changes)
    ranked = tries.rank(probes, 5)
    for probe, row in zip(probes.double(), ranked.tolist(), strict=True):
        tried = [probe, *(probe - change for change in changes)]
        units = [each / each.norm() for each in tried]
        best = [max(float(np.float32(unit @ photo)) for unit in units) for photo in embeddings.double()]
        order = sorted(range(len(best)), key=lambda place: -best[place])[:5]
        assert row == [int(labels[place]) for place in order]
    assert torch.equal(Tries(tries.gallery, changes[:0]).rank(probes, 5), tries.gallery.rank(probes, 5))


def test_changes_that_are_always_the_same_are_undone() -> None:
    embeddings, labels = draw(10, 3, 0.2, 4)
    probes, own = draw(10, 1, 0.2, 5)
    target = functional.normalize(torch.ones(1, 8), dim=1)
    moved = functional.normalize(probes + 2 * target, dim=1)
    gallery = Gallery(embeddings, labels)
    changes = mean_changes(embeddings, functional.normalize(embeddings + 2 * target, dim=1), target)
    before = (gallery.rank(moved, 1)[:, 0] == own).float().mean()
    projected = Gallery(take_out(embeddings, span(target)), labels)
    assert (projected.rank(take_out(moved, span(target)), 1)[:, 0] == own).float().mean() > before
    assert (Tries(gallery, changes).rank(moved, 1)[:, 0] == own).float().mean() >= before
