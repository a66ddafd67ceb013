"""Write docs/images/faces-*.jpg, and print how visible masks are by how large a face is in its photo.

Twelve faces that may be shown to everybody, drawn at 100, 300 and 1,000 pixels into photos of 12 megapixels: that of
the sample photo and those of people who do not exist. Enlarged, they have less fine texture than a camera would see,
and texture is what hides masks. Ten minutes on two CPU cores: python
docs/sizes.py, or make gallery with the other pictures.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.face import Face
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import sample_photo

FOLDER = Path(__file__).parent
OUTPUT = Path("protected/sizes")
VIRTUAL = FOLDER.parent / "facecrypt" / "data" / "virtual_targets"
PEOPLE = ("v02", "v03", "v05", "v07", "v08", "v11", "v13", "v14", "v15", "v18", "v20")
PHOTO = (4000, 3000)
SIZES = {100: (4, 3), 300: (4, 3), 1000: (2, 1)}
"""The height of a face's box in pixels, and how many faces stand beside and above each other in a photo."""
OVERRIDES = ("preset=mid", "steps=30", "held_out=[]", "format=png", "receipt.transforms=[]")


TILE = 384
"""Pixels of a sheet across which the largest views are shown; two stand side by side."""


class View(NamedTuple):
    """A way in which a sheet shows faces.

    Attributes:
        zoom: Pixels of the sheet for one of the photo; None is the whole photo fitted to a full-HD screen.
        centre: What is in the middle, as shares of the face's box across and down.
        columns: Faces side by side.
    """

    zoom: int | None
    centre: tuple[float, float]
    columns: int


SHEETS: dict[int, tuple[slice, tuple[View, ...]]] = {
    100: (slice(0, 12), (View(1, (0.5, 0.5), 6), View(2, (0.5, 0.5), 3))),
    300: (slice(0, 4), (View(1, (0.5, 0.5), 2), View(2, (0.5, 0.5), 2))),
    1000: (slice(0, 12, 3), (View(None, (0.5, 0.5), 2), View(1, (0.4, 0.45), 2), View(2, (0.29, 0.38), 2))),
}
"""By size: which faces, and how they are shown. Eyes are at .38 of a box."""


SECTION = """\
## Faces of three sizes

Preset `mid` with 30 steps on the sample photo's face and on eleven people who do not exist, drawn at 100, 300 and 1,000
pixels (the height of MTCNN's box) into photos of 12 megapixels: no other faces that may be shown to everybody come with
the packages installed here. Above each row of protected faces stands that of the originals. Enlarged drawings are
smooth, and texture hides masks: a sharp photo of the same size has room for more. The pictures are a pixel for a pixel
where the page is at least 768 pixels wide. What was measured stands in [results](results.md#large-faces).

```sh
python docs/sizes.py
```

### 100 pixels: twelve at 1:1, and enlarged twice

![Twelve faces of 100 pixels](images/faces-100.jpg)

### 300 pixels: four at 1:1, and enlarged twice

![Four faces of 300 pixels](images/faces-300.jpg)

### 1,000 pixels: four with the photo fitted to a full-HD screen, at 1:1, and enlarged twice

![Four faces of 1,000 pixels](images/faces-1000.jpg)
"""


class Shown(NamedTuple):
    """A face before and after.

    Attributes:
        before: The photo, ``(H, W, 3)``.
        after: The saved photo.
        face: What the run's report says of the face.
    """

    before: np.ndarray[Any, np.dtype[np.uint8]]
    after: np.ndarray[Any, np.dtype[np.uint8]]
    face: dict[str, Any]


def people() -> list[tuple[Image.Image, Face]]:
    """Return the pictures of the people, each with its face."""
    detector = FaceDetector()
    found = []
    for path in (sample_photo(), *(VIRTUAL / name / "0.png" for name in PEOPLE)):
        photo = read_photo(path)
        (face,) = detector.find(photo, "largest")
        found.append((Image.fromarray(photo.pixels), face))
    return found


