"""What a recogniser needs besides its network, as data. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from facecrypt.errors import WeightsError
from facecrypt.surrogates import weights
from facecrypt.surrogates.frbench_cache import frbench_file
from facecrypt.system.naming import given_path
from facecrypt.templates import ARCFACE_TEMPLATE as ARCFACE_TEMPLATE  # plugins take it from here
from facecrypt.templates import Template

Side = Annotated[int, Field(ge=1, le=4096)]
"""Side of a crop, in pixels."""

Dimension = Annotated[int, Field(ge=1, le=1_000_000)]
"""Length of an embedding."""

Cosine = Annotated[float, Field(ge=-1, le=1)]
"""A threshold that a recipe gives."""


Origin = Literal["package", "hub", "url", "frbench", "manual", "file"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a checkpoint comes from and how to know that it is the right file.

    Attributes:
        origin: ``package`` (a file inside an installed Python package), ``hub`` (downloaded from the Hugging Face hub
            on first use), ``url`` (downloaded from its publisher on first use), ``frbench`` (downloaded by the package
            of that name on first use), ``manual`` (a file that users fetch and put into the cache folder, as its
            publisher offers no direct download) or ``file`` (a path, which a recipe can give).
        source: Name of the package on the package index, hub repository, address, or where to fetch the file by hand;
            for ``file`` its publisher, or empty.
        path: File inside the package or repository, its name in the cache, which no other checkpoint may have, its name
            in frbench's manifest, or where the file is.
        sha256: Digest of the file, or empty where its publisher states none.
        licence: SPDX name, or a few words.
        size: Size of the file in bytes, 0 where unknown.
        permissive: Whether the licence, that of the training data included as far as it is known, allows products.
        beside: Further files of the hub repository that the recogniser cannot do without.
        surrogate: By which name ``facecrypt weights fetch`` finds the file, or empty where it does not.
    """

    origin: Origin
    source: str
    path: str
    sha256: str
    licence: str
    size: int = 0
    permissive: bool = False
    beside: tuple[str, ...] = ()
    surrogate: str = ""

    @property
    def use(self) -> Literal["permissive", "research"]:
        """What the licence allows, in one word; ``research`` also where nobody states a licence."""
        return "permissive" if self.permissive else "research"

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
            folder = weights.find_on_hub(self.source, (self.path, *self.beside))
            return None if folder is None else folder / self.path
        if self.origin in ("url", "manual"):
            path = weights.cache_folder() / self.path
            return path if path.is_file() else None
        if self.origin == "frbench":
            return frbench_file(self.path)
        if self.origin == "file":
            file = given_path(self.path)
            return file if file.is_file() else None
        return None

    def require(self) -> Path:
        """Return the checked file, downloading it where it comes from the hub or its publisher and is not here yet.

        A file whose publisher states no digest is checked against the one that it had when it was first downloaded.

        Raises:
            WeightsError: If its package is not installed, it cannot be downloaded, or it is not the expected file.
        """
        if self.origin == "url":
            return weights.fetch(self.source, self.path, self.sha256, self.size, command=self.fetch_command())
        if self.origin == "hub":
            names = (self.path, *self.beside)
            folder = weights.fetch_from_hub(self.source, names, self.size, command=self.fetch_command())
            for name in names:
                if not (folder / name).is_file():
                    raise WeightsError(f"weights {self.source}: {name} is not there. Name another repository.")
            weights.check(folder / self.path, self.sha256, self.size)
            for name in self.beside:
                weights.check(folder / name)
            return folder / self.path
        path = given_path(self.path) if self.origin == "file" else self.find()
        if path is None:
            raise WeightsError(f"weights {self.path}: not found. Get them: {self.fetch_command()}")
        if self.sha256:
            weights.check(path, self.sha256, self.size)
        return path

    def fetch_command(self) -> str:
        """Return the command that makes the file available offline, or in a few words what does."""
        if self.origin == "package":
            return f"pip install {self.source}"
        if self.origin == "manual":
            return f"fetch the file by hand from {self.source} and save it as {weights.cache_folder() / self.path}"
        if self.origin == "frbench":
            return "pip install frbench, which downloads it in the first run that names it"
        if self.origin == "file":
            return f"put the file at {self.path}, or give its path in the recipe"
        if self.surrogate:
            return f"facecrypt weights fetch {self.surrogate}"
        if self.origin == "url":
            return f"curl --location --output {weights.cache_folder() / self.path} {self.source}"
        names = " ".join((self.path, *self.beside))
        return f"hf download {self.source} {names} --cache-dir {weights.hub_cache()}"


def verify_sha256(path: Path, expected: str) -> None:
    """Check that a weights file is the published one.

    Args:
        path: File to check.
        expected: Its digest, 64 hexadecimal digits.

    Raises:
        WeightsError: If the file cannot be read or its digest differs.
    """
    actual = weights.digest(path)
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
        architecture: The network's name in the literature, or empty.
        loss: What it was trained with, or empty.
        training_data: On what it was trained, or empty.
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
    architecture: str = ""
    loss: str = ""
    training_data: str = ""
