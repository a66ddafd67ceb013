"""Benchmark recipes: one YAML file compares methods by open-set identification. Read and checked like other recipes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from facecrypt.benchmark.adversaries.entries import AdversaryEntry, adversary_faults
from facecrypt.checking import at_most
from facecrypt.errors import RecipeError
from facecrypt.recipe import interpolation
from facecrypt.recipe.check import Recipe, check_recipe, load_recipe, read_recipe, recipe_values
from facecrypt.recipe.config_values import check_values, component_faults, override_values, read_file, read_values
from facecrypt.recipe.groups import flatten_overrides
from facecrypt.recipe.key_paths import split_key
from facecrypt.recipe.key_types import Schema, plain_values
from facecrypt.recipe.overrides import Override
from facecrypt.recipe.schema import MOST_COMPONENTS, STRICT, Args, JudgeSlot, Seed, Slot, SurrogateSlot
from facecrypt.recipe.yaml_values import Node, copy_node, dump
from facecrypt.registry import JUDGES, Kinds
from facecrypt.system.naming import expand_home, path_fault
from facecrypt.system.texts import FreeText, PathText
from facecrypt.transforms.entries import Entry, label_faults

Share = Annotated[float, Field(ge=0, le=1)]
MOST_ROWS = 500
"""Most methods times settings of one benchmark."""
_MANY = 10_000_000


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
    file: PathText | None = None
    folder: PathText | None = None
    seed: Seed = 0
    protected: Annotated[int, Field(ge=1, le=_MANY)] = 500
    targets: Annotated[int, Field(ge=1, le=_MANY)] = 10
    further: Annotated[int, Field(ge=0, le=_MANY)] = 500


@dataclass
class EvaluatorSlot:
    """A recogniser, or a judge that ranks people, that identifies the saved files.

    Attributes:
        name: Registered name of a judge or a surrogate.
        args: Its arguments.
        label: How tables call it; the name by default.
        optional: Do without it, and say so, where its weights cannot be loaded or its key is not set.
        send_originals: Let a judge that is not on this machine have the unprotected probes, too. It has the gallery in
            any case.
    """

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)
    label: str = ""
    optional: bool = False
    send_originals: bool = False


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
        learn_from: Learn one mask per person, from so many of their gallery photos, as ``facecrypt learn`` does, and
            add it to their probes; for recipes with the method ``universal`` and no mask.
        obfuscation: Hide the face instead; without a recipe. A method with neither leaves the photos as they are.
    """

    __pydantic_config__ = STRICT
    label: str
    recipe: FreeText | None = None
    set: dict[str, Any] = field(default_factory=dict)
    every_target: bool = False
    learn_from: Annotated[int, Field(ge=1, le=1000)] | None = None
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
            ``none``, compression, resizing, screenshots, platforms, purification; entries as in ``receipt.transforms``.
        adversaries: Who identifies, as rows of their own: ``none`` searches the gallery as it is; ``protected_gallery``
            has collected protected photos instead of clean ones; ``growing_gallery`` begins with half of the clean ones
            and takes in the protected versions of the others as far as it recognises somebody in them;
            ``linear_probe`` trains a linear classifier on clean and protected photos. Others group, change, average and
            align photos, or learn from pairs of protected and clean photos of other people: docs/evaluation.md has
            them all, with their arguments, as in ``{name: protected_gallery, photos: 3, share: 0.5, label: mixed}``.
            ``{name: protected_gallery, transform: jpeg_75}`` collects photos after a transform.
        probes: Number of probes, drawn with the seed; all by default.
        distractors: Folders of further photos for the gallery, of people whom nobody names.
        targets: ``protocol`` aims at the protocol's targets, ``virtual`` at the built-in pack, whose check images then
            stand in the gallery.
        detector: Finds the faces that are identified, in the gallery and in the saved files. Masks are made for those
            that the detectors of the methods' recipes find.
        faces: ``largest`` face of each photo, or ``aligned`` where each photo is itself an aligned face.
        output: Folder for the saved files, metrics.json, table.md and plots.
        cache: Folder for embeddings, which later runs and other benchmarks use again.
        seed: Seed of the draw of probes, of the methods, and of the bootstrap.
    """

    __pydantic_config__ = STRICT
    title: str
    evaluators: Annotated[list[EvaluatorSlot], Field(min_length=1, max_length=MOST_COMPONENTS)]
    methods: Annotated[list[Method], Field(min_length=1, max_length=MOST_ROWS)]
    protocol: ProtocolSource = field(default_factory=ProtocolSource)
    settings: Annotated[list[Setting], Field(max_length=MOST_ROWS)] = field(default_factory=list)
    transforms: Annotated[list[Entry], Field(min_length=1)] = field(default_factory=lambda: ["none"])
    adversaries: Annotated[list[AdversaryEntry], Field(min_length=1)] = field(default_factory=lambda: ["none"])
    probes: Annotated[int, Field(ge=1, le=_MANY)] | None = None
    distractors: list[PathText] = field(default_factory=list)
    targets: Literal["protocol", "virtual"] = "protocol"
    detector: Slot = field(default_factory=lambda: Slot("mtcnn"))
    faces: Literal["largest", "aligned"] = "largest"
    output: PathText = "results"
    cache: PathText = "results/cache"
    seed: Seed = 0


@dataclass(frozen=True)
class Row:
    """One method under one setting, ready to run.

    Attributes:
        method: Its label.
        setting: Label of the setting, or empty.
        recipe: The recipe, or None for unprotected and obfuscated photos.
        every_target: Whether it runs once per target.
        obfuscation: How the face is hidden instead.
        learn_from: From how many of a person's gallery photos one mask for all of them is learned; None where each face
            gets its own.
    """

    method: str
    setting: str
    recipe: Recipe | None
    every_target: bool
    obfuscation: Obfuscation | None
    learn_from: int | None = None


_ADAPTER: pydantic.TypeAdapter[Benchmark] = pydantic.TypeAdapter(Benchmark)
_PARTS: dict[str, type] = {
    "protocol": ProtocolSource,
    "evaluators": EvaluatorSlot,
    "detector": Slot,
    "methods": Method,
    "settings": Setting,
}
_KINDS: dict[str, Kinds] = {"evaluators": JUDGES, "detector": "detector"}
_SCHEMA = Schema(Benchmark, {**_PARTS, "obfuscation": Obfuscation}, _KINDS)


def is_benchmark(path: str | Path) -> bool:
    """Return whether a recipe file describes a benchmark: whether it names methods.

    Raises:
        RecipeError: If the file cannot be read.
    """
    return "methods" in read_file(str(path))


def load_benchmark(
    path: str | Path, overrides: Sequence[str] = (), *, allow_env: bool = False
) -> tuple[Benchmark, list[Row]]:
    """Return a benchmark recipe with its rows, checked in full, the methods' recipes included.

    Args:
        path: A YAML file. A recipe that protects photos makes a benchmark of its own: it against clean photos, judged
            by its surrogates and its held-out recognisers.
        overrides: ``key=value`` each; of the benchmark, or else of such a recipe.
        allow_env: Whether ``${oc.env:NAME}`` in it and in the methods' recipes may read the environment.

    Raises:
        RecipeError: With every fault.
    """
    source = str(path)
    if is_benchmark(path):
        nodes = read_values(source, _SCHEMA, overrides, allow_env=allow_env)
    else:
        nodes = _recipe_alone(source, overrides, allow_env)
    values, faults = plain_values(nodes, _SCHEMA)
    faults += component_faults(values, _KINDS)
    benchmark = check_values(values, _ADAPTER, _SCHEMA, source, faults)
    if faults:
        raise RecipeError(source, at_most(faults))
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
    faults += label_faults("transforms", benchmark.transforms)
    faults += adversary_faults(benchmark.adversaries)
    if len(benchmark.methods) * max(1, len(benchmark.settings)) > MOST_ROWS:
        faults.append(
            f"settings: with the methods, they are more than {MOST_ROWS} rows. Share them out to several files."
        )
        raise RecipeError(source, at_most(faults))
    rows: list[Row] = []
    for index, method in enumerate(benchmark.methods):
        if method.recipe is None:
            if method.learn_from is not None:
                faults.append(f"methods[{index}].learn_from: learns by a recipe, and there is none. Leave it out.")
            rows.append(Row(method.label, "", None, False, method.obfuscation))
            continue
        if fault := path_fault(method.recipe):
            faults.append(f"methods[{index}].recipe: {fault}")
            continue
        file = Path(path).parent / expand_home(method.recipe)
        # As they were typed: the recipe knows which of them are texts.
        own = nodes["methods"][index].get("set") or {}
        for number, label in enumerate([each.label for each in benchmark.settings] or [""]):
            changes = {**(nodes["settings"][number]["set"] if benchmark.settings else {}), **own}
            try:
                recipe = _method_recipe(benchmark, method, changes, str(file), allow_env)
                if method.learn_from is not None:
                    faults += [f"methods[{index}].learn_from: {fault}" for fault in _learning_faults(recipe)]
                    if method.every_target:
                        faults.append(f"methods[{index}].learn_from: aims at nobody. Leave out every_target.")
                rows.append(Row(method.label, label, recipe, method.every_target, None, method.learn_from))
            except RecipeError as error:
                faults += [f"methods[{index}] ({method.label}): {fault}" for fault in error.faults]
    if faults:
        raise RecipeError(source, at_most(faults))
    return benchmark, rows


def dump_benchmark(benchmark: Benchmark, *, ascii_only: bool = False) -> str:
    """Return the benchmark as YAML with every default filled in; its methods' recipes stay references.

    Args:
        benchmark: A checked benchmark.
        ascii_only: Write characters beyond ASCII as escapes.
    """
    return dump(interpolation.escape_all(asdict(benchmark)), ascii_only=ascii_only)


def _recipe_alone(source: str, overrides: Sequence[str], allow_env: bool) -> dict[str, Node]:
    """Return the keys of a benchmark of clean photos and one recipe, from the recipe's file."""
    # A detector is the recipe's, which tells who judges: receipt.detector, or else the same.
    own = {item.name for item in fields(Benchmark)} - {"detector"}
    mine = [override for override in overrides if re.split(r"[.\[=:]", override)[0] in own]
    others = [override for override in overrides if override not in mine]
    recipe = load_recipe(source, others, allow_env=allow_env)
    slots: list[SurrogateSlot | JudgeSlot] = [*recipe.surrogates, *recipe.held_out]
    label = Path(source).stem
    values: dict[str, Node] = {
        "title": label,
        "evaluators": [
            {"name": slot.name, "args": slot.args}
            | (
                {"optional": slot.optional, "send_originals": slot.send_originals}
                if isinstance(slot, JudgeSlot)
                else {}
            )
            for slot in slots
        ],
        "methods": [{"label": "clean"}, {"label": label, "recipe": Path(source).name, "set": _changed(recipe, others)}],
        "detector": asdict(recipe.receipt.detector or recipe.detector),
        "output": f"results/{label}",
    }
    return override_values(values, _SCHEMA, mine, source, allow_env=allow_env)


