"""``facecrypt train``: a network that makes masks in one pass, trained on faces by the surrogates of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from facecrypt.engine.class_paths import build_classes
from facecrypt.engine.training import MaskTraining, train
from facecrypt.errors import PhotoError
from facecrypt.methods.aligned import align
from facecrypt.methods.mask_network import SIZE, TEMPLATE, MaskNetwork, write_network
from facecrypt.pipeline.learning import faces_of, require_new, surrogates_of
from facecrypt.recipe.check import Recipe
from facecrypt.recipe.trainer_options import given_options
from facecrypt.system import limits

_FEWEST = 4
"""Faces, one of which is kept to see how well the network does."""
_BATCH = 16


@dataclass(frozen=True)
class Trained:
    """What was trained, told to the user.

    Attributes:
        faces: Faces that it was trained on, those included that were kept to choose the best epoch.
        similarity: Mean cosine of the latter with themselves under their masks.
    """

    faces: int
    similarity: float


def train_generator(recipe: Recipe, output: Path) -> Trained:
    """Train a mask network on the largest face of each photo of a recipe, and write it for the method ``generator``.

    Masks are within `epsilon`. There are `steps` steps of `batch_size` faces each, and fewer where it gets no better.

    Args:
        recipe: Names photos and surrogates.
        output: The file of the network, .safetensors.

    Raises:
        FacecryptError: If there are too few faces, a surrogate cannot be loaded, or the file exists.
        RecipeError: If a class that `trainer` names cannot be made.
    """
    require_new(output, ".safetensors")
    surrogates = surrogates_of(recipe)
    with limits.applied(limits.resolve(recipe.limits)):
        found, _ = faces_of(recipe.photos, recipe.detector, recipe.faces)
    if len(found) < _FEWEST:
        raise PhotoError(f"photos: {len(found)} faces are too few to train on. Name photos of {_FEWEST} at least.")
    faces = torch.stack([align(face, TEMPLATE, SIZE) for face in found])
    batch = _BATCH if recipe.batch_size == "auto" else recipe.batch_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = MaskNetwork(recipe.epsilon / 255)
    training = MaskTraining(network, surrogates, recipe.seed)
    epochs = max(1, round(recipe.steps / math.ceil(len(faces) / batch)))
    arguments = given_options(recipe.trainer) | build_classes(recipe.trainer)
    similarity = train(training, faces, epochs, batch, arguments, recipe.seed)
    write_network(training.network, tuple(each.name for each in surrogates), output)
    return Trained(len(faces), similarity)
