"""Who teaches an adversary and by whom he chooses: parts of his pairs that share nobody, with each other or a test."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from facecrypt.errors import FacecryptError

VALIDATION = 0.2
"""Share of an adversary's people by whom he chooses."""
LEAST, LEAST_OF_FOLDS = 4, 6
"""People without whom nothing can be learnt: two to learn from and two to choose by, and two to leave out."""


_TEMPERATURE = 0.1


class Parts(NamedTuple):
    """Places of pairs.

    Attributes:
        training: Of those that are learnt from, ``(T,)``.
        validation: Of those by which the adversary chooses, ``(V,)``; they show other people.
    """

    training: Tensor
    validation: Tensor


def split_people(people: Tensor, test_people: Collection[int], seed: int) -> Parts:
    """Return the pairs to learn from and those to choose by: a fifth of the people, two at least.

    Args:
        people: Whom each pair shows, ``(N,)`` int64.
        test_people: Labels of the people by whom the adversary is judged.
        seed: Seed of the draw.

    Raises:
        FacecryptError: If somebody is among both, or there are fewer than four people.
    """
    drawn = _drawn(people, test_people, seed, LEAST)
    chosen = torch.isin(people, drawn[: max(2, round(VALIDATION * len(drawn)))])
    return Parts((~chosen).nonzero().flatten(), chosen.nonzero().flatten())


def fold_people(people: Tensor, test_people: Collection[int], seed: int, folds: int) -> list[Parts]:
    """Return the parts of a cross-validation, in which each pair is left out once, together with all of its person.

    Args:
        people: Whom each pair shows, ``(N,)`` int64.
        test_people: Labels of the people by whom the adversary is judged.
        seed: Seed of the draw.
        folds: How many; fewer where that leaves not two people in each.

    Raises:
        FacecryptError: If somebody is among both, or there are fewer than six people.
    """
    drawn = _drawn(people, test_people, seed, LEAST_OF_FOLDS)
    folds = min(folds, len(drawn) // 2)
    result = []
    for fold in range(folds):
        left_out = torch.isin(people, drawn[fold::folds])
        result.append(Parts((~left_out).nonzero().flatten(), left_out.nonzero().flatten()))
    return result


def _drawn(people: Tensor, test_people: Collection[int], seed: int, least: int) -> Tensor:
    everyone: Tensor = torch.unique(people)
    both = sorted(set(everyone.tolist()) & {int(each) for each in test_people})
    if both:
        shown = ", ".join(map(str, both[:5])) + (", ..." if len(both) > 5 else "")
        raise FacecryptError(
            f"adversary: {len(both)} people ({shown}) are both among those it learns from and among those it is tested "
            "on, which would make it look stronger. Give it pairs of other people."
        )
    if len(everyone) < least:
        raise FacecryptError(
            f"adversary: pairs of {len(everyone)} people are too few to learn from some and to choose by others; "
            f"{least} are needed. Add pairs of further people."
        )
    return everyone[torch.randperm(len(everyone), generator=torch.Generator().manual_seed(seed))]


def confusion(queries: Tensor, gallery: Tensor, people: Tensor, everybody: Tensor) -> Tensor:
    """Return how hard it is to tell whose each embedding is, ``(..., N)``, 0 or more: what adversaries make small.

    The cross-entropy of the nearest photo of its own person among those of all other people, by cosines divided by 0.1
    (InfoNCE, van den Oord et al. 2018). Unlike a difference of cosines, it hardly counts what is recognised anyway.

    Args:
        queries: Unit embeddings, ``(..., N, D)``.
        gallery: Unit embeddings of clean photos, ``(G, D)``; of each of these people at least one.
        people: Whom the queries show, ``(N,)``.
        everybody: Whom the gallery shows, ``(G,)``.
    """
    logits = queries @ gallery.T / _TEMPERATURE
    own = people[:, None] == everybody
    nearest = logits.masked_fill(~own, -torch.inf).amax(dim=-1, keepdim=True)
    everyone = torch.cat([nearest, logits.masked_fill(own, -torch.inf)], dim=-1)
    return everyone.logsumexp(dim=-1) - nearest[..., 0]
