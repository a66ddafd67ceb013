"""The words that recipes choose from, apart from names of components. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

VIRTUAL = "virtual"
"""The targets that come with facecrypt: people who do not exist."""

FaceChoice = Literal["all", "largest", "aligned"]
"""Which faces of a photo: all, the largest, or the photo itself is an aligned face."""

LandmarksFrom = Literal["detected", "detected in box", "placed in box", "given"]
"""How the landmarks of a face came about: by the search of the photo, by one in a box given by hand, as average ones
where that found no face, or by hand."""

Norm = Literal["linf", "l2"]
"""Which ball a mask stays in."""

PhotoFormat = Literal["same", "png"]
"""How protected photos are written: in the format of the input, or losslessly as PNG."""

MetadataPolicy = Literal["all", "keep", "strip_gps", "strip"]
"""What of EXIF and XMP is kept: all but pictures; what is harmless, with texts and places or without; or nothing."""

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
"""What makes the masks."""

Strategy = Literal["auto", "ddp"]
"""How several devices share the photos out."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""The numbers in which surrogates compute."""

ViewsMode = Literal["chain", "one"]
"""How the views of a recipe are used: one after the other, or one of them for each picture."""

TargetEmbedding = Literal["first", "mean", "set"]
"""What of a target's photos a mask aims at: the first, the mean of all, or whichever is nearest."""

PersonBy = Literal["folder", "all", "table"]
"""What tells whose photo it is: the folder that it lies in, nothing (they are all of one person), or a table."""

Share = Literal["target", "identity", "both"]
"""What the photos of one person have in common."""

Trait = Literal["skin", "sex"]
"""What of a person shows in a photo and is told offline; see `facecrypt.evaluation.traits`."""

Adversary = Literal[
    "none",
    "protected_gallery",
    "growing_gallery",
    "linear_probe",
    "clean_gallery",
    "clusterer",
    "best_transform",
    "other_alignment",
    "averaging",
    "adaptive",
    "linear_map",
    "student",
    "purifier",
    "protection_detector",
]
"""What the one who identifies does about protection; see `facecrypt.benchmark.adversaries`."""

Question = Literal["compare", "rank"]
"""What a judge can be asked: whether two pictures show one person, or which of the enrolled people one shows."""

Way = Literal["pair", "enrolled photos", "ranking"]
"""How a judge is asked about a saved face: beside the original, beside photos of the person that the user gives, or who
of the people in these it is."""
