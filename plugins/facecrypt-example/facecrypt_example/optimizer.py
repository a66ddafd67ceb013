"""An optimizer: Nesterov's momentum, as a pure function of its state."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from facecrypt.plugin import Field, Norm, State, normalize


class Nesterov:
    """Nesterov momentum over L1-normalised gradients, after NI-FGSM (Lin et al., 2020, https://arxiv.org/abs/1908.06281).

    NI-FGSM takes the gradient where the momentum is about to lead. An optimizer of facecrypt is given the gradient
    where the masks are, so the look-ahead is folded into the step, as Bengio et al. (2013,
    https://arxiv.org/abs/1212.0901) and ``torch.optim.SGD(nesterov=True)`` do: with the gradient g, its accumulation a
    and the decay d,

        n    = g / ||g||_1
        a'   = d * a + n
        step = normalize(d * a' + n)

    which weighs the newest gradient by 1 + d, where plain momentum weighs it by 1.

    Args:
        decay: Share d of the accumulated gradient that each step keeps; 0 is the plain gradient.
    """

    def __init__(self, *, decay: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self.decay = decay

    def init(self, masks: Tensor) -> State:
        """Return an accumulated gradient of zero."""
        return (torch.zeros_like(masks),)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Return the step that looks one momentum step ahead, and the accumulated gradient."""
        size = gradients.abs().sum(dim=(1, 2, 3), keepdim=True)
        # A face without a gradient would divide by zero; the smallest positive number leaves its zeros as they are.
        newest = gradients / size.clamp_min(torch.finfo(size.dtype).tiny)
        accumulated = self.decay * state[0] + newest
        return normalize(self.decay * accumulated + newest, norm), (accumulated,)
