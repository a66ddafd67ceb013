from __future__ import annotations

from typing import Any

import pytest

from facecrypt.recipe.check import check_recipe, recipe_values
from facecrypt.recipe.presets import load_presets
from facecrypt.report.summary import next_choice, summarise
from tests.face_verdicts import verdict

BOTH = [{"name": "sface"}, {"name": "dlib_resnet"}]
SLIGHTLY = "The change is slightly visible."


def recipe(**keys: Any) -> dict[str, Any]:
    return recipe_values(check_recipe({"surrogates": BOTH, **keys}))


def face(word: str, recognisers: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    defaults = {"level": None, "expected": None, "visible": "slightly", "recognisers": recognisers or {}}
    return {**defaults, "verdict": word, **keys}


def say(*faces: dict[str, Any], failed: int = 0, **keys: Any) -> str:
    photos = [{"status": "written", "faces": list(faces)}, *[{"status": "failed", "faces": []}] * failed]
    return summarise(photos, recipe(**(keys or {"preset": "mid"})))


KEPT, AGAIN, GONE = {"a": verdict(0.8)}, {"a": verdict(0.2, blur=0.8, jpeg_75=0.7)}, {"a": verdict(0.1)}


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (face("pass", GONE), f"Pass: a, which gave no gradients, takes this face for somebody else. {SLIGHTLY}"),
        (face("pass", {"b": verdict(0.1), "a": verdict(0.2), "z": verdict(0.2, cannot="a NaN")}, visible="hardly"),
         "Pass: b and a, which gave no gradients, take this face for somebody else. The change is hardly visible."),
        (face("pass", expected=0.8),
         "Pass: of 4 recognisers that gave no gradients, about 3 would take this face for somebody else (expected, not "
         f"measured). {SLIGHTLY}"),
        (face("weak", {**KEPT, **{"b": verdict(0.1)}}),
         "Weak: a, which gave no gradients, still takes this face for the original. "
         f"{SLIGHTLY} A stronger mask may help: preset=high."),
        (face("weak", {"a": verdict(0.9), "b": verdict(0.9)}),
         "Weak: a and b, which gave no gradients, still take this face for the original. "
         f"{SLIGHTLY} A stronger mask may help: preset=high."),
        (face("weak", {"c": verdict(0.9, chooses=True), "s": verdict(0.9, white_box=True)}),
         "Weak: c, which gave no gradients, still takes this face for the original. "
         f"{SLIGHTLY} A stronger mask may help: preset=high."),
        (face("weak", AGAIN),
         "Weak: a, which gave no gradients, takes this face for the original again after JPEG 75 and blur. "
         f"{SLIGHTLY} A stronger mask may help: preset=high."),
        (face("weak", expected=0.4),
         "Weak: of 4 recognisers that gave no gradients, about 2 would take this face for somebody else (expected, not "
         f"measured); 80 % would be enough. {SLIGHTLY} A stronger mask may help: --protect 0.8."),
        (face("not judged", visible=None),
         "Not judged: no recogniser that gave no gradients judged this face, and what others make of it cannot be "
         "expected. To know more, name a recogniser under held_out."),
        (face("not found again"),
         "Not found again: no face is found here in the saved photo any more, so no recogniser gave a verdict. Another "
         f"detector may find it. {SLIGHTLY}"),
    ],
)  # fmt: skip
def test_one_face(shown: dict[str, Any], says: str) -> None:
    assert say(shown) == says
    assert "protected" not in says


