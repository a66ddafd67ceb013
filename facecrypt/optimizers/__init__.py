"""From a gradient to a step, and back into the ball."""

from __future__ import annotations

from facecrypt.optimizers.base import (
    Adam,
    Decay,
    Momentum,
    Optimizer,
    Plain,
    State,
    TranslationInvariant,
    euclidean_norm,
    normalize,
    project,
)

__all__ = [
    "State",
    "Decay",
    "Optimizer",
    "Plain",
    "Momentum",
    "TranslationInvariant",
    "Adam",
    "normalize",
    "project",
    "euclidean_norm",
]
