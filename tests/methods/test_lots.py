from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facecrypt.errors import FacecryptError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.lots import Lots
from facecrypt.methods.reference import Literal
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Target
from tests import trying


def reference(embedder: Embedder, face: FaceImage, target: Target, steps: int) -> Tensor:
    """The paper's iteration on the embedding: x <- clip(x - eta / max|eta|), in grey levels."""
    literal = Literal(embedder, face, [target])
    (aim,) = literal.t
    x = literal.original
    for _ in range(steps):
        x = x.clone().requires_grad_()
        loss = ((aim - literal.f(x)) ** 2).sum() / 2
        (eta,) = torch.autograd.grad(loss, x)
        x = (x.detach() * 255 - eta / eta.abs().max()).clamp(0, 255) / 255
        x = literal.original + literal.inside * (x - literal.original)
    return (x - literal.original)[0]


def test_steps_are_those_of_the_paper(sface_embedder: Embedder, targets: list[Target], face_image: FaceImage) -> None:
    task = trying.task("gradients", [face_image], sface_embedder, targets[:3], epsilon=1.0, step_size=1 / 255)
    (mask,) = Lots(target=1).protect(task)
    assert torch.allclose(mask, reference(sface_embedder, face_image, targets[1], 3), atol=1e-5)
    assert task.recognisers.queries[0] == 3


def test_a_face_is_done_when_it_is_near_enough(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    keys = {"steps": 60, "epsilon": 1.0, "step_size": 2 / 255}
    task = trying.task("gradients", [face_image], sface_embedder, targets[:1], **keys)
    (mask,) = Lots(distance=0.9).protect(task)
    changed = face_image._replace(pixels=face_image.pixels + mask)
    a, b = (sface_embedder(crops(sface_embedder, [each]))[0] for each in (changed, targets[0].aim))
    assert 0.75 < (a - b).norm() <= 0.9
    assert task.recognisers.queries[0] < 60
    # Without a distance, it is the one at which the recogniser takes the face for the target.
    (tau,) = task.recognisers.thresholds
    assert tau is not None
    assert Lots()._enough(tau) == pytest.approx(math.dist((1, 0), (tau, math.sqrt(1 - tau**2))))
    assert Lots(layer="0")._enough(tau) == 0


def test_features_are_those_of_an_inner_layer(
    sface_embedder: Embedder, targets: list[Target], face_image: FaceImage
) -> None:
    task = trying.task("gradients", [face_image], sface_embedder, targets[:1], steps=2)
    (target,) = task.targets
    seen = task.recognisers.features_of(target, "1")
    crop = (crops(sface_embedder, [target]) * 255 - sface_embedder._mean) / sface_embedder._std
    first, second = list(sface_embedder.network.children())[:2]
    with torch.no_grad():
        assert torch.allclose(seen.layer, second(first(crop)).flatten(1), atol=1e-4)
    assert torch.equal(seen.embeddings, task.recognisers.features_of(target).layer)

    def distance(mask: Tensor) -> float:
        near = task.recognisers.features(0, (face_image.pixels + mask)[None], "20").layer
        return (near - task.recognisers.features_of(target, "20").layer).norm().item()

    (mask,) = Lots(layer="20").protect(task)
    assert distance(mask) < 0.985 * distance(torch.zeros_like(mask))


def test_what_is_not_there_is_said(sface_embedder: Embedder, targets: list[Target], face_image: FaceImage) -> None:
    task = trying.task("gradients", [face_image], sface_embedder, targets[:2])
    with pytest.raises(FacecryptError, match="surrogate 'sface' has no layer 'conv1' .* Name one of .*: 0, 1, 2"):
        Lots(layer="conv1").protect(task)
    with pytest.raises(FacecryptError, match="target 2 of 2 targets. Allowed: 0 to 1"):
        Lots(target=2).protect(task)