def test_several_faces_and_photos() -> None:
    faces = [face("weak", KEPT, visible="clearly"), face("weak", {"b": verdict(0.8)}), face("weak", expected=0.2)]
    faces += [face("pass", GONE, visible="hardly"), face("not judged"), face("not found again")]
    assert say(*faces, failed=2) == (
        "Weak: of 6 faces, 3 are weak (recognised by a and b, 1 by what is expected of others, not measured), 1 is not "
        "judged, 1 is not found again and 1 passes (not recognised by a). The changes are clearly visible at most. A "
        "stronger mask may help: preset=high. 2 of 3 photos failed."
    )
    assert say(face("pass", expected=0.9), face("pass", expected=0.9, visible="hardly")) == (
        "Pass: of 2 faces, 2 pass (by what is expected of others, not measured). The changes are slightly visible at "
        "most."
    )
    assert say(face("not found again"), face("pass", GONE)).startswith("Not found again: of 2 faces, 1 is not found")
    assert say() == "No face was changed, so there is nothing to judge."
    assert say(failed=1) == "No face was changed, so there is nothing to judge. 1 of 2 photos failed."


@pytest.mark.parametrize(
    ("weak", "keys", "choice"),
    [
        (face("weak", KEPT), {"preset": "low"}, {"preset": "mid"}),
        (face("weak", KEPT), {"preset": "max"}, None),
        # Weaker than the preset that it names, or of settings of its own.
        (face("weak", KEPT), {"preset": "max", "steps": 3}, {"preset": "max"}),
        (face("weak", KEPT), {"preset": "max", "budget": {"jod": 9.8}}, {"preset": "max"}),
        (face("weak", KEPT), {"epsilon": 4}, {"preset": "max"}),
        # What is expected decided: then it is asked for.
        (face("weak", expected=0.3), {"preset": "low"}, {"protect": 0.8}),
        (face("weak", expected=0.3), {"preset": "max"}, None),
        # With protection asked for, the masks are as strong as that needs, or as they can be.
        (face("weak", KEPT, level="low"), {"protect": 0.5}, {"preset": "mid"}),
        (face("weak", KEPT, level="max"), {"protect": 0.5}, None),
        (face("weak", expected=0.3, level="max"), {"protect": 0.5}, None),
        (face("weak", KEPT, level="epsilon: 9"), {"protect": 0.5, "levels": ["low", {"epsilon": 9}]}, None),
        (face("weak", KEPT, level="mid"), {"protect": 0.5, "levels": ["low", "mid"]}, {"preset": "high"}),
        (face("weak", KEPT, level="low"), {"protect": 0.5, "levels": ["low", {"epsilon": 9}]}, {"preset": "mid"}),
        (face("weak", KEPT, level="high"), {"strength": {"judges": [{"name": "cosface_vit_tiny"}]}}, {"preset": "max"}),
        (face("pass", GONE), {"preset": "low"}, None),
    ],
)
def test_what_to_try_next(weak: dict[str, Any], keys: dict[str, Any], choice: dict[str, Any] | None) -> None:
    assert next_choice(recipe(**keys), [weak]) == choice
    told = say(weak, **keys)
    if weak["verdict"] == "pass":
        assert "help" not in told
    elif choice is None:
        assert "Stronger masks do not help: what remains is to leave this face out of the photo or" in told
    elif "protect" in choice:
        assert told.endswith("A stronger mask may help: --protect 0.8.")
    else:
        taken = "strength=null " if "strength" in keys else ""
        assert told.endswith(f"A stronger mask may help: {taken}preset={choice['preset']}.")
    # Faces that pass change nothing.
    assert next_choice(recipe(**keys), [weak, face("pass", GONE, level="max")]) == choice


def test_the_strongest_of_the_weak_faces_decides() -> None:
    names = list(load_presets())
    faces = [face("weak", KEPT, level=name) for name in names]
    assert next_choice(recipe(protect=0.5), faces[:3]) == {"preset": "max"}
    assert next_choice(recipe(protect=0.5), faces) == {"preset": "max"}  # It may help the others.
    assert next_choice(recipe(protect=0.5), faces[3:]) is None


def test_presets_are_no_advice_for_other_methods() -> None:
    other = {"method": {"name": "fawkes"}}
    assert next_choice(recipe(**other), [face("weak", KEPT)]) is None
    assert say(face("weak", KEPT), **other).endswith(
        "Another strength may help: facecrypt list method fawkes tells how it is set."
    )
