"""The words that recipes choose from, apart from names of components. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

FaceChoice = Literal["all", "largest", "aligned"]
"""Which faces of a photo: all, the largest, or the photo itself is an aligned face."""

Norm = Literal["linf", "l2"]
"""Which ball a mask stays in."""

PhotoFormat = Literal["same", "png"]
"""How protected photos are written: in the format of the input, or losslessly as PNG."""

MetadataPolicy = Literal["keep", "strip_gps", "strip"]
"""What of EXIF and XMP is kept: all but thumbnails, all but thumbnails and places, or nothing."""
