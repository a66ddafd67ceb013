from __future__ import annotations

import math

import numpy as np
import torch

from facecrypt.benchmark.adversaries.base import Gallery
from facecrypt.benchmark.adversaries.probing import train_linear_probe
from tests.benchmark.adversaries.embeddings import draw


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
