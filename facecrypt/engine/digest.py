"""What decides the pixels of a protected photo, in one number: what was made by the same need not be made again.

That is not how a recipe is spelt. Keys that have their default say nothing, so that a new key voids no earlier work;
components count with all their arguments, whoever gave them; and what no recipe tells counts, too: the content of
weights, targets and own photos, and the versions of facecrypt and of the plugins whose components take part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from importlib import metadata
from inspect import Parameter
from pathlib import Path
from typing import Any

from facecrypt import registry
from facecrypt.choices import VIRTUAL
from facecrypt.errors import FacecryptError
from facecrypt.photos.files import file_digest
from facecrypt.photos.finding import common_root, files_below, find_photos
from facecrypt.recipe.check import RECIPE_SCHEMA, Recipe, level_recipes
from facecrypt.recipe.schema import Receipt, Region, Slot, StrengthChoice
from facecrypt.registry import BUILT_IN, ENTRY_POINT_GROUP, Kinds
from facecrypt.system.naming import expand_home
from facecrypt.transforms.entries import read_entry

_CARRIES = ("source", "sink")
"""Keys that name components and decide no pixels."""
_SHOWS_TRANSFORMS = "published"
"""The view of which arguments name transforms."""
_CONTENTS = ("targets", "own_photos")
"""Keys that name photos."""
_LATER = ("detector", "region")
"""Keys of components that came later: with their default they say nothing, so that they void no earlier work."""


_READ_WEIGHTS = ("surrogate", "judge", "detector", "method")
"""Kinds of components that may read weights from a folder that an argument names."""


def recipe_digest(recipe: Recipe, photos: Sequence[Path] = ()) -> str:
    """Return the SHA-256 of everything that changes what a photo becomes, apart from the photo.

    Args:
        recipe: A checked recipe.
        photos: Those of the run, on which each of them depends where the recipe has `person`; else they do not count.
    """
    tried, receipt = level_recipes(recipe), deciding_receipt(recipe.receipt, recipe.protect, recipe.strength)
    contents = _named_contents(recipe, photos)
    levels = [_resolve(each) | contents for each in tried]
    deciding = [_plain(each) for each in (recipe.strength, recipe.protect, receipt)]
    whole = {"facecrypt": metadata.version("facecrypt"), "levels": levels, "chosen by": deciding}
    if publishers := _publishers(receipt, [view for each in tried for view in each.views]):
        whole["transforms of"] = publishers
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=repr).encode()).hexdigest()


def deciding_receipt(receipt: Receipt, protect: float | None, strength: StrengthChoice | None) -> Receipt:
    """Return the part of a receipt that changes what a photo becomes: that by which masks are tried.

    Args:
        receipt: Of a recipe.
        protect: Its key of that name; of the two, one at most is given.
        strength: Likewise.
    """
    if protect is None and strength is None:
        return Receipt()
    return Receipt(
        transforms=Receipt().transforms if protect is None else receipt.transforms, detector=receipt.detector
    )


def detector_identity(slot: Slot) -> str:
    """Return what tells a detector from others where faces are kept, as a digest; empty for MTCNN, as it comes.

    Args:
        slot: From a checked recipe.
    """
    if slot == Slot("mtcnn"):
        return ""
    return hashlib.sha256(json.dumps(_component("detector", slot), sort_keys=True).encode()).hexdigest()


def _publishers(receipt: Receipt, views: Sequence[Slot]) -> list[list[str]]:
    """Return the plugins whose transforms masks are tried by or shown to, and their versions."""
    entries = [*receipt.transforms]
    for view in views:
        entries += view.args.get("transforms", []) if view.name == _SHOWS_TRANSFORMS else []
    names = {name for entry in entries for name, _ in read_entry(entry).steps}
    versions = [_version(registry.get("transform", name).origin) for name in sorted(names)]
    return [version for version in versions if version]


def _resolve(recipe: Recipe) -> dict[str, Any]:
    neutral = replace(
        recipe,
        preset=None,
        levels=None,
        photos=None,
        output="protected",
        held_out=[],
        receipt=deciding_receipt(recipe.receipt, recipe.protect, recipe.strength),
        report=type(recipe.report)(),
        batch_size=1,
        workers=0,
        limits=type(recipe.limits)(),
        allow_white_box=False,
        permissive_only=False,
        in_place=False,
        overwrite=False,
        name="{stem}{suffix}",
        backup="{stem}.original{suffix}",
        trainer=type(recipe.trainer)(precision=recipe.trainer.precision),
    )
    return _changed(neutral)


def _named_contents(recipe: Recipe, photos: Sequence[Path]) -> dict[str, Any]:
    """Return the content of the photos and tables that count, by their keys, which no level changes."""
    contents = {key: _contents(value) for key in _CONTENTS if (value := getattr(recipe, key))}
    if recipe.person is not None:  # What one photo becomes then depends on the others.
        # Of the run alone: what it writes may lie among them, and would void what was just written.
        contents["photos"] = _digests(photos, common_root(recipe.photos, photos))
        contents["table"] = None if recipe.person.table is None else _contents(recipe.person.table)
    return contents


def _changed(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that do not have their default; those that name components, all of them."""
    result = {}
    for item in fields(value):
        given = getattr(value, item.name)
        if item.name in _CARRIES:
            continue
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if item.name in _LATER and given == default:
            continue
        if item.name in RECIPE_SCHEMA.kinds and not isinstance(given, Region):
            slots = given if isinstance(given, list) else [given]
            result[item.name] = [_component(RECIPE_SCHEMA.kinds[item.name], slot) for slot in slots]
        elif given != default:
            result[item.name] = _plain(given)
    return result


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _changed(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _component(kind: Kinds, slot: Any) -> dict[str, Any]:
    component = registry.get(kind, slot.name)
    bound, _ = component.bind(slot.args)
    arguments = {name: bound.get(name, default) for name, (_, default) in component.arguments().items()}
    names = [value for value in arguments.values() if isinstance(value, str) and value]
    names += [] if component.spec is None else [str(component.spec.weights.find() or "")]
    rest = {key: value for key, value in _changed(slot).items() if key not in ("name", "args")}
    return rest | {
        "component": component.name,
        "of": _version(component.origin),
        "arguments": {name: repr(value) for name, value in arguments.items() if value is not Parameter.empty},
        "files": [digest for name in names for digest in _files(name, folders=component.kind in _READ_WEIGHTS)],
    }


def _version(origin: str) -> list[str]:
    """Return a plugin and its version; facecrypt's own stands elsewhere."""
    if origin == BUILT_IN:
        return []
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.name == origin and entry_point.dist is not None:
            return [origin, entry_point.dist.version]
    return [origin]


def _files(name: str, *, folders: bool) -> list[str]:
    """Return the digests of the file that a text names, or of those directly in the folder that it names."""
    path = expand_home(name) if name else None
    if path is not None and os.path.isfile(path):
        return [digest] if (digest := file_digest(path)) else []
    if path is None or not folders or not os.path.isdir(path):
        return []
    try:
        inside = sorted(child for child in path.iterdir() if child.is_file() and not child.name.startswith("."))
    except OSError:  # Who reads it will say why it cannot be.
        return []
    return [f"{child.name} {file_digest(child)}" for child in inside]


def _contents(where: str) -> Any:
    """Return the photos that a key names, by their place and content; the name itself where there are none."""
    if where == VIRTUAL:  # They come with facecrypt, so its version tells.
        return where
    path = Path(expand_home(where))
    try:
        files: Sequence[Path] = files_below(path) if path.is_dir() else find_photos(where)
    except (FacecryptError, OSError):  # Who reads them will say why they cannot be.
        return where
    return _digests(files, path if path.is_dir() else path.parent)


def _digests(files: Sequence[Path], root: Path) -> list[list[str]]:
    return sorted([os.path.relpath(file, root), file_digest(file) or ""] for file in files)
