"""The built-in components: every name that a recipe can use without a plugin. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecrypt.surrogates import catalogue

if TYPE_CHECKING:
    from facecrypt.registry import Kind, Registry
    from facecrypt.surrogates.spec import EmbedderSpec

_SURROGATES: tuple[tuple[str, str, EmbedderSpec | None, str], ...] = (
    ("sface", "sface:build", catalogue.SFACE, "SFace of the OpenCV Zoo (MobileNet, 128-d)"),
    ("dlib_resnet", "dlib_resnet:build", catalogue.DLIB_RESNET, "dlib ResNet-29, behind face_recognition (128-d)"),
    ("arcface_vit_tiny", "timm_hub:arcface_vit_tiny", catalogue.ARCFACE_VIT_TINY, "ViT-Tiny, ArcFace (512-d)"),
    ("cosface_vit_tiny", "timm_hub:cosface_vit_tiny", catalogue.COSFACE_VIT_TINY, "ViT-Tiny, CosFace (512-d)"),
    ("cosface_vit_small", "timm_hub:cosface_vit_small", catalogue.COSFACE_VIT_SMALL, "ViT-Small, CosFace (512-d)"),
    (
        "cosface_convnext_atto",
        "timm_hub:cosface_convnext_atto",
        catalogue.COSFACE_CONVNEXT_ATTO,
        "ConvNeXt-Atto, CosFace (512-d)",
    ),
    (
        "cosface_convnext_nano",
        "timm_hub:cosface_convnext_nano",
        catalogue.COSFACE_CONVNEXT_NANO,
        "ConvNeXt-Nano, CosFace (512-d)",
    ),
    ("timm", "timm_hub:timm", None, "any face model that timm can build, by the name of its hub repository"),
    ("onnx", "onnx_judge:onnx", None, "any recogniser in an ONNX file; gives no gradients, so only under held_out"),
)

_OTHERS: tuple[tuple[Kind, str, str, str], ...] = (
    ("naturalness", "mmd", "naturalness:MMD", "maximum mean discrepancy, Eq. 3 of TIP-IM"),
    ("naturalness", "ssim", "naturalness:SSIM", "structural dissimilarity, 1 - SSIM"),
    ("naturalness", "ms_ssim", "naturalness:MSSSIM", "structural dissimilarity over several scales, 1 - MS-SSIM"),
    (
        "naturalness",
        "mask_variation",
        "naturalness:MaskVariation",
        "total variation of the mask: favours smooth ones",
    ),
    ("naturalness", "chroma", "naturalness:Chroma", "change of colour in CIELAB, whatever the lightness"),
    ("target_selector", "greedy", "targets:Greedy", "greedy insertion: Algorithm 1 with the gain of Eq. 7"),
    ("target_selector", "center", "targets:Center", "Center-Opt: Algorithm 1 with the gain G1, a sum over targets"),
    ("target_selector", "random", "targets:Random", "a random target at every step"),
    ("target_selector", "nearest", "targets:Nearest", "the target that the face resembles most already"),
    ("target_selector", "fixed", "targets:Fixed", "one target throughout"),
    ("optimizer", "momentum", "optimizers:Momentum", "momentum of normalised gradients (MIM), as TIP-IM uses"),
    (
        "optimizer",
        "translation_invariant",
        "optimizers:TranslationInvariant",
        "momentum of smoothed gradients (TIM)",
    ),
    ("optimizer", "plain", "optimizers:Plain", "the normalised gradient itself (PGD), Eq. 5"),
    ("optimizer", "adam", "optimizers:Adam", "Adam, projected after each step"),
    ("view", "affine", "views:affine", "small random rotation, shift and scale"),
    ("view", "perspective", "views:perspective", "small random perspective"),
    ("view", "blur", "views:blur", "Gaussian blur of random strength"),
    ("view", "jpeg", "views:jpeg", "differentiable JPEG of random quality"),
    ("view", "input_diversity", "views:InputDiversity", "random shrinking and padding (DIM)"),
)


def declare(registry: Registry) -> None:
    """Register the built-in components."""
    for name, target, spec, summary in _SURROGATES:
        registry.register("surrogate", name, f"facecrypt.surrogates.{target}", summary=summary, spec=spec)
    for kind, name, target, summary in _OTHERS:
        registry.register(kind, name, f"facecrypt.{target}", summary=summary)
