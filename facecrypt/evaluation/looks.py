"""How visible the change of a saved face is: JOD in three ways of looking, and FLIP.

Measured on the 8-bit pixels as they were saved, in the face's patch and a little around it. What people see of a mask
depends on how large the face is shown: a phone that shows a photo of 4,000 pixels shows less of it than a monitor that
shows every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from facecrypt.faces.face import Face, Window
from facecrypt.vision.eye import FULL_HD, PHONE, Eye
from facecrypt.vision.flip import Flip

Pixels = NDArray[np.uint8]

_AROUND = 1 / 12
"""Of the patch's side, on each side: the mask's border shows best beside what has none."""
_LARGEST = 768
"""Of what is looked at, in pixels as shown: a larger face is judged by its middle, which is most of its features."""
_SMALLEST = 32
"""Of what is looked at; the border of the photo is repeated beyond."""
WAYS = ("monitor", "fitted", "phone", "enlarged")
"""The ways of looking of `Looks`."""


@dataclass(frozen=True)
class Looks:
    """How far a face in a saved photo looks from the original.

    Attributes:
        jod: By the way of looking: ``monitor`` is a full-HD monitor with a pixel for a pixel, ``fitted`` the same
            monitor that shows the whole photo, ``phone`` a phone that does, held as suits it, ``enlarged`` the monitor
            and the photo at twice its size. 10: nobody sees a difference; one less: a step that three of four people
            notice side by side.
        flip: Mean FLIP error of the photo ``fitted`` to the monitor, from 0, no difference, to 1. A pixel for a pixel,
            FLIP would see most of what eyes see least: changes that are wide and smooth, as in large faces.
    """

    jod: dict[str, float]
    flip: float


def measure(original: Pixels, saved: Pixels, face: Face) -> Looks:
    """Return how far a face of a saved photo looks from the original.

    Args:
        original: Pixels of the photo, ``(H, W, 3)``.
        saved: Pixels of the saved photo, of the same shape.
        face: The face as it was found in the original.
    """
    before, after = surroundings(original, face), surroundings(saved, face)
    height, width = original.shape[:2]
    fit = FULL_HD.fit(width, height)
    jod = Look(before, ("monitor", "fitted", "enlarged", "flip"), fit).at(after)
    flip = jod.pop("flip")
    shown = [_tensor(_middle(_resize(part, PHONE.fit(width, height)), _LARGEST)) for part in (before, after)]
    with torch.no_grad():
        jod["phone"] = Eye(shown[0], PHONE).jod(shown[1]).item()
    return Looks({way: jod[way] for way in WAYS}, flip)


class Look:
    """Tells how far versions of a part of a photo look from the original, in some ways.

    Args:
        before: The part in the original, ``(H, W, 3)``.
        ways: Of ``monitor``, ``fitted``, ``enlarged`` and ``flip``.
        fit: By which the photo is shrunk to be seen as a whole on the monitor, at most 1.
    """

    def __init__(self, before: Pixels, ways: Sequence[str], fit: float) -> None:
        before = _padded(before)
        self._fit = fit
        self._monitor = Eye(_tensor(_middle(before, _LARGEST))) if "monitor" in ways else None
        self._enlarged = Eye(_tensor(_twice(before))) if "enlarged" in ways else None
        shrunk = _tensor(_middle(_resize(before, fit), _LARGEST)) if {"fitted", "flip"} & {*ways} else None
        self._flip = Flip(shrunk) if shrunk is not None and "flip" in ways else None
        self._fitted = None
        if shrunk is not None and "fitted" in ways:
            self._fitted = self._monitor if fit == 1 and self._monitor else Eye(shrunk)

    def at(self, after: Pixels) -> dict[str, float]:
        """Return JOD, or the FLIP error, by the way of looking.

        Args:
            after: The part in the other version, of the same shape.
        """
        after, seen = _padded(after), {}
        with torch.no_grad():
            if self._monitor is not None:
                seen["monitor"] = self._monitor.jod(_tensor(_middle(after, _LARGEST))).item()
            if self._enlarged is not None:
                seen["enlarged"] = self._enlarged.jod(_tensor(_twice(after))).item()
            if self._flip is not None or self._fitted is not None:
                shrunk = _tensor(_middle(_resize(after, self._fit), _LARGEST))
                if self._flip is not None:
                    seen["flip"] = self._flip.error(shrunk).item()
                if self._fitted is not None:
                    same = self._fitted is self._monitor
                    seen["fitted"] = seen["monitor"] if same else self._fitted.jod(shrunk).item()
        return seen


def surroundings(pixels: Pixels, face: Face) -> Pixels:
    """Return the part of a photo in which the looks of a face are measured.

    Args:
        pixels: ``(H, W, 3)``.
        face: The face.

    Returns:
        Its patch and a twelfth of its side around it, as far as the photo reaches; at least 32 pixels each way.
    """
    left, top, right, bottom = place_to_look(pixels, face)
    return _padded(pixels[top:bottom, left:right])


def place_to_look(pixels: Pixels, face: Face) -> Window:
    """Return where `surroundings` lie in a photo, before they are padded.

    Args:
        pixels: ``(H, W, 3)``.
        face: The face.
    """
    left, top, side = face.patch
    height, width = pixels.shape[:2]
    more = round(side * _AROUND)
    return Window(
        max(left - more, 0), max(top - more, 0), min(left + side + more, width), min(top + side + more, height)
    )


def _padded(part: Pixels) -> Pixels:
    missing = [(0, max(0, _SMALLEST - extent)) for extent in part.shape[:2]]
    return np.pad(part, [*missing, (0, 0)], mode="edge")


def _middle(part: Pixels, largest: int) -> Pixels:
    top, left = (max(0, (extent - largest) // 2) for extent in part.shape[:2])
    return part[top : top + largest, left : left + largest]


def _resize(part: Pixels, factor: float) -> Pixels:
    if factor == 1:
        return part
    size = (max(_SMALLEST, round(part.shape[1] * factor)), max(_SMALLEST, round(part.shape[0] * factor)))
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))


def _twice(part: Pixels) -> Pixels:
    return _resize(_middle(part, _LARGEST // 2), 2)


def _tensor(part: Pixels) -> Tensor:
    return torch.from_numpy(part.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
