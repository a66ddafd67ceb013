"""From a gradient to a step, and back into the ball (Eq. 5 of TIP-IM).

An optimizer is a pure function of its state: nothing is remembered between runs or between faces.
"""

from __future__ import annotations

from typing import Annotated, Protocol, TypeAlias

import torch
from kornia.filters import gaussian_blur2d
from pydantic import Field
from torch import Tensor

from facecrypt.choices import Norm

State: TypeAlias = tuple[Tensor, ...]
Decay = Annotated[float, Field(ge=0, le=1)]


class Optimizer(Protocol):
    """Turns gradients of the loss into steps of the masks."""

    def init(self, masks: Tensor) -> State:
        """Return the state before the first step.

        Args:
            masks: ``(B, 3, H, W)``; only shape, type and device are used.
        """
        ...

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Return the step of each mask in units of the step size, and the next state.

        The mask moves by minus ``step_size`` times the step. Faces never influence each other.

        Args:
            gradients: Of the loss by the masks, ``(B, 3, H, W)``.
            state: As returned by the previous call, or by `init`.
            norm: Norm of the ball, which decides how a gradient is normalised.
        """
        ...


class Plain:
    """The normalised gradient itself: Eq. 5 without momentum, known as PGD or BIM."""

    def __init__(self) -> None: ...

    def init(self, masks: Tensor) -> State:
        """Return the empty state: the gradient has no memory."""
        return ()

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Return the normalised gradients."""
        return normalize(gradients, norm), state


class Momentum:
    """Momentum over L1-normalised gradients: MIM (Dong et al., CVPR 2018, Eq. 6), which TIP-IM uses.

    Args:
        decay: Share of the accumulated gradient that each step keeps.
        power: To which the accumulated values are raised, signs kept, before a step under ``l2`` is scaled. 1 is in
            proportion to the gradient and 0 its signs; in between, a mask is spread over more pixels, each of which
            changes, and shows, less.
    """

    def __init__(self, *, decay: Decay = 1.0, power: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self.decay = decay
        self.power = power

    def init(self, masks: Tensor) -> State:
        """Return an accumulated gradient of zero."""
        return (torch.zeros_like(masks),)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Add the gradients, scaled to L1 norm 1, to the decayed sum of the earlier ones."""
        size = gradients.abs().sum(dim=(1, 2, 3), keepdim=True)
        accumulated = self.decay * state[0] + gradients / _positive(size)
        return normalize(_flatten(accumulated, self.power), norm), (accumulated,)


class TranslationInvariant:
    """Momentum over gradients smoothed by a Gaussian: TIM (Dong et al., CVPR 2019).

    Smoothing one gradient stands for averaging the gradients of shifted pictures. The published kernel reaches 7 pixels
    on pictures of 299; the default reaches as far in proportion to a face of 112.

    Args:
        radius: Reach of the kernel in pixels to each side.
        sigma: Standard deviation in pixels; null: a third of the radius, as in the published code.
        decay: Share of the accumulated gradient that each step keeps.
    """

    def __init__(
        self,
        *,
        radius: Annotated[int, Field(ge=1, le=15)] = 2,
        sigma: Annotated[float, Field(ge=0.01, le=1000)] | None = None,
        decay: Decay = 1.0,
    ) -> None:
        self.radius = radius
        self.sigma = radius / 3 if sigma is None else sigma
        self.momentum = Momentum(decay=decay)

    def init(self, masks: Tensor) -> State:
        """Return the state of the momentum."""
        return self.momentum.init(masks)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Smooth the gradients, taken as 0 beyond the patch, and go on with them as `Momentum` does."""
        smooth = gaussian_blur2d(gradients, 2 * self.radius + 1, (self.sigma, self.sigma), border_type="constant")
        return self.momentum.update(smooth, state, norm)


class Adam:
    """Adam (Kingma & Ba, 2015) followed by the projection onto the ball.

    Args:
        beta1: Decay of the mean of the gradients.
        beta2: Decay of the mean of their squares.
    """

    def __init__(self, *, beta1: Decay = 0.9, beta2: Decay = 0.999) -> None:
        self.beta1 = beta1
        self.beta2 = beta2

    def init(self, masks: Tensor) -> State:
        """Return zero moments and a step count of zero."""
        return torch.zeros_like(masks), torch.zeros_like(masks), torch.zeros((), device=masks.device)

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        """Return the bias-corrected step; under ``l2`` it is scaled to Euclidean norm 1, as the step size expects."""
        # Adam's epsilon assumes gradients near 1; a face's gradient is far smaller, so bring its largest value there.
        gradients = gradients / _positive(gradients.abs().amax(dim=(1, 2, 3), keepdim=True))
        first = self.beta1 * state[0] + (1 - self.beta1) * gradients
        second = self.beta2 * state[1] + (1 - self.beta2) * gradients**2
        count = state[2] + 1
        step = (first / (1 - self.beta1**count)) / ((second / (1 - self.beta2**count)).sqrt() + 1e-8)
        return (normalize(step, norm) if norm == "l2" else step), (first, second, count)


def _flatten(values: Tensor, power: float) -> Tensor:
    if power == 1:
        return values
    largest = _positive(values.abs().amax(dim=(1, 2, 3), keepdim=True))  # Powers of gradients as they are might vanish.
    return values.sign() * (values.abs() / largest) ** power


def normalize(gradients: Tensor, norm: Norm) -> Tensor:
    """Return the steepest step of unit size: Normalize of Eq. 5.

    Args:
        gradients: ``(B, 3, H, W)``.
        norm: ``linf`` gives the signs, ``l2`` scales each face to Euclidean norm 1.

    Returns:
        Steps of the same shape; zero where the gradient is zero.
    """
    if norm == "linf":
        return gradients.sign()
    return gradients / _positive(euclidean_norm(gradients))


def project(masks: Tensor, photos: Tensor, epsilon: Tensor | float, norm: Norm) -> Tensor:
    """Return the masks nearest to the given ones inside the ball, with valid pixels: the projection of Eq. 5.

    Args:
        masks: Candidate masks, ``(B, 3, H, W)``.
        photos: The pixels that they are added to, RGB in [0, 1], of the same shape.
        epsilon: Radius of the ball, one for all or ``(B, 1, 1, 1)``, in the [0, 1] scale of the pixels.
        norm: ``linf`` bounds every channel, ``l2`` the Euclidean norm of each face's mask.

    Returns:
        Masks within the ball, such that photo plus mask lies in [0, 1].

    Raises:
        ValueError: If the shapes differ or `epsilon` is negative.
    """
    if masks.shape != photos.shape:
        raise ValueError(f"masks are {tuple(masks.shape)}, photos {tuple(photos.shape)}: they must agree")
    epsilon = torch.as_tensor(epsilon, dtype=masks.dtype, device=masks.device)
    if (epsilon < 0).any():
        raise ValueError(f"epsilon is {epsilon.min().item()}, it must not be negative")
    if norm == "linf":
        masks = torch.minimum(torch.maximum(masks, -epsilon), epsilon)
    else:
        masks = masks * (epsilon / _positive(euclidean_norm(masks))).clamp_max(1.0)
    # Clipping to valid pixels only shortens a mask, so it stays in the ball.
    return torch.minimum(torch.maximum(masks, -photos), 1 - photos)


def euclidean_norm(values: Tensor) -> Tensor:
    """Return the Euclidean norm of each face's values, ``(B, 1, 1, 1)``, of ``(B, 3, H, W)``."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True)
    return norms


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)
