"""Recipes: one YAML file is one run, checked in full before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from pydantic import Field

from facecrypt import registry
from facecrypt.checking import at_most
from facecrypt.choices import MetadataPolicy, Norm, PhotoFormat, TargetEmbedding, ViewsMode
from facecrypt.errors import RecipeError
from facecrypt.recipe import interpolation
from facecrypt.recipe.compose import BASE, compose, read_composed
from facecrypt.recipe.config_values import (
    check_values,
    component_faults,
    is_config,
    mapping_nodes,
    override_values,
    place_overrides,
)
from facecrypt.recipe.face_rules import Faces, WordOrRules, face_faults, simplify
from facecrypt.recipe.groups import (
    find_spellings,
    flat_path,
    flatten,
    flatten_overrides,
    group,
    own_arguments,
    respell,
)
from facecrypt.recipe.hardware import hardware_faults
from facecrypt.recipe.judge_rules import choose_way, is_remote
from facecrypt.recipe.key_types import Schema, plain_values
from facecrypt.recipe.names_alone import spell_out
from facecrypt.recipe.origins import annotate, find_origins
from facecrypt.recipe.overrides import Override
from facecrypt.recipe.presets import KEYS, fill, settle_strength
from facecrypt.recipe.schema import (
    MOST_COMPONENTS,
    STRICT,
    Args,
    BatchSize,
    Budget,
    HeldOutSlot,
    JudgeSlot,
    Levels,
    Limits,
    MixupOptions,
    OwnIdentity,
    PersonOptions,
    Receipt,
    Region,
    RegionOrSlot,
    ReportOptions,
    Seed,
    Slot,
    StrengthChoice,
    SurrogateSlot,
    TermSlot,
    TermWeight,
    Weight,
)
from facecrypt.recipe.shipped import find_recipe
from facecrypt.recipe.trainer_options import TrainerOptions, given_options, owned_faults
from facecrypt.recipe.yaml_values import Node, dump
from facecrypt.registry import JUDGES, Kinds
from facecrypt.system.naming import template_fault
from facecrypt.system.texts import FreeText, PathText
from facecrypt.transforms.entries import label_faults
from facecrypt.verdicts.expectation import known_surrogates
from facecrypt.verdicts.verdict import can_expect

if TYPE_CHECKING:
    from facecrypt.surrogates.spec import Weights


@dataclass
class Recipe:
    """One run.

    Attributes:
        surrogates: Recognisers whose gradients make the masks.
        method: How faces are protected: ``iterative`` is TIP-IM and its relatives, which the keys from
            `target_selector` on set; other methods have arguments of their own. A name, or a name with arguments.
        detector: Finds the faces: in the photos, the targets, and wherever else photos are searched. A name, or a name
            with arguments.
        photos: File, folder with its subfolders, or glob; ``-`` reads file names from standard input. Without it, the
            built-in sample photo.
        output: Folder for the protected photos, the report, the manifest and the resolved recipe. Subfolders of a
            folder of photos are kept.
        source: How `photos` is read: ``folder`` takes files where they are, ``archive`` those in a zip or tar file,
            ``frames`` those of a video, ``stdin`` one photo from standard input. A name, or a name with arguments.
        sink: Where protected photos go besides: ``folder`` leaves them in `output`, ``archive`` makes an archive of
            them there, ``frames`` a video; ``stdout`` writes one to standard output and leaves nothing else.
        held_out: Judges of the saved files, which give no gradient: recognisers, or components of the kind `judge`.
        targets: ``virtual``, the built-in pack of people who do not exist, or a folder of face photos.
        max_targets: Largest number of target identities, the first ones by name.
        target_weights: How much targets count beside the others, by their names; 1 where none is given. A weight
            multiplies the target's distance in Eq. 2 and its term in the selectors' gains.
        target_embedding: What of a target's photos counts: the ``first``, the ``mean`` of all, or all as a ``set``, of
            which the nearest is aimed at.
        target_selector: How the target of each step is chosen: a name, or a name with arguments.
        naturalness: Terms that keep the faces natural; their weight is gamma of Eq. 4.
        gradient: Which gradient is followed: that at the masks, or one that tells of the loss around them. A name, or a
            name with arguments.
        optimizer: How a gradient becomes a step: a name, or a name with arguments.
        views: Random views; none is the plain method.
        views_mode: ``chain`` applies all views one after the other, ``one`` draws one of them for each picture.
        views_per_step: Views of each face at each step: the batch that one image is expanded into.
        surrogates_per_step: How many of the surrogates give gradients at a step, drawn anew for each step and the same
            for all faces; null is all of them.
        target_weight: Weight of the distance from the target in Eq. 2; 0 aims at nobody, so that only the way from the
            own identity counts.
        self_weight: Weight of the distance from the own identity in Eq. 2.
        own_photos: Folder of further photos of the person to protect, or with a subfolder of photos for each person.
            Each face that is found to be one of them is led away from the mean of these photos and of itself, not from
            itself alone; null for none.
        person: Which of the photos show one person, and what they then share; null: each face stands for itself.
        own_identity: A term against the own identity with a weight and a hinge of its own.
        epsilon: Largest change of a channel in grey levels of 255 (``linf``), or the root mean square change of a
            face's patch (``l2``).
        norm: Ball that the masks stay in: ``linf`` or ``l2``.
        ceiling: Largest change of a channel in grey levels under ``l2``, whose ball leaves single channels unbounded;
            null for none.
        steps: Number of iterations.
        step_size: Length of a step, in the unit of epsilon.
        region: Where in the patch the mask may be: a component, as ``skin`` or ``{name: eyeglasses, args: {rim: 4}}``,
            or strengths of the component ``face``, as in ``{outside: 0.3}``; the same everywhere by default.
        colour: Share of each step's colour that is kept: 1 all of it, 0 none, so that only lightness changes. What a
            channel does beyond the mean of the three is its colour; eyes see tints that SSIM does not. Below 1, none
            comes where the photo has no colour.
        texture: How strictly the mask's strength follows the texture around each pixel, sparing smooth skin: 0 not at
            all, 1 in proportion to its standard deviation, 2 to its variance.
        feather: Width, in pixels of the patch at its working size, over which the mask fades to 0 at the patch's
            border, so that no seam shows; 0 for no fade.
        low_pass: Standard deviation, in pixels of the patch at its working size, of a Gaussian that smooths gradients
            and steps: masks get blotchy rather than noisy; 0 for none.
        budget: Keep each face's JOD, SSIM or MS-SSIM at or above a value, or its FLIP error at or below one; `epsilon`
            and `ceiling` stay upper bounds.
        preset: Name of a preset, such as ``mid``, which fills in keys that the recipe leaves out: ``facecrypt list
            preset`` shows them.
        protect: Share of unseen recognisers, such as 0.8, that must be expected to take each face for somebody else, in
            the saved photo and after each of `receipt.transforms`: each face gets the first of `levels` with which that
            is so. The other way round, `preset` says how visible a mask may be. Null for neither.
        levels: What `protect` tries, from the lightest on: names of presets, or mappings of keys that replace those of
            the recipe. All presets by default, in which keys that stand in the recipe keep their values.
        strength: Choose the strength of each face by recognisers that it must escape; none by default.
        receipt: What the report measures besides the saved photo as it is.
        report: What report.html shows.
        faces: Which faces: ``all``, ``largest``, ``aligned`` where each photo is itself an aligned, square face, or a
            mapping that chooses by number, likeness or size, or gives faces by hand.
        format: Format of the protected photos: ``same`` writes a JPEG as a JPEG, ``png`` loses nothing.
        name: File name of a protected photo, from ``{stem}`` and ``{suffix}``.
        overwrite: Replace files in `output` that facecrypt did not write, or that were changed since. Inputs of the run
            and backups are never replaced.
        metadata: What of EXIF and XMP a protected photo keeps: ``strip_gps`` what tells how and when it was made,
            ``keep`` titles, descriptions and places as well, ``strip`` nothing but colours. Pictures, regions, names of
            people and serial numbers go; ``all`` keeps all but pictures, and warns.
        in_place: Replace each photo by its protected version, with a backup; `output` gets the report alone.
        backup: Name of the backup, from ``{stem}`` and ``{suffix}``, relative to the photo's folder; it may name a
            folder, as in ``originals/{stem}{suffix}``. An existing file is never replaced.
        batch_size: Photos read together, fewer where `limits.memory` is short (which changes masks where a naturalness
            term is taken over the batch), and the largest number of faces protected together. ``auto`` measures what a
            face needs and takes as many as fit into half of the free memory, at most 8 on a CPU and 64 on a GPU.
        workers: Processes that read photos and find faces ahead of the masks; 0 does it in between.
        limits: Memory and time that photos may take; one that would take more is refused.
        seed: Seed of everything random.
        allow_white_box: Let a surrogate also judge as held-out recogniser; its numbers are marked.
        permissive_only: Refuse every recogniser whose weights are not known to allow products, fallbacks included.
        trainer: Arguments of Lightning's Trainer: devices, loggers, callbacks and others.
    """

    __pydantic_config__ = STRICT
    surrogates: Annotated[list[SurrogateSlot], Field(min_length=1, max_length=MOST_COMPONENTS)]
    method: Slot = field(default_factory=lambda: Slot("iterative"))
    detector: Slot = field(default_factory=lambda: Slot("mtcnn"))
    photos: PathText | None = None
    output: PathText = "protected"
    source: Slot = field(default_factory=lambda: Slot("folder"))
    sink: Slot = field(default_factory=lambda: Slot("folder"))
    held_out: Annotated[list[JudgeSlot], Field(max_length=MOST_COMPONENTS)] = field(default_factory=list)
    targets: PathText = "virtual"
    max_targets: Annotated[int, Field(ge=1, le=100_000)] = 10
    target_weights: dict[str, Weight] = field(default_factory=dict)
    target_embedding: TargetEmbedding = "first"
    target_selector: Slot = field(default_factory=lambda: Slot("greedy"))
    naturalness: Annotated[list[TermSlot], Field(max_length=MOST_COMPONENTS)] = field(default_factory=list)
    gradient: Slot = field(default_factory=lambda: Slot("plain"))
    optimizer: Slot = field(default_factory=lambda: Slot("momentum"))
    views: Annotated[list[Slot], Field(max_length=MOST_COMPONENTS)] = field(default_factory=list)
    views_mode: ViewsMode = "chain"
    views_per_step: Annotated[int, Field(ge=1, le=1024)] = 1
    surrogates_per_step: Annotated[int, Field(ge=1)] | None = None
    target_weight: TermWeight = 1.0
    self_weight: TermWeight = 1.0
    own_photos: PathText | None = None
    person: PersonOptions | None = None
    own_identity: OwnIdentity = field(default_factory=OwnIdentity)
    epsilon: Annotated[float, Field(ge=1, le=255)] = 12.0
    norm: Norm = "linf"
    ceiling: Annotated[float, Field(ge=1, le=255)] | None = None
    steps: Annotated[int, Field(ge=1, le=100_000)] = 50
    step_size: Annotated[float, Field(gt=0, le=255)] = 1.5
    region: RegionOrSlot | None = None
    colour: Annotated[float, Field(ge=0, le=1)] = 1.0
    texture: Annotated[float, Field(ge=0, le=2)] = 0.0
    feather: Annotated[int, Field(ge=0, le=64)] = 0
    low_pass: Annotated[float, Field(ge=0, le=16)] = 0.0
    budget: Budget | None = None
    preset: str | None = None
    protect: Annotated[float, Field(gt=0, lt=1)] | None = None
    levels: Levels | None = None
    strength: StrengthChoice | None = None
    receipt: Receipt = field(default_factory=Receipt)
    report: ReportOptions = field(default_factory=ReportOptions)
    faces: WordOrRules = "all"
    format: PhotoFormat = "same"
    name: FreeText = "{stem}{suffix}"
    overwrite: bool = False
    metadata: MetadataPolicy = "strip_gps"
    in_place: bool = False
    backup: FreeText = "{stem}.original{suffix}"
    batch_size: BatchSize = 8
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    limits: Limits = field(default_factory=Limits)
    seed: Seed = 0
    allow_white_box: bool = False
    permissive_only: bool = False
    trainer: TrainerOptions = field(default_factory=TrainerOptions)


_ADAPTER: pydantic.TypeAdapter[Recipe] = pydantic.TypeAdapter(Recipe)


def load_recipe(path: str | Path, overrides: Sequence[str | Override] = (), *, allow_env: bool = False) -> Recipe:
    """Return a recipe file with overrides, checked in full.

    Args:
        path: A YAML file, or the name of a shipped recipe.
        overrides: ``key=value`` each; keys reach into lists: ``surrogates[0].weight=2``.
        allow_env: Whether ``${oc.env:NAME}`` in it may read the environment.

    Raises:
        RecipeError: With every fault of the recipe.
    """
    source = find_recipe(str(path))
    composed = read_composed(source)
    values = override_recipe(composed.values, overrides, source, allow_env=allow_env)
    try:
        return check_recipe(values, source)
    except RecipeError as error:
        raise RecipeError(source, [respell(fault, composed.spellings) for fault in error.faults]) from None


def read_recipe(source: str, overrides: Sequence[str | Override] = (), *, allow_env: bool = False) -> dict[str, Node]:
    """Return the keys of a recipe file with overrides, unchecked.

    Args:
        source: A YAML file.
        overrides: ``key=value`` each, or what is meant by it.
        allow_env: Whether ``${oc.env:NAME}`` in it may read the environment.

    Raises:
        RecipeError: If the file or an override cannot be read, or an interpolation leads nowhere.
    """
    return override_recipe(read_composed(source).values, overrides, source, allow_env=allow_env)


def override_recipe(
    values: dict[str, Node], overrides: Sequence[str | Override], source: str, *, allow_env: bool = False
) -> dict[str, Node]:
    """Return the keys of a recipe with overrides, unchecked; see `facecrypt.recipe.presets.settle_strength`.

    Args:
        values: The keys, which change.
        overrides: ``key=value`` each, or what is meant by it.
        source: Where they come from, for the error message.
        allow_env: Whether ``${oc.env:NAME}`` in them may read the environment.

    Raises:
        RecipeError: If an override cannot be read or an interpolation leads nowhere.
    """
    return override_values(values, RECIPE_SCHEMA, _settle(overrides, values, source), source, allow_env=allow_env)


def _settle(overrides: Sequence[str | Override], values: Mapping[str, Any], source: str) -> list[str | Override]:
    overrides = flatten_overrides(overrides, values)
    if any(re.match(rf"{BASE}\b", each if isinstance(each, str) else each.key) for each in overrides):
        raise RecipeError(source, ["base: no override changes what a recipe is laid over. Name it in the file."])
    return settle_strength(overrides, values)


def show_recipe(
    source: str,
    overrides: Sequence[str] = (),
    *,
    origin: bool = False,
    grouped: bool = False,
    allow_env: bool = False,
    ascii_only: bool = False,
) -> str:
    """Return a recipe file with overrides as YAML, checked, with every default filled in.

    Args:
        source: A YAML file.
        overrides: ``key=value`` each.
        origin: Tell in a comment where each value comes from.
        grouped: Write the keys in their groups.
        allow_env: Whether ``${oc.env:NAME}`` in it may read the environment.
        ascii_only: Write characters beyond ASCII as escapes.

    Raises:
        RecipeError: With every fault of the recipe.
    """
    recipe = load_recipe(source, overrides, allow_env=allow_env)
    values = recipe_values(recipe)
    own = own_arguments(values["method"])
    shown = group(values, own) if grouped else values
    if not origin:
        return dump(interpolation.escape_all(shown), ascii_only=ascii_only)
    tree = read_composed(source).values
    place_overrides(tree, RECIPE_SCHEMA, _settle(overrides, tree, source), source)
    origins = find_origins(values, spell_out(tree))
    return annotate(shown, group(origins, own) if grouped else origins, ascii_only=ascii_only)


def check_recipe(values: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Return a mapping as a recipe, after checking types, names, arguments and what contradicts what. Builds nothing.

    Presets are filled in first, so that everything that follows sees their values.

    Args:
        values: The keys of a recipe, as `read_values` returns them, as plain values, or a ``DictConfig`` of OmegaConf,
            whose interpolations are resolved as those of a file are.
        source: Its file, for the error message.

    Raises:
        RecipeError: With every fault.
    """
    if is_config(values) or BASE in values:
        nodes = compose(mapping_nodes(values, source), source, Path()).values
        values = override_values(nodes, RECIPE_SCHEMA, (), source)
    flat, faults = flatten(values)
    try:
        return _check_flat(flat, source, faults)
    except RecipeError as error:
        spellings = find_spellings(values)
        raise RecipeError(source, [respell(fault, spellings) for fault in error.faults]) from None


