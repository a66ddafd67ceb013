"""dlib's face recognition network (29 layers, 128-d) as a torch module, with the weights of its ``.dat`` file.

The layers are those of dlib's ``examples/dnn_face_recognition_ex.cpp``, the file format that of its
``dlib/serialize.h`` and ``dlib/dnn/``. Three things set the network apart from a torchvision ResNet: convolutions of
stride 2 have no padding, a shortcut that changes the size is an average pool, and a sum fills the smaller side with
zeros, in channels, rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.errors import WeightsError
from facecrypt.surrogates.catalogue import DLIB_RESNET
from facecrypt.surrogates.embedder import Embedder

_ENTRIES = 131  # the loss, 108 layers, and 22 tags and skips, which hold nothing

# Channels after the stem and after each residual block, and which blocks halve the rows and columns.
_WIDTHS = (32, 32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
_HALVING = (4, 8, 11, 14)


def build() -> Embedder:
    """Return dlib's network, 128-d, with the weights inside the ``face-recognition-models`` package.

    Raises:
        WeightsError: If the package is not installed or its file is not the expected one.
    """
    return Embedder(read_network(DLIB_RESNET.weights.require().read_bytes()), DLIB_RESNET)


def read_network(data: bytes) -> nn.Sequential:
    """Return the network of a ``.dat`` file: prepared RGB chips ``(B, 3, 150, 150)`` to raw embeddings ``(B, 128)``.

    Args:
        data: The whole file.

    Raises:
        WeightsError: If the bytes are not laid out as this network, down to the last one.
    """
    # Made without memory and then given the stored tensors: no random numbers are drawn, so building changes no seed.
    with torch.device("meta"):
        network = _architecture()
    try:
        parameters = dict(zip(network.state_dict(), _parameters(_Reader(data)), strict=True))
        network.load_state_dict(parameters, assign=True)
    except (RuntimeError, ValueError) as error:
        raise _fault(f"a layer has another shape ({' '.join(str(error).split())[:200]})") from error
    return network


class _Residual(nn.Module):
    """Two convolutions beside a shortcut, ``(B, before, H, W)`` to ``(B, after, H', W')``."""

    def __init__(self, before: int, after: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(before, after, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.second = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = functional.avg_pool2d(features, 2) if self.halve else features
        inner = self.second(functional.relu(self.first(features)))
        shape = [max(sizes) for sizes in zip(inner.shape, shortcut.shape, strict=True)]
        return functional.relu(_fill(inner, shape) + _fill(shortcut, shape))


def _fill(features: Tensor, shape: list[int]) -> Tensor:
    """Return `features` with zeros added after its channels, rows and columns up to `shape`."""
    _, channels, rows, columns = (wanted - size for wanted, size in zip(shape, features.shape, strict=True))
    return functional.pad(features, (0, columns, 0, rows, 0, channels))


def _architecture() -> nn.Sequential:
    """Return the layers, each of dlib's per-channel affine layers folded into the convolution before it."""
    blocks = (
        _Residual(before, after, halve=index in _HALVING)
        for index, (before, after) in enumerate(pairwise(_WIDTHS), start=1)
    )
    stem = (nn.Conv2d(3, _WIDTHS[0], 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTHS[-1], 128, bias=False))
    return nn.Sequential(*stem, *blocks, *head)


