"""Write docs/recipe-reference.md, the tables of the pages surrogates, photos and limits, and what shells complete.

All come from the code: the first from the dataclasses of recipes and the components' signatures, the tables from the
recognisers' specifications, from what is kept of metadata, and from what adversaries were measured to undo, and
facecrypt/data/completion.json from the keys and components of recipes. Run it after a change of any: python
docs/generate.py. A test compares the files with what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from facecrypt import registry
from facecrypt.benchmark import config as benchmark
from facecrypt.photos import exif_tags, xmp_properties
from facecrypt.photos.metadata import SHARES
from facecrypt.recipe import check as recipe
from facecrypt.recipe.groups import GROUPS
from facecrypt.recipe.presets import load_presets
from facecrypt.registry import KINDS, describe_parameter, describe_type
from facecrypt.report import undoing
from facecrypt.surrogates.spec import EmbedderSpec

FOLDER = Path(__file__).parent
COMPLETION = FOLDER.parent / "facecrypt" / "data" / "completion.json"

INTRODUCTION = """\
# Recipe reference

<!-- Written by docs/generate.py. Edit the docstrings in facecrypt/recipe/check.py and of the components instead. -->

A recipe is one YAML file for one run. Only `surrogates` must be there. `facecrypt check RECIPE` names every fault,
`facecrypt show RECIPE` prints it with every default (of `trainer`, those of the hardware alone), and `key=value`
after the file's name replaces a value:
`facecrypt run recipes/quickstart.yaml epsilon=8 surrogates[0].weight=2 "views=[{name: affine, args: {degrees: 5}}]"`.
[Write a recipe](recipes.md) tells how recipes build on others.

## Paths are what you typed

A path is relative to the folder in which the command runs. On the command line it is the text after the `=`, whatever
that is: `photos=2024`, `photos=no`, `"photos=album/#2"`, `"photos={a: b}"` and names that are no UTF-8 are the files of
those names. So are `name` and `backup`, and those arguments of components that hold a text.

- `~` alone or before a slash is your home folder. `photos=-` reads file names from standard input; `./-` is a file.
- An empty path is an error, never the current folder.
- Keys that hold a list of paths take one path, or a list in brackets, in which each item is a path:
  `faces.only=[me.jpg, 2024]`.
- `null` is a file of that name. To take a path away that the recipe gives, write `:=`, which makes any value YAML:
  `receipt.gallery:=null`.

In a file, too, `photos: 2024` and `photos: no` are texts. There `null`, `~` and nothing mean that there is none, and
YAML wants quotes around a text that begins with one of `- [ ] { } # & * ! | > % @` or that holds `: ` or ` #`. All
other values are YAML in either place.

## References

`${epsilon}` in a text stands for the value of another key of the recipe, `${trainer.devices}` for one further inside,
`${.weight}` for a neighbour, `${a.${b}}` for a key that another one names, and `\\${` for a plain `${`. They are the
interpolations of [OmegaConf](https://omegaconf.readthedocs.io), which parses and evaluates them. A text with them has
at most 2,000 characters and 20 opening braces and brackets, and one leads through at most some 25 others. A path that
is typed on the command line is taken as it stands, `${` included.

A recipe is data and may come from elsewhere, so it reads nothing but itself: `${oc.env:NAME}`, which reads the
environment, works only with the option `--allow-env`, and other functions do not. A default stands after a comma, in
quotes where it holds commas itself: `${oc.env:NAME,'a, b'}`. A `DictConfig` that Python code gives keeps these rules.

## What is refused

Keys that stand twice in a mapping, tags but those of plain values (`!!str`, `!!int`, ...), several documents in one
file, numbers beyond single precision or 64 bits, more than 131,072 characters, 40 levels, or 20,000 values with those
that aliases and references repeat. `facecrypt check` also refuses devices that this machine lacks.
"""

SLOTS = {
    "Recipe": "The recipe itself",
    "SurrogateSlot": "An entry of `surrogates`",
    "MixupOptions": "`mixup` of a surrogate",
    "JudgeSlot": "An entry of `held_out`",
    "HeldOutSlot": "An entry of `strength.judges`",
    "TermSlot": "An entry of `naturalness`",
    "Slot": "`method`, `source`, `sink`, `target_selector`, `gradient`, `optimizer`, and an entry of `views`",
    "OwnIdentity": "`own_identity`",
    "PersonOptions": "`person`",
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


LOOSE = {"args": "mapping", "set": "mapping"} | dict.fromkeys(
    ("levels", "transforms", "adversaries"), "list of names and mappings"
)
LOOSE |= dict.fromkeys(("callbacks", "logger", "plugins"), "class or list of classes")
LOOSE |= {"strategy": "'auto' or 'ddp' or class", "profiler": "name or class or null"}
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


def render_photos() -> str:
    """Return the page of what happens to a photo: as it is, with its table of metadata written anew."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for place, tags in (
        ("EXIF: main", exif_tags.MAIN),
        ("EXIF: Exif", exif_tags.EXIF),
        ("EXIF: Interoperability", exif_tags.INTEROPERABILITY),
        ("EXIF: GPS", exif_tags.GPS),
    ):
        for tag, (name, share, form) in tags.items():
            groups.setdefault((place, share, str(form)), []).append(f"{name} ({tag})")
    for name, entry in xmp_properties.PROPERTIES.items():
        if isinstance(entry.value, Mapping):
            value = "; ".join(f"{key}: {form}" for key, form in entry.value.items())
        else:
            value = str(entry.value)
        shape = {"simple": "", "Alt": ", in several languages"}.get(entry.shape, ", a list")
        groups.setdefault(("XMP", entry.share, value + shape), []).append(name)
    rows = ["| where | what | values | `strip_gps` | `keep` |", "| --- | --- | --- | --- | --- |"]
    for (place, share, value), names in groups.items():
        marks = ["kept" if share in SHARES[policy] else "dropped" for policy in ("strip_gps", "keep")]
        rows.append(f"| {place} | {', '.join(names)} | {value} | {' | '.join(marks)} |")
    return TABLE.sub(lambda _: "\n".join(rows), (FOLDER / "photos.md").read_text(encoding="utf-8"))


