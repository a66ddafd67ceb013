from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrypt.methods.square import Square
from tests import trying

TEMPLATE = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(7))


def likeness(images: Tensor) -> Tensor:
    return (images * TEMPLATE).mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("iteration", "halvings"),
    [(0, 0), (10, 0), (11, 1), (50, 1), (51, 2), (201, 3), (1001, 4), (2001, 5), (4001, 6), (6001, 7), (8001, 8)],
)
def test_squares_get_smaller_as_in_the_paper(iteration: int, halvings: int) -> None:
    assert Square(p=0.8).side(iteration, 10_000, 1000) == round((0.8 / 2**halvings) ** 0.5 * 1000)
    assert Square(p=0.8).side(iteration // 10, 1_000, 4) >= 1


def test_the_search_is_that_of_the_paper() -> None:
    """Algorithms 1 and 2, one pixel after another, by the same draws."""
    face, steps, epsilon = trying.blank(16), 40, 8 / 255
    draw = torch.Generator().manual_seed(0)
    stripes = torch.randint(2, (3, 1, 16), generator=draw)
    x = [[[0.5 + (epsilon if stripes[c, 0, j] else -epsilon) for j in range(16)] for _ in range(16)] for c in range(3)]
    best = likeness(torch.tensor(x)[None]).item()
    for i in range(1, steps):
        h = Square().side(i, steps, 16)
        r, s = (int(torch.randint(16 - h + 1, (), generator=draw)) for _ in range(2))
        signs = torch.randint(2, (3, 1, 1), generator=draw).flatten().tolist()
        tried = [[list(row) for row in channel] for channel in x]
        for c in range(3):
            for row in range(r, r + h):
                for column in range(s, s + h):
                    tried[c][row][column] = 0.5 + (epsilon if signs[c] else -epsilon)
        if (now := likeness(torch.tensor(tried)[None]).item()) < best:
            x, best = tried, now
    recognisers = trying.Sees(likeness)
    (mask,) = Square().protect(trying.task("scores", [face], recognisers=recognisers, steps=steps))
    assert torch.allclose(face.pixels + mask, torch.tensor(x), atol=1e-6)
    assert len(recognisers.shown) == steps


def test_a_face_is_done_below_a_cosine() -> None:
    recognisers = trying.Sees(likeness)
    start = likeness(trying.blank(16).pixels[None]).item()
    task = trying.task("scores", [trying.blank(16)], recognisers=recognisers, steps=400)
    (mask,) = Square(below=start - 0.002).protect(task)
    assert likeness((trying.blank(16).pixels + mask)[None]).item() < start - 0.002
    assert len(recognisers.shown) < 400
