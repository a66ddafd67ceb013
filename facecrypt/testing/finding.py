"""Which component is meant, and of which kind it is: what `facecrypt.testing.check` is given may be any form of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from facecrypt import registry
from facecrypt.errors import FacecryptError
from facecrypt.registry import KINDS, Component, Kind
from facecrypt.surrogates.embedder import Embedder

METHODS: dict[Kind, tuple[str, ...]] = {
    "method": ("protect",),
    "view": ("sample", "apply"),
    "gradient": ("init", "update"),
    "optimizer": ("init", "update"),
    "target_selector": ("__call__",),
    "naturalness": ("__call__",),
    "transform": ("__call__",),
    "source": ("fetch",),
    "sink": ("files", "deliver"),
    "detector": ("search",),
    "region": ("map",),
}
"""What an object of each kind can do. Those that can do the same are told apart by how many arguments it takes."""

_TAKES: dict[Kind, tuple[str, int]] = {
    "gradient": ("update", 2),
    "optimizer": ("update", 3),
    "target_selector": ("__call__", 1),
    "naturalness": ("__call__", 2),
    "transform": ("__call__", 1),
}


class Found(NamedTuple):
    """A component that was found.

    Attributes:
        kind: What it is for.
        name: What messages call it.
        origin: The package or plugin that it is of.
        built: The component.
    """

    kind: Kind
    name: str
    origin: str
    built: Any


def find(component: object, kind: Kind | None, args: Mapping[str, Any]) -> Found:
    """Return a component, built where it is not.

    Args:
        component: The component, a class or builder of it, a registered one, or the kind and name of one.
        kind: Its kind; found by what it can do where that is None.
        args: Arguments to build it with.

    Raises:
        AssertionError: If it is none, cannot be built, or its kind cannot be told.
    """
    try:
        if isinstance(component, tuple) and len(component) == 2:
            component = registry.get(*component)
        if isinstance(component, Component):
            return Found(component.kind, component.name, component.origin, _build(component, args))
        name, origin = _name(component), _package(component)
        built = component
        if callable(component) and _is_builder(component):
            built = _build(Component(kind or "method", name, component, "", origin), args)
        elif args:
            raise AssertionError(f"{name}: is built already, so it takes no arguments. Give its class or builder.")
    except FacecryptError as error:
        raise AssertionError(str(error)) from error
    return Found(kind or _kind(built, name), name, origin, built)


def _build(component: Component, args: Mapping[str, Any]) -> Any:
    bound, faults = component.bind(args)
    if faults:
        raise AssertionError(f"{component.name}: {' '.join(faults)}")
    numbers = torch.get_rng_state()
    try:
        built = component.load()(**bound)
    except (Exception, SystemExit) as error:  # A component is somebody else's code: it may raise anything.
        raise AssertionError(f"{component.name}: cannot be built ({type(error).__name__}: {error}).") from error
    if not torch.equal(torch.get_rng_state(), numbers):
        raise AssertionError(
            f"{component.name}: building it draws torch's random numbers, which changes what a run with the same seed "
            "does. Draw from a torch.Generator of its own."
        )
    return built


def _is_builder(component: Callable[..., Any]) -> bool:
    """Return whether something makes components: a class, or a function of nothing but keyword-only arguments."""
    if inspect.isclass(component):
        return True
    kinds = [each.kind for each in inspect.signature(component).parameters.values()] if _is_function(component) else []
    return _is_function(component) and all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds)


def _is_function(component: object) -> bool:
    return inspect.isfunction(component) or inspect.ismethod(component)


def _kind(built: object, name: str) -> Kind:
    if isinstance(built, Embedder):
        return "surrogate"
    if hasattr(built, "answers") and (hasattr(built, "compare") or hasattr(built, "rank")):
        return "judge"
    for kind in KINDS:
        methods = METHODS.get(kind)
        if methods and all(callable(getattr(built, method, None)) for method in methods) and _takes(built, kind):
            return kind
    known = "; ".join(f"{kind}: {' and '.join(names)}" for kind, names in METHODS.items())
    here = (
        ", ".join(each for each in dir(built) if not each.startswith("_") and callable(getattr(built, each))) or "none"
    )
    network = " A network becomes a surrogate by Embedder(network, spec)." if isinstance(built, nn.Module) else ""
    raise AssertionError(
        f"{name}: its kind cannot be told; its methods are {here}. Expected are those of a kind ({known}; "
        f"surrogate: an Embedder), or the kind: check(component, kind=...).{network}"
    )


def _takes(built: object, kind: Kind) -> bool:
    """Return whether an object takes as many arguments as its kind is given."""
    if kind not in _TAKES:
        return True
    if _TAKES[kind] == ("__call__", 1) and isinstance(built, nn.Module):
        return False  # What takes one argument is more likely a recogniser's network.
    method, count = _TAKES[kind]
    function: Callable[..., Any] = getattr(built, "forward" if isinstance(built, nn.Module) else method)
    if method == "__call__" and _is_function(built):
        assert callable(built)
        function = built
    try:
        signature = inspect.signature(function)
        signature.bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    # What is called with one thing is told by what it calls it.
    return kind != "target_selector" or not re.search("pixel|image|picture|photo|Pixels", str(signature))


def _name(component: object) -> str:
    return str(getattr(component, "__name__", type(component).__name__))


def _package(component: object) -> str:
    owner = component if hasattr(component, "__module__") else type(component)
    return str(owner.__module__).partition(".")[0]