def render_groups() -> str:
    """Return the table of both spellings of keys."""
    rows = ["| in a group | flat |", "| --- | --- |"]
    rows += [f"| `{name}.{key}` | `{path}` |" for name, table in GROUPS.items() for key, path in table.items()]
    text = (
        "## Groups\n\nThese keys may also be written in groups, in files, overrides and references. A method other "
        "than\n`iterative` has arguments of its own, which come first.\n\n"
    )
    return text + "\n".join(rows) + "\n"


def render() -> str:
    """Return the reference of recipes."""
    parts = [INTRODUCTION, render_groups()]
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


def render_limits() -> str:
    """Return the page of limits: as it is, with its table of adversaries written anew."""
    parts = []
    for entry in undoing.measured():
        rows = ["| if they ... | then they find | not found at rank 1, in percent |", "| --- | --- | --- |"]
        for adversary in sorted(entry["adversaries"], key=undoing.found):
            cells = (undoing.words_of(adversary["name"])[1], f"{undoing.of_ten(undoing.found(adversary))} photos")
            rows.append(f"| {' | '.join((*cells, _rates(adversary)))} |")
        masks = f"Masks: {undoing.describe(entry)} as surrogates. {entry['n']} probes, seed {entry['seed']}"
        parts.append("\n".join(rows) + f"\n\n{masks}, by `{entry['command']}`.")
    made = f"Written into the data of reports on {undoing.load()['date']} by `{undoing.load()['made_by']}`."
    text = "\n\n".join([*parts, made])
    return TABLE.sub(lambda _: text, (FOLDER / "limits.md").read_text(encoding="utf-8"))


def _rates(adversary: Mapping[str, Any]) -> str:
    """Return what each evaluator does not find, with the intervals that there are."""
    texts = []
    for name, each in adversary["evaluators"].items():
        interval = f" [{each['interval'][0]:g}, {each['interval'][1]:g}]" if each["interval"] else ""
        texts.append(f"{name} {each['rank1_ut']:g}{interval}")
    return ", ".join(texts)


def render_completion() -> str:
    """Return what a shell may complete: the keys of recipes, each with the values that can be counted."""
    known: dict[str, list[str]] = {}

    def add(owner: type[Any], above: str) -> None:
        hints = get_type_hints(owner, include_extras=True)
        for item in fields(owner):
            key = above + item.name.rstrip("_")
            known[key] = sorted(_values(key, item.name, hints[item.name]))
            if item.name in recipe.RECIPE_SCHEMA.parts and not above:
                add(recipe.RECIPE_SCHEMA.parts[item.name], f"{key}.")

    add(recipe.Recipe, "")
    return json.dumps(known, indent=0) + "\n"


def _values(key: str, name: str, hint: Any) -> list[str]:
    if key in recipe.RECIPE_SCHEMA.kinds:
        kinds = recipe.RECIPE_SCHEMA.kinds[key]
        listed = [
            each for kind in ((kinds,) if isinstance(kinds, str) else kinds) for each in registry.list_components(kind)
        ]
        return [each.name for each in listed if each.origin == registry.BUILT_IN]
    if key == "preset":
        return list(load_presets())
    found: list[str] = []
    for each in (hint, *get_args(hint)):
        if get_origin(each) is Literal:
            found += [str(word) for word in get_args(each)]
        elif each is bool:
            found += ["true", "false"]
    return found


PAGES = {
    "recipe-reference.md": render,
    "surrogates.md": render_surrogates,
    "photos.md": render_photos,
    "limits.md": render_limits,
}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
    COMPLETION.write_text(render_completion(), encoding="utf-8")
