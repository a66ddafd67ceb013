"""What of a person shows in a photo and can be told offline: skin tone and apparent sex. Guesses, which light turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

from facecrypt import registry
from facecrypt.choices import Trait
from facecrypt.errors import EmbeddingError
from facecrypt.faces.alignment import crop, face_grid
from facecrypt.faces.patches import FaceImage
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look

_CHEEKS = ((slice(66, 84), slice(26, 42)), (slice(66, 84), slice(70, 86)))
"""Rows and columns below the eyes, beside the nose, of the aligned 112x112 face area."""
_RECOGNISER = "dlib_resnet"


def measure_trait(trait: Trait, faces: Sequence[FaceImage]) -> Tensor:
    """Return a trait of each face, ``(N,)``, on the CPU.

    Args:
        trait: ``skin`` is its individual typology angle (Chardon et al., 1991) in degrees, from 90 of the lightest to
            -90; ``sex`` is 1 for who is taken for a woman and 0 for a man.
        faces: The faces.

    Raises:
        WeightsError: If the recogniser that tells the sex cannot be loaded.
        EmbeddingError: If it gives no embedding of a face.
    """
    return torch.stack([_typology_angle(face) for face in faces]) if trait == "skin" else _sex(faces)


def _typology_angle(face: FaceImage) -> Tensor:
    area = crop(face.pixels[None], face_grid(face.landmarks[None], face.pixels.shape[-1]))
    colours = rgb_to_lab(area)[0]
    skin = torch.cat([colours[:, rows, columns].flatten(1) for rows, columns in _CHEEKS], dim=1)
    lightness, _, yellow = skin.median(dim=1).values
    return torch.rad2deg(torch.atan2(lightness - 50, yellow.clamp_min(1e-3)))


def _sex(faces: Sequence[FaceImage]) -> Tensor:
    probe = json.loads((resources.files("facecrypt") / "data" / "sex_probe.json").read_text(encoding="utf-8"))
    seen = look(_recogniser(), faces)
    if seen.fault:
        raise EmbeddingError(f"sex: {seen.fault}. Set sex: false in the arguments of matched_far, or mend its weights.")
    weights, bias = torch.tensor(probe["weights"]), float(probe["bias"])
    return (seen.embeddings @ weights + bias > 0).float()


@cache
def _recogniser() -> Embedder:
    embedder: Embedder = registry.build("surrogate", _RECOGNISER, {})
    return embedder
