from __future__ import annotations

import pytest
import torch

from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aligned import align, arcface
from facecrypt.methods.k_same import KSame, nearest
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from tests import trying


def test_the_nearest_are_those_of_least_distance() -> None:
    draws = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    face, others = draws[0], draws[1:]
    distances = [
        sum(((a - b) ** 2).item() for a, b in zip(face.flatten(), other.flatten(), strict=True)) for other in others
    ]
    assert nearest(face, others, 3).tolist() == sorted(range(8), key=distances.__getitem__)[:3]


def test_a_face_becomes_the_mean_of_others(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    (mask,) = KSame(k=3, feather=0).protect(trying.task("nothing", [face_image], targets=targets))
    pixels = face_image.pixels + mask
    template = arcface(144, 0.12)
    others = torch.stack([align(target.aim, template, 144) for target in targets])
    mean = others[nearest(align(face_image, template, 144), others, 3)].mean(dim=0)
    seen = align(face_image._replace(pixels=pixels), template, 144)
    assert (seen - mean)[:, 40:-40, 40:-40].abs().mean() < 0.02
    own, after = embed(sface_embedder, [face_image, face_image._replace(pixels=pixels)])
    assert own @ after < 0.3
    with pytest.raises(FacecryptError, match="needs faces to take the mean of"):
        KSame().protect(trying.task("nothing", [face_image]))


def test_all_take_part_where_there_are_fewer_than_k(targets: list[Target], face_image: FaceImage) -> None:
    two, many = (KSame(k=k).protect(trying.task("nothing", [face_image], targets=targets[:2]))[0] for k in (2, 50))
    assert torch.equal(two, many)
