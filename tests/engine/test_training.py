from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facecrypt.engine.training import MaskTraining, varied
from facecrypt.errors import PluginError
from facecrypt.faces.patches import FaceImage
from facecrypt.methods.aligned import align
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.mask_network import SIZE, TEMPLATE, MaskNetwork
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder


def test_the_loss_is_the_cosine_with_oneself(
    sface_embedder: Embedder, dlib_embedder: Embedder, face_image: FaceImage
) -> None:
    torch.manual_seed(0)
    training = MaskTraining(
        MaskNetwork(), [Surrogate("sface", sface_embedder, 1.0), Surrogate("dlib_resnet", dlib_embedder, 1.0)]
    )
    face = align(face_image, TEMPLATE, SIZE)
    landmarks = torch.tensor(TEMPLATE)
    with torch.no_grad():
        changed = (face + training.network(face[None])[0]).clamp(0, 1)
        cosines = []
        for embedder in (sface_embedder, dlib_embedder):
            before, after = (
                embedder(crops(embedder, [FaceImage(each, torch.ones(1, SIZE, SIZE), landmarks)]))[0]
                for each in (face, changed)
            )
            cosines.append((before @ after).item())
        found = training.similarity(face[None], landmarks[None])
    assert torch.allclose(found, torch.tensor([sum(cosines) / 2]), atol=1e-5)


def test_only_the_network_is_trained(sface_embedder: Embedder) -> None:
    training = MaskTraining(MaskNetwork(), [Surrogate("sface", sface_embedder, 1.0)])
    optimizer = training.configure_optimizers()
    trained = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert trained == {id(each) for each in training.network.parameters()}


def test_faces_vary_a_little() -> None:
    faces = torch.rand(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    seen, landmarks = varied(faces, torch.Generator().manual_seed(1))
    turned = [(a - b.flip(2)).abs().mean() < (a - b).abs().mean() for a, b in zip(seen, faces, strict=True)]
    assert 2 < sum(turned) < 14
    off = landmarks - torch.tensor(TEMPLATE)
    assert 0.5 < off.abs().mean() < 3
    assert 0 <= seen.min() <= seen.max() <= 1
    again, _ = varied(faces, torch.Generator().manual_seed(1))
    assert torch.equal(seen, again)


class Late(nn.Module):
    """A network that gives no numbers."""

    def forward(self, crops: Tensor) -> Tensor:
        return crops.mean(dim=(2, 3)) * torch.nan


def test_a_surrogate_that_goes_wrong_in_training_has_a_name(sface_embedder: Embedder) -> None:
    wrong = Embedder(Late(), replace(sface_embedder.spec, dimension=3))
    training = MaskTraining(MaskNetwork(), [Surrogate("mine", wrong, 1.0, origin="plug")])
    faces, landmarks = torch.rand(1, 3, SIZE, SIZE), torch.tensor(TEMPLATE)[None]
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode(), pytest.raises(PluginError, match=r"surrogate 'mine' \(plug\): .* not finite; expected a unit"):
            training.similarity(faces, landmarks)
