from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.learners.purifier import UNet, learn_purifier
from facecrypt.engine.fitting import Pace
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.templates import ARCFACE_TEMPLATE

SIDE = 16
PEOPLE, TEST = torch.arange(16), range(100, 120)


def faces(count: int, seed: int, side: int = SIDE, *, protected: bool = False) -> list[FaceImage]:
    """Smooth pictures; under protection, with a stripe on every other line and less red."""
    draw = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * torch.rand(count, 3, 4, 4, generator=draw)
    pixels = functional.interpolate(coarse, size=(side, side), mode="bilinear")
    if protected:
        pixels = pixels + pattern(side)
    marks = torch.tensor(ARCFACE_TEMPLATE) * side / 112
    return [FaceImage(each, torch.ones(1, side, side), marks) for each in pixels]


def pattern(side: int) -> Tensor:
    stripes = 0.04 * (torch.arange(side) // 2 % 2 - 0.5)[None, :, None].expand(3, side, side)
    return stripes - 0.04 * torch.tensor([1.0, 0.0, 0.0])[:, None, None]


def difference(purified: list[Tensor], clean: list[FaceImage]) -> float:
    return float(torch.stack([(a - b.pixels).abs().mean() for a, b in zip(purified, clean, strict=True)]).mean())


def test_a_pattern_is_taken_off_other_faces() -> None:
    protected, clean = faces(16, 0, protected=True), faces(16, 0)
    found = learn_purifier(protected, clean, PEOPLE, TEST, side=SIDE, pace=Pace(epochs=20, batch_size=4))
    hidden, known = faces(8, 1, protected=True), faces(8, 1)
    before, after = (
        difference([each.pixels for each in hidden], known),
        difference([found(e.pixels) for e in hidden], known),
    )
    assert after < 0.5 * before
    assert found.after < 0.5 * found.before
    larger = faces(1, 2, side=24, protected=True)[0].pixels
    assert found(larger).shape == (3, 24, 24)
    several = torch.stack([each.pixels for each in hidden])
    assert torch.allclose(found(several), torch.stack([found(each) for each in several]), atol=1e-6)
    assert found(torch.zeros(3, 40, 40)).min() >= 0
    assert not found(several).requires_grad


def test_recognisers_teach_it_too(sface_embedder: Embedder) -> None:
    protected, clean = faces(5, 0, protected=True), faces(5, 0)
    found = learn_purifier(
        protected,
        clean,
        torch.arange(5),
        TEST,
        side=SIDE,
        embedders=[sface_embedder],
        pace=Pace(epochs=1, batch_size=4),
    )
    assert 0 < found.after <= found.before < 2
    assert not any(each.requires_grad for each in sface_embedder.parameters())


def test_it_sees_no_mask_at_first() -> None:
    with torch.random.fork_rng(), torch.no_grad():
        network = UNet()
        assert not network(torch.rand(1, 3, 16, 16)).any()
    assert 200_000 < sum(each.numel() for each in network.parameters()) < 400_000
