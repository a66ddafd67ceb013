"""Write docs/recipe-reference.md and docs/surrogates.md from the code.

The first comes from the dataclasses of recipes and the components' signatures, the table of the second from the
recognisers' specifications. Run it after a change of either: python docs/generate.py. A test compares the pages with
what this would write.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from facecrypt import benchmark, recipe, registry
from facecrypt.registry import KINDS, describe_parameter, describe_type
from facecrypt.surrogates.spec import EmbedderSpec

FOLDER = Path(__file__).parent

INTRODUCTION = """\
# Recipe reference

<!-- Written by docs/generate.py. Edit the docstrings in facecrypt/recipe.py and of the components instead. -->

A recipe is one YAML file for one run. Only `surrogates` must be there. `facecrypt check RECIPE` names every fault,
`facecrypt show RECIPE` prints the recipe with every default, and `key=value` after the file's name replaces a value:
`facecrypt run recipes/quickstart.yaml epsilon=8 surrogates[0].weight=2 "views=[{name: affine, args: {degrees: 5}}]"`.
OmegaConf reads the file, so `${epsilon}` stands for the value of another key.

Paths are relative to the folder in which the command runs.
"""

SLOTS = {
    "Recipe": "The recipe itself",
    "SurrogateSlot": "An entry of `surrogates`",
    "MixupOptions": "`mixup` of a surrogate",
    "HeldOutSlot": "An entry of `held_out`",
    "TermSlot": "An entry of `naturalness`",
    "Slot": "`target_selector`, `gradient`, `optimizer`, and an entry of `views`",
    "OwnIdentity": "`own_identity`",
    "Region": "`region`",
    "Budget": "`budget`",
    "StrengthChoice": "`strength`",
    "Receipt": "`receipt`",
    "ReportOptions": "`report`",
    "Faces": "`faces`, where it is a mapping",
    "TrainerOptions": "`trainer`",
}

BENCHMARK_SLOTS = {
    "Benchmark": "The benchmark itself",
    "ProtocolSource": "`protocol`",
    "EvaluatorSlot": "An entry of `evaluators`",
    "Method": "An entry of `methods`",
    "Obfuscation": "`obfuscation` of a method",
    "Setting": "An entry of `settings`",
}


LOOSE = {"args": "mapping", "set": "mapping", "levels": "list of names and mappings"}
"""Keys whose values are checked by more than their type."""

FRBENCH = "*The recognisers of frbench, listed in [surrogates](surrogates.md), all with the same arguments.*"

TABLE = re.compile(
    r"(?<=<!-- table, written by docs/generate.py -->\n\n).*?(?=\n\n<!-- end of the table -->)", re.DOTALL
)


def render_surrogates() -> str:
    """Return the page of recognisers: as it is, with its table written anew."""
    rows = [
        "| name | network | loss | training data | licence | weights | published accuracy |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for component in registry.list_components("surrogate"):
        if component.origin == registry.BUILT_IN and component.spec is not None:
            spec = component.spec
            cells = (
                spec.architecture,
                spec.loss,
                spec.training_data,
                spec.weights.licence,
                _origin(spec),
                spec.accuracy,
            )
            rows.append(f"| `{component.name}` | {' | '.join(cells)} |")
    return TABLE.sub(lambda _: "\n".join(rows), (FOLDER / "surrogates.md").read_text(encoding="utf-8"))


def _origin(spec: EmbedderSpec) -> str:
    """Return where the weights come from, in a few words."""
    weights = spec.weights
    words = {
        "package": f"in the package {weights.source}",
        "hub": f"hub: {weights.source}",
        "frbench": "downloaded by frbench",
        "manual": f"`{weights.path}` from {weights.source}",
    }
    return words.get(weights.origin, weights.source)


def render() -> str:
    """Return the reference of recipes."""
    parts = [INTRODUCTION]
    parts += [_keys(title, getattr(recipe, name)) for name, title in SLOTS.items()]
    parts.append("# Benchmark recipes\n\nThe file of a `facecrypt evaluate`; see [evaluation](evaluation.md).\n")
    parts += [_keys(title, getattr(benchmark, name)) for name, title in BENCHMARK_SLOTS.items()]
    parts.append("# Components\n")
    for kind in KINDS:
        parts.append(f"## {kind}\n")
        listed = [each for each in registry.list_components(kind) if each.origin == registry.BUILT_IN]
        alike = [each for each in listed if each.spec is not None and each.spec.weights.origin == "frbench"]
        parts += [_component(each) for each in listed if each not in alike]
        if alike:
            arguments = "\n".join(_arguments(alike[0]))
            parts.append(f"### {alike[0].name} and {len(alike) - 1} more\n\n{FRBENCH}\n\n{arguments}\n")
    return "\n".join(parts)


def _keys(title: str, owner: type[Any]) -> str:
    hints = get_type_hints(owner, include_extras=True)
    meanings = _entries(inspect.getdoc(owner) or "", "Attributes")
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for item in fields(owner):
        kind = LOOSE.get(item.name) or describe_type(hints[item.name])
        default = "required" if item.default is MISSING and item.default_factory is MISSING else _default(item)
        meaning = meanings.get(item.name, {"name": "Registered name.", "args": "Its arguments."}.get(item.name, ""))
        rows.append(f"| `{item.name.rstrip('_')}` | {kind} | {default} | {meaning} |")
    return f"## {title}\n\n" + "\n".join(rows) + "\n"


def _default(item: Any) -> str:
    value = item.default if item.default is not MISSING else item.default_factory()
    if isinstance(value, recipe.Slot):
        return f"`{{name: {value.name}}}`"
    groups = (
        recipe.TrainerOptions | recipe.OwnIdentity | recipe.Receipt | recipe.ReportOptions | benchmark.ProtocolSource
    )
    if isinstance(value, groups):
        return "see below"
    return "none" if value is None else f"`{value!r}`".replace("'", "") if value != "" else ""


def _entries(docstring: str, heading: str) -> dict[str, str]:
    """Return the entries under a heading of a Google docstring, each on one line."""
    section = re.split(r"\n(?=\S)", docstring.partition(f"{heading}:\n")[2])[0]
    entries: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start[1]
            entries[name] = start[2]
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return {name: text.replace("``", "`") for name, text in entries.items()}


def _component(component: registry.Component) -> str:
    lines = [f"### {component.name}\n", f"*{component.summary}*\n"]
    if component.spec:
        spec = component.spec
        weights = spec.weights
        threshold = (
            f"{spec.threshold} ({spec.threshold_source})" if spec.threshold is not None else spec.threshold_source
        )
        lines.append(
            f"Crop {spec.height}x{spec.width} {spec.channel_order.upper()}; {spec.dimension}-d embedding; "
            f"threshold {threshold}; weights from {weights.origin} `{weights.source}`; licence {weights.licence}.\n"
        )
    return "\n".join([*lines, *_arguments(component)]) + "\n"


def _arguments(component: registry.Component) -> list[str]:
    meanings = _entries(inspect.getdoc(component.load()) or "", "Args")
    return [
        f"- `{describe_parameter(name, *each)}` {meanings.get(name, '')}".rstrip()
        for name, each in component.arguments().items()
    ] or ["No arguments."]


PAGES = {"recipe-reference.md": render, "surrogates.md": render_surrogates}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
