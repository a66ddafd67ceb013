"""``facecrypt learn``: one mask for all photos of a person, from a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from facecrypt.choices import FaceChoice
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.base import OnStep, Recognisers, Task
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.universal import PersonMask, Universal, drawn, learn, write_mask
from facecrypt.photos.files import read_photo
from facecrypt.photos.finding import find_photos
from facecrypt.pipeline.builders import build_detector, build_surrogates
from facecrypt.recipe.check import Recipe
from facecrypt.recipe.face_rules import Faces, face_rules
from facecrypt.recipe.schema import Slot
from facecrypt.registry import build as build_component
from facecrypt.system import limits


@dataclass(frozen=True)
class Learned:
    """What was learned, told to the user.

    Attributes:
        photos: Photos that it was learned from.
        faceless: Photos that show no face, and were left out.
        similarities: Mean cosine of these faces with themselves under the mask, by surrogate.
    """

    photos: int
    faceless: list[Path]
    similarities: dict[str, float]


def learn_person(recipe: Recipe, output: Path, on_step: OnStep | None = None) -> Learned:
    """Learn a mask from the photos that a recipe names, by its surrogates and within its bounds, and write it.

    Of each photo, the largest face is the person's.

    Args:
        recipe: A recipe with the method ``universal``.
        output: The file of the mask, .safetensors.
        on_step: Told of the progress.

    Raises:
        FacecryptError: If the recipe has another method or norm, or a region, no photo shows a face, or the file
            exists.
    """
    method = _method(recipe.method)
    require_new(output, ".safetensors")
    if recipe.norm != "linf":
        raise FacecryptError(f"learn: norm is {recipe.norm}, and masks are learned in the ball linf. Set norm: linf.")
    if recipe.region is not None:
        raise FacecryptError("learn: a mask is learned for the whole face. Leave out region here; a run keeps to it.")
    surrogates = surrogates_of(recipe)
    with limits.applied(limits.resolve(recipe.limits)):
        faces, faceless = faces_of(recipe.photos, recipe.detector, recipe.faces)
    task = learning_task(recipe, surrogates, faces, on_step)
    mask = learn(task, range(len(faces)), method.hull, task.generator(0))
    write_mask(PersonMask(mask.cpu(), tuple(task.recognisers.names)), output)
    return Learned(len(faces), faceless, _similarities(task, mask))


def learning_task(
    recipe: Recipe, surrogates: Sequence[Surrogate], faces: Sequence[FaceImage], on_step: OnStep | None = None
) -> Task:
    """Return what `learn` is given, by a recipe's bounds.

    Args:
        recipe: The recipe.
        surrogates: Its recognisers.
        faces: The person's faces.
        on_step: Told of the progress.
    """
    device = _device(recipe.trainer.accelerator)
    embedders = [surrogate.embedder.to(device) for surrogate in surrogates]
    names = [surrogate.name for surrogate in surrogates]
    origins = [surrogate.origin for surrogate in surrogates]
    return Task(
        faces=faces,
        boxes=[(0.0, 0.0, float(face.pixels.shape[-1]), float(face.pixels.shape[-1])) for face in faces],
        seeds=[recipe.seed] * len(faces),
        recognisers=Recognisers(names, embedders, [torch.empty(0)] * len(names), faces, "gradients", origins),
        epsilon=recipe.epsilon / 255,
        step_size=recipe.step_size / 255,
        norm=recipe.norm,
        steps=recipe.steps,
        device=device,
        on_step=on_step or (lambda step, similarity: None),
    )


def _method(slot: Slot) -> Universal:
    if slot.name != "universal":
        raise FacecryptError(
            f"learn: the recipe's method is {slot.name!r}, which learns nothing. Set method.name: universal."
        )
    # A mask that the recipe names already is not needed to learn another one, and need not exist.
    args = {key: value for key, value in slot.args.items() if key != "mask"}
    method: Universal = build_component("method", "universal", args)
    return method


def faces_of(photos: str | None, slot: Slot, faces: FaceChoice | Faces) -> tuple[list[FaceImage], list[Path]]:
    """Return the largest face of each photo that a recipe names, and the photos that show none.

    Args:
        photos: What it names.
        slot: The detector that finds the faces.
        faces: What it says of them: whether each photo is one aligned face.

    Raises:
        PhotoError: If it names no photos, or one cannot be read.
        NoFaceFoundError: If none shows a face.
    """
    if photos in (None, "-"):
        raise PhotoError("photos: there are none to learn from. Set photos to their folder.")
    detector = build_detector(slot)
    choice: FaceChoice = "aligned" if face_rules(faces).choose == "aligned" else "largest"
    images, faceless = [], []
    for path in find_photos(str(photos), recursive=True):
        photo = read_photo(path)
        found = detector.find(photo, choice)
        images += [cut(photo, face) for face in found]
        faceless += [] if found else [path]
    if not images:
        raise NoFaceFoundError(f"photos: no face found in {photos}. Name photos of faces.")
    return images, faceless


def surrogates_of(recipe: Recipe) -> list[Surrogate]:
    """Return the surrogates of a recipe, all of them.

    Raises:
        FacecryptError: If one cannot be loaded: what is learned without it would be another thing.
    """
    notes: list[str] = []
    surrogates = build_surrogates(recipe, notes)
    if notes:
        raise FacecryptError(f"surrogates: {notes[0]} Name those that can be loaded.")
    return surrogates


def require_new(output: Path, suffix: str) -> None:
    """Refuse a file to write that exists, or has another suffix, before anything takes long."""
    if output.suffix != suffix:
        raise FacecryptError(f"{output}: is written as {suffix}. Name such a file.")
    if output.exists():
        raise FacecryptError(f"{output}: exists already. Name another file, or remove it.")


def _device(asked: str) -> torch.device:
    if asked in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if asked in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _similarities(task: Task, mask: torch.Tensor) -> dict[str, float]:
    result = {}
    with torch.no_grad():
        for each, name in enumerate(task.recognisers.names):
            cosines = []
            for number, face in enumerate(task.faces):
                changed = (face.pixels.to(task.device) + drawn(mask, face)).clamp(0, 1)
                seen = task.recognisers.embed(number, changed[None], each)[0]
                cosines.append((seen @ task.recognisers.original(number, each)).item())
            result[name] = sum(cosines) / len(cosines)
    return result