def _check_flat(values: Mapping[str, Any], source: str, faults: list[str]) -> Recipe:
    values, wrong = plain_values(values, RECIPE_SCHEMA)
    values, unknown = fill(values)
    faults = [*faults, *wrong, *unknown]
    # Components are checked as far as the mapping allows, so that one pass shows every fault.
    faults += component_faults(values, _KINDS)
    if isinstance(strength := values.get("strength"), dict):
        faults += [f"strength.{fault}" for fault in component_faults(strength, {"judges": "surrogate"})]
    if isinstance(receipt := values.get("receipt"), dict):
        faults += [f"receipt.{fault}" for fault in component_faults(receipt, {"detector": "detector"})]
    faults += owned_faults(values.get("trainer"))
    recipe = check_values(values, _ADAPTER, RECIPE_SCHEMA, source, faults)
    faults = faults or _contradictions(recipe) + hardware_faults(recipe.trainer)
    if faults:
        raise RecipeError(source, at_most(faults))
    recipe.faces = simplify(recipe.faces)
    return recipe


def level_recipes(recipe: Recipe) -> list[Recipe]:
    """Return a recipe as it is at each level that it tries, from the lightest on; the recipe itself if it tries none.

    Raises:
        RecipeError: With every fault of the levels.
    """
    if not (tried := tried_levels(recipe)):
        return [recipe]
    where = "levels" if recipe.protect is not None else "strength.levels"
    # The machine is looked at once, for all levels.
    alone: dict[str, Any] = {"strength": None, "preset": None, "protect": None, "levels": None, "trainer": {}}
    base = recipe_values(recipe) | alone
    levels, faults = [], []
    for index, level in enumerate(tried):
        path = f"{where}[{index}]"
        if unknown := [key for key in level if key not in KEYS]:
            faults += [f"{path}: {key!r} cannot differ between levels. Allowed: {', '.join(KEYS)}." for key in unknown]
            continue
        try:
            levels.append(replace(check_recipe(base | level), trainer=recipe.trainer))
        except RecipeError as error:
            faults += [f"{path}: {fault}" for fault in error.faults]
    if faults:
        raise RecipeError("recipe", faults)
    return levels


