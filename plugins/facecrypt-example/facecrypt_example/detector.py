"""A detector of its own: one that tells boxes alone, so that landmarks are placed into them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from facecrypt.plugin import Field, Found, average_landmarks

_SIZE = (0.97, 1.27)
_BELOW = 0.05
"""Width and height of a face in shares of the square that the cascade reports, and how much lower its middle is:
medians over the portraits that come with facecrypt."""


class Haar:
    """The cascade of Viola and Jones (2001) for upright, frontal faces, which comes with OpenCV.

    It tells no landmarks, so those of an average face are placed into its boxes: fine for portraits, wrong for heads
    that are turned.

    Args:
        neighbours: How many overlapping finds make a face: more find fewer wrong ones.
        smallest: Side of the smallest face, in pixels.
    """

    def __init__(
        self,
        *,
        neighbours: Annotated[int, Field(ge=1, le=100)] = 8,
        smallest: Annotated[int, Field(ge=20, le=10_000)] = 40,
    ) -> None:
        self.neighbours, self.smallest = neighbours, smallest

    def search(self, pixels: NDArray[np.uint8]) -> list[Found]:
        """Return the faces of a picture ``(H, W, 3)``, RGB."""
        grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
        smallest = (self.smallest, self.smallest)
        squares, _, weights = _cascade().detectMultiScale3(
            grey, minNeighbors=self.neighbours, minSize=smallest, outputRejectLevels=True
        )
        faces = []
        for (left, top, side, _), weight in zip(squares, np.ravel(weights), strict=True):
            x, y = left + side / 2, top + side * (0.5 + _BELOW)
            width, height = _SIZE[0] * side, _SIZE[1] * side
            box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)
            # A weight has no bound; this only puts faces in their order.
            faces.append(Found(box, average_landmarks(box.tolist()), float(1 / (1 + np.exp(-weight)))))
        return faces


@cache
def _cascade() -> cv2.CascadeClassifier:
    # Loaded in each process that needs it: it cannot be sent from one to another.
    folder = Path(cv2.__file__).parent / "data"
    return cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
