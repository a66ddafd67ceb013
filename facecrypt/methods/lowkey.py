"""LowKey (Cherepanova et al., ICLR 2021): faces away from themselves in an ensemble, as they are and blurred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from kornia.filters import gaussian_blur2d
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.methods.base import Task, Uses
from facecrypt.naturalness.base import ms_ssim

_SMALLEST = 112
"""Side to which smaller patches are enlarged before MS-SSIM is taken, whose coarsest window needs 88 pixels."""


class LowKey:
    """Signed gradient ascent on Eq. 2 of the paper, for n surrogates and a Gaussian filter G.

    1 / 2n sum_i (||f_i(x) - f_i(x')||^2 + ||f_i(x) - f_i(G(x'))||^2) / ||f_i(x)|| - alpha LPIPS(x, x'),

    where f_i is the unit embedding of an aligned crop, so that ||f_i(x)|| is 1.

    The visible change is 1 - MS-SSIM here, not LPIPS as in the paper: LPIPS needs the weights of a network trained on
    ImageNet, which do not come with facecrypt. Its values differ, so alpha is not comparable with the paper's. The
    recipe's ball holds as well, where the paper has none.

    Args:
        alpha: Weight of the visible change.
        sigma: Standard deviation of the filter in pixels.
        window: Side of its window in pixels; an even number counts as the next one.
    """

    uses: Uses = "gradients"
    bounded = True
    native = False

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1e6)] = 0.05,
        sigma: Annotated[float, Field(gt=0, le=32)] = 3.0,
        window: Annotated[
            int,
            Field(
                ge=3,
                le=63,
            ),
        ] = 7,
    ) -> None:
        self.alpha, self.sigma, self.window = alpha, sigma, window

    def protect(self, task: Task) -> Sequence[Tensor]:
        """Return what leads each face away from itself."""
        return [self._ascend(task, number) for number in range(len(task.faces))]

    def _ascend(self, task: Task, number: int) -> Tensor:
        x = task.faces[number].pixels.to(task.device)
        mask = torch.zeros_like(x)
        for step in range(task.steps):
            changed = (x + mask)[None].requires_grad_()
            with torch.enable_grad():
                loss, own = self.loss(task, number, changed)
                (gradient,) = torch.autograd.grad(loss, changed)
            mask = task.project(number, mask + task.step_size * gradient[0].sign())
            task.on_step(step + 1, own)
        return mask

    def loss(self, task: Task, number: int, changed: Tensor) -> tuple[Tensor, float]:
        """Return Eq. 2, to be raised, and the mean cosine of the changed face with itself.

        Args:
            task: Knows the surrogates and the face.
            number: Number of the face.
            changed: The changed face, ``(1, 3, S, S)``.
        """
        recognisers = task.recognisers
        both = torch.cat([changed, self.smooth(changed)])
        terms, cosines = [], []
        for each in range(len(recognisers.names)):
            f, own = recognisers.embed(number, both, each), recognisers.original(number, each)
            terms.append((own - f).square().sum())
            cosines.append((f[0] @ own).item())
        ensemble = torch.stack(terms).mean() / 2
        visible = 1 - ms_ssim(_large(changed), _large(task.faces[number].pixels.to(changed)[None]))[0]
        return ensemble - self.alpha * visible, sum(cosines) / len(cosines)

    def smooth(self, images: Tensor) -> Tensor:
        """Return G of pictures ``(N, 3, S, S)``."""
        return gaussian_blur2d(images, self.window | 1, (self.sigma, self.sigma))


def _large(images: Tensor) -> Tensor:
    if images.shape[-1] >= _SMALLEST:
        return images
    return functional.interpolate(images, size=(_SMALLEST, _SMALLEST), mode="bilinear")
