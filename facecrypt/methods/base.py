"""What a method is: how faces become protected faces, and what it may ask of recognisers on the way.

TIP-IM and its relatives are one method, ``iterative``, that the keys of a recipe set. Any other is a component: it gets
the faces of a batch and returns a change for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.choices import Norm, TargetEmbedding
from facecrypt.errors import FacecryptError, PluginError
from facecrypt.faces.alignment import crop
from facecrypt.faces.patches import WORKING_SIDE, FaceImage
from facecrypt.methods.aims import embed_targets
from facecrypt.methods.calls import Source, embed_crops
from facecrypt.optimizers.base import project
from facecrypt.regions.base import Region
from facecrypt.registry import BUILT_IN
from facecrypt.surrogates.crops import embedder_grid
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target

ITERATIVE = "iterative"
"""The method that is TIP-IM and its relatives."""

Uses = Literal["gradients", "scores", "decisions", "nothing"]
"""What a method learns of a recogniser: embeddings with gradients, the cosine with the own identity, whether that is
still the same person, or nothing."""

OnStep: TypeAlias = Callable[[int, float | None], None]
"""Takes the number of finished iterations and the mean cosine between the protected and the original faces, where that
is known."""


class Masks(NamedTuple):
    """What a method made.

    Attributes:
        masks: One per face, ``(3, S, S)``, on the CPU, at the resolution of the face's `FaceImage`.
        targets: Index of the target that each face approached in the last iteration.
    """

    masks: list[Tensor]
    targets: list[int]


class Asked(NamedTuple):
    """What a method made by asking recognisers.

    Attributes:
        masks: As in `Masks`.
        queries: Pictures of each face that were shown to recognisers.
    """

    masks: list[Tensor]
    queries: list[int]


class Features(NamedTuple):
    """What a surrogate made of N pictures.

    Attributes:
        layer: The outputs of the layer that was asked for, ``(N, F)``.
        embeddings: Unit embeddings, ``(N, D)``.
    """

    layer: Tensor
    embeddings: Tensor


class RefusedError(PluginError):
    """A method asked recognisers for more than it says that it uses."""


class Recognisers:
    """The surrogates of a run as a method may use them; every picture that is shown to one is counted.

    Attributes:
        names: How the recipe calls them.
        targets: Unit embeddings of the targets in each, ``(T, D)``.
        thresholds: The cosine from which each takes two faces for one person; None where nobody measured it.
        queries: Pictures of each face that were shown.

    Args:
        names: How the recipe calls them.
        embedders: The surrogates.
        targets: Unit embeddings of the targets in each, ``(T, D)``.
        faces: The faces.
        uses: What the method may learn.
        origins: Whose each surrogate is, ``built-in`` or a plugin's; built-in by default.
    """

    def __init__(
        self,
        names: Sequence[str],
        embedders: Sequence[Embedder],
        targets: Sequence[Tensor],
        faces: Sequence[FaceImage],
        uses: Uses,
        origins: Sequence[str] = (),
    ) -> None:
        self.names = list(names)
        self.targets = list(targets)
        self.thresholds = [embedder.spec.threshold for embedder in embedders]
        self.queries: Counter[int] = Counter()
        self._embedders, self._faces, self._uses = list(embedders), faces, uses
        given = origins or [BUILT_IN] * len(names)
        self._sources = [Source("surrogate", name, origin) for name, origin in zip(names, given, strict=True)]
        self._originals: list[Tensor] = []
        if uses == "nothing":
            return
        with torch.no_grad():
            self._originals = [
                torch.cat([self._look(face, face.pixels[None], number).embeddings for face in faces])
                for number in range(len(self._embedders))
            ]

    def embed(self, face: int, images: Tensor, recogniser: int = 0) -> Tensor:
        """Return unit embeddings ``(N, D)`` of pictures of a face, differentiable.

        Args:
            face: Number of the face in the batch.
            images: ``(N, 3, S, S)``, RGB in [0, 1], S as in the face's `FaceImage`, on any device.
            recogniser: Number of the surrogate.

        Raises:
            PluginError: If the method says that it uses no gradients.
        """
        self._allow("gradients")
        return self._embed(face, images, recogniser)

    def features(self, face: int, images: Tensor, layer: str | None = None, recogniser: int = 0) -> Features:
        """Return what a layer of a surrogate makes of pictures of a face, differentiable.

        Args:
            face: Number of the face in the batch.
            images: ``(N, 3, S, S)``, RGB in [0, 1], S as in the face's `FaceImage`, on any device.
            layer: Name of a module of its network; None for the unit embeddings.
            recogniser: Number of the surrogate.

        Raises:
            PluginError: If the method says that it uses no gradients.
            FacecryptError: If its network has no such layer.
        """
        self._allow("gradients")
        self.queries[face] += len(images)
        return self._look(self._faces[face], images, recogniser, layer)

    def features_of(self, picture: FaceImage, layer: str | None = None, recogniser: int = 0) -> Features:
        """Return what a layer of a surrogate makes of the face of another person, such as a target, without gradient.

        Args:
            picture: The face.
            layer: Name of a module of its network; None for the unit embeddings.
            recogniser: Number of the surrogate.

        Raises:
            PluginError: If the method says that it uses no gradients.
            FacecryptError: If its network has no such layer.
        """
        self._allow("gradients")
        with torch.no_grad():
            return self._look(picture, picture.pixels[None], recogniser, layer)

    def original(self, face: int, recogniser: int = 0) -> Tensor:
        """Return the unit embedding ``(D,)`` of a face as it was.

        Raises:
            PluginError: If the method says that it uses no gradients.
        """
        self._allow("gradients")
        return self._originals[recogniser][face]

    def similarity(self, face: int, images: Tensor) -> Tensor:
        """Return the cosine with the face as it was, ``(N, R)`` for R surrogates, without gradient.

        Args:
            face: Number of the face in the batch.
            images: ``(N, 3, S, S)``, RGB in [0, 1].

        Raises:
            PluginError: If the method says that it uses no scores.
        """
        self._allow("gradients", "scores")
        return self._similarity(face, images)

    def recognised(self, face: int, images: Tensor) -> Tensor:
        """Return whether each surrogate still takes pictures for the face as it was, ``(N, R)`` bool.

        Args:
            face: Number of the face in the batch.
            images: ``(N, 3, S, S)``, RGB in [0, 1].

        Raises:
            PluginError: If the method says that it uses nothing, or a surrogate has no threshold.
        """
        self._allow("gradients", "scores", "decisions")
        if None in self.thresholds:
            name = self.names[self.thresholds.index(None)]
            raise PluginError(f"surrogate {name!r} has no threshold, so it decides nothing. Name another surrogate.")
        similarity = self._similarity(face, images)
        return similarity >= torch.tensor(self.thresholds, dtype=torch.float32, device=similarity.device)

    def _similarity(self, face: int, images: Tensor) -> Tensor:
        with torch.no_grad():
            columns = [
                self._embed(face, images, number) @ self._originals[number][face]
                for number in range(len(self._embedders))
            ]
        return torch.stack(columns, dim=1)

    def _embed(self, face: int, images: Tensor, recogniser: int) -> Tensor:
        self.queries[face] += len(images)
        return self._look(self._faces[face], images, recogniser).embeddings

    def _look(self, face: FaceImage, images: Tensor, number: int, layer: str | None = None) -> Features:
        embedder = self._embedders[number]
        device, side = next(embedder.buffers()).device, images.shape[-1]
        grid = embedder_grid(embedder, face.landmarks[None], side).to(device)
        images = images.to(device)
        if side > WORKING_SIDE:  # as every face is shrunk before a recogniser sees it: sampled as it is, it would alias
            size = (WORKING_SIDE, WORKING_SIDE)
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        crops = crop(images, grid.expand(len(images), -1, -1, -1))
        if layer is None:
            embeddings = embed_crops(self._sources[number], embedder, crops)
            return Features(embeddings, embeddings)
        return self._at_layer(number, crops, layer)

    def _at_layer(self, number: int, crops: Tensor, layer: str) -> Features:
        embedder, source = self._embedders[number], self._sources[number]
        modules = dict(embedder.network.named_modules())
        kept: list[object] = []
        if layer in modules:
            hook = modules[layer].register_forward_hook(lambda module, args, output: kept.append(output))
            try:
                embeddings = embed_crops(source, embedder, crops)
            finally:
                hook.remove()
        made = [output.flatten(1) for output in kept if isinstance(output, Tensor) and output.ndim > 1]
        # A container whose parts are called one by one has no output of its own, nor has what gives several tensors.
        if not made:
            leaves = [each for each, module in modules.items() if each and not list(module.children())]
            shown = ", ".join(leaves[:_SHOWN]) + (f", ... {leaves[-1]}" if len(leaves) > _SHOWN else "")
            raise FacecryptError(
                f"surrogate {source.name!r} has no layer {layer!r} with an output of its own. Name one of "
                f"{len(leaves)}: {shown or 'none, so leave the layer out'}."
            )
        shapes = [tuple(output.shape[1:]) for output in made]
        if sum(map(len, made)) != len(crops) or len(set(shapes)) > 1:
            came = f"its layer {layer!r} gave {sum(map(len, made))} rows"
            raise source.broken(came, f"features of one length for each of {len(crops)} crops")
        features = torch.cat(made)
        if not features.isfinite().all():
            raise source.broken(f"its layer {layer!r} gave numbers that are not finite", "finite features")
        return Features(features, embeddings)

    def _allow(self, *uses: Uses) -> None:
        if self._uses not in uses:
            raise RefusedError(f"a method that uses {self._uses} asked for {uses[-1]}. Say so in its attribute `uses`.")


_SHOWN = 6
"""Names of layers in a message."""


@dataclass(frozen=True)
class Task:
    """What a method is given: B faces, and the bounds that the recipe sets.

    Attributes:
        faces: The faces, on the CPU, at the photo's own resolution where the method says so.
        boxes: The detector's box of each in pixels of its `FaceImage`: left, top, right, bottom.
        seeds: One per face, for everything random about it.
        recognisers: The surrogates of the recipe.
        epsilon: Radius of the ball, in the [0, 1] scale of pixels.
        step_size: Length of a step, likewise.
        norm: Which ball.
        steps: Number of iterations.
        device: Where the recognisers compute.
        on_step: To be told of the progress; takes the finished iterations and the mean cosine, or None.
        regions: One map per face, where the recipe names a region; see `region`.
        targets: Pictures of the recipe's targets.
    """

    faces: Sequence[FaceImage]
    boxes: Sequence[tuple[float, float, float, float]]
    seeds: Sequence[int]
    recognisers: Recognisers
    epsilon: float
    step_size: float
    norm: Norm
    steps: int
    device: torch.device
    on_step: OnStep
    regions: Sequence[Tensor] = ()
    targets: Sequence[FaceImage] = ()

    def region(self, face: int) -> Tensor:
        """Return the share of the bounds that each pixel of a face may use, ``(1, S, S)``: all where none is named."""
        return self.regions[face] if self.regions else torch.ones_like(self.faces[face].inside)

    def generator(self, face: int) -> torch.Generator:
        """Return a source of random numbers for a face, always the same for the same photo and seed."""
        return torch.Generator().manual_seed(self.seeds[face])

    def project(self, face: int, mask: Tensor) -> Tensor:
        """Return what is nearest to a mask, ``(3, S, S)``, inside the ball, the region and the photo of a face."""
        region = self.region(face).to(mask.device) if self.regions else None
        if region is not None and self.norm == "l2":
            mask, region = mask * (region > 0), None  # How much of it is allowed where counts once, in the end.
        return within(mask, self.faces[face], self.epsilon, self.norm, region)


class Method(Protocol):
    """How faces become protected faces.

    Attributes:
        uses: What it learns of recognisers.
        bounded: Whether the recipe's epsilon bounds what it changes; not so where it is to be seen, as a blur.
        native: Whether it works on the photo's own pixels, not on patches of at most 192.
    """

    uses: Uses
    bounded: bool
    native: bool

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what is to be added to each face, ``(3, S, S)`` in the [0, 1] scale, on any device."""
        ...


