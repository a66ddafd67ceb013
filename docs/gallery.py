"""Write docs/gallery.md and docs/images: the face of the sample photo, protected by the commands that stand beside it.

Each picture is made by the command line in this process, so that torch is loaded once, and its figures are those of the
run's report.json; docs/sizes.py adds faces of other people. Run it after a change of what masks look like: make
gallery, a quarter of an hour on two CPU cores.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sizes
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.face import Face
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import sample_photo

FOLDER = Path(__file__).parent
OUTPUT = "protected/gallery"
GAIN = 8
SIDE = 288  # So that a picture stays under 100 KB.


class Example(NamedTuple):
    """A picture of the page.

    Attributes:
        name: Name of its file.
        title: Its heading.
        text: What to look for.
        recipe: What the command runs.
        overrides: What it changes in the recipe.
    """

    name: str
    title: str
    text: str
    recipe: str
    overrides: tuple[str, ...]


QUICKSTART, TIPIM = "recipes/quickstart.yaml", "recipes/tipim.yaml"
JUDGED = ("surrogates=[{name: sface}]", "held_out=[{name: dlib_resnet}]")
"""One surrogate alone, so that a recogniser that is always here is left to judge."""

DEMO = Example(
    "demo",
    "what make demo makes",
    "Both recognisers that are always here give gradients, and the mask is the least visible of the presets below with "
    "which 8 of 10 others are expected to take this face for somebody else. Here that is `high`: slightly visible.",
    QUICKSTART,
    (),
)
EXAMPLES = (
    Example("low", "preset low", "Seen by who compares.", QUICKSTART, (*JUDGED, "preset=low")),
    Example("mid", "preset mid", "Light and shade a little other than they were.", QUICKSTART, (*JUDGED, "preset=mid")),
    Example("high", "preset high", "Features look retouched.", QUICKSTART, (*JUDGED, "preset=high")),
    Example("max", "preset max", "Plain to see.", QUICKSTART, (*JUDGED, "preset=max")),
    Example("tipim", "TIP-IM at epsilon 12", "The paper's method and strength: noise on skin and wall.", TIPIM, ()),
    Example(
        "tipim-budget",
        "TIP-IM at the SSIM of preset mid",
        "The same method with the epsilon that keeps an SSIM of 0.95.",
        TIPIM,
        ("budget={ssim: 0.95}",),
    ),
    Example(
        "colour",
        "colour",
        "All colour kept: tints, which SSIM hardly counts.",
        QUICKSTART,
        (*JUDGED, "preset=mid", "colour=1"),
    ),
    Example(
        "sharp", "low_pass", "No smoothing: lines as of a pencil.", QUICKSTART, (*JUDGED, "preset=mid", "low_pass=0")
    ),
    Example(
        "texture", "texture", "The mask does not spare smooth skin.", QUICKSTART, (*JUDGED, "preset=mid", "texture=0")
    ),
    Example(
        "region",
        "region and feather",
        "Less of the mask on hair, clothes and wall, and a fade towards the patch's border.",
        QUICKSTART,
        (*JUDGED, "preset=mid", "region={face: 1.0, outside: 0.25, features: 1.0}", "feather=40"),
    ),
)

INTRODUCTION = """\
# Gallery

<!-- Written by docs/gallery.py. Edit the examples there. -->

The face of the built-in sample photo, original, protected, and the mask {gain} times amplified around grey. Each
picture is one run of the command beneath it, cut out around the face, enlarged, and compressed as a JPEG for this page.
The figures are those of the run's `report.json`, measured on the saved photo. `make gallery` makes them all again.

In all but the first, SFace gave the gradients (`*`), so that its verdict says nothing of other recognisers; dlib's
ResNet judges. One photo and one judge say little, and a verdict close to the threshold may turn with the next photo:
[results](results.md) counts over many people. Photo: NASA, public domain.

## At a glance

