from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import EmbedderSpec

SPEC = replace(SFACE, height=6, width=4, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), dimension=3)


class Average(nn.Module):
    """The mean of each channel, times a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.dropout = nn.Dropout(0.5)

    def forward(self, prepared: Tensor) -> Tensor:
        return self.dropout(prepared.mean((2, 3)) * self.scale)


def embedder(spec: EmbedderSpec = SPEC) -> Embedder:
    return Embedder(Average(), spec)


def test_prepares_crops_as_the_spec_says() -> None:
    grey = torch.full((2, 3, 6, 4), 100 / 255)
    torch.testing.assert_close(embedder().raw(grey), torch.tensor([[90.0, 40.0, 17.5]] * 2))


def test_bgr_networks_see_the_channels_reversed_after_scaling() -> None:
    grey = torch.full((1, 3, 6, 4), 100 / 255)
    torch.testing.assert_close(
        embedder(replace(SPEC, channel_order="bgr")).raw(grey), torch.tensor([[17.5, 40.0, 90.0]])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_gives_unit_embeddings_in_float32(dtype: torch.dtype) -> None:
    embeddings = embedder().to(dtype)(torch.rand(5, 3, 6, 4, dtype=dtype))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("shape", [(1, 3, 4, 6), (1, 1, 6, 4), (3, 6, 4)])
def test_refuses_crops_of_another_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 3, 6, 4\)"):
        embedder().raw(torch.zeros(shape))


def test_many_crops_without_gradient_go_in_parts_on_a_cpu() -> None:
    seen: list[int] = []
    average = embedder()
    average.network.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    crops = torch.rand(19, 3, 6, 4)
    whole = average(crops)
    with torch.no_grad():
        torch.testing.assert_close(average(crops), whole)
        assert average(crops[:0]).shape == (0, 3)
    assert seen == [19, 8, 8, 3, 0]


def test_stays_frozen_and_in_evaluation_mode() -> None:
    owner = nn.ModuleList([embedder()]).train()
    assert not any(module.training for module in owner[0].modules())
    assert not any(parameter.requires_grad for parameter in owner.parameters())


def test_gradients_reach_the_crops() -> None:
    crops = torch.rand(2, 3, 6, 4, requires_grad=True)
    embedder()(crops)[0].sum().backward()
    assert crops.grad is not None
    assert crops.grad[0].abs().min() > 0
    assert crops.grad[1].abs().max() == 0


def test_has_no_state_of_its_own() -> None:
    assert set(embedder().state_dict()) == {"network.scale"}
