"""The keys of a recipe in groups, so that a person finds them: another spelling of the same recipe.

A recipe may be written either way, key by key; everything behind this module knows the flat keys alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from facecrypt import registry
from facecrypt.checking import suggest
from facecrypt.errors import FacecryptError
from facecrypt.recipe.key_paths import Part, join_key, split_key
from facecrypt.recipe.overrides import Override, Typed, read_override
from facecrypt.recipe.yaml_values import Node, Scalar

_ARGUMENTS = (
    "target_selector",
    "targets",
    "max_targets",
    "target_embedding",
    "target_weights",
    "target_weight",
    "self_weight",
    "own_photos",
    "person",
    "own_identity",
    "naturalness",
    "gradient",
    "optimizer",
    "views",
    "views_mode",
    "views_per_step",
    "surrogates_per_step",
    "steps",
    "step_size",
    "region",
    "colour",
    "texture",
    "feather",
    "low_pass",
    "seed",
)
"""Keys that are arguments of the method, unless it has an argument of that name itself."""

GROUPS: Mapping[str, Mapping[str, str]] = {
    "photos": {
        "path": "photos",
        "source": "source",
        "batch_size": "batch_size",
        "workers": "workers",
        "limits": "limits",
    },
    "method": {f"args.{key}": key for key in _ARGUMENTS},
    "judges": {
        "held_out": "held_out",
        "transforms": "receipt.transforms",
        "detector": "receipt.detector",
        "gallery": "receipt.gallery",
        "cache": "receipt.cache",
        "allow_white_box": "allow_white_box",
    },
    "budget": {
        "preset": "preset",
        "protect": "protect",
        "levels": "levels",
        "strength": "strength",
        "epsilon": "epsilon",
        "norm": "norm",
        "ceiling": "ceiling",
        "bounds": "budget",
    },
    "output": {
        "folder": "output",
        "sink": "sink",
        "format": "format",
        "name": "name",
        "metadata": "metadata",
        "overwrite": "overwrite",
        "in_place": "in_place",
        "backup": "backup",
        "report": "report",
    },
}
"""The groups: what stands in each, and the flat key, or a key inside one, that it spells. What is in no group, as
surrogates, faces and trainer, which are groups themselves, is spelt in one way."""

ORDER = (
    "base",
    "photos",
    "detector",
    "faces",
    "surrogates",
    "method",
    "budget",
    "judges",
    "output",
    "trainer",
    "permissive_only",
)
"""The order in which a grouped recipe is written."""

_ITERATIVE = "iterative"
_PATHS = ("photos", "output")
"""Groups whose name is also a flat key that holds a text."""
_SCATTERED = ("levels", "strength")
"""Keys with levels, which are recipes in part."""


def flatten(values: Mapping[str, Node], below: Node = None) -> tuple[dict[str, Node], list[str]]:
    """Return the keys of a recipe, however they are spelt, as flat keys.

    Args:
        values: The keys, unchecked.
        below: The key ``method`` of the recipes that they are laid over, which is meant where they name none.

    Returns:
        The flat keys, and one line per key that stands in two places, or in a group that does not have it.
    """
    maker = _Flat(values, below)
    for key, value in values.items():
        maker.add(key, value)
    return maker.result, maker.faults


def find_spellings(values: Mapping[str, Node], below: Node = None) -> dict[str, str]:
    """Return the places of keys that are spelt in groups, by their flat keys.

    Args:
        values: The keys of a recipe, unchecked.
        below: As for `flatten`.
    """
    maker = _Flat(values, below)
    for key, value in values.items():
        maker.add(key, value)
    return {path: place for path, place in maker.places.items() if path != place}


def respell(fault: str, spellings: Mapping[str, str]) -> str:
    """Return a fault of a flat key as one of the key that was written.

    Args:
        fault: A line that begins with a flat key.
        spellings: From `find_spellings`.
    """
    for path, place in spellings.items():
        if fault.startswith(path) and not fault[len(path) :][:1].isidentifier():
            return place + fault.removeprefix(path)
    return fault


class _Flat:
    def __init__(self, values: Mapping[str, Node], below: Node) -> None:
        self.result: dict[str, Node] = {}
        self.faults: list[str] = []
        self._method = _meant(values.get("method"), below)
        self._own = own_arguments(values.get("method"), below)
        self.places: dict[str, str] = {}

    def add(self, key: str, value: Node) -> None:
        table = GROUPS.get(key, {})
        if key == "judges" and not isinstance(value, dict):
            self._put(("held_out",), value, key)
        elif key == "method" and isinstance(value, dict):
            self._add_method(value)
        elif table and isinstance(value, dict) and (key not in _PATHS or value.keys() & table.keys()):
            rest = {name: each for name, each in value.items() if name not in table}
            for name, each in value.items():
                if name in table or key != "budget":
                    self._member(key, name, each)
            if key == "budget" and (rest or not value):
                self._put((key,), rest, key)
        else:
            self._put((key,), value, key)

    def _member(self, group: str, name: str, value: Node) -> None:
        table = GROUPS[group]
        if name in table:
            self._put(table[name].split("."), value, f"{group}.{name}")
        else:
            self.faults.append(f"{group}.{name}: unknown key.{suggest(name, table)} Known: {', '.join(table)}.")

    def _add_method(self, value: Mapping[str, Node]) -> None:
        given = value.get("args")
        args: Mapping[str, Node] = given if isinstance(given, dict) else {}
        moved = [key for key in _ARGUMENTS if key in args and key not in self._own]
        kept = {key: each for key, each in value.items() if key != "args" or not moved}
        for key in moved:
            self._put((key,), args[key], f"method.args.{key}")
        left = {key: each for key, each in args.items() if key not in moved}
        if moved and left:
            kept["args"] = left
        if left and self._method in (None, _ITERATIVE):
            self.faults += [
                f"method.args.{key}: unknown key.{suggest(key, list(_ARGUMENTS))} Known: {', '.join(_ARGUMENTS)}."
                for key in left
            ]
        if kept or not moved:
            self._put(("method",), kept, "method")

    def _put(self, path: Sequence[str], value: Node, place: str) -> None:
        *above, last = path
        if last in _SCATTERED:
            value = self._levels(last, value)
        node = self.result
        for key in above:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):  # It is null, or wrong, which whoever checks it says.
                self._refuse(path, place)
                return
        before = node.get(last)
        if last not in node:
            node[last] = value
        elif isinstance(before, dict) and isinstance(value, dict) and not before.keys() & value.keys():
            node[last] = {**before, **value}
        else:
            self._refuse(path, place)
        self.places.setdefault(".".join(map(str, path)), place)

    def _refuse(self, path: Sequence[str], place: str) -> None:
        other = self.places.get(".".join(path), self.places.get(path[0], path[0]))
        self.faults.append(f"{place}: is given twice, here and as {other}. Keep one of them.")

    def _levels(self, key: str, value: Node) -> Node:
        if key == "strength" and isinstance(value, dict) and "levels" in value:
            return {**value, "levels": self._levels("levels", value["levels"])}
        if key != "levels" or not isinstance(value, list):
            return value
        done = []
        for index, level in enumerate(value):
            if isinstance(level, dict):
                level, faults = flatten(level)
                self.faults += [f"levels[{index}]: {fault}" for fault in faults]
            done.append(level)
        return done


def own_arguments(method: Node, below: Node = None) -> Collection[str]:
    """Return the arguments that a method has itself, which are no keys of the recipe.

    Args:
        method: The value of the key ``method``, unchecked.
        below: As for `flatten`.
    """
    name = _meant(method, below)
    if name is None or name == _ITERATIVE or not isinstance(name, str):
        return ()
    try:
        return registry.get("method", name).arguments()
    except FacecryptError:  # Whoever checks the components says so.
        return ()


def _meant(method: Node, below: Node) -> Any:
    """Return the name of a method, or of the one that it is laid over."""
    name = _name(method)
    return _name(below) if name is None else name


def _name(method: Node) -> Any:
    name = method.get("name") if isinstance(method, dict) else method
    return getattr(name, "text", name)


def flat_path(parts: Sequence[Part], own: Collection[str] = ()) -> tuple[Part, ...]:
    """Return the flat key of a key path that may be a grouped one.

    Args:
        parts: The path.
        own: From `own_arguments`.
    """
    depth = 3 if parts[:2] == ["method", "args"] or parts[:2] == ("method", "args") else 2
    table = GROUPS.get(str(parts[0]), {})
    member = ".".join(map(str, parts[1:depth]))
    if member not in table or (depth == 3 and parts[2] in own):
        return tuple(parts)
    return (*table[member].split("."), *parts[depth:])


def flatten_overrides(overrides: Sequence[str | Override], values: Mapping[str, Node]) -> list[str | Override]:
    """Return overrides with flat keys in place of grouped ones; what is wrong with them stays as it is.

    Args:
        overrides: ``key=value`` each, or what is meant by it.
        values: The flat keys of the file.
    """
    read = [_read(each) for each in overrides]
    method: Node = values.get("method")
    for override in read:
        if override and override.key in ("method", "method.name"):
            node = _node(override.value)
            method = node if override.key == "method" else {"name": node}
    own = own_arguments(method)
    result: list[str | Override] = []
    for given, override in zip(overrides, read, strict=True):
        result += [given] if override is None else _flatten_override(given, override, own, method)
    return result


def _flatten_override(
    given: str | Override, override: Override, own: Collection[str], method: Node
) -> Sequence[str | Override]:
    try:
        parts = split_key(override.key)
    except ValueError:
        return [given]
    whole = override.key in GROUPS or override.key in ("method.args", "judges")
    if whole and not (override.key in _PATHS and isinstance(override.value, Typed)):
        node = _node(override.value)
        if override.key == "method.args" and isinstance(node, dict):
            flat, faults = flatten({"method": {"args": node}}, method)
            kept = flat.pop("method", {})
            extra = [Override("method.args", kept["args"])] if "args" in kept else []
            return [given] if faults else [*extra, *(Override(key, value) for key, value in flat.items())]
        if isinstance(node, dict) or override.key == "judges":
            flat, faults = flatten({override.key: node})
            # What stays under its own key stays as it was typed.
            same = list(flat) == [override.key]
            return [given] if faults or same else [Override(key, value) for key, value in flat.items()]
    flat_parts = flat_path(parts, own)
    if flat_parts == tuple(parts):
        return [given]
    return [Override(join_key(flat_parts), override.value)]


def _read(override: str | Override) -> Override | None:
    try:
        return read_override(override) if isinstance(override, str) else override
    except ValueError:
        return None


def _node(value: Node | Typed) -> Node:
    try:
        return value.read() if isinstance(value, Typed) else value
    except ValueError:
        return Scalar(value.text, value.text)


def group(values: Mapping[str, Any], own: Collection[str] = ()) -> dict[str, Any]:
    """Return flat keys in their groups, as `flatten` takes them.

    Args:
        values: The keys of a recipe; all, or some.
        own: From `own_arguments`.
    """
    rest = dict(values)
    grouped: dict[str, Any] = {}
    given = rest.pop("method", {})
    method = dict(given) if isinstance(given, dict) else {"name": given}  # A name that is none is told of elsewhere.
    for name, table in GROUPS.items():
        for member, path in table.items():
            key, _, inner = path.partition(".")
            if key not in values or member.removeprefix("args.") in own:
                continue
            if not inner:
                _nest(grouped, [name, *member.split(".")], rest.pop(key))
            elif isinstance(rest.get(key), dict) and inner in rest[key]:
                rest[key] = {each: value for each, value in rest[key].items() if each != inner}
                _nest(grouped, [name, member], values[key][inner])
                if not rest[key]:
                    del rest[key]
    if method:
        args, moved = method.get("args"), grouped.get("method", {}).get("args", {})
        inside = {"args": {**(args if isinstance(args, dict) else {}), **moved}} if moved else {}
        grouped["method"] = {**method, **inside}
    everything = {**grouped, **rest}
    return {key: everything[key] for key in (*ORDER, *everything) if key in everything}


def _nest(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value
