"""An adversary's linear map from embeddings of protected photos to those of the clean ones, in closed form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.learners.people import confusion, split_people

Towards = Literal["nothing", "identity"]
TOWARDS: tuple[Towards, ...] = get_args(Towards)
STRENGTHS = tuple(10.0**each for each in range(-3, 4))
"""Of the penalty, in mean variances of the protected embeddings."""


@dataclass(frozen=True)
class LinearMap:
    """A map of unit embeddings; of protected photos only, since it moves clean ones away from where they belong.

    Attributes:
        matrix: ``(D, D)``, float64.
        protected_mean: Subtracted first, ``(D,)``.
        clean_mean: Added last, ``(D,)``.
        strength: The penalty that was chosen, of `STRENGTHS`.
        towards: Where the penalty leads: ``nothing``, as ridge regression does, or ``identity``, no change.
        before: Mean `people.confusion` of the validation people's protected photos without the map.
        after: The same with the map that was learnt from the others.
    """

    matrix: Tensor
    protected_mean: Tensor
    clean_mean: Tensor
    strength: float
    towards: Towards
    before: float
    after: float

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return the unit embeddings ``(M, D)``, float32, that the clean photos would have.

        Args:
            embeddings: Of protected photos, ``(M, D)``.
        """
        return _apply(self.matrix, self.protected_mean, self.clean_mean, embeddings)


def learn_linear_map(
    protected: Tensor, clean: Tensor, people: Tensor, test_people: Collection[int], seed: int = 0
) -> LinearMap:
    """Return the ridge regression of clean embeddings on protected ones, as strong as is best for validation people.

    With rows p and c less their means, it minimises the mean of ``|p M - c|^2`` plus strength times the mean variance
    times ``|M - A|^2``, where A is 0 or the identity, whichever is better; then it is learnt anew from all pairs.

    Args:
        protected: Unit embeddings of the protected photos, ``(N, D)``.
        clean: Unit embeddings of the same photos as they were, ``(N, D)``.
        people: Whom each shows, ``(N,)`` int64.
        test_people: Labels of the people by whom it will be judged.
        seed: Draws the validation people.

    Raises:
        FacecryptError: If somebody is among both, or there are fewer than four people.
    """
    learnt, chosen = split_people(people, test_people, seed)
    targets = clean.float()

    def error(queries: Tensor) -> float:
        return float(confusion(queries, targets, people[chosen], people).mean())

    before = error(protected[chosen].float())
    found = [
        (
            error(_apply(*_solve(protected[learnt], clean[learnt], strength, towards), protected[chosen])),
            strength,
            towards,
        )
        for towards in TOWARDS
        for strength in STRENGTHS
    ]
    after, strength, towards = min(found, key=lambda each: each[0])
    return LinearMap(*_solve(protected, clean, strength, towards), strength, towards, before, after)


def _solve(protected: Tensor, clean: Tensor, strength: float, towards: Towards) -> tuple[Tensor, Tensor, Tensor]:
    protected, clean = protected.double(), clean.double()
    protected_mean, clean_mean = protected.mean(dim=0), clean.mean(dim=0)
    p, c = protected - protected_mean, clean - clean_mean
    identity = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
    anchor = identity * (towards == "identity")
    covariance = p.T @ p / len(p)
    system = covariance + strength * covariance.trace() / len(identity) * identity
    return anchor + torch.linalg.solve(system, p.T @ (c - p @ anchor) / len(p)), protected_mean, clean_mean


def _apply(matrix: Tensor, protected_mean: Tensor, clean_mean: Tensor, embeddings: Tensor) -> Tensor:
    return functional.normalize((embeddings.double() - protected_mean) @ matrix + clean_mean, dim=1).float()
