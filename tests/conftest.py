from __future__ import annotations

import copy
import functools
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline import runner
from facecrypt.surrogates import dlib_resnet, judging, sface
from facecrypt.surrogates.catalogue import DLIB_RESNET, SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.system import limits
from facecrypt.targets.selectors import VIRTUAL, Target, load_targets

ROOT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several threads in each of several processes slow each other down many times over.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# What a shell or nohup starts in the background ignores Ctrl-C, which tests send to this process.
signal.signal(signal.SIGINT, signal.default_int_handler)

Pixels = NDArray[np.float32]


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name what is long by its length.

    pytest puts the name of a test into the environment of every process that the test starts, which has a bound. And
    what is made anew in each process, as a colour profile with its time, would have another name in each of them.
    """
    return f"{len(val)} long" if isinstance(val, bytes | str) and len(val) > 100 else None


@pytest.fixture(scope="session", autouse=True)
def free_memory() -> Iterator[None]:
    """What photos and graphs may take follows from what is free, which is the same here for every test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "free_memory", lambda: 8 << 30)
        yield


@pytest.fixture(scope="session", autouse=True)
def networks() -> Iterator[None]:
    """SFace's file is read once; whoever builds the recogniser gets a network of its own."""
    read, own = sface.read_network, SFACE.weights.find()
    kept = functools.cache(read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sface, "read_network", lambda path: copy.deepcopy(kept(path)) if path == own else read(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def trials() -> Iterator[None]:
    """Embedded recognisers are tried once, not in every run, and those that a test changed every time."""

    def once(find: Callable[[Embedder], Any]) -> Callable[[Embedder], Any]:
        found: dict[object, Any] = {}

        def tried(embedder: Embedder) -> Any:
            if embedder.spec not in (SFACE, DLIB_RESNET) or Embedder.raw is not raw or is_watched(embedder):
                return find(embedder)
            key = type(embedder.network), embedder.spec, str(next(embedder.buffers()).device), weights_of(embedder)
            if key not in found:
                found[key] = find(embedder)
            return found[key]

        return tried

    def is_watched(embedder: Embedder) -> bool:
        return any(module._forward_hooks or module._forward_pre_hooks for module in embedder.modules())

    def weights_of(embedder: Embedder) -> tuple[int, ...]:
        return tuple(zlib.crc32(each.cpu().contiguous().numpy()) for each in embedder.state_dict().values())

    raw = Embedder.raw
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_make_trial", "_find_fault_of_gradient"):
            patch.setattr(judging, name, once(getattr(judging, name)))
        yield


@pytest.fixture(scope="session")
def reference_ssim() -> Callable[[Pixels, Pixels], float]:
    """SSIM of two pictures (H, W, 3) in [0, 1] as Wang et al. (2004) define it, with scipy, mirrored at the borders."""

    def ssim(first: Pixels, second: Pixels) -> float:
        def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
            blurred: NDArray[np.float64] = gaussian_filter(image, (1.5, 1.5, 0), mode="mirror", truncate=3.5)
            return blurred

        a, b = first.astype(np.float64), second.astype(np.float64)
        mean_a, mean_b = blur(a), blur(b)
        variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
        covariance = blur(a * b) - mean_a * mean_b
        c1, c2 = 0.01**2, 0.03**2
        values = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
        return float(values.mean())

    return ssim


@pytest.fixture(scope="session")
def lfw() -> Path:
    """The folder of LFW photos to measure on, which is not part of the project."""
    folder = Path(os.environ.get("FACECRYPT_LFW", ROOT.parent / "shared" / "lfw"))
    if not (folder / "protocol.csv").is_file():
        pytest.skip(f"no LFW photos with a protocol.csv in {folder}: set FACECRYPT_LFW to their folder")
    return folder


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="session")
def sface_embedder() -> Embedder:
    return sface.build()


@pytest.fixture(scope="session")
def dlib_embedder() -> Embedder:
    return dlib_resnet.build()


@pytest.fixture(scope="session")
def photo() -> Photo:
    return read_photo(runner.sample_photo())


@pytest.fixture(scope="session")
def face(photo: Photo, detector: FaceDetector) -> Face:
    (face,) = detector.find(photo, "all")
    return face


@pytest.fixture(scope="session")
def face_image(photo: Photo, face: Face) -> FaceImage:
    return cut(photo, face)


@pytest.fixture(scope="session")
def targets(detector: FaceDetector) -> list[Target]:
    return load_targets(VIRTUAL, 10, detector, "all")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
