"""``facecrypt list``: what recipes can name, and all that is known of one component."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Literal

from facecrypt import registry
from facecrypt.checking import suggest
from facecrypt.cli import weights as weights_cli
from facecrypt.errors import FacecryptError
from facecrypt.recipe import presets
from facecrypt.registry import JUDGES, Component, Kind, describe_parameter
from facecrypt.system import console

Listed = Kind | Literal["preset"]


def list_components(kind: Listed | None) -> None:
    """Print a table of the components and presets, or of those of one kind."""
    about = ["kind", "name", "what it is", "origin"]
    # The other kinds have no weights: everything about them is here.
    table = console.make_table(*about, "published accuracy", "weights", "size", "licence", "offline")
    for component in registry.list_components(kind) if kind != "preset" else []:
        console.add_row(table, *_row(component))
    if kind in (None, "preset"):
        for name, values in presets.load_presets().items():
            console.add_row(table, "preset", name, presets.describe(values), registry.BUILT_IN, "", "", "", "", "yes")
    for plugin, reason in registry.broken_plugins().items():
        console.add_row(table, "plugin", plugin, f"broken: {reason}", plugin, "", "", "", "", "")
    console.print_table(table)


def _row(component: Component) -> list[str]:
    row = [component.kind, component.name, component.summary, component.origin]
    if component.spec is None:
        return [*row, "", "", "", "", "" if component.kind in JUDGES else "yes"]
    weights = component.spec.weights
    path = weights.find()
    size, origin = weights_cli.describe_size(weights, path), weights_cli.describe_origin(weights)
    return [*row, component.spec.accuracy, origin, size, weights.licence, "yes" if path else "no"]


def describe(kind: Listed, name: str) -> None:
    """Print all that is known of one component: what it is, its arguments and where its code is; or a preset's keys.

    Raises:
        UnknownComponentError: If there is no such component.
        FacecryptError: If there is no such preset.
    """
    if kind == "preset":
        known = presets.load_presets()
        if name not in known:
            raise FacecryptError(f"no preset named {name!r}.{suggest(name, known)} Known: {', '.join(known)}.")
        console.say(f"preset {name}")
        for key, value in known[name].items():
            console.say(f"  {presets.describe({key: value})}")
        return
    component = registry.get(kind, name)
    builder: Any = component.load()
    said = inspect.getdoc(builder) or ""
    console.say(f"{kind} {component.name} ({component.origin}): {component.summary}")
    text = re.split(r"^(?:Args|Returns|Raises):$", said, maxsplit=1, flags=re.MULTILINE)[0].strip()
    if text:
        console.say("")
        console.say(text)
    explained = _explanations(said)
    arguments = component.arguments()
    console.say("")
    console.say("arguments:" if arguments else "arguments: none")
    for argument, (annotation, default) in arguments.items():
        console.say(f"  {describe_parameter(argument, annotation, default)}")
        if argument in explained:
            console.say(f"      {explained[argument]}")
    console.say("")
    if component.spec is not None:
        for about, value in zip(
            ("accuracy", "weights", "size", "licence", "offline"), _row(component)[4:], strict=True
        ):
            if value:
                console.say(f"{about}: {value}")
    console.say(f"source: {_source(builder)}")


def _explanations(said: str) -> dict[str, str]:
    """Return what the section ``Args:`` of a docstring says of each argument."""
    found = re.search(r"^Args:\n((?:[ ].*\n?|\n)*)", f"{said}\n", flags=re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?:^ {8}.*\n?)*)", found[1] if found else "", flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _source(builder: Any) -> str:
    try:
        path, line = inspect.getsourcefile(builder), inspect.getsourcelines(builder)[1]
    except (OSError, TypeError):
        return f"{builder.__module__}:{getattr(builder, '__qualname__', builder)}"
    return f"{Path(path or '')}, line {line}"
