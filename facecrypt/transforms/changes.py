"""What happens to a photo after it was saved: compression, resizing, screenshots, platforms, and attempts to purify it.

Each component takes 8-bit pixels and returns 8-bit pixels, as a file on its way would change, with real encoders. The
same pixels give the same result, but for other versions of the encoders.

What platforms do is reported here as others found it; platforms change, keep other versions for other screens, and say
little about it. Their profiles stand for the kind of loss, not for today's exact pixels.
"""

from __future__ import annotations

import io
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageFilter
from pydantic import Field

from facecrypt.errors import FacecryptError
from facecrypt.transforms.base import Pixels, Transform

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Quality = Annotated[int, Field(ge=1, le=100)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Side = Annotated[int, Field(ge=1, le=65_500)]

BLUR_SIGMA = 1.0
"""Standard deviation of ``blur`` by default, in pixels."""
NOISE_SIGMA = 4.0
"""Standard deviation of the noise of ``noise_denoise`` by default, in grey levels."""
_SCREEN = 1080
"""Longest side of a photo on the display of ``screenshot``, in pixels."""
_SCREEN_GAMMA = 1.05
_DENOISE_STRENGTH = 5.0
_INK, _PAPER, _RASTER, _LENS, _GRAIN = 10, 240, 0.75, 0.8, 3.0
"""Of ``print_and_scan``: darkest and brightest grey level, scale, and standard deviations in pixels and grey levels."""


def none() -> Transform:
    """Return the transform that leaves the pixels as they are."""
    return _same


def _same(pixels: Pixels) -> Pixels:
    return pixels


def jpeg(*, quality: Quality = 75, subsampling: Subsampling = "4:2:0") -> Transform:
    """Return JPEG compression by libjpeg-turbo.

    Args:
        quality: On libjpeg's scale.
        subsampling: Of colour: ``4:2:0`` is the encoder's own default.
    """
    return _encoding("JPEG", quality=quality, subsampling=subsampling)


def jpeg_75() -> Transform:
    """Return JPEG compression of quality 75, 4:2:0."""
    return jpeg(quality=75)


def jpeg_50() -> Transform:
    """Return JPEG compression of quality 50, 4:2:0."""
    return jpeg(quality=50)


def jpeg_30() -> Transform:
    """Return JPEG compression of quality 30, 4:2:0."""
    return jpeg(quality=30)


def webp(*, quality: Quality = 80) -> Transform:
    """Return lossy WebP compression by libwebp.

    Args:
        quality: On libwebp's scale; 80 is Pillow's default.
    """
    return _encoding("WEBP", quality=quality)


def avif(*, quality: Quality = 60) -> Transform:
    """Return AVIF compression by libavif, 4:2:0.

    Args:
        quality: On libavif's scale.

    Raises:
        FacecryptError: If this Pillow knows no AVIF.
    """
    from PIL import features

    if not features.check("avif"):
        raise FacecryptError("transform 'avif': this Pillow was built without AVIF. Install one of its own wheels.")
    # What several threads write is another file than that of one, and machines have different numbers of them.
    return _encoding("AVIF", quality=quality, speed=6, max_threads=1)


def _encoding(form: str, **options: int | str) -> Transform:
    """Return what comes back from a file in a format of Pillow."""

    def encode(pixels: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form, **options)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return encode


def resize(*, factor: Annotated[float, Field(gt=0, le=8)] = 0.5, back: bool = True) -> Transform:
    """Return a change of size by Lanczos interpolation.

    Args:
        factor: Of width and height, which end as whole numbers of at least one pixel.
        back: Whether the picture gets its old size again, by bicubic interpolation.
    """

    def scale(pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        small = image.resize(_scaled(image.size, factor), Image.Resampling.LANCZOS)
        return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC) if back else small)

    return scale


def half_size() -> Transform:
    """Return the halving of both sides, rounded down, and enlarging again, by Lanczos and by bicubic interpolation."""

    def halve(pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
        return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))

    return halve


def blur(*, sigma: Annotated[float, Field(gt=0, le=100)] = BLUR_SIGMA) -> Transform:
    """Return a Gaussian blur.

    Args:
        sigma: Standard deviation in pixels.
    """

    def smooth(pixels: Pixels) -> Pixels:
        import cv2

        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma)).astype(np.uint8)

    return smooth


