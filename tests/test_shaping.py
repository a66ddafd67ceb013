from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facecrypt.recipe_parts import Shaping
from facecrypt.shaping import Shaper, contrast_sensitivity
from facecrypt.vision import FULL_HD

SIDE = 64


def wave(cycles: int, colour: tuple[float, float, float]) -> Tensor:
    """So many waves across the picture, in a colour."""
    across = torch.cos(2 * math.pi * cycles * torch.arange(SIDE) / SIDE).expand(SIDE, SIDE)
    return torch.tensor(colour).view(1, 3, 1, 1) * across


def shaper(clip: float = 3.0, chroma: float = 1.2, scale: float = 1.0) -> Shaper:
    return Shaper(Shaping(clip, chroma), [scale], SIDE, torch.device("cpu"))


def gain(shape: Shaper, picture: Tensor) -> float:
    return (shape(picture).norm() / picture.norm()).item()


def degrees(cycles: int, scale: float = 1.0) -> float:
    return cycles / SIDE * FULL_HD.pixels_per_degree / scale


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("cycles", [1, 4, 10, 16, 30])
def test_luminance_follows_its_formula(cycles: int, scale: float) -> None:
    frequency = degrees(cycles, scale)
    seen = 2.6 * (0.0192 + 0.114 * frequency) * math.exp(-((0.114 * frequency) ** 1.1)) if frequency >= 2 else 1.0
    # The gradient of something that looks at luminance alone; the step is grey.
    shaped = shaper(scale=scale)(wave(cycles, (0.299, 0.587, 0.114)))
    torch.testing.assert_close(shaped, wave(cycles, (1, 1, 1)) / max(seen, 1 / 3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("cycles", "chroma"), [(1, 3.0), (8, 1.0), (20, 0.3)])
def test_colour_follows_its_formula(cycles: int, chroma: float) -> None:
    factor = 1 / max(chroma * math.exp(-degrees(cycles) / 4), 1 / 3)
    shaped = shaper(chroma=chroma)(wave(cycles, (-0.168736, -0.331264, 0.5)))
    torch.testing.assert_close(shaped, factor * wave(cycles, (0, -0.344136, 1.772)), rtol=1e-3, atol=1e-3)


def test_the_sensitivity_falls_beyond_8_cycles_a_degree() -> None:
    values = contrast_sensitivity(torch.tensor([0.0, 1.0, 8.0, 12.0, 16.0, 19.0]))
    assert values[:2].tolist() == [1, 1]
    assert 0.9 < values[2] <= 1
    assert values[2] > values[3] > values[4] > values[5] > 0.2


def test_little_colour_is_left_where_it_is_seen() -> None:
    red = (0.5, -0.418688, -0.081312)
    assert gain(shaper(chroma=0.6), wave(2, red)) > 3 * gain(shaper(chroma=3), wave(2, red))


def test_it_is_symmetric_and_never_leads_uphill() -> None:
    shape, generator = shaper(), torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 1, 3, SIDE, SIDE, generator=generator)
    assert (shape(one) * two).sum().item() == pytest.approx((one * shape(two)).sum().item(), rel=1e-3)
    assert (shape(one) * one).sum() > 0


def test_each_picture_has_a_scale_of_its_own() -> None:
    both = Shaper(Shaping(), [1.0, 4.0], SIDE, torch.device("cpu"))
    pair = wave(20, (1, 1, 1)).expand(2, -1, -1, -1)
    alone = [shaper(scale=scale)(pair[:1]) for scale in (1.0, 4.0)]
    torch.testing.assert_close(both(pair), torch.cat(alone))
    assert alone[0].norm() > 1.1 * alone[1].norm()
