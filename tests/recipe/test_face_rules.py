from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from facecrypt.engine.digest import recipe_digest
from facecrypt.errors import RecipeError
from facecrypt.recipe.check import Recipe, check_recipe, dump_recipe, load_recipe
from facecrypt.recipe.face_rules import Faces, face_rules

POINTS = [[30.0, 40.0], [60.0, 40.0], [45.0, 55.0], [33.0, 70.0], [57.0, 70.0]]


def recipe(faces: Any) -> Recipe:
    return check_recipe({"surrogates": [{"name": "sface"}], "faces": faces})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("all", "all"),
        ("aligned", "aligned"),
        ({}, "all"),
        ({"choose": "largest"}, "largest"),
        ({"index": 2}, Faces(choose="all", index=[2])),
        ({"index": [2, 3]}, Faces(choose="all", index=[2, 3])),
        ({"choose": "largest", "only": "me.jpg"}, Faces(choose="largest", only=["me.jpg"])),
        ({"only": ["me/", "you.jpg"], "except": "x.jpg"},
         Faces(choose="all", only=["me/", "you.jpg"], except_=["x.jpg"])),
        ({"min_size": 40}, Faces(choose="all", min_size=40)),
        # Faces given by hand are the only ones, unless another key chooses found ones as well.
        ({"box": [1, 2, 30, 40]}, Faces(box=[[1, 2, 30, 40]])),
        ({"box": [[1, 2, 30, 40], [50, 2, 80, 40]]}, Faces(box=[[1, 2, 30, 40], [50, 2, 80, 40]])),
        ({"landmarks": POINTS}, Faces(landmarks=[POINTS])),
        ({"choose": "all", "landmarks": [POINTS, POINTS]}, Faces(choose="all", landmarks=[POINTS, POINTS])),
        ({"index": 1, "box": [1, 2, 30, 40]}, Faces(choose="all", index=[1], box=[[1, 2, 30, 40]])),
    ],
)  # fmt: skip
def test_what_a_recipe_means(given: Any, meant: Any) -> None:
    checked = recipe(given)
    assert checked.faces == meant
    resolved = yaml.safe_load(dump_recipe(checked))
    assert "except_" not in str(resolved)
    assert check_recipe(resolved) == checked


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("some", "faces: 'some' is wrong: input should be 'all', 'largest' or 'aligned'."),
        (3, "faces: 3 is wrong: input should be 'all', 'largest' or 'aligned'."),
        ({"choose": "some"}, "faces.choose: 'some' is wrong: input should be 'all', 'largest' or 'aligned'."),
        ({"excpt": "a"}, "faces.excpt: unknown key. Did you mean 'except'? Known: choose, index, only, except, min_"),
        ({"index": 0}, "faces.index[0]: 0 is wrong: input should be greater than or equal to 1."),
        ({"index": []}, "faces.index: [] is wrong"),
        ({"only": 3}, "faces.only[0]: 3 is wrong: input should be a valid string."),
        ({"min_size": 5}, "faces.min_size: 5 is wrong: input should be greater than or equal to 20."),
        ({"box": [1, 2, 3]}, "faces.box[0]: [1, 2, 3] is wrong"),
        ({"box": [30, 2, 1, 40]}, "faces.box[0]: -29x38 pixels. Give [left, top, right, bottom] of at least 8x8"),
        ({"landmarks": POINTS[:4]}, "faces.landmarks[0]:"),
        ({"landmarks": [POINTS[1], POINTS[0], *POINTS[2:]]}, "faces.landmarks[0]: are not those of a face."),
        ({"landmarks": [POINTS[0]] * 5}, "faces.landmarks[0]: are not those of a face."),
        ({"choose": "aligned", "min_size": 30}, "faces.choose: an aligned photo is not searched, so leave out"),
        ({"choose": "largest", "index": 2}, "faces.index: names faces outright, so it goes without choose: largest."),
        ({"index": 2, "except": "a"}, "faces.index: names faces outright, so it goes without except."),
        ({"only": ["a", "b"], "except": "a"}, "faces.only: 'a' is in faces.except too, so no face would be left."),
    ],
)  # fmt: skip
def test_one_fault(given: Any, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(given)
    (found,) = caught.value.faults
    assert found.startswith(fault)


def test_landmarks_of_a_head_upside_down_are_right() -> None:
    turned = [[100 - x, 100 - y] for x, y in POINTS]
    assert face_rules(recipe({"landmarks": turned}).faces).landmarks == [turned]


def test_overrides_reach_into_a_word(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("surrogates: [{name: sface}]\nfaces: largest\n")

    def load(*overrides: str) -> Any:
        return load_recipe(path, overrides).faces

    assert load("faces.min_size=40") == Faces(choose="largest", min_size=40)
    assert load("faces.min_size=40", "faces.except=x.jpg") == Faces(choose="largest", min_size=40, except_=["x.jpg"])
    assert load("faces.choose=all", "faces.index=1") == Faces(choose="all", index=[1])
    assert load("faces=all") == "all"
    assert load("faces={index: 1}") == Faces(choose="all", index=[1])
    path.write_text("surrogates: [{name: sface}]\n")
    assert load("faces.box=[1,2,30,40]") == Faces(box=[[1, 2, 30, 40]])
    assert load("faces.landmarks=[[30,40],[60,40],[45,55],[33,70],[57,70]]") == Faces(landmarks=[POINTS])


def test_another_choice_is_another_digest() -> None:
    digests = [recipe_digest(recipe(each)) for each in ("all", "largest", {"index": 1}, {"index": 2}, {"only": "a"})]
    assert len(set(digests)) == 5
    assert recipe_digest(recipe({"choose": "all"})) == digests[0]
