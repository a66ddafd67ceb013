"""Damaged and hostile files: each is read or refused in one line, in bounded time and memory, and good ones go on."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from facecrypt.errors import PhotoError
from facecrypt.photos import reading
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.pipeline.runner import sample_photo
from facecrypt.recipe.check import load_recipe
from facecrypt.system.limits import LIBRARIES, Bounds
from tests.bomb_files import BOMBS, flat_png, slow_bmp, tiles
from tests.child_tasks import crash_on
from tests.mutate_photos import examine_many
from tests.pictures import make_image, written

QUICKSTART = Path(__file__).parents[1] / "tests" / "judged.yaml"
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows knows no limit of computing time")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hold a process to a number of bytes")
BOUNDS = Bounds(512 << 20, 10)
FINE = {"text.png", "packed.png", "entities.jpg", "nested.jpg", "brothers.jpg", "directories.jpg"}
"""Bombs whose picture is fine, whatever is beside it; the others are refused."""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    make_image(size=(40, 30)).save(tmp_path / "good.png")
    return tmp_path / "good.png"


def still_reads(good: Path) -> bool:
    return np.array_equal(read_photo(good, BOUNDS).pixels, np.asarray(make_image(size=(40, 30))))


def peak_memory(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@LINUX
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_gets_an_answer_within_its_bounds(name: str, good: Path, tmp_path: Path) -> None:
    reading._decoder.close()
    assert still_reads(good)
    assert reading._decoder._process is not None
    process = reading._decoder._process.pid
    before = peak_memory(process)
    path = written(BOMBS[name](), tmp_path / name)
    try:
        read_photo(path, BOUNDS)
        result = "read"
    except PhotoError as error:
        result = str(error)
    assert (result == "read") == (name in FINE), result
    assert result == "read" or (result.startswith(f"{path}: ") and result.endswith(".") and "\n" not in result)
    if reading._decoder._process and reading._decoder._process.pid == process:
        assert peak_memory(process) - before < BOUNDS.memory + LIBRARIES
    assert still_reads(good)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("palette.png", "GiB of memory to protect, more than limits.memory allows"),
        ("flat.png", "is 6000x6000 pixels, which need"),
        ("deep.png", "is 3000x3000 pixels, which need"),
        ("progressive.jpg", "is 14000x14000 pixels, which need"),
        ("lossless.webp", "is 12001x12001 pixels, which need"),
        ("canvas.webp", "it holds no picture"),
        ("large.webp", "too large"),
        ("huge.jpg", "too large"),
        ("wide.png", "too large"),
        ("square.png", "too large"),
        ("scans.jpg", "scans over 144 megapixels"),
        ("pages.tif", "holds 1000 or more pictures"),
        ("profile.png", "has a colour profile that unpacks to more than 1 MiB"),
    ],
)
def test_the_reason_is_told(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        read_photo(written(BOMBS[name](), tmp_path / name), BOUNDS)
    assert says in str(caught.value)
    if "need" in says:
        assert "(512 MiB). Scale it down, or raise limits.memory." in str(caught.value)


@LINUX
def test_what_takes_more_memory_than_its_header_says_is_stopped(tmp_path: Path) -> None:
    """Its tile of 3.6 gigapixels is not what the header calls the size of the picture."""
    path = written(tiles(60_000), tmp_path / "tiles.tif")
    with pytest.raises(PhotoError, match=r"takes more memory than its size in pixels tells|is damaged or cut short"):
        read_photo(path, Bounds(64 << 20, 10))


@POSIX
def test_what_takes_too_long_is_stopped(good: Path, tmp_path: Path) -> None:
    path = written(slow_bmp(), tmp_path / "slow.bmp")
    with pytest.raises(PhotoError, match=r"slow.bmp: takes more than 0.5 s to read, more than limits.seconds allows"):
        read_photo(path, Bounds(1 << 40, 0.5))
    assert still_reads(good)


def test_a_decoder_that_crashes_costs_one_photo(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "decode", crash_on)
    with pytest.raises(PhotoError, match=r"good.png: is damaged \(the process that read it crashed \(SIGSEGV\)\)"):
        read_photo(good)
    monkeypatch.undo()
    assert still_reads(good)


def test_damaged_photos_get_an_answer() -> None:
    results = list(examine_many(1, range(100)))
    assert [(number, complaint) for number, _, complaint in results if complaint] == []
    assert 10 < sum(result == "read" for _, result, _ in results) < 90


@pytest.mark.slow
def test_3000_damaged_photos_get_an_answer() -> None:
    assert [(number, complaint) for number, _, complaint in examine_many(0, range(3000)) if complaint] == []


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"good{number}.png").write_bytes(sample_photo().read_bytes())
    return folder


@pytest.mark.slow
@POSIX
def test_a_folder_loses_the_bad_photos_alone(photos: Path, tmp_path: Path) -> None:
    written(flat_png(14_000, 1, 0), photos / "bad-large.png")
    written(slow_bmp(), photos / "good1-bad-slow.bmp")
    written(b"\xff\xd8\xff" + b"\xff" * 3_000_000, photos / "bad-padding.jpg")
    written(random.Random(0).randbytes(10_000), photos / "bad-noise.jpg")
    keys = [f"photos={photos}", f"output={tmp_path / 'out'}", "steps=1", "workers=1"]
    keys += ["receipt.transforms=[]", "budget=null", "limits.memory=2 GiB", "limits.seconds=1"]
    report = runner.run(load_recipe(QUICKSTART, keys))
    told = {Path(photo["source"]).name: photo["reason"] or photo["status"] for photo in report.photos}
    for name, says in (
        ("good0.png", "written"),
        ("good1.png", "written"),
        ("good2.png", "written"),
        ("bad-large.png", "is 14000x14000 pixels, which need"),
        ("good1-bad-slow.bmp", "takes more than 1 s to read, more than limits.seconds allows"),
        ("bad-padding.jpg", "bytes of padding"),
        ("bad-noise.jpg", "is not a photo of a known format"),
    ):
        assert says in told.pop(name)
    assert not told


@pytest.mark.slow
def test_batches_shrink_where_memory_is_little(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    step = runner.ProtectionModule.predict_step

    def count(self: runner.ProtectionModule, batch: list[runner.Job], number: int) -> list[runner.Job]:
        together.append(len(batch))
        return step(self, batch, number)

    monkeypatch.setattr(runner.ProtectionModule, "predict_step", count)
    need = reading.measure_photo(photos / "good0.png")
    for memory, batches in (
        (need.total - 1, [3]),  # refused, each with its reason
        (need.total + need.held, [2, 1]),
    ):
        together.clear()
        keys = [f"photos={photos}", f"output={tmp_path / str(memory)}", "steps=1", f"limits.memory={memory}"]
        report = runner.run(load_recipe(QUICKSTART, [*keys, "receipt.transforms=[]", "budget=null"]))
        assert together == batches
        told = {photo["reason"] for photo in report.photos}
        assert (told == {""}) == (memory >= need.total)
        assert all("is 512x512 pixels, which need" in reason for reason in told - {""})
