"""Networks whose weights never change, made cheaper to take gradients through. They compute the same as before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def freeze(network: nn.Module) -> nn.Module:
    """Prepare a network in place for gradients by its input only, and return it.

    Its weights want no gradient, its convolutions' weights lie channels last, as processors and tensor cores read them
    fastest, and PReLU computes no gradient of its slopes, which takes as long as that of its input.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.PReLU:
                setattr(module, name, FrozenPReLU(child.weight))
    network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


class FrozenPReLU(nn.Module):
    """`torch.nn.PReLU` whose slopes get no gradient.

    Args:
        weight: Slope of negative values per channel, ``(C,)``, or one for all, ``(1,)``.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return features ``(N, C, ...)`` with the negative ones multiplied by their channel's slope."""
        return frozen_prelu(features, self.weight)


def frozen_prelu(features: Tensor, slope: Tensor) -> Tensor:
    """Return PReLU of features ``(N, C, ...)`` by slopes ``(C,)`` or ``(1,)``, differentiable once, by the features."""
    shape = (1, -1) + (1,) * (features.ndim - 2)
    result: Tensor = _PReLU.apply(features, slope.detach().to(features.dtype).view(shape))
    return result


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(features: Tensor, slope: Tensor) -> Tensor:
        return torch._prelu_kernel(features, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, slope = ctx.saved_tensors
        # What passes at slope 1, and between it and the whole by the slope: two passes over memory, each vectorised.
        passed = torch.ops.aten.threshold_backward(gradient, features, 0)
        return torch.lerp(passed, gradient, slope), None
