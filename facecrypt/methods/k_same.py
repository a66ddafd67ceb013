"""k-Same (Newton, Sweeney & Malin, TKDE 2005): the mean of the k nearest faces in place of a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.methods.aligned import align, arcface, replace_face
from facecrypt.methods.base import Task, Uses

_SIZE, _MARGIN = 144, 0.12
"""Side of an aligned face in pixels, and how far it reaches beyond ArcFace's crop."""


class KSame:
    """k-Same-Pixel: each face becomes the mean of the k aligned faces that are nearest to it, pixel by pixel.

    They are the recipe's targets (`max_targets`), so nobody of the photo takes part in the mean; in the paper, the
    gallery holds the face itself, and whom one finds by the result is one of k people. Here it is none of them.

    Args:
        k: Number of faces in the mean; all where there are fewer targets.
        feather: Width over which the mean fades in from its border, as a share of its size.
    """

    uses: Uses = "nothing"
    bounded = False
    native = True

    def __init__(
        self,
        *,
        k: Annotated[int, Field(ge=1, le=1000)] = 5,
        feather: Annotated[float, Field(ge=0, le=0.5)] = 0.15,
    ) -> None:
        self.k, self.feather = k, feather

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what turns each face into a mean of others.

        Raises:
            FacecryptError: If there are no targets.
        """
        if not task.targets:
            raise FacecryptError("method k_same: needs faces to take the mean of. Name some in targets.")
        template = arcface(_SIZE, _MARGIN)
        others = torch.stack([align(each, template, _SIZE) for each in task.targets])
        masks = []
        for face in task.faces:
            own = align(face, template, _SIZE)
            mean = others[nearest(own, others, self.k)].mean(dim=0)
            masks.append(replace_face(face, mean, template, self.feather) - face.pixels)
        return masks


def nearest(face: Tensor, others: Tensor, k: int) -> Tensor:
    """Return the numbers of the k pictures ``(N, C, H, W)`` at the least Euclidean distance from one ``(C, H, W)``."""
    return (others - face).square().sum(dim=(1, 2, 3)).argsort(stable=True)[:k]
