"""The parts of a recipe: its slots and groups of keys, each a dataclass that pydantic checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from facecrypt.choices import PersonBy, Share
from facecrypt.recipe.key_types import WHOLE_RECIPE
from facecrypt.system.limits import SECONDS, parse_size
from facecrypt.system.texts import PathText
from facecrypt.transforms.entries import Entry

STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Args = dict[str, Any]
LARGEST_WEIGHT = 1e6
"""Largest weight of a term of the loss: with larger ones, single precision would lose the others."""
Weight = Annotated[float, Field(gt=0, le=LARGEST_WEIGHT)]
TermWeight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]
MOST_COMPONENTS = 64
"""Most components in one list."""
LARGEST_BATCH = 4096
Seed = Annotated[int, Field(ge=0, lt=2**63)]
MOST_LEVELS = 16
Portion = Annotated[float, Field(ge=0, le=1)]


def _check_batch_size(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= LARGEST_BATCH):
        return value
    raise PydanticCustomError("batch_size", f"Input should be a whole number from 1 to {LARGEST_BATCH}, or 'auto'")


# A plain union would name the fault of each of its members.
BatchSize = Annotated[int | Literal["auto"], pydantic.BeforeValidator(_check_batch_size)]


def _check_memory(value: object) -> object:
    try:
        if isinstance(value, int | str):
            parse_size(value)
            return value
    except ValueError:
        pass
    raise PydanticCustomError("memory", "Input should be a size of at least 1 MiB in bytes or like '2 GiB', or null")


Memory = Annotated[int | str, pydantic.BeforeValidator(_check_memory)]


@dataclass
class Slot:
    """A component: its registered name and its arguments."""

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)


@dataclass
class TermSlot:
    """A naturalness term of the loss.

    Attributes:
        name: Registered name.
        args: Its arguments.
        weight: Factor of the term: gamma in Eq. 4.
    """

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)
    weight: TermWeight = 1.0


@dataclass
class MixupOptions:
    """Clean feature mixup (CFM; Byun et al., CVPR 2023), with the paper's numbers as defaults.

    Attributes:
        probability: How often a picture's features are mixed with those of a clean one, at each layer on its own.
        ratio: Largest share of the clean features; each channel draws its own.
    """

    __pydantic_config__ = STRICT
    probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.75


@dataclass
class OwnIdentity:
    """A term of the loss for every surrogate: weight * max(0, cos(p, r) - hinge), the mean over the views.

    Attributes:
        weight: Weight of the term; 0 leaves it out.
        hinge: Cosine with the original face below which the term is 0.
    """

    __pydantic_config__ = STRICT
    weight: TermWeight = 0.0
    hinge: Annotated[float, Field(ge=-1, le=1)] = 0.0


@dataclass
class SurrogateSlot:
    """A recogniser whose gradients make the masks.

    Attributes:
        name: Registered name.
        args: Its arguments.
        weight: Share of its gradient, relative to those of the other surrogates of the step.
        dropout: Probability that an element of its feature maps is dropped where it gives gradients, anew for every
            view, face and step (DFANet); 0 is the network as it is.
        fallback: Names to try in this order where the surrogate's weights cannot be loaded; warned of, and reported.
        optional: Do without it, and say so, where neither its weights nor those of a fallback can be loaded.
        mixup: Mix its features with those of clean pictures while its gradients are taken; none by default.
    """

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)
    weight: Weight = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fallback: Annotated[list[str], Field(max_length=MOST_COMPONENTS)] = field(default_factory=list)
    optional: bool = False
    mixup: MixupOptions | None = None


@dataclass
class HeldOutSlot:
    """A recogniser that only judges the saved files.

    Attributes:
        name: Registered name.
        args: Its arguments.
        optional: Do without it, and say so, where its weights cannot be loaded.
    """

    __pydantic_config__ = STRICT
    name: str
    args: Args = field(default_factory=dict)
    optional: bool = False


@dataclass
class JudgeSlot(HeldOutSlot):
    """A recogniser, or a component of the kind `judge`, that only judges the saved files.

    Attributes:
        name: Registered name of a judge or a surrogate.
        args: Its arguments.
        optional: Do without it, and say so, where its weights cannot be loaded or its key is not set.
        enrol: Folder with photos of people, a subfolder for each, that the judge may have: it says who of them a saved
            face is. Photos of the run are left out. Null for none.
        send_originals: Let a judge that is not on this machine have the original faces, to compare the saved ones with.
    """

    __pydantic_config__ = STRICT
    enrol: PathText | None = None
    send_originals: bool = False


@dataclass
class Region:
    """Where in a patch the mask may be how strong, as shares of epsilon and the step size: `regions.maps.face_map`.

    Attributes:
        face: Inside the face, an ellipse drawn around the landmarks.
        outside: Beyond it: hair, neck, background.
        features: At eyes, nose and mouth; less than `face` spares them instead.
    """

    __pydantic_config__ = STRICT
    face: Portion = 1.0
    outside: Portion = 0.5
    features: Portion = 1.0


RegionOrSlot = Annotated[
    Annotated[Region, Tag("(strengths)")] | Annotated[Slot, Tag("(component)")],
    Discriminator(
        lambda value: (
            "(component)" if isinstance(value, Slot) or (isinstance(value, dict) and "name" in value) else "(strengths)"
        )
    ),
]
"""The value of ``region``: strengths stand for the component ``face`` with these arguments."""


@dataclass
class PersonOptions:
    """Which photos show one person, and what they share. Faces of others in them are told apart by likeness.

    Attributes:
        by: ``folder``: the photos in one folder are of one person, who is called as it; ``all``: all photos are; or
            ``table``: a file tells.
        table: A CSV file with the columns ``photo``, a file's path below the folder of photos or its name, and
            ``person``. Photos that it does not name are of nobody in particular.
        share: ``target``: a target that is kept throughout is the same in all photos of a person; ``identity``: masks
            lead away from the mean of the person's photos, not from each face alone; or ``both``.
    """

    __pydantic_config__ = STRICT
    by: PersonBy = "folder"
    table: PathText | None = None
    share: Share = "target"


Similarity = Annotated[float, Field(gt=0, lt=1)]


Jod = Annotated[float, Field(gt=5, lt=10)]


@dataclass
class Budget:
    """How much of a face's looks the mask may spend. Each face gets the largest epsilon that keeps within it.

    Attributes:
        ssim: Lowest SSIM of the aligned 112x112 face area between the original and the saved 8-bit photo; null for no
            such bound.
        ms_ssim: Lowest MS-SSIM of it, over four scales, which minds coarse changes more. Where several are given, all
            hold.
        jod: Lowest JOD of the face and a little around it, as a full-HD monitor shows the saved photo, a pixel for a
            pixel: 10 is no visible difference.
        enlarged: Lowest JOD of it where the photo is shown at twice its size.
        flip: Largest mean FLIP error of it, where the photo is shown as a whole, shrunk to a full-HD monitor if it is
            larger: 0 is no difference.
        delta_e: Largest colour difference (CIEDE2000) of the face area after a low pass, the mean over the eyes, over
            the mouth and over the skin around them each: from about 1, people see it beside the original.
        creases: Largest root mean square of how much deeper places of the face area lie in dark lines than before, in
            units of L*: new folds. Lines that fade are free.
    """

    __pydantic_config__ = STRICT
    ssim: Similarity | None = None
    ms_ssim: Similarity | None = None
    jod: Jod | None = None
    enlarged: Jod | None = None
    flip: Annotated[float, Field(gt=0, lt=1)] | None = None
    delta_e: Annotated[float, Field(gt=0, le=100)] | None = None
    creases: Annotated[float, Field(gt=0, le=100)] | None = None


Levels = Annotated[list[Annotated[Args, WHOLE_RECIPE]], Field(min_length=1, max_length=MOST_LEVELS)]
"""What is tried with each face, from the lightest on."""


@dataclass
class StrengthChoice:
    """Each face gets the lightest level at which no judge takes it for the same person in the saved photo any more.

    Attributes:
        judges: Recognisers that choose. They are no evidence for what they chose, so no held-out one may be among them.
        levels: What to try, from the lightest on: names of presets, or mappings of keys that replace those of the
            recipe, such as ``{epsilon: 4}`` or ``{preset: mid, steps: 200}``. All presets by default.
        margin: How far below its threshold each judge's similarity must fall.
    """

    __pydantic_config__ = STRICT
    judges: Annotated[list[HeldOutSlot], Field(min_length=1, max_length=MOST_COMPONENTS)]
    levels: Levels = field(default_factory=list)
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0


@dataclass
class Receipt:
    """What the report measures besides the saved photo as it is.

    It does not change what a photo becomes, unless `protect` or `strength` tries masks by it.

    Attributes:
        transforms: What happens to the original and to the saved photo before all recognisers see them once more;
            ``[]`` for nothing, which is fastest. Each is a name, names joined by ``+``, ``{name: jpeg, args: {quality:
            60}}``, or ``{chain: [half_size, {name: webp}], label: chat}``.
        gallery: Folder with photos of known people, a subfolder for each person (a photo beside them is one person,
            too), in which the rank of each face is measured; null for none.
        cache: Folder that keeps the gallery's embeddings for later runs, as private as the photos; null keeps none.
        detector: Finds the faces that are judged, in the saved photo, in the original and in the gallery; null for that
            by which masks are made.
    """

    __pydantic_config__ = STRICT
    transforms: Annotated[list[Entry], Field(max_length=MOST_COMPONENTS)] = field(
        default_factory=lambda: ["jpeg_75", "half_size", "blur"]
    )
    gallery: PathText | None = None
    cache: PathText | None = None
    detector: Slot | None = None


@dataclass
class Limits:
    """What photos may cost. A photo that would cost more is refused, and the others are done.

    Attributes:
        memory: Main memory that all photos which are read, protected, written or verified at the same time may take
            together: bytes, or text such as ``2 GiB``; null for half of what is free when the run begins. Fewer
            photos than `batch_size` are then read together, and one that needs more alone is refused.
        seconds: Computing time to decode a photo and to read its metadata, in seconds of one core; by the clock it may
            be several times as long, since other programs compute, too.
    """

    __pydantic_config__ = STRICT
    memory: Memory | None = None
    seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = SECONDS


@dataclass
class ReportOptions:
    """What report.html shows. It does not change what a photo becomes.

    Attributes:
        originals: Show each unprotected face beside the protected one. Without it, the page shows the protected faces
            alone, and no mask, which would tell the rest.
    """

    __pydantic_config__ = STRICT
    originals: bool = True
