from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.errors import FacecryptError
from facecrypt.methods.iterative.dropout import FeatureDropout

SHARE = 0.3


class Reference(nn.Module):
    """A network of convolutions whose dropped elements are given, one bool tensor per layer."""

    def __init__(self, network: nn.Sequential, dropped: list[Tensor]) -> None:
        super().__init__()
        self.network, self.dropped = network, dropped

    def forward(self, images: Tensor) -> Tensor:
        left = list(self.dropped)
        for layer in self.network:
            images = layer(images)
            if isinstance(layer, nn.Conv2d):
                images = torch.where(left.pop(0), torch.zeros(()), images) / (1 - SHARE)
        return images


@pytest.fixture
def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2), nn.Flatten(), nn.Linear(80, 6)
        ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def dropped(shapes: list[tuple[int, ...]], seeds: list[int]) -> list[Tensor]:
    """Return what is dropped, drawn picture by picture and layer by layer."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [torch.stack([torch.rand(shape, generator=each) for each in generators]) < SHARE for shape in shapes]


def test_is_the_network_with_elements_of_its_feature_maps_left_out(network: nn.Sequential, images: Tensor) -> None:
    seeds = [4, 9, 4]
    masks = dropped([(4, 10, 10), (5, 4, 4)], seeds)
    ours, reference = images.clone().requires_grad_(), images.clone().requires_grad_()
    with FeatureDropout(network, SHARE, "net").active(seeds):
        found = network(ours)
    expected = Reference(network, masks)(reference)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(out.square().sum(), image)[0] for out, image in ((found, ours), (expected, reference))
    ]
    torch.testing.assert_close(*gradients)
    assert 0.2 < torch.cat([mask.flatten() for mask in masks]).float().mean() < 0.4


def test_a_picture_does_not_depend_on_its_batch(network: nn.Sequential, images: Tensor) -> None:
    dropout = FeatureDropout(network, SHARE, "net")
    with dropout.active([1, 2, 3]):
        together = network(images)
    for number in range(3):
        with dropout.active([number + 1]):
            torch.testing.assert_close(network(images[number : number + 1])[0], together[number])


def test_the_same_seeds_drop_the_same_and_others_do_not(network: nn.Sequential, images: Tensor) -> None:
    dropout = FeatureDropout(network, SHARE, "net")
    results = []
    for seeds in ([1, 2, 3], [1, 2, 3], [1, 2, 4]):
        with dropout.active(seeds):
            results.append(network(images))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0][:2], results[2][:2])
    assert not torch.equal(results[0][2], results[2][2])


def test_leaves_nothing_behind(network: nn.Sequential, images: Tensor) -> None:
    plain = network(images)
    dropout = FeatureDropout(network, SHARE, "net")
    before = torch.get_rng_state()
    with dropout.active([1, 2, 3]):
        assert not torch.equal(network(images), plain)
    with pytest.raises(RuntimeError, match="shape|size|channels"), dropout.active([1, 2, 3]):
        network(images[:, :2])
    assert torch.equal(network(images), plain)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks for module in network.modules())
    again, other = pickle.loads(pickle.dumps((dropout, network)))
    with again.active([1, 2, 3]), dropout.active([1, 2, 3]):
        assert torch.equal(other(images), network(images))


def test_tokens_of_a_transformer_are_dropped_but_not_its_embedding() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.block, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            tokens: Tensor = self.block(self.cut(images).flatten(2).transpose(1, 2))
            embedding: Tensor = self.head(tokens.mean(1))
            return embedding

    network = Transformer()
    images = torch.rand(1, 3, 8, 8)
    with FeatureDropout(network, SHARE, "net").active([7]):
        found = network(images)
    (mask,) = dropped([(4, 8)], [7])
    tokens = functional.linear(network.cut(images).flatten(2).transpose(1, 2), network.block.weight, network.block.bias)
    kept = tokens * (~mask).float() / (1 - SHARE)
    torch.testing.assert_close(found, network.head(kept.mean(1)))


def test_networks_that_cannot_drop_features_are_refused(network: nn.Sequential, images: Tensor) -> None:
    with pytest.raises(FacecryptError, match=r"surrogate net: dropout 0.3 needs .* Set its dropout to 0."):
        FeatureDropout(nn.Flatten(), SHARE, "net")

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network)

        def forward(self, images: Tensor) -> Tensor:
            first, second = self.network(torch.cat([images, images.flip(3)])).chunk(2)
            return torch.as_tensor(first + second)

    twice = Twice()
    with (
        pytest.raises(FacecryptError, match="6 feature maps of 3 pictures"),
        FeatureDropout(twice, SHARE, "net").active([1, 2, 3]),
    ):
        twice(images)
