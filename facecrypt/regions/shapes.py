"""The regions that come with facecrypt, drawn on the aligned crop of a face: 112 pixels wide, whatever its size."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from facecrypt.regions.maps import crop_points, face_map, to_template
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.vision.face_parts import fade

Portion = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(ge=0, le=255)]

_EYE_DISTANCE = ARCFACE_TEMPLATE[1][0] - ARCFACE_TEMPLATE[0][0]
_MIDDLE = 56.0
"""Column of the crop through the nose."""


class FaceRegion:
    """The whole patch, as strong as said inside the face, around it and at its features, without any edge.

    Args:
        face: Inside the face, an ellipse drawn around the landmarks.
        outside: Beyond it: hair, neck, background.
        features: At eyes, nose and mouth; less than `face` spares them instead.
    """

    def __init__(self, *, face: Portion = 1.0, outside: Portion = 0.5, features: Portion = 1.0) -> None:
        self._face, self._outside, self._features = face, outside, features

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return `facecrypt.regions.maps.face_map`."""
        return face_map(landmarks, pixels.shape[-1], self._face, self._outside, self._features)


_LENS = (14.0, 11.0)
"""Half width and half height of a lens, to the middle of its rim."""
_LENS_BELOW = 1.5
"""How far its centre is below the eye."""
_CORNER = 7.0
"""Radius of its corners."""
_TEMPLE_ABOVE = 5.0
"""How far bridge and temples are above the eyes."""
_EAR = 48.0
"""Where a temple ends, from the middle of the face."""


class Eyeglasses:
    """The frame of eyeglasses: rims, bridge and temples, with hard edges, as Sharif et al. (CCS 2016) printed it.

    It begins in one colour. With an epsilon of 255, the frame may take any colour.

    Args:
        rim: Width of the rims, in pixels of the 112 pixels wide aligned face. 4 makes some 6 % of it the frame.
        colour: Red, green and blue of the first mask, in grey levels; by default drawn for each face.
    """

    def __init__(
        self, *, rim: Annotated[float, Field(gt=0, le=12)] = 4.0, colour: tuple[Level, Level, Level] | None = None
    ) -> None:
        self._rim, self._colour = rim, colour

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return 1 on the frame."""
        points = crop_points(landmarks, pixels.shape[-1])
        eyes = to_template(landmarks[:2], landmarks)
        # The frame is as tilted as the eyes, which a crop fitted to five points need not show on one line.
        along = eyes[1] - eyes[0]
        distance = along.norm().clamp_min(_EYE_DISTANCE / 2)  # In profile, eyes are nearly one.
        along = along / along.norm().clamp_min(1e-6)
        down = torch.stack([-along[1], along[0]])
        offset = points - eyes.mean(dim=0)
        across, below = (offset @ along).abs(), offset @ down
        centre = distance / 2
        lens = torch.stack([across - centre, below - _LENS_BELOW], dim=-1)
        edge = _rounded_box(lens, _LENS, _CORNER).abs() <= self._rim / 2
        bar = (below + _TEMPLE_ABOVE).abs() <= self._rim / 2
        bridge = bar & (across < centre - _LENS[0])
        temples = bar & (across > centre + _LENS[0]) & (across < _EAR)
        frame: Tensor = edge | bridge | temples
        return frame.float().unsqueeze(0)

    def start(self, pixels: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
        """Return what takes every pixel to the colour."""
        drawn = torch.rand(3, generator=generator)
        colour = drawn if self._colour is None else torch.tensor(self._colour) / 255
        first: Tensor = colour.view(3, 1, 1) - pixels
        return first


class LowerFace:
    """The face below the eyes, as a medical mask covers it: nose, mouth, cheeks and chin.

    Args:
        top: Where it begins on the nose: 0 at the eyes, 1 at its tip.
        soft: Width of its edge, in pixels of the 112 pixels wide aligned face; 0 is hard.
    """

    def __init__(self, *, top: Portion = 0.4, soft: Annotated[float, Field(ge=0, le=20)] = 0.0) -> None:
        self._top, self._soft = top, soft

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return 1 below a line that falls from the nose to the ears, within the outline of the face."""
        points = crop_points(landmarks, pixels.shape[-1])
        eyes, nose = ARCFACE_TEMPLATE[0][1], ARCFACE_TEMPLATE[2][1]
        aside = (points[..., 0] - _MIDDLE).abs() / _JAW[0]
        line = eyes + self._top * (nose - eyes) + _FALL * aside.square()
        outline = torch.stack([points[..., 0] - _MIDDLE, points[..., 1] - _JAW_CENTRE], dim=-1) / torch.tensor(_JAW)
        # Distances from both edges, in pixels of the crop; that from the ellipse is so near its outline.
        inside = torch.minimum(points[..., 1] - line, (1 - outline.norm(dim=-1)) * min(_JAW))
        return (fade(inside / self._soft) if self._soft else (inside > 0).float()).unsqueeze(0)


