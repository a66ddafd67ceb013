"""What a region is: where the mask of a face may be, by its picture and its landmarks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Region(Protocol):
    """Says where a mask may be, and how strong.

    A region may also have ``start(pixels, landmarks, generator)``, which returns the mask that the loop begins with,
    ``(3, S, S)`` in the [0, 1] scale, such as a plain colour in place of the skin. What of it lies outside the region,
    beyond epsilon or beyond black and white is cut off.
    """

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return the share of epsilon and of each step that the pixels of a face may use.

        Args:
            pixels: The face with what is around it, ``(3, S, S)``, RGB in [0, 1], on the CPU, not to be changed.
            landmarks: Left eye, right eye, nose, left and right mouth corner, ``(5, 2)``: x, y in these pixels.

        Returns:
            ``(1, S, S)``, float32, from 0, nothing, to 1. A hard region has no values between.
        """
        ...
