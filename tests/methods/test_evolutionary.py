from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.evolutionary import Evolutionary
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from tests import trying

RAMP = torch.linspace(-1, 1, 16).expand(3, 16, 16)


def test_it_finds_the_nearest_picture_that_is_not_recognised() -> None:
    """Who is right of a plane is recognised: the nearest picture on the other side is known."""
    face = trying.blank(16)._replace(pixels=0.5 + 0.2 * RAMP)
    level = 0.05

    def recognised(images: Tensor) -> Tensor:
        return (images * RAMP).mean(dim=(1, 2, 3)) > level

    nearest = ((face.pixels * RAMP).sum() - level * RAMP.numel()) / RAMP.norm()
    recognisers = trying.Sees(recognised)
    distances = []
    for steps in (1, 100, 1500):
        task = trying.task("decisions", [face], recognisers=recognisers, steps=steps)
        (mask,) = Evolutionary(side=4).protect(task)
        assert not recognised((face.pixels + mask)[None])
        distances.append(mask.norm().item())
    assert distances[0] > distances[1] > distances[2]
    assert nearest <= distances[2] < 1.1 * nearest
    # Only what is nearer is asked about.
    assert len(recognisers.shown) < 1601


def test_few_coordinates_move_at_a_time() -> None:
    face = trying.blank(16)
    seen = trying.Sees(lambda images: (images - 0.5).abs().amax(dim=(1, 2, 3)) < 0.01)
    task = trying.task("decisions", [face], recognisers=seen, steps=1, seeds=[5])
    with pytest.raises(FacecryptError, match="take even a grey square for the person"):
        Evolutionary().protect(task)
    black = trying.blank(16, 0.0)
    seen = trying.Sees(lambda images: images.mean(dim=(1, 2, 3)) < 0.2)
    Evolutionary(side=16, share=0.01, mu=0.5).protect(trying.task("decisions", [black], recognisers=seen, steps=1))
    start, tried = (each[0] for each in seen.shown)
    moved = (tried - start * 0.5).abs() > 1e-6  # Half of the way to black; what else moves is z.
    assert moved.sum() == round(0.01 * 3 * 16 * 16)
    assert (tried - start * 0.5).norm().item() == pytest.approx(0.01 * start.norm().item(), rel=1e-4)


def test_it_begins_with_a_target_in_place_of_the_face(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    task = trying.task("decisions", [face_image], sface_embedder, targets[:2], steps=1)
    (mask,) = Evolutionary().protect(task)
    assert not task.recognisers.recognised(0, (face_image.pixels + mask)[None])
