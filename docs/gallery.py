"""Write docs/images/quickstart.png: the face of the sample photo, protected, and the mask amplified.

Run it through make picture, which protects the photo first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from facecrypt.faces import FaceDetector
from facecrypt.photos import read_photo
from facecrypt.pipeline import sample_photo

GAIN = 8
SIDE = 320

original, protected = read_photo(sample_photo()), read_photo(Path(sys.argv[1]))
(face,) = FaceDetector().find(original, "all")
left, top, side = face.patch
region = np.s_[max(top, 0) : top + side, max(left, 0) : left + side]
before, after = original.pixels[region], protected.pixels[region]
mask = (128 + GAIN * (after.astype(int) - before)).clip(0, 255).astype(np.uint8)
tiles = [Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for each in (before, after, mask)]
row = Image.new("RGB", (SIDE * len(tiles), SIDE))
for number, tile in enumerate(tiles):
    row.paste(tile, (number * SIDE, 0))
target = Path(__file__).parent / "images" / "quickstart.png"
target.parent.mkdir(exist_ok=True)
row.save(target, optimize=True)
