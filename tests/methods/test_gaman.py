from __future__ import annotations

import importlib.util
from itertools import product

import pytest
import torch
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.gaman import Gaman, equilibrium, processed
from facecrypt.methods.reference import Literal
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from tests import trying


@pytest.mark.parametrize(
    ("payoffs", "theta", "value"),
    [
        ([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]], [1 / 3] * 3, 0.0),  # rock, paper, scissors
        ([[3.0, -1.0], [-2.0, 1.0]], [3 / 7, 4 / 7], 1 / 7),  # (d - c) / (a - b - c + d), by hand
        ([[0.9, 0.8], [0.3, 0.2]], [0.0, 1.0], 0.3),  # One strategy is better against everything.
    ],
)
def test_the_equilibrium_of_known_games(payoffs: list[list[float]], theta: list[float], value: float) -> None:
    game = equilibrium(torch.tensor(payoffs))
    assert game.theta.tolist() == pytest.approx(theta, abs=1e-6)
    assert game.value == pytest.approx(value, abs=1e-6)


def test_no_other_strategy_is_better() -> None:
    """Every mixture on a fine grid, one after another."""
    payoffs = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))
    shares = [each / 40 for each in range(41)]
    grid = [(a, b, 1 - a - b) for a, b in product(shares, shares) if a + b <= 1]
    best = min(max(sum(t * payoffs[i, j].item() for i, t in enumerate(theta)) for j in range(4)) for theta in grid)
    game = equilibrium(payoffs)
    assert game.value <= best + 1e-6
    assert game.value == pytest.approx(best, abs=0.02)
    assert game.theta.sum().item() == pytest.approx(1)


def test_steps_are_those_of_the_paper(sface_embedder: Embedder, targets: list[Target], face_image: FaceImage) -> None:
    """GAMAN without a process: r <- r + gamma grad L / ||grad L||, L = max over others - own."""
    task = trying.task("gradients", [face_image], sface_embedder, targets[:3], epsilon=1.0, steps=2)
    method = Gaman(robust_to=["none"], processes=["none"])
    (mask,) = method.protect(task)
    literal = Literal(sface_embedder, face_image, targets[:3])
    x, gamma = literal.original, 2 / 255 * (3 * face_image.inside.sum()).sqrt()
    for _ in range(2):
        x = x.clone().requires_grad_()
        f = literal.f(x)
        loss = max((f @ t.T).sum() for t in literal.t) - (f @ literal.r.T).sum()  # type: ignore[type-var]
        (gradient,) = torch.autograd.grad(loss, x)
        moved = x.detach() + gamma * gradient / gradient.norm()
        x = (literal.original + literal.inside * (moved - literal.original)).clamp(0, 1)
    difference = (mask - (x - literal.original)[0]).abs()
    assert difference.max() < 2e-3  # Where a rounding turns a PReLU.
    assert difference.mean() < 1e-6
    assert task.recognisers.queries[0] == 2 + 1


def test_the_strategy_is_drawn_from_the_equilibrium(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With payoffs that make two strategies equal, and a third useless, faces get either of the two masks."""
    method = Gaman(robust_to=["none", "noise", "blur"], processes=["none", "blur"], draws=1)
    rows = iter([[0.9, 0.9], [0.1, 0.8], [0.8, 0.1]] * 6)
    monkeypatch.setattr(method, "_payoffs", lambda *args: torch.tensor(next(rows)))
    made: list[Tensor] = []

    def attack(task: object, number: int, name: str, process: str, draw: torch.Generator) -> Tensor:
        made.append(torch.full_like(face_image.pixels, {"none": 1, "noise": 2, "blur": 3}[process] / 255))
        return made[-1]

    monkeypatch.setattr(method, "_attack", attack)
    masks = method.protect(trying.task("gradients", [face_image] * 6, sface_embedder, targets[:1]))
    assert {round(mask.max().item() * 255) for mask in masks} == {2, 3}


@pytest.mark.parametrize("process", ["translate", "noise", "blur", "crop", "all"])
def test_processes_change_a_picture_a_little(process: str, face_image: FaceImage) -> None:
    image = face_image.pixels[None].clone().requires_grad_()
    first, second = (processed(image, process, torch.Generator().manual_seed(seed)) for seed in (1, 2))  # type: ignore[arg-type]
    assert first.shape == image.shape
    assert not torch.equal(first, second)
    assert 0 < (first - image).abs().mean() < 0.15
    (gradient,) = torch.autograd.grad(first.sum(), image)
    assert gradient.count_nonzero() > 0.7 * gradient.numel()
    assert torch.equal(processed(image, "none", torch.Generator()), image)


@pytest.mark.slow
def test_a_robust_strategy_lasts_where_the_other_does_not(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    task = trying.task("gradients", [face_image], sface_embedder, targets[:5], steps=12, step_size=1 / 255)
    draw = torch.Generator().manual_seed(0)
    method = Gaman(processes=["none", "blur"], draws=8)
    plain, robust = (method._attack(task, 0, "gaman", each, draw) for each in ("none", "blur"))  # type: ignore[arg-type]
    lasting = [method._payoffs(task, 0, mask, draw) for mask in (plain, robust)]
    assert lasting[1][1] < lasting[0][1]
    assert lasting[0][0] < 0.2


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "scipy" else found(name, *rest)
    )
    with pytest.raises(FacecryptError, match=r"method gaman: needs scipy.*facecrypt\[game\]"):
        Gaman()
