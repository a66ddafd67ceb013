"""What recognisers that nobody has at hand are likely to make of a saved face, from what the surrogates see of it.

Surrogates are fooled more than others, since the mask was made for them. How much further an embedding must be from the
original's before others lose the person as well was measured, with recognisers and people that gave no gradients, and
is kept in ``data/expectation.yaml`` with the command that measured it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

FEWEST = 4
"""How many unseen recognisers a sentence speaks of."""


def expected_share(recognisers: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return the share of unseen recognisers, from 0 to 1, that probably take a saved face for somebody else.

    None where that is not known: where other surrogates gave the gradients than those that were measured, one of them
    could not judge, or the face was not found again.

    Args:
        recognisers: Verdicts by name of the recogniser, as report.json has them.
    """
    surrogates = {name: verdict for name, verdict in recognisers.items() if verdict["white_box"]}
    fit = _fits().get("+".join(sorted(surrogates)))
    if fit is None:
        return None
    logit = float(fit["intercept"])
    for name, weight in fit["margins"].items():
        verdict = surrogates[name]
        if (below := margin(verdict["similarity"], verdict["threshold"])) is None:
            return None
        logit += weight * below
    return 1 / (1 + math.exp(-logit))


def known_surrogates() -> list[str]:
    """Return the surrogates that were measured: the names of those of one run, sorted and joined by a plus."""
    return list(_fits())


def margin(similarity: float | None, threshold: float | None) -> float | None:
    """Return how far a similarity lies below the threshold of its recogniser, as a share of what lies above that.

    Args:
        similarity: Cosine with the original face.
        threshold: Cosine from which the recogniser takes two faces for one person, below 1.
    """
    if similarity is None or threshold is None:
        return None
    return float((threshold - similarity) / (1 - threshold))


@cache
def _fits() -> dict[str, dict[str, Any]]:
    text = (resources.files("facecrypt") / "data" / "expectation.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded
