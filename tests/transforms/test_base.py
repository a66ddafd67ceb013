"""The guard: what a transform of a plugin may do wrong, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from facecrypt import registry, testing
from facecrypt.errors import PluginError
from facecrypt.transforms.base import Pixels, publish

COUNT = iter(range(1_000_000))


def changes_its_input(pixels: Pixels) -> Pixels:
    pixels[0] = 0
    return pixels.copy()


def counts(pixels: Pixels) -> Pixels:
    return (pixels + next(COUNT)).astype(np.uint8)


def crashes(pixels: Pixels) -> Pixels:
    raise ValueError("no such pixels")


def exits(pixels: Pixels) -> Pixels:
    raise SystemExit(3)


WRONG: dict[str, tuple[Callable[[Pixels], Any], str]] = {
    "returns_nothing": (lambda pixels: None, "returned NoneType; expected pixels: (H, W, 3) in uint8"),
    "returns_floats": (lambda pixels: pixels / 255, "returned (9, 12, 3) in float64; expected pixels"),
    "returns_grey": (lambda pixels: pixels[..., 0], "returned (9, 12) in uint8; expected pixels"),
    "returns_alpha": (lambda pixels: np.dstack([pixels, pixels[..., :1]]), "returned (9, 12, 4) in uint8"),
    "returns_no_pixels": (lambda pixels: pixels[:0], "returned (0, 12, 3) in uint8"),
    "draws": (lambda pixels: np.random.default_rng().permutation(pixels), "gave two results for the same pixels"),
    "counts": (counts, "gave two results for the same pixels"),
    "changes_its_input": (changes_its_input, "it changed the pixels that it was given"),
    "crashes": (crashes, "raised ValueError (test_base.py, line "),
    "exits": (exits, "raised SystemExit (test_base.py, line "),
}


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    own = registry.Registry()
    monkeypatch.setattr(registry, "get", own.get)
    monkeypatch.setattr(registry, "build", own.build)
    for name, (transform, _) in WRONG.items():
        own.register("transform", name, lambda each=transform: each, summary="wrong")
    own.register("transform", "no_transform", lambda: 3, summary="wrong")


PIXELS = np.arange(9 * 12 * 3, dtype=np.uint8).reshape(9, 12, 3)


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_transform_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.Component, "arguments", lambda self: {})
    transform = publish(name)
    with pytest.raises(PluginError) as error:
        transform(PIXELS.copy())
    assert str(error.value).startswith(f"transform {name!r} (this program): ")
    assert WRONG[name][1] in str(error.value)


@pytest.mark.usefixtures("wrong")
def test_what_is_built_must_be_a_function() -> None:
    with pytest.raises(PluginError, match="was built as int; expected a function of pixels"):
        publish("no_transform")


CHECKED = {
    "returns_nothing": "returns_8_bit_pixels",
    "returns_floats": "returns_8_bit_pixels",
    "returns_grey": "returns_8_bit_pixels",
    "draws": "gives_the_same_for_the_same_pixels",
    "counts": "gives_the_same_for_the_same_pixels",
    "changes_its_input": "leaves_its_pixels_as_they_are",
    "crashes": "returns_8_bit_pixels",
}


@pytest.mark.parametrize("name", CHECKED)
def test_the_conformance_checks_find_it_too(name: str) -> None:
    with pytest.raises(AssertionError, match=CHECKED[name]):
        testing.check_transform(WRONG[name][0])


def test_the_conformance_checks_want_the_whole_picture_and_own_random_numbers() -> None:
    def shares(pixels: Pixels) -> Pixels:
        np.random.random()
        return pixels

    with pytest.raises(AssertionError, match="draws_nothing_from_shared_random_numbers"):
        testing.check_transform(shares)
    with pytest.raises(AssertionError, match="shows_the_whole_picture_where_it_was"):
        testing.check_transform(lambda pixels: pixels[:, ::-1].copy())
    assert testing.check_transform(lambda pixels: pixels) == []
