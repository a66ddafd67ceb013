"""A budget of SSIM: how strong each mask may be so that the face keeps its looks.

During the loop, each face's epsilon follows its budget with one measurement a step. At the end, and once more on the
photo that is saved, the mask is scaled to what fits, by bisection. What is measured is always in whole grey levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from facecrypt.faces import Face, Patch, Window, add_masks, face_area
from facecrypt.naturalness import ssim
from facecrypt.photos import Photo

_HALVINGS = 10
"""Of the interval in which a size is sought: to a thousandth of it."""
_ROUNDING = 1e-5
"""Differences between the SSIM of a part of a photo and that of the whole."""
_GIVE_WAY = 0.9
_SMALLEST_SHARE = 0.01
"""A mask of size 0 could never grow again; what is still too strong is scaled down at the end."""


def next_share(similarity: Tensor, budget: float, share: Tensor) -> Tensor:
    """Return the share of epsilon at which a mask would use up its budget, from 0.01 to 1.

    For small masks, 1 - SSIM grows with the square of the mask's size: share * sqrt((1 - budget) / (1 - SSIM)).

    Args:
        similarity: SSIM of each face under its mask, ``(B,)``.
        budget: Lowest SSIM allowed.
        share: Share of epsilon that each mask takes up now, ``(B,)``.
    """
    room = ((1 - budget) / (1 - similarity).clamp_min(1e-6)).sqrt()
    return (share * room).clamp(_SMALLEST_SHARE, 1)


def largest_fit(fits: Callable[[Tensor], Tensor], high: Tensor) -> Tensor:
    """Return, by bisection, the largest number of each face for which a condition was seen to hold; 0 where for none.

    Args:
        fits: Says of ``(B,)`` numbers whether each one's condition holds, ``(B,)`` bool. It holds below some limit.
        high: Upper ends of the search, ``(B,)``, which are tried first.
    """
    low = torch.where(fits(high), high, 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        held = fits(middle)
        low, high = torch.where(held, middle, low), torch.where(held, high, middle)
    return low


def fit_photo(
    photo: Photo, faces: Sequence[Face], masks: Sequence[Tensor], epsilon: int, budgets: Sequence[float | None]
) -> list[Tensor]:
    """Return the masks of a photo, scaled down where a face of the saved 8-bit photo would miss its budget.

    Needed because masks are upsampled in large faces, averaged over the channels in grey photos, and added up where
    patches overlap. Each face is fitted by itself first; then overlapping faces give way together.

    Args:
        photo: The original.
        faces: The faces that were protected.
        masks: One per face, as `add_masks` takes them.
        epsilon: Largest change of a channel in grey levels.
        budgets: Lowest SSIM allowed of each aligned face area; None where there is no budget.
    """
    everyone = range(len(faces))

    def keeps(number: int, sizes: Sequence[float]) -> bool:
        budget = budgets[number]
        if budget is None:
            return True
        scaled = [mask * size for mask, size in zip(masks, sizes, strict=True)]
        return _saved_ssim(photo, faces, scaled, epsilon, number) >= budget + _ROUNDING

    def fits_alone(number: int) -> Callable[[Tensor], Tensor]:
        return lambda size: torch.tensor([keeps(number, [size.item() * (other == number) for other in everyone])])

    sizes = [largest_fit(fits_alone(number), torch.ones(1)).item() for number in everyone]
    while missed := [number for number in everyone if not keeps(number, sizes)]:
        # Only the masks of neighbours can be in the way now: those that overlap give way together.
        involved = {other for other in everyone for number in missed if _overlap(faces[number], faces[other])}
        sizes = [size * _GIVE_WAY if number in involved else size for number, size in enumerate(sizes)]
    return [mask * size for mask, size in zip(masks, sizes, strict=True)]


def _overlap(a: Face, b: Face) -> bool:
    near = (b.patch.left - a.patch.left, b.patch.top - a.patch.top)
    return all(-b.patch.side < distance < a.patch.side for distance in near)


def _saved_ssim(photo: Photo, faces: Sequence[Face], masks: Sequence[Tensor], epsilon: int, number: int) -> float:
    """Return the SSIM of one face in the saved photo, of which only that face's patch is made."""
    face = faces[number]
    height, width = photo.pixels.shape[:2]
    left, top, side = face.patch
    window = Window(max(left, 0), max(top, 0), min(left + side, width), min(top + side, height))
    before = replace(photo, pixels=photo.pixels[window.top : window.bottom, window.left : window.right])
    after = replace(photo, pixels=add_masks(photo, faces, masks, epsilon, window))
    corner = np.array([window.left, window.top], np.float32)
    moved = replace(face, landmarks=face.landmarks - corner, patch=Patch(left - window.left, top - window.top, side))
    return ssim(face_area(after, moved), face_area(before, moved)).item()
