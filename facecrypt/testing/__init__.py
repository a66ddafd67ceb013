"""Checks that a component keeps its promises: facecrypt's own tests run them, and so can those of a plugin.

    from facecrypt.testing import check_surrogate

    def test_surrogate():
        check_surrogate(build())

or, for a test per promise, ``@pytest.mark.parametrize("check", SURROGATE_CHECKS)`` and ``check(build())``. Each check
takes a built component, returns nothing, raises AssertionError with what was measured and what is allowed, and
unittest.SkipTest, which pytest knows too, where it cannot say anything. All inputs come with facecrypt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

from facecrypt.carriers.base import Sink, Source
from facecrypt.detectors.base import Detector
from facecrypt.gradients.base import Gradient
from facecrypt.judges.base import Judge
from facecrypt.methods.base import Method
from facecrypt.naturalness.base import Naturalness
from facecrypt.optimizers.base import Optimizer
from facecrypt.regions.base import Region
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import TargetSelector
from facecrypt.testing import (
    detector,
    gradient,
    judge,
    method,
    naturalness,
    optimizer,
    region,
    sink,
    source,
    surrogate,
    target_selector,
    transform,
    view,
)
from facecrypt.transforms.base import Transform
from facecrypt.views.base import View

__all__ = [
    "check_method",
    "check_detector",
    "check_region",
    "check_surrogate",
    "check_judge",
    "check_naturalness",
    "check_target_selector",
    "check_gradient",
    "check_optimizer",
    "check_view",
    "check_transform",
    "check_source",
    "check_sink",
    "METHOD_CHECKS",
    "DETECTOR_CHECKS",
    "REGION_CHECKS",
    "SURROGATE_CHECKS",
    "JUDGE_CHECKS",
    "NATURALNESS_CHECKS",
    "TARGET_SELECTOR_CHECKS",
    "GRADIENT_CHECKS",
    "OPTIMIZER_CHECKS",
    "VIEW_CHECKS",
    "TRANSFORM_CHECKS",
    "SOURCE_CHECKS",
    "SINK_CHECKS",
]

METHOD_CHECKS = method.CHECKS
DETECTOR_CHECKS = detector.CHECKS
REGION_CHECKS = region.CHECKS
SURROGATE_CHECKS = surrogate.CHECKS
JUDGE_CHECKS = judge.CHECKS
NATURALNESS_CHECKS = naturalness.CHECKS
TARGET_SELECTOR_CHECKS = target_selector.CHECKS
GRADIENT_CHECKS = gradient.CHECKS
OPTIMIZER_CHECKS = optimizer.CHECKS
VIEW_CHECKS = view.CHECKS
TRANSFORM_CHECKS = transform.CHECKS
SOURCE_CHECKS = source.CHECKS
SINK_CHECKS = sink.CHECKS


def check_surrogate(embedder: Embedder, *, folder: str | Path | None = None) -> list[str]:
    """Check every promise of a surrogate.

    Args:
        embedder: The surrogate.
        folder: Labelled photos to recognise people in, a subfolder of two or more photos per person, in place of the
            built-in virtual identities.

    Returns:
        One line per check that could say nothing, with the reason.

    Raises:
        AssertionError: With one line per broken promise.
        PhotoError: If the folder holds no labelled photos.
    """
    checks = {check.__name__: partial(check, embedder) for check in SURROGATE_CHECKS}
    if folder is not None:
        name = surrogate.recognises_people.__name__
        checks[name] = partial(surrogate.recognises_people, embedder, folder=folder)
    return _run(checks)


def check_method(component: Method) -> list[str]:
    """Check every promise of a method; returns and raises as `check_surrogate`."""
    return _run_all(METHOD_CHECKS, component)


def check_judge(component: Judge) -> list[str]:
    """Check every promise of a judge, which enrols a few people who do not exist; returns as `check_surrogate`."""
    return _run_all(JUDGE_CHECKS, component)


def check_detector(component: Detector) -> list[str]:
    """Check every promise of a detector; returns and raises as `check_surrogate`."""
    return _run_all(DETECTOR_CHECKS, component)


def check_region(component: Region) -> list[str]:
    """Check every promise of a region; returns and raises as `check_surrogate`."""
    return _run_all(REGION_CHECKS, component)


def check_naturalness(term: Naturalness) -> list[str]:
    """Check every promise of a naturalness term; returns and raises as `check_surrogate`."""
    return _run_all(NATURALNESS_CHECKS, term)


def check_target_selector(selector: TargetSelector) -> list[str]:
    """Check every promise of a target selector; returns and raises as `check_surrogate`."""
    return _run_all(TARGET_SELECTOR_CHECKS, selector)


def check_gradient(gradient: Gradient) -> list[str]:
    """Check every promise of a gradient component; returns and raises as `check_surrogate`."""
    return _run_all(GRADIENT_CHECKS, gradient)


def check_optimizer(optimizer: Optimizer) -> list[str]:
    """Check every promise of an optimizer; returns and raises as `check_surrogate`."""
    return _run_all(OPTIMIZER_CHECKS, optimizer)


def check_view(view: View) -> list[str]:
    """Check every promise of a view; returns and raises as `check_surrogate`."""
    return _run_all(VIEW_CHECKS, view)


def check_transform(transform: Transform) -> list[str]:
    """Check every promise of a transform; returns and raises as `check_surrogate`."""
    return _run_all(TRANSFORM_CHECKS, transform)


def check_source(component: Source, photos: str | None = None) -> list[str]:
    """Check every promise of a source; returns and raises as `check_surrogate`.

    Args:
        component: The source.
        photos: What it is to read, as a recipe says it under ``photos``; None for one that reads something else.
    """
    return _run({check.__name__: partial(check, component, photos) for check in SOURCE_CHECKS})


def check_sink(component: Sink) -> list[str]:
    """Check every promise of a sink; returns and raises as `check_surrogate`."""
    return _run_all(SINK_CHECKS, component)


def _run_all(checks: Sequence[Callable[[Any], None]], component: object) -> list[str]:
    return _run({check.__name__: partial(check, component) for check in checks})


def _run(checks: Mapping[str, Callable[[], None]]) -> list[str]:
    faults, skipped = [], []
    for name, check in checks.items():
        try:
            check()
        except AssertionError as error:
            faults.append(f"{name}: {error}")
        except SkipTest as reason:
            skipped.append(f"{name}: {reason}")
    if faults:
        count = "1 broken promise" if len(faults) == 1 else f"{len(faults)} broken promises"
        raise AssertionError("\n  ".join([count, *faults]))
    return skipped
