"""What could undo protection, in a person's words: how often those found people who know of it.

The figures stand in ``data/undoing.json``, which `python -m facecrypt.benchmark.undoing` writes from what
`facecrypt evaluate` measured. Where the masks of a run were not measured, the lines say of which the figures are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from statistics import fmean
from typing import Any

from facecrypt.recipe.presets import KEYS, load_presets, name_level
from facecrypt.verdicts.sentences import listed

LINES = 3
"""How many adversaries a report names: those that find most."""

DECIDING = (*KEYS[1:], "target_selector", "target_embedding", "own_photos", "person")
"""Keys of a recipe in which masks must agree with those that were measured: all that presets set, and how they aim."""

WORDS: Mapping[str, tuple[str, str]] = {
    "none": ("has only unprotected photos of you", "have only unprotected photos of the person"),
    "protected_gallery": (
        "collects protected photos of you and searches among them",
        "collect protected photos of the person and search among them",
    ),
    "linear_probe": (
        "trains a classifier on protected photos of you",
        "train a classifier on protected photos of the person",
    ),
    "growing_gallery": (
        "files each photo that is recognised, and searches it from then on",
        "file each photo that is recognised, and search it from then on",
    ),
    "best_transform": (
        "compresses, blurs or shrinks photos in the way that helps most",
        "compress, blur or shrink photos in the way that helps most",
    ),
    "clean_gallery": (
        "has few photos of you, all unprotected",
        "have few photos of the person, all unprotected",
    ),
    "other_alignment": (
        "finds and aligns faces with another program",
        "find and align faces with another program",
    ),
    "averaging": (
        "averages several protected photos of you",
        "average several protected photos of the person",
    ),
    "adaptive": (
        "knows the recipe and at whom masks aim, and takes that away",
        "know the recipe and at whom masks aim, and take that away",
    ),
    "linear_map": (
        "learns from photos of other people how masks move what a recogniser sees",
        "learn from photos of other people how masks move what a recogniser sees",
    ),
    "student": (
        "trains a recogniser on protected and clean photos of other people",
        "train a recogniser on protected and clean photos of other people",
    ),
    "purifier": (
        "trains a network on photos of other people to take masks off",
        "train a network on photos of other people to take masks off",
    ),
}
"""What whoever it is does, by adversary: of a reader, and of them. What stands after a comma in a label is added."""


def what_undoes(recipe: Mapping[str, Any], faces: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what report.json has under ``undoing``: the lines, and what they were measured with.

    Args:
        recipe: The recipe as report.json has it.
        faces: The faces as report.json has them.

    Returns:
        None where no face was changed.
    """
    if not faces:
        return None
    exact = [entry for entry in measured() if all(_same(entry, recipe, face) for face in faces)]
    entry = exact[0] if exact else max(measured(), key=lambda each: _nearness(each, recipe, faces[0]))
    plain = [each for each in entry["adversaries"] if each["name"] == "none"]
    others = sorted((each for each in entry["adversaries"] if each["name"] != "none"), key=found, reverse=True)
    return {
        "measured": bool(exact),
        "settings": describe(entry),
        "without": f"{_line(plain[0])}." if plain else "",
        "lines": [f"{_line(each)}." for each in others[:LINES]],
        "behind": [_behind(group) for group in entry["behind"] or []],
        "n": entry["n"],
        "seed": entry["seed"],
        "evaluators": list(entry["adversaries"][0]["evaluators"]),
        "command": entry["command"],
        "date": load()["date"],
    }


def describe(entry: Mapping[str, Any]) -> str:
    """Return of which masks the figures of an entry are: ``preset mid with sface and dlib_resnet``."""
    return f"{entry['settings']} with {listed(entry['surrogates'])}"


def found(adversary: Mapping[str, Any]) -> float:
    """Return the share of photos that an adversary found, from 0 to 1: the mean over the evaluators."""
    return 1 - fmean(each["rank1_ut"] for each in adversary["evaluators"].values()) / 100


def of_ten(share: float) -> str:
    """Return a share in whole tenths, the higher of two that are as near; none and all only where it is."""
    tenths = math.floor(round(10 * share, 9) + 0.5)
    exact = math.isclose(tenths, 10 * share)
    if tenths == 0 and share > 0:
        return "fewer than 1 of 10"
    if tenths == 10 and share < 1:
        return "more than 9 of 10"
    return f"{'' if exact else 'about '}{tenths} of 10"


def words_of(name: str) -> tuple[str, str]:
    """Return what an adversary does, of one and of them; the label that a benchmark gives it where it has no words."""
    known, _, more = name.partition(", ")
    words = WORDS.get(known.replace(" ", "_"))
    if words is None:
        return f"does what facecrypt evaluate calls {name}", f"do what facecrypt evaluate calls {name}"
    suffix = f" ({more.replace('which collects', 'collected')})" if more else ""
    return f"{words[0]}{suffix}", f"{words[1]}{suffix}"


def measured() -> list[dict[str, Any]]:
    """Return the entries: one for each kind of masks that was measured."""
    entries: list[dict[str, Any]] = load()["measured"]
    return entries


@cache
def load() -> dict[str, Any]:
    """Return the file of figures. Not to be changed."""
    text = (resources.files("facecrypt") / "data" / "undoing.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _line(adversary: Mapping[str, Any]) -> str:
    share = of_ten(found(adversary))
    return (
        f"Whoever {words_of(adversary['name'])[0]}: {share} photos {'was' if ' 1 of' in f' {share}' else 'were'} found"
    )


def _behind(group: Mapping[str, Any]) -> str:
    return (
        f"Of the {group['n']} photos with {group['trait']} {group['group']}, {group['rate']:.0f} % were not found, "
        f"{-group['ahead']:.0f} points fewer than of the others."
    )


def _same(entry: Mapping[str, Any], recipe: Mapping[str, Any], face: Mapping[str, Any]) -> bool:
    """Return whether the masks of a face are those of an entry."""
    if entry["recipe"] is None or recipe.get("method", {"name": "iterative"})["name"] != "iterative":
        return False
    made = deciding(recipe, face.get("level"))
    return _surrogates(face) == set(entry["surrogates"]) and made == entry["recipe"]


def deciding(recipe: Mapping[str, Any], level: str | None = None) -> dict[str, Any]:
    """Return what a recipe, or one of the levels that it tries, says of the keys that decide, without what is unset.

    Args:
        recipe: The recipe as report.json has it.
        level: What report.json calls the level.
    """
    tried = [*(recipe.get("levels") or []), *((recipe.get("strength") or {}).get("levels") or [])]
    own: Mapping[str, Any] = next((each for each in tried if name_level(each) == level), {})
    values = {key: own.get(key, recipe.get(key)) for key in DECIDING}
    return {key: _set(value) for key, value in values.items()}


def _set(value: Any) -> Any:
    return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


def _nearness(entry: Mapping[str, Any], recipe: Mapping[str, Any], face: Mapping[str, Any]) -> tuple[bool, float]:
    """Return how near the masks of an entry come to those of a face: by surrogates, then by preset."""
    names = list(load_presets())
    one, other = str(entry["preset"]), str(face.get("level") or recipe.get("preset"))
    apart = abs(names.index(one) - names.index(other)) if {one, other} <= set(names) else len(names)
    return _surrogates(face) == set(entry["surrogates"]), -apart


def _surrogates(face: Mapping[str, Any]) -> set[str]:
    return {name for name, verdict in face["recognisers"].items() if verdict["white_box"]}
