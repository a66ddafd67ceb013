from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aims import distances_to_targets, embed_targets, target_rows
from facecrypt.methods.iterative.batch import Batch
from facecrypt.methods.iterative.loop import ProtectionLoop, Surrogate
from facecrypt.methods.iterative.objective import Look
from facecrypt.pipeline.runner import build_loop
from facecrypt.recipe.check import check_recipe
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import VIRTUAL, Target, load_targets


@pytest.fixture(scope="module")
def pack(detector: FaceDetector) -> list[Target]:
    """The first three targets, the last of which has lost a photo."""
    first, second, third = load_targets(VIRTUAL, 3, detector, "all")
    return [first, second, replace(third, checks=third.checks[:1])]


def loop_of(embedder: Embedder, targets: Sequence[Target], **keys: object) -> ProtectionLoop:
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "steps": 2} | keys)
    return build_loop(recipe, [Surrogate("sface", embedder, 1.0)], targets)


def test_a_target_is_its_first_photo_their_mean_or_the_nearest_of_all(
    pack: list[Target], sface_embedder: Embedder, face_image: FaceImage
) -> None:
    own = embed(sface_embedder, [face_image])
    photos = [embed(sface_embedder, target.faces) for target in pack]
    expected = {
        "first": [each[0] for each in photos],
        "mean": [functional.normalize(each.mean(0), dim=0) for each in photos],
        "set": [each[(each @ own[0]).argmax()] for each in photos],
    }
    for how, embeddings in expected.items():
        away = distances_to_targets(own, embed_targets(sface_embedder, pack, how), target_rows(pack, how))
        assert torch.allclose(away[0], 2 - 2 * torch.stack(embeddings) @ own[0], atol=1e-5)
    assert target_rows(pack, "first") is None
    rows = target_rows(pack, "set")
    assert rows is not None
    assert rows.shape == (3, max(len(target.faces) for target in pack))
    assert rows[2].tolist()[1:] == [rows[2, 1].item()] * (rows.shape[1] - 1)


@pytest.mark.parametrize("how", ["mean", "set"])
def test_masks_follow_what_counts_of_a_target(
    how: str, pack: list[Target], sface_embedder: Embedder, face_image: FaceImage
) -> None:
    plain = loop_of(sface_embedder, pack).run([face_image], [0]).masks[0]
    other = loop_of(sface_embedder, pack, target_embedding=how).run([face_image], [0]).masks[0]
    assert not torch.equal(plain, other)


def test_a_weight_counts_in_the_loss(pack: list[Target], sface_embedder: Embedder, face_image: FaceImage) -> None:
    gradients = []
    for weight in (1.0, 3.0):
        targets = [replace(pack[0], weight=weight), *pack[1:]]
        loop = loop_of(sface_embedder, targets, self_weight=0.0)
        batch = Batch(loop, [face_image], [0], torch.autocast("cpu", enabled=False))
        look = Look(batch, batch.start(), 0)
        gradients.append(look.gradient(torch.tensor([0])))
    assert (gradients[1] - 3 * gradients[0]).abs().max() < 1e-4 * gradients[1].abs().max()
    heavy = [pack[0], pack[1], replace(pack[2], weight=1000.0)]
    assert loop_of(sface_embedder, heavy).run([face_image], [0]).targets == [2]


def test_weights_are_given_by_name(detector: FaceDetector) -> None:
    first, second = load_targets(VIRTUAL, 2, detector, "all", {"v02": 2.5})
    assert (first.weight, second.weight) == (1.0, 2.5)
    with pytest.raises(
        FacecryptError, match="target_weights: no target is named 'v2'. Did you mean 'v02'. Known: v01, v02"
    ):
        load_targets(VIRTUAL, 2, detector, "all", {"v2": 2.0})
