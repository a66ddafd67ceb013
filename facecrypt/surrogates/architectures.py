"""Networks of published face checkpoints that no installed library has, under the names of their published weights.

Each function returns the network from prepared crops to raw embeddings ``(B, 512)``. The publishers' own scaling of
embeddings to length 1 is left out, as `facecrypt.surrogates.embedder.Embedder` does it. Dropout is left out where no
weight's name depends on it: the networks are never trained here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

DIMENSION: Final = 512
_IR_WIDTHS: Final = (64, 64, 128, 256, 512)
_SPHERE_WIDTHS: Final = (3, 64, 128, 256, 512)
_SPHERE20_BLOCKS: Final = (1, 2, 4, 1)


class _SqueezeExcite(nn.Module):
    """Weights each channel by what the means of all channels say of it (Hu et al., 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        means = features.mean((2, 3), keepdim=True)
        gates: Tensor = self.fc2(self.fc1(means).relu()).sigmoid()
        return features * gates


class _IRUnit(nn.Module):
    """The residual unit of ArcFace's "improved residual" networks (Deng et al., 2019)."""

    def __init__(self, before: int, after: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        # A pool of one pixel only skips pixels. It has no weights, and the checkpoints know of none.
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        if squeeze:
            self.res_layer.append(_SqueezeExcite(after))

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.res_layer(features) + self.shortcut_layer(features)
        return residual


def ir(units: Sequence[int], *, squeeze: bool) -> nn.Module:
    """Return an IR or IR-SE network for crops ``(B, 3, 112, 112)``.

    The names are those of TreB1eN/InsightFace_Pytorch (``model.py``), which ZhaoJ9014/face.evoLVe
    (``backbone/model_irse.py``) and the makeup-transfer protocol share.

    Args:
        units: Residual units in each of the four stages: 3, 4, 14, 3 for 50 layers, 3, 8, 36, 3 for 152.
        squeeze: Whether each unit ends with squeeze-and-excitation.
    """
    body: list[nn.Module] = []
    for stage, count in enumerate(units):
        before, after = _IR_WIDTHS[stage : stage + 2]
        body += [_IRUnit(before, after, 2, squeeze), *(_IRUnit(after, after, 1, squeeze) for _ in range(count - 1))]
    network = nn.Sequential()
    network.add_module(
        "input_layer", nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
    )
    network.add_module("body", nn.Sequential(*body))
    head = (
        nn.BatchNorm2d(512),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(512 * 7 * 7, DIMENSION),
        nn.BatchNorm1d(DIMENSION),
    )
    network.add_module("output_layer", nn.Sequential(*head))
    return network


def ir_50() -> nn.Module:
    """Return IR-50, the ResNet-50 of face recognition."""
    return ir((3, 4, 14, 3), squeeze=False)


def ir_152() -> nn.Module:
    """Return IR-152."""
    return ir((3, 8, 36, 3), squeeze=False)


def ir_se_50() -> nn.Module:
    """Return IR-SE50."""
    return ir((3, 4, 14, 3), squeeze=True)


class _MobileUnit(nn.Module):
    """The inverted bottleneck of MobileFaceNet: widen, filter each channel, narrow."""

    def __init__(self, before: int, wide: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv = _convolution(before, wide, 1)
        self.conv_dw = _convolution(wide, wide, 3, stride, groups=wide, padding=1)
        self.project = _convolution(wide, after, 1, active=False)
        self._residual = stride == 1

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.project(self.conv_dw(self.conv(features)))
        return features + changed if self._residual else changed


def _convolution(
    before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1, padding: int = 0, active: bool = True
) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False))
    layers.add_module("bn", nn.BatchNorm2d(after))
    if active:
        layers.add_module("prelu", nn.PReLU(after))
    return layers


def _mobile_units(count: int, channels: int, wide: int) -> nn.Sequential:
    units = nn.Sequential()
    units.add_module("model", nn.Sequential(*(_MobileUnit(channels, wide, channels, 1) for _ in range(count))))
    return units


def mobilefacenet() -> nn.Module:
    """Return MobileFaceNet (Chen et al., 2018) for crops ``(B, 3, 112, 112)``.

    The names are those of TreB1eN/InsightFace_Pytorch (``model.py``), which the makeup-transfer protocol shares.
    """
    network = nn.Sequential()
    for name, layer in (
        ("conv1", _convolution(3, 64, 3, 2, padding=1)),
        ("conv2_dw", _convolution(64, 64, 3, groups=64, padding=1)),
        ("conv_23", _MobileUnit(64, 128, 64, 2)),
        ("conv_3", _mobile_units(4, 64, 128)),
        ("conv_34", _MobileUnit(64, 256, 128, 2)),
        ("conv_4", _mobile_units(6, 128, 256)),
        ("conv_45", _MobileUnit(128, 512, 128, 2)),
        ("conv_5", _mobile_units(2, 128, 256)),
        ("conv_6_sep", _convolution(128, 512, 1)),
        ("conv_6_dw", _convolution(512, 512, 7, groups=512, active=False)),
        ("conv_6_flatten", nn.Flatten()),
        ("linear", nn.Linear(512, DIMENSION, bias=False)),
        ("bn", nn.BatchNorm1d(DIMENSION)),
    ):
        network.add_module(name, layer)
    return network


class _Sphere20A(nn.Module):
    """The 20 layers of SphereFace (Liu et al., 2017), all in one namespace: ``conv2_3`` is the third of stage 2."""

    def __init__(self) -> None:
        super().__init__()
        for stage, blocks in enumerate(_SPHERE20_BLOCKS, start=1):
            before, after = _SPHERE_WIDTHS[stage - 1 : stage + 1]
            for layer in range(1, 2 * blocks + 2):
                first = layer == 1
                convolution = nn.Conv2d(before if first else after, after, 3, 2 if first else 1, padding=1)
                self.add_module(f"conv{stage}_{layer}", convolution)
                self.add_module(f"relu{stage}_{layer}", nn.PReLU(after))
        self.fc5 = nn.Linear(512 * 7 * 6, DIMENSION)

    def forward(self, features: Tensor) -> Tensor:
        for stage, blocks in enumerate(_SPHERE20_BLOCKS, start=1):
            features = self._layer(stage, 1, features)
            for layer in range(2, 2 * blocks + 2, 2):
                features = features + self._layer(stage, layer + 1, self._layer(stage, layer, features))
        embeddings: Tensor = self.fc5(features.flatten(1))
        return embeddings

    def _layer(self, stage: int, layer: int, features: Tensor) -> Tensor:
        convolved = self.get_submodule(f"conv{stage}_{layer}")(features)
        activated: Tensor = self.get_submodule(f"relu{stage}_{layer}")(convolved)
        return activated


def sphere20_sphereface() -> nn.Module:
    """Return Sphere20 for crops ``(B, 3, 112, 96)``, with the names of clcarwin/sphereface_pytorch (``sphere20a``)."""
    return _Sphere20A()


class _SphereUnit(nn.Module):
    """Two convolutions without bias beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.prelu2 = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.prelu2(self.conv2(self.prelu1(self.conv1(features))))
        return features + changed


def sphere20_cosface() -> nn.Module:
    """Return Sphere20 for crops ``(B, 3, 112, 96)``, with the names of MuggleWang/CosFace_pytorch (``net.sphere``)."""
    network = nn.Sequential()
    for stage, blocks in enumerate(_SPHERE20_BLOCKS, start=1):
        before, after = _SPHERE_WIDTHS[stage - 1 : stage + 1]
        units = (_SphereUnit(after) for _ in range(blocks))
        layer = nn.Sequential(nn.Conv2d(before, after, 3, 2, padding=1), nn.PReLU(after), *units)
        network.add_module(f"layer{stage}", layer)
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(512 * 7 * 6, DIMENSION))
    return network
