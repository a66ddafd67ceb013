"""Where the loop calls into components: what comes back is checked once, at the call, so that faults have a name.

Components come from plugins, and one that is wrong spoils masks far from where it was called: values that are not
finite, a result cut off from its gradient, a tensor changed in place. `guard` puts a component behind the same protocol
and raises `PluginError` that says which component it is, what came and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecrypt.choices import Norm
from facecrypt.detectors.base import Detector, Found
from facecrypt.errors import PluginError
from facecrypt.gradients.base import Landscape
from facecrypt.methods.base import Method, RefusedError, Task, Uses
from facecrypt.methods.calls import Source
from facecrypt.optimizers.base import State
from facecrypt.regions.base import Region
from facecrypt.registry import BUILT_IN, Component
from facecrypt.targets.selectors import Situation
from facecrypt.views.base import Params

_OUTSIDE = 0.05
"""How far a view may leave the range of pictures, which interpolation does a little."""


class Guard:
    """A component behind the protocol of its kind.

    Attributes:
        methods: The methods of the protocol.
        source: Which component it is.
        wrapped: The component itself.
    """

    methods: ClassVar[tuple[str, ...]]

    def __init__(self, source: Source, wrapped: Any) -> None:
        source.require(wrapped, *self.methods)
        self.source, self.wrapped = source, wrapped

    def __str__(self) -> str:
        return str(self.source)


class _Naturalness(Guard):
    methods = ("__call__",)

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        came = self.source.call(self.wrapped, protected, original)
        faces = protected.shape[0]
        penalty = self.source.check(came, protected, (faces,), torch.float32, "a finite penalty per face")
        self.source.check_graph(penalty, protected)
        return penalty


class _TargetSelector(Guard):
    methods = ("__call__",)

    def __call__(self, situation: Situation) -> Tensor:
        distances = situation.now.to_targets
        faces, count = distances.shape
        came = self.source.call(self.wrapped, situation)
        chosen = self.source.check(came, distances, (faces,), torch.int64, "the index of each face's target")
        if ((chosen < 0) | (chosen >= count)).any():
            raise self.source.broken(f"chose the targets {chosen.tolist()}", f"indices from 0 to {count - 1}")
        return chosen


class _Gradient(Guard):
    methods = ("init", "update")

    def init(self, masks: Tensor) -> State:
        return self.source.call(self.wrapped.init, masks)

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        came, after = self.source.pair(self.source.call(self.wrapped.update, landscape, state))
        masks = landscape.masks
        return self.source.check(came, masks, tuple(masks.shape), masks.dtype, "a gradient per mask"), after


class _Optimizer(Guard):
    methods = ("init", "update")

    def init(self, masks: Tensor) -> State:
        return self.source.call(self.wrapped.init, masks)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        came, after = self.source.pair(self.source.call(self.wrapped.update, gradients, state, norm))
        return self.source.check(came, gradients, tuple(gradients.shape), gradients.dtype, "a step per mask"), after


class _View(Guard):
    methods = ("sample", "apply")

    def sample(self, count: int, side: int) -> Params:
        drawn = self.source.call(self.wrapped.sample, count, side)
        fine = isinstance(drawn, Mapping) and all(
            isinstance(each, Tensor) and each.device.type == "cpu" and each.ndim > 0 and len(each) == count
            for each in drawn.values()
        )
        if not fine:
            raise self.source.broken(
                f"drew {_describe(drawn)}", f"a mapping of names to tensors on the CPU with {count} rows each"
            )
        params: Params = drawn
        return params

    def apply(self, images: Tensor, params: Params) -> Tensor:
        came = self.source.call(self.wrapped.apply, images, params)
        seen = self.source.check(came, images, tuple(images.shape), images.dtype, "the pictures as they are seen")
        self.source.check_graph(seen, images)
        low, high = (value.item() for value in seen.detach().aminmax())
        least, most = (value.item() for value in images.detach().aminmax())
        if low < min(least, 0) - _OUTSIDE or high > max(most, 1) + _OUTSIDE:
            raise self.source.broken(f"returned values from {low:.3g} to {high:.3g}", "pictures in [0, 1]")
        return seen


class _Method(Guard):
    methods = ("protect",)

    def __init__(self, source: Source, method: Method) -> None:
        super().__init__(source, method)
        for name, allowed in (("uses", get_args(Uses)), ("bounded", (True, False)), ("native", (True, False))):
            if (value := getattr(method, name, None)) not in allowed:
                words = ", ".join(map(repr, allowed))
                raise source.broken(f"has {value!r} for its attribute {name!r}", f"one of {words}")
        self.uses, self.bounded, self.native = method.uses, method.bounded, method.native

    def protect(self, task: Task) -> list[Tensor]:
        try:
            came: object = self.source.call(self.wrapped.protect, task)
        except RefusedError as error:
            raise self.source.broken(
                str(error).rstrip("."), f"no more than its attribute `uses`, {self.uses!r}"
            ) from error
        if not isinstance(came, list | tuple) or len(came) != len(task.faces):
            count = f"{len(came)} of them" if isinstance(came, list | tuple) else type(came).__name__
            raise self.source.broken(f"returned {count}", f"a list of {len(task.faces)} tensors, one per face")
        made = []
        for each, face in zip(came, task.faces, strict=True):
            like = face.pixels.to(each.device) if isinstance(each, Tensor) else face.pixels
            shape = tuple(face.pixels.shape)
            made.append(self.source.check(each, like, shape, torch.float32, "what is added to a face"))
        return made


def _describe(drawn: object) -> str:
    if not isinstance(drawn, Mapping):
        return type(drawn).__name__
    parts = [
        f"{name}: {tuple(each.shape)} on {each.device}"
        if isinstance(each, Tensor)
        else f"{name}: {type(each).__name__}"
        for name, each in drawn.items()
    ]
    return "{" + ", ".join(parts) + "}"


class _Detector(Guard):
    methods = ("search",)

    def __init__(self, source: Source, detector: Detector) -> None:
        super().__init__(source, detector)
        if callable(getattr(detector, "search_box", None)):
            self.search_box = self._search_box

    def search(self, pixels: NDArray[np.uint8]) -> Sequence[Found]:
        return self._look(self.wrapped.search, pixels)

    def _search_box(self, pixels: NDArray[np.uint8], box: Sequence[float]) -> Found | None:
        search_box: Callable[..., object] = getattr(self.wrapped, "search_box")  # noqa: B009  # no part of the protocol

        def search(*given: object) -> list[object]:
            return [] if (face := search_box(*given)) is None else [face]

        found = self._look(search, pixels, box)
        return found[0] if found else None

    def _look(self, search: Callable[..., object], pixels: NDArray[np.uint8], *box: Sequence[float]) -> list[Found]:
        # Plugins get pixels of their own, since nobody would know whether they change the photo's.
        given = pixels if self.source.origin == BUILT_IN else pixels.copy()
        came = self.source.call(search, given, *box)
        wanted = "a list of facecrypt.plugin.Found, one per face"
        if isinstance(came, Found) or not isinstance(came, list | tuple):
            raise self.source.broken(f"returned {type(came).__name__}", wanted)
        faces = []
        for face in came:
            if not isinstance(face, Found):
                raise self.source.broken(f"returned {type(face).__name__} among others", wanted)
            self._check(face)
            faces.append(face)
        return faces

    def _check(self, face: Found) -> None:
        for name, value, shape in (("box", face.box, (4,)), ("landmarks", face.landmarks, (5, 2))):
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in "fiu":
                given = f"{value.shape} in {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
                raise self.source.broken(f"found a face with {name} of {given}", f"an array {shape} of numbers")
            if not np.isfinite(value).all():
                raise self.source.broken(f"found a face with {name} {value.tolist()}", "finite numbers")
        left, top, right, bottom = face.box
        if left >= right or top >= bottom:
            raise self.source.broken(f"found a face in the box {face.box.tolist()}", "left, top, right, bottom")
        if len(np.unique(face.landmarks, axis=0)) < 2:
            raise self.source.broken(f"found a face with landmarks {face.landmarks.tolist()}", "five different points")
        if not 0 <= face.probability <= 1:
            raise self.source.broken(f"found a face with the probability {face.probability}", "one from 0 to 1")


class _Region(Guard):
    methods = ("map",)

    def __init__(self, source: Source, region: Region) -> None:
        super().__init__(source, region)
        if callable(getattr(region, "start", None)):
            self.start = self._start

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        came = self.source.call(self.wrapped.map, pixels, landmarks)
        shape = (1, *pixels.shape[1:])
        share = self.source.check(came, pixels, shape, torch.float32, "the share of epsilon at each pixel")
        least, most = (value.item() for value in share.aminmax())
        if least < 0 or most > 1:
            raise self.source.broken(f"returned shares from {least:.3g} to {most:.3g}", "shares from 0 to 1")
        return share.detach()

    def _start(self, pixels: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
        start: Callable[..., object] = getattr(self.wrapped, "start")  # noqa: B009  # no part of the protocol
        came = self.source.call(start, pixels, landmarks, generator)
        return self.source.check(came, pixels, tuple(pixels.shape), torch.float32, "the first mask").detach()


_GUARDS: dict[str, Callable[[Source, Any], Any]] = {
    "method": _Method,
    "detector": _Detector,
    "region": _Region,
    "naturalness": _Naturalness,
    "target_selector": _TargetSelector,
    "gradient": _Gradient,
    "optimizer": _Optimizer,
    "view": _View,
}


GUARDED = tuple(_GUARDS)
"""Kinds whose components are called behind a guard."""


def guard(component: Component, built: Any) -> Any:
    """Return a component behind the protocol of its kind, whose every result is checked.

    Args:
        component: What the registry knows of it: a detector, region, naturalness term and so on.
        built: The component.

    Raises:
        PluginError: If it lacks a method of its protocol.
    """
    return _GUARDS[component.kind](Source(component.kind, component.name, component.origin), built)


def blame(users: Iterable[tuple[object, Callable[[Tensor], Tensor], Tensor]]) -> PluginError | None:
    """Return the error for the first component whose gradient fails or is not finite; None where each is fine alone.

    Gradients are taken of all components together, so a wrong one shows only in the sum. This looks at one by one, and
    is called where something is wrong.

    Args:
        users: Components, each as a function of one tensor, and that tensor.
    """
    for component, function, at in users:
        if not isinstance(component, Guard):
            continue
        leaf = at.detach().clone().requires_grad_()
        try:
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf)
        except PluginError as error:
            return error
        except Exception as error:  # What a component's own backward pass may raise.
            return component.source.broken(f"its gradient raised {type(error).__name__}: {error}", "a gradient")
        if not gradient.isfinite().all():
            count = int((~gradient.isfinite()).sum())
            came = f"its gradient holds {count} of {gradient.numel()} numbers that are not finite"
            return component.source.broken(came, "a finite gradient everywhere")
    return None
