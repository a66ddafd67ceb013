"""Steps shaped by the eye's sensitivity to contrast: strong in frequencies and colours in which little is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrypt.recipe_parts import Shaping
from facecrypt.vision import FULL_HD

_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class Shaper:
    """Weighs luminance and colour of pictures by frequency.

    With f, in cycles a degree of the field of view, the luminance is multiplied by ``1 / max(S(f), 1 / clip)``, where
    S is the sensitivity to contrast of Mannos and Sakrison (IEEE Trans. Inf. Theory, 1974), as 1 below 2 cycles a
    degree, and both colour differences by ``1 / max(chroma * exp(-f / 4), 1 / clip)``.

    Args:
        shaping: The numbers.
        scales: Pixels of the photo across a pixel of each picture, B of them, for a full-HD monitor that shows each
            pixel of the photo by one of its own.
        side: S, width and height of the pictures.
        device: Where they are.
    """

    def __init__(self, shaping: Shaping, scales: list[float], side: int, device: torch.device) -> None:
        matrix = torch.tensor(_TO_YCBCR)
        self._to_rgb = torch.linalg.inv(matrix).to(device)
        per_pixel = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side) ** 2).sqrt()
        pixels_per_degree = torch.tensor([FULL_HD.pixels_per_degree / scale for scale in scales])
        frequency = pixels_per_degree.view(-1, 1, 1) * per_pixel
        luminance = contrast_sensitivity(frequency).clamp_min(1 / shaping.clip)
        colour = (shaping.chroma * torch.exp(-frequency / 4)).clamp_min(1 / shaping.clip)
        self._factors = (1 / torch.stack([luminance, colour, colour], dim=1)).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return gradients or steps, ``(B, 3, S, S)``, with their frequencies weighed.

        Both are taken to luminance and colour differences as gradients are, and back as steps are: so a step that
        follows a shaped gradient is the steepest one of a mask whose parts cost as much as the eye sees of them.
        """
        side = images.shape[-1]
        opponent = torch.einsum("ji,bjhw->bihw", self._to_rgb, images)
        shaped = torch.fft.irfft2(torch.fft.rfft2(opponent) * self._factors, s=(side, side))
        return torch.einsum("ij,bjhw->bihw", self._to_rgb, shaped)


def contrast_sensitivity(frequency: Tensor) -> Tensor:
    """Return the eye's sensitivity to luminance contrast, at most 1, of frequencies in cycles a degree, any shape."""
    scaled = 0.114 * frequency
    sensitivity = 2.6 * (0.0192 + scaled) * torch.exp(-(scaled**1.1))
    return torch.where(frequency < 2, 1.0, sensitivity)
