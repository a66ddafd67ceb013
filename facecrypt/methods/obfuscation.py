"""The classic ways to hide a face: blur, pixelate, darken or cover it. They need no recogniser, and people see them.

They are what identity masks are compared with: how much of the picture must go until a recogniser fails.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecrypt.faces.face import Face

Method = Literal["blur", "pixelate", "darken", "occlude"]


def obfuscate(photo_pixels: NDArray[np.uint8], face: Face, method: Method, strength: float) -> NDArray[np.uint8]:
    """Return the photo with one face hidden; nothing outside the detector's box of the face changes.

    The box is what tools for redaction cover. For an aligned face it is the whole picture. Lengths are relative to its
    longer side, so that a strength means the same at every resolution:

    - ``blur``: Gaussian blur with a standard deviation of `strength` quarters of the longer side;
    - ``pixelate``: squares as wide as `strength` quarters of the longer side, in their mean colours;
    - ``darken``: grey levels are multiplied by ``1 - strength``;
    - ``occlude``: a black rectangle in the middle, of the box's proportions, covers a share `strength` of the box.

    Args:
        photo_pixels: ``(H, W, 3)``, RGB in 0..255; not changed.
        face: The face, from `facecrypt.detectors.search.FaceDetector`.
        method: How it is hidden.
        strength: From 0 (not at all) to 1.

    Returns:
        ``(H, W, 3)``, RGB in 0..255.

    Raises:
        ValueError: If the pixels have another shape or type, the method is unknown, or the strength is out of range.
    """
    if photo_pixels.ndim != 3 or photo_pixels.shape[2] != 3 or photo_pixels.dtype != np.uint8:
        raise ValueError(f"photo_pixels are {photo_pixels.dtype} {photo_pixels.shape}, expected uint8 (H, W, 3)")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}, it must lie between 0 and 1")
    result = photo_pixels.copy()
    rows, columns = _box(face, *photo_pixels.shape[:2])
    region = torch.from_numpy(result[rows, columns]).permute(2, 0, 1)[None].float()
    if region.numel() == 0:
        return result
    hidden = hide(region, method, strength)
    result[rows, columns] = hidden[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    return result


def _box(face: Face, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of every pixel that the box touches, inside the photo."""
    left, top, right, bottom = face.box
    rows = slice(max(math.floor(top), 0), max(min(math.ceil(bottom), height), 0))
    columns = slice(max(math.floor(left), 0), max(min(math.ceil(right), width), 0))
    return rows, columns


def hide(region: Tensor, method: Method, strength: float) -> Tensor:
    """Return the hidden face of pixels ``(1, 3, H, W)`` in grey levels; `method` and `strength` as in `obfuscate`."""
    height, width = region.shape[2:]
    extent = strength * max(height, width) / 4
    match method:
        case "blur":
            if extent == 0:
                return region
            # Repeating the border keeps the colours around the face out of the blur, and so the box in its place.
            reach = 2 * math.ceil(3 * extent) + 1
            return gaussian_blur2d(region, reach, (extent, extent), border_type="replicate")
        case "pixelate":
            block = max(1, round(extent))
            means = functional.avg_pool2d(region, block, ceil_mode=True)  # At the border, of what is there.
            return means.repeat_interleave(block, 2).repeat_interleave(block, 3)[..., :height, :width]
        case "darken":
            return region * (1 - strength)
        case "occlude":
            covered = region.clone()
            share = math.sqrt(strength)
            rows, columns = round(share * height), round(share * width)
            top, left = (height - rows) // 2, (width - columns) // 2
            covered[..., top : top + rows, left : left + columns] = 0
            return covered
        case _:
            raise ValueError(f"no obfuscation named {method!r}. Known: blur, darken, occlude, pixelate.")
