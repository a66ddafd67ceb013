from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrypt.surrogates.frozen import FrozenPReLU, freeze


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
