from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import denoise_tv_chambolle

from facecrypt import registry
from facecrypt.photos.files import Photo
from facecrypt.transforms import changes
from facecrypt.transforms.base import Published, publish

Pixels = NDArray[np.uint8]
NAMES = [each.name for each in registry.list_components("transform") if each.origin == registry.BUILT_IN]
FINE_AND_COARSE: tuple[changes.Subsampling, ...] = ("4:4:4", "4:2:0")
TRANSFORMS: dict[str, Published] = {name: publish(name) for name in NAMES}


@pytest.fixture(scope="module")
def pixels(photo: Photo) -> Pixels:
    return photo.pixels[40:240, 140:310].copy()


def distance(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gives_8_bit_pixels_always_the_same_and_spares_its_input(name: str, pixels: Pixels) -> None:
    before = pixels.copy()
    first, second = TRANSFORMS[name](pixels), TRANSFORMS[name](pixels)
    assert np.array_equal(pixels, before)
    assert np.array_equal(first, second)
    assert (first.dtype, first.ndim, first.shape[2]) == (np.uint8, 3, 3)
    assert (first.shape == pixels.shape) == (name != "screenshot")
    if first.shape == pixels.shape:
        assert (distance(first, pixels) > 0) == (name != "none")
        assert distance(first, pixels) < 12  # Still the same picture, and in the same colours.


@pytest.mark.parametrize("name", TRANSFORMS)
def test_takes_tiny_pictures_and_protected_arrays(name: str) -> None:
    pixels = np.full((1, 3, 3), 200, np.uint8)
    pixels.setflags(write=False)
    assert TRANSFORMS[name](pixels).shape[2] == 3


@pytest.mark.parametrize("quality", [75, 50, 30])
def test_jpeg_is_what_a_file_would_hold(quality: int, pixels: Pixels) -> None:
    ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    other = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert other is not None
    assert distance(changes.jpeg(quality=quality)(pixels), other[..., ::-1]) < 0.5  # Another program's encoder.


def test_jpeg_gets_worse_with_quality_and_colours_coarser_with_subsampling(pixels: Pixels) -> None:
    losses = [distance(TRANSFORMS[name](pixels), pixels) for name in ("jpeg_75", "jpeg_50", "jpeg_30")]
    assert losses == sorted(losses)
    fine, coarse = (changes.jpeg(quality=90, subsampling=each)(pixels) for each in FINE_AND_COARSE)
    assert distance(fine, pixels) < distance(coarse, pixels)


def test_blur_and_median_equal_their_references(pixels: Pixels) -> None:
    blurred = gaussian_filter(pixels.astype(float), (1, 1, 0), mode="mirror", truncate=3)
    assert np.abs(changes.blur()(pixels) - blurred).max() < 2
    inner = (slice(1, -1), slice(1, -1))
    assert np.array_equal(changes.median()(pixels)[inner], median_filter(pixels, (3, 3, 1))[inner])


def test_half_size_loses_what_half_the_pixels_cannot_hold() -> None:
    stripes = np.zeros((40, 40, 3), np.uint8)
    stripes[:, ::2] = 255
    gone = changes.half_size()(stripes)[4:-4, 4:-4].astype(int)
    assert gone.max() - gone.min() < 20
    flat = np.full((41, 33, 3), 90, np.uint8)
    assert np.array_equal(changes.half_size()(flat), flat)


def test_noise_and_denoising_take_most_of_a_mask_away(pixels: Pixels) -> None:
    flat = np.full((64, 64, 3), 120, np.uint8)
    noisy = flat + np.random.default_rng(1).integers(-6, 7, flat.shape)
    assert distance(changes.noise_denoise()(noisy.astype(np.uint8)), flat) < 0.5 * distance(
        noisy.astype(np.uint8), flat
    )


def test_total_variation_is_that_of_another_program(pixels: Pixels) -> None:
    part = pixels[:40, :40]
    slow = denoise_tv_chambolle(part / 255, weight=0.05, eps=0, max_num_iter=41, channel_axis=2)
    assert np.abs(changes.total_variation()(part) - 255 * slow).max() < 0.6
    variations = [
        np.abs(np.diff(changes.total_variation(weight=weight)(part).astype(float), axis=0)).sum()
        for weight in (0.01, 0.1)
    ]
    assert variations[1] < 0.8 * variations[0]


def test_fewer_bits_leave_fewer_levels_and_gamma_other_tones() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for bits in (1, 3, 5):
        squeezed = changes.bit_depth(bits=bits)(ramp)[0, :, 0]
        assert len(np.unique(squeezed)) == 2**bits
        slow = [round(round(level / 255 * (2**bits - 1)) / (2**bits - 1) * 255) for level in range(256)]
        assert squeezed.tolist() == slow
    darker = changes.gamma(exponent=2.0)(ramp)[0, :, 0]
    assert darker.tolist() == [round(255 * (level / 255) ** 2) for level in range(256)]


def test_a_print_is_softer_and_neither_black_nor_white() -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = changes.print_and_scan()(stripes)[8:-8, 8:-8].astype(float)
    assert inner.std() < 10
    for tone, printed in ((0, 10), (255, 240)):
        flat = changes.print_and_scan()(np.full((60, 60, 3), tone, np.uint8))
        assert abs(flat.mean() - printed) < 1


def test_a_screenshot_fills_the_screen_and_darkens_midtones() -> None:
    grey = np.full((200, 100, 3), 128, np.uint8)
    shown = changes.screenshot()(grey)
    assert shown.shape == (1080, 540, 3)
    assert np.abs(shown - 255 * (128 / 255) ** 1.05).max() < 2
    assert changes.screenshot()(np.zeros((2000, 3000, 3), np.uint8)).shape == (720, 1080, 3)


@pytest.mark.parametrize(
    ("name", "longest", "quality"),
    [("whatsapp", 1600, 80), ("instagram", 1080, 75), ("facebook", 2048, 85), ("x", 4096, 85)],
)
def test_platforms_shrink_and_compress(name: str, longest: int, quality: int, pixels: Pixels) -> None:
    large = np.asarray(Image.fromarray(pixels).resize((longest + 200, 300)))
    assert TRANSFORMS[name](large).shape[:2] == (round(300 * longest / (longest + 200)), longest)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)  # Pillow's default is 4:2:0.
    assert np.array_equal(TRANSFORMS[name](pixels), np.asarray(Image.open(buffer)))  # Never enlarged.


