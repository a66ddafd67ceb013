"""Adversaries on embeddings that are drawn: people are directions, photos lie around them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.adversaries import FAR, Gallery, grow, measure_threshold, stream_of, train_linear_probe
from facecrypt.errors import FacecryptError


def draw(people: int, photos: int, spread: float, seed: int, dimension: int = 8) -> tuple[Tensor, Tensor]:
    """Unit embeddings of some photos of each person, and whom they show."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(people, dimension, generator=torch.Generator().manual_seed(99))
    noise = spread * torch.randn(people, photos, dimension, generator=generator)
    return functional.normalize((centres[:, None] + noise).flatten(0, 1), dim=1), torch.arange(
        people
    ).repeat_interleave(photos)


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


def test_an_unknown_threshold_is_measured_in_the_gallery() -> None:
    embeddings, labels = draw(12, 3, 0.4, 5)
    threshold = measure_threshold(Gallery(embeddings, labels), 0)
    pairs = [
        float(np.float32(embeddings[a].double() @ embeddings[b].double()))
        for a in range(len(labels))
        for b in range(a)
        if labels[a] != labels[b]
    ]
    accepted = sum(cosine >= threshold for cosine in pairs)
    assert accepted == math.floor(FAR * len(pairs))
    with pytest.raises(FacecryptError, match="pairs of strangers are too few"):
        measure_threshold(Gallery(embeddings[:6], labels[:6]), 0)


def test_the_linear_probe_is_the_minimum_of_its_loss() -> None:
    """Its gradient, summed slowly, photo by photo, vanishes; the loss is convex, so that is the only minimum.

    The penalty is that of the weights of centred embeddings in units of their standard deviation.
    """
    embeddings, labels = draw(4, 6, 0.8, 6)
    l2 = 1e-2
    probe = train_linear_probe(embeddings, labels + 10, l2)
    weights, bias = probe.weights.numpy(), probe.bias.numpy()
    scale = np.std(embeddings.double().numpy() - embeddings.double().numpy().mean(axis=0))
    pull, push = l2 * weights * scale**2, np.zeros(4)
    for photo, person in zip(embeddings.double().numpy(), labels.tolist(), strict=True):
        logits = [float(weights[k] @ photo) + bias[k] for k in range(4)]
        total = sum(math.exp(each) for each in logits)
        for k in range(4):
            error = (math.exp(logits[k]) / total - (k == person)) / len(labels)
            pull[k] += error * photo
            push[k] += error
    assert np.abs(pull).max() < 1e-5
    assert np.abs(push).max() < 1e-5
    assert np.abs(weights).max() > 0.1
    assert (probe.identities.tolist(), probe.size) == ([10, 11, 12, 13], 24)
    ranked = probe.rank(embeddings, 5)
    for photo, row in zip(embeddings.double().numpy(), ranked.tolist(), strict=True):
        slow = sorted(range(4), key=lambda k: -float(weights[k] @ photo + bias[k]))
        assert row == [10 + k for k in (*slow, slow[-1])]
    again = train_linear_probe(embeddings, labels + 10, l2)
    assert torch.equal(again.weights, probe.weights)


def test_training_on_protected_photos_undoes_a_protection_that_always_goes_to_the_same_place() -> None:
    clean, labels = draw(5, 4, 0.2, 7)
    shift = torch.roll(clean, 3, dims=1)  # The same for every photo of a person: far away, but to be learned.
    probe, whom = draw(5, 1, 0.2, 8)
    moved = torch.roll(probe, 3, dims=1)
    assert (Gallery(clean, labels).rank(moved, 1)[:, 0] == whom).float().mean() < 1
    trained = train_linear_probe(torch.cat([clean, shift]), torch.cat([labels, labels]))
    assert (trained.rank(moved, 1)[:, 0] == whom).all()
