"""What happens to a photo after it was saved: compression, resizing, screenshots, platforms, and attempts to purify it.

Each transform takes 8-bit pixels and returns 8-bit pixels, as a file on its way would change, with real encoders. The
same pixels give the same result, but for other versions of the encoders.

What platforms do is reported here as others found it; platforms change, keep other versions for other screens, and say
little about it. Their profiles stand for the kind of loss, not for today's exact pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facecrypt.choices import TransformName

Pixels: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)``, RGB."""

BLUR_SIGMA = 1.0
"""Standard deviation of ``blur``, in pixels."""
NOISE_SIGMA = 4.0
"""Standard deviation of the noise of ``noise_denoise``, in grey levels."""
_SCREEN = 1080
"""Longest side of a photo on the display of ``screenshot``, in pixels."""
_SCREEN_GAMMA = 1.05
_DENOISE_STRENGTH = 5.0


def jpeg(pixels: Pixels, quality: int, subsampling: str = "4:2:0") -> Pixels:
    """Return the pixels after JPEG compression by libjpeg-turbo.

    Args:
        pixels: ``(H, W, 3)``.
        quality: 1 to 100, on libjpeg's scale.
        subsampling: Of colour: ``4:4:4``, ``4:2:2`` or ``4:2:0``, the encoder's own default.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer))


def half_size(pixels: Pixels) -> Pixels:
    """Return the pixels after halving both sides and enlarging them again, by Lanczos and by bicubic interpolation."""
    image = Image.fromarray(pixels)
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def blur(pixels: Pixels) -> Pixels:
    """Return the pixels under a Gaussian of `BLUR_SIGMA`: 1 pixel."""
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), BLUR_SIGMA)).astype(np.uint8)


def screenshot(pixels: Pixels) -> Pixels:
    """Return a photo as a screenshot of it that was sent on.

    It is scaled to a longest side of 1080 pixels, enlarged too, as a viewer fills the screen; its tones change by a
    gamma of 1.05, as displays and colour management differ; it is saved as PNG, and sent on as a JPEG of quality 85.
    """
    image = Image.fromarray(pixels)
    scale = _SCREEN / max(image.size)
    shown = np.asarray(image.resize(_scaled(image.size, scale), Image.Resampling.BICUBIC))
    tones = np.rint(255 * (np.arange(256) / 255) ** _SCREEN_GAMMA).astype(np.uint8)
    return jpeg(tones[shown], 85)


def median(pixels: Pixels) -> Pixels:
    """Return the median of each channel in windows of 3x3 pixels: a common purification, known as median smoothing."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3)))


def noise_denoise(pixels: Pixels) -> Pixels:
    """Return the pixels after noise that drowns the mask and non-local means that take it away: a purification.

    Gaussian noise of `NOISE_SIGMA`, always the same for pictures of one size; then OpenCV's fastNlMeansDenoisingColored
    with h = hColor = 5, templates of 7 and searches of 21 pixels.
    """
    import cv2

    noise = np.random.default_rng(0).normal(0, NOISE_SIGMA, pixels.shape)
    noisy = np.rint(pixels + noise).clip(0, 255).astype(np.uint8)
    # The function expects BGR, as it treats lightness and colour apart.
    bgr = np.ascontiguousarray(noisy[..., ::-1])
    clean = cv2.fastNlMeansDenoisingColored(bgr, None, _DENOISE_STRENGTH, _DENOISE_STRENGTH, 7, 21)
    return np.ascontiguousarray(clean[..., ::-1]).astype(np.uint8)


def platform(pixels: Pixels, longest: int, quality: int) -> Pixels:
    """Return a photo as a platform keeps it: never larger than `longest` on a side, and a JPEG of a quality, 4:2:0."""
    image = Image.fromarray(pixels)
    scale = min(1.0, longest / max(image.size))
    if scale < 1:
        image = image.resize(_scaled(image.size, scale), Image.Resampling.LANCZOS)
    return jpeg(np.asarray(image), quality)


def whatsapp(pixels: Pixels) -> Pixels:
    """Return a photo as WhatsApp may send it: at most 1600 pixels, JPEG quality 80, 4:2:0.

    The side as reported by artimagehub.com/blog/fix-photo-quality-after-whatsapp-compression for photos sent as usual.
    The quality as reported by royalsblue.com/whatsapp-will-allow-photo-sharing-in-original-quality ("approximately
    80%"), but of the setting "best quality"; no source for the usual one was found, and it may be lower. 4:2:0 is the
    encoder's default and has no source. Platforms change.
    """
    return platform(pixels, 1600, 80)


def instagram(pixels: Pixels) -> Pixels:
    """Return a photo as Instagram may show it in a feed: at most 1080 pixels, JPEG quality 75, 4:2:0.

    As reported by pixelseal.com/research/experiments/instagram-recompression-study, which uploaded 20 photos and saw
    1080 pixels of width, qualities of about 75 to 85, and 4:2:0. The lowest is used, and the limit holds for both
    sides. Platforms change.
    """
    return platform(pixels, 1080, 75)


def facebook(pixels: Pixels) -> Pixels:
    """Return a photo as Facebook may show it: at most 2048 pixels, JPEG quality 85, 4:2:0.

    The side as reported by photographylife.com/how-to-properly-resize-images-for-facebook, of 2014; others saw 1920 in
    2021 (phototacopodcast.com/dimensions-and-quality-for-social-media-photo-sharing). The quality as reported of a
    photo of 2021 by ImageMagick in dsp.stackexchange.com/questions/74275. 4:2:0 is the encoder's default and has no
    source. Platforms change.
    """
    return platform(pixels, 2048, 85)


def x(pixels: Pixels) -> Pixels:
    """Return a photo as X, formerly Twitter, may show it: at most 4096 pixels, JPEG quality 85, 4:2:0.

    The quality as reported by Twitter's staff ("transcoded to 85% JFIF quality if the uploaded image has a higher
    quality", twittercommunity.com/t/upcoming-changes-to-png-image-support/118695, of 2018). The side as reported by
    phototacopodcast.com/dimensions-and-quality-for-social-media-photo-sharing, of 2021. 4:2:0 is the encoder's default
    and has no source. Platforms change.
    """
    return platform(pixels, 4096, 85)


def none(pixels: Pixels) -> Pixels:
    """Return the pixels as they are."""
    return pixels


Transform: TypeAlias = Callable[[Pixels], Pixels]

TRANSFORMS: Mapping[TransformName, Transform] = MappingProxyType(
    {
        "none": none,
        "jpeg_75": partial(jpeg, quality=75),
        "jpeg_50": partial(jpeg, quality=50),
        "jpeg_30": partial(jpeg, quality=30),
        "half_size": half_size,
        "blur": blur,
        "screenshot": screenshot,
        "median": median,
        "noise_denoise": noise_denoise,
        "whatsapp": whatsapp,
        "instagram": instagram,
        "facebook": facebook,
        "x": x,
    }
)
"""Every transform by its name in recipes."""


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
