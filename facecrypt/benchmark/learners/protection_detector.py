"""An adversary who tells protected photos from clean ones, by their embeddings or by what is fine in their pixels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.benchmark.learners.people import Parts, fold_people, split_people
from facecrypt.engine.fitting import Pace, fit

FOLDS = 3
PACE = Pace(epochs=30, batch_size=16, patience=6)
_PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Of the logistic regression on embeddings divided by their standard deviation, per photo and dimension."""
_RATE = 2e-3
_NEWTON = 30
"""Steps of the logistic regression: it needs fewer than ten."""
_AT_ONCE = 64
_GAIN = 20.0
"""Residuals of a mask are some hundredths; layers want numbers near 1."""


class Shown(NamedTuple):
    """What the detector sees of M photos.

    Attributes:
        crops: Aligned faces, ``(M, 3, H, W)``, RGB in [0, 1].
        embeddings: Unit embeddings of them, ``(M, D)``; of several recognisers side by side if there are.
    """

    crops: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class ProtectionDetector:
    """Says how likely photos are protected.

    Attributes:
        kind: Which of `validation` it is.
        validation: Area under the ROC curve of each kind in cross-validation by person; that of the kind chosen is a
            little too good, so judge it by people that neither taught it nor chose.
        pairs: Number of pairs that taught it.
    """

    kind: str
    validation: dict[str, float]
    pairs: int
    _score: Callable[[Shown], Tensor]

    def __call__(self, photos: Shown) -> Tensor:
        """Return a score for each photo, ``(M,)``: the higher, the more it looks protected."""
        return self._score(photos)


class Residuals(nn.Module):
    """Aligned faces ``(B, 3, H, W)`` to a score ``(B,)``, by the pixels less their neighbourhood's mean.

    Args:
        width: Channels of the first layer; the later ones have twice as many.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(4 * width, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the scores."""
        around = functional.avg_pool2d(functional.pad(crops, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
        features = self.layers(_GAIN * (crops - around))
        # How strong a texture is all over the face, and how unevenly.
        pooled = torch.cat([features.mean(dim=(2, 3)), features.std(dim=(2, 3))], dim=1)
        scores: Tensor = self.last(pooled)[:, 0]
        return scores


def learn_detector(
    protected: Shown,
    clean: Shown,
    people: Tensor,
    test_people: Collection[int],
    *,
    pace: Pace = PACE,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> ProtectionDetector:
    """Return a classifier of protected photos: the better of logistic regression on embeddings and a network on pixels.

    Which is better is told by cross-validation, in which nobody's photos both teach and test; then it learns from all.

    Args:
        protected: N protected photos.
        clean: The same as they were.
        people: Whom each shows, ``(N,)`` int64.
        test_people: Labels of the people by whom it will be judged.
        pace: How long the network is trained, and by which steps.
        seed: Draws folds, validation people, weights and order.
        arguments: Of Lightning's Trainer; ``{"accelerator": "gpu"}`` trains on a GPU.

    Raises:
        FacecryptError: If somebody is among both, there are fewer than six people, or Lightning refuses its arguments.
    """

    def by_embeddings(penalty: float) -> Callable[[Tensor], Callable[[Shown], Tensor]]:
        return lambda rows: _regress(protected.embeddings[rows], clean.embeddings[rows], penalty)

    def by_residuals(rows: Tensor) -> Callable[[Shown], Tensor]:
        return _train(protected.crops[rows], clean.crops[rows], people[rows], pace, seed, arguments)

    kinds = {f"embeddings, penalty {penalty:g}": by_embeddings(penalty) for penalty in _PENALTIES}
    kinds["residuals"] = by_residuals
    folds = fold_people(people, test_people, seed, FOLDS)
    validation = {kind: _validate(learn, folds, protected, clean) for kind, learn in kinds.items()}
    kind = max(validation, key=lambda each: validation[each])
    return ProtectionDetector(kind, validation, len(people), kinds[kind](torch.arange(len(people))))


def area_under_roc(positive: Tensor, negative: Tensor) -> float:
    """Return how probable it is that a positive has a higher score than a negative, a half where they are equal.

    By the sum of the ranks of the positives (Mann and Whitney, 1947), equal scores having their mean rank.

    Args:
        positive: Scores, ``(P,)``, P at least 1.
        negative: Scores, ``(N,)``, N at least 1.
    """
    _, inverse, counts = torch.unique(torch.cat([positive, negative]), return_inverse=True, return_counts=True)
    counts = counts.double()
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse]
    count = len(positive)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(negative)))


def _validate(
    learn: Callable[[Tensor], Callable[[Shown], Tensor]], folds: list[Parts], protected: Shown, clean: Shown
) -> float:
    """Return the mean area under the curve over the folds: scores of two classifiers are no one scale."""
    found = []
    for training, left_out in folds:
        score = learn(training)
        scores = [score(Shown(each.crops[left_out], each.embeddings[left_out])) for each in (protected, clean)]
        found.append(area_under_roc(*scores))
    return sum(found) / len(found)


def _regress(protected: Tensor, clean: Tensor, penalty: float) -> Callable[[Shown], Tensor]:
    """Return the scores of a logistic regression, whose minimum Newton's steps find."""
    both = torch.cat([protected, clean]).double()
    labels = torch.cat([torch.ones(len(protected)), torch.zeros(len(clean))]).double()
    mean = both.mean(dim=0)
    scale = (both - mean).square().mean().sqrt()
    rows = torch.cat([(both - mean) / scale, torch.ones(len(both), 1).double()], dim=1)
    penalties = torch.full((rows.shape[1],), penalty * len(rows) / rows.shape[1]).double()
    penalties[-1] = 1e-6  # That of the bias.
    weights = torch.zeros(rows.shape[1]).double()
    for _ in range(_NEWTON):
        told = torch.sigmoid(rows @ weights)
        slope = rows.T @ (told - labels) + penalties * weights
        curvature = (rows.T * (told * (1 - told))) @ rows + penalties.diag()
        weights = weights - torch.linalg.solve(curvature, slope)

    def score(photos: Shown) -> Tensor:
        return ((photos.embeddings.double() - mean) / scale @ weights[:-1] + weights[-1]).float()

    return score


def _train(
    protected: Tensor,
    clean: Tensor,
    people: Tensor,
    pace: Pace,
    seed: int,
    arguments: Mapping[str, Any] | None,
) -> Callable[[Shown], Tensor]:
    """Return the scores of a small network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Residuals()
    training, validation = ([protected[part], clean[part]] for part in split_people(people, (), seed))
    fit(_Lesson(network), training, validation, pace, seed, arguments)

    def score(photos: Shown) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(part) for part in torch.split(photos.crops, _AT_ONCE)])

    return score


class _Lesson(nn.Module):
    def __init__(self, network: Residuals) -> None:
        super().__init__()
        self.network = network

    def loss(self, batch: list[Tensor], draw: torch.Generator) -> Tensor:
        """Return the cross-entropy of pairs, mirrored at random."""
        mirrored = (torch.rand(len(batch[0]), 1, 1, 1, generator=draw) < 0.5).to(batch[0].device)
        return self.errors([torch.where(mirrored, each.flip(3), each) for each in batch]).mean()

    def errors(self, batch: list[Tensor]) -> Tensor:
        """Return the cross-entropy of each pair, ``(B,)``."""
        protected, clean = (self.network(each) for each in batch)
        return functional.softplus(-protected) + functional.softplus(clean)

    def groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters."""
        return [{"params": list(self.network.parameters()), "lr": _RATE}]