```sh
make gallery
```

Cosines are those of the saved face with the original. From the threshold on, a recogniser says *still the same person*:
such cells are bold.

"""


def protect(recipe: str, overrides: tuple[str, ...], output: str) -> tuple[str, dict[str, Any]]:
    """Run a recipe and return the command and what its report says of the face."""
    words = ["run", recipe, *overrides, f"output={output}"]
    if cli.main(["run", "--allow-weak", *words[1:]]) != cli.DONE:
        raise SystemExit(f"facecrypt {shlex.join(words)} failed")
    report = json.loads((Path(output) / "report.json").read_text(encoding="utf-8"))
    return f"facecrypt {' '.join(_quoted(word) for word in words)}", report["photos"][0]["faces"][0]


def compare(original: Photo, protected: Photo, face: Face) -> Image.Image:
    """Return the patch of a face before and after, and what was added to it, side by side."""
    left, top, side = face.patch
    region = np.s_[max(top, 0) : top + side, max(left, 0) : left + side]
    before, after = original.pixels[region], protected.pixels[region]
    mask = (128 + GAIN * (after.astype(int) - before)).clip(0, 255).astype(np.uint8)
    row = Image.new("RGB", (SIDE * 3, SIDE))
    for number, tile in enumerate((before, after, mask)):
        row.paste(Image.fromarray(tile).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (number * SIDE, 0))
    return row


def overview(measured: dict[str, dict[str, Any]]) -> str:
    """Return the table of what was measured, a row per title."""
    recognisers = next(iter(measured.values()))["recognisers"]
    heads = [
        f"{name}{'*' if seen['white_box'] else ''}, threshold {seen['threshold']:.3f}"
        for name, seen in recognisers.items()
    ]
    rows = [
        "| run | grey levels | SSIM | PSNR (dB) | " + " | ".join(heads) + " |",
        "| --- |" + " ---: |" * (3 + len(heads)),
    ]
    for title, face in measured.items():
        cosines = [
            f"**{seen['similarity']:+.3f}**" if seen["still_recognised"] else f"{seen['similarity']:+.3f}"
            for seen in face["recognisers"].values()
        ]
        figures = [f"{face['max_abs']:g}", f"{face['ssim']:.3f}", f"{face['psnr']:.1f}", *cosines]
        rows.append(f"| {title} | {' | '.join(figures)} |")
    return "\n".join(rows) + "\n"


def section(example: Example, command: str) -> str:
    """Return what the page says of one picture."""
    return (
        f"## {example.title}\n\n{example.text}\n\n"
        f"![Original, protected with {example.title}, mask](images/{example.name}.jpg)\n\n"
        f"```sh\n{command}\n```\n"
    )


def _quoted(word: str) -> str:
    """Return a word as it is typed into a shell; double quotes read better than those of shlex."""
    return word if shlex.quote(word) == word else f'"{word}"'


def main() -> None:
    """Make every picture, and the page."""
    original = read_photo(sample_photo())
    (face,) = FaceDetector().find(original, "all")
    (FOLDER / "images").mkdir(exist_ok=True)
    shutil.rmtree(OUTPUT, ignore_errors=True)  # A photo that was made before would be left alone.
    sections, measured = [], {}
    for example in (DEMO, *EXAMPLES):
        output = f"{OUTPUT}/{example.name}"
        command, seen = protect(example.recipe, example.overrides, output)
        picture = compare(original, read_photo(Path(output) / sample_photo().name), face)
        picture.save(FOLDER / "images" / f"{example.name}.jpg", quality=75, subsampling="4:4:4", optimize=True)
        sections.append(section(example, command))
        if example is not DEMO:  # Nobody judges it but what is expected of others.
            measured[example.title] = seen
    sizes.main()
    page = [INTRODUCTION.format(gain=GAIN) + overview(measured), *sections, sizes.SECTION]
    (FOLDER / "gallery.md").write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
