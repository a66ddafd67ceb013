from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from facecrypt.surrogates import architectures
from facecrypt.surrogates.frozen import FrozenPReLU, fold_batch_norms, freeze


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (3, 6)])
@pytest.mark.parametrize("slopes", [1, 6])
@pytest.mark.parametrize("channels_last", [False, True])
def test_prelu_is_that_of_torch_without_gradients_of_slopes(
    shape: tuple[int, ...], slopes: int, channels_last: bool
) -> None:
    torch.manual_seed(0)
    reference = nn.PReLU(slopes)
    reference.weight.data = torch.randn(slopes)
    features = torch.randn(shape)
    features.flatten()[::7] = 0  # Where the slope jumps.
    if channels_last and len(shape) == 4:
        features = features.to(memory_format=torch.channels_last)
    results = []
    for layer in (reference, FrozenPReLU(reference.weight)):
        given = features.clone().requires_grad_()
        output = layer(given)
        (gradient,) = torch.autograd.grad((output * torch.arange(output.numel()).view(shape)).sum(), given)
        results.append((output, gradient))
    torch.testing.assert_close(results[0], results[1])


def test_freezing_keeps_what_a_network_computes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.PReLU(8), nn.Dropout()))
    network.eval()
    names, images = list(network.state_dict()), torch.randn(2, 3, 9, 9)
    before = network(images)
    frozen = freeze(network.train())
    torch.testing.assert_close(frozen(images), before)
    assert list(frozen.state_dict()) == names  # Weights are recognised by them.
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not any(module.training for module in frozen.modules())


def set_norms(network: nn.Module) -> nn.Module:
    """Give batch norms what training would, instead of means of 0 and variances of 1, which fold into nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.normal_(1, 0.2)
            module.bias.data.normal_(0, 0.2)
    return network.eval()


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("make", "left"),
    [(architectures.mobilefacenet, 0), (lambda: architectures.ir((1, 1, 1, 1), squeeze=True), 5)],
    ids=["mobilefacenet", "ir_se"],
)
def test_folding_computes_the_same_with_the_same_gradients(make: type[nn.Module], left: int) -> None:
    torch.manual_seed(0)
    network = freeze(set_norms(make()))
    norms = count_norms(network)
    folded = fold_batch_norms(network)
    assert count_norms(folded) == left < norms  # Those before a convolution stay: its zero padding comes after them.
    assert count_norms(network) == norms  # What was given is not changed.
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not any(module.training for module in folded.modules())
    images = torch.randn(2, 3, 112, 112)
    outputs = []
    for each in (network, folded, copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        given = images.clone().requires_grad_()
        output = each(given)
        outputs.append((output, *torch.autograd.grad((output * torch.arange(512)).sum(), given)))
    for output, gradient in outputs[1:]:
        torch.testing.assert_close(output, outputs[0][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gradient, outputs[0][1], atol=1e-2, rtol=1e-3)
    assert fold_batch_norms(folded) is folded


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images)
        return result if result.sum() > 0 else -result


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.norm(self.convolution(self.convolution(images)))
        return result


@pytest.mark.parametrize(
    "make",
    [_Branching, _Twice, lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), lambda: nn.Conv2d(3, 4, 3)],
)
def test_what_cannot_be_folded_stays_as_it_is(make: type[nn.Module]) -> None:
    network = set_norms(make())
    assert fold_batch_norms(network) is network
