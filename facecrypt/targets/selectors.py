"""Whom a face is made to resemble: the target identities, and how one of them is chosen at each step."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.checking import suggest
from facecrypt.choices import VIRTUAL, FaceChoice, Trait
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import find_photos, read_photo
from facecrypt.system.naming import expand_home
from facecrypt.system.texts import brief

if TYPE_CHECKING:
    from facecrypt.detectors.search import FaceDetector


@dataclass(frozen=True)
class Target:
    """A target identity.

    Attributes:
        name: How the report calls it.
        aim: The face that masks aim at.
        checks: Other faces of the same identity, which no mask has seen, unless the recipe aims at all of them.
        weight: How much it counts beside the others.
    """

    name: str
    aim: FaceImage
    checks: tuple[FaceImage, ...]
    weight: float = 1.0

    @property
    def faces(self) -> tuple[FaceImage, ...]:
        """All of its faces."""
        return self.aim, *self.checks


def load_targets(
    where: str, limit: int, detector: FaceDetector, choice: FaceChoice, weights: Mapping[str, float] | None = None
) -> list[Target]:
    """Return the target identities of a recipe.

    Args:
        where: ``virtual``, the built-in pack of people who do not exist, or a folder. In a folder, every photo is one
            identity; every subfolder is one too, whose first photo (by name) is aimed at and whose others check the
            result.
        limit: Largest number of identities; the first ones by name are taken.
        detector: Finds the faces.
        choice: ``aligned`` if the photos of a folder are aligned faces themselves.
        weights: How much targets count, by their names; 1 where none is given.

    Raises:
        FacecryptError: If a weight is given to a target that is none of them.
        PhotoError: If the folder or a photo cannot be read or holds no photos.
        NoFaceFoundError: If a photo shows no face.
    """
    folder = expand_home(where)
    if where == VIRTUAL:
        folder = Path(str(resources.files("facecrypt") / "data" / "virtual_targets"))
        choice = "largest"
    if not folder.is_dir():
        raise PhotoError(
            f"targets: {where!r} is no folder. Name a folder of face photos, or {VIRTUAL!r} for the built-in pack."
        )
    groups = {path.name: find_photos(str(path)) for path in sorted(folder.iterdir()) if _is_identity(path)}
    if any(path.is_file() and not path.name.startswith(".") for path in folder.iterdir()) and where != VIRTUAL:
        groups |= {photo.stem: [photo] for photo in find_photos(str(folder))}
    if not groups:
        raise PhotoError(
            f"targets: {folder} holds no photos. Put one photo per target identity there, or a subfolder for each."
        )

    def face(path: Path) -> FaceImage:
        if where != VIRTUAL:
            return _face(path, detector, choice)
        key = path, detector.identity
        if key not in _PACK:
            _PACK[key] = _face(path, detector, choice)
        return _PACK[key]

    chosen, weights = sorted(groups.items())[:limit], weights or {}
    names = [name for name, _ in chosen]
    if unknown := [name for name in weights if name not in names]:
        raise FacecryptError(
            f"target_weights: no target is named {brief(unknown[0])}.{suggest(unknown[0], names)} Known: "
            f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}. max_targets takes the first "
            f"{limit} by name."
        )
    return [
        Target(name, face(paths[0]), tuple(face(path) for path in paths[1:]), weights.get(name, 1.0))
        for name, paths in chosen
    ]


_NAMED = 20
"""Targets that an error names."""


_PACK: dict[tuple[Path, str], FaceImage] = {}
"""The faces of the built-in pack by each detector, which never change: finding them takes longer than protecting a face
in few steps."""


def _is_identity(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "_"))


def _face(path: Path, detector: FaceDetector, choice: FaceChoice) -> FaceImage:
    photo = read_photo(path)
    faces = detector.find(photo, "aligned" if choice == "aligned" else "largest")
    if not faces:
        raise NoFaceFoundError(
            f"targets: {path}: no face found. Use a photo with a larger, frontal face, or remove the file."
        )
    return cut(photo, faces[0])


class Distances(NamedTuple):
    """Squared Euclidean distances between unit embeddings, between 0 and 4, averaged over the surrogates by weight.

    Attributes:
        to_self: From the protected to the original face, D(p, r): ``(...)``.
        to_targets: From the protected face to each of the K targets, D(p, t): ``(..., K)``.
    """

    to_self: Tensor
    to_targets: Tensor


class Person(NamedTuple):
    """A person whom the recipe tells from others, by own photos or as whose photos it protects.

    Attributes:
        name: The person's folder, or what a table says.
        to_targets: Squared distances of the mean of these photos from each target, ``(K,)``, averaged as `Distances`.
    """

    name: str
    to_targets: Tensor


def _alike(_trait: Trait) -> Tensor:
    return torch.zeros(())


@dataclass(frozen=True)
class Situation:
    """What a target selector may look at in one iteration, for B faces and K targets.

    Attributes:
        step: Number of the iteration, from 0.
        previous: Index of each face's target in the last iteration, ``(B,)``; None in the first.
        now: Distances of the faces as they are, ``(B,)`` and ``(B, K)``.
        try_targets: Takes one candidate step towards each of a face's targets that a mask ``(B, K)`` wants, and returns
            the distances after it: ``(B, K)``, and ``(B, K, K)`` with the target stepped towards before the target
            measured, infinite after steps that nobody wanted. Costly: a gradient and a forward pass each.
        draw: Returns a random index below its argument for each face, ``(B,)``, from the face's own seed, or from its
            person's where the photos of one share a target.
        people: Who each of the B faces is; None for one whom the recipe does not know. Empty where it knows nobody.
        apart: Returns how far the original faces are from the targets in a visible trait, ``(B, K)``, see `traits`:
            ``skin`` in degrees, ``sex`` 0 or 1. Costly, so asked for once; 0 by default.
        weights: How much each target counts, ``(K,)``; None where all count alike.
        shared: Whether the photos of one person share a target, so that what is kept must follow from the person.
    """

    step: int
    previous: Tensor | None
    now: Distances
    try_targets: Callable[[Tensor], Distances]
    draw: Callable[[int], Tensor]
    people: Sequence[Person | None] = ()
    apart: Callable[[Trait], Tensor] = _alike
    weights: Tensor | None = None
    shared: bool = False

    @property
    def lasting(self) -> Tensor:
        """The distances by which a target that is kept is chosen, ``(B, K)``: of the person, where that is shared."""
        if not self.shared:
            return self.now.to_targets
        rows = [
            now if person is None else person.to_targets
            for now, person in zip(self.now.to_targets, self.people, strict=True)
        ]
        return torch.stack(rows)

    @property
    def advantage(self) -> Tensor | float:
        """What a target's weight adds to F(t) = D(p, r) - D(p, t): its logarithm, ``(K,)``; 0 where all count alike."""
        return 0.0 if self.weights is None else self.weights.log()

    def pick(self, share: Tensor) -> Tensor:
        """Return the targets at shares of all weights, ``(B,)`` in [0, 1): each target is as wide as it weighs."""
        weights = torch.ones_like(self.now.to_targets[0]) if self.weights is None else self.weights
        ends = weights.double().cumsum(dim=0)
        return torch.searchsorted(ends[:-1].contiguous(), share.double() * ends[-1], right=True)

    @cached_property
    def candidates(self) -> Distances:
        """The distances after a step towards each of all targets, computed on first use."""
        return self.try_targets(torch.ones_like(self.now.to_targets, dtype=torch.bool))


