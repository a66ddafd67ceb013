"""The recognisers of the optional package frbench, with its own weights, crops and networks.

The module has one function per recogniser, under the recogniser's name: `frbench_irse50_arcface` and so on, for all
of `facecrypt.surrogates.frbench_table`. Neither torch's random numbers nor frbench's settings change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch

from facecrypt.errors import WeightsError
from facecrypt.surrogates import frbench_table, weights
from facecrypt.surrogates.checkpoint import require_plain_archive
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.spec import Cosine, EmbedderSpec


def __getattr__(name: str) -> Callable[..., Embedder]:
    """Return the function that builds a recogniser of frbench."""
    spec = frbench_table.specs().get(name)
    if spec is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def build(*, threshold: Cosine | None = None) -> Embedder:
        """Return a recogniser of frbench, which downloads its weights on first use.

        Args:
            threshold: Cosine from which two faces are one person, if known.

        Raises:
            WeightsError: If frbench is not installed, or cannot get or read the weights.
        """
        return _build(spec, threshold)

    return build


def _build(spec: EmbedderSpec, threshold: Cosine | None) -> Embedder:
    try:
        import frbench
    except ImportError as error:
        raise _fault(spec, "frbench is not installed: pip install 'frbench>=1.1.3,<2'") from error
    if weights.offline() and spec.weights.find() is None:
        raise _fault(
            spec, "frbench has not downloaded them yet, and offline mode forbids it to: run once with a connection"
        )
    backbone, loss, dataset = spec.weights.path.rsplit("_", 2)
    # frbench fills each network with random numbers before it loads the weights, as tensors only, and would ask the
    # package index for a newer version of itself.
    with torch.random.fork_rng(devices=[]), frbench.configure_scoped(update_check=False):
        try:
            with weights.bounded_files():
                frbench.get_asset(spec.weights.path)  # Downloads it, checks the digest of its manifest, unpacks it.
            if (file := spec.weights.find()) is not None:
                weights.check(file, spec.weights.sha256, spec.weights.size)
                require_plain_archive(file)
            model = frbench.FR(backbone, loss, dataset, eager_load=True)
        except WeightsError:
            raise
        except Exception as error:  # Downloads, archives, YAML and state dicts each fail in their own way.
            reason = " ".join(str(error).split())[:200]
            raise _fault(spec, f"frbench cannot get or read them ({type(error).__name__}: {reason})") from error
    spec = _prepared(spec, model.preprocessor, model.embedding_dim)
    if threshold is not None:
        spec = replace(spec, threshold=threshold, threshold_source="given by the recipe")
    return Embedder(model.backbone, spec)


def _prepared(spec: EmbedderSpec, preprocessor: Any, dimension: int) -> EmbedderSpec:
    """Return `spec` with the crop, colours and range that came with the weights."""
    order: Literal["rgb", "bgr"] = "bgr" if preprocessor.channel == "bgr" else "rgb"
    height, width = preprocessor.size
    return replace(
        spec,
        height=height,
        width=width,
        template=tuple((round(x, 4), round(y, 4)) for x, y in preprocessor.template.tolist()),
        channel_order=order,
        mean=_grey_levels(preprocessor.mean, order),
        std=_grey_levels(preprocessor.std, order),
        dimension=dimension,
    )


def _grey_levels(values: torch.Tensor, order: str) -> tuple[float, float, float]:
    """Return frbench's values of 0..1 in the network's order as grey levels of red, green and blue."""
    first, second, third = (round(255 * value, 4) for value in values.flatten().tolist())
    return (third, second, first) if order == "bgr" else (first, second, third)


def _fault(spec: EmbedderSpec, what: str) -> WeightsError:
    return WeightsError(f"weights {spec.weights.path} of frbench: {what}. Or name a fallback.")