@dataclass(frozen=True)
class Bounds:
    """What a recipe allows a method.

    Attributes:
        epsilon: Radius of the ball, in the [0, 1] scale of pixels.
        step_size: Length of a step, likewise.
        norm: Which ball.
        steps: Number of iterations.
        ceiling: Largest change of a channel under ``l2``; None for none.
        region: Where masks may be; None is everywhere.
    """

    epsilon: float
    step_size: float
    norm: Norm
    steps: int
    ceiling: float | None = None
    region: Region | None = None


class MethodModule(nn.Module):
    """A method as the engine runs it: with the surrogates on a device, and held to its bounds.

    Args:
        method: The method.
        names: How the recipe calls the surrogates.
        embedders: The surrogates.
        targets: The target identities.
        settings: What the recipe allows.
        target_embedding: What of a target's photos counts: ``first`` or ``mean``.
        origins: Whose each surrogate is, as for `Recognisers`.
    """

    def __init__(
        self,
        method: Method,
        names: Sequence[str],
        embedders: Sequence[Embedder],
        targets: Sequence[Target],
        settings: Bounds,
        target_embedding: TargetEmbedding = "first",
        origins: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.method, self.settings, self.names = method, settings, list(names)
        self.embedders, self._origins = list(embedders), list(origins)
        self._moved = nn.ModuleList(self.embedders)
        self._aims = [target.aim for target in targets]
        for number, embedder in enumerate(self.embedders):
            shown = torch.empty(0)
            if method.uses != "nothing":
                shown = embed_targets(embedder, targets, target_embedding)
            self.register_buffer(f"targets_{number}", shown, persistent=False)

    def run(
        self,
        faces: Sequence[FaceImage],
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Sequence[Tensor] | None = None,
        boxes: Sequence[tuple[float, float, float, float]] = (),
    ) -> Asked:
        """Return a mask for each face, within the bounds of the recipe and of the photo.

        Args:
            faces: The faces.
            seeds: One per face.
            on_step: Told of the progress.
            start: Masks of a lighter level, which are of no use to a method.
            boxes: The detector's boxes, in pixels of the faces; all of each face by default.
        """
        device = next(self.buffers()).device
        targets: list[Tensor] = [getattr(self, f"targets_{number}") for number in range(len(self.embedders))]
        recognisers = Recognisers(self.names, self.embedders, targets, faces, self.method.uses, self._origins)
        settings = self.settings
        task = Task(
            faces=faces,
            boxes=boxes or [(0.0, 0.0, float(face.pixels.shape[-1]), float(face.pixels.shape[-1])) for face in faces],
            seeds=seeds,
            recognisers=recognisers,
            epsilon=settings.epsilon,
            step_size=settings.step_size,
            norm=settings.norm,
            steps=settings.steps,
            device=device,
            on_step=on_step or (lambda step, similarity: None),
            regions=[settings.region.map(face.pixels, face.landmarks) for face in faces] if settings.region else [],
            targets=self._aims,
        )
        with torch.autocast(device.type, enabled=False):
            made = self.method.protect(task)
        masks = [
            self._bound(mask.detach().cpu(), face, task.region(number) if task.regions else None)
            for number, (mask, face) in enumerate(zip(made, faces, strict=True))
        ]
        return Asked(masks, [recognisers.queries[number] for number in range(len(masks))])

    def _bound(self, mask: Tensor, face: FaceImage, region: Tensor | None) -> Tensor:
        """Return a mask inside the ball, the region and the photo, for which pixels lie in [0, 1]."""
        mask = mask * face.inside
        settings = self.settings
        held = self.method.bounded and settings.norm == "linf"
        if region is not None and not held:
            mask = mask * region
        if not self.method.bounded:
            return (face.pixels + mask).clamp(0, 1) - face.pixels
        if settings.ceiling is not None:
            mask = mask.clamp(-settings.ceiling, settings.ceiling)
        return within(mask, face, settings.epsilon, settings.norm, region)


def within(mask: Tensor, face: FaceImage, epsilon: float, norm: Norm, region: Tensor | None = None) -> Tensor:
    """Return what is nearest to a mask, ``(3, S, S)``, inside the ball and inside the photo.

    Args:
        mask: The mask, on any device.
        face: The face that it is added to.
        epsilon: Radius of the ball, in the [0, 1] scale; under ``l2`` the root mean square change of the face's patch.
        norm: Which ball.
        region: The share of epsilon that each pixel may use, ``(1, S, S)``, where the ball bounds single channels.
    """
    inside, pixels = face.inside.to(mask.device), face.pixels.to(mask.device)
    unit = (3 * face.inside.sum()).sqrt().item() if norm == "l2" else 1.0
    bound = torch.full((1, 1, 1, 1), epsilon * unit, device=mask.device)
    if region is not None and norm == "linf":
        bound = bound * region.to(mask.device)
    return project((mask * inside)[None], pixels[None], bound, norm)[0]
