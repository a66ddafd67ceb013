from __future__ import annotations

from typing import Any

import pytest

from facecrypt.sentences import LABELS, face_names, face_outcome, face_sentence, judge_outcome, run_summary
from facecrypt.transforms import TRANSFORMS


def sighting(similarity: float | None, threshold: float | None, place: Any = None) -> dict[str, Any]:
    known = similarity is not None and threshold is not None
    return {"similarity": similarity, "still_recognised": similarity >= threshold if known else None, "place": place}  # type: ignore[operator]


def verdict(
    saved: float | None,
    *,
    threshold: float | None = 0.5,
    white_box: bool = False,
    blind: bool = False,
    chooses: bool = False,
    cannot: str = "",
    **after: Any,
) -> dict[str, Any]:
    """A verdict on a saved photo and after changes; `blind`: the changes alone hide the original, too.

    With `cannot`, what the recogniser says does not count, whatever it says.
    """
    clean = {name: sighting(0.1 if blind else 0.9, threshold) for name in after}
    seen = sighting(saved, threshold)
    return {
        **({"cannot_judge": cannot} if cannot else {}),  # Older reports do not have the key.
        "white_box": white_box,
        "chooses": chooses,
        "similarity": saved,
        "target_similarity": None,
        "threshold": threshold,
        "still_recognised": seen["still_recognised"],
        "person": None,
        "before": {"none": sighting(1.0, threshold), **clean},
        "after": {"none": seen, **{name: sighting(each, threshold) for name, each in after.items()}},
    }


def test_every_transform_has_a_label() -> None:
    assert set(LABELS) == set(TRANSFORMS)


@pytest.mark.parametrize(
    ("judges", "outcome", "says"),
    [
        ({}, "not_judged",
         "Not judged: no held-out recogniser judged this face, so nothing is known about its protection."),
        ({"fooled": verdict(-0.4, white_box=True)}, "not_judged",
         "Not judged: no held-out recogniser judged this face, so nothing is known about its protection."),
        ({"dlib": verdict(0.2, cannot="it is all zero")}, "not_judged",
         "Not judged: dlib could not judge this face (it is all zero), so nothing is known about its protection."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(None, cannot="two")}, "not_judged",
         "Not judged: a and b could not judge this face (a: one; b: two), so nothing is known about its protection."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.1)}, "not_recognised",
         "Of 2 held-out recognisers, 1 takes it for another person (b similarity 0.100, same person from 0.500) and 1 "
         "could not judge (a: one). Other recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.9)}, "recognised",
         "Of 2 held-out recognisers, 1 still takes this face for the original (b similarity 0.900, same person from "
         "0.500) and 1 could not judge (a: one). Other recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(0.1, threshold=None)}, "unknown",
         "Of 2 held-out recognisers, 1 gives no verdict (b similarity 0.100) and 1 could not judge (a: one). Other "
         "recognisers may decide otherwise."),
        ({"a": verdict(0.2, cannot="one"), "b": verdict(None)}, "unknown",
         "No face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may "
         "find it."),
        ({"dlib": verdict(0.913, threshold=0.91)}, "recognised",
         "dlib, which gave no gradients, still takes this face for the original (similarity 0.913, same person from "
         "0.910)."),
        ({"dlib": verdict(0.2, jpeg_75=0.3, blur=0.6)}, "again",
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500), but for the original again after blur."),
        ({"dlib": verdict(0.2, jpeg_75=0.3, blur=0.1)}, "not_recognised",
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500), also after JPEG 75 and blur. Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2)}, "not_recognised",
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500). Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2, blind=True, blur=0.1)}, "not_recognised",  # No merit of the mask.
         "dlib, which gave no gradients, takes the saved face for another person (similarity 0.200, same person from "
         "0.500). Other recognisers may decide otherwise."),
        ({"dlib": verdict(0.2, threshold=None)}, "unknown",
         "dlib, which gave no gradients, gives no verdict, because its threshold is unknown (similarity 0.200): "
         "nothing is known."),
        ({"dlib": verdict(None)}, "unknown",
         "No face is found here in the saved photo any more, so no recogniser gave a verdict. Another detector may "
         "find it."),
        ({"a": verdict(0.7), "b": verdict(0.2, blur=0.6), "c": verdict(0.1), "d": verdict(0.3)}, "recognised",
         "Of 4 held-out recognisers, 1 still takes this face for the original (a similarity 0.700, same person from "
         "0.500), 1 does so again after a change (b after blur) and 2 take it for another person (c similarity 0.100, "
         "same person from 0.500; d similarity 0.300, same person from 0.500). Other recognisers may decide "
         "otherwise."),
        ({"a": verdict(0.2, blur=0.6), "b": verdict(0.2, threshold=None)}, "again",
         "Of 2 held-out recognisers, 1 takes it for the original only after a change (a after blur) and 1 gives no "
         "verdict (b similarity 0.200). Other recognisers may decide otherwise."),
    ],
)  # fmt: skip
def test_a_face(judges: dict[str, Any], outcome: str, says: str) -> None:
    assert face_outcome(judges) == outcome
    assert face_sentence(judges) == says
    # A surrogate that is fooled, or not, changes nothing; nor does a recogniser that chose the strength.
    for similarity in (-0.9, 0.9):
        for part in ({"white_box": True}, {"chooses": True}):
            with_another = {**judges, "another": verdict(similarity, blur=similarity, **part)}
            assert face_sentence(with_another) == says
            assert face_outcome(with_another) == outcome


