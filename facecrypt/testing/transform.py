"""What a transform promises: `facecrypt.transforms.base.Transform`."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import sample_photo
from facecrypt.testing.inputs import draws_nothing, expect, works
from facecrypt.transforms.base import Pixels, Transform

_SIZES = ((1, 1), (1, 9), (17, 3), (64, 48))
"""Heights and widths of odd pictures."""


def returns_8_bit_pixels(transform: Transform) -> None:
    """Whatever its size, a picture comes back as a picture."""
    promise = "returns 8-bit pixels"
    for height, width in _SIZES:
        with works(promise, "Take pictures of any size, from one pixel on."):
            seen: object = transform(_picture()[:height, :width].copy())
        expect(
            isinstance(seen, np.ndarray) and seen.dtype == np.uint8 and seen.ndim == 3 and seen.shape[-1] == 3,
            promise,
            measured=_describe(seen),
            allowed="(H, W, 3) in uint8",
            remedy="Round, clip to 0 to 255, and return an array of numpy in uint8.",
        )


def gives_the_same_for_the_same_pixels(transform: Transform) -> None:
    """A file is judged, cached and compared by what a transform makes of it: nothing else may play a part."""
    promise, remedy = "gives the same for the same pixels", "Draw random numbers from a fixed seed of its own."
    pixels, other = _picture(), _picture()[::-1].copy()
    with works(promise, remedy):
        first = transform(pixels.copy())
        transform(other)
        np.random.random()
        random.random()
        again = [transform(pixels.copy()) for _ in range(2)]
    expect(
        all(np.array_equal(first, each) for each in again),
        promise,
        measured="another picture the second time",
        allowed="the same",
        remedy=f"{remedy} Remember nothing of other pictures.",
    )


def leaves_its_pixels_as_they_are(transform: Transform) -> None:
    """The same pixels are shown to several transforms."""
    pixels = _picture()
    before = pixels.copy()
    with works("leaves its pixels as they are", "Work on a copy."):
        transform(pixels)
    expect(
        np.array_equal(pixels, before),
        "leaves its pixels as they are",
        measured="a change in place",
        allowed="none",
        remedy="Work on a copy.",
    )


def draws_nothing_from_shared_random_numbers(transform: Transform) -> None:
    """What others draw does not depend on whether files were transformed."""
    remedy = "Make a generator of its own: numpy.random.default_rng(0)."
    with draws_nothing(), works("draws nothing from shared random numbers", remedy):
        transform(_picture())


def shows_the_whole_picture_where_it_was(transform: Transform) -> None:
    """Faces are looked for where they were: the picture may be scaled and spoilt, not cropped, turned or mirrored."""
    pixels = _picture()
    with works("shows the whole picture where it was", "Return the picture, scaled at most."):
        size = (pixels.shape[1], pixels.shape[0])
        seen = Image.fromarray(transform(pixels.copy())).convert("RGB")
    same_size = np.asarray(seen.resize(size, Image.Resampling.BICUBIC))
    correlation = float(np.corrcoef(same_size.ravel(), pixels.ravel())[0, 1])
    expect(
        correlation > 0.8,
        "shows the whole picture where it was",
        measured=f"a correlation of {correlation:.2f} with the picture, brought to its size",
        allowed="> 0.8",
        remedy="Return the whole picture, upright and in RGB.",
    )


def _picture() -> Pixels:
    """Return a part of the built-in photo with a face in it, ``(160, 128, 3)``."""
    pixels: Pixels = read_photo(sample_photo()).pixels
    return pixels[60:220, 160:288].copy()


def _describe(seen: object) -> str:
    return f"{seen.shape} in {seen.dtype}" if isinstance(seen, np.ndarray) else type(seen).__name__


CHECKS = (
    returns_8_bit_pixels,
    gives_the_same_for_the_same_pixels,
    leaves_its_pixels_as_they_are,
    draws_nothing_from_shared_random_numbers,
    shows_the_whole_picture_where_it_was,
)
