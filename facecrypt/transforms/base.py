"""What happens to a file after it was published, as a component, and the guard behind which each one is called.

Judges see files after it, adversaries do it to theirs, and the view `published` shows it to the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecrypt import registry
from facecrypt.registry import BUILT_IN, Component
from facecrypt.transforms.entries import Chain, read_entry

Pixels: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)``, RGB."""

_TRIED = 64
"""Side of the part of a first picture in which a transform must do the same twice, in pixels."""


class Transform(Protocol):
    """A change of a whole picture, as a file undergoes it on its way: 8-bit pixels in, 8-bit pixels out."""

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return the picture afterwards, the same for the same pixels.

        Args:
            pixels: ``(H, W, 3)``, RGB, any size from one pixel on; they are left as they are.

        Returns:
            The whole picture, ``(H', W', 3)``: it may be scaled, but neither cropped nor turned, since faces are looked
            for where they were.
        """
        ...


class Published:
    """An entry of a recipe, ready to be applied: its transforms one after the other, each checked at every call.

    Args:
        chain: What the entry means.
    """

    def __init__(self, chain: Chain) -> None:
        self.label = chain.label
        self.is_nothing = chain.is_nothing
        self.is_plain = [(self.label, {})] == list(chain.steps)
        self.meaning = repr(chain.steps)
        self._steps = [
            _Guarded(registry.get("transform", name), registry.build("transform", name, args))
            for name, args in chain.steps
        ]

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return the picture after all of them.

        Raises:
            PluginError: If one of them does not keep its promise.
        """
        for step in self._steps:
            pixels = step(pixels)
        return pixels


def publish(entry: object) -> Published:
    """Return an entry of a recipe, ready to be applied; its errors are those of `read_entry` and of building."""
    return Published(read_entry(entry))


def publish_all(entries: Sequence[object]) -> list[Published]:
    """Return entries of a recipe, ready to be applied."""
    return [publish(entry) for entry in entries]


class _Guarded:
    def __init__(self, component: Component, transform: Transform) -> None:
        if not callable(transform) or isinstance(transform, type):
            raise component.broken(f"was built as {type(transform).__name__}", "a function of pixels")
        self._component, self._transform = component, transform
        self._tried = component.origin == BUILT_IN  # Those are tested.

    def __call__(self, pixels: Pixels) -> Pixels:
        if not self._tried:
            part = np.ascontiguousarray(pixels[:_TRIED, :_TRIED])
            first, second = self._call(part), self._call(part)
            if not np.array_equal(first, second):
                raise self._component.broken(
                    "gave two results for the same pixels", "one: draw random numbers from a seed of its own"
                )
            self._tried = True
        return self._call(pixels)

    def _call(self, pixels: Pixels) -> Pixels:
        before = pixels.copy()
        came = self._component.call(self._transform, pixels)
        expected = "(H, W, 3) in uint8"
        if not isinstance(came, np.ndarray):
            raise self._component.broken(f"returned {type(came).__name__}", f"pixels: {expected}")
        if came.dtype != np.uint8 or came.ndim != 3 or came.shape[2] != 3 or came.size == 0:
            raise self._component.broken(f"returned {came.shape} in {came.dtype}", f"pixels: {expected}")
        if not np.array_equal(pixels, before):
            raise self._component.broken("it changed the pixels that it was given", "new ones, and these as they were")
        return np.ascontiguousarray(came)
