"""Components after published systems that keep every promise, though unlike what facecrypt has of its own."""

from __future__ import annotations

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional

from facecrypt.choices import Norm
from facecrypt.gradients.base import Landscape
from facecrypt.methods.base import Task, Uses
from facecrypt.optimizers.base import State
from facecrypt.views.base import Params


class LotsOptimizer:
    """LOTS (Rozsa et al., IJCB 2017): the gradient over its largest value, until it has shrunk to a share of the first.

    Args:
        stop: Share of its first gradient at which a face is done.
    """

    def __init__(self, *, stop: float = 0.01) -> None:
        self.stop = stop

    def init(self, masks: Tensor) -> State:
        return (torch.zeros(masks.shape[0], 1, 1, 1, device=masks.device),)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        largest = gradients.abs().amax(dim=(1, 2, 3), keepdim=True)
        first = torch.where(state[0] == 0, largest, state[0])
        step = gradients / largest.clamp_min(torch.finfo(gradients.dtype).tiny)
        return torch.where(largest < self.stop * first, 0.0, step), (first,)


class LotsGradient:
    """The same as a gradient component: a face that has come far enough down has no gradient any more."""

    def init(self, masks: Tensor) -> State:
        return (torch.zeros(masks.shape[0], 1, 1, 1, device=masks.device),)

    def update(self, landscape: Landscape, state: State) -> tuple[Tensor, State]:
        here = landscape.here
        size = here.abs().amax(dim=(1, 2, 3), keepdim=True)
        done = (state[0] > 0) & (size < 1.01 * state[0])
        scaled = here / size.clamp_min(torch.finfo(here.dtype).tiny)
        return torch.where(done, 0.0, scaled), (torch.where(state[0] == 0, size, state[0]),)


class LotsMethod:
    """The same as a method: towards a target's embedding, each face until it is near enough."""

    uses: Uses = "gradients"
    bounded = True
    native = False

    def protect(self, task: Task) -> list[Tensor]:
        made = []
        for number, face in enumerate(task.faces):
            target, mask = task.recognisers.targets[0][0], torch.zeros_like(face.pixels)
            for _ in range(task.steps):
                mask.requires_grad_()
                with torch.enable_grad():
                    away = (task.recognisers.embed(number, (face.pixels + mask)[None])[0] - target).square().sum()
                    (gradient,) = torch.autograd.grad(away, mask)
                mask = mask.detach()
                if away < 0.8:
                    break
                mask = (mask - task.step_size * gradient / gradient.abs().max()).clamp(-task.epsilon, task.epsilon)
            made.append(mask)
        return made


class PictureVariation:
    """Total variation of the protected picture itself, as AdvHat and adversarial glasses use it: never 0 for a photo.

    Args:
        smooth: Added below the root, in squared units of the range; None sums absolute differences.
    """

    def __init__(self, *, smooth: float | None = 1e-6) -> None:
        self.smooth = smooth

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        down, right = protected.diff(dim=-2)[..., :-1], protected.diff(dim=-1)[..., :-1, :]
        if self.smooth is None:
            return (down.abs() + right.abs()).sum(dim=(2, 3, 4)).mean(dim=1)
        return (down.square() + right.square() + self.smooth).sqrt().mean(dim=(1, 2, 3, 4))


class LowKeyTerm:
    """LowKey (Cherepanova et al., ICLR 2021): leads features of the picture and of a blurred copy away.

    The features here are fixed random convolutions, with the perceptual distance of LowKey as a mean square of them.

    Args:
        alpha: Weight of the perceptual distance.
        away: Weight of the features' distance; 0 leaves a plain penalty.
    """

    def __init__(self, *, alpha: float = 0.05, away: float = 1.0) -> None:
        self.alpha, self.away = alpha, away
        self.kernels = torch.randn(8, 3, 7, 7, generator=torch.Generator().manual_seed(0)) / 12

    def features(self, images: Tensor) -> Tensor:
        seen = functional.conv2d(images.flatten(0, 1), self.kernels.to(images), stride=4)
        return functional.relu(seen).unflatten(0, images.shape[:2])

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        before = self.features(original)
        blurred = gaussian_blur2d(protected.flatten(0, 1), (7, 7), (3.0, 3.0)).view_as(protected)
        moved = [(self.features(each) - before).square().mean(dim=(1, 2, 3, 4)) for each in (protected, blurred)]
        perceptual = (self.features(protected) - before).abs().mean(dim=(1, 2, 3, 4))
        return self.alpha * perceptual - self.away * (moved[0] + moved[1])


class CentreFeatures:
    """A distance of features of the middle of the face, on a blurred copy: nothing reaches the border."""

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        shape = protected.flatten(0, 1).shape
        both = [
            gaussian_blur2d(each.reshape(shape), (5, 5), (1.5, 1.5)).view_as(protected)[..., 30:80, 30:80]
            for each in (protected, original)
        ]
        return (both[0] - both[1]).square().mean(dim=(1, 2, 3, 4))


class FixedBlur:
    """LowKey's second copy as a view: always the same blur, so there is nothing to draw."""

    def sample(self, count: int, side: int) -> Params:
        return {}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return gaussian_blur2d(images, (7, 7), (3.0, 3.0))
