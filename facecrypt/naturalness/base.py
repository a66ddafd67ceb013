"""How far protected faces are from looking like photos: terms that the protection loop keeps small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, Protocol

import torch
from kornia.color import rgb_to_lab
from kornia.losses import total_variation
from kornia.metrics import ssim as ssim_map
from pydantic import Field
from torch import Tensor

from facecrypt.vision.creases import new_creases
from facecrypt.vision.eye import FULL_HD, Eye

BANDWIDTHS = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    0.1,
    1.0,
    5.0,
    10.0,
    15.0,
    20.0,
    25.0,
    30.0,
    35.0,
    100.0,
    1e3,
    1e4,
    1e5,
    1e6,
)
"""Variances of the Gaussian kernels in TIP-IM's published code, in squared units of the pixel range."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of multi-scale SSIM, the finest first (Wang et al., Asilomar 2003)."""


class Naturalness(Protocol):
    """A penalty on how protected faces look."""

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, differentiable in `protected`.

        Args:
            protected: Aligned faces in V views each, ``(B, V, 3, H, W)``, RGB in [0, 1].
            original: The same views of the untouched faces, of the same shape.
        """
        ...


class MMD:
    """Maximum mean discrepancy between protected and original faces (Eq. 3 of TIP-IM) with a sum of Gaussian kernels.

    Args:
        over: What makes up the batch X of Eq. 3: ``views``, the views of one face (footnote 4 and Appendix B of the
            paper; faces stay independent of each other), or ``batch``, all faces and views that are protected
            together (Eq. 4).
        bandwidths: Variances of the kernels, in squared units of the [0, 1] pixel range.
    """

    def __init__(
        self,
        *,
        over: Literal["views", "batch"] = "views",
        bandwidths: Annotated[
            Sequence[Annotated[float, Field(ge=1e-9, le=1e9)]], Field(min_length=1, max_length=64)
        ] = BANDWIDTHS,
    ) -> None:
        self.over = over
        self.bandwidths = tuple(bandwidths)

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the discrepancy of each face, ``(B,)``; under ``batch`` all faces share one value."""
        faces = protected.shape[0]
        if self.over == "batch":
            value = mmd(protected.flatten(0, 1), original.flatten(0, 1), self.bandwidths)
            return value.expand(faces)
        return torch.stack([mmd(protected[i], original[i], self.bandwidths) for i in range(faces)])


class SSIM:
    """Structural dissimilarity, 1 - SSIM (Wang et al., IEEE TIP 2004), averaged over the views of a face.

    Mean over pixels and channels, in Gaussian windows of 1.5 pixels on the aligned face, of
    ((2 mp mr + c1) (2 spr + c2)) / ((mp^2 + mr^2 + c1) (sp^2 + sr^2 + c2)), c1 = 0.01^2, c2 = 0.03^2: the measure of
    the report.
    """

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the dissimilarity of each face, ``(B,)``, from 0 (the same)."""
        return 1 - ssim(protected.flatten(0, 1), original.flatten(0, 1)).view(protected.shape[:2]).mean(dim=1)


class MSSSIM:
    """Dissimilarity over several scales, 1 - MS-SSIM (Wang et al., Asilomar 2003), averaged over the views of a face.

    MS-SSIM is the product over scales of the contrast and structure part of SSIM, to the power of the scale's weight;
    each scale has half the size of the one before, and the coarsest contributes its whole SSIM. Coarse changes, which
    eyes notice from afar, count more than in SSIM.

    Args:
        scales: Number of scales. The published five do not fit 112 pixels: the window would outgrow the coarsest. The
            weights of those in use are scaled to a sum of 1.
    """

    def __init__(self, *, scales: Annotated[int, Field(ge=1, le=4)] = 4) -> None:
        self.weights = _scale_weights(scales)

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the dissimilarity of each face, ``(B,)``, from 0 (the same) to 1."""
        similarity = _ms_ssim(protected.flatten(0, 1), original.flatten(0, 1), self.weights)
        return 1 - similarity.view(protected.shape[:2]).mean(dim=1)


class MaskVariation:
    """Total variation of the mask m: mean |m(y, x) - m(y - 1, x)| + mean |m(y, x) - m(y, x - 1)|.

    It is small for smooth masks and says nothing about how strong these are. In the [0, 1] scale of pixels, averaged
    over channels and views.
    """

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the variation of each face's mask, ``(B,)``."""
        each: Tensor = total_variation(protected - original, reduction="mean")
        return each.mean(dim=(1, 2))


