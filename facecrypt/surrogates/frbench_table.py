"""The recognisers of frbench (https://github.com/HKU-TASR/FRBench), as data. Imports neither frbench nor torch.

The table is written by `facecrypt.data.make_frbench_table`. A model's own crop, colours and range come with its
weights; what is said of them here is frbench's default, and `facecrypt.surrogates.frbench_zoo` uses the model's own.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from facecrypt.surrogates.spec import EmbedderSpec, Weights
from facecrypt.templates import ARCFACE_TEMPLATE


@cache
def specs() -> dict[str, EmbedderSpec]:
    """Return every recogniser by its name in recipes."""
    text = resources.files("facecrypt.data").joinpath("frbench.json").read_text(encoding="utf-8")
    table = json.loads(text)
    return {
        model["name"]: EmbedderSpec(
            height=112,
            width=112,
            template=ARCFACE_TEMPLATE,
            channel_order="rgb",
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            dimension=512,
            threshold=None,
            threshold_source="not measured",
            weights=Weights(
                origin="frbench",
                source="frbench",
                path=model["key"],
                sha256="",
                licence=f"{table['licence']}; terms of {model['training_data']} not stated",
            ),
            accuracy=", ".join(f"{test} {model['accuracy'][test]:g} %" for test in ("LFW", "CFP-FP", "AgeDB-30")),
            architecture=model["architecture"],
            loss=model["loss"],
            training_data=model["training_data"],
        )
        for model in table["models"]
    }


def summary(spec: EmbedderSpec) -> str:
    """Return one line for ``facecrypt list``."""
    return f"{spec.architecture}, {spec.loss} on {spec.training_data}, from frbench"
