"""How benchmarks name adversaries: a name, or a mapping of a name, its arguments, a transform and a label.

``{name: protected_gallery, photos: 3, share: 0.5, transform: jpeg_75, label: mixed}``. Nothing here imports torch:
arguments are read from the source of the adversary's constructor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from facecrypt import registry
from facecrypt.checking import suggest
from facecrypt.choices import Adversary
from facecrypt.errors import FacecryptError
from facecrypt.registry import Kind, check_value
from facecrypt.signatures import read_arguments
from facecrypt.system.texts import brief
from facecrypt.transforms.entries import AS_IS, read_entry, shorten

Photos = Annotated[int, Field(ge=1, le=1000)]
People = Annotated[int, Field(ge=2, le=10_000)]
Portion = Annotated[float, Field(ge=0, le=1)]
Several = Annotated[int, Field(ge=2, le=100)]
Noise = Annotated[float, Field(ge=0, le=1)]
Looseness = Annotated[float, Field(ge=0.5, le=2)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Pairs = Annotated[int, Field(ge=2, le=1_000_000)] | Literal["all"]
"""Number of photos of other people, each as it was and protected; ``all`` that the gallery has."""

CLASSES: dict[Adversary, str] = {
    "none": "galleries:Known",
    "protected_gallery": "galleries:ProtectedGallery",
    "growing_gallery": "growing:GrowingGallery",
    "linear_probe": "probing:ProbeTrainer",
    "clean_gallery": "galleries:CleanGallery",
    "clusterer": "clustering:Clusterer",
    "best_transform": "changing:BestTransform",
    "other_alignment": "aligning:OtherAlignment",
    "averaging": "averaging:Averaging",
    "adaptive": "adaptive:Adaptive",
    "linear_map": "learned:Mapper",
    "student": "learned:Tutor",
    "purifier": "learned:Cleaner",
    "protection_detector": "learned:Watcher",
}
"""The class of each adversary, below this package."""

_COLLECT = ("protected_gallery", "growing_gallery", "linear_probe")
"""Those that collect photos, which a transform may have changed."""
_COMPONENTS: dict[str, Kind] = {"detector": "detector", "teacher": "surrogate"}
"""Arguments that name components, and of which kind."""
_LABEL_LONGEST = 80


@dataclass(frozen=True)
class Named:
    """What an entry means.

    Attributes:
        name: Registered name.
        args: Arguments of its class, without defaults.
        transform: Entry of the transform after which it collects photos.
        label: How tables call it.
    """

    name: Adversary
    args: Mapping[str, Any]
    transform: object
    label: str


def target_of(name: Adversary) -> str:
    """Return where the class of an adversary is: ``"package.module:attribute"``."""
    return f"facecrypt.benchmark.adversaries.{CLASSES[name]}"


def read_adversary(entry: object) -> Named:
    """Return what an entry means.

    Raises:
        FacecryptError: With its first fault.
    """
    given = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = given.pop("name", None)
    if name not in get_args(Adversary):
        # As pydantic says it of a choice of words.
        words = ", ".join(repr(each) for each in get_args(Adversary)[:-1])
        raise FacecryptError(f"input should be {words} or {get_args(Adversary)[-1]!r}")
    name = cast(Adversary, name)
    label, transform = given.pop("label", None), shorten(given.pop("transform", AS_IS))
    arguments = read_arguments(target_of(name))
    args = {}
    for key, value in given.items():
        if key not in arguments:
            known = ["name", "label", *(["transform"] if name in _COLLECT else []), *arguments]
            raise FacecryptError(f"unknown key {brief(key)}.{suggest(str(key), known)} Known: {', '.join(known)}")
        args[key], fault = check_value(value, arguments[key][0])
        if fault:
            raise FacecryptError(f"{key}: {fault.rstrip('.')}")
        if key in _COMPONENTS and isinstance(args[key], str):
            registry.get(_COMPONENTS[key], args[key])
        if key == "transforms" and args[key] is not None:
            args[key] = [shorten(each) for each in args[key]]
        if args[key] == arguments[key][1]:
            del args[key]
    if transform != AS_IS and name not in _COLLECT:
        raise FacecryptError(f"{name!r} collects no photos. Name another, or use transforms")
    if label is not None and (not isinstance(label, str) or not 0 < len(label.strip()) <= _LABEL_LONGEST):
        raise FacecryptError(f"label {brief(label)} is wrong: give 1 to {_LABEL_LONGEST} characters. Quote a number")
    return Named(name, args, transform, label or _default_label(name, args, transform))


def shorten_adversary(entry: object) -> str | dict[str, Any]:
    """Return an entry in its shortest form: its name, or a mapping without what is the default.

    Raises:
        FacecryptError: As `read_adversary`.
    """
    named = read_adversary(entry)
    short: dict[str, Any] = {"name": named.name, **named.args}
    if named.transform != AS_IS:
        short["transform"] = named.transform
    if named.label != _default_label(named.name, named.args, named.transform):
        short["label"] = named.label
    return named.name if len(short) == 1 else short


def adversary_faults(entries: Sequence[object]) -> list[str]:
    """Return a line per label that two different entries have."""
    labels: dict[str, object] = {}
    faults = []
    for entry in entries:
        label = read_adversary(entry).label
        if labels.setdefault(label, entry) != entry:
            faults.append(f"adversaries: two different ones are called {label!r}. Label them.")
    return faults


def _default_label(name: str, args: Mapping[str, Any], transform: object) -> str:
    given = ", ".join(f"{key}={_spell(value)}" for key, value in args.items())
    after = "" if transform == AS_IS else f", which collects after {read_entry(transform).label}"
    return f"{name}({given}){after}" if given else f"{name}{after}"


def _spell(value: object) -> str:
    return f"{len(value)} of them" if isinstance(value, list) else str(value)


def _check(value: object) -> str | dict[str, Any]:
    try:
        return shorten_adversary(value)
    except FacecryptError as error:
        raise PydanticCustomError("adversary", "{fault}", {"fault": str(error).rstrip(".")}) from error


AdversaryEntry = Annotated[str | dict[str, Any], pydantic.BeforeValidator(_check)]
"""An entry of a benchmark, checked and in its shortest form."""
