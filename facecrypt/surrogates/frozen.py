"""Networks whose weights never change, made cheaper to take gradients through. They compute the same as before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.fx.proxy import TraceError
from torch.nn.utils.fusion import fuse_conv_bn_eval


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


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return a network in which batch norms are part of the convolutions before them: fewer passes over memory.

    What it computes differs by rounding. Convolutions keep their names, and other modules are shared with the network
    given, which is not changed. A network that has no batch norm behind a convolution, or whose flow depends on what it
    is given, is returned as it is.

    Args:
        network: In evaluation mode.
    """
    if isinstance(network, fx.GraphModule) or not any(
        isinstance(module, nn.BatchNorm2d) for module in network.modules()
    ):
        return network
    try:
        graph = _Tracer().trace(network)
    except (TraceError, TypeError, NotImplementedError, AttributeError):
        # What others write in a forward pass is theirs, and not all of it can be followed. Slower is not wrong.
        return network
    modules, folded = dict(network.named_modules()), {}
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in list(graph.nodes):
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if not (isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1):
            continue
        name, norm = str(before.target), modules[str(node.target)]
        convolution = modules[name]
        # A subclass may compute something else, and what is used twice has another norm elsewhere, or none.
        if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d and calls.count(name) == 1:
            folded[name] = fuse_conv_bn_eval(convolution, norm).requires_grad_(False)
            node.replace_all_uses_with(before)
            graph.erase_node(node)
    if not folded:
        return network
    copied = fx.GraphModule(network, graph)
    for name, convolution in folded.items():
        copied.set_submodule(name, convolution)
    return copied.eval()


class _Tracer(fx.Tracer):
    """Follows a network down to torch's own modules and `FrozenPReLU`, whose function cannot be traced."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FrozenPReLU) or super().is_leaf_module(m, module_qualified_name)


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
    def forward(ctx: Any, features: Tensor, slope: Tensor) -> Tensor:
        # With a setup_context of its own, torch would inspect the signature at every call: 25 us instead of 8.
        ctx.save_for_backward(features, slope)
        return torch._prelu_kernel(features, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, slope = ctx.saved_tensors
        # What passes at slope 1, and between it and the whole by the slope: two passes over memory, each vectorised.
        passed = torch.ops.aten.threshold_backward(gradient, features, 0)
        return torch.lerp(passed, gradient, slope), None
