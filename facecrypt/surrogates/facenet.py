"""FaceNet: the Inception-ResNet-v1 of facenet-pytorch, with the checkpoints of that package's release."""

from __future__ import annotations

from dataclasses import replace

import torch
from facenet_pytorch import InceptionResnetV1

from facecrypt.surrogates import catalogue
from facecrypt.surrogates.checkpoint import fill, load_state_dict
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import Cosine, EmbedderSpec
from facecrypt.system.naming import given_path


def facenet_vggface2(*, path: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return Inception-ResNet-v1 trained on VGGFace2, 512-d.

    Args:
        path: The checkpoint on this machine, in place of the published one.
        threshold: Cosine from which two faces are one person, if known.

    Raises:
        WeightsError: If the checkpoint cannot be downloaded or read, or is another one.
    """
    return _build(catalogue.FACENET_VGGFACE2, path, threshold)


def facenet_casia(*, path: str | None = None, threshold: Cosine | None = None) -> Embedder:
    """Return Inception-ResNet-v1 trained on CASIA-WebFace, 512-d; arguments as for `facenet_vggface2`."""
    return _build(catalogue.FACENET_CASIA, path, threshold)


def _build(spec: EmbedderSpec, path: str | None, threshold: Cosine | None) -> Embedder:
    if threshold is not None:
        spec = replace(spec, threshold=threshold, threshold_source="given by the recipe")
    if path is not None:
        spec = replace(spec, weights=replace(spec.weights, origin="file", path=str(given_path(path))))
    file = spec.weights.require()
    # Given a name to load, its constructor would download and unpickle whatever it gets.
    with torch.device("meta"):  # So that no random numbers are drawn for weights that are replaced at once.
        network = InceptionResnetV1(pretrained=None, classify=False)
    # The published files keep the classifier of the training, "logits", which an embedding does not need.
    fill(network, load_state_dict(file), file, ignore=("logits.",))
    return Embedder(network, spec)
