from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from facecrypt.faces.face import Face, Patch
from facecrypt.faces.patches import cut
from facecrypt.methods.obfuscation import Method, obfuscate
from facecrypt.photos.files import Photo
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed

Pixels = NDArray[np.uint8]
METHODS: tuple[Method, ...] = get_args(Method)
BOX = (6.3, 4.0, 25.1, 27.9)
ROWS, COLUMNS = slice(4, 28), slice(6, 26)
LEVELS = 0.5 + 1e-3
"""Rounding to whole grey levels."""


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)


def face_at(*box: float) -> Face:
    return Face((box[0], box[1], box[2], box[3]), np.zeros((5, 2), np.float32), Patch(0, 0, 1))


def slow_blur(region: Pixels, sigma: float) -> NDArray[np.float64]:
    """A Gaussian cut off at three standard deviations, pixel by pixel; the border is repeated."""
    height, width, _ = region.shape
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-reach, reach + 1)]
    result = np.zeros(region.shape)
    for y, x in itertools.product(range(height), range(width)):
        for (i, a), (j, b) in itertools.product(enumerate(weights), enumerate(weights)):
            source = region[min(max(y + i - reach, 0), height - 1), min(max(x + j - reach, 0), width - 1)]
            result[y, x] += a * b * source.astype(float)
    return result / sum(weights) ** 2


def slow_pixelation(region: Pixels, block: int) -> NDArray[np.float64]:
    result = np.zeros(region.shape)
    for y, x in itertools.product(range(0, region.shape[0], block), range(0, region.shape[1], block)):
        result[y : y + block, x : x + block] = region[y : y + block, x : x + block].mean(axis=(0, 1))
    return result


def test_blur_equals_its_slow_reference(pixels: Pixels) -> None:
    hidden = obfuscate(pixels, face_at(*BOX), "blur", 0.25)[ROWS, COLUMNS]  # The box is 24 high: sigma is 1.5.
    assert np.abs(hidden - slow_blur(pixels[ROWS, COLUMNS], 1.5)).max() <= LEVELS


def test_pixelation_equals_its_slow_reference(pixels: Pixels) -> None:
    hidden = obfuscate(pixels, face_at(*BOX), "pixelate", 0.8)[ROWS, COLUMNS]  # Squares of 5, cut off at two sides.
    assert np.abs(hidden - slow_pixelation(pixels[ROWS, COLUMNS], 5)).max() <= LEVELS


def test_darkening_scales_grey_levels(pixels: Pixels) -> None:
    hidden = obfuscate(pixels, face_at(*BOX), "darken", 0.3)[ROWS, COLUMNS]
    assert np.abs(hidden - 0.7 * pixels[ROWS, COLUMNS]).max() <= LEVELS


def test_occlusion_covers_its_share_in_the_middle(pixels: Pixels) -> None:
    hidden = obfuscate(pixels, face_at(*BOX), "occlude", 0.25)[ROWS, COLUMNS]
    expected = pixels[ROWS, COLUMNS].copy()
    expected[6:18, 5:15] = 0
    assert np.array_equal(hidden, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("box", [BOX, (-5.0, -9.5, 20.2, 60.0), (10.0, 10.0, 11.0, 30.0)], ids=["in", "over", "thin"])
@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_only_the_box_changes(
    method: Method, box: tuple[float, float, float, float], strength: float, pixels: Pixels
) -> None:
    original = pixels.copy()
    hidden = obfuscate(pixels, face_at(*box), method, strength)
    assert np.array_equal(pixels, original), "the photo was changed in place"
    assert hidden.shape == pixels.shape
    assert hidden.dtype == np.uint8
    outside = np.ones(pixels.shape[:2], bool)
    left, top, right, bottom = box
    outside[max(0, math.floor(top)) : math.ceil(bottom), max(0, math.floor(left)) : math.ceil(right)] = False
    assert np.array_equal(hidden[outside], pixels[outside])


@pytest.mark.parametrize("method", METHODS)
def test_no_strength_and_no_box_change_nothing(method: Method, pixels: Pixels) -> None:
    assert np.array_equal(obfuscate(pixels, face_at(*BOX), method, 0), pixels)
    for box in ((-30.0, -30.0, -5.0, -5.0), (50.0, 3.0, 70.0, 20.0)):
        assert np.array_equal(obfuscate(pixels, face_at(*box), method, 1), pixels)


@pytest.mark.parametrize("method", ["darken", "occlude"])
def test_full_strength_leaves_nothing(method: Method, pixels: Pixels) -> None:
    assert obfuscate(pixels, face_at(*BOX), method, 1)[ROWS, COLUMNS].max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_grey_stays_grey(method: Method, pixels: Pixels) -> None:
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    hidden = obfuscate(grey, face_at(*BOX), method, 0.4)
    assert (hidden == hidden[..., :1]).all()


def test_a_stronger_method_hides_more(photo: Photo, face: Face, sface_embedder: Embedder) -> None:
    """Pixelation, as an example: from recognised to not recognised at all."""
    original = embed(sface_embedder, [cut(photo, face)])[0]
    similarities = []
    for strength in (0.1, 0.4, 1.0):
        pixels = obfuscate(photo.pixels, face, "pixelate", strength)
        changed = replace(photo, pixels=pixels)
        similarities.append((embed(sface_embedder, [cut(changed, face)])[0] @ original).item())
    assert similarities == sorted(similarities, reverse=True)
    assert sface_embedder.spec.threshold is not None
    assert similarities[0] > sface_embedder.spec.threshold > similarities[-1]


def test_refuses_bad_arguments(pixels: Pixels) -> None:
    face = face_at(*BOX)
    with pytest.raises(ValueError, match=r"float64 \(40, 36, 3\), expected uint8 \(H, W, 3\)"):
        obfuscate(pixels.astype(float), face, "blur", 0.5)
    with pytest.raises(ValueError, match=r"uint8 \(40, 36\), expected"):
        obfuscate(pixels[..., 0], face, "blur", 0.5)
    for strength in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="strength is"):
            obfuscate(pixels, face, "blur", strength)
    with pytest.raises(ValueError, match="no obfuscation named 'swirl'. Known: blur, darken, occlude, pixelate"):
        obfuscate(pixels, face, "swirl", 0.5)  # type: ignore[arg-type]
