"""The recognisers whose checkpoints people share as files, as data. Nothing here imports torch or loads a file.

None of these files has a published digest, and most lie on drives that offer no direct download. So users put them
into the cache folder by hand (`facecrypt.surrogates.weights.cache_folder`) or name them in the recipe.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from facecrypt.surrogates.spec import EmbedderSpec, Weights
from facecrypt.templates import ARCFACE_TEMPLATE, Template

TREB1EN: Final = "https://github.com/TreB1eN/InsightFace_Pytorch (OneDrive and Baidu links in its README)"
FACE_EVOLVE: Final = "https://github.com/ZhaoJ9014/face.evoLVe (model zoo in its README)"
MAKEUP: Final = "https://github.com/CGCL-codes/AMT-GAN (assets in its README; first published by Adv-Makeup)"
CLCARWIN: Final = "https://github.com/clcarwin/sphereface_pytorch (model/sphere20a_20171020.7z, to be unpacked)"
MUGGLEWANG: Final = "https://github.com/MuggleWang/CosFace_pytorch (Baidu link in its README)"

SPHERE_TEMPLATE: Final[Template] = tuple((x - 8, y) for x, y in ARCFACE_TEMPLATE)
"""The crop of SphereFace and CosFace, 112 rows and 96 columns: ArcFace's without 8 columns at each side."""

FACENET_TEMPLATE: Final[Template] = tuple((x * 160 / 112, y * 160 / 112) for x, y in ARCFACE_TEMPLATE)
"""ArcFace's crop enlarged to 160x160, as the makeup-transfer protocol scales one crop to both sizes."""

_NO_LICENCE: Final = "not stated"

IR_SE50: Final = EmbedderSpec(
    height=112,
    width=112,
    template=ARCFACE_TEMPLATE,
    # data_pipe.py writes its training images with red and blue exchanged and reads its test images likewise.
    channel_order="bgr",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    dimension=512,
    threshold=None,
    threshold_source="not measured",
    weights=Weights(
        origin="manual",
        source=TREB1EN,
        path="model_ir_se50.pth",
        sha256="",
        licence="MIT (code); terms of MS1M not stated",
    ),
    accuracy="LFW 99.52 %, CFP-FP 95.04 %, AgeDB-30 96.22 %",
    architecture="IR-SE50",
    loss="ArcFace",
    training_data="MS1M, refined",
)
"""ArcFace of TIP-IM's experiments (https://github.com/TreB1eN/InsightFace_Pytorch)."""

MOBILEFACENET: Final = replace(
    IR_SE50,
    weights=replace(IR_SE50.weights, path="model_mobilefacenet.pth"),
    accuracy="LFW 99.18 %, CFP-FP 89.86 %, AgeDB-30 93.47 %",
    architecture="MobileFaceNet",
)
"""MobileFaceNet (Chen et al., 2018, https://arxiv.org/abs/1804.07573) by the same authors."""

IR50: Final = replace(
    IR_SE50,
    channel_order="rgb",
    weights=replace(IR_SE50.weights, source=FACE_EVOLVE, path="backbone_ir50_ms1m_epoch120.pth"),
    accuracy="LFW 99.78 %, CFP-FP 98.14 %, AgeDB-30 97.53 %",
    architecture="IR-50",
    loss="ArcFace with focal loss",
    training_data="MS1M",
)
"""IR-50 of face.evoLVe, the ResNet-50 of face recognition."""


def _makeup(path: str, architecture: str, threshold: float, training_data: str = "not stated") -> EmbedderSpec:
    """Return one of the four recognisers by which makeup-transfer methods are compared."""
    return replace(
        IR_SE50,
        channel_order="rgb",
        threshold=threshold,
        threshold_source="FAR 1 % as published with the makeup-transfer protocol, on faces cropped by their box",
        weights=Weights(origin="manual", source=MAKEUP, path=path, sha256="", licence=_NO_LICENCE),
        accuracy="",
        architecture=architecture,
        loss="not stated",
        training_data=training_data,
    )


MAKEUP_IRSE50: Final = _makeup("irse50.pth", "IR-SE50", 0.241045)
"""IR-SE50 of the protocol of Adv-Makeup, AMT-GAN and CLIP2Protect."""

MAKEUP_IR152: Final = _makeup("ir152.pth", "IR-152", 0.166788)
"""IR-152 of the same protocol."""

MAKEUP_MOBILE_FACE: Final = _makeup("mobile_face.pth", "MobileFaceNet", 0.301611)
"""MobileFaceNet of the same protocol."""

MAKEUP_FACENET: Final = replace(
    _makeup("facenet.pth", "Inception-ResNet-v1", 0.409131, "8,631 people, the number of VGGFace2"),
    height=160,
    width=160,
    template=FACENET_TEMPLATE,
)
"""FaceNet of the same protocol."""

SPHERE20_SPHEREFACE: Final = EmbedderSpec(
    height=112,
    width=96,
    template=SPHERE_TEMPLATE,
    channel_order="bgr",
    mean=(127.5, 127.5, 127.5),
    std=(128.0, 128.0, 128.0),
    dimension=512,
    threshold=None,
    threshold_source="not measured",
    weights=Weights(origin="manual", source=CLCARWIN, path="sphere20a_20171020.pth", sha256="", licence=_NO_LICENCE),
    accuracy="LFW 99.22 %",
    architecture="Sphere20",
    loss="SphereFace",
    training_data="CASIA-WebFace",
)
"""SphereFace of TIP-IM's experiments (https://github.com/clcarwin/sphereface_pytorch)."""

SPHERE20_COSFACE: Final = replace(
    SPHERE20_SPHEREFACE,
    channel_order="rgb",
    std=(127.5, 127.5, 127.5),
    weights=replace(SPHERE20_SPHEREFACE.weights, source=MUGGLEWANG, path="ACC99.28.pth"),
    accuracy="LFW about 99.2 %",
    loss="CosFace",
)
"""CosFace of TIP-IM's experiments (https://github.com/MuggleWang/CosFace_pytorch)."""