def _changed(recipe: Recipe, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values that overrides have in a recipe, by the keys that they name."""
    changed = {}
    keys = [each if isinstance(each, str) else each.key for each in flatten_overrides(overrides, {})]
    for key in (each.partition("=")[0].removesuffix(":") for each in keys):
        value: Any = recipe_values(recipe)
        try:
            for part in split_key(key):
                value = value[part]
        except (KeyError, IndexError, TypeError):
            continue  # A later override has replaced what it changed.
        changed[key] = value
    return changed


def _method_recipe(
    benchmark: Benchmark, method: Method, changes: dict[str, Node], file: str, allow_env: bool
) -> Recipe:
    # Judges are the evaluators, and photos, faces, format and seed are the same for every method of a comparison.
    changes |= {"held_out": [], "faces": benchmark.faces, "format": "png", "seed": benchmark.seed}
    if method.every_target:
        changes["target_selector"] = {"name": "fixed"}
    overrides = [Override(key, copy_node(value)) for key, value in changes.items()]
    return check_recipe(read_recipe(file, overrides, allow_env=allow_env), file)


def _learning_faults(recipe: Recipe) -> list[str]:
    """Return why no mask per person can be learned by a recipe, or nothing."""
    if recipe.strength is not None:
        return ["learns one mask per person, whose strength nobody chooses. Leave out strength."]
    if recipe.method.name != "universal" or recipe.method.args.get("mask"):
        return ["learns a mask per person, for recipes with the method 'universal' and without a mask. Leave it out."]
    return [] if recipe.norm == "linf" else ["learns in the ball linf. Set norm: linf."]


def _doubles(slots: Sequence[EvaluatorSlot] | Sequence[Method] | Sequence[Setting]) -> list[str]:
    labels = [slot.label for slot in slots]
    return sorted({label for label in labels if labels.count(label) > 1})
