"""Benchmark recipes: one YAML file compares methods by open-set identification. Read and checked like other recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from omegaconf import OmegaConf
from pydantic import Field

from facecrypt.errors import RecipeError
from facecrypt.presets import override_with_preset
from facecrypt.recipe import Recipe, check_recipe, load_recipe
from facecrypt.recipe_parts import STRICT, Args, HeldOutSlot, SurrogateSlot
from facecrypt.settings import Adversary, TransformName
from facecrypt.values import component_faults, override_values, read_values, structure_faults

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass
class ProtocolSource:
    """Who is protected, aimed at and searched: a protocol file, or a folder from which a protocol is drawn.

    Attributes:
        file: CSV with the columns image, identity and role.
        folder: Folder with a subfolder of photos per person, as LFW has it; instead of `file`.
        seed: Seed of the draw from the folder.
        protected: Number of people to protect, with one probe each.
        targets: Number of people to aim at.
        further: Number of further people in the gallery.
    """

    __pydantic_config__ = STRICT
    file: str | None = None
    folder: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    protected: Annotated[int, Field(ge=1)] = 500
    targets: Annotated[int, Field(ge=1)] = 10
    further: Annotated[int, Field(ge=0)] = 500


@dataclass
class EvaluatorSlot:
    """A recogniser that identifies the saved files.

    Attributes:
        name: Registered name of a surrogate.
        args: Its arguments.
        label: How tables call it; the name by default.
        optional: Do without it, and say so, where its weights cannot be loaded.
    """

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)
    label: str = ""
    optional: bool = False


@dataclass
class Obfuscation:
    """A classic way to hide a face, for reference.

    Attributes:
        method: ``blur``, ``pixelate``, ``darken`` or ``occlude``.
        strength: From 0, nothing, to 1.
    """

    __pydantic_config__ = STRICT
    method: Literal["blur", "pixelate", "darken", "occlude"]
    strength: Share


@dataclass
class Method:
    """A row of the tables.

    Attributes:
        label: How tables call it.
        recipe: A recipe that protects photos, relative to the benchmark's file.
        set: Values that replace those of the recipe, as overrides do: ``{epsilon: 8, "surrogates[0].weight": 2}``.
        every_target: Run it once per target, with ``target_selector: {name: fixed}``, and report the target that serves
            best over all probes: what single-target methods are given in the paper.
        obfuscation: Hide the face instead; without a recipe. A method with neither leaves the photos as they are.
    """

    __pydantic_config__ = STRICT
    label: str
    recipe: str | None = None
    set: dict[str, Any] = field(default_factory=dict)
    every_target: bool = False
    obfuscation: Obfuscation | None = None


@dataclass
class Setting:
    """A variation that every method with a recipe runs under: a column of blocks in the tables.

    Attributes:
        label: How tables call it.
        set: Values that replace those of the methods' recipes.
    """

    __pydantic_config__ = STRICT
    label: str
    set: dict[str, Any]


@dataclass
class Benchmark:
    """A comparison of methods.

    Attributes:
        title: Heading of the tables.
        protocol: Who is protected, aimed at and searched.
        evaluators: Recognisers that identify the saved files.
        methods: What is compared.
        settings: Variations of every method; none is the recipes as they are.
        transforms: What happens to every saved photo before it is identified, one after the other as rows of their own:
            ``none``, compression, resizing, screenshots, platforms, purification.
        adversaries: Who identifies, as rows of their own: ``none`` searches the gallery as it is; ``protected_gallery``
            has collected protected photos instead of clean ones; ``growing_gallery`` begins with half of the clean ones
            and takes in the protected versions of the others as far as it recognises somebody in them;
            ``linear_probe`` trains a linear classifier on clean and protected photos. For all but the first, all
            gallery photos of the protected people are protected as well, by the method under test.
        probes: Number of probes, drawn with the seed; all by default.
        distractors: Folders of further photos for the gallery, of people whom nobody names.
        targets: ``protocol`` aims at the protocol's targets, ``virtual`` at the built-in pack, whose check images then
            stand in the gallery.
        faces: ``largest`` face of each photo, or ``aligned`` where each photo is itself an aligned face.
        output: Folder for the saved files, metrics.json, table.md and plots.
        cache: Folder for embeddings, which later runs and other benchmarks use again.
        seed: Seed of the draw of probes, of the methods, and of the bootstrap.
    """

    __pydantic_config__ = STRICT
    title: str
    evaluators: Annotated[list[EvaluatorSlot], Field(min_length=1)]
    methods: Annotated[list[Method], Field(min_length=1)]
    protocol: ProtocolSource = field(default_factory=ProtocolSource)
    settings: list[Setting] = field(default_factory=list)
    transforms: Annotated[list[TransformName], Field(min_length=1)] = field(default_factory=lambda: ["none"])
    adversaries: Annotated[list[Adversary], Field(min_length=1)] = field(default_factory=lambda: ["none"])
    probes: Annotated[int, Field(ge=1)] | None = None
    distractors: list[str] = field(default_factory=list)
    targets: Literal["protocol", "virtual"] = "protocol"
    faces: Literal["largest", "aligned"] = "largest"
    output: Annotated[str, Field(min_length=1)] = "results"
    cache: Annotated[str, Field(min_length=1)] = "results/cache"
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Row:
    """One method under one setting, ready to run.

    Attributes:
        method: Its label.
        setting: Label of the setting, or empty.
        recipe: The recipe, or None for unprotected and obfuscated photos.
        every_target: Whether it runs once per target.
        obfuscation: How the face is hidden instead.
    """

    method: str
    setting: str
    recipe: Recipe | None
    every_target: bool
    obfuscation: Obfuscation | None


_ADAPTER: pydantic.TypeAdapter[Benchmark] = pydantic.TypeAdapter(Benchmark)
_PARTS: dict[str, type] = {
    "protocol": ProtocolSource,
    "evaluators": EvaluatorSlot,
    "methods": Method,
    "settings": Setting,
}


def is_benchmark(path: str | Path) -> bool:
    """Return whether a recipe file describes a benchmark: whether it names methods.

    Raises:
        RecipeError: If the file cannot be read.
    """
    return "methods" in read_values(str(path))


def load_benchmark(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Benchmark, list[Row]]:
    """Return a benchmark recipe with its rows, checked in full, the methods' recipes included.

    Args:
        path: A YAML file. A recipe that protects photos makes a benchmark of its own: it against clean photos, judged
            by its surrogates and its held-out recognisers.
        overrides: ``key=value`` each; of the benchmark, or else of such a recipe.

    Raises:
        RecipeError: With every fault.
    """
    source = str(path)
    values = read_values(source, overrides) if is_benchmark(path) else _recipe_alone(source, overrides)
    faults = component_faults(values, {"evaluators": "surrogate"})
    try:
        benchmark = _ADAPTER.validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        raise RecipeError(source, structure_faults(error, Benchmark, _PARTS) + faults) from None
    if (benchmark.protocol.file is None) == (benchmark.protocol.folder is None):
        faults.append(
            "protocol: give either file, a CSV with the columns image, identity and role, or folder, with a subfolder "
            "per person: protocol.file=lfw/protocol.csv."
        )
    for slot in benchmark.evaluators:
        slot.label = slot.label or slot.name
    faults += [f"evaluators: two are called {label!r}. Label them." for label in _doubles(benchmark.evaluators)]
    faults += [f"methods: two are called {label!r}. Rename one." for label in _doubles(benchmark.methods)]
    faults += [f"settings: two are called {label!r}. Rename one." for label in _doubles(benchmark.settings)]
    for key, names in (("transforms", benchmark.transforms), ("adversaries", benchmark.adversaries)):
        doubles = [name for number, name in enumerate(names) if name in names[:number]]
        faults += [f"{key}: {name!r} is named twice. Name each once." for name in doubles]
    rows: list[Row] = []
    for index, method in enumerate(benchmark.methods):
        for setting in benchmark.settings if method.recipe and benchmark.settings else [Setting("", {})]:
            try:
                rows.append(_row(benchmark, method, setting, Path(path).parent))
            except RecipeError as error:
                faults += [f"methods[{index}] ({method.label}): {fault}" for fault in error.faults]
    if faults:
        raise RecipeError(source, list(dict.fromkeys(faults)))
    return benchmark, rows


def dump_benchmark(benchmark: Benchmark) -> str:
    """Return the benchmark as YAML with every default filled in; its methods' recipes stay references."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(benchmark)))


