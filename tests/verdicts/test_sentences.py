from __future__ import annotations

from typing import Any

import pytest

from facecrypt import registry
from facecrypt.verdicts.sentences import LABELS, face_names, face_sentence, label_of, of_others
from facecrypt.verdicts.verdict import judge_outcome
from tests.face_verdicts import verdict


def test_every_transform_has_a_label() -> None:
    built_in = [each for each in registry.list_components("transform") if each.origin == registry.BUILT_IN]
    assert set(LABELS) == {each.name for each in built_in}
    assert label_of("half_size+jpeg_50") == "half size, then JPEG 50"
    assert label_of("half_size+mine") == "half_size+mine"


@pytest.mark.parametrize(
    ("judges", "says"),
    [
        ({},
         "No held-out recogniser judged this face, so nothing is known about its protection."),
        ({"fooled": verdict(-0.4, white_box=True)},
         "No held-out recogniser judged this face, so nothing is known about its protection."),
        ({"dlib": verdict(0.2, cannot="it is all zero")},
         "dlib could not judge this face (it is all zero), so nothing is known about its protection."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(None, cannot="two")},
         "a and b could not judge this face (a: one; b: two), so nothing is known about its protection."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.1)},
         "Of 2 held-out recognisers, 1 takes it for another person (b similarity 0.100, same person from 0.500) and 1 "
         "could not judge (a: one). Other recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.9)},
         "Of 2 held-out recognisers, 1 still takes this face for the original (b similarity 0.900, same person from "
         "0.500) and 1 could not judge (a: one). Other recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.1, threshold=None)},
         "Of 2 held-out recognisers, 1 gives no verdict (b similarity 0.100) and 1 could not judge (a: one). Other "
         "recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(None)},
         "No face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may "
         "find it."),
        ({"dlib": verdict(0.913, threshold=0.91)},
         "dlib, which gave no gradients, still takes this face for the original (similarity 0.913, same person from "
         "0.910)."),
        ({"dlib": verdict(0.2, jpeg_75=0.3, blur=0.6)},
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500), but for the original again after blur."),
        ({"dlib": verdict(0.2, jpeg_75=0.3, blur=0.1)},
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500), also after JPEG 75 and blur. Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2)},
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500). Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2, blind=True, blur=0.1)},  # No merit of the mask.
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500). Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2, threshold=None)},
         "dlib, which gave no gradients, gives no verdict, because its threshold is unknown (similarity 0.200)."),
        ({"dlib": verdict(None)},
         "No face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may "
         "find it."),
        ({"a": verdict(0.7), "b": verdict(0.2, blur=0.6), "c": verdict(0.1), "d": verdict(0.3)},
         "Of 4 held-out recognisers, 1 still takes this face for the original (a similarity 0.700, same person from "
         "0.500), 1 does so again after a change (b after blur) and 2 take it for another person (c similarity 0.100, "
         "same person from 0.500; d similarity 0.300, same person from 0.500). Other recognisers may decide "
         "otherwise."),
        ({"a": verdict(0.2, blur=0.6), "b": verdict(0.2, threshold=None)},
         "Of 2 held-out recognisers, 1 takes it for the original only after a change (a after blur) and 1 gives no "
         "verdict (b similarity 0.200). Other recognisers may decide otherwise."),
    ],
)  # fmt: skip
def test_a_face(judges: dict[str, Any], says: str) -> None:
    assert face_sentence(judges) == says
    # A surrogate that is fooled, or not, changes nothing; nor does a recogniser that chose the strength.
    for similarity in (-0.9, 0.9):
        for part in ({"white_box": True}, {"chooses": True}):
            with_another = {**judges, "another": verdict(similarity, blur=similarity, **part)}
            assert face_sentence(with_another) == says


@pytest.mark.parametrize(
    ("person", "start", "end", "says"),
    [
        ("Ann", 1, 1200, "In the gallery as dlib sorts it, the first photo of Ann goes from rank 1 to rank 1,200."),
        ("Ann", 1, 1, "In the gallery as dlib sorts it, the first photo of Ann stays at rank 1."),
        (None, None, None, "dlib does not find the original face in the gallery, so there is no rank to lose."),
    ],
)
def test_a_gallery(person: str | None, start: int | None, end: int | None, says: str) -> None:
    seen = verdict(0.2)
    seen["person"] = person
    for when, rank in (("before", start), ("after", end)):
        seen[when]["none"]["place"] = {"own_rank": rank, "own_similarity": None, "target_rank": 2}
    assert face_sentence({"dlib": seen}).endswith(f"otherwise. {says}")


def test_faces_are_called_by_their_numbers_among_all_found_ones() -> None:
    assert face_names([{"index": 3}, {"index": None}]) == ["face 3", "face given by hand"]
    assert face_names([{"index": None}, {"index": 1}, {"index": None}]) == [
        "face 1 given by hand",
        "face 1",
        "face 2 given by hand",
    ]
    assert face_names([{}, {}]) == ["face 1", "face 2"]  # As older reports have them.


def test_what_is_expected_of_others_is_said_after_what_judges_say() -> None:
    told = (
        "Of 4 recognisers that gave no gradients, about 3 would take this face for somebody else (expected, not "
        "measured)."
    )
    assert face_sentence({}, 0.8) == f"No held-out recogniser judged this face. {told}"
    assert face_sentence({"dlib": verdict(0.2)}, 0.8) == f"{face_sentence({'dlib': verdict(0.2)})} {told}"
    blind = face_sentence({"dlib": verdict(0.2, cannot="it is all zero")}, 0.8)
    assert blind == f"dlib could not judge this face (it is all zero). {told}"
    assert face_sentence({"dlib": verdict(None)}, 0.8) == face_sentence({"dlib": verdict(None)})


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0.0, "Of 4 recognisers that gave no gradients, hardly any would"),
        (0.125, "Of 4 recognisers that gave no gradients, hardly any would"),
        (0.13, "Of 4 recognisers that gave no gradients, about 1 would"),
        (0.625, "Of 4 recognisers that gave no gradients, about 2 would"),  # Of two as near, the lower.
        (0.74, "Of 4 recognisers that gave no gradients, about 3 would"),
        (0.8, "Of 4 recognisers that gave no gradients, about 3 would"),
        (0.875, "Of 4 recognisers that gave no gradients, about 3 would"),
        (0.88, "Of 10 recognisers that gave no gradients, about 9 would"),
        (0.95, "Of 10 recognisers that gave no gradients, about 9 would"),
        (0.96, "Of 20 recognisers that gave no gradients, about 19 would"),
        (1.0, "Of 20 recognisers that gave no gradients, about 19 would"),  # Never all.
    ],
)
def test_shares_are_rounded_to_what_can_be_counted(share: float, says: str) -> None:
    told = of_others(share)
    assert told.startswith(says)
    assert told.endswith("(expected, not measured)")


def test_an_outcome_takes_the_worst_change() -> None:
    assert judge_outcome(verdict(0.1, jpeg_75=0.1, blur=0.9)) == "again"
    assert judge_outcome(verdict(0.1, jpeg_75=None)) == "not_recognised"
    assert judge_outcome(verdict(0.1, cannot="a NaN", blur=0.9)) == "not_judged"
