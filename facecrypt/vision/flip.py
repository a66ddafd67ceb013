"""FLIP, the difference that people see when they flip between two pictures (Andersson et al., HPG 2020), in torch.

As the package flip-evaluator computes it for pictures of ordinary range, but with gradients: what the eye resolves is
compared in a colour space where distances are those that are seen, and differences count for more where edges or
points come or go.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facecrypt.vision.filters import Line, filter_both

PIXELS_PER_DEGREE = 67.0206
"""That of FLIP's authors: a monitor of 3,840 pixels and 0.7 m, from 0.7 m."""

_TO_XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
_SENSITIVITY = ((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025))
"""Of lightness, red-green and blue-yellow to contrast: Gaussians, each with its height and its spread."""
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
        self._channels = [_channel(gaussians, pixels_per_degree) for gaussians in _SENSITIVITY]
        self._detectors = _detectors(pixels_per_degree)
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
        lightness, red, blue = (
            torch.stack([weight * filter_both(plane.unsqueeze(1), row, row) for weight, row in parts]).sum(0).squeeze(1)
            for plane, parts in zip(channels, self._channels, strict=True)
        )
        y_seen = (lightness + 16) / 116
        xyz = torch.stack([y_seen + red / 500, y_seen, y_seen - blue / 200], dim=1)
        colours = _hunt(self._lab(self._mix(self._from_xyz, xyz).clamp(0, 1)))
        bell, edge, point = self._detectors
        plane = y.unsqueeze(1)
        features = [
            (filter_both(plane, bell, slope).square() + filter_both(plane, slope, bell).square() + _TINY**2).sqrt()
            for slope in (edge, point)
        ]
        return colours, torch.cat(features, dim=1)

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


def _channel(gaussians: tuple[tuple[float, float], ...], ppd: float) -> list[tuple[float, Line]]:
    """Return the filter of a channel: lines that filter along both axes, and their weights."""
    reach = math.ceil(3 * math.sqrt(_WIDEST / (2 * math.pi**2)) * ppd)
    places = [number / ppd for number in range(-reach, reach + 1)]
    lines = [[math.exp(-(math.pi**2) * place**2 / spread) for place in places] for _, spread in gaussians]
    heights = [
        height * math.sqrt(math.pi / spread) * sum(line) ** 2
        for (height, spread), line in zip(gaussians, lines, strict=True)
    ]
    return [
        (height / sum(heights), Line(tuple(value / sum(line) for value in line)))
        for height, line in zip(heights, lines, strict=True)
    ]


def _detectors(ppd: float) -> tuple[Line, Line, Line]:
    """Return a bell, and its first and second derivative, whose positive and negative parts each add up to 1."""
    deviation = 0.5 * _FEATURE_WIDTH * ppd
    reach = math.ceil(3 * deviation)
    places = range(-reach, reach + 1)
    bell = [math.exp(-(place**2) / (2 * deviation**2)) for place in places]
    edge = [-place * value for place, value in zip(places, bell, strict=True)]
    point = [(place**2 / deviation**2 - 1) * value for place, value in zip(places, bell, strict=True)]

    def balanced(line: list[float]) -> Line:
        below, above = (-sum(value for value in line if value < 0)) or 1, sum(value for value in line if value > 0)
        return Line(tuple(value / (below if value < 0 else above) for value in line))

    return balanced(bell), balanced(edge), balanced(point)
