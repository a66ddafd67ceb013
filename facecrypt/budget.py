"""A budget of SSIM or MS-SSIM: how strong each mask may be so that the face keeps its looks.

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
from facecrypt.naturalness import ms_ssim, ssim
from facecrypt.photos import Photo
from facecrypt.recipe_parts import Budget

_HALVINGS = 10
"""Of the interval in which a size is sought: to a thousandth of it."""
_ROUNDING = 1e-5
"""Differences between the SSIM of a part of a photo and that of the whole."""
_GIVE_WAY = 0.9
_SMALLEST_SHARE = 0.01
"""A mask of size 0 could never grow again; what is still too strong is scaled down at the end."""


def spent(budget: Budget, after: Tensor, before: Tensor, margin: float = 0.0) -> Tensor:
    """Return how much of its budget each face uses up, ``(B,)``: 1 is all of it, more is too much.

    That is (1 - similarity) / (1 - lowest similarity allowed), the larger one where both measures are bounded.

    Args:
        budget: What is allowed; at least one bound.
        after: Face areas under their masks, RGB in [0, 1], ``(B, 3, 112, 112)``.
        before: The original ones.
        margin: How far from its bound a similarity must stay.
    """
    shares = []
    if budget.ssim is not None:
        shares.append(_share(ssim(after, before), budget.ssim + margin))
    if budget.ms_ssim is not None:
        shares.append(_share(ms_ssim(after, before), budget.ms_ssim + margin))
    return torch.stack(shares).amax(dim=0)


def _share(similarity: Tensor, lowest: float) -> Tensor:
    return (1 - similarity.nan_to_num(0.0)).clamp_min(1e-6) / max(1 - lowest, 1e-9)


def next_share(used: Tensor, share: Tensor) -> Tensor:
    """Return the share of epsilon at which a mask would use up its budget, from 0.01 to 1.

    For small masks, 1 - SSIM grows with the square of the mask's size: share / sqrt(used).

    Args:
        used: How much of its budget each face uses up now, as `spent` returns it, ``(B,)``.
        share: Share of epsilon that each mask takes up now, ``(B,)``.
    """
    return (share / used.sqrt()).clamp(_SMALLEST_SHARE, 1)


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
    photo: Photo, faces: Sequence[Face], masks: Sequence[Tensor], epsilon: int, budgets: Sequence[Budget | None]
) -> list[Tensor]:
    """Return the masks of a photo, scaled down where a face of the saved 8-bit photo would miss its budget.

    Needed because masks are upsampled in large faces, averaged over the channels in grey photos, and added up where
    patches overlap. Each face is fitted by itself first; then overlapping faces give way together.

    Args:
        photo: The original.
        faces: The faces that were protected.
        masks: One per face, as `add_masks` takes them.
        epsilon: Largest change of a channel in grey levels.
        budgets: What each aligned face area must keep; None where there is no budget.
    """
    everyone = range(len(faces))
    places = [_place(photo, face) for face in faces]

    def keeps(number: int, sizes: Sequence[float]) -> bool:
        budget = budgets[number]
        if budget is None:
            return True
        scaled = [mask * size for mask, size in zip(masks, sizes, strict=True)]
        window, moved, before = places[number]
        after = face_area(replace(photo, pixels=add_masks(photo, faces, scaled, epsilon, window)), moved)
        # What is as it was keeps every budget, also one so near 1 that rounding alone would miss it.
        return torch.equal(after, before) or spent(budget, after, before, _ROUNDING).item() <= 1

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


def _place(photo: Photo, face: Face) -> tuple[Window, Face, Tensor]:
    """Return the part of a photo that shows a face's patch, the face in that part, and its area in the original."""
    height, width = photo.pixels.shape[:2]
    left, top, side = face.patch
    window = Window(max(left, 0), max(top, 0), min(left + side, width), min(top + side, height))
    before = replace(photo, pixels=photo.pixels[window.top : window.bottom, window.left : window.right])
    corner = np.array([window.left, window.top], np.float32)
    moved = replace(face, landmarks=face.landmarks - corner, patch=Patch(left - window.left, top - window.top, side))
    return window, moved, face_area(before, moved)
