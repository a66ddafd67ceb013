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
    ("target_selector", "greedy", "targets:Greedy", "greedy insertion: Algorithm 1 with the gain of Eq. 7"),
    ("target_selector", "center", "targets:Center", "Center-Opt: Algorithm 1 with the gain G1, a sum over targets"),
    ("target_selector", "random", "targets:Random", "a random target at every step"),
    ("target_selector", "nearest", "targets:Nearest", "the target that the face resembles most already"),
    ("target_selector", "fixed", "targets:Fixed", "one target throughout"),
    ("gradient", "plain", "gradients:Plain", "the gradient at the masks"),
    (
        "gradient",
        "variance_tuning",
        "gradients:VarianceTuning",
        "plus how the neighbours' gradients differed at the last step (VMI-FGSM)",
    ),
    (
        "gradient",
        "penalise_norm",
        "gradients:PenaliseNorm",
        "mean over neighbours and points uphill of them: seeks flat minima (PGN)",
    ),
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
    ("view", "resize", "views:resize", "loss of resolution: shrunk and enlarged again"),
    ("view", "input_diversity", "views:InputDiversity", "random shrinking and padding (DIM)"),
    ("view", "landmark_jitter", "warps:landmark_jitter", "the crop as other landmarks would place it"),
    ("view", "block_rotate", "warps:block_rotate", "random blocks, each turned and moved a little (after BSR)"),
    ("view", "spectrum", "spectrum:spectrum", "random weights of the frequencies of the noisy picture (SSA)"),
)


def declare(registry: Registry) -> None:
    """Register the built-in components."""
    for name, target, spec, summary in _SURROGATES:
        registry.register("surrogate", name, f"facecrypt.surrogates.{target}", summary=summary, spec=spec)
    for kind, name, target, summary in _OTHERS:
        registry.register(kind, name, f"facecrypt.{target}", summary=summary)
