"""An example plugin: importing this package registers one component of each kind with facecrypt.

facecrypt imports it whenever it looks up a component, so nothing heavy is imported here: a component is named by where
it can be imported from, and torch is loaded only when a recipe uses one.
"""

from __future__ import annotations

from dataclasses import replace

from facecrypt.plugin import register
from facecrypt.surrogates.catalogue import SFACE

__all__ = ["SFACE_FLIP"]

FACECRYPT_API = 1
"""The version of facecrypt.plugin for which this was made."""

# The same weights, so facecrypt knows that neither may judge the other. The threshold was measured as SFace's was.
SFACE_FLIP = replace(SFACE, threshold=0.306)
"""SFace with embeddings summed over the face and its mirror image."""

register(
    "surrogate",
    "sface_flip",
    "facecrypt_example.surrogate:build",
    summary="SFace on the face and its mirror image, embeddings summed (128-d)",
    spec=SFACE_FLIP,
)
register(
    "detector",
    "haar",
    "facecrypt_example.detector:Haar",
    summary="upright, frontal faces by the cascade that OpenCV brings, with average landmarks",
)
register(
    "region",
    "sticker",
    "facecrypt_example.region:Sticker",
    summary="a rectangle on the forehead, which begins white (after AdvHat)",
)
register(
    "naturalness",
    "total_variation",
    "facecrypt_example.naturalness:TotalVariation",
    summary="total variation of the mask: keeps it smooth",
)
register(
    "target_selector",
    "cycle",
    "facecrypt_example.target_selector:Cycle",
    summary="every target in turn (round robin)",
)
register(
    "gradient",
    "ahead",
    "facecrypt_example.gradient:Ahead",
    summary="the gradient a step further downhill (extragradient)",
)
register(
    "optimizer",
    "nesterov",
    "facecrypt_example.optimizer:Nesterov",
    summary="Nesterov momentum of L1-normalised gradients (after NI-FGSM)",
)
register(
    "view",
    "gamma",
    "facecrypt_example.view:gamma",
    summary="random gamma and brightness",
)
register(
    "transform",
    "few_levels",
    "facecrypt_example.transform:few_levels",
    summary="fewer shades of each colour: an old screen, a GIF",
)
register(
    "source",
    "listing",
    "facecrypt_example.source:Listing",
    summary="the photos that a text file names",
)
register(
    "sink",
    "checksums",
    "facecrypt_example.sink:Checksums",
    summary="SHA256SUMS of the protected photos",
)
register(
    "judge",
    "thumbnails",
    "facecrypt_example.judge:Thumbnails",
    summary="ranks people by tiny grey pictures of their faces, and tells no similarity",
)
register(
    "method",
    "random_squares",
    "facecrypt_example.method:RandomSquares",
    summary="random search by scores, which counts its queries (after Square Attack)",
)
