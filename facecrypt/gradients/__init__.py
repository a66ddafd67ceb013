"""Which gradient the optimizer is given."""

from __future__ import annotations

from facecrypt.gradients.base import (
    Gradient,
    Landscape,
    PenaliseNorm,
    Plain,
    Radius,
    Samples,
    VarianceTuning,
)

__all__ = ["Samples", "Radius", "Landscape", "Gradient", "Plain", "VarianceTuning", "PenaliseNorm"]
