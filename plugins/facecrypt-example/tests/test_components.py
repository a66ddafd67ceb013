"""Every promise that facecrypt's protection loop relies on: a test each for the surrogate, one for each other part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from facecrypt_example.detector import Haar
from facecrypt_example.gradient import Ahead
from facecrypt_example.judge import Thumbnails
from facecrypt_example.naturalness import TotalVariation
from facecrypt_example.optimizer import Nesterov
from facecrypt_example.region import Sticker
from facecrypt_example.sink import Checksums
from facecrypt_example.source import Listing
from facecrypt_example.surrogate import build
from facecrypt_example.target_selector import Cycle
from facecrypt_example.transform import few_levels
from facecrypt_example.view import gamma
from PIL import Image

from facecrypt.plugin import Embedder
from facecrypt.testing import (
    SURROGATE_CHECKS,
    check_detector,
    check_gradient,
    check_judge,
    check_naturalness,
    check_optimizer,
    check_region,
    check_sink,
    check_source,
    check_target_selector,
    check_transform,
    check_view,
)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return build()


@pytest.mark.parametrize("check", SURROGATE_CHECKS)
def test_surrogate(check: Callable[[Embedder], None], embedder: Embedder) -> None:
    check(embedder)


def test_detector() -> None:
    check_detector(Haar())


def test_region() -> None:
    check_region(Sticker())
    check_region(Sticker(width=20, height=20))


def test_naturalness() -> None:
    check_naturalness(TotalVariation())


def test_target_selector() -> None:
    check_target_selector(Cycle())
    check_target_selector(Cycle(every=2))


def test_gradient() -> None:
    check_gradient(Ahead())


def test_judge() -> None:
    check_judge(Thumbnails())
    check_judge(Thumbnails(side=8))


def test_optimizer() -> None:
    check_optimizer(Nesterov())
    check_optimizer(Nesterov(decay=0.5))


def test_transform() -> None:
    check_transform(few_levels())
    check_transform(few_levels(levels=5))


def test_source(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "a.png")
    (tmp_path / "album.txt").write_text("a.png\n\na.png\n")
    check_source(Listing(), str(tmp_path / "album.txt"))


def test_sink() -> None:
    check_sink(Checksums())


def test_view() -> None:
    check_view(gamma())