_JAW_CENTRE = 62.0
_JAW = (44.0, 56.0)
"""Half width and half height of the outline of a face, from ear to ear and down to the chin."""
_FALL = 14.0
"""How much lower the edge of a medical mask is at the ears than on the nose."""


class Skin:
    """Skin alone: what has the colour of the cheeks, away from eyes, brows and mouth.

    The colour is told by its two chromaticities and, less strictly, its lightness, each measured in standard deviations
    of what two discs on the cheeks show.

    Args:
        tolerance: Standard deviations that skin may differ from the cheeks.
        soft: Standard deviations over which it fades beyond; 0 is hard.
    """

    def __init__(
        self,
        *,
        tolerance: Annotated[float, Field(gt=0, le=20)] = 3.0,
        soft: Annotated[float, Field(ge=0, le=20)] = 1.0,
    ) -> None:
        self._tolerance, self._soft = tolerance, soft

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return 1 where the colour is that of the cheeks."""
        points = crop_points(landmarks, pixels.shape[-1])
        cheeks = torch.stack([(points - torch.tensor(spot)).norm(dim=-1) for spot in _CHEEKS]).amin(0) < _CHEEK
        red, green, blue = pixels
        light = (red + green + blue) / 3
        tones = torch.stack([light, (red - green) / (light + _DARK), (green - blue) / (light + _DARK)])
        if not cheeks.any():  # Both lie outside the patch, or between its pixels.
            return torch.zeros(1, *light.shape)
        sample = tones[:, cheeks]
        middle = sample.median(dim=1).values.view(3, 1, 1)
        spread = sample.std(dim=1, correction=0).view(3, 1, 1).clamp_min(torch.tensor(_LEAST_SPREAD).view(3, 1, 1))
        away = ((tones - middle) / spread).abs().amax(dim=0)
        over = away - self._tolerance
        alike = fade(1 - over / self._soft) if self._soft else (over <= 0).float()
        spots = torch.tensor(ARCFACE_TEMPLATE)
        mouth = (spots[3] + spots[4]) / 2
        near = [_near(points, spot + torch.tensor((0.0, -3.0)), _EYE_AND_BROW) for spot in spots[:2]]
        near.append(_near(points, mouth, _MOUTH))
        face = _near(points, torch.tensor(_FACE_CENTRE), _FACE)
        return (alike * face * (1 - torch.stack(near).amax(dim=0))).unsqueeze(0)


_FACE_CENTRE, _FACE = (_MIDDLE, 66.0), (36.0, 42.0)
"""An ellipse that hardly reaches hair, ears and neck, which may have the colour of skin."""
_CHEEKS = ((36.0, 76.0), (76.0, 76.0))
_CHEEK = 8.0
"""Radius of what is looked at of a cheek."""
_DARK = 0.1
"""Added to lightness, so that the noise of dark pixels is no colour."""
_LEAST_SPREAD = (0.12, 0.04, 0.04)
"""Least standard deviations: light falls unevenly on a face, and a smooth cheek would allow no other skin."""
_EYE_AND_BROW, _MOUTH = (11.0, 9.0), (18.0, 9.0)
"""Half width and half height of what is left out."""


class AllButEyes:
    """Everything but the eyes, whose look people mind most.

    Args:
        radius: Half width of what is left out around each eye, in pixels of the 112 pixels wide aligned face.
        eyes: Strength there.
    """

    def __init__(self, *, radius: Annotated[float, Field(gt=0, le=40)] = 11.0, eyes: Portion = 0.0) -> None:
        self._radius, self._eyes = radius, eyes

    def map(self, pixels: Tensor, landmarks: Tensor) -> Tensor:
        """Return 1 away from the eyes, with a soft edge."""
        points = crop_points(landmarks, pixels.shape[-1])
        spots = to_template(landmarks[:2], landmarks)
        near = torch.stack([_near(points, spot, (self._radius, 0.7 * self._radius)) for spot in spots]).amax(dim=0)
        return (1 + (self._eyes - 1) * near).unsqueeze(0)


def _near(points: Tensor, centre: Tensor, half_axes: tuple[float, float]) -> Tensor:
    """Return 1 in an ellipse, 0 from 1.3 of its half axes on, and a soft edge between."""
    return fade((1.3 - ((points - centre) / torch.tensor(half_axes)).norm(dim=-1)) / 0.3)


def _rounded_box(points: Tensor, half: tuple[float, float], radius: float) -> Tensor:
    """Return how far points ``(..., 2)`` lie outside a box around 0 with rounded corners; negative inside."""
    beyond = points.abs() - (torch.tensor(half) - radius)
    distance: Tensor = beyond.clamp_min(0).norm(dim=-1) + beyond.amax(dim=-1).clamp_max(0) - radius
    return distance