def tried_levels(recipe: Recipe) -> list[Args]:
    """Return what a recipe tries with each face, from the lightest on; nothing where it leaves no choice."""
    if recipe.protect is not None:
        return recipe.levels or []
    return recipe.strength.levels if recipe.strength else []


def dump_recipe(recipe: Recipe, *, ascii_only: bool = False) -> str:
    """Return the recipe as YAML with every default filled in.

    Args:
        recipe: A checked recipe.
        ascii_only: Write characters beyond ASCII as escapes.
    """
    return dump(interpolation.escape_all(recipe_values(recipe)), ascii_only=ascii_only)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as the mapping that its file would hold, with every default filled in.

    Of the arguments of Lightning's Trainer that are no hardware, those which have another value than their default.
    """
    # A field cannot be called `except`, so its name ends in an underscore, which the key does not.
    values = asdict(
        recipe, dict_factory=lambda pairs: {key.rstrip("_"): value for key, value in pairs if _says(key, value)}
    )
    return values | {"trainer": deepcopy(given_options(recipe.trainer))}


def _says(key: str, value: object) -> bool:
    """Return whether a resolved recipe has a key: what is for few judges is left out where it says nothing."""
    return key not in _SILENT or value != _SILENT[key]


_SILENT: Mapping[str, Any] = {"enrol": None, "send_originals": False}


_KINDS: dict[str, Kinds] = {
    "surrogates": "surrogate",
    "held_out": JUDGES,
    "method": "method",
    "source": "source",
    "sink": "sink",
    "detector": "detector",
    "region": "region",
    "target_selector": "target_selector",
    "naturalness": "naturalness",
    "gradient": "gradient",
    "optimizer": "optimizer",
    "views": "view",
}
_PARTS: dict[str, type] = {
    "surrogates": SurrogateSlot,
    "held_out": JudgeSlot,
    "method": Slot,
    "source": Slot,
    "sink": Slot,
    "detector": Slot,
    "(component)": Slot,
    "target_selector": Slot,
    "naturalness": TermSlot,
    "gradient": Slot,
    "optimizer": Slot,
    "views": Slot,
    "own_identity": OwnIdentity,
    "person": PersonOptions,
    "mixup": MixupOptions,
    "region": Region,
    "budget": Budget,
    "strength": StrengthChoice,
    "judges": HeldOutSlot,
    "receipt": Receipt,
    "report": ReportOptions,
    "faces": Faces,
    "limits": Limits,
    "trainer": TrainerOptions,
}
RECIPE_SCHEMA = Schema(Recipe, _PARTS, {**_KINDS, "judges": "surrogate"}, flat_path)


def is_measured(recipe: Recipe) -> bool:
    """Return whether it was measured what unseen recognisers make of such masks: those of the loop, all over a face."""
    return recipe.method.name == "iterative" and not isinstance(recipe.region, Slot)


def _contradictions(recipe: Recipe) -> list[str]:
    faults = _licence_faults(recipe) if recipe.permissive_only else []
    if recipe.method.name != "iterative" and recipe.protect is not None:
        faults.append(
            f"protect: what others make of masks by the method {recipe.method.name!r} was not measured, so nothing can "
            "be expected. Choose their strength by judges (strength), or leave protect out."
        )
    elif isinstance(recipe.region, Slot) and recipe.protect is not None:
        faults.append(
            f"protect: what others make of masks in the region {recipe.region.name!r} was not measured, so nothing can "
            "be expected. Choose their strength by judges (strength), or leave protect out."
        )
    giving = [_network(slot.name, slot.args) for slot in recipe.surrogates]
    if len(set(giving)) < len(giving):
        faults.append("surrogates: one network is named twice. Name each once and give it a weight.")
    count, drawn = len(recipe.surrogates), recipe.surrogates_per_step
    if drawn is not None and drawn >= count:
        allowed = f"Allowed: 1 to {count - 1}, or null for all." if count > 1 else "Name more surrogates, or give null."
        faults.append(f"surrogates_per_step: {drawn} of {count} leaves nothing to draw. {allowed}")
    if not (recipe.target_weight or recipe.self_weight or recipe.own_identity.weight):
        faults.append(
            "target_weight: 0 leaves masks nothing to follow. Give it, self_weight or own_identity.weight more than 0."
        )
    if recipe.target_embedding == "set" and recipe.method.name != "iterative":
        faults.append(
            f"target_embedding: the method {recipe.method.name!r} is given one embedding per target. Use first or mean."
        )
    faults += _person_faults(recipe)
    if recipe.budget == Budget():
        faults.append(
            "budget: names no bound. Give jod or enlarged a number below 10, flip, ssim or ms_ssim one below 1, or "
            "delta_e or creases one above 0, or set it to null."
        )
    if recipe.ceiling is not None and recipe.norm == "linf":
        faults.append("ceiling: under linf, epsilon is the largest change of a channel. Lower it, or set norm: l2.")
    judging = [_network(slot.name, slot.args) for slot in recipe.held_out]
    if len(set(judging)) < len(judging):
        faults.append("held_out: one network is named twice. Name each once.")
    giving += [_network(name, {}) for slot in recipe.surrogates for name in slot.fallback]
    for index, slot in enumerate(recipe.held_out):
        if judging[index] in giving and not recipe.allow_white_box:
            faults.append(
                f"held_out[{index}]: the network of {slot.name!r} gives gradients in this recipe, so it cannot judge. "
                "Name another recogniser, or set allow_white_box: true and have its numbers marked as white-box."
            )
    terms = enumerate(recipe.naturalness)
    coupled = [index for index, term in terms if term.weight > 0 and term.args.get("over") == "batch"]
    if recipe.batch_size == "auto" and coupled:
        faults.append(
            f"batch_size: 'auto' depends on the machine, and naturalness[{coupled[0]}] with over: batch makes the "
            "masks depend on it. Give a number, or set over: views."
        )
    faults += _protect_faults(recipe, giving, judging) + _strength_faults(recipe, giving, judging)
    faults += face_faults(recipe.faces) + _file_faults(recipe) + _judge_faults(recipe)
    faults += label_faults("receipt.transforms", recipe.receipt.transforms)
    # What is wrong with the recipe is wrong with every level, and told once.
    return faults or (_level_faults(recipe) if recipe.protect is not None else [])


_KEEPING = ("persistent", "farthest", "fixed", "random")
"""Built-in selectors that choose a target by the person and keep it, ``random`` where it is told to."""


def _person_faults(recipe: Recipe) -> list[str]:
    """Return what is wrong with `person`."""
    person, faults = recipe.person, []
    if person is None:
        return []
    if (person.by == "table") != (person.table is not None):
        faults.append("person: by: table needs a table, and only that does. Give both, or neither.")
    if recipe.own_photos is not None:
        faults.append("person: stands beside own_photos, which tells too who is who. Leave one out.")
    if recipe.method.name != "iterative":
        faults.append(f"person: the method {recipe.method.name!r} has no use for it. Leave it out.")
    if recipe.photos == "-":
        faults.append("person: photos: '-' may name others each time. Name a folder, a file or a glob.")
    if recipe.in_place:
        faults.append("person: with in_place, the photos of a person would be gone at the next run. Leave one out.")
    slot = recipe.target_selector
    built_in = registry.get("target_selector", slot.name).origin == registry.BUILT_IN
    keeps = slot.name in _KEEPING and (slot.name != "random" or slot.args.get("keep") is True)
    if person.share != "identity" and built_in and not keeps:
        faults.append(
            f"person: photos share no target that {slot.name!r} chooses, which follows from each face. Name as "
            "target_selector persistent, farthest, fixed, or random with keep: true; or set share: identity."
        )
    return faults


def _protect_faults(recipe: Recipe, giving: Sequence[tuple[str, ...]], judging: Sequence[tuple[str, ...]]) -> list[str]:
    """Return what is wrong with `protect`, given the networks of surrogates and of held-out judges."""
    if recipe.protect is None:
        return ["levels: are what protect tries. Give protect, or leave them out."] if recipe.levels else []
    one_of_two = "One of the two is given, the other is found: leave one out"
    faults = []
    if recipe.preset is not None:
        faults.append(f"protect: stands beside preset. {one_of_two}.")
    if recipe.strength is not None:
        faults.append(f"protect: stands beside strength, which chooses the masks too. {one_of_two}.")
    budgets = [level.get("budget", recipe.budget) for level in recipe.levels or [] if "preset" in level]
    if len(budgets) > 1 and budgets[0] is not None and all(each == budgets[0] for each in budgets):
        faults.append(f"protect: stands beside a budget. {one_of_two}.")
    certain = not any(slot.optional or slot.fallback for slot in recipe.surrogates)
    if certain and (fault := expectation_fault([slot.name for slot in recipe.surrogates])):
        faults.append(fault)
    if set(judging) & set(giving):
        faults.append("protect: needs surrogates that do not judge as well. Take them out of held_out.")
    return faults


def _level_faults(recipe: Recipe) -> list[str]:
    try:
        level_recipes(recipe)
    except RecipeError as error:
        return list(error.faults)
    return []


def expectation_fault(surrogates: Sequence[str]) -> str:
    """Return why `protect` cannot be followed with these surrogates, or nothing.

    Args:
        surrogates: Their names.
    """
    if can_expect(surrogates):
        return ""
    known = "; ".join(known_surrogates())
    return (
        f"protect: what others make of masks by {', '.join(surrogates)} was not measured, so nothing can be expected. "
        f"Name surrogates for which it was ({known}), or give preset in place of protect."
    )


def _judge_faults(recipe: Recipe) -> list[str]:
    """Return what is wrong with judges that are asked for their opinion, as far as nothing is built."""
    faults = []
    devices = recipe.trainer.devices
    many = len(devices) > 1 if isinstance(devices, list) else devices not in (1, "auto")
    several = many or recipe.trainer.num_nodes > 1
    for index, slot in enumerate(recipe.held_out):
        path, component = f"held_out[{index}] ({slot.name})", registry.get(JUDGES, slot.name)
        asked = component.kind == "judge" or slot.enrol is not None
        if asked and several:
            faults.append(
                f"{path}: what it costs is counted by one process, and trainer starts several. Set trainer.devices: 1."
            )
        remote = is_remote(slot)
        enrols = slot.enrol is not None
        if remote and enrols == slot.send_originals:
            _, fault = choose_way(True, ("compare", "rank"), originals=slot.send_originals, enrols=enrols)
            faults.append(f"{path}: {fault}")
        if slot.send_originals and not remote:
            faults.append(f"{path}: send_originals is for judges that are not on this machine. Leave it out.")
    return faults


def _strength_faults(
    recipe: Recipe, giving: Sequence[tuple[str, ...]], judging: Sequence[tuple[str, ...]]
) -> list[str]:
    """Return what is wrong with the choice of a strength, given the networks of surrogates and of held-out judges."""
    if recipe.strength is None:
        return []
    faults = []
    choosing = [_network(slot.name, slot.args) for slot in recipe.strength.judges]
    if len(set(choosing)) < len(choosing):
        faults.append("strength.judges: one network is named twice. Name each once.")
    for index, (slot, network) in enumerate(zip(recipe.strength.judges, choosing, strict=True)):
        path = f"strength.judges[{index}]"
        if network in judging:
            faults.append(
                f"{path}: the network of {slot.name!r} is held out in this recipe. A judge that chooses the strength "
                "is no evidence for it any more. Name it in one place only."
            )
        if network in giving:
            faults.append(
                f"{path}: the network of {slot.name!r} gives gradients in this recipe, so escaping it says nothing. "
                "Name another recogniser."
            )
    return faults if recipe.protect is not None else faults + _level_faults(recipe)


def _file_faults(recipe: Recipe) -> list[str]:
    """Return what is wrong with where the protected photos would go."""
    faults = _carrier_faults(recipe)
    if fault := template_fault(recipe.name):
        faults.append(f"name: {fault}")
    if fault := template_fault(recipe.backup, folders=True):
        faults.append(f"backup: {fault}")
    if recipe.in_place:
        if recipe.photos is None:
            faults.append("in_place: replaces photos, but the recipe names none. Set photos.")
        if recipe.format != "same":
            faults.append("in_place: keeps each photo's format. Set format: same.")
        if recipe.name != "{stem}{suffix}":
            faults.append("in_place: keeps each photo's name. Leave name out, or in_place.")
        if recipe.backup == "{stem}{suffix}":
            faults.append("backup: would be the photo itself. Name another file or folder.")
    return faults


def _carrier_faults(recipe: Recipe) -> list[str]:
    """Return what is wrong with where photos come from and go to."""
    faults = []
    if recipe.source.name in ("archive", "frames") and recipe.photos in (None, "-"):
        faults.append(f"photos: the source {recipe.source.name!r} reads what it names. Set photos to one file.")
    if recipe.source.name == "stdin" and recipe.photos is not None:
        faults.append("photos: the source 'stdin' reads one photo from standard input. Leave photos out.")
    for key, slot in (("source", recipe.source), ("sink", recipe.sink)):
        if recipe.in_place and slot.name != "folder":
            faults.append(f"in_place: replaces files where they are, which {key}: {slot.name} has not. Leave it out.")
    return faults


def _licence_faults(recipe: Recipe) -> list[str]:
    """Return a line for every recogniser whose weights are known and not permissive.

    Those of which a recipe gives the file say so only when they are built, where `permission_fault` asks again.
    """
    named = [(f"surrogates[{index}]", slot.name) for index, slot in enumerate(recipe.surrogates)]
    for index, slot in enumerate(recipe.surrogates):
        named += [(f"surrogates[{index}].fallback[{number}]", name) for number, name in enumerate(slot.fallback)]
    named += [(f"held_out[{index}]", judge.name) for index, judge in enumerate(recipe.held_out)]
    choosing = recipe.strength.judges if recipe.strength else []
    named += [(f"strength.judges[{index}]", judge.name) for index, judge in enumerate(choosing)]
    specs = [(path, name, registry.get(JUDGES, name).spec) for path, name in named]
    return [fault for path, name, spec in specs if spec and (fault := permission_fault(path, name, spec.weights))]


def permission_fault(path: str, name: str, weights: Weights) -> str:
    """Return what is wrong with a recogniser in a recipe with ``permissive_only: true``, or nothing.

    Args:
        path: Its key path.
        name: Its registered name.
        weights: Its checkpoint.
    """
    if weights.permissive:
        return ""
    return (
        f"{path} ({name}): its weights are not known to allow products (licence: {weights.licence}), and "
        "permissive_only is true. Name another recogniser ('facecrypt weights list' shows which are permissive)."
    )


def _network(name: str, args: Args) -> tuple[str, ...]:
    """Return what tells one network from another before it is built: its weights, or else name and arguments."""
    spec = registry.get(JUDGES, name).spec
    weights = (spec.weights.source, spec.weights.path) if spec else (name,)
    return *weights, str(sorted(args.items()))
