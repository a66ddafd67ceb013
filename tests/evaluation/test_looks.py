from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facecrypt.evaluation.looks import WAYS, Looks, measure, surroundings
from facecrypt.faces.face import Face, Patch
from facecrypt.pipeline.runner import sample_photo
from facecrypt.vision.eye import Display
from tests.processes import run


def photo(side: int) -> np.ndarray:
    """A square picture of a face of so many pixels."""
    image = Image.open(sample_photo()).convert("RGB").crop((160, 20, 330, 190))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def face(left: int, top: int, side: int) -> Face:
    return Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), Patch(left, top, side))


def noisy(pixels: np.ndarray, levels: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, levels, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def test_what_is_the_same_is_10_and_0() -> None:
    pixels = photo(100)
    looks = measure(pixels, pixels, face(10, 10, 80))
    assert looks.jod == dict.fromkeys(WAYS, 10.0)
    assert looks.flip == pytest.approx(0, abs=1e-5)


def test_more_noise_is_seen_more_in_every_way() -> None:
    pixels = photo(160)
    weak, strong = (measure(pixels, noisy(pixels, levels), face(10, 10, 140)) for levels in (2, 10))
    assert all(strong.jod[way] < weak.jod[way] < 10 for way in WAYS)
    if weak.flip is not None and strong.flip is not None:
        assert 0 < weak.flip < strong.flip


def test_fine_changes_show_more_when_enlarged() -> None:
    """What nobody sees at full size for its fineness is seen when the photo is enlarged."""
    pixels = photo(160)
    looks = measure(pixels, noisy(pixels, 8), face(10, 10, 140))
    assert looks.jod["enlarged"] < looks.jod["monitor"] < looks.jod["phone"]


@pytest.mark.slow
def test_a_phone_shows_a_large_photo_as_a_whole() -> None:
    """Shrunk to the screen, noise averages out: a third of the pixels' size leaves a third of it."""
    pixels = photo(1000)
    wide = np.zeros((3000, 3000, 3), np.uint8)
    wide[:1000, :1000] = pixels
    changed = wide.copy()
    changed[:1000, :1000] = noisy(pixels, 8)
    large = measure(wide, changed, face(0, 0, 1000))
    small = measure(pixels, noisy(pixels, 8), face(0, 0, 1000))
    assert large.jod["phone"] > small.jod["phone"]
    assert large.jod["monitor"] == pytest.approx(small.jod["monitor"], abs=0.1)


def test_a_monitor_shows_a_small_photo_as_it_is() -> None:
    pixels = photo(160)
    jod = measure(pixels, noisy(pixels, 8), face(10, 10, 140)).jod
    assert jod["fitted"] == jod["monitor"] < 10


def test_flip_looks_at_the_photo_fitted_to_the_monitor() -> None:
    """A pixel for a pixel, it would see a wide smooth change as well in a large face as in a small one."""
    part = photo(320)
    changes = []
    for side in (320, 3000):
        pixels = np.zeros((side, side, 3), np.uint8)
        pixels[:320, :320] = part
        changed = pixels.copy()
        changed[:320, :320] = noisy(part, 8)
        changes.append(measure(pixels, changed, face(0, 0, 300)))
    assert changes[1].flip < 0.8 * changes[0].flip
    assert changes[1].jod["monitor"] == pytest.approx(changes[0].jod["monitor"], abs=0.1)


@pytest.mark.parametrize(
    ("width", "height", "shrunk"), [(1920, 1080, 1), (1080, 1920, 2), (3840, 2160, 2), (1922, 90, 1)]
)
def test_a_monitor_is_not_turned_to_fit_a_photo(width: int, height: int, shrunk: float) -> None:
    """A phone is, so that one of 2400x1080 shows both photos of full HD as they are."""
    part = photo(320)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:320, :320] = part[:height]
    changed = pixels.copy()
    changed[:320, :320] = noisy(part, 8)[:height]
    jod = measure(pixels, changed, face(0, 0, 300)).jod
    if shrunk == 1:
        assert jod["fitted"] == pytest.approx(jod["monitor"], abs=0.05)
    else:  # Fine noise averages out.
        assert jod["fitted"] > jod["monitor"] + 0.1


@pytest.mark.parametrize(
    ("left", "top", "side"), [(-30, -30, 60), (70, 70, 60), (0, 0, 20), (90, 0, 12), (40, 40, 100)]
)
def test_faces_small_or_at_the_border_have_looks(left: int, top: int, side: int) -> None:
    pixels = photo(100)
    looks = measure(pixels, noisy(pixels, 10), face(left, top, side))
    assert isinstance(looks, Looks)
    assert all(5 < value < 10 for value in looks.jod.values())


def test_only_the_surroundings_count() -> None:
    pixels = photo(200)
    changed = pixels.copy()
    changed[:, 150:] = 0
    assert measure(pixels, changed, face(20, 20, 100)).jod == dict.fromkeys(WAYS, 10.0)
    assert surroundings(pixels, face(20, 20, 120)).shape == (140, 140, 3)


@pytest.mark.slow
def test_large_faces_cost_no_more_than_their_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    from facecrypt.evaluation import looks

    sizes = []

    class Sized(looks.Eye):
        def __init__(self, originals: torch.Tensor, *display: Display) -> None:
            sizes.append(originals.shape[-2:])
            super().__init__(originals, *display)

    monkeypatch.setattr(looks, "Eye", Sized)
    pixels = np.zeros((4000, 3000, 3), np.uint8)
    measure(pixels, pixels, face(0, 0, 3000))
    assert len(sizes) == len(WAYS)
    assert max(max(size) for size in sizes) <= 768


@pytest.mark.slow
def test_flip_is_that_of_the_packages_own_command(tmp_path: Path) -> None:
    """ColorVideoVDP's command cannot be asked: it downloads a library to read pictures. See test_vision.py."""
    pytest.importorskip("flip_evaluator", reason="flip-evaluator is not installed")
    before = photo(160)
    after = noisy(before, 6)
    for name, pixels in (("before", before), ("after", after)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    said = run(
        [
            *(sys.executable, "-c", "from flip_evaluator.flip_python_api import main; main()"),
            *("-r", tmp_path / "before.png", "-t", tmp_path / "after.png", "-nexm", "-nerm"),
        ],
        folder=tmp_path,
        check=True,
    ).stdout
    mean = next(line for line in said.splitlines() if "Mean" in line)
    assert measure(before, after, face(0, 0, 160)).flip == pytest.approx(float(mean.split()[-1]), abs=1e-4)
