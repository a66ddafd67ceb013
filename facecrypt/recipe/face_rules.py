"""Which faces of a photo a recipe means: its key ``faces``, a word or a mapping. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, Discriminator, Field, Tag

from facecrypt.choices import FaceChoice
from facecrypt.system.texts import PathText

RECOGNISER = "sface"
"""What compares faces with reference photos: always the same, so that no other setting changes which are chosen."""

SMALLEST_BOX = 8
"""Shortest side of a box given by hand, in photo pixels: a patch of fewer pixels shows no face."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_boxes(value: Any) -> Any:
    """Return one box as a list of boxes."""
    return [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value


def _as_faces(value: Any) -> Any:
    """Return the landmarks of one face as a list of faces."""
    one = isinstance(value, list) and value and isinstance(value[0], list) and value[0]
    return [value] if one and not isinstance(value[0][0], list) else value


Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]
Landmarks = Annotated[list[Point], Field(min_length=5, max_length=5)]
Indices = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), BeforeValidator(_as_list)]
Paths = Annotated[list[PathText], Field(min_length=1), BeforeValidator(_as_list)]
Boxes = Annotated[list[Box], Field(min_length=1), BeforeValidator(_as_boxes)]
Points = Annotated[list[Landmarks], Field(min_length=1), BeforeValidator(_as_faces)]


@dataclass(frozen=True)
class Faces:
    """Which faces of a photo are protected. A face that is found must pass every key; those given by hand need not.

    Attributes:
        choose: ``all`` that pass the other keys, the ``largest`` of them, or ``aligned``: see above. By default
            ``all``, and none but the given ones where `box` or `landmarks` are the only keys.
        index: Number of a face, or a list: from 1, the largest of all found faces first, as the report counts them.
        only: A photo, folder or glob, or a list of such: only faces like the largest face in one of these photos.
        except_: The same for faces that stay as they are.
        min_size: Shortest side of a face's box in photo pixels, at least 20. Photos are then searched finely enough to
            find faces of that size; by default, those that are 20 pixels wide where the photo is 1600 pixels wide.
        box: A face given by hand, ``[left, top, right, bottom]`` in pixels of the upright photo, or a list of such. It
            is searched for in the box alone; where it is not found there, average landmarks are placed into the box.
        landmarks: A face given by hand: ``[x, y]`` of left eye, right eye, nose, left and right corner of the mouth,
            left and right as seen in the photo; or a list of such. Nothing is searched.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    choose: FaceChoice | None = None
    index: Indices | None = None
    only: Paths | None = None
    except_: Annotated[Paths | None, Field(alias="except")] = None
    min_size: Annotated[float, Field(ge=20, le=1e6)] | None = None
    box: Boxes | None = None
    landmarks: Points | None = None

    @property
    def by_hand(self) -> str:
        """The key that gives faces by hand, or nothing."""
        return "box" if self.box else "landmarks" if self.landmarks else ""


WordOrRules = Annotated[
    Annotated[FaceChoice, Tag("(word)")] | Annotated[Faces, Tag("(mapping)")],
    # Tells which of both is meant, so that a fault is told once. Tags in brackets are no part of a key's path.
    Discriminator(lambda value: "(mapping)" if isinstance(value, dict | Faces) else "(word)"),
]
"""The value of ``faces``: a word stands for ``{choose: word}``."""


def face_rules(choice: FaceChoice | Faces) -> Faces:
    """Return what ``faces`` says as rules, with `choose` filled in; None there means that nothing is searched."""
    if not isinstance(choice, Faces):
        return Faces(choose=choice)
    alone = choice.by_hand and not (choice.index or choice.only or choice.except_ or choice.min_size)
    return choice if choice.choose or alone else replace(choice, choose="all")


def simplify(choice: FaceChoice | Faces) -> FaceChoice | Faces:
    """Return the one form of ``faces`` among those that mean the same: a word where a word says it all."""
    rules = face_rules(choice)
    return rules.choose if rules.choose and rules == Faces(choose=rules.choose) else rules


def face_faults(choice: FaceChoice | Faces) -> list[str]:
    """Return what is wrong with rules whose values are right each by itself, one line per fault."""
    rules = face_rules(choice)
    faults = []
    given = [item.name for item in fields(rules) if getattr(rules, item.name) is not None]
    others = [name.rstrip("_") for name in given if name != "choose"]
    if rules.choose == "aligned" and others:
        faults.append(f"faces.choose: an aligned photo is not searched, so leave out {', '.join(others)}.")
    if rules.index and rules.choose == "largest":
        faults.append("faces.index: names faces outright, so it goes without choose: largest. Leave out one of both.")
    references = [key for key in ("only", "except") if key in others]
    if rules.index and references:
        faults.append(
            f"faces.index: names faces outright, so it goes without {' and '.join(references)}. Leave out one of both."
        )
    both = sorted(set(rules.only or []) & set(rules.except_ or []))
    faults += [f"faces.only: {path!r} is in faces.except too, so no face would be left. Name it once." for path in both]
    for number, (left, top, right, bottom) in enumerate(rules.box or []):
        if right - left < SMALLEST_BOX or bottom - top < SMALLEST_BOX:
            faults.append(
                f"faces.box[{number}]: {right - left:g}x{bottom - top:g} pixels. Give [left, top, right, bottom] of at "
                f"least {SMALLEST_BOX}x{SMALLEST_BOX} pixels."
            )
    for number, points in enumerate(rules.landmarks or []):
        if not _is_upright(points):
            faults.append(
                f"faces.landmarks[{number}]: are not those of a face. Give [x, y] of left eye, right eye, nose, left "
                "and right corner of the mouth, left and right as seen in the photo."
            )
    return faults


def _is_upright(points: list[list[float]]) -> bool:
    """Return whether the mouth is below the eyes when the left eye is on the left, however the head is turned."""
    (left_x, left_y), (right_x, right_y), _, *mouth = points
    across = (right_x - left_x, right_y - left_y)
    down = (
        sum(x for x, _ in mouth) / 2 - (left_x + right_x) / 2,
        sum(y for _, y in mouth) / 2 - (left_y + right_y) / 2,
    )
    return across[0] * down[1] - across[1] * down[0] > 0
