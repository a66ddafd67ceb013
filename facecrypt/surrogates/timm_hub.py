"""Face recognisers that timm builds from a Hugging Face hub repository, or from a local folder with the same files.

The component `timm` takes a bare file too.

Such a repository holds ``config.json`` (timm's architecture and its arguments) and ``model.safetensors``. What timm
calls classes is the embedding there: the last linear layer belongs to the recogniser, and no classifier follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from timm.models import create_model
from torch import nn

from facecrypt.errors import WeightsError
from facecrypt.surrogates import catalogue
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import Cosine, Dimension, EmbedderSpec, Side, Weights, verify_sha256
from facecrypt.system.naming import given_path
from facecrypt.templates import ARCFACE_TEMPLATE

_FILES: Final = ("config.json", "model.safetensors")
_WAY_OUT: Final = f"Give args.folder (a folder with {' and '.join(_FILES)}), or name a fallback."


def arcface_vit_tiny(*, folder: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return ViT-Tiny trained with ArcFace, 512-d.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors``, in place of the hub.
        threshold: Cosine from which two faces are one person, in place of the catalogue's.

    Raises:
        WeightsError: If the model cannot be reached, read or used.
    """
    return _build(catalogue.ARCFACE_VIT_TINY, folder, threshold)


def cosface_vit_tiny(*, folder: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return ViT-Tiny trained with CosFace, 512-d; arguments as for `arcface_vit_tiny`."""
    return _build(catalogue.COSFACE_VIT_TINY, folder, threshold)


def cosface_vit_small(*, folder: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return ViT-Small trained with CosFace, 512-d; arguments as for `arcface_vit_tiny`."""
    return _build(catalogue.COSFACE_VIT_SMALL, folder, threshold)


def cosface_convnext_atto(*, folder: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return ConvNeXt-Atto trained with CosFace, 512-d; arguments as for `arcface_vit_tiny`."""
    return _build(catalogue.COSFACE_CONVNEXT_ATTO, folder, threshold)


def cosface_convnext_nano(*, folder: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return ConvNeXt-Nano trained with CosFace, 512-d; arguments as for `arcface_vit_tiny`."""
    return _build(catalogue.COSFACE_CONVNEXT_NANO, folder, threshold)


def timm(
    *,
    model: str,
    folder: str | None = None,
    file: str | None = None,
    threshold: Cosine | None = None,
    size: Side = 112,
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5),
    std: tuple[float, float, float] = (127.5, 127.5, 127.5),
    dimension: Dimension = 512,
    sha256: str = "",
    licence: str = "not stated (see the model's hub page)",
    permissive: bool = False,
) -> Embedder:
    """Return any face recogniser that timm can build, by the name of its hub repository.

    Args:
        model: The repository, ``owner/name``, with or without timm's ``hf_hub:`` before it.
        folder: Folder with ``config.json`` and ``model.safetensors``, in place of the hub.
        file: A .safetensors file alone, in place of the hub. `model` then is one of timm's architectures, as in
            ``convnext_atto``, with timm's defaults; an architecture with other arguments needs a `folder`.
        threshold: Cosine from which two faces are one person, if known.
        size: Rows and columns of the crop in pixels; the face fills it as in ArcFace's crop of 112.
        mean: Subtracted from red, green and blue, in grey levels of 0..255.
        std: Divides red, green and blue after that, in grey levels.
        dimension: Length of an embedding.
        sha256: Digest that ``model.safetensors`` must have; where empty, the one that it had at its first download.
        licence: Licence of the model, for the reader of the report.
        permissive: Whether you know that the licence, that of the training data included, allows products.

    Raises:
        WeightsError: If the model cannot be reached, read or used.
    """
    scale = size / 112
    spec = replace(
        catalogue.ARCFACE_VIT_TINY,
        height=size,
        width=size,
        template=tuple((x * scale, y * scale) for x, y in ARCFACE_TEMPLATE),
        mean=mean,
        std=std,
        dimension=dimension,
        weights=Weights(
            origin="hub",
            source=model.removeprefix("hf_hub:").removeprefix("hf-hub:"),
            path="model.safetensors",
            sha256=sha256,
            licence=licence,
            permissive=permissive,
            beside=("config.json",),
        ),
    )
    return _build(spec, folder, threshold, file)


def _build(spec: EmbedderSpec, folder: str | None, threshold: Cosine | None, file: str | None = None) -> Embedder:
    """Return the recogniser of `spec`, from `folder`, from `file`, or else the hub."""
    if threshold is not None:
        spec = replace(spec, threshold=threshold, threshold_source="given by the recipe")
    if file is not None:
        if folder is not None:
            raise _fault(file, f"args.folder is given too, {folder}")
        path = given_path(file)
        spec = replace(spec, weights=replace(spec.weights, origin="file", path=str(path)))
        return Embedder(_load_file(path, spec), spec)
    if folder is None:
        try:
            path = spec.weights.require().parent
        except WeightsError as error:
            raise WeightsError(f"{error} {_WAY_OUT}") from error
    else:
        path = given_path(folder)
        spec = replace(spec, weights=replace(spec.weights, origin="file", path=str(path / spec.weights.path)))
    return Embedder(_load(path, spec), spec)


def _load(folder: Path, spec: EmbedderSpec) -> nn.Module:
    """Return the model in `folder` after trying it on one empty crop."""
    for name in _FILES:
        # timm would go on to any other checkpoint in the folder, pickles included. So it would with its "hf_hub:"
        # names, which is why the files are fetched without it.
        if not (folder / name).is_file():
            raise _fault(str(folder), f"{name} is not there")
    return _make(folder, folder / spec.weights.path, spec, lambda: create_model(f"local-dir:{folder}", pretrained=True))


def _load_file(path: Path, spec: EmbedderSpec) -> nn.Module:
    """Return timm's architecture of the name in `spec` with the weights of a file, after trying it likewise."""
    # Checked here because timm reads any other file as a pickle.
    if path.suffix != ".safetensors" or not path.is_file():
        raise _fault(str(path), "no .safetensors file is there")

    def make() -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # timm fills the network with random numbers first
            made: nn.Module = create_model(spec.weights.source, num_classes=spec.dimension, checkpoint_path=str(path))
        return made

    return _make(path, path, spec, make)


def _make(where: Path, weights: Path, spec: EmbedderSpec, make: Callable[[], nn.Module]) -> nn.Module:
    """Return the model that `make` makes, after trying it on one empty crop."""
    if spec.weights.sha256:
        verify_sha256(weights, spec.weights.sha256)
    try:
        network = make().eval()
        with torch.no_grad():
            shape = tuple(network(torch.zeros(1, 3, spec.height, spec.width)).shape)
    except Exception as error:  # a config may name any of timm's models with any arguments: each fails in its own way
        raise _fault(str(where), "timm cannot build or run this model", error) from error
    if shape != (1, spec.dimension):
        raise _fault(str(where), f"one crop gives a tensor of {shape}, expected {(1, spec.dimension)}")
    return network


def _fault(where: str, what: str, error: Exception | None = None) -> WeightsError:
    """Return the error for a model that cannot be used, in one line."""
    reason = "" if error is None else f" ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return WeightsError(f"weights {where}: {what}{reason}. {_WAY_OUT}")
