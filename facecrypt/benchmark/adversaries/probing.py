"""A linear classifier on the embeddings of a recogniser, trained on clean and on protected photos."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.adversaries.base import Answer, Lab, Needs, Rows, Shown, rank_by


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on the embeddings of a recogniser that stays as it is.

    Attributes:
        weights: One row per identity, ``(C, D)``.
        bias: One per identity, ``(C,)``.
        identities: The identities, ``(C,)``.
        size: Number of photos that it was trained on.
    """

    weights: Tensor
    bias: Tensor
    identities: Tensor
    size: int

    def rank(self, embeddings: Tensor, top: int) -> Tensor:
        """Return the identities of the largest logits, ``(N, top)``, each once; the last again where there are no more.

        That names more people than the nearest photos do, of which several may show one person.
        """
        logits = embeddings.double() @ self.weights.T + self.bias
        # Stable, so that of equal logits the first identity comes first.
        order = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
        missing = order[:, -1:].expand(-1, top - order.shape[1])
        return self.identities[torch.cat([order, missing], dim=1)]


def train_linear_probe(embeddings: Tensor, labels: Tensor, l2: float = 1e-3, steps: int = 200) -> LinearProbe:
    """Return a multinomial logistic regression: the minimum of the mean cross-entropy plus l2 / 2 times |weights|^2.

    Embeddings are centred and divided by one number, their standard deviation over all elements, so that the penalty
    means the same for recognisers that spread people widely and for those that crowd them. The problem is convex and
    L-BFGS starts from zero, with all photos in every step: nothing about it is random.

    Args:
        embeddings: Unit embeddings of the photos to train on, ``(N, D)``.
        labels: Whom each shows, ``(N,)``.
        l2: Penalty of the weights, as they are for the scaled embeddings; the bias has none.
        steps: Largest number of iterations.
    """
    identities, classes = torch.unique(labels, return_inverse=True)
    mean = embeddings.double().mean(dim=0)
    scale = (embeddings.double() - mean).square().mean().sqrt()
    inputs = (embeddings.double() - mean) / scale
    weights = torch.zeros(len(identities), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(identities), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=steps, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(inputs @ weights.T + bias, classes) + l2 / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    unscaled = weights.detach() / scale
    return LinearProbe(unscaled, bias.detach() - unscaled @ mean, identities, len(labels))


class ProbeTrainer:
    """Trains a `LinearProbe` on the gallery and on protected photos of the protected people. It names no distractor."""

    needs: Needs = Needs(collected=True)
    rows: Rows = "all"

    def prepare(self, lab: Lab) -> _Trained:
        """Return the classifier."""
        known = lab.evaluator.gallery.without(lab.cast.others.distractors[lab.evaluator.places])
        if not lab.clean:
            seen = lab.embed(lab.others())
            own = torch.tensor([photo.label for photo in lab.cast.others.photos])
            known = known.joined(seen.embeddings[seen.found], own[seen.found])
        return _Trained(lab, train_linear_probe(known.embeddings, known.labels))


@dataclass(frozen=True)
class _Trained:
    lab: Lab
    probe: LinearProbe

    def answer(self, shown: Shown) -> Answer:
        return Answer(rank_by(self.probe, self.lab.embed(shown.files)), self.probe.size)
