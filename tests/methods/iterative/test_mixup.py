from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facecrypt.errors import FacecryptError
from facecrypt.methods.iterative.mixup import Mixup, mixing, record
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder

TARGETS = 2


@pytest.fixture
def embedder() -> Embedder:
    """A small network: a large layer, which is never mixed, a small one, and a linear one."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    return Embedder(nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 6)), SFACE)


@pytest.fixture
def crops(generator: torch.Generator) -> Tensor:
    """Two targets, two originals, and two views of each protected face."""
    return torch.rand(8, 3, 112, 112, generator=generator)


def slow(embedder: Embedder, mixup: Mixup, crops: Tensor, seeds: list[int]) -> Tensor:
    """Every picture on its own, layer by layer."""
    network = embedder.network
    assert isinstance(network, nn.Sequential)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (embedder.spec.mean, embedder.spec.std))
    prepared = (crops * 255 - mean) / std
    clean = prepared[:4]
    seen = list(prepared[4:].split(1))  # type: ignore[no-untyped-call]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for number, layer in enumerate(network):
        clean, seen = layer(clean), [layer(each) for each in seen]
        if number not in (2, 6):
            continue
        for face, generator in enumerate(generators):
            mixes = torch.rand(2, generator=generator)
            partners = torch.randint(TARGETS + 1, (2,), generator=generator)
            ratios = torch.rand(2, clean.shape[1], generator=generator)
            for view in range(2):
                if mixes[view] >= mixup.probability:
                    continue
                partner = int(partners[view])
                foreign = clean[partner] if partner < TARGETS else clean[TARGETS + face]
                mine = seen[2 * face + view][0].clone()
                for channel in range(len(mine)):
                    share = mixup.ratio * ratios[view, channel]
                    mine[channel] = (1 - share) * mine[channel] + share * foreign[channel]
                seen[2 * face + view] = mine[None]
    return nn.functional.normalize(torch.cat(seen), dim=1)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_equals_its_slow_reference(probability: float, embedder: Embedder, crops: Tensor) -> None:
    mixup = Mixup(probability, 0.75)
    clean = record(embedder, crops[:4])
    assert [tuple(each.shape) for each in clean] == [(4, 5, 14, 14), (4, 6)]
    with mixing(embedder, mixup, clean, TARGETS, [5, 6]):
        mixed = embedder(crops[4:])
    torch.testing.assert_close(mixed, slow(embedder, mixup, crops, [5, 6]))
    assert not torch.equal(mixed, embedder(crops[4:])), "nothing was mixed"


def test_leaves_nothing_behind(embedder: Embedder, crops: Tensor) -> None:
    plain = embedder(crops[4:])
    clean = record(embedder, crops[:4])
    with mixing(embedder, Mixup(1.0, 0.75), clean, TARGETS, [5, 6]):
        embedder(crops[4:])
    assert torch.equal(embedder(crops[4:]), plain)
    with pytest.raises(ValueError, match="crops are"), mixing(embedder, Mixup(1.0, 0.75), clean, TARGETS, [5, 6]):
        embedder(crops[4:, :2])
    assert torch.equal(embedder(crops[4:]), plain)


def test_a_face_does_not_depend_on_its_neighbours(embedder: Embedder, crops: Tensor) -> None:
    mixup = Mixup(0.7, 0.75)
    with mixing(embedder, mixup, record(embedder, crops[:4]), TARGETS, [5, 6]):
        together = embedder(crops[4:])
    with mixing(embedder, mixup, record(embedder, crops[[0, 1, 3]]), TARGETS, [6]):
        alone = embedder(crops[6:])
    torch.testing.assert_close(together[2:], alone)


def test_gradient_reaches_the_picture(embedder: Embedder, crops: Tensor) -> None:
    pictures = crops[4:].clone().requires_grad_()
    with mixing(embedder, Mixup(1.0, 0.75), record(embedder, crops[:4]), TARGETS, [5, 6]):
        (gradient,) = torch.autograd.grad(embedder(pictures)[:, 0].sum(), pictures)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_a_network_without_layers_to_mix_is_refused(crops: Tensor) -> None:
    with pytest.raises(FacecryptError, match="mixup: a network has neither convolutions nor linear layers"):
        record(Embedder(nn.Flatten(), SFACE), crops)


def test_sface_is_mixed_in_every_smaller_layer(sface_embedder: Embedder, crops: Tensor) -> None:
    assert max(each.shape[-1] for each in record(sface_embedder, crops[:1]) if each.ndim == 4) == 28
