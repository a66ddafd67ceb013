"""Where faces are in a picture: MTCNN, asked again in other turns where it is not sure of the upright ones.

MTCNN knows faces that are rolled by up to 45 degrees. Of photos that lie on their side or upside down, it finds some
faces all the same, with landmarks that are wrong, so that nothing that was made for them is where the face is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facecrypt.detectors.base import (
    SAME_FACE_OVERLAP,
    SMALLEST_FACE,
    Found,
    cut_out,
    overlap,
    surroundings,
    turn_back,
)

_SMALLEST_PROBABILITY = 0.9
"""From which something counts as a face."""
_CERTAIN = 0.999
"""From which nobody asks whether a face lies in another turn. Of 284 photos of LFW, upright, 269 reach it; of the same
photos on either side or upside down, 1 of 852 does, searched as they are. In each, the right turn is the likeliest."""
_SURE = 0.99
"""From which a face says which way up the picture is: 283 of those upright, and 22 of the 852, which are doubtful."""
_SUSPECT = 0.97
"""From which MTCNN's last network, shown a doubtful face in another turn, gives reason for a search there. Of 71 such
faces in their right turn, it says 0.989 or more of 95 %; of 15 doubtful upright ones in wrong turns, 0.967 at most."""
_THRESHOLDS = (0.6, 0.7, 0.03)
"""Those of MTCNN's three networks; its package has 0.7 for the last one. What that rejects may be a face in another
turn. To ask for less changes nothing above, since of boxes on one face the likeliest is kept."""
_BOX_THRESHOLDS = (0.4, 0.5, 0.5)
"""The same where a person says that there is a face."""
_ONET_SIDE = 48
"""Side of the crops of MTCNN's last network, in pixels."""
_MOST_DOUBTS = 16
"""Doubtful faces of a picture that are looked at in other turns, the largest first; a crowd has many."""


class Mtcnn:
    """MTCNN (Zhang et al., 2016) of facenet-pytorch, whose weights come inside its package. It runs on the CPU."""

    def __init__(self) -> None:
        self._network = _load(_THRESHOLDS)

    @cached_property
    def _for_boxes(self) -> Any:
        return _load(_BOX_THRESHOLDS)

    def search(self, pixels: NDArray[np.uint8]) -> list[Found]:
        """Return the faces of a picture, whichever way up they are.

        A picture that shows a face for sure is searched once. What may be a face in another turn is searched for there,
        in its neighbourhood, and if it is one, so is the whole picture. That is searched in all turns where no face
        says which way up it is.

        Args:
            pixels: ``(H, W, 3)``, RGB, no side below `SMALLEST_FACE`.
        """
        seen = _detect(self._network, pixels, 0)
        faces = [face for face in seen if face.probability >= _SMALLEST_PROBABILITY]
        turns = set()
        for suspect in self._suspect(pixels, [face for face in seen if face.probability < _CERTAIN]):
            likeliest = self.search_box(pixels, suspect.box.tolist())
            if likeliest and likeliest.turns and likeliest.probability >= max(_SURE, suspect.probability):
                faces = [face for face in faces if face is not suspect] + [likeliest]
                turns.add(likeliest.turns)
        if not any(face.probability >= _SURE for face in faces):
            turns = {1, 2, 3}
        for turn in sorted(turns):
            found = _detect(self._network, pixels, turn)
            faces += [face for face in found if face.probability >= _SMALLEST_PROBABILITY]
        return _without_other_turns(faces)

    def _suspect(self, pixels: NDArray[np.uint8], doubts: Sequence[Found]) -> list[Found]:
        """Return the doubtful faces that MTCNN's last network takes for likelier in another turn."""
        sides = [max(face.box[2] - face.box[0], face.box[3] - face.box[1]) for face in doubts]
        largest = sorted(zip(sides, doubts, strict=True), key=lambda pair: -pair[0])[:_MOST_DOUBTS]
        if not largest:
            return []
        views = []
        for side, face in largest:
            left, top = ((face.box[:2] + face.box[2:] - side) / 2).astype(int)
            square = cut_out(pixels, left, top, left + int(side) + 1, top + int(side) + 1, (_ONET_SIDE, _ONET_SIDE))
            views += [np.rot90(square, turns) for turns in (1, 2, 3)]
        crops = torch.from_numpy(np.stack(views).transpose(0, 3, 1, 2).copy()).float()
        with torch.no_grad():
            *_, probabilities = self._network.onet((crops - 127.5) / 128)
        likeliest = probabilities[:, 1].view(-1, 3).amax(dim=1).tolist()
        return [
            face
            for (_, face), probability in zip(largest, likeliest, strict=True)
            if probability >= max(_SUSPECT, face.probability)
        ]

    def search_box(self, pixels: NDArray[np.uint8], box: Sequence[float]) -> Found | None:
        """Return the likeliest face that overlaps a box, in any of the four turns, or None where none is found.

        The surroundings of the box are searched at a size that suits the network, with lower thresholds than a whole
        picture.

        Args:
            pixels: ``(H, W, 3)``, RGB.
            box: Left, top, right, bottom in pixels.
        """
        around = surroundings(pixels, box)
        best = None
        for turns in range(4):
            for each in _detect(self._for_boxes, around.pixels, turns):
                face = around.back(each)
                if face.probability > (best.probability if best else 0) and overlap(face.box, box) >= SAME_FACE_OVERLAP:
                    best = face
        return best


def _load(thresholds: tuple[float, float, float]) -> Any:
    from facenet_pytorch import MTCNN

    with torch.random.fork_rng(devices=[]):  # It draws weights before it reads its own.
        network = MTCNN(keep_all=True, min_face_size=SMALLEST_FACE, thresholds=thresholds, device="cpu")
    # Taking maxima is a third of the work, and quick only where the channels of a pixel lie together.
    return network.to(memory_format=torch.channels_last)


def _detect(network: Any, pixels: NDArray[np.uint8], turns: int) -> list[Found]:
    """Return the faces that are found in a picture after some quarter turns, where they are in the picture itself."""
    height, width = pixels.shape[:2]
    # One colour after the other in memory: a large photo shrinks in two thirds of the time then.
    planes = torch.from_numpy(np.rot90(pixels, turns).transpose(2, 0, 1).copy()).permute(1, 2, 0)
    boxes, probabilities, landmarks = network.detect(planes, landmarks=True)
    if boxes is None:
        return []
    faces = []
    for corners, probability, points in zip(boxes, probabilities, landmarks.astype(np.float32), strict=True):
        ends = turn_back(corners.reshape(2, 2), turns, (width, height))
        box = np.concatenate([ends.min(axis=0), ends.max(axis=0)]).astype(np.float64)  # They come as objects.
        marks = turn_back(points, turns, (width, height))
        faces.append(Found(box, np.asarray(marks, np.float32), float(probability), turns))
    return faces


def _without_other_turns(faces: Sequence[Found]) -> list[Found]:
    """Return faces of which none overlaps a likelier one, unless both are upright: MTCNN tells those apart itself."""
    kept: list[Found] = []
    for face in sorted(faces, key=lambda face: -face.probability):
        others = [other for other in kept if face.turns or other.turns]
        if all(overlap(face.box, other.box) < SAME_FACE_OVERLAP for other in others):
            kept.append(face)
    return kept
