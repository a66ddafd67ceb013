"""Measure what a photo takes at the peak of a run, beside what `facecrypt.system.limits.need_of` says that it needs.

    python tests/measure_memory.py --side 4000
    python tests/measure_memory.py --side 4000 png webp-lossless-noise

For each kind of photo, a process of its own protects a small photo and then a large one, by the quickstart recipe with
one step. Counted is what the large one adds to the memory of this process and of the one that reads photos, together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that it is a command, too

from tests.pictures import make_png, make_tiff  # noqa: E402

KINDS = (
    "png", "png-noise", "png-full", "gray", "rgba-noise", "palette", "one-bit", "jpg", "jpg-noise", "progressive",
    "tif", "lzw", "bmp", "webp", "webp-alpha", "webp-lossless-noise", "avif", "heic", "deep", "deep-alpha", "deep-tif",
)  # fmt: skip
SMALL_SIDE = 300
_PULSE = 0.005  # seconds between looks at the memory


def make(kind: str, side: int, folder: Path) -> Path:
    """Make a square photo of a kind with a face in it."""
    words = kind.split("-")
    rng = np.random.default_rng(0)
    if "noise" in words:
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
    else:
        tiles = -(-side // 50)
        pixels = np.kron(rng.integers(90, 160, (tiles, tiles, 3), np.uint8), np.ones((50, 50, 1), np.uint8))
    image = Image.fromarray(np.ascontiguousarray(pixels[:side, :side]))
    face = Image.open(ROOT / "facecrypt/data/sample/astronaut.png").convert("RGB")
    image.paste(face.resize((side, side) if "full" in words else (side // 3, side // 3)), (0, 0))
    if "alpha" in words or kind.startswith("rgba"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)))
    extension = {"progressive": "jpg", "lzw": "tif"}.get(words[0], words[0])
    path = (
        folder / f"{kind}-{side}.{extension if extension in ('jpg', 'webp', 'tif', 'bmp', 'avif', 'heic') else 'png'}"
    )
    if words[0] == "deep":
        deep = np.asarray(image).astype("<u2" if "tif" in words else ">u2") * 257
        if "tif" in words:
            path = path.with_suffix(".tif")
            path.write_bytes(make_tiff(side, side, [16] * 3, 2, deep.tobytes()))
            return path
        rows = np.zeros((side, 1 + deep[0].nbytes), np.uint8)
        rows[:, 1:] = deep.view(np.uint8).reshape(side, -1)
        path.write_bytes(make_png(side, side, 16, 6 if "alpha" in words else 2, rows.tobytes()))
    elif words[0] == "heic":
        pillow_heif.from_pillow(image).save(path, quality=60)
    else:
        modes = {"gray": "L", "one-bit": "1"}
        image = image.quantize(16) if kind == "palette" else image.convert(modes.get(kind, image.mode))
        options = {
            "png": {"compress_level": 1},
            "palette": {"transparency": 3},
            "jpg": {"quality": 95},
            "progressive": {"quality": 95, "progressive": True, "subsampling": 0},
            "lzw": {"compression": "tiff_lzw"},
            "webp": {"lossless": "lossless" in words, "quality": 0 if "lossless" in words else 80, "method": 0},
            "avif": {"quality": 60, "speed": 10},
        }
        image.save(path, **options.get(words[0], {}))  # type: ignore[arg-type]
    return path


def measure(kind: str, side: int) -> tuple[float, float, float]:
    """Return bytes per pixel of a kind: those of its file, those at the peak, and those that it is said to need."""
    from facecrypt.photos import reading
    from facecrypt.pipeline import runner
    from facecrypt.recipe.check import load_recipe
    from facecrypt.system.limits import Bounds

    logging.disable(logging.CRITICAL)
    peak = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(_PULSE):
            child = reading._decoder._process
            peak = max(peak, sum(_resident(process) for process in (os.getpid(), child and child.pid) if process))

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        folder = Path(scratch)
        made = [folder / each for each in _make_apart(kind, side, folder)]
        peaks = []
        threading.Thread(target=watch, daemon=True).start()
        for path in made:
            peak = 0
            keys = ["steps=1", "limits.memory=1000GiB", "limits.seconds=1000", f"photos={path}", f"output={folder}/out"]
            report = runner.run(load_recipe(ROOT / "tests/judged.yaml", keys))
            assert [photo["status"] for photo in report.photos] == ["written"], report.photos[0]["reason"]
            peaks.append(peak)
        stop.set()
        need = reading.measure_photo(made[1], Bounds(1 << 50, 1000))
        size = made[1].stat().st_size
    return size / side**2, (peaks[1] - peaks[0]) / side**2, need.total / side**2


def _make_apart(kind: str, side: int, folder: Path) -> list[str]:
    """Make both photos in another process, whose memory is not counted."""
    command = [sys.executable, __file__, "--make", str(folder), "--side", str(side), kind]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:  # it has ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Measure the kinds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4000, help="width and height in pixels")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all by default")
    given = parser.parse_args()
    if given.make:
        print(*(make(given.kinds[0], side, given.make).name for side in (SMALL_SIDE, given.side)))
        return 0
    if given.one:
        file, peak, need = measure(given.kinds[0], given.side)
        print(f"{given.kinds[0]:20} {file:9.2f} {peak:9.1f} {need:9.1f}{'' if peak <= need else '  too little'}")
        return int(peak > need)
    print(f"{'bytes per pixel':20} {'file':>9} {'measured':>9} {'need':>9}", flush=True)
    status = 0
    for kind in given.kinds or KINDS:
        began = time.monotonic()
        command = [sys.executable, __file__, "--one", "--side", str(given.side), kind]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        status |= done.returncode
        print(done.stdout.rstrip() or done.stderr[-2000:], f"({time.monotonic() - began:.0f} s)", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
