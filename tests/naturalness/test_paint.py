from __future__ import annotations

import pytest
import torch

from facecrypt.naturalness.paint import INKS, PaintVariation, Printability


@pytest.fixture
def pair(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Two faces in two views, of which some pixels are painted."""
    original, paint = torch.rand(2, 2, 2, 3, 6, 7, generator=generator)
    painted = torch.rand(2, 2, 1, 6, 7, generator=generator) < 0.6
    return torch.where(painted, paint, original), original


def painted(pair: tuple[torch.Tensor, torch.Tensor], face: int, view: int, y: int, x: int) -> bool:
    return bool((pair[0][face, view, :, y, x] - pair[1][face, view, :, y, x]).abs().max() > 0.5 / 255)


def test_variation_is_that_of_the_picture_between_painted_pixels(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = []
    for face in range(2):
        total, count = 0.0, 0
        for view in range(2):
            count += sum(painted(pair, face, view, y, x) for y in range(6) for x in range(7))
            for y in range(5):
                for x in range(6):
                    if not painted(pair, face, view, y, x):
                        continue
                    picture = pair[0][face, view].double()
                    for channel in range(3):
                        across = down = 0.0
                        if painted(pair, face, view, y, x + 1):
                            across = float(picture[channel, y, x + 1] - picture[channel, y, x])
                        if painted(pair, face, view, y + 1, x):
                            down = float(picture[channel, y + 1, x] - picture[channel, y, x])
                        total += (across**2 + down**2) ** 0.5 / 3
        expected.append(total / count)
    assert PaintVariation()(*pair).tolist() == pytest.approx(expected, rel=5e-3)


def test_one_colour_has_no_variation_whatever_is_below(generator: torch.Generator) -> None:
    original = torch.rand(1, 1, 3, 8, 8, generator=generator)
    plain = torch.tensor([0.9, 0.1, 0.3]).view(1, 1, 3, 1, 1).expand_as(original)
    assert PaintVariation()(plain, original).item() == pytest.approx(0, abs=1e-6)


def test_printability_is_the_product_of_distances(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    colours = [(0, 0, 0), (255, 0, 100), (20, 200, 30)]
    expected = []
    for face in range(2):
        scores = []
        for view in range(2):
            for y in range(6):
                for x in range(7):
                    if painted(pair, face, view, y, x):
                        score = 1.0
                        for colour in colours:
                            away = pair[0][face, view, :, y, x].double() - torch.tensor(colour).double() / 255
                            score *= float(away.square().sum().sqrt()) / 3**0.5
                        scores.append(score)
        expected.append(sum(scores) / len(scores))
    assert Printability(colours=colours)(*pair).tolist() == pytest.approx(expected, rel=1e-3)


def test_what_can_be_printed_costs_nothing(generator: torch.Generator) -> None:
    original = torch.rand(1, 1, 3, 4, 4, generator=generator)
    for ink in INKS:
        printed = (torch.tensor(ink) / 255).view(1, 1, 3, 1, 1).expand_as(original)
        assert Printability()(printed, original).item() < 2e-3
    assert Printability()(original, original).item() == 0