def _recipe_alone(source: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the keys of a benchmark of clean photos and one recipe, from the recipe's file."""
    own = {item.name for item in fields(Benchmark)}
    mine = [override for override in overrides if re.split(r"[.\[=]", override)[0] in own]
    others = [override for override in overrides if override not in mine]
    recipe = load_recipe(source, others)
    slots: list[SurrogateSlot | HeldOutSlot] = [*recipe.surrogates, *recipe.held_out]
    label = Path(source).stem
    changes = {key: yaml.safe_load(text) for key, _, text in (override.partition("=") for override in others)}
    values = {
        "title": label,
        "evaluators": [
            {"name": slot.name, "args": slot.args, "optional": isinstance(slot, HeldOutSlot) and slot.optional}
            for slot in slots
        ],
        "methods": [{"label": "clean"}, {"label": label, "recipe": Path(source).name, "set": changes}],
        "output": f"results/{label}",
    }
    return override_values(values, mine, source)


def _row(benchmark: Benchmark, method: Method, setting: Setting, folder: Path) -> Row:
    if method.recipe is None:
        return Row(method.label, "", None, False, method.obfuscation)
    changes = {**setting.set, **method.set}
    # Judges are the evaluators, and photos, faces, format and seed are the same for every method of a comparison.
    changes |= {"held_out": [], "faces": benchmark.faces, "format": "png", "seed": benchmark.seed}
    if method.every_target:
        changes["target_selector"] = {"name": "fixed"}
    path = folder / method.recipe
    overrides = override_with_preset([f"{key}={json.dumps(value)}" for key, value in changes.items()])
    values = read_values(str(path), overrides)
    return Row(method.label, setting.label, check_recipe(values, str(path)), method.every_target, None)


def _doubles(slots: Sequence[EvaluatorSlot] | Sequence[Method] | Sequence[Setting]) -> list[str]:
    labels = [slot.label for slot in slots]
    return sorted({label for label in labels if labels.count(label) > 1})