class TargetSelector(Protocol):
    """Chooses, for each face on its own, the target that the next step approaches."""

    def __call__(self, situation: Situation) -> Tensor:
        """Return the index of each face's target, ``(B,)``."""
        ...


Every = Annotated[int, Field(ge=1)]


class Greedy:
    """Greedy insertion (Algorithm 1 of TIP-IM): the target whose candidate step has the largest gain (Eq. 7).

    The gain grows with F(t) = D(p, r) - D(p, t) of the target t that is closest after the step. To first order no step
    raises F(t) as much as the one towards t does, so t can only win by its own step, from where it stands: only targets
    that are close to the best already need to be tried. After a few steps that is one target, which costs nothing.

    Args:
        every: Choose anew at every so many steps and keep the target in between. 1 is the paper's algorithm.
        margin: Try only the targets whose F lies within this squared distance of the largest. None tries all of them at
            every step, which is the paper's algorithm to the letter.
    """

    def __init__(self, *, every: Every = 1, margin: Annotated[float, Field(ge=0, le=8)] | None = 0.25) -> None:
        self.every = every
        self.margin = margin

    def __call__(self, situation: Situation) -> Tensor:
        """Return the first target of largest gain."""
        if situation.previous is not None and situation.step % self.every:
            return situation.previous
        if self.margin is None:
            return gain(situation.candidates, situation.weights).argmax(dim=1)
        away = situation.now.to_targets - situation.advantage
        contested = away <= away.amin(dim=1, keepdim=True) + self.margin
        if not (contested.sum(dim=1) > 1).any():
            return away.argmin(dim=1)
        return gain(situation.try_targets(contested), situation.weights).argmax(dim=1)


