"""How much of what a budget lets people see a changed face uses up, with gradients.

JOD and FLIP disagree about what shows: one forgives strong changes of few pixels less than the other, and one minds
smooth changes more. Neither knows that the picture is a face, in which people watch the colour of the eyes, and folds
that come. Where several are bounded, the one that is nearest to its bound counts.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.faces.alignment import crop, face_grid
from facecrypt.recipe.schema import Budget
from facecrypt.vision.colour_difference import delta_e_of_parts
from facecrypt.vision.creases import creases
from facecrypt.vision.eye import FULL_HD, Eye
from facecrypt.vision.flip import PIXELS_PER_DEGREE, Flip

_SMALLEST = 16
"""Fewest pixels each way that `Eye` looks at."""
_DILUTED_JOD, _DILUTED_FLIP = 0.85, 0.735
"""Part of the difference that is left where the unchanged surroundings of a patch are looked at, too: a twelfth of its
side around it. FLIP takes the mean over the area, (6 / 7) squared; JOD the root of mean squares."""
_ENLARGED = 0.97
"""The same for a picture that is enlarged, as an eye sees it that comes twice as near: enlarging also sharpens."""
_POWER = 8
"""Of the norm that joins the shares where gradients are needed: nearly the largest, and smooth."""


class Visibility:
    """Watches one face of a batch, whose patch may be shrunk.

    Args:
        original: The patch, RGB in [0, 1], ``(1, 3, S, S)``.
        landmarks: ``(5, 2)``, x, y in pixels of it.
        budget: With a bound of JOD, FLIP, the colour difference or creases at least.
        scale: Pixels of the photo for one of the patch.
        fit: By which the photo is shrunk to be seen as a whole, which FLIP looks at.
    """

    def __init__(
        self, original: Tensor, landmarks: Tensor, budget: Budget, scale: float = 1.0, fit: float = 1.0
    ) -> None:
        measures = ((delta_e_of_parts, budget.delta_e), (creases, budget.creases))
        self._measures = [(measure, 1 / bound) for measure, bound in measures if bound is not None]
        self._grid = face_grid(landmarks.unsqueeze(0), original.shape[-1]).to(original.device)
        self._area = crop(original, self._grid)
        original = _large_enough(original)
        ppd = FULL_HD.pixels_per_degree / scale
        self._eyes: list[tuple[Eye, float]] = []
        if budget.jod is not None:
            display = replace(FULL_HD, pixels_per_degree=ppd)
            self._eyes.append((Eye(original, display), _DILUTED_JOD / (10 - budget.jod)))
        if budget.enlarged is not None:
            display = replace(FULL_HD, pixels_per_degree=ppd / 2)
            self._eyes.append((Eye(original, display), _ENLARGED / (10 - budget.enlarged)))
        self._flip: tuple[Flip, float] | None = None
        if budget.flip is not None:
            self._flip = Flip(original, PIXELS_PER_DEGREE / (scale * fit)), _DILUTED_FLIP / budget.flip

    def shares(self, changed: Tensor) -> Tensor:
        """Return how much of each bound a changed patch uses up, ``(K,)``: 1 is all of it, more is too much.

        Args:
            changed: RGB in [0, 1], ``(1, 3, S, S)``.
        """
        area = crop(changed, self._grid) if self._measures else changed
        shares = [(factor * measure(area, self._area)).flatten() for measure, factor in self._measures]
        changed = _large_enough(changed)
        shares += [factor * (10 - eye.jod(changed)) for eye, factor in self._eyes]
        if self._flip is not None:
            flip, factor = self._flip
            shares.append(factor * flip.error(changed))
        return torch.cat(shares)

    def joined(self, changed: Tensor) -> Tensor:
        """Return a smooth bound from above, ``()``, of the largest share, with a gradient from all that are near it.

        Args:
            changed: RGB in [0, 1], ``(1, 3, S, S)``.
        """
        norm: Tensor = torch.linalg.vector_norm(self.shares(changed).clamp_min(1e-4), ord=_POWER)
        return norm


def watches(budget: Budget | None) -> bool:
    """Return whether a budget bounds what `Visibility` watches."""
    return budget is not None and any(
        bound is not None for bound in (budget.jod, budget.enlarged, budget.flip, budget.delta_e, budget.creases)
    )


def _large_enough(patch: Tensor) -> Tensor:
    missing = max(0, _SMALLEST - patch.shape[-1])
    return functional.pad(patch, (0, missing, 0, missing), mode="replicate") if missing else patch
