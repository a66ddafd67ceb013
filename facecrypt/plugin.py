"""What plugins import: the one module that stays as it is while its version does.

A plugin says for which version it was made, ``FACECRYPT_API = 1``, in the module that its entry point names. Nothing
heavy is imported here: what needs torch comes when it is asked for, as in ``from facecrypt.plugin import Embedder``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from facecrypt.errors import FacecryptError, JudgeError, PhotoError, PluginError, WeightsError
from facecrypt.registry import API_VERSION, register

if TYPE_CHECKING:
    from pydantic import Field

    from facecrypt.carriers.base import Delivered, Delivery, Room, Sink, Source
    from facecrypt.choices import Norm, Question
    from facecrypt.detectors.base import Detector, Found, average_landmarks
    from facecrypt.gradients.base import Gradient, Landscape
    from facecrypt.judges.base import Compares, Judge, Keeps, Match, NotSentError, Opinion, Picture, Ranks, Spending
    from facecrypt.judges.service import Refusal, RefusedError, Service
    from facecrypt.methods.base import Method, Recognisers, Task, Uses
    from facecrypt.naturalness.base import Naturalness
    from facecrypt.optimizers.base import Optimizer, State, euclidean_norm, normalize, project
    from facecrypt.regions.base import Region
    from facecrypt.regions.maps import crop_points
    from facecrypt.surrogates.embedder import Embedder
    from facecrypt.surrogates.spec import Cosine, Dimension, EmbedderSpec, Side, Weights, verify_sha256
    from facecrypt.targets.selectors import Distances, Person, Situation, TargetSelector, gain
    from facecrypt.templates import ARCFACE_TEMPLATE, Template
    from facecrypt.transforms.base import Pixels, Transform
    from facecrypt.views.base import KorniaView, Params, Probability, View, maybe

__all__ = [
    "API_VERSION",
    "ARCFACE_TEMPLATE",
    "Compares",
    "Cosine",
    "Delivered",
    "Delivery",
    "Detector",
    "Dimension",
    "Distances",
    "Embedder",
    "EmbedderSpec",
    "FacecryptError",
    "Field",
    "Found",
    "Gradient",
    "Judge",
    "JudgeError",
    "Keeps",
    "KorniaView",
    "Landscape",
    "Match",
    "Method",
    "Naturalness",
    "Norm",
    "NotSentError",
    "Opinion",
    "Optimizer",
    "Params",
    "Person",
    "PhotoError",
    "Picture",
    "Pixels",
    "PluginError",
    "Probability",
    "Question",
    "Ranks",
    "Recognisers",
    "Refusal",
    "RefusedError",
    "Region",
    "Room",
    "Service",
    "Side",
    "Sink",
    "Situation",
    "Source",
    "Spending",
    "State",
    "TargetSelector",
    "Task",
    "Template",
    "Transform",
    "Uses",
    "View",
    "Weights",
    "WeightsError",
    "average_landmarks",
    "crop_points",
    "euclidean_norm",
    "gain",
    "maybe",
    "normalize",
    "project",
    "register",
    "verify_sha256",
]

_HOMES = {
    "pydantic": "Field",
    "facecrypt.carriers.base": "Delivered Delivery Room Sink Source",
    "facecrypt.choices": "Norm Question",
    "facecrypt.detectors.base": "Detector Found average_landmarks",
    "facecrypt.gradients.base": "Gradient Landscape",
    "facecrypt.judges.base": "Compares Judge Keeps Match NotSentError Opinion Picture Ranks Spending",
    "facecrypt.judges.service": "Refusal RefusedError Service",
    "facecrypt.methods.base": "Method Recognisers Task Uses",
    "facecrypt.naturalness.base": "Naturalness",
    "facecrypt.optimizers.base": "Optimizer State euclidean_norm normalize project",
    "facecrypt.regions.base": "Region",
    "facecrypt.regions.maps": "crop_points",
    "facecrypt.surrogates.embedder": "Embedder",
    "facecrypt.surrogates.spec": "Cosine Dimension EmbedderSpec Side Weights verify_sha256",
    "facecrypt.targets.selectors": "Distances Person Situation TargetSelector gain",
    "facecrypt.templates": "ARCFACE_TEMPLATE Template",
    "facecrypt.transforms.base": "Pixels Transform",
    "facecrypt.views.base": "KorniaView Params Probability View maybe",
}


def __getattr__(name: str) -> object:
    """Import what a plugin uses when it uses it."""
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