class Center:
    """Center-Opt of the paper: Algorithm 1 with the gain G1, which sums over the targets and so seeks their centre.

    Args:
        every: Choose anew at every so many steps and keep the target in between. 1 is the paper's algorithm.
    """

    def __init__(self, *, every: Every = 1) -> None:
        self.every = every

    def __call__(self, situation: Situation) -> Tensor:
        """Return the first target of largest gain."""
        if situation.previous is not None and situation.step % self.every:
            return situation.previous
        return center_gain(situation.candidates, situation.weights).argmax(dim=1)


class Random:
    """A target drawn anew at every step.

    Args:
        keep: Draw one for each face of each photo and keep it, so that the photos of one person are spread over the
            targets. The draw follows from the recipe's seed and the name of the photo.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep

    def __call__(self, situation: Situation) -> Tensor:
        """Return a random target for each face, or the one of the step before."""
        if self.keep and situation.previous is not None:
            return situation.previous
        if situation.weights is None:
            return situation.draw(situation.now.to_targets.shape[1])
        return situation.pick(situation.draw(_FINE) / _FINE)


class Nearest:
    """The target that the face resembles most already: no candidate steps, a tenth of the cost with ten targets."""

    def __init__(self) -> None: ...

    def __call__(self, situation: Situation) -> Tensor:
        """Return the nearest target of each face."""
        return (situation.now.to_targets - situation.advantage).argmin(dim=1)


class Farthest:
    """The target that the face resembles least at first, kept throughout: no candidate steps.

    The way there leads farthest from the own identity. Faces are then seldom taken for the target itself.
    """

    def __init__(self) -> None: ...

    def __call__(self, situation: Situation) -> Tensor:
        """Return the farthest target of each face, or the one of the step before."""
        return (
            (situation.lasting + situation.advantage).argmax(dim=1)
            if situation.previous is None
            else situation.previous
        )


class MatchedFar:
    """The target that the face resembles least among those that look like it in skin and sex, kept throughout.

    Of the targets of the same apparent sex (of all, where there is none), the share that is nearest in skin is looked
    at. Both are guesses from pixels, which light and chance can turn.

    Args:
        skin: Share of the targets that may be chosen, those of nearest skin; 1 is whatever the skin.
        sex: Whether the apparent sex matters. The guess needs dlib's recogniser.
    """

    def __init__(self, *, skin: Annotated[float, Field(gt=0, le=1)] = 0.3, sex: bool = True) -> None:
        self.skin = skin
        self.sex = sex

    def __call__(self, situation: Situation) -> Tensor:
        """Return the farthest matching target of each face, or the one of the step before."""
        if situation.previous is not None:
            return situation.previous
        away = situation.now.to_targets
        matches = torch.ones_like(away, dtype=torch.bool)
        if self.sex:
            same = (situation.apart("sex") == 0).expand_as(away)
            matches = same | ~same.any(dim=1, keepdim=True)
        if self.skin < 1:
            ranks = situation.apart("skin").expand_as(away).masked_fill(~matches, math.inf).argsort(dim=1, stable=True)
            counts = (matches.sum(dim=1, keepdim=True) * self.skin).ceil()
            near = torch.arange(away.shape[1], device=away.device) < counts
            matches = torch.zeros_like(matches).scatter(1, ranks, near)
        return (away + situation.advantage).masked_fill(~matches, -math.inf).argmax(dim=1)


class Persistent:
    """One target for all photos of a person, drawn by a salted hash of who that is.

    Who a face is tell the recipe's ``own_photos``; the target is then one of the half that is farthest from the mean of
    these photos. All others, or all faces where the recipe names no such photos, share the target that the salt alone
    draws. Whoever does not know the salt cannot tell from a person's photos where the protected ones lead.

    Args:
        salt: Any number. Keep it to keep the targets; kept secret, it keeps them secret.
    """

    def __init__(self, *, salt: Annotated[int, Field(ge=0, lt=2**63)] = 0) -> None:
        self.salt = salt

    def __call__(self, situation: Situation) -> Tensor:
        """Return the target of each face's person, or the one of the step before."""
        if situation.previous is not None:
            return situation.previous
        faces, count = situation.now.to_targets.shape
        weights = None if situation.weights is None else situation.weights.tolist()
        chosen = [self._choose(person, count, weights) for person in situation.people or [None] * faces]
        return torch.tensor(chosen, device=situation.now.to_targets.device)

    def _choose(self, person: Person | None, count: int, weights: list[float] | None) -> int:
        name = "" if person is None else person.name
        digest = hashlib.sha256(f"{self.salt}/{name}".encode(errors="surrogateescape")).digest()
        drawn = int.from_bytes(digest[:8], "big")
        among: list[int] = list(range(count))
        if person is not None:
            among = person.to_targets.argsort(descending=True, stable=True)[: math.ceil(count / 2)].tolist()
        if weights is None:
            return among[drawn % len(among)]
        ends = list(accumulate(weights[target] for target in among))
        return among[bisect(ends[:-1], drawn / 2**64 * ends[-1])]