@pytest.mark.parametrize(("name", "form"), [("webp", "WEBP"), ("avif", "AVIF")])
def test_other_encoders_are_what_a_file_would_hold(name: str, form: str, pixels: Pixels) -> None:
    low, high = (publish({"name": name, "args": {"quality": each}})(pixels) for each in (20, 95))
    assert 0 < distance(high, pixels) < distance(low, pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, quality=20, **({"speed": 6, "max_threads": 1} if form == "AVIF" else {}))
    assert np.array_equal(low, np.asarray(Image.open(buffer)))


def test_resize_keeps_or_undoes_another_size(pixels: Pixels) -> None:
    assert changes.resize(factor=0.25, back=False)(pixels).shape == (50, 42, 3)
    assert changes.resize(factor=2, back=False)(pixels).shape == (400, 340, 3)
    even = pixels[:, :168]
    assert np.array_equal(changes.resize()(even), changes.half_size()(even))


def test_arguments_of_blur_median_and_platform(pixels: Pixels) -> None:
    assert distance(changes.blur(sigma=3)(pixels), pixels) > distance(changes.blur()(pixels), pixels)
    assert distance(changes.median(size=7)(pixels), pixels) > distance(changes.median()(pixels), pixels)
    small = publish({"name": "platform", "args": {"longest": 100, "quality": 40}})(pixels)
    expected = changes.jpeg(quality=40)(np.asarray(Image.fromarray(pixels).resize((85, 100), Image.Resampling.LANCZOS)))
    assert np.array_equal(small, expected)
