"""How far a changed still picture looks from the original: ColorVideoVDP (Mantiuk et al., ACM TOG 2024) in torch.

The published model splits both pictures, as a display shows them, into bands of contrast in three opponent channels,
weighs these by the eye's contrast sensitivity, lets the picture's own contrast mask the difference, and pools what is
left into JOD: 10 is no visible difference, and one less is a step that 75 % of people notice in a comparison of two
pictures. Here, many pictures are compared at once, what depends on the originals alone is computed once, and gradients
pass. The numbers are those of version 0.5.7 of the package cvvdp, with which the tests compare.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.vision.filters import filter_both

# Still pictures have no transient channel, so its numbers are left out.
_MASK_POWER, _MASK_SCALE, _MASK_SIGMA = 2.264355182647705, 10**-0.7954971194267273, 3.0
_REACH = 2 * int(_MASK_SIGMA)
_MASK_EXPONENTS = (1.302622675895691, 2.8885908126831055, 3.6807713508605957)
_MASK_ACROSS = (
    (-0.18950104713439941, -5.962151050567627, -4.31834602355957),
    (2.5655593872070312, 0.34406712651252747, -2.719646453857422),
    (3.8118371963500977, -1.0051705837249756, -0.5193376541137695),
)
"""Base-2 logarithms: how much the contrast of a channel (row) hides differences in another (column)."""
_GAINS = (1.0, 1.45, 1.0)
_LARGEST = 10**2.5642454624176025
_SENSITIVITY_CORRECTION = 10 ** (-0.2797423303127289 / 20)
_BASEBAND_WEIGHTS = (0.0036334486212581396, 1.6627724170684814, 4.11874532699585)
_STILL = 0.577918291091919
_JOD_SCALE, _JOD_POWER, _JOD_LINEAR_BELOW = 0.0439569391310215, 0.9302042722702026, 0.1
_LOWEST_FREQUENCY, _BASEBAND_FREQUENCY = 0.2, 0.1
_RGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041))
_XYZ_TO_LMS = (
    (0.187596268556126, 0.585168649077728, -0.026384263306304),
    (-0.133397430663221, 0.405505777260049, 0.034502127690364),
    (0.000244379021663, -0.000542995890619, 0.019406849066323),
)
_LMS_TO_DKL = ((1.0, 1.0, 0.0), (1.0, -2.311130179947035, 0.0), (-1.0, -1.0, 50.977571328718781))
_KERNEL = (0.05, 0.25, 0.4, 0.25, 0.05)


@dataclass(frozen=True)
class Display:
    """What shows a picture, and from how far it is looked at.

    Attributes:
        pixels_per_degree: Pixels of the display in a degree of the field of view.
        peak: Luminance of white, in cd/m^2.
        black: Luminance of black, in cd/m^2.
        reflected: Luminance of the room's light on the screen, in cd/m^2.
        width: Of the longer side, in pixels.
        height: Of the shorter side, in pixels.
        turns: Whether it is held as suits a photo; else the longer side lies.
    """

    pixels_per_degree: float
    peak: float
    black: float
    reflected: float
    width: int
    height: int
    turns: bool = False

    def fit(self, width: int, height: int) -> float:
        """Return the factor, at most 1, by which a photo is shrunk to be seen as a whole.

        Args:
            width: Of the photo, in pixels.
            height: Likewise.
        """
        if self.turns and height > width:
            width, height = height, width
        return min(1.0, self.width / width, self.height / height)


_OFFICE = 250 / math.pi * 0.005
FULL_HD = Display(37.842503853602885, 200.0, 0.2, _OFFICE, 1920, 1080)
"""``standard_fhd``: a monitor of 24 inches from 0.6 m in an office."""
PHONE = Display(120.56081547997547, 500.0, 0.05, _OFFICE, 2400, 1080, turns=True)
"""``standard_phone``: a display of 6 inches from 0.4 m in an office."""


class Band(NamedTuple):
    """One octave of the originals' contrast.

    Attributes:
        contrast: In the opponent channels, ``(B, 3, H, W)``, times the sensitivity of the eye to it.
        sensitivity: To contrast, ``(B, 3, H, W)``, with the gain of each channel.
        background: Luminance around each pixel, ``(B, 1, H, W)``, in cd/m^2.
        factor: By which the band of a Laplacian pyramid is multiplied before it is taken for a contrast.
    """

    contrast: Tensor
    sensitivity: Tensor
    background: Tensor
    factor: float


class Eye:
    """Looks at some pictures, to tell later how far changed ones differ from them.

    Args:
        originals: RGB in [0, 1], ``(B, 3, H, W)``, neither side shorter than 16 pixels.
        display: What shows them.
    """

    def __init__(self, originals: Tensor, display: Display = FULL_HD) -> None:
        self.display = display
        smallest = math.log2(min(originals.shape[-2:]))
        levels = int(smallest) - 1
        octaves = [0.3228 * 2.0**-number * display.pixels_per_degree / 2 for number in range(levels)]
        deep = next((place + 2 for place, rho in enumerate(octaves) if rho <= _LOWEST_FREQUENCY), levels)
        self.levels = min(deep, levels)
        self._frequencies = [display.pixels_per_degree / 2, *octaves][: self.levels]
        with torch.no_grad():
            self.bands, self._base = self._prepare(originals)

    def _prepare(self, originals: Tensor) -> tuple[list[Band], tuple[Tensor, Tensor]]:
        contrasts, backgrounds, base, level = self._contrasts(originals)
        gains = originals.new_tensor(_GAINS).view(1, 3, 1, 1)
        bands = []
        for place, (contrast, background) in enumerate(zip(contrasts, backgrounds, strict=True)):
            sensitivity = _sensitivity(self._frequencies[place], background) * gains
            bands.append(Band(contrast * sensitivity, sensitivity, background, 2.0 if place else 1.0))
        return bands, (base, _sensitivity(_BASEBAND_FREQUENCY, level))

    def _contrasts(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Return the contrast and the background of each band, and the contrast and the background of what is left."""
        now, contrasts, backgrounds = opponent(images, self.display), [], []
        for place in range(self.levels):
            smaller = reduce(now)
            around = expand(smaller, now.shape[-2:])
            background = around[:, :1].clamp_min(0.01)
            # The package doubles all bands but the finest.
            contrasts.append((now - around).div(background).clamp_max(1000.0) * (2.0 if place else 1.0))
            backgrounds.append(background)
            now = smaller
        level = now[:, :1].clamp_min(0.01).mean(dim=(2, 3), keepdim=True)
        return contrasts, backgrounds, now.div(level).clamp_max(1000.0), level

    def thresholds(self) -> list[Tensor]:
        """Return, for each band, the contrast in each channel and place that is just seen there, ``(B, 3, H, W)``.

        That of a change of a whole neighbourhood, in units that one of the model's differences has.
        """
        return [(1 + _masking(band.contrast)) ** (1 / _MASK_POWER) / band.sensitivity for band in self.bands]

    def jod(self, changed: Tensor) -> Tensor:
        """Return how much changed pictures look like the originals, ``(B,)``: 10 is the same.

        Args:
            changed: RGB in [0, 1], of the shape of the originals.
        """
        contrasts, _, base, _ = self._contrasts(changed)
        pooled = []
        for band, contrast in zip(self.bands, contrasts, strict=True):
            seen = contrast * band.sensitivity
            mutual = torch.minimum(seen.abs(), band.contrast.abs())
            difference = _power((seen - band.contrast).abs(), _MASK_POWER) / (1 + _masking(mutual))
            difference = _LARGEST * difference / (_LARGEST + difference)
            pooled.append(_norm(difference, 2, (2, 3), mean=True))
        level, sensitivity = self._base
        weights = changed.new_tensor(_BASEBAND_WEIGHTS).view(1, 3)
        pooled.append(_norm((base - level).abs() * sensitivity, 2, (2, 3), mean=True) * weights)
        across_bands = _norm(torch.stack(pooled, dim=2), 4, (2,))
        quality = _norm(across_bands, 4, (1,)) * _STILL
        # Linear near 0, where the power has no slope.
        near = _JOD_SCALE * _JOD_LINEAR_BELOW ** (_JOD_POWER - 1) * quality
        far = _JOD_SCALE * quality.clamp_min(_JOD_LINEAR_BELOW) ** _JOD_POWER
        return 10 - torch.where(quality <= _JOD_LINEAR_BELOW, near, far)


