"""Whom a face is made to resemble, and how one of them is chosen at each step."""

from __future__ import annotations

from facecrypt.choices import VIRTUAL
from facecrypt.targets.selectors import (
    Center,
    Distances,
    Every,
    Farthest,
    Fixed,
    Greedy,
    MatchedFar,
    Nearest,
    Persistent,
    Person,
    Random,
    Situation,
    Target,
    TargetSelector,
    center_gain,
    gain,
    load_targets,
)

__all__ = [
    "VIRTUAL",
    "Target",
    "load_targets",
    "Distances",
    "Person",
    "Situation",
    "TargetSelector",
    "Every",
    "Greedy",
    "Center",
    "Random",
    "Nearest",
    "Farthest",
    "MatchedFar",
    "Persistent",
    "Fixed",
    "gain",
    "center_gain",
]
