"""What a recogniser is shown of a face."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.embedder import Embedder


def embedder_grid(embedder: Embedder, landmarks: Tensor, side: int) -> Tensor:
    """Return where the crops for a recogniser are sampled, ``(N, H, W, 2)``, by `crop_grid`.

    Args:
        embedder: The recogniser.
        landmarks: ``(N, 5, 2)``, x, y in pixels of the patches.
        side: Width and height of the patches in pixels.
    """
    spec = embedder.spec
    return crop_grid(landmarks, spec.template, (spec.height, spec.width), side)


def crops(embedder: Embedder, faces: Sequence[FaceImage]) -> Tensor:
    """Return what a recogniser is shown of faces of any sizes, ``(N, 3, H, W)``."""
    return torch.cat(
        [
            crop(face.pixels[None], embedder_grid(embedder, face.landmarks[None], face.pixels.shape[-1]))
            for face in faces
        ]
    )
