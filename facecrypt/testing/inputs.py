"""What checks are made of: the sample face in the forms that components take, and how a broken promise is told."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PluginError
from facecrypt.faces.alignment import crop, crop_grid, face_grid
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.iterative.boundary import Guard
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import sample_photo
from facecrypt.surrogates.spec import EmbedderSpec

_TILES = 4
"""A gradient reaches every part of a picture if it is somewhere nonzero in each of TILES x TILES parts."""


def expect(holds: bool | Tensor, promise: str, *, measured: object, allowed: object, remedy: str) -> None:
    """Raise AssertionError, in one line, unless the promise holds."""
    if not holds:
        raise AssertionError(f"{promise}: measured {measured}, allowed {allowed}. {remedy}")


@contextmanager
def works(promise: str, remedy: str) -> Iterator[None]:
    """Turn whatever a component raises in this context into an AssertionError."""
    try:
        yield
    except (AssertionError, PluginError):  # These say already what is wrong.
        raise
    except Exception as error:  # A component is somebody else's code: it may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise AssertionError(f"{promise}: measured {reason}, allowed no exception. {remedy}") from error


def expect_device(promise: str, compute: Callable[[torch.device], Tensor]) -> None:
    """Raise AssertionError unless something computes, and stays, where its inputs are: on CUDA where there is one.

    Elsewhere on torch's device ``meta``, which has shapes and no values but as little to do with the CPU. What looks at
    values cannot be followed there, and skips.

    Args:
        promise: What is promised.
        compute: Computes a result of inputs on a device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "meta")
    remedy = "Make tensors on the device of what is given, and keep them as long as one call takes."
    try:
        with _OneDevice(device):
            found = compute(device)
    except Exception as error:  # A component is somebody else's code: it may raise anything.
        told = " ".join(str(error).split())
        if device.type == "meta" and not _MIXES.search(told):
            raise SkipTest("it looks at values, so this needs a CUDA device") from error
        raise AssertionError(f"{promise}: measured {told[:300]}, allowed one device throughout. {remedy}") from error
    expect(
        not isinstance(found, Tensor) or found.device.type == device.type,
        promise,
        measured=f"a result on {getattr(found, 'device', None)}",
        allowed=str(device),
        remedy=remedy,
    )


_MIXES = re.compile(r"expected device|same device|is on cpu")


class _OneDevice(TorchFunctionMode):
    """Raises where an operation is given tensors of another device as well, which not all of those on ``meta`` do.

    Args:
        device: Where all are to be.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._kind = device.type

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the arguments, and go on. Scalars, and what indexes or is copied, may come from the CPU."""
        given = [each for each in (*args, *(kwargs or {}).values()) if isinstance(each, Tensor) and each.ndim]
        kinds = {each.device.type for each in given}
        if len(kinds) > 1 and self._kind in kinds and getattr(func, "__name__", "") not in _MAY_MIX:
            other = next(kind for kind in kinds if kind != self._kind)
            raise RuntimeError(f"Tensor on device {other} is not on the expected device {self._kind}!")
        return func(*args, **(kwargs or {}))


_MOVES = ("__set__", "_has_compatible_shallow_copy_type", "swap_tensors")  # a module to another device
_MAY_MIX = (*_MOVES, "to", "type_as", "copy_", "__getitem__", "__setitem__", "index_put_", "_index_put_impl_")


@contextmanager
def draws_nothing() -> Iterator[None]:
    """Raise AssertionError if global random numbers are drawn in this context: those of torch, NumPy or Python."""
    before = _numbers()
    yield
    changed = [name for name, drawn in _numbers().items() if drawn != before[name]]
    expect(
        not changed,
        "draws no global random numbers",
        measured=f"another state of the random numbers of {' and '.join(changed)}",
        allowed="the same state",
        remedy="Draw from the numbers or the generator that it is given: others differ between runs of one seed.",
    )


def _numbers() -> dict[str, object]:
    state = np.random.get_state(legacy=True)
    assert isinstance(state, tuple)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (state[1].tobytes(), *state[2:]),
        "random": random.getstate(),
    }


def expect_everywhere(gradient: Tensor, promise: str, remedy: str, parts: int = _TILES) -> None:
    """Raise AssertionError unless the gradient ``(N, 3, H, W)`` is finite, and nonzero in every part of a picture.

    Args:
        gradient: The gradient.
        promise: What is promised.
        remedy: What to do where it is not kept.
        parts: Parts of a picture in each direction.
    """
    count = int((~gradient.isfinite()).sum())
    expect(count == 0, promise, measured=f"{count} values that are not finite", allowed="none", remedy=remedy)
    tiles = functional.adaptive_max_pool2d(gradient.abs().amax(dim=1, keepdim=True), parts)
    empty = int((tiles == 0).sum())
    expect(
        empty == 0,
        promise,
        measured=f"no gradient in {empty} of {tiles.numel()} parts ({parts}x{parts} per picture)",
        allowed="some in each",
        remedy=remedy,
    )


def unguarded(component: Any) -> Any:
    """Return a component itself, without the guard that looks at what it returns."""
    return component.wrapped if isinstance(component, Guard) else component


def gap(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference; infinite where it is no number."""
    return (a.double() - b.double()).abs().nan_to_num(nan=torch.inf).max().item()


@cache
def detector() -> FaceDetector:
    """Return the detector of all checks."""
    return FaceDetector()


@cache
def sample_pixels() -> NDArray[np.uint8]:
    """Return the built-in photo of a real person, ``(512, 512, 3)``, RGB, in which `detector` finds one face."""
    return read_photo(sample_photo()).pixels


@cache
def sample_face() -> FaceImage:
    """Return the face of the built-in photo of a real person."""
    photo = read_photo(sample_photo())
    return cut(photo, detector().find(photo, "largest")[0])


def sample_crops(spec: EmbedderSpec) -> Tensor:
    """Return the sample face as a recogniser sees it, mirrored, and in other light: ``(3, 3, H, W)``."""
    face = sample_face()
    grid = crop_grid(face.landmarks[None], spec.template, (spec.height, spec.width), face.pixels.shape[-1])
    image = crop(face.pixels[None], grid)
    return torch.cat([image, image.flip(3), image * 0.7 + 0.1])


def pictures(faces: int, views: int) -> tuple[Tensor, Tensor]:
    """Return protected and original faces ``(B, V, 3, 112, 112)``, up to 12 grey levels apart."""
    face = sample_face()
    image = crop(face.pixels[None], face_grid(face.landmarks[None], face.pixels.shape[-1]))
    shifted = torch.stack([image[0].roll(5 * number, dims=2) for number in range(faces * views)])
    original = shifted.view(faces, views, *image.shape[1:])
    noise = torch.rand(original.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = torch.linspace(12, 4, faces).view(-1, 1, 1, 1, 1)  # Each face is changed more than the next.
    return (original + noise * levels / 255).clamp(0, 1), original


def square(side: int) -> Tensor:
    """Return the sample face, ``(1, 3, side, side)``, with a black and a white corner."""
    image = functional.interpolate(sample_face().pixels[None], size=(side, side), mode="bilinear", antialias=True)
    image[..., : side // 8, : side // 8] = 0  # Where many a formula has no finite gradient.
    image[..., -side // 8 :, -side // 8 :] = 1
    return image
