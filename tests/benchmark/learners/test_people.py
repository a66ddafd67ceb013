from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from facecrypt.benchmark.learners.people import confusion, fold_people, split_people
from facecrypt.errors import FacecryptError

PEOPLE = torch.tensor([3, 3, 5, 8, 8, 8, 9, 11, 12, 14, 20, 21])


def test_nobody_is_in_both_parts_and_every_pair_in_one() -> None:
    training, validation = split_people(PEOPLE, {1, 2}, seed=0)
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(len(PEOPLE)))
    assert not set(PEOPLE[training].tolist()) & set(PEOPLE[validation].tolist())
    assert len(set(PEOPLE[validation].tolist())) == 2
    again = split_people(PEOPLE, (), seed=0)
    assert torch.equal(training, again.training)
    assert any(not torch.equal(training, split_people(PEOPLE, (), seed).training) for seed in range(1, 5))


def test_every_pair_is_left_out_once_with_all_of_its_person() -> None:
    folds = fold_people(PEOPLE, (), seed=0, folds=3)
    assert sorted(place for fold in folds for place in fold.validation.tolist()) == list(range(len(PEOPLE)))
    for training, left_out in folds:
        assert not set(PEOPLE[training].tolist()) & set(PEOPLE[left_out].tolist())
        assert len(training) + len(left_out) == len(PEOPLE)
    assert len(fold_people(torch.arange(7), (), seed=0, folds=5)) == 3


def test_who_teaches_cannot_be_tested() -> None:
    with pytest.raises(FacecryptError, match=r"2 people \(8, 20\) are both among .* Give it pairs of other people"):
        split_people(PEOPLE, [20, 8, 100], seed=0)
    with pytest.raises(FacecryptError, match=r"7 people \(3, 5, 8, 9, 11, ...\)"):
        fold_people(PEOPLE, [3, 5, 8, 9, 11, 12, 14], seed=0, folds=3)


def test_a_few_people_are_needed() -> None:
    with pytest.raises(FacecryptError, match="pairs of 3 people are too few .*; 4 are needed"):
        split_people(torch.tensor([1, 1, 2, 3]), (), seed=0)
    with pytest.raises(FacecryptError, match="pairs of 5 people are too few .*; 6 are needed"):
        fold_people(torch.arange(5), (), seed=0, folds=3)


def test_confusion_is_the_cross_entropy_of_the_own_photo() -> None:
    draw = torch.Generator().manual_seed(0)
    queries, gallery = (functional.normalize(torch.randn(n, 6, generator=draw), dim=1) for n in (5, 9))
    people, everybody = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([0, 0, 1, 2, 2, 1, 7, 8, 9])
    expected = []
    for query, who in zip(queries, people, strict=True):
        own = [math.exp(10 * query @ row) for row, label in zip(gallery, everybody, strict=True) if label == who]
        others = [math.exp(10 * query @ row) for row, label in zip(gallery, everybody, strict=True) if label != who]
        expected.append(-math.log(max(own) / (max(own) + sum(others))))
    assert confusion(queries, gallery, people, everybody).tolist() == pytest.approx(expected, rel=1e-4)
    both = confusion(torch.stack([queries, -queries]), gallery, people, everybody)
    assert torch.allclose(both[1], confusion(-queries, gallery, people, everybody))
    assert both.shape == (2, 5)
