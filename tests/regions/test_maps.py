from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facecrypt.faces.alignment import crop_to_image
from facecrypt.faces.patches import FaceImage
from facecrypt.recipe.schema import Region
from facecrypt.regions.maps import colourfulness, face_map, feather_map, texture_map
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.vision.face_parts import part_maps

REGION = Region(face=0.6, outside=0.2, features=1.0)


def slow(landmarks: Tensor, side: int, region: Region, feather: int) -> Tensor:
    """The formula, pixel by pixel, with complex numbers."""

    def fade(x: float) -> float:
        x = min(max(x, 0.0), 1.0)
        return x * x * (3 - 2 * x)

    (a, b, c), (d, e, f) = crop_to_image(landmarks[None], ARCFACE_TEMPLATE)[0].double().tolist()
    *spots, left, right = (complex(*point) for point in ARCFACE_TEMPLATE)
    result = torch.zeros(1, side, side)
    for y in range(side):
        for x in range(side):
            scale = a * e - b * d
            p = complex((e * (x - c) - b * (y - f)) / scale, (a * (y - f) - d * (x - c)) / scale)
            r = math.hypot((p.real - 56) / 42, (p.imag - 64) / 56)
            base = region.outside + (region.face - region.outside) * fade((1.3 - r) / 0.3)
            t = min(max(((p - left) * (right - left).conjugate()).real / abs(right - left) ** 2, 0), 1)
            near = min(*(abs(p - spot) for spot in spots), abs(p - left - t * (right - left))) / 18
            edge = fade(min(x, y, side - 1 - x, side - 1 - y) / feather) if feather else 1.0
            result[0, y, x] = edge * (base + (region.features - base) * fade(1 - near))
    return result


@pytest.mark.parametrize("feather", [0, 6])
def test_the_map_is_its_formula(face_image: FaceImage, feather: int) -> None:
    scale = 48 / face_image.pixels.shape[-1]  # A small patch, since the reference is slow.
    landmarks = (face_image.landmarks + 0.5) * scale - 0.5
    turned = (landmarks - 24) @ torch.tensor([[0.9, 0.3], [-0.3, 0.9]]) + 24
    for points in (landmarks, turned):
        made = face_map(points, 48, REGION.face, REGION.outside, REGION.features) * feather_map(48, feather)
        assert torch.allclose(made, slow(points, 48, REGION, feather), atol=1e-4)


def test_the_map_is_a_share_and_reaches_its_strengths(face_image: FaceImage) -> None:
    side = face_image.pixels.shape[-1]
    strength = face_map(face_image.landmarks, side, REGION.face, REGION.outside, REGION.features)
    assert strength.min().item() == pytest.approx(0.2)
    assert strength.max().item() <= 1
    for x, y in face_image.landmarks.round().int().tolist():
        assert strength[0, y, x] > 0.85  # Landmarks lie near the template, not on it.
    assert (strength[0, 1:] - strength[0, :-1]).abs().max() < 0.15  # No edge.


def test_without_feather_all_is_full_strength() -> None:
    assert torch.equal(feather_map(20, 0), torch.ones(1, 20, 20))


def test_feather_fades_to_nothing_at_the_border() -> None:
    strength = feather_map(40, 8)[0]
    assert torch.cat([strength[0], strength[-1], strength[:, 0], strength[:, -1]]).max() == 0
    assert strength[8:-8, 8:-8].min() == 1
    assert strength[20, 4].item() == pytest.approx(0.5)


def slow_texture(image: Tensor, power: float) -> Tensor:
    """The map pixel by pixel, away from the border: the weighted variance of every 11x11 window, in grey levels."""
    offsets = torch.arange(-5, 6).double()
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = line[:, None] * line / line.sum() ** 2
    levels = image.double() * 255
    side = image.shape[-1]
    variance = torch.zeros(side, side, dtype=torch.float64)
    padded = torch.nn.functional.pad(levels[None], (5, 5, 5, 5), mode="reflect")[0]
    for row in range(side):
        for column in range(side):
            for channel in range(3):
                part = padded[channel, row : row + 11, column : column + 11]
                mean = (window * part).sum()
                variance[row, column] += (window * (part - mean) ** 2).sum() / 3
    share = (variance + 58.5225 / 2) ** (power / 2)
    return (share / share.mean()).clamp(0.1, 3) / 3


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_texture_map_is_its_formula(power: float) -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.5 + 0.1 * torch.rand(3, 24, 24, generator=generator)
    image[:, :, 12:] += 0.3 * torch.rand(3, 24, 12, generator=generator)
    found = texture_map(image[None], power)
    assert found.shape == (1, 1, 24, 24)
    torch.testing.assert_close(found[0, 0].double(), slow_texture(image, power), rtol=1e-3, atol=1e-4)


def test_texture_map_spares_flat_parts() -> None:
    image = torch.full((1, 3, 32, 32), 0.5)
    image[..., 16:] += 0.2 * torch.rand(3, 32, 16, generator=torch.Generator().manual_seed(0))
    share = texture_map(image, 1.0)[0, 0]
    assert share.max() <= 1
    assert share.min() >= 0.1 / 3 - 1e-6
    assert share[:, :8].max() * 2 < share[:, 24:].min()
    assert torch.equal(texture_map(image, 0.0), torch.full((1, 1, 32, 32), 1 / 3))


def test_parts_lie_at_the_landmarks_and_share_no_pixel() -> None:
    eyes, mouth, skin = part_maps()
    left_eye, right_eye, nose, left_corner, right_corner = ((round(y), round(x)) for x, y in ARCFACE_TEMPLATE)
    assert eyes[left_eye] == eyes[right_eye] == mouth[left_corner] == mouth[right_corner] == 1
    assert skin[nose] == 1
    assert skin[left_eye] == skin[left_corner] == eyes[nose] == mouth[nose] == skin[0, 0] == 0
    assert (eyes + mouth + skin).max() <= 1
    assert eyes.sum() < mouth.sum() * 1.5 < skin.sum()


def test_colourfulness_is_how_far_channels_differ_around_a_pixel() -> None:
    spreads = torch.zeros(1, 1, 40, 60)
    spreads[..., 30:] = 64 / 255  # The right half is twice as coloured as counts; the left half is grey.
    images = torch.cat([0.4 + spreads, torch.full_like(spreads, 0.4), 0.4 + spreads / 2], dim=1)
    found = colourfulness(images)[0, 0]
    # A Gaussian of 2 pixels over an edge is the normal distribution, here between pixels 29 and 30; nothing exceeds 1.
    distances = (torch.arange(60) - 29.5) / 2
    expected = (torch.special.ndtr(distances) * 2).clamp(max=1)
    assert torch.allclose(found, expected.expand(40, 60), atol=0.02)
    assert found[:, :20].max() == 0
    assert found[:, 40:].min() == 1
