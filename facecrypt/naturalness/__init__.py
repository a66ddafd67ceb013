"""How far protected faces are from looking like photos."""

from __future__ import annotations

from facecrypt.naturalness.base import (
    BANDWIDTHS,
    JOD,
    MMD,
    MSSSIM,
    SCALE_WEIGHTS,
    SSIM,
    Chroma,
    Creases,
    MaskVariation,
    Naturalness,
    mmd,
    ms_ssim,
    ssim,
)

__all__ = [
    "BANDWIDTHS",
    "SCALE_WEIGHTS",
    "Naturalness",
    "MMD",
    "SSIM",
    "MSSSIM",
    "MaskVariation",
    "Chroma",
    "JOD",
    "Creases",
    "ssim",
    "ms_ssim",
    "mmd",
]
