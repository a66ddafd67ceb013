from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facecrypt.benchmark.adversaries.base import Gallery
from facecrypt.benchmark.adversaries.growing import grow, stream_of
from tests.benchmark.adversaries.embeddings import draw


def slow_growth(
    gallery: list[tuple[np.ndarray, int]], stream: list[tuple[np.ndarray, int]], threshold: float
) -> tuple[list[tuple[np.ndarray, int]], int]:
    """The tracker, photo by photo, with a search through everything that it has."""
    known, right = list(gallery), 0
    for photo, person in stream:
        best, name = -math.inf, -1
        for other, label in known:
            cosine = np.float32(photo.astype(float) @ other.astype(float))
            if cosine > best:
                best, name = cosine, label
        if best >= threshold:
            known.append((photo, name))
            right += name == person
    return known, right


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 0.8, 1.1])
@pytest.mark.parametrize("spread", [0.3, 0.9])
def test_a_gallery_grows_as_a_slow_tracker_lets_it(threshold: float, spread: float) -> None:
    embeddings, labels = draw(6, 2, spread, 1)
    stream, whom = draw(6, 5, spread, 2)
    order = torch.randperm(len(stream), generator=torch.Generator().manual_seed(3))
    stream, whom = stream[order], whom[order]
    grown = grow(Gallery(embeddings, labels), stream, whom, threshold)
    known, right = slow_growth(
        list(zip(embeddings.numpy(), labels.tolist(), strict=True)),
        list(zip(stream.numpy(), whom.tolist(), strict=True)),
        threshold,
    )
    assert grown.gallery.labels.tolist() == [name for _, name in known]
    assert np.array_equal(grown.gallery.embeddings.numpy(), np.stack([photo for photo, _ in known]))
    assert (grown.joined, grown.right) == (len(known) - len(embeddings), right)
    assert grown.joined == {-1.0: 30, 1.1: 0}.get(threshold, grown.joined)


def test_what_joined_leads_to_photos_that_the_first_gallery_does_not_know() -> None:
    """A drift: each photo is near the one before, and only the first is near the gallery."""
    angles = torch.tensor([0.0, 0.5, 1.0, 1.5])
    photos = torch.stack([angles.cos(), angles.sin()], dim=1)
    stranger = torch.tensor([[-1.0, 0.0]])
    gallery = Gallery(torch.cat([photos[:1], stranger]), torch.tensor([7, 8]))
    threshold = math.cos(0.6)
    grown = grow(gallery, photos[1:3], torch.tensor([7, 7]), threshold)
    assert (grown.joined, grown.right) == (2, 2)
    assert gallery.rank(photos[3:], 1).tolist() == [[7]]
    best = (photos[3:] @ grown.gallery.embeddings.T).max()
    assert best >= threshold > (photos[3:] @ gallery.embeddings.T).max()
    backwards = grow(gallery, photos[1:3].flip(0), torch.tensor([7, 7]), threshold)
    assert backwards.joined == 1
    assert grow(gallery, photos[:0], torch.tensor([], dtype=torch.int64), threshold).gallery == gallery


def test_half_of_everybodys_photos_come_later() -> None:
    identities = [4] * 5 + [2] * 2 + [9]
    names = [f"{number}.jpg" for number in range(8)]
    later = stream_of(identities, names, 0)
    counts = {person: sum(identities[index] == person for index in later) for person in (4, 2, 9)}
    assert counts == {4: 2, 2: 1, 9: 0}
    assert len(set(later)) == 3
    assert stream_of(identities, names, 0) == later
    assert len({tuple(stream_of(identities, names, seed)) for seed in range(8)}) > 1
    # Whoever else is there changes nothing about which photos of a person come later.
    assert {index for index in later if identities[index] == 4} == set(stream_of(identities[:5], names[:5], 0))