class Chroma:
    """Change of colour: mean over pixels and views of (a_p - a_r)^2 + (b_p - b_r)^2 in CIELAB, in squared units of it.

    Lightness is free: eyes see noise in brightness less than blotches of colour on skin. A just noticeable
    difference of large patches is about 2.3 units, 5.3 here (Mahy et al., 1994). Colours are those of sRGB under D65.
    """

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the change of each face, ``(B,)``."""
        difference: Tensor = rgb_to_lab(protected)[:, :, 1:] - rgb_to_lab(original)[:, :, 1:]
        return difference.square().sum(dim=2).mean(dim=(1, 2, 3))


class JOD:
    """How much of a change people see, 10 - JOD by ColorVideoVDP (Mantiuk et al., ACM TOG 2024), mean over the views.

    Of the aligned face, as a full-HD monitor shows it; 1 is a step that three of four people notice side by side.

    Args:
        pixels_per_degree: Pixels of the aligned face in a degree of what the eye sees. The default is a pixel for a
            pixel from 0.6 m; half of it is the face at twice its size.
    """

    def __init__(
        self, *, pixels_per_degree: Annotated[float, Field(ge=1, le=1000)] = FULL_HD.pixels_per_degree
    ) -> None:
        self.display = replace(FULL_HD, pixels_per_degree=pixels_per_degree)

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return what each face lost, ``(B,)``, from 0 (the same) to 10."""
        jod = Eye(original.flatten(0, 1), self.display).jod(protected.flatten(0, 1))
        return 10 - jod.view(protected.shape[:2]).mean(dim=1)


class Creases:
    """New dark lines: mean square of how much deeper places lie in them than before, in squared units of L*.

    One-sided, since folds that fade offend nobody, and those that come make a face look old. Averaged over pixels,
    views and two scales, 1 and 2 pixels of the aligned face across a line. See `facecrypt.vision.creases.new_creases`.
    """

    def __init__(self) -> None: ...

    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        """Return the penalty of each face, ``(B,)``, from 0."""
        deeper = new_creases(protected.flatten(0, 1), original.flatten(0, 1))
        return deeper.square().mean(dim=(1, 2, 3)).view(protected.shape[:2]).mean(dim=1)


def ssim(protected: Tensor, original: Tensor) -> Tensor:
    """Return the structural similarity of each picture, ``(N,)`` at most 1, of ``(N, 3, H, W)`` in [0, 1]."""
    # What torchmetrics gives, in rows and columns apart: several times as fast, and a budget asks at every step.
    each: Tensor = ssim_map(protected, original, window_size=11, eps=0.0)
    return each.mean(dim=(1, 2, 3))


def ms_ssim(protected: Tensor, original: Tensor) -> Tensor:
    """Return the MS-SSIM over four scales of each picture, ``(N,)`` at most 1, of ``(N, 3, H, W)`` in [0, 1].

    Sides of 88 pixels at least. See `MSSSIM` for the measure.
    """
    return _ms_ssim(protected, original, _scale_weights(4))


def _scale_weights(scales: int) -> tuple[float, ...]:
    weights = SCALE_WEIGHTS[:scales]
    return tuple(weight / sum(weights) for weight in weights)


def _ms_ssim(protected: Tensor, original: Tensor, weights: tuple[float, ...]) -> Tensor:
    # Here, since it takes seconds: it imports torchvision and SciPy's signals on the way.
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    similarity = multiscale_structural_similarity_index_measure(
        protected, original, data_range=1.0, reduction="none", betas=weights
    )
    return similarity.reshape(-1)


def mmd(protected: Tensor, original: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> Tensor:
    """Return the squared maximum mean discrepancy of two sets of images, a scalar >= 0 (Eq. 3 of TIP-IM).

    Expanded by the kernel trick into mean k(p, p') + mean k(r, r') - 2 mean k(p, r), with
    k(x, y) = sum over b of exp(-||x - y||^2 / (2 b)) on flattened images.

    Args:
        protected: ``(N, 3, H, W)``, RGB in [0, 1].
        original: ``(M, 3, H, W)``, RGB in [0, 1].
        bandwidths: Variances b of the kernels.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        # Differences, not the expanded square: masks are tiny next to pixels, and rounding would swallow them.
        squared = (a.flatten(1).unsqueeze(1) - b.flatten(1).unsqueeze(0)).square().sum(dim=2)
        variances = torch.tensor(bandwidths, dtype=squared.dtype, device=squared.device)
        return torch.exp(-squared / (2 * variances.view(-1, 1, 1))).sum(dim=0).mean()

    return mean_kernel(protected, protected) + mean_kernel(original, original) - 2 * mean_kernel(protected, original)