class _Reader:
    """Reads dlib's serialised values one after another.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise _fault(f"it ends after {len(self._data)} bytes, where more were due")
        self._at += count
        return taken

    def integer(self) -> int:
        """Return an integer: a byte with its length and, in bit 7, its sign, then its bytes, lowest first."""
        (control,) = self.bytes(1)
        value = int.from_bytes(self.bytes(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> list[int]:
        """Return the next `count` integers. A floating-point number is two of them, mantissa and exponent."""
        return [self.integer() for _ in range(count)]

    def text(self) -> str:
        """Return a string."""
        return self.bytes(self.integer()).decode("latin-1")

    def shape(self) -> list[int]:
        """Return the four sizes of a view into a tensor: version 1, then the sizes."""
        self.expect(1, "the version of a view")
        return self.integers(4)

    def tensor(self) -> Tensor:
        """Return a tensor, flat, in float64: version 2, four sizes, then 32-bit floats, lowest byte first."""
        self.expect(2, "the version of a tensor")
        values = self.bytes(4 * prod(self.integers(4)))
        return torch.tensor(np.frombuffer(values, "<f4"), dtype=torch.float64)

    def expect(self, value: int | str, what: str) -> None:
        """Read an integer or a string that can only be `value`."""
        found = self.text() if isinstance(value, str) else self.integer()
        if found != value:
            raise _fault(f"{what} is {found!r} before byte {self._at}, expected {value!r}")

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise _fault(f"{len(self._data) - self._at} bytes are left after the last layer")


def _parameters(reader: _Reader) -> Iterator[Tensor]:
    """Yield the float32 parameters of `_architecture` in its order; folding is done in float64."""
    reader.expect(1, "the version of the loss")
    reader.expect("loss_metric_2", "the loss")
    reader.integers(4)  # its margin and distance threshold, two integers each
    reader.integers(_ENTRIES - 1)  # a version per entry, outermost first; what they hold follows innermost first
    reader.expect("input_rgb_image_sized", "the input")
    reader.integers(8)  # three means, rows and columns

    yield from _conv(reader, extra=1)  # the innermost layer also says how many samples one image makes
    _skip(reader, "relu_", 0)
    _skip(reader, "max_pool_2", 6)
    for index in range(1, len(_WIDTHS)):
        yield from _conv(reader)
        _skip(reader, "relu_", 0)
        yield from _conv(reader)
        if index in _HALVING:
            _skip(reader, "avg_pool_2", 6)
        _skip(reader, "add_prev_", 0)
        _skip(reader, "relu_", 0)
    _skip(reader, "avg_pool_2", 6)

    reader.expect("fc_2", "the last layer")
    inputs, outputs = reader.integers(2)[::-1]
    matrix = reader.tensor().view(inputs, outputs)
    _views(reader)
    reader.integers(9)  # whether there is a bias, and four rates
    _tail(reader)
    yield matrix.T.float().contiguous()
    reader.end()


def _conv(reader: _Reader, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the affine layer that follows it; `extra` integers stand between."""
    reader.expect("con_4", "a layer")
    values = reader.tensor()
    reader.integers(7)  # filters, rows, columns, strides and padding
    shape, _ = _views(reader)
    reader.integers(8)  # four rates
    _tail(reader)
    reader.integers(extra)
    weight, bias = values[: prod(shape)].view(shape), values[prod(shape) :]

    reader.expect("affine_", "a layer")
    scale, shift = reader.tensor().chunk(2)
    _views(reader)
    reader.integer()  # for convolutions or for matrices
    _tail(reader)
    return (weight * scale.view(-1, 1, 1, 1)).float(), (bias * scale + shift).float()


def _skip(reader: _Reader, name: str, integers: int) -> None:
    """Read a layer without parameters that stores so many integers."""
    reader.expect(name, "a layer")
    reader.integers(integers)
    _tail(reader)


def _views(reader: _Reader) -> tuple[list[int], list[int]]:
    """Return the shapes of the two views into a layer's parameters, weight and bias."""
    return reader.shape(), reader.shape()


def _tail(reader: _Reader) -> None:
    """Read what every layer ends with: three flags, then its gradient, output and parameter gradient, all empty."""
    reader.bytes(3)
    for _ in range(3):
        reader.tensor()


def _fault(reason: str) -> WeightsError:
    """Return the error for a file that is not this network."""
    return WeightsError(
        f"weights {DLIB_RESNET.weights.path}: {reason}. Install {DLIB_RESNET.weights.source} again, "
        "or name another recogniser."
    )
