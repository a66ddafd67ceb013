"""Checks that a component keeps its promises: facecrypt's own tests run them, and so can those of a plugin.

    from facecrypt.testing import check

    def test_mean_square():
        check(MeanSquare)

or, for a test per promise, ``@pytest.mark.parametrize("promise", CHECKS["naturalness"])`` and ``promise(build())``.
Each takes a built component, returns nothing, raises AssertionError with what was measured and what is allowed, and
unittest.SkipTest, which pytest knows too, where it cannot say anything. All inputs come with facecrypt.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

from facecrypt.carriers.base import Sink, Source
from facecrypt.detectors.base import Detector
from facecrypt.errors import FacecryptError, PluginError
from facecrypt.gradients.base import Gradient
from facecrypt.judges.base import Judge
from facecrypt.methods.base import Method
from facecrypt.methods.iterative.boundary import GUARDED, guard
from facecrypt.naturalness.base import Naturalness
from facecrypt.optimizers.base import Optimizer
from facecrypt.regions.base import Region
from facecrypt.registry import Component, Kind
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
from facecrypt.testing.finding import METHODS, Found, find
from facecrypt.testing.inputs import draws_nothing, sample_face, unguarded
from facecrypt.transforms.base import Transform
from facecrypt.views.base import View

__all__ = [
    "check",
    "CHECKS",
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


CHECKS: dict[Kind, tuple[Callable[..., None], ...]] = {
    "method": METHOD_CHECKS,
    "surrogate": SURROGATE_CHECKS,
    "naturalness": NATURALNESS_CHECKS,
    "target_selector": TARGET_SELECTOR_CHECKS,
    "gradient": GRADIENT_CHECKS,
    "optimizer": OPTIMIZER_CHECKS,
    "view": VIEW_CHECKS,
    "transform": TRANSFORM_CHECKS,
    "source": SOURCE_CHECKS,
    "sink": SINK_CHECKS,
    "judge": JUDGE_CHECKS,
    "detector": DETECTOR_CHECKS,
    "region": REGION_CHECKS,
}
"""The checks of each kind, in the order in which they help most."""

_WATCHED = ("method", "naturalness", "target_selector", "gradient", "optimizer", "detector", "region")
"""Kinds that draw no global random numbers, as far as their own checks do not watch them."""


def check(
    component: object,
    *,
    kind: Kind | None = None,
    args: Mapping[str, Any] | None = None,
    photos: str | None = None,
) -> list[str]:
    """Check every promise of a component, whatever it is.

    Args:
        component: A component; a class or builder of it, which is then built; or the kind and name of a registered one,
            as in ``("optimizer", "momentum")``.
        kind: Its kind. Where that is None, what it can do tells.
        args: Arguments to build it with.
        photos: What a source is to read, as a recipe says it under ``photos``.

    Returns:
        One line per check that could say nothing, or that has a remark, with the reason.

    Raises:
        AssertionError: With the component's kind and name, and one line per broken promise: what came, and what was
            expected.
    """
    found = find(component, kind, args or {})
    if found.kind == "surrogate" and not isinstance(found.built, Embedder):
        raise AssertionError(
            f"surrogate {found.name!r} ({found.origin}): it is {type(found.built).__name__}; expected an Embedder. "
            "Return Embedder(network, spec)."
        )
    given: dict[str, Any] = {"photos": photos} if found.kind == "source" else {}
    return _run(found, {each.__name__: partial(each, **given) for each in CHECKS[found.kind]})


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
    checks = {each.__name__: each for each in SURROGATE_CHECKS}
    if folder is not None:
        surrogate.people_in(folder)
        checks[surrogate.recognises_people.__name__] = partial(surrogate.recognises_people, folder=folder)
    return _run(find(embedder, "surrogate", {}), checks)


def check_method(component: Method) -> list[str]:
    """Check every promise of a method; returns and raises as `check`."""
    return check(component, kind="method")


def check_judge(component: Judge) -> list[str]:
    """Check every promise of a judge, which enrols a few people who do not exist; returns as `check`."""
    return check(component, kind="judge")


def check_detector(component: Detector) -> list[str]:
    """Check every promise of a detector; returns and raises as `check`."""
    return check(component, kind="detector")


def check_region(component: Region) -> list[str]:
    """Check every promise of a region; returns and raises as `check`."""
    return check(component, kind="region")


def check_naturalness(term: Naturalness) -> list[str]:
    """Check every promise of a naturalness term; returns and raises as `check`."""
    return check(term, kind="naturalness")


def check_target_selector(selector: TargetSelector) -> list[str]:
    """Check every promise of a target selector; returns and raises as `check`."""
    return check(selector, kind="target_selector")


def check_gradient(gradient: Gradient) -> list[str]:
    """Check every promise of a gradient component; returns and raises as `check`."""
    return check(gradient, kind="gradient")


def check_optimizer(optimizer: Optimizer) -> list[str]:
    """Check every promise of an optimizer; returns and raises as `check`."""
    return check(optimizer, kind="optimizer")


def check_view(view: View) -> list[str]:
    """Check every promise of a view; returns and raises as `check`."""
    return check(view, kind="view")


def check_transform(transform: Transform) -> list[str]:
    """Check every promise of a transform; returns and raises as `check`."""
    return check(transform, kind="transform")


def check_source(component: Source, photos: str | None = None) -> list[str]:
    """Check every promise of a source; returns and raises as `check`.

    Args:
        component: The source.
        photos: What it is to read, as a recipe says it under ``photos``; None for one that reads something else.
    """
    return check(component, kind="source", photos=photos)


def check_sink(component: Sink) -> list[str]:
    """Check every promise of a sink; returns and raises as `check`."""
    return check(component, kind="sink")


def _run(found: Found, checks: Mapping[str, Callable[[Any], None]]) -> list[str]:
    """Run checks over a component that is watched as it is in a run; see `methods.iterative.boundary`."""
    title = f"{found.kind.replace('_', ' ')} {found.name!r} ({found.origin})"
    sample_face()  # Made before anybody watches the random numbers.
    component, faults, skipped = found.built, dict[str, str](), list[str]()
    missing = [each for each in METHODS.get(found.kind, ()) if not callable(getattr(component, each, None))]
    if missing:
        raise AssertionError(
            f"{title}: 1 broken promise\n  it has no {' and no '.join(missing)}; expected an object with "
            f"{' and '.join(METHODS[found.kind])}."
        )
    try:
        if found.kind in GUARDED:
            # As of a plugin, whosever it is: what it raises is then told as any other fault.
            component = guard(Component(found.kind, found.name, "", "", "checked"), unguarded(component))
    except PluginError as error:
        raise AssertionError(f"{title}: 1 broken promise\n  is one of its kind: {_own(str(error))}") from error
    for name, each in checks.items():
        watched = draws_nothing() if found.kind in _WATCHED else nullcontext()
        try:
            with watched:
                each(component)
            continue
        except AssertionError as error:
            told = f"{name}: {error}"
        except SkipTest as reason:
            skipped.append(f"{name}: {reason}")
            continue
        except FacecryptError as error:
            told = _own(str(error))
        except (Exception, SystemExit) as error:  # A component is somebody else's code: it may raise anything.
            if faults:
                continue  # It follows from what is told already.
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(at.filename).name}, line {at.lineno}"
            told = f"{name}: raised {type(error).__name__} ({where}): {error}; expected a result"
        # What several checks run into is told once, whatever its numbers are.
        faults.setdefault(re.sub(r"[-+.\d]+", "#", told.removeprefix(f"{name}: ")), told)
    if faults:
        count = "1 broken promise" if len(faults) == 1 else f"{len(faults)} broken promises"
        raise AssertionError("\n  ".join([f"{title}: {count}", *faults.values()]))
    return skipped


def _own(message: str) -> str:
    """Return what an error of the boundary says without the component's name and the advice to name another."""
    body = re.sub(r"^\w[\w ]* '[^']*' \([^)]*\): ", "", message)
    return re.sub(r" Mend it, or name another [\w ]+\.$", " Mend it.", body)
