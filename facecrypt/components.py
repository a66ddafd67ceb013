"""The built-in components: every name that a recipe can use without a plugin. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecrypt.surrogates import catalogue

if TYPE_CHECKING:
    from facecrypt.registry import Registry


def declare(registry: Registry) -> None:
    """Register the built-in components."""
    add = registry.register

    embedders = "facecrypt.surrogates"
    add("surrogate", "sface", f"{embedders}.sface:build", spec=catalogue.SFACE,
        summary="SFace of the OpenCV Zoo (MobileFaceNet-like, 128-d)")  # fmt: skip
    add("surrogate", "dlib_resnet", f"{embedders}.dlib_resnet:build", spec=catalogue.DLIB_RESNET,
        summary="dlib ResNet-29, the network behind face_recognition (128-d)")  # fmt: skip

    add("naturalness", "mmd", "facecrypt.naturalness:MMD", summary="maximum mean discrepancy of TIP-IM (Eq. 3)")

    add("target_selector", "greedy", "facecrypt.targets:Greedy", summary="greedy insertion, Algorithm 1 with the gain of Eq. 7")
    add("target_selector", "center", "facecrypt.targets:Center", summary="Center-Opt: Algorithm 1 with the gain G1 (sum over targets)")
    add("target_selector", "random", "facecrypt.targets:Random", summary="a random target at every step")
    add("target_selector", "nearest", "facecrypt.targets:Nearest", summary="the target whose embedding is nearest now")
    add("target_selector", "fixed", "facecrypt.targets:Fixed", summary="one and the same target throughout")

    add("optimizer", "momentum", "facecrypt.optimizers:Momentum", summary="momentum of L1-normalised gradients (MIM), as TIP-IM uses")
    add("optimizer", "plain", "facecrypt.optimizers:Plain", summary="the normalised gradient itself, Eq. 5 without momentum (PGD)")
    add("optimizer", "adam", "facecrypt.optimizers:Adam", summary="Adam, projected after each step")

    add("view", "affine", "facecrypt.views:affine", summary="small random rotation, shift, scale")
    add("view", "perspective", "facecrypt.views:perspective", summary="small random perspective")
    add("view", "blur", "facecrypt.views:blur", summary="Gaussian blur of random strength")
    add("view", "jpeg", "facecrypt.views:jpeg", summary="differentiable JPEG compression of random quality")
