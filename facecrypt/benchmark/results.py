"""The rows of metrics.json: what one evaluator, or one adversary by it, makes of one method's photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facecrypt.benchmark.adversaries.base import TOP, Answer
from facecrypt.benchmark.cast import Cast
from facecrypt.benchmark.config import Row
from facecrypt.benchmark.files import Saved
from facecrypt.benchmark.metrics import (
    NO_FACE,
    best_over_targets,
    bootstrap_interval,
    targeted_success,
    untargeted_success,
)
from facecrypt.pipeline.builders import same_network
from facecrypt.surrogates.embedder import Embedder


def marks_of(embedder: Embedder, saved: Saved) -> dict[str, bool]:
    """Return whether a recogniser had a part in the masks that it judges."""
    return {
        "white_box": any(same_network(embedder, surrogate.embedder) for surrogate in saved.surrogates),
        "chooses": any(same_network(embedder, chooser) for chooser in saved.choosers),
    }


def result_of(
    row: Row,
    cast: Cast,
    saved: Sequence[Saved],
    answers: Sequence[Answer],
    known: dict[str, Any],
    quality: dict[str, float | None],
) -> dict[str, Any]:
    """Return one row of metrics.json. With several runs, each rate is that of the target that serves it best.

    Args:
        row: The row of the benchmark.
        cast: Whom it is about.
        saved: The photos of its runs.
        answers: What was made of each of them.
        known: Who judged and what the photos had met: evaluator, marks, transform, adversary.
        quality: How the photos look.
    """
    seed, people = cast.benchmark.seed, torch.tensor([probe.label for probe in cast.probes])
    result: dict[str, Any] = {
        "method": row.method,
        "setting": row.setting,
        "surrogates": [surrogate.name for surrogate in saved[0].surrogates],
        **{key: known[key] for key in ("evaluator", "white_box", "chooses")},
        "best_target": None,
    }
    ranked = [answer.ranked for answer in answers if answer.ranked is not None]
    aimed = [cast.numbers[target.name] for target in cast.targets[: row.recipe.max_targets if row.recipe else None]]
    succeeded = {
        "t": [targeted_success(each, aimed, TOP) for each in ranked],
        "ut": [untargeted_success(each, people, TOP) for each in ranked],
    }
    for kind, successes in succeeded.items():
        for column, n in enumerate(TOP):
            best, values = _best([each[:, column] for each in successes])
            if n == 1 and kind == "t" and len(saved) > 1 and values is not None:
                result["best_target"] = saved[best].target
            # A digit per probe, for tests of the difference between methods on the same probes.
            result |= _rate(f"rank{n}_{kind}", values, people, seed, digits=n == 1)
    refused = [~answer.verified for answer in answers if answer.verified is not None]
    result |= _rate("not_verified", _best(refused)[1], people, seed, digits=True)
    if len(set(people.tolist())) < len(people):
        result["probe_people"] = people.tolist()
    faces = [each[:, 0] != NO_FACE for each in ranked]
    seconds = [each.seconds for each in saved if each.seconds is not None]
    queries = [each.queries for each in saved if each.queries is not None]
    return (
        result
        | quality
        | {
            "n_probes": len(people),
            "no_face": 100 * (1 - torch.stack(faces).double().mean().item()) if faces else None,
            "seconds_per_face": float(np.sum(seconds)) if seconds else None,
            "uses": saved[0].uses or None,
            "queries_per_face": float(np.sum(queries)) if queries else None,
            "transform": known["transform"],
            "seed": seed,
            "adversary": known["adversary"],
            "n_gallery": answers[0].size,
            "stream": answers[0].stream,
            "measures": _measures(answers),
            "chosen": answers[0].chosen,
        }
    )


def _best(successes: Sequence[Tensor]) -> tuple[int, Tensor | None]:
    """Return which run is the best, and whether each probe succeeded in it, ``(P,)``; None where nobody says."""
    if not successes:
        return 0, None
    success = torch.stack(list(successes))
    best = best_over_targets(success).target
    return best, success[best]


def _rate(name: str, values: Tensor | None, people: Tensor, seed: int, *, digits: bool) -> dict[str, Any]:
    if values is None:
        return {name: None, f"{name}_interval": None} | ({f"{name}_probes": ""} if digits else {})
    low, high = bootstrap_interval(values.double(), seed=seed, groups=people)
    rate: dict[str, Any] = {name: values.double().mean().item() * 100, f"{name}_interval": [low * 100, high * 100]}
    return rate | ({f"{name}_probes": "".join(str(int(each)) for each in values)} if digits else {})


def _measures(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Return the named measures: of several runs their means, so none is picked in a method's favour."""
    return {
        name: {
            "value": float(np.mean([answer.measures[name].value for answer in answers])),
            "interval": [
                float(np.mean([answer.measures[name].low for answer in answers])),
                float(np.mean([answer.measures[name].high for answer in answers])),
            ],
        }
        for name in answers[0].measures
    }
