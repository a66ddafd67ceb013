"""OPOM (Zhong & Deng, TPAMI 2022): one mask per person, learned from a few photos and added to any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aligned import arcface, draw
from facecrypt.methods.base import Task, Uses
from facecrypt.system.naming import given_path
from facecrypt.system.private_files import write_whole
from facecrypt.system.regular import read_regular
from facecrypt.system.texts import PathText

Hull = Literal["affine", "convex", "center"]

SIDE = 144
"""Side of a mask: ArcFace's crop with a margin, which covers the square around a face that masks may change."""
TEMPLATE = arcface(SIDE, margin=16 / 112)
"""Where the landmarks lie in a mask."""

_FORMAT = "facecrypt mask 1"
_MOST_BYTES = 1 << 20
_RANK = 1e-5
"""Singular values below this share of the largest one are rounding."""
_TRIES = 200
"""Steps towards the nearest point of a convex hull."""


class PersonMask(NamedTuple):
    """What was learned of a person.

    Attributes:
        mask: To be added where the landmarks lie as in `TEMPLATE`, ``(3, 144, 144)`` in the [0, 1] scale.
        surrogates: Names of the recognisers by which it was learned.
    """

    mask: Tensor
    surrogates: tuple[str, ...]


class Universal:
    """Adds one mask to every photo of a person: ``facecrypt learn`` makes it, and no gradient is taken to add it.

    The mask lies in aligned coordinates, and is turned and scaled onto the landmarks of each face. The recognisers by
    which it was learned must be surrogates of the recipe, since their verdicts say nothing of others.

    Without a mask, one is learned for each face from that face alone, as `learn` does from a few.

    Args:
        mask: A file by ``facecrypt learn``; empty for none.
        hull: From what each photo moves away while a mask is learned: the affine or the convex hull of the person's
            features, or their mean. OPOM-AffineHull, OPOM-ConvexHull and OPOM-ClassCenter in the paper.
    """

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(self, *, mask: PathText = "", hull: Hull = "affine") -> None:
        self.mask = read_mask(given_path(mask)) if mask else None
        self.file, self.hull = mask, hull

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return the person's mask on each face.

        Raises:
            FacecryptError: If it was learned by recognisers that are no surrogates of the recipe.
        """
        if self.mask is None:
            return [
                drawn(learn(task, [number], self.hull, task.generator(number)), face)
                for number, face in enumerate(task.faces)
            ]
        if unnamed := sorted(set(self.mask.surrogates) - set(task.recognisers.names)):
            raise FacecryptError(
                f"method universal: {self.file} was learned by {', '.join(self.mask.surrogates)}, and "
                f"{', '.join(unnamed)} would judge it as if it had not been. Name all of them under surrogates."
            )
        return [drawn(self.mask.mask, face) for face in task.faces]


def learn(task: Task, photos: Sequence[int], hull: Hull, source: torch.Generator) -> Tensor:
    """Return one mask for photos of a person, ``(3, 144, 144)``, inside the infinity ball.

    max over Delta of sum_i D(f(X_i + Delta), H), ||Delta|| <= epsilon, where H is a hull of the features f(X_j) of the
    photos, D the squared distance from it, and f the unit embeddings of the surrogates, over which D is added:
    Delta <- clip(Delta + step_size sign(grad)). It begins with random signs, a step long, as the gradient at 0 is 0.

    Args:
        task: Holds the photos and the surrogates.
        photos: Numbers of the photos in it.
        hull: Which H.
        source: Draws the signs.
    """
    recognisers = task.recognisers
    surrogates = range(len(recognisers.names))
    features = [torch.stack([recognisers.original(number, each) for number in photos]) for each in surrogates]
    nearest = [_HULLS[hull](each) for each in features]
    delta = task.step_size * (2.0 * torch.randint(2, (3, SIDE, SIDE), generator=source) - 1).to(task.device)
    delta = delta.clamp(-task.epsilon, task.epsilon)
    for step in range(task.steps):
        gradient, cosines = torch.zeros_like(delta), []
        for place, number in enumerate(photos):
            leaf = delta.clone().requires_grad_()
            face = task.faces[number]
            with torch.enable_grad():
                image = (face.pixels.to(task.device) + drawn(leaf, face)).clamp(0, 1)[None]
                f = [recognisers.embed(number, image, each)[0] for each in surrogates]
                away = torch.stack([(own - nearest[each](own.detach())).square().sum() for each, own in enumerate(f)])
                gradient += torch.autograd.grad(away.sum(), leaf)[0]
            cosines += [(own @ features[each][place]).item() for each, own in enumerate(f)]
        delta = (delta + task.step_size * gradient.sign()).clamp(-task.epsilon, task.epsilon)
        task.on_step(step + 1, sum(cosines) / len(cosines))
    return delta


def drawn(mask: Tensor, face: FaceImage) -> Tensor:
    """Return a mask in aligned coordinates, ``(3, 144, 144)``, where it belongs on a face, ``(3, S, S)``."""
    return draw(mask, face, TEMPLATE)


def write_mask(made: PersonMask, path: Path) -> None:
    """Write a person's mask as safetensors, which hold numbers alone.

    Raises:
        FacecryptError: If it cannot be written.
    """
    named = {"format": _FORMAT, "surrogates": "\n".join(made.surrogates)}
    try:
        write_whole(path, [save({"mask": made.mask.contiguous().cpu()}, named)])
    except OSError as error:
        raise FacecryptError(f"{path}: cannot be written ({error.strerror or error}). Name another file.") from error


def read_mask(path: Path) -> PersonMask:
    """Return a person's mask. Nothing in its file is run.

    Raises:
        FacecryptError: If there is no such file, or it is no mask.
    """
    try:
        read_regular(path, _MOST_BYTES)
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise FacecryptError(f"{path}: {what}. Make one: facecrypt learn RECIPE photos=FOLDER -o {path}") from error
    try:
        with safe_open(path, "pt") as file:
            told, mask = file.metadata() or {}, file.get_tensor("mask")
    except Exception as error:  # safetensors has many classes of errors for a file that is none
        raise FacecryptError(f"{path}: is no mask ({type(error).__name__}). Name a file by facecrypt learn.") from error
    fine = mask.shape == (3, SIDE, SIDE) and mask.dtype == torch.float32 and bool((mask.abs() <= 1).all())
    if told.get("format") != _FORMAT or not fine:
        raise FacecryptError(f"{path}: is no mask of this version. Make it anew by facecrypt learn.")
    return PersonMask(mask, tuple(filter(None, told.get("surrogates", "").split("\n"))))


Nearest = Callable[[Tensor], Tensor]
"""Takes a feature ``(D,)`` and returns the nearest point of a hull."""


def affine_hull(features: Tensor) -> Nearest:
    """Return the projection onto {sum_j a_j f_j, sum_j a_j = 1}: mu + U U^T (f - mu), U an orthonormal basis.

    Args:
        features: ``(N, D)``.
    """
    mu = features.mean(dim=0)
    _, sizes, basis = torch.linalg.svd(features - mu, full_matrices=False)
    u = basis[sizes > _RANK * sizes.max().clamp_min(torch.finfo(sizes.dtype).tiny)]
    return lambda f: mu + (f - mu) @ u.T @ u


def convex_hull(features: Tensor) -> Nearest:
    """Return the projection onto {sum_j a_j f_j, sum_j a_j = 1, a >= 0}, by projected gradients in a.

    Args:
        features: ``(N, D)``.
    """
    gram = features @ features.T
    length = 1 / torch.linalg.matrix_norm(gram, 2)

    def nearest(f: Tensor) -> Tensor:
        a = torch.full_like(gram[0], 1 / len(gram))
        ahead, momentum = a, 1.0
        for _ in range(_TRIES):  # with Nesterov's momentum
            moved = on_simplex(ahead - length * (gram @ ahead - features @ f))
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead, a, momentum = moved + (momentum - 1) / following * (moved - a), moved, following
        return a @ features

    return nearest


def centre(features: Tensor) -> Nearest:
    """Return what gives the mean of features ``(N, D)``, whatever the point."""
    mu = features.mean(dim=0)
    return lambda f: mu


def on_simplex(a: Tensor) -> Tensor:
    """Return the nearest point to ``(N,)`` with no negative part and the sum 1 (Duchi et al., ICML 2008, Fig. 1)."""
    ordered = a.sort(descending=True).values
    above = (ordered.cumsum(0) - 1) / torch.arange(1, len(a) + 1, device=a.device)
    return (a - above[(ordered > above).sum() - 1]).clamp_min(0)


_HULLS: dict[Hull, Callable[[Tensor], Nearest]] = {"affine": affine_hull, "convex": convex_hull, "center": centre}