@pytest.mark.parametrize(
    ("person", "start", "end", "says"),
    [
        ("Ann", 1, 1200, "In the gallery as dlib sorts it, the first photo of Ann goes from rank 1 to rank 1,200."),
        ("Ann", 1, 1, "In the gallery as dlib sorts it, the first photo of Ann stays at rank 1."),
        (None, None, None, "dlib does not find the unprotected face in the gallery, so there is no rank to lose."),
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


def photos(*faces: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"faces": []}, {"faces": [{"recognisers": face} for face in faces]}]


def test_a_run() -> None:
    kept, again, gone = {"j": verdict(0.8)}, {"j": verdict(0.2, blur=0.8)}, {"k": verdict(0.1)}
    unknown = {"s": verdict(-0.5, white_box=True), "c": verdict(-0.5, chooses=True)}
    assert run_summary(photos()) == "No face was protected, so there is nothing to measure."
    assert run_summary(photos(kept)) == face_sentence(kept)
    assert run_summary(photos(unknown, unknown)) == (
        "The 2 faces were not judged by any held-out recogniser: nothing is known about protection."
    )
    silent = {"j": verdict(0.2, threshold=None)}
    assert run_summary(photos(silent, unknown)) == (
        "No held-out recogniser gave a verdict on the 2 faces: nothing is known about protection."
    )
    assert run_summary(photos(kept, again, gone, gone, unknown)) == (
        "Of 5 faces, judged by j and k, which gave no gradients: 1 is still taken for the original as saved, 1 is "
        "taken for the original again after the photo was changed, 2 are taken for another person throughout and "
        "1 is not judged. Other recognisers may decide otherwise."
    )
    blind = {"j": verdict(0.2), "z": verdict(0.2, cannot="it is all zero")}
    half = {"j": verdict(0.2, cannot="a NaN"), "z": verdict(0.2, cannot="it is all zero")}
    assert run_summary(photos(blind, half, silent)) == (
        "Of 3 faces, judged by j, which gave no gradients: 1 is taken for another person throughout, nothing is known "
        "about 1 and 1 is not judged. Other recognisers may decide otherwise. z could not judge any of them (it is all "
        "zero)."
    )


def test_an_outcome_takes_the_worst_change() -> None:
    assert judge_outcome(verdict(0.1, jpeg_75=0.1, blur=0.9)) == "again"
    assert judge_outcome(verdict(0.1, jpeg_75=None)) == "not_recognised"
    assert judge_outcome(verdict(0.1, cannot="a NaN", blur=0.9)) == "not_judged"