def draw(everyone: Sequence[tuple[Image.Image, Face]], size: int, columns: int, rows: int) -> Image.Image:
    """Return a photo of people whose faces are so many pixels high, on a wall."""
    width, height = PHOTO[0] // columns, PHOTO[1] // rows
    photo = Image.new("RGB", PHOTO)
    for number, (picture, face) in enumerate(everyone):
        left, top, right, bottom = face.box
        scale = size / (bottom - top)
        # Four times the face's box, so that a large photo has its surroundings, and none has more than its cell.
        reach = min(2 * (bottom - top), width / scale / 2, height / scale / 2)
        x, y = (left + right) / 2, (top + bottom) / 2
        box = [max(0, round(x - reach)), max(0, round(y - reach)), round(x + reach), round(y + reach)]
        box = [*box[:2], min(picture.width, box[2]), min(picture.height, box[3])]
        part = picture.crop(box).resize(
            [round((box[2 + i] - box[i]) * scale) for i in (0, 1)], Image.Resampling.LANCZOS
        )
        wall = part.resize((6, 6), Image.Resampling.BOX).resize((width, height), Image.Resampling.BICUBIC)
        soft = Image.new("L", part.size)
        edge = max(part.size) // 30
        soft.paste(255, (2 * edge, 2 * edge, part.width - 2 * edge, part.height - 2 * edge))
        corner = (round(width / 2 - (x - box[0]) * scale), round(height / 2 - (y - box[1]) * scale))
        wall.paste(part, corner, soft.filter(ImageFilter.GaussianBlur(edge)))
        photo.paste(wall, (number % columns * width, number // columns * height))
    return photo


def protect(size: int, everyone: Sequence[tuple[Image.Image, Face]]) -> tuple[str, list[Shown]]:
    """Return the command that protects the faces at a size, and the faces in the order of the people."""
    columns, rows = SIZES[size]
    photos, output = OUTPUT / f"photos-{size}", OUTPUT / f"faces-{size}"
    photos.mkdir(parents=True, exist_ok=True)
    count = columns * rows
    for start in range(0, len(everyone), count):
        path = photos / f"{start // count:02d}.png"
        draw(everyone[start : start + count], size, columns, rows).save(path, compress_level=1)
    words = ["run", "recipes/quickstart.yaml", f"photos={photos}", *OVERRIDES, f"output={output}"]
    if cli.main(["run", "--allow-weak", *words[1:]]) != cli.DONE:
        raise SystemExit(f"facecrypt {shlex.join(words)} failed")
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    shown = []
    for photo, path in zip(report["photos"], sorted(photos.iterdir()), strict=True):
        before, after = read_photo(path).pixels, read_photo(output / path.name).pixels

        def place(face: dict[str, Any]) -> tuple[int, int]:
            left, top, right, bottom = face["box"]
            return int((top + bottom) / 2 * rows / PHOTO[1]), int((left + right) / 2 * columns / PHOTO[0])

        shown += [Shown(before, after, face) for face in sorted(photo["faces"], key=place)]
    return f"facecrypt {shlex.join(words)}", shown


def sheet(size: int, shown: Sequence[Shown]) -> Image.Image:
    """Return faces of a size, each before and, below, after."""
    which, views = SHEETS[size]
    chosen, bands = shown[which], []
    for view in views:
        side = 2 * TILE // view.columns
        for start in range(0, len(chosen), view.columns):
            for saved in (False, True):
                band = Image.new("RGB", (2 * TILE, side))
                for column, each in enumerate(chosen[start : start + view.columns]):
                    band.paste(
                        _view(each.after if saved else each.before, each.face["box"], view, side), (column * side, 0)
                    )
                bands.append(band)
    whole = Image.new("RGB", (2 * TILE, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        whole.paste(band, (0, top))
        top += band.height
    return whole


def _view(pixels: np.ndarray[Any, np.dtype[np.uint8]], box: Sequence[float], view: View, side: int) -> Image.Image:
    zoom = view.zoom or min(1920 / pixels.shape[1], 1080 / pixels.shape[0])
    extent = round(side / zoom)
    left, top = (
        round(low + share * (high - low) - extent / 2)
        for low, high, share in zip(box[:2], box[2:], view.centre, strict=True)
    )
    part = Image.fromarray(pixels).crop((left, top, left + extent, top + extent))
    return part.resize((side, side), Image.Resampling.BICUBIC)


def table(measured: dict[int, Sequence[Shown]]) -> str:
    """Return what was measured, a row for each size."""
    ways = ("monitor", "fitted", "phone", "enlarged")
    heads = ["face (pixels)", "faces", *(f"JOD, {way}" for way in ways), "FLIP", "largest change", "SFace*", "dlib*"]
    rows = [heads, ["---:"] * len(heads)]
    for size, shown in measured.items():
        jod = {way: [each.face["jod"][way] for each in shown] for way in ways}
        flip, change = (fmean(each.face[key] for each in shown) for key in ("flip", "max_abs"))
        seen = [[each.face["recognisers"][name]["similarity"] for each in shown] for name in ("sface", "dlib_resnet")]
        means = [f"{fmean(jod[way]):.2f}" for way in ways]
        last = [f"{flip:.3f}", f"{change:.1f}", *(f"{fmean(each):.2f}" for each in seen)]
        rows.append([f"{size:,}", str(len(shown)), *means, *last])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Make the sheets, and print the commands and the table."""
    shutil.rmtree(OUTPUT, ignore_errors=True)  # A photo that was made before would be left alone.
    everyone, measured = people(), {}
    for size in SIZES:
        command, measured[size] = protect(size, everyone)
        print(command)
        picture = sheet(size, measured[size])
        picture.save(FOLDER / "images" / f"faces-{size}.jpg", quality=88, subsampling="4:4:4", optimize=True)
    print(table(measured))


if __name__ == "__main__":
    main()
