from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facecrypt.benchmark.adversaries.base import NO_FACE, Gallery, Seen, rank_by
from facecrypt.benchmark.adversaries.galleries import (
    FAR,
    FMR,
    answer_by,
    choose_photos,
    choose_protected,
    measure_threshold,
    verify,
)
from facecrypt.errors import FacecryptError
from tests.benchmark.adversaries.embeddings import draw

LABELS = [3] * 7 + [1] * 2 + [8]
NAMES = [f"{number}.jpg" for number in range(10)]


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


def test_probes_are_verified_as_a_slow_search_verifies_them() -> None:
    embeddings, labels = draw(30, 3, 0.6, 1)
    probes, own = draw(30, 1, 0.6, 2)
    found = torch.ones(30, dtype=torch.bool)
    found[4] = False
    seen = Seen(torch.where(found[:, None], probes, 0.0), found)
    gallery = Gallery(embeddings, labels)
    answer = answer_by(gallery, seen, own, 0)
    strangers = [
        float(np.float32(embeddings[a].double() @ embeddings[b].double()))
        for a in range(90)
        for b in range(a)
        if labels[a] != labels[b]
    ]
    refused = sorted(strangers)[-1 - int(FMR * len(strangers))]
    slow = []
    for place in range(30):
        mine = [float(np.float32(probes[place].double() @ embeddings[row].double())) for row in range(90)]
        slow.append(bool(found[place]) and max(mine[row] for row in range(90) if labels[row] == own[place]) > refused)
    assert answer.verified is not None
    assert answer.verified.tolist() == slow
    assert 0 < sum(slow) < 30
    assert answer.ranked is not None
    assert answer.ranked[4].tolist() == [NO_FACE] * 5
    assert torch.equal(answer.ranked, rank_by(gallery, seen))
    few = answer_by(Gallery(embeddings[:30], labels[:30]), seen, own, 0)
    assert few.verified is None  # 405 pairs of strangers cannot show a rate of 1e-3.
    assert not verify(gallery, Seen(embeddings[:1], torch.tensor([True])), torch.tensor([29]), 0.99).any()


def test_more_photos_of_a_person_hold_fewer_and_depend_on_nobody_else() -> None:
    chosen = [set(choose_photos(LABELS, NAMES, most, 5)) for most in (1, 3, 9)]
    assert chosen[0] < chosen[1] < chosen[2] == set(range(10))
    assert [sum(LABELS[index] == person for index in chosen[1]) for person in (3, 1, 8)] == [3, 2, 1]
    assert choose_photos(LABELS, NAMES, None, 5) == list(range(10))
    assert set(choose_photos(LABELS[:7], NAMES[:7], 3, 5)) == {index for index in chosen[1] if index < 7}
    assert len({tuple(choose_photos(LABELS, NAMES, 3, seed)) for seed in range(6)}) > 1


def test_a_share_is_protected_exactly_or_on_average() -> None:
    assert choose_protected(LABELS, NAMES, 1.0, 0) == [True] * 10
    assert choose_protected(LABELS, NAMES, 0.0, 0) == [False] * 10
    half = [choose_protected(LABELS, NAMES, 0.5, seed) for seed in range(400)]
    assert {sum(each[:7]) for each in half} == {3, 4}
    assert {sum(each[7:9]) for each in half} == {1}
    assert np.mean([each[9] for each in half]) == pytest.approx(0.5, abs=0.1)