def opponent(images: Tensor, display: Display = FULL_HD) -> Tensor:
    """Return pictures as the eye's opponent channels see them: luminance in cd/m^2, red-green, violet-yellow.

    Args:
        images: sRGB in [0, 1], ``(B, 3, H, W)``.
        display: What shows them.
    """
    linear = torch.where(images <= 0.04045, images / 12.92, ((images.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    light = (display.peak - display.black) * linear + display.black + display.reflected
    return torch.einsum("ij,bjhw->bihw", to_opponent().to(images), light)


@cache
def to_opponent() -> Tensor:
    """Return the matrix that takes linear RGB to the opponent channels, ``(3, 3)``. Not to be changed."""
    rgb, lms, dkl = (torch.tensor(rows, dtype=torch.float64) for rows in (_RGB_TO_XYZ, _XYZ_TO_LMS, _LMS_TO_DKL))
    return (dkl @ lms @ rgb).float()


def reduce(images: Tensor) -> Tensor:
    """Return pictures of half the size, ``(B, C, (H + 1) // 2, (W + 1) // 2)``: one step down a Gaussian pyramid."""
    return filter_both(images, _halve, _halve)


def expand(images: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return pictures of twice the size, or one pixel less: one step up a pyramid.

    Args:
        images: ``(B, C, h, w)``.
        size: Height and width of the result, whose halves, rounded up, are h and w.
    """
    return filter_both(images, *(_double_odd if length % 2 else _double_even for length in size))


def _halve(planes: Tensor, axis: int) -> Tensor:
    size = planes.shape[axis]
    beyond = torch.tensor([1, 0, *range(size), size - 1, size - 2], device=planes.device)
    shape, stride = ((1, 1, 5, 1), (2, 1)) if axis == 2 else ((1, 1, 1, 5), (1, 2))
    kernel = planes.new_tensor(_KERNEL).view(shape)
    return functional.conv2d(planes.index_select(axis, beyond), kernel, stride=stride)


def _double_even(planes: Tensor, axis: int) -> Tensor:
    return _double(planes, axis, 2 * planes.shape[axis])


def _double_odd(planes: Tensor, axis: int) -> Tensor:
    return _double(planes, axis, 2 * planes.shape[axis] - 1)


def _double(planes: Tensor, axis: int, size: int) -> Tensor:
    kernel = 2 * planes.new_tensor(_KERNEL).view((1, 1, 5, 1) if axis == 2 else (1, 1, 1, 5))
    return functional.conv2d(_interleave(planes, size, axis), kernel)


def _interleave(planes: Tensor, size: int, axis: int) -> Tensor:
    """Return rows or columns with zeros in between and the outermost ones repeated beyond both ends."""
    count = planes.shape[axis]
    places = torch.arange(count, device=planes.device) * 2 + 2
    ends = torch.tensor([0, size + 2 + size % 2], device=planes.device)
    shape = list(planes.shape)
    shape[axis] = size + 4
    outermost = torch.stack([planes.select(axis, 0), planes.select(axis, count - 1)], dim=axis)
    wide = planes.new_zeros(shape)
    return wide.index_copy(axis, torch.cat([ends, places]), torch.cat([outermost, planes], dim=axis))


@cache
def _table() -> tuple[Tensor, tuple[float, float], tuple[float, float]]:
    text = (resources.files("facecrypt") / "data" / "contrast_sensitivity.json").read_text(encoding="utf-8")
    values = json.loads(text)
    luminance, frequency = ([math.log10(end) for end in values[key]] for key in ("luminance", "frequency"))
    table = torch.tensor(values["log_sensitivity"])
    return table, (luminance[0], luminance[1]), (frequency[0], frequency[1])


def _sensitivity(frequency: float, background: Tensor) -> Tensor:
    """Return the eye's sensitivity to contrast of a frequency in cycles a degree, ``(B, 3, H, W)``."""
    table, luminance, frequencies = _table()
    columns = table.shape[2] - 1
    place = (math.log10(frequency) - frequencies[0]) / (frequencies[1] - frequencies[0]) * columns
    place = min(max(place, 0.0), float(columns))
    left = min(int(place), columns - 1)
    row = torch.lerp(table[:, :, left], table[:, :, left + 1], place - left).to(background)
    rows = table.shape[1] - 1
    at = ((background.log10() - luminance[0]) / (luminance[1] - luminance[0]) * rows).clamp(0, rows)
    low = at.floor().long().clamp_max(rows - 1)
    value: Tensor = torch.lerp(row[:, low], row[:, low + 1], (at - low).unsqueeze(0))  # (3, B, 1, H, W)
    return (10**value).squeeze(2).transpose(0, 1) * _SENSITIVITY_CORRECTION


def _masking(contrast: Tensor) -> Tensor:
    """Return how much contrast in the picture hides differences beside it, in each channel, ``(B, 3, H, W)``."""
    spread = _blur(contrast.abs()) * _MASK_SCALE
    exponents = contrast.new_tensor(_MASK_EXPONENTS).view(1, 3, 1, 1)
    raised = (spread + 1e-5) ** exponents - 1e-5**exponents
    across = 2 ** contrast.new_tensor(_MASK_ACROSS)
    return torch.einsum("ij,bihw->bjhw", across, raised)


def _blur(images: Tensor) -> Tensor:
    """Return pictures blurred by a Gaussian of 3 pixels; those of 6 pixels and less as they are."""
    return images if min(images.shape[-2:]) <= _REACH else filter_both(images, _blur_along, _blur_along)


def _blur_along(planes: Tensor, axis: int) -> Tensor:
    offsets = torch.arange(-_REACH, _REACH + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * _MASK_SIGMA**2))
    kernel = kernel / kernel.sum()
    room, shape = ((0, 0, _REACH, _REACH), (1, 1, -1, 1)) if axis == 2 else ((_REACH, _REACH, 0, 0), (1, 1, 1, -1))
    return functional.conv2d(functional.pad(planes, room, mode="reflect"), kernel.view(shape))


def _power(values: Tensor, exponent: float) -> Tensor:
    """Return a power whose slope at 0 is finite."""
    power: Tensor = (values + 1e-5) ** exponent - 1e-5**exponent
    return power


def _norm(values: Tensor, exponent: int, dims: tuple[int, ...], *, mean: bool = False) -> Tensor:
    raised = _power(values, exponent)
    total: Tensor = raised.mean(dim=dims) if mean else raised.sum(dim=dims)
    return _power(total.clamp_min(0), 1 / exponent)
