"""Recognisers from the checkpoint files that people share: one function each, all loaded by `load_network`.

A file is read as tensors only, so that a checkpoint from somebody else cannot run code. Its names must be exactly
those of the published layout, apart from the classifier of the training that some layouts keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from facenet_pytorch import InceptionResnetV1
from torch import nn

from facecrypt.errors import WeightsError
from facecrypt.surrogates import architectures
from facecrypt.surrogates import catalogue_files as catalogue
from facecrypt.surrogates.checkpoint import fill, load_state_dict
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import Cosine, EmbedderSpec, verify_sha256
from facecrypt.surrogates.weights import cache_folder
from facecrypt.system.naming import given_path

ChannelOrder = Literal["rgb", "bgr"]


def ir_se50(
    *,
    path: str | None = None,
    sha256: str = "",
    threshold: Cosine | None = None,
    channel_order: ChannelOrder = "bgr",
) -> Embedder:
    """Return IR-SE50 trained with ArcFace, 512-d (TreB1eN/InsightFace_Pytorch, ``model_ir_se50.pth``).

    Args:
        path: The checkpoint, .pth, .pt or .safetensors, in place of the one in the cache folder.
        sha256: Digest that the file must have; not checked where empty.
        threshold: Cosine from which two faces are one person, in place of the catalogue's.
        channel_order: How the network reads colours. Its training code reads blue first, TIP-IM's code red first.

    Raises:
        WeightsError: If the file is missing, refused, or has another layout.
    """
    spec = replace(catalogue.IR_SE50, channel_order=channel_order)
    return _build(spec, architectures.ir_se_50, path, sha256, threshold)


def mobilefacenet(
    *,
    path: str | None = None,
    sha256: str = "",
    threshold: Cosine | None = None,
    channel_order: ChannelOrder = "bgr",
) -> Embedder:
    """Return MobileFaceNet trained with ArcFace, 512-d (TreB1eN/InsightFace_Pytorch); arguments as for `ir_se50`."""
    spec = replace(catalogue.MOBILEFACENET, channel_order=channel_order)
    return _build(spec, architectures.mobilefacenet, path, sha256, threshold)


def ir50(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return IR-50 trained with ArcFace, 512-d (ZhaoJ9014/face.evoLVe); arguments as for `ir_se50`."""
    return _build(catalogue.IR50, architectures.ir_50, path, sha256, threshold)


def makeup_irse50(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return the makeup-transfer protocol's IR-SE50, 512-d (``irse50.pth``); arguments as for `ir_se50`."""
    return _build(catalogue.MAKEUP_IRSE50, architectures.ir_se_50, path, sha256, threshold)


def makeup_ir152(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return the makeup-transfer protocol's IR-152, 512-d (``ir152.pth``); arguments as for `ir_se50`."""
    return _build(catalogue.MAKEUP_IR152, architectures.ir_152, path, sha256, threshold)


def makeup_mobile_face(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return the makeup-transfer protocol's MobileFaceNet, 512-d (``mobile_face.pth``); arguments as for `ir_se50`."""
    return _build(catalogue.MAKEUP_MOBILE_FACE, architectures.mobilefacenet, path, sha256, threshold)


def makeup_facenet(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return the makeup-transfer protocol's FaceNet, 512-d (``facenet.pth``); arguments as for `ir_se50`."""
    return _build(catalogue.MAKEUP_FACENET, InceptionResnetV1, path, sha256, threshold, classifier=("logits.",))


def sphere20_sphereface(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return Sphere20 trained with SphereFace, 512-d (clcarwin/sphereface_pytorch); arguments as for `ir_se50`."""
    network = architectures.sphere20_sphereface
    return _build(catalogue.SPHERE20_SPHEREFACE, network, path, sha256, threshold, classifier=("fc6.",))


def sphere20_cosface(*, path: str | None = None, sha256: str = "", threshold: Cosine | None = None) -> Embedder:
    """Return Sphere20 trained with CosFace, 512-d (MuggleWang/CosFace_pytorch); arguments as for `ir_se50`."""
    return _build(catalogue.SPHERE20_COSFACE, architectures.sphere20_cosface, path, sha256, threshold)


def _build(
    spec: EmbedderSpec,
    network: Callable[[], nn.Module],
    path: str | None,
    sha256: str,
    threshold: Cosine | None,
    classifier: tuple[str, ...] = (),
) -> Embedder:
    """Return the recogniser of `spec` from `path`, or else from the cache folder."""
    if threshold is not None:
        spec = replace(spec, threshold=threshold, threshold_source="given by the recipe")
    if path is not None:
        file = given_path(path)
        spec = replace(spec, weights=replace(spec.weights, origin="file", path=str(file), sha256=sha256))
    else:
        found = spec.weights.find()
        if found is None:
            raise WeightsError(
                f"weights {spec.weights.path}: not in {cache_folder()}. Get the file from {spec.weights.source} and "
                "put it there under that name, give args.path, or name a fallback."
            )
        file = found
    if sha256:
        verify_sha256(file, sha256)
    return Embedder(load_network(file, network, classifier), spec)


def load_network(path: Path, network: Callable[[], nn.Module], classifier: tuple[str, ...] = ()) -> nn.Module:
    """Return a network with the weights of a checkpoint, in float32.

    Args:
        path: A state dict, or a mapping that holds one under ``state_dict``; .safetensors, else what torch writes. The
            ``module.`` that ``DataParallel`` puts before every name is taken off.
        network: Makes the network without weights; it runs on torch's ``meta`` device.
        classifier: How the names of weights start that only the training needed. They are left out.

    Raises:
        WeightsError: If the file cannot be read, would run code, or does not fit the network.
    """
    # Made without memory: no random numbers are drawn, so building changes no seed.
    with torch.device("meta"):
        made = network()
    fill(made, load_state_dict(path), path, ignore=classifier)
    return made
