"""The module `facecrypt.benchmark.metrics` by the name that it had; import it from there."""

from __future__ import annotations

from facecrypt.benchmark.metrics import (
    NO_FACE,
    BestOverTargets,
    FaceMMD,
    FaceQuality,
    RankSuccess,
    TarAtFar,
    VerificationSuccess,
    best_over_targets,
    bootstrap_interval,
    dodging_success,
    face_mmd,
    face_psnr,
    face_ssim,
    impersonation_success,
    set_mmd,
    tar_at_far,
    targeted_success,
    threshold_at_far,
    untargeted_success,
)

__all__ = [
    "NO_FACE",
    "BestOverTargets",
    "targeted_success",
    "untargeted_success",
    "best_over_targets",
    "threshold_at_far",
    "tar_at_far",
    "dodging_success",
    "impersonation_success",
    "face_psnr",
    "face_ssim",
    "face_mmd",
    "set_mmd",
    "bootstrap_interval",
    "RankSuccess",
    "VerificationSuccess",
    "TarAtFar",
    "FaceQuality",
    "FaceMMD",
]
