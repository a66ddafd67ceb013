"""FLIP, the difference that people see when they flip between two pictures (Andersson et al., HPG 2020), in torch.

As the package flip-evaluator computes it for pictures of ordinary range, but with gradients: what the eye resolves is
compared in a colour space where distances are those that are seen, and differences count for more where edges or
points come or go.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

PIXELS_PER_DEGREE = 67.0206
"""That of FLIP's authors: a monitor of 3,840 pixels and 0.7 m, from 0.7 m."""

_TO_XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
_LIGHTNESS, _RED_GREEN, _BLUE_YELLOW = ((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025))
"""Sensitivity of each channel to contrast: Gaussians, each with its height and its spread."""
_WIDEST = 0.04
_COLOUR_POWER, _FEATURE_POWER = 0.7, 0.5
_KNEE, _KNEE_ERROR = 0.4, 0.95
"""Colour differences up to this share of the largest one take up this share of the errors."""
_FEATURE_WIDTH = 0.082  # degrees
_TINY = 1e-8
"""Keeps the slopes of roots finite."""


class Flip:
    """Compares pictures with an original.

    Args:
        original: RGB in [0, 1], ``(1, 3, H, W)``.
        pixels_per_degree: Pixels in a degree of what the eye sees.
    """

    def __init__(self, original: Tensor, pixels_per_degree: float = PIXELS_PER_DEGREE) -> None:
        rows = original.new_tensor(_TO_XYZ)
        self._to_xyz, self._white = rows / rows.sum(1, keepdim=True), rows.sum(1)
        self._from_xyz = torch.linalg.inv(self._to_xyz.double()).to(original)
        self._filters = [
            _gaussians(channel, pixels_per_degree, original) for channel in (_LIGHTNESS, _RED_GREEN, _BLUE_YELLOW)
        ]
        self._detectors = _detectors(pixels_per_degree, original)
        corners = original.new_tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 3, 1, 1)
        corners = _hunt(self._lab(corners))
        self._largest = _distance(corners[:1], corners[1:]).item() ** _COLOUR_POWER
        with torch.no_grad():
            self._colours, self._features = self._look(original)

    def error(self, changed: Tensor) -> Tensor:
        """Return the mean error of changed pictures, ``(B,)``, from 0, no difference, to 1.

        Args:
            changed: RGB in [0, 1], ``(B, 3, H, W)``.
        """
        colours, features = self._look(changed)
        colour = (_distance(colours, self._colours).clamp_min(0) + _TINY) ** _COLOUR_POWER
        knee = _KNEE * self._largest
        low = colour * (_KNEE_ERROR / knee)
        high = _KNEE_ERROR + (colour - knee) / (self._largest - knee) * (1 - _KNEE_ERROR)
        colour = torch.where(colour < knee, low, high)
        feature = (features - self._features).abs().amax(1, keepdim=True) / math.sqrt(2)
        return (colour ** (1 - (feature + _TINY) ** _FEATURE_POWER)).mean((1, 2, 3))

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the colours that the eye resolves, ``(B, 3, H, W)``, and edges and points, ``(B, 2, H, W)``."""
        light = torch.where(images <= 0.04045, images / 12.92, ((images.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
        x, y, z = self._mix(self._to_xyz, light).unbind(1)
        channels = (116 * y - 16, 500 * (x - y), 200 * (y - z))
        seen = [
            _filter(channel.unsqueeze(1), kernels) for channel, kernels in zip(channels, self._filters, strict=True)
        ]
        lightness, red, blue = (each.squeeze(1) for each in seen)
        y_seen = (lightness + 16) / 116
        xyz = torch.stack([y_seen + red / 500, y_seen, y_seen - blue / 200], dim=1)
        colours = _hunt(self._lab(self._mix(self._from_xyz, xyz).clamp(0, 1)))
        reach = self._detectors.shape[-1] // 2
        found = functional.conv2d(functional.pad(y.unsqueeze(1), (reach,) * 4, mode="replicate"), self._detectors)
        across, down = found.view(-1, 2, 2, *y.shape[1:]).unbind(2)
        return colours, (across**2 + down**2 + _TINY**2).sqrt()

    def _mix(self, matrix: Tensor, images: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", matrix, images)

    def _lab(self, light: Tensor) -> Tensor:
        """Return linear RGB as L*a*b*; the matrix is already relative to white."""
        xyz, edge = self._mix(self._to_xyz, light), 6 / 29
        curved = torch.where(xyz > edge**3, xyz.clamp_min(edge**3) ** (1 / 3), xyz / (3 * edge**2) + 4 / 29)
        x, y, z = curved.unbind(1)
        return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _hunt(lab: Tensor) -> Tensor:
    """Return L*a*b* with colours as strong as they appear: those of dark places are weak (Hunt effect)."""
    return torch.cat([lab[:, :1], 0.01 * lab[:, :1] * lab[:, 1:]], dim=1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the HyAB distance (Abasi et al., 2020), ``(B, 1, H, W)``."""
    difference = a - b
    colour = difference[:, 1:].square().sum(1, keepdim=True)
    return difference[:, :1].abs() + (colour + _TINY).sqrt() - math.sqrt(_TINY)


def _gaussians(channel: tuple[tuple[float, float], ...], ppd: float, like: Tensor) -> list[tuple[float, Tensor]]:
    """Return the filter of a channel: rows whose outer products, times their weights, add up to it."""
    reach = math.ceil(3 * math.sqrt(_WIDEST / (2 * math.pi**2)) * ppd)
    places = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device) / ppd
    rows = [torch.exp(-(math.pi**2) * places**2 / spread) for _, spread in channel]
    heights = [
        height * math.sqrt(math.pi / spread) * row.sum().item() ** 2
        for (height, spread), row in zip(channel, rows, strict=True)
    ]
    return [(height / sum(heights), row / row.sum()) for height, row in zip(heights, rows, strict=True)]


def _filter(channel: Tensor, kernels: list[tuple[float, Tensor]]) -> Tensor:
    reach = len(kernels[0][1]) // 2
    padded = functional.pad(channel, (reach,) * 4, mode="replicate")
    parts = [
        weight * functional.conv2d(functional.conv2d(padded, row.view(1, 1, -1, 1)), row.view(1, 1, 1, -1))
        for weight, row in kernels
    ]
    return torch.stack(parts).sum(0)


def _detectors(ppd: float, like: Tensor) -> Tensor:
    """Return what finds edges across and down, and points across and down, ``(4, 1, K, K)``."""
    deviation = 0.5 * _FEATURE_WIDTH * ppd
    reach = math.ceil(3 * deviation)
    x = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    gaussian = torch.exp(-(x**2) / (2 * deviation**2))
    plane = gaussian.unsqueeze(1) * gaussian

    def balanced(kernel: Tensor) -> Tensor:
        below, above = -kernel.clamp_max(0).sum(), kernel.clamp_min(0).sum()
        return torch.where(kernel < 0, kernel / below, kernel / above)

    edge, point = balanced(-x * plane), balanced((x**2 / deviation**2 - 1) * plane)
    return torch.stack([edge, edge.T, point, point.T]).unsqueeze(1)
