"""Where the parts of a face lie in its aligned crop."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from facecrypt.templates import ARCFACE_TEMPLATE

# All in pixels of the aligned 112x112 crop, in which every face has its eyes, nose and mouth in the same places.
CENTRE = (56.0, 64.0)
HALF_AXES = (42.0, 56.0)
"""Half width and half height of the ellipse: from ear to ear, and from the hairline to the chin."""
EDGE = 1.3
"""Where the outside begins, in multiples of the ellipse."""
_EYE, _MOUTH = (9.0, 5.0), (17.0, 8.0)
"""Half width and half height of an eye and of the mouth."""


@cache
def part_maps() -> Tensor:
    """Return where the eyes, the mouth and the skin around them are in an aligned face, ``(3, 112, 112)``, 0 to 1.

    Not to be changed. Eyes and mouth with what surrounds them closely: lids, lips, teeth.
    """
    v, u = torch.meshgrid(torch.arange(112).float(), torch.arange(112).float(), indexing="ij")
    points = torch.stack([u, v], dim=2)
    spots = torch.tensor(ARCFACE_TEMPLATE)

    def blob(centre: Tensor, half_axes: tuple[float, float]) -> Tensor:
        return fade((EDGE - ((points - centre) / torch.tensor(half_axes)).norm(dim=2)) / (EDGE - 1))

    eyes = torch.maximum(blob(spots[0], _EYE), blob(spots[1], _EYE))
    mouth = blob((spots[3] + spots[4]) / 2, _MOUTH)
    skin = blob(torch.tensor(CENTRE), HALF_AXES) * (1 - torch.maximum(eyes, mouth))
    return torch.stack([eyes, mouth, skin])


def fade(x: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and a smooth step between."""
    x = x.clamp(0, 1)
    return x.square() * (3 - 2 * x)
