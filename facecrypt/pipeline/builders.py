"""The recognisers of a run: built from a recipe, with fallbacks, licences, and what a reader must know."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from facecrypt import registry
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.digest import detector_identity
from facecrypt.errors import FacecryptError, FacecryptWarning, PluginError, RecipeError, WeightsError
from facecrypt.judges.base import Sworn
from facecrypt.judges.guard import swear_in
from facecrypt.judges.hearing import Enrol, Hearing
from facecrypt.judges.recogniser import RecogniserJudge
from facecrypt.methods.base import Uses
from facecrypt.methods.iterative.boundary import guard
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.iterative.mixup import Mixup
from facecrypt.recipe.check import Recipe, expectation_fault, permission_fault
from facecrypt.recipe.judge_rules import choose_way
from facecrypt.recipe.schema import JudgeSlot, Region, Slot, StrengthChoice
from facecrypt.regions import base as regions
from facecrypt.registry import JUDGES
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import find_fault, require_surrogate


@dataclass
class Crew:
    """The recognisers of a run.

    Attributes:
        surrogates: Those that give gradients.
        judges: Name, recogniser, and whether it also gives gradients: the surrogates and the held-out ones.
        choosers: Name and recogniser of those that choose the strength; none of them is held out.
        hearings: Held-out judges that are asked for their opinion, as services are; not tried yet.
        notes: What a reader of the report must know: fallbacks taken, judges left out, no judge at all.
    """

    surrogates: list[Surrogate] = field(default_factory=list)
    judges: list[tuple[str, Embedder, bool]] = field(default_factory=list)
    choosers: list[tuple[str, Embedder]] = field(default_factory=list)
    hearings: list[Hearing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assemble(recipe: Recipe, uses: Uses = "gradients", enrol: Enrol | None = None, *, ahead: bool = True) -> Crew:
    """Build the recognisers of a recipe, falling back where the recipe allows it.

    Args:
        recipe: A checked recipe.
        uses: What the method learns of the surrogates: where that is nothing, they judge as any other.
        enrol: Reads a folder of people for the judges that may have them; without it, judges that are asked for their
            opinion are left out.
        ahead: Whether these judges are tried now, and not before the first face.

    Raises:
        WeightsError: If a recogniser's weights cannot be loaded and the recipe names no way out.
        RecipeError: If one network would both give gradients and judge, or a licence is not permitted.
    """
    crew = Crew()
    crew.surrogates = build_surrogates(recipe, crew.notes, gradients=uses == "gradients")
    took_part = uses != "nothing"
    crew.judges = [(surrogate.name, surrogate.embedder, took_part) for surrogate in crew.surrogates]
    held_out = sum(not took_part and not find_fault(embedder) for _, embedder, _ in crew.judges)
    quiet = list[str]()
    for index, judge in enumerate(recipe.held_out):
        component = registry.get(JUDGES, judge.name)
        if component.kind == "judge":
            if enrol is not None and (hearing := _hear(index, judge, build_judge(judge), enrol, crew, ahead)):
                held_out += hearing.judges
                crew.hearings.append(hearing)
            continue
        try:
            embedder = build_recogniser(judge.name, judge.args)
        except WeightsError as error:
            if not judge.optional:
                raise
            quiet.append(f"held-out {judge.name} does not judge this run: {error}")
            crew.notes.append(quiet[-1])
            continue
        _permit(recipe.permissive_only, f"held_out[{index}]", judge.name, embedder)
        white_box = any(same_network(embedder, surrogate.embedder) for surrogate in crew.surrogates)
        if white_box and not recipe.allow_white_box:
            raise RecipeError(
                "held_out",
                [f"the network of {judge.name!r} is a surrogate too. Name another, or set allow_white_box: true."],
            )
        if judge.enrol is not None:
            if white_box:
                raise RecipeError("held_out", [f"{judge.name}: its network is a surrogate too, so enrol is of no use."])
            if enrol is not None and (
                hearing := _hear(index, judge, swear_in(component, RecogniserJudge(embedder)), enrol, crew, ahead)
            ):
                hearing.fault = hearing.fault or find_fault(embedder)
                held_out += hearing.judges
                crew.hearings.append(hearing)
            continue
        held_out += not white_box and not find_fault(embedder)
        taken = [*(name for name, _, _ in crew.judges), *(hearing.name for hearing in crew.hearings)]
        crew.judges.append((_unused(judge.name, taken), embedder, white_box))
    crew.notes += [f"{name} could not judge: {fault}" for name, each, _ in crew.judges if (fault := find_fault(each))]
    crew.choosers = build_choosers(recipe.strength, crew.notes, permissive_only=recipe.permissive_only)
    for index, (name, embedder) in enumerate(crew.choosers):
        if any(same_network(embedder, other) for _, other, _ in crew.judges):
            raise RecipeError(
                "strength",
                [f"judges: the network of {name!r} is a surrogate or held out too. Name it in one place only."],
            )
        taken = [*(each for each, _, _ in crew.judges), *(hearing.name for hearing in crew.hearings)]
        crew.choosers[index] = _unused(name, taken), embedder
    if not held_out:
        quiet.append("no held-out recogniser judged this run: what others make of its masks was not measured")
        crew.notes.append(quiet[-1])
    for note in crew.notes:
        if note not in quiet:  # The verdict says whether anybody judged, and the report's notes why not.
            warn(note)
    return crew


def build_judge(slot: JudgeSlot) -> Sworn:
    """Build a judge of the kind `judge`, whose every answer is checked.

    Raises:
        PluginError: If it lacks something of its protocol.
    """
    component = registry.get(JUDGES, slot.name)
    return swear_in(component, registry.build("judge", component.name, slot.args))


def _hear(index: int, slot: JudgeSlot, judge: Sworn, enrol: Enrol, crew: Crew, ahead: bool) -> Hearing | None:
    """Return a judge that was tried, and has whom it may have; None where it is optional and its key is missing.

    Raises:
        RecipeError: If it cannot be asked as the recipe says.
        FacecryptError: If its key is not set.
    """
    way, fault = choose_way(judge.remote, judge.answers, originals=slot.send_originals, enrols=slot.enrol is not None)
    if way is None:
        raise RecipeError("recipe", [f"held_out[{index}] ({slot.name}): {fault}"])
    taken = [*(name for name, _, _ in crew.judges), *(hearing.name for hearing in crew.hearings)]
    enrolment = None if slot.enrol is None else enrol(slot.enrol)
    hearing = Hearing(_unused(slot.name, taken), judge, way, enrolment)
    try:
        if ahead:
            hearing.prepare()
    except FacecryptError as error:
        if not slot.optional:
            raise
        crew.notes.append(f"held-out {slot.name} does not judge this run: {error}")
        return None
    if hearing.fault:
        crew.notes.append(f"{hearing.name} could not judge: {hearing.fault}")
    return hearing


def build_choosers(
    strength: StrengthChoice | None, notes: list[str], *, permissive_only: bool
) -> list[tuple[str, Embedder]]:
    """Build the recognisers that choose the strength; none where the recipe leaves no choice.

    Args:
        strength: What a checked recipe says of the choice; None where there is none.
        notes: Gets a remark for every recogniser that cannot be loaded, where it is optional.
        permissive_only: Whether licences must be permissive.

    Raises:
        WeightsError: If weights cannot be loaded and the recipe names no way out.
        RecipeError: If none is left, one has no threshold or could not judge, two are one network, or a licence is not
            permitted.
    """
    choosers: list[tuple[str, Embedder]] = []
    for index, judge in enumerate(strength.judges if strength else []):
        try:
            embedder = build_recogniser(judge.name, judge.args)
        except WeightsError as error:
            if not judge.optional:
                raise
            notes.append(f"{judge.name} does not help to choose the strength: {error}")
            continue
        path = f"judges[{index}]"
        _permit(permissive_only, f"strength.{path}", judge.name, embedder)
        if embedder.spec.threshold is None:
            fault = f"{path}: the threshold of {judge.name!r} is unknown, so it cannot say when a face has escaped."
            raise RecipeError("strength", [f"{fault} Name another recogniser."])
        if fault := find_fault(embedder):
            if judge.optional:
                notes.append(f"{judge.name} does not help to choose the strength, as it could not judge: {fault}")
                continue
            raise RecipeError("strength", [f"{path}: {judge.name!r} could not judge: {fault}. Name another."])
        if any(same_network(embedder, other) for _, other in choosers):
            raise RecipeError("strength", [f"{path}: the network of {judge.name!r} is named twice. Name each once."])
        choosers.append((_unused(judge.name, [name for name, _ in choosers]), embedder))
    if strength and not choosers:
        raise RecipeError("strength", ["judges: none of them can be loaded and judge. Name one that can."])
    return choosers


class Detectors(NamedTuple):
    """Who finds faces in a run.

    Attributes:
        masks: Finds the faces that masks are made for.
        judges: Finds those that are judged; the same one unless the recipe names another (`receipt.detector`).
    """

    masks: FaceDetector
    judges: FaceDetector


def build_detectors(masks: Slot, judges: Slot | None) -> Detectors:
    """Build the detectors of a run.

    Args:
        masks: Which finds the faces that masks are made for.
        judges: Which finds those that are judged; None for the same.

    Raises:
        WeightsError: If the file of one cannot be used.
        PluginError: If one lacks what a detector has.
    """
    first = build_detector(masks)
    return Detectors(first, first if judges is None else build_detector(judges))


def build_detector(slot: Slot) -> FaceDetector:
    """Build a detector that a checked recipe names; its errors are those of `build_detectors`."""
    component = registry.get("detector", slot.name)
    detector = guard(component, registry.build("detector", slot.name, slot.args))
    return FaceDetector(detector, detector_identity(slot))


def build_region(value: Region | Slot | None) -> regions.Region | None:
    """Build the region that a checked recipe names; None where a mask may be everywhere."""
    if value is None:
        return None
    slot = value if isinstance(value, Slot) else Slot("face", asdict(value))
    built: regions.Region = guard(registry.get("region", slot.name), registry.build("region", slot.name, slot.args))
    return built


def warn(note: str) -> None:
    """Tell the user something that the run survives."""
    warnings.warn(note, FacecryptWarning, stacklevel=3)


def build_surrogates(recipe: Recipe, notes: list[str], *, gradients: bool = True) -> list[Surrogate]:
    """Build the recognisers that give gradients, falling back where the recipe allows it.

    Args:
        recipe: A checked recipe.
        notes: Gets a remark for every fallback taken and every optional one left out.
        gradients: Whether they must give some.

    Raises:
        WeightsError: If weights cannot be loaded and the recipe names no way out.
        RecipeError: If none is left, one network would be used twice, a licence is not permitted, or nothing can be
            expected of masks by those that are left, which `protect` needs.
    """
    surrogates: list[Surrogate] = []
    for index, slot in enumerate(recipe.surrogates):
        try:
            name, embedder = _surrogate(slot.name, slot.args, slot.fallback, notes, gradients)
        except WeightsError as error:
            if not slot.optional:
                raise
            notes.append(f"surrogate {slot.name} gives no gradients in this run: {error}")
            continue
        _permit(recipe.permissive_only, f"surrogates[{index}]", name, embedder)
        if any(same_network(embedder, other.embedder) for other in surrogates):
            raise RecipeError("surrogates", [f"the network of {name!r} would be used twice. Leave one of them out."])
        mixup = Mixup(slot.mixup.probability, slot.mixup.ratio) if slot.mixup else None
        origin = registry.get("surrogate", name).origin
        name = _unused(name, [other.name for other in surrogates])
        surrogates.append(Surrogate(name, embedder, slot.weight, slot.dropout, mixup, origin))
    if not surrogates:
        raise RecipeError("surrogates", ["none of them can be loaded, and all are optional. Name one that is here."])
    if recipe.protect is not None and (fault := expectation_fault([surrogate.name for surrogate in surrogates])):
        raise RecipeError("recipe", [fault, *notes])
    return surrogates


def _surrogate(
    name: str, args: dict[str, Any], fallback: Sequence[str], notes: list[str], gradients: bool
) -> tuple[str, Embedder]:
    try:
        embedder = build_recogniser(name, args)
        if gradients:
            embedder.require_gradients()
            require_surrogate(name, embedder)
        return name, embedder
    except WeightsError as error:
        if not fallback:
            raise
        used, embedder = _surrogate(fallback[0], {}, fallback[1:], notes, gradients)
        notes.append(f"surrogate {name} was replaced by its fallback {used}: {error}")
        return used, embedder


def build_recogniser(name: str, args: Mapping[str, Any]) -> Embedder:
    """Build a registered recogniser.

    Raises:
        WeightsError: If its weights cannot be loaded.
        PluginError: If what its builder returns is no `Embedder`.
    """
    embedder = registry.build("surrogate", name, args)
    if not isinstance(embedder, Embedder):
        raise PluginError(f"surrogate {name!r}: its builder returns {type(embedder).__name__}. Return an Embedder.")
    return embedder


def _permit(permissive_only: bool, path: str, name: str, embedder: Embedder) -> None:
    """Refuse a recogniser of which only its building tells that a recipe with ``permissive_only`` may not have it."""
    fault = permission_fault(path, name, embedder.spec.weights)
    if permissive_only and fault:
        raise RecipeError("recipe", [fault])


def same_network(a: Embedder, b: Embedder) -> bool:
    """Return whether two recognisers have the same weights, so that neither may judge what the other made."""
    first, second = a.spec.weights, b.spec.weights
    same_file = first.sha256 == second.sha256 != ""
    return same_file or (first.source, first.path) == (second.source, second.path)


def _unused(name: str, taken: Sequence[str]) -> str:
    return next(new for new in (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))) if new not in taken)
