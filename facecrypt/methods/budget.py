"""A budget of JOD, FLIP, SSIM, MS-SSIM, colour or creases: how strong a mask may be so that the face keeps its looks.

During the loop, masks stay within their budget: `facecrypt.methods.iterative.batch.Batch`. At the end, and once more on
the photo that is saved, the mask is scaled to what fits, by bisection. What is measured is in whole grey levels, and at
last as the file shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecrypt.evaluation.looks import Look, place_to_look
from facecrypt.faces.face import Face, Patch, Window
from facecrypt.faces.patches import add_masks, face_area
from facecrypt.naturalness.base import ms_ssim, ssim
from facecrypt.photos.files import Photo
from facecrypt.recipe.schema import Budget
from facecrypt.vision.colour_difference import delta_e
from facecrypt.vision.creases import creases
from facecrypt.vision.eye import FULL_HD

Pixels = NDArray[np.uint8]

_TRIES = 10
_AIM, _ENOUGH = 0.996, 0.99
"""Shares of a budget: what the search aims at, and from where on it is content."""
_EDGE = 0.02
"""Share of a bracket by which each try shortens it at least."""
"""Of the interval in which a size is sought: to a thousandth of it."""
_ROUNDING = 1e-5
"""Differences between the SSIM of a part of a photo and that of the whole."""
_NOTHING = 1e-3
"""Share of a bound that rounding alone uses up."""
_GIVE_WAY = 0.9
_SAVINGS = 12
"""How often a lossy file is tried with smaller masks: two or three times are enough."""
_SMALLEST_SHARE = 0.01
"""A mask of size 0 could never grow again; what is still too strong is scaled down at the end."""


def spent(budget: Budget, after: Tensor, before: Tensor, margin: float = 0.0) -> Tensor:
    """Return how much of its budget each face area uses up, ``(B,)``: 1 is all of it, more is too much.

    That is (1 - similarity) / (1 - lowest similarity allowed) of SSIM and MS-SSIM, and the share of the bound of the
    colour difference and of creases; the largest where several are bounded, and 0 where none is. JOD and FLIP do not
    count here.

    Args:
        budget: What is allowed.
        after: Face areas under their masks, RGB in [0, 1], ``(B, 3, 112, 112)``.
        before: The original ones.
        margin: How far from its bound a similarity must stay.
    """
    shares = [after.new_zeros(len(after))]
    if budget.ssim is not None:
        shares.append(_share(ssim(after, before), budget.ssim + margin))
    if budget.ms_ssim is not None:
        shares.append(_share(ms_ssim(after, before), budget.ms_ssim + margin))
    if budget.delta_e is not None:
        shares.append(delta_e(after, before) / budget.delta_e)
    if budget.creases is not None:
        shares.append(creases(after, before) / budget.creases)
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


def largest_fit(used: Callable[[Tensor], Tensor], high: Tensor) -> Tensor:
    """Return the largest number of each face at which what it uses up was seen to be 1 at most; 0 where at none.

    What is used up grows with the number, nearly as a power of it. So the next number that is tried lies where a power
    through both ends of the bracket would use up a little less than 1, and every third time in the middle, which halves
    the bracket whatever the measure does.

    Args:
        used: What ``(B,)`` numbers use up, ``(B,)``.
        high: Upper ends of the search, ``(B,)``, which are tried first.
    """
    low, low_used, high_used = torch.zeros_like(high), torch.zeros_like(high), used(high)
    low, low_used = torch.where(high_used <= 1, high, low), torch.where(high_used <= 1, 1.0, low_used)
    for number in range(1, _TRIES):
        if (low_used >= _ENOUGH).all():
            break
        middle = (low + high) / 2
        if number % 3:
            slope = (high_used / low_used).log() / (high / low).log()
            power = torch.where(low > 0, slope, 2.0).nan_to_num(2.0).clamp_min(0.5)
            near = high * (_AIM / high_used) ** (1 / power)
            edge = _EDGE * (high - low)
            middle = near.nan_to_num(0.0).clamp(low + edge, high - edge)
        here = used(middle)
        held = here <= 1
        low, low_used = torch.where(held, middle, low), torch.where(held, here, low_used)
        high, high_used = torch.where(held, high, middle), torch.where(held, high_used, here)
    return low


@dataclass(frozen=True)
class _Look:
    """A face as its budget sees it: the part of the photo around it, and what the original looks like there."""

    window: Window
    face: Face
    before: Tensor
    look: Look | None
    budget: Budget | None

    def spent(self, photo: Photo, part: Pixels) -> float:
        """Return how much of the budget another version of the part uses up."""
        if self.budget is None:
            return 0.0
        after = face_area(replace(photo, pixels=part), self.face)
        seen = 0.0 if self.look is None else _share_seen(self.budget, self.look.at(part))
        # What is as it was keeps every budget, also one so near 1 that rounding alone would miss it.
        if torch.equal(after, self.before) and seen < _NOTHING:
            return 0.0
        return max(seen, spent(self.budget, after, self.before, _ROUNDING).item())


def fit_photo(
    photo: Photo,
    faces: Sequence[Face],
    masks: Sequence[Tensor],
    epsilon: int,
    budgets: Sequence[Budget | None],
    saved: Callable[[Pixels], Pixels] | None = None,
) -> list[Tensor]:
    """Return the masks of a photo, scaled down where a face of the saved 8-bit photo would miss its budget.

    Needed because masks are upsampled in large faces, averaged over the channels in grey photos, and added up where
    patches overlap, and because a lossy file changes what it is given. Each face is fitted by itself first; then
    overlapping faces give way together. Where writing the photo without any mask misses a budget already, no mask can
    keep it in the file, and it is kept before the photo is written.

    Args:
        photo: The original.
        faces: The faces that were protected.
        masks: One per face, as `add_masks` takes them.
        epsilon: Largest change of a channel in grey levels.
        budgets: What each face must keep; None where there is no budget.
        saved: Returns the pixels, ``(H, W, 3)``, that the file will show of those that are given; by default, the same.
    """
    everyone = range(len(faces))
    looks = [_look(photo, face, budget) for face, budget in zip(faces, budgets, strict=True)]

    def drawn(sizes: Sequence[float], window: Window | None = None) -> Pixels:
        return add_masks(photo, faces, [m * size for m, size in zip(masks, sizes, strict=True)], epsilon, window)

    def spends(number: int, sizes: Sequence[float]) -> float:
        return looks[number].spent(photo, drawn(sizes, looks[number].window))

    def spends_alone(number: int) -> Callable[[Tensor], Tensor]:
        return lambda size: torch.tensor([spends(number, [size.item() * (other == number) for other in everyone])])

    def give_way(missed: Sequence[int], sizes: Sequence[float], factors: Sequence[float]) -> list[float]:
        changed = list(sizes)
        for number, factor in zip(missed, factors, strict=True):
            for other in everyone:
                if _overlap(faces[number], faces[other]):
                    changed[other] = min(changed[other], sizes[other] * factor)
        return changed

    sizes = [
        1.0 if budget is None else largest_fit(spends_alone(number), torch.ones(1)).item()
        for number, budget in enumerate(budgets)
    ]
    # Only the masks of neighbours can be in the way now: those that overlap give way together.
    while missed := [number for number in everyone if spends(number, sizes) > 1]:
        sizes = give_way(missed, sizes, [_GIVE_WAY] * len(missed))
    if saved is not None:

        def shown(sizes: Sequence[float]) -> list[float]:
            pixels = saved(drawn(sizes))
            return [
                look.spent(photo, pixels[w.top : w.bottom, w.left : w.right]) for look in looks for w in [look.window]
            ]

        used = shown(sizes)
        if max(used, default=0.0) > 1:
            # Where the file misses the budget of a face without its mask, the mask is not to blame.
            bare = shown([0.0] * len(sizes))
            for _ in range(_SAVINGS):
                missed = [number for number in everyone if used[number] > 1 > bare[number] and sizes[number] > 0]
                if not missed:
                    break
                # What is spent beyond the file's own part grows with the square of the mask's size.
                shares = [(1 - bare[number]) / max(used[number] - bare[number], 1e-9) for number in missed]
                sizes = give_way(missed, sizes, [min(0.97, 0.99 * max(share, 0.0) ** 0.5) for share in shares])
                used = shown(sizes)
            else:
                sizes = [0.0 if used[number] > 1 > bare[number] else sizes[number] for number in everyone]
    return [mask * size for mask, size in zip(masks, sizes, strict=True)]


def _bounds(budget: Budget) -> dict[str, float]:
    """Return the bounds of what is seen, by the way of looking."""
    bounds = {"monitor": budget.jod, "enlarged": budget.enlarged, "flip": budget.flip}
    return {way: bound for way, bound in bounds.items() if bound is not None}


def _share_seen(budget: Budget, seen: Mapping[str, float]) -> float:
    """Return how much of its bounds of JOD and FLIP a face uses up, the largest share."""
    shares = [
        seen[way] / bound if way == "flip" else (10 - seen[way]) / (10 - bound)
        for way, bound in _bounds(budget).items()
    ]
    return max(shares)


def _overlap(a: Face, b: Face) -> bool:
    near = (b.patch.left - a.patch.left, b.patch.top - a.patch.top)
    return all(-b.patch.side < distance < a.patch.side for distance in near)


def _look(photo: Photo, face: Face, budget: Budget | None) -> _Look:
    window = place_to_look(photo.pixels, face)
    before = replace(photo, pixels=photo.pixels[window.top : window.bottom, window.left : window.right])
    corner = np.array([window.left, window.top], np.float32)
    left, top, side = face.patch
    moved = replace(face, landmarks=face.landmarks - corner, patch=Patch(left - window.left, top - window.top, side))
    ways = [] if budget is None else list(_bounds(budget))
    look = Look(before.pixels, ways, FULL_HD.fit(*photo.pixels.shape[1::-1])) if ways else None
    return _Look(window, moved, face_area(before, moved), look, budget)
