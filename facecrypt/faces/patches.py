"""The patch around a face: cut out of a photo to be worked on, and masks put back into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecrypt.faces.alignment import crop, face_grid
from facecrypt.faces.face import Face, Patch, Window
from facecrypt.photos.files import Photo
from facecrypt.vision.eye import FULL_HD

WORKING_SIDE = 192
"""Largest side, in pixels, at which a patch is optimised. A larger face gets a coarser mask, upsampled bilinearly."""

_STRIP_PIXELS = 1 << 20
"""Pixels that are worked on together: large photos would take a dozen times their own memory at once."""


class FaceImage(NamedTuple):
    """A face at the resolution in which it is optimised and judged.

    Attributes:
        pixels: The patch, ``(3, S, S)``, RGB in [0, 1], S at most `WORKING_SIDE`.
        inside: 1 where the patch lies inside the photo, ``(1, S, S)``.
        landmarks: ``(5, 2)``, x, y in pixels of `pixels`.
        scale: Pixels of the photo across one of them, at least 1.
        fit: By which the photo is shrunk to be seen as a whole on a full-HD screen, at most 1.
    """

    pixels: Tensor
    inside: Tensor
    landmarks: Tensor
    scale: float = 1.0
    fit: float = 1.0


def cut(photo: Photo, face: Face, largest: int = WORKING_SIDE) -> FaceImage:
    """Return the patch of a face, shrunk with antialiasing where it is larger than `largest` pixels on a side."""
    left, top, side = face.patch
    working = min(side, largest)
    # Line by line, in one direction and then in the other: all of a large face would be a large tensor.
    narrow = torch.zeros(4, side, working)
    lines = max(1, _STRIP_PIXELS // side)
    for start in range(0, side, lines):
        square = _square_part(photo, face.patch, start, min(start + lines, side))
        narrow[:, start : start + lines] = _shrink(square, (square.shape[1], working))
    square = _shrink(narrow, (working, working))
    landmarks = (torch.from_numpy(face.landmarks) - torch.tensor([left, top]) + 0.5) * (working / side) - 0.5
    fit = FULL_HD.fit(*photo.pixels.shape[1::-1])
    return FaceImage(square[:3], (square[3:] > 0.5).float(), landmarks, side / working, fit)


def face_area(photo: Photo, face: Face) -> Tensor:
    """Return the face area in which naturalness and quality are measured, ``(1, 3, 112, 112)``, RGB in [0, 1].

    Args:
        photo: The original or the protected photo.
        face: The face as it was found in the original.
    """
    image = cut(photo, face)
    # The weights of an interpolation add up to 1 only after rounding: white may come out a hair above it.
    return crop(image.pixels[None], face_grid(image.landmarks[None], image.pixels.shape[-1])).clamp(0, 1)


def _square_part(photo: Photo, patch: Patch, start: int, stop: int) -> Tensor:
    """Return some lines of a patch, ``(4, stop - start, side)``: colours, and 1 where it lies inside the photo."""
    left, top, side = patch
    height, width = photo.pixels.shape[:2]
    rows = slice(max(top + start, 0), max(min(top + stop, height), 0))
    columns = slice(max(left, 0), max(min(left + side, width), 0))
    square = torch.zeros(4, stop - start, side)
    if rows.start < rows.stop and columns.start < columns.stop:
        visible = torch.from_numpy(photo.pixels[rows, columns].copy()).permute(2, 0, 1).float() / 255
        there = (
            slice(rows.start - top - start, rows.stop - top - start),
            slice(columns.start - left, columns.stop - left),
        )
        square[:3, *there] = visible
        square[3, *there] = 1.0
    return square


def _shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[1:] == size:
        return image
    return functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]


def add_masks(
    photo: Photo, faces: Sequence[Face], masks: Sequence[Tensor], epsilon: int, window: Window | None = None
) -> NDArray[np.uint8]:
    """Return the photo with the masks of its faces added, in whole grey levels.

    Args:
        photo: The original.
        faces: The faces that were protected.
        masks: One per face, ``(3, S, S)`` in the [0, 1] scale, at the resolution of `cut`.
        epsilon: Largest change of a channel in grey levels, also where patches overlap.
        window: The part of the photo to return; all of it by default.

    Returns:
        ``(H, W, 3)``; identical to the photo outside the patches. A grayscale photo stays grayscale.
    """
    x0, y0, x1, y1 = window or Window(0, 0, photo.pixels.shape[1], photo.pixels.shape[0])
    result = photo.pixels[y0:y1, x0:x1].copy()
    parts = [
        _MaskPart(patch, mask, max(patch.left, x0), max(patch.top, y0), right, bottom)
        for patch, mask in zip((face.patch for face in faces), masks, strict=True)
        if (right := min(patch.left + patch.side, x1)) > max(patch.left, x0)
        and (bottom := min(patch.top + patch.side, y1)) > max(patch.top, y0)
    ]
    if not parts:
        return result
    left, right = min(part.left for part in parts), max(part.right for part in parts)
    lines = max(1, _STRIP_PIXELS // (right - left))
    for start in range(min(part.top for part in parts), max(part.bottom for part in parts), lines):
        stop = min(start + lines, y1)
        change = np.zeros((stop - start, right - left, 3), np.float32)
        for part in parts:
            part.add(change, left, start)
        if photo.grayscale:
            change = np.repeat(change.mean(axis=2, keepdims=True), 3, axis=2)
        levels = np.rint(change).clip(-epsilon, epsilon).astype(np.int16)
        lines_of_result = result[start - y0 : stop - y0, left - x0 : right - x0]
        lines_of_result[:] = (lines_of_result + levels).clip(0, 255)
    return result


class _MaskPart:
    """The part of a mask that lies inside a window, upsampled bilinearly to the size of its patch.

    That is a convex combination: the bound on the coarse mask holds for every pixel.

    Args:
        patch: Its patch.
        mask: ``(3, S, S)``.
        left: First column inside the window.
        top: First row.
        right: The column after the last one.
        bottom: The row after the last one.
    """

    def __init__(self, patch: Patch, mask: Tensor, left: int, top: int, right: int, bottom: int) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom
        self._patch = patch
        small = mask.shape[-1]
        # Across first, which is little; down only for the lines that are asked for.
        wide = functional.interpolate(mask[None].float().cpu(), size=(small, patch.side), mode="bilinear")[0]
        self._wide = wide[..., left - patch.left : right - patch.left]

    def add(self, change: NDArray[np.float32], left: int, top: int) -> None:
        """Add its grey levels to those of some lines, ``(H, W, 3)``, whose first pixel is at `left` and `top`."""
        first, last = max(self.top, top), min(self.bottom, top + len(change))
        if first >= last:
            return
        small, side = self._wide.shape[1], self._patch.side
        at = ((torch.arange(first, last) - self._patch.top + 0.5) * (small / side) - 0.5).clamp_min(0)
        above = at.floor().long().clamp_max(small - 1)
        weight = (at - above)[:, None]
        below = (above + 1).clamp_max(small - 1)
        lines = self._wide[:, above] * (1 - weight) + self._wide[:, below] * weight
        columns = slice(self.left - left, self.right - left)
        change[first - top : last - top, columns] += lines.permute(1, 2, 0).numpy() * 255