def median(*, size: Literal[3, 5, 7] = 3) -> Transform:
    """Return the median of each channel in square windows: a common purification, known as median smoothing.

    Args:
        size: Side of the windows in pixels.
    """
    return lambda pixels: np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(size)))


def noise_denoise(
    *,
    noise: Annotated[float, Field(ge=0, le=64)] = NOISE_SIGMA,
    strength: Annotated[float, Field(gt=0, le=30)] = _DENOISE_STRENGTH,
) -> Transform:
    """Return noise that drowns the mask and non-local means that take it away: a purification.

    Gaussian noise, always the same for pictures of one size; then OpenCV's fastNlMeansDenoisingColored with templates
    of 7 and searches of 21 pixels.

    Args:
        noise: Standard deviation of the noise, in grey levels.
        strength: ``h`` and ``hColor`` of the filter.
    """

    def purify(pixels: Pixels) -> Pixels:
        import cv2

        added = np.random.default_rng(0).normal(0, noise, pixels.shape)
        noisy = np.rint(pixels + added).clip(0, 255).astype(np.uint8)
        # The function expects BGR, as it treats lightness and colour apart.
        bgr = np.ascontiguousarray(noisy[..., ::-1])
        clean = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 7, 21)
        return np.ascontiguousarray(clean[..., ::-1]).astype(np.uint8)

    return purify


def total_variation(*, weight: Annotated[float, Field(gt=0, le=1)] = 0.05, steps: Steps = 40) -> Transform:
    """Return the picture of least total variation near each channel: a purification (Rudin, Osher and Fatemi 1992).

    It minimises |u - f|^2 / 2 + weight * TV(u), with pixels in [0, 1], by Chambolle's projections of the dual (2004).

    Args:
        weight: Of the total variation: the larger, the flatter.
        steps: Number of projections.
    """

    def flatten(pixels: Pixels) -> Pixels:
        image = pixels.astype(np.float32) / 255
        dual, step = np.zeros((2, *image.shape), np.float32), 0.25
        flat = image
        for _ in range(steps):
            slopes = np.zeros_like(dual)
            slopes[0, :-1] = np.diff(flat, axis=0)
            slopes[1, :, :-1] = np.diff(flat, axis=1)
            length = np.sqrt((slopes**2).sum(axis=0))
            dual = (dual - step * slopes) / (1 + step / weight * length)
            flat = image - dual.sum(axis=0)
            flat[1:] += dual[0, :-1]
            flat[:, 1:] += dual[1, :, :-1]
        return np.rint(255 * flat).clip(0, 255).astype(np.uint8)

    return flatten


def bit_depth(*, bits: Annotated[int, Field(ge=1, le=7)] = 5) -> Transform:
    """Return fewer grey levels per channel: a purification, known as feature squeezing (Xu, Evans and Qi 2018).

    Args:
        bits: Per channel; 2 to their power levels are left, black and white among them.
    """
    levels = 2**bits - 1
    table = np.rint(np.rint(np.arange(256) / 255 * levels) / levels * 255).astype(np.uint8)
    return lambda pixels: table[pixels]


def gamma(*, exponent: Annotated[float, Field(ge=0.2, le=5)] = 0.9) -> Transform:
    """Return other tones, as displays and photo editors make them: below 1 brighter, above 1 darker.

    Args:
        exponent: Of pixels in [0, 1].
    """
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda pixels: table[pixels]