class Fixed:
    """One target throughout, as single-target methods use.

    Args:
        index: Which target, counted from 0 in the order of their names.
    """

    def __init__(self, *, index: Annotated[int, Field(ge=0)] = 0) -> None:
        self.index = index

    def __call__(self, situation: Situation) -> Tensor:
        """Return the fixed target for each face.

        Raises:
            FacecryptError: If there are not so many targets.
        """
        faces, targets = situation.now.to_targets.shape
        if self.index >= targets:
            raise FacecryptError(
                f"target_selector fixed: index {self.index} of {targets} targets. Allowed: 0 to {targets - 1}."
            )
        return torch.full((faces,), self.index, device=situation.now.to_targets.device)


_FINE = 1 << 24
"""Steps in which a share of all weights is drawn."""


def gain(distances: Distances, weights: Tensor | None = None) -> Tensor:
    """Return the gain of Eq. 7: log(1 + max over targets of w(t) exp(D(p, r) - D(p, t))), ``(...)``.

    Args:
        distances: The distances.
        weights: The weights w of the K targets, ``(K,)``; 1 each, as in the paper, where there are none.
    """
    terms = (distances.to_self.unsqueeze(-1) - distances.to_targets).exp()
    return torch.log1p((terms if weights is None else terms * weights).amax(dim=-1))


def center_gain(distances: Distances, weights: Tensor | None = None) -> Tensor:
    """Return the gain G1 of section 5.1: log(1 + sum over targets of w(t) exp(D(p, r) - D(p, t))), ``(...)``.

    Args:
        distances: The distances.
        weights: As for `gain`.
    """
    terms = (distances.to_self.unsqueeze(-1) - distances.to_targets).exp()
    return torch.log1p((terms if weights is None else terms * weights).sum(dim=-1))
