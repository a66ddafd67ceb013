"""Where the five landmarks of a face land in its crop, as data. Nothing here imports torch."""

from __future__ import annotations

Template = tuple[tuple[float, float], ...]
"""Where left eye, right eye, nose, left and right mouth corner (as seen in the photo) land: x, y in crop pixels."""

ARCFACE_TEMPLATE: Template = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""The 112x112 crop of ArcFace (InsightFace, ``face_align.arcface_dst``), which most recognisers share."""
