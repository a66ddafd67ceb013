"""Random views of a face: one file for those that change all of it, and one for each other kind."""

from __future__ import annotations

from facecrypt.views.base import (
    InputDiversity,
    KorniaView,
    OneOf,
    Params,
    Probability,
    Quality,
    Resize,
    Share,
    Sigma,
    View,
    affine,
    blur,
    draw,
    jpeg,
    maybe,
    perspective,
    resize,
)

__all__ = [
    "Params",
    "Probability",
    "Share",
    "Sigma",
    "Quality",
    "View",
    "KorniaView",
    "affine",
    "perspective",
    "blur",
    "jpeg",
    "Resize",
    "resize",
    "InputDiversity",
    "OneOf",
    "maybe",
    "draw",
]
