from __future__ import annotations

import pytest
import torch

from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aligned import align, arcface, draw, faded, replace_face
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from facecrypt.templates import ARCFACE_TEMPLATE
from tests import trying


def test_a_template_keeps_its_place_at_every_size() -> None:
    assert torch.allclose(torch.tensor(arcface(112)), torch.tensor(ARCFACE_TEMPLATE))
    margin = torch.tensor(arcface(144, 16 / 112)) - torch.tensor(ARCFACE_TEMPLATE)
    assert torch.allclose(margin, torch.full((5, 2), 16.0))
    face = trying.blank(224)  # Where landmarks lie as in ArcFace's crop at twice its size.
    assert torch.allclose(torch.tensor(arcface(224)), face.landmarks, atol=1e-4)


def test_what_is_drawn_comes_back(face_image: FaceImage) -> None:
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0)), size=(112, 112), mode="bilinear"
    )[0]
    whole = face_image._replace(inside=torch.ones_like(face_image.inside))
    on_face = whole._replace(pixels=draw(smooth, whole, ARCFACE_TEMPLATE))
    back = align(on_face, ARCFACE_TEMPLATE, 112)
    assert (back - smooth)[:, 3:-3, 3:-3].abs().max() < 0.05
    # An aligned face is its own crop.
    assert torch.allclose(draw(smooth, trying.blank(112), ARCFACE_TEMPLATE), smooth, atol=1e-4)


def test_a_face_in_place_of_another_is_taken_for_it(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    other = align(targets[0].aim, ARCFACE_TEMPLATE, 112)
    pixels = replace_face(face_image, other, ARCFACE_TEMPLATE)
    own, seen, aim = embed(sface_embedder, [face_image, face_image._replace(pixels=pixels), targets[0].aim])
    assert seen @ aim > 0.8
    assert own @ seen < 0.3
    assert torch.equal(pixels[:, :2, :2], face_image.pixels[:, :2, :2])  # Beyond the aligned square.


def test_a_picture_fades_in_from_its_border(face_image: FaceImage) -> None:
    share = faded(10, 0.2)[0]
    assert share[5].tolist() == pytest.approx([0.25, 0.75, *[1.0] * 6, 0.75, 0.25])
    assert share[0, 0] == share[0, 5] == pytest.approx(0.25)
    assert (faded(4, 0) == 1).all()
    same = align(face_image, ARCFACE_TEMPLATE, 112)
    assert (replace_face(face_image, same, ARCFACE_TEMPLATE, 0.2) - face_image.pixels).abs().mean() < 0.02