def print_and_scan() -> Transform:
    """Return a photo somewhat as a scan of its print: a stand-in, made of what printers and scanners do, not of one.

    Ink and paper are neither black nor white (10 and 240); the raster of the print and the lens of the scanner blur
    (a Gaussian of 0.8 pixels at 0.75 of the size, enlarged again); grain is noise of 3 grey levels, always the same for
    pictures of one size; the scan is a JPEG of quality 90. It is neither turned nor cropped.
    """
    compress = jpeg(quality=90)

    def scan(pixels: Pixels) -> Pixels:
        import cv2

        tones = np.rint(_INK + np.arange(256) / 255 * (_PAPER - _INK)).astype(np.uint8)
        image = Image.fromarray(tones[pixels])
        small = np.asarray(image.resize(_scaled(image.size, _RASTER), Image.Resampling.LANCZOS))
        soft = np.asarray(cv2.GaussianBlur(small, (0, 0), _LENS)).astype(np.uint8)
        back = np.asarray(Image.fromarray(soft).resize(image.size, Image.Resampling.BICUBIC))
        grain = np.random.default_rng(0).normal(0, _GRAIN, back.shape)
        return compress(np.rint(back + grain).clip(0, 255).astype(np.uint8))

    return scan


def screenshot() -> Transform:
    """Return a photo as a screenshot of it that was sent on.

    It is scaled to a longest side of 1080 pixels, enlarged too, as a viewer fills the screen; its tones change by a
    gamma of 1.05, as displays and colour management differ; it is saved as PNG, and sent on as a JPEG of quality 85.
    """
    compress = jpeg(quality=85)

    def show(pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        scale = _SCREEN / max(image.size)
        shown = np.asarray(image.resize(_scaled(image.size, scale), Image.Resampling.BICUBIC))
        tones = np.rint(255 * (np.arange(256) / 255) ** _SCREEN_GAMMA).astype(np.uint8)
        return compress(tones[shown])

    return show


def platform(*, longest: Side = 1080, quality: Quality = 75) -> Transform:
    """Return a photo as a platform keeps it: never larger than a size, and a JPEG of a quality, 4:2:0.

    Args:
        longest: Longest side that is kept, in pixels; larger photos are shrunk by Lanczos interpolation.
        quality: Of the JPEG.
    """
    compress = jpeg(quality=quality)

    def keep(pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        scale = min(1.0, longest / max(image.size))
        if scale < 1:
            image = image.resize(_scaled(image.size, scale), Image.Resampling.LANCZOS)
        return compress(np.asarray(image))

    return keep


def whatsapp() -> Transform:
    """Return a photo as WhatsApp may send it: at most 1600 pixels, JPEG quality 80, 4:2:0.

    The side as reported by artimagehub.com/blog/fix-photo-quality-after-whatsapp-compression for photos sent as usual.
    The quality as reported by royalsblue.com/whatsapp-will-allow-photo-sharing-in-original-quality ("approximately
    80%"), but of the setting "best quality"; no source for the usual one was found, and it may be lower. 4:2:0 is the
    encoder's default and has no source. Platforms change.
    """
    return platform(longest=1600, quality=80)


def instagram() -> Transform:
    """Return a photo as Instagram may show it in a feed: at most 1080 pixels, JPEG quality 75, 4:2:0.

    As reported by pixelseal.com/research/experiments/instagram-recompression-study, which uploaded 20 photos and saw
    1080 pixels of width, qualities of about 75 to 85, and 4:2:0. The lowest is used, and the limit holds for both
    sides. Platforms change.
    """
    return platform(longest=1080, quality=75)


def facebook() -> Transform:
    """Return a photo as Facebook may show it: at most 2048 pixels, JPEG quality 85, 4:2:0.

    The side as reported by photographylife.com/how-to-properly-resize-images-for-facebook, of 2014; others saw 1920 in
    2021 (phototacopodcast.com/dimensions-and-quality-for-social-media-photo-sharing). The quality as reported of a
    photo of 2021 by ImageMagick in dsp.stackexchange.com/questions/74275. 4:2:0 is the encoder's default and has no
    source. Platforms change.
    """
    return platform(longest=2048, quality=85)


def x() -> Transform:
    """Return a photo as X, formerly Twitter, may show it: at most 4096 pixels, JPEG quality 85, 4:2:0.

    The quality as reported by Twitter's staff ("transcoded to 85% JFIF quality if the uploaded image has a higher
    quality", twittercommunity.com/t/upcoming-changes-to-png-image-support/118695, of 2018). The side as reported by
    phototacopodcast.com/dimensions-and-quality-for-social-media-photo-sharing, of 2021. 4:2:0 is the encoder's default
    and has no source. Platforms change.
    """
    return platform(longest=4096, quality=85)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
