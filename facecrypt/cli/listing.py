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
    """Print the components and presets, or those of one kind, in groups of what belongs together."""
    groups: dict[str, list[Component]] = {}
    for component in registry.list_components(kind) if kind != "preset" else []:
        groups.setdefault(_group(component), []).append(component)
    for heading in [*registry.KINDS, *(f"surrogate, {source}" for source in _SOURCES.values())]:
        if heading in groups:
            _print_group(heading, [_row(component) for component in groups[heading]])
    if kind in (None, "preset"):
        known = presets.load_presets()
        _print_group("preset", [[name, presets.describe(values), "yes"] for name, values in known.items()])
    for plugin, reason in registry.broken_plugins().items():
        console.say(f"plugin {plugin}: broken: {reason}")
    console.say("Offline is what works here without a network. All about one: facecrypt list KIND NAME.")
    if kind in (None, "surrogate"):
        console.say("What is missing: facecrypt weights fetch NAME; where by hand, facecrypt weights list.")


_SOURCES = {
    "package": "with a Python package",
    "hub": "from the Hugging Face hub",
    "url": "from their publisher",
    "frbench": "from frbench, which downloads them",
    "manual": "from a file that you fetch by hand",
    "file": "from a file that you have",
    "": "whatever network you name",
}
"""Where recognisers have their weights from, by `Weights.origin`."""


def _group(component: Component) -> str:
    if component.kind != "surrogate":
        return component.kind
    return f"surrogate, {_SOURCES[component.spec.weights.origin if component.spec else '']}"


def _print_group(heading: str, rows: list[list[str]]) -> None:
    columns = ["name", "what it is", *(["size", "use"] if len(rows[0]) > 3 else []), "offline"]
    table = console.make_table(*columns)
    table.columns[0].no_wrap = True
    table.columns[1].ratio = 1
    for row in rows:
        console.add_row(table, *row)
    console.say(heading)
    console.print_table(table, width=_WIDTH)
    console.say("")


_WIDTH = 100
"""Columns that a list takes where no terminal says how many there are."""


def _row(component: Component) -> list[str]:
    """Return name, what it is, size and use of weights where it has some, and whether it works without a network."""
    name, summary = component.name, component.summary
    if component.origin != registry.BUILT_IN:
        summary = f"{summary} ({component.origin})"
    if component.kind not in JUDGES:
        return [name, summary, "yes"]
    if component.spec is None:
        return [name, summary, "by args"]
    weights = component.spec.weights
    path = weights.find()
    size = weights_cli.describe_size(weights, path).removeprefix("not stated")
    summary = summary.removesuffix(", from frbench")  # as the group says
    return [name, summary, size, weights.use, "yes" if path else "no"]


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
        for line in text.splitlines():
            console.say(line)
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
        weights = component.spec.weights
        path = weights.find()
        told = {
            "accuracy": component.spec.accuracy,
            "weights": weights_cli.describe_origin(weights),
            "size": weights_cli.describe_size(weights, path),
            "licence": weights.licence,
            "offline": "yes" if path else f"no: {weights.fetch_command()}",
        }
        for about, value in told.items():
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
