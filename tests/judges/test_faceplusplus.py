"""Face++: what it is sent, what becomes of its answers, its limits and its errors, as its pages have them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt import registry
from facecrypt.errors import FacecryptError, JudgeError
from facecrypt.judges.base import Match, NotSentError, Opinion, Picture
from facecrypt.judges.faceplusplus import FacePlusPlus
from tests.judge_server import Answer
from tests.vendor_servers import KEY, SECRET, FacePlusPlusServer, throttled


def judge(server: FacePlusPlusServer, **args: Any) -> FacePlusPlus:
    made: FacePlusPlus = registry.build(
        "judge", "faceplusplus", {"url": server.address, "rate": None, "backoff": 0.0, **args}
    )
    return made


def asked(server: FacePlusPlusServer) -> list[str]:
    return [sent.path.removeprefix("/facepp/v3/") for sent in server.sent]


def of_one_colour(picture: Picture) -> Picture:
    return Picture(np.full_like(picture.pixels, 90), picture.face)


def test_it_compares(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, cost=0.01)
    assert one.compare(people[0], people[0]) == Opinion(100.0, True)
    different = one.compare(people[0], people[1])
    assert different.same is False
    assert one.compare(people[0], of_one_colour(people[0])) == Opinion(None, None, found=False)
    assert (asked(faceplusplus), one.spending.requests, one.spending.cost) == (["compare"] * 3, 3, 0.03)
    assert set(faceplusplus.sent[0].body) == {"image_base64_1", "image_base64_2"}, "and the key, which was right"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(faceplusplus.pictures()[1]))), people[0].pixels)


@pytest.mark.parametrize(
    ("rate", "similarity", "same"),
    [(1e-3, 85.0, True), (1e-4, 89.99, False), (1e-5, 94.0, False), (1e-5, 95, True), (None, 99.0, None)],
)
def test_the_threshold_is_that_of_a_rate(
    faceplusplus: FacePlusPlusServer, people: list[Picture], rate: Any, similarity: float, same: bool | None
) -> None:
    thresholds = {"1e-3": 85.0, "1e-4": 90.0, "1e-5": 95.0}
    faceplusplus.script.append(Answer(body=json.dumps({"confidence": similarity, "thresholds": thresholds}).encode()))
    assert judge(faceplusplus, false_matches=rate).compare(*people[:2]) == Opinion(similarity, same)


def test_it_searches_a_set_that_it_deletes(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank")
    assert one.rank(people[0], 5) == []
    for number, picture in enumerate(people[:3]):
        one.enrol(f"person {number}", [picture] * (6 if number == 2 else 1))
    ((name, tokens),) = faceplusplus.sets.items()
    assert name.startswith("facecrypt-")
    assert len(tokens) == 8
    adding = ["detect", "faceset/addface"]
    assert asked(faceplusplus) == ["faceset/create", *adding, *adding, *["detect"] * 6, *["faceset/addface"] * 2]
    assert one.rank(people[1], 5) == [Match("person 1", 100.0)], "the others are below the threshold"
    assert one.rank(of_one_colour(people[1]), 5) == []
    assert not any("person" in json.dumps(sent.body) for sent in faceplusplus.sent), "it is told who somebody is"
    one.close()
    assert faceplusplus.sets == {}
    assert (asked(faceplusplus)[-1], one.rank(people[1], 5)) == ("faceset/delete", [])
    before = one.spending.requests
    one.close()
    assert one.spending.requests == before == len(asked(faceplusplus))
    assert before == one.requests_to_enrol([1, 1, 6]) + 2, "two searches"


def test_a_search_by_similarity_alone(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank", false_matches=None)
    for number, picture in enumerate(people):
        one.enrol(f"p{number}", [picture])
    first, *others = one.rank(people[2], 3)
    assert first == Match("p2", 100.0)
    assert len(others) == 2
    (search,) = [sent.body for sent in faceplusplus.sent if sent.path.endswith("/search")]
    assert search["return_result_count"] == "5", "a person may have several faces among them"
    one.close()


def test_photos_without_a_face_are_left_out(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank")
    one.enrol("nobody", [of_one_colour(people[0])])
    assert one.rank(people[0], 5) == []
    one.enrol("p1", [people[1], of_one_colour(people[1])])
    assert one.rank(people[1], 5) == [Match("p1", 100.0)]
    one.close()
    assert asked(faceplusplus)[:2] == ["faceset/create", "detect"]


def test_it_is_asked_again_where_it_has_no_time(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    faceplusplus.script.extend([throttled("CONCURRENCY_LIMIT_EXCEEDED")] * 2)
    one = judge(faceplusplus)
    assert one.compare(people[0], people[0]).same is True
    assert one.spending.requests == 3
    faceplusplus.script.extend([throttled("CONCURRENCY_LIMIT_EXCEEDED")] * 2)
    with pytest.raises(JudgeError, match=r"answered 403 .*CONCURRENCY_LIMIT_EXCEEDED.*Try again later"):
        judge(faceplusplus, retries=1).compare(people[0], people[0])


@pytest.mark.parametrize(("variable", "value"), [("FACEPLUSPLUS_KEY", "an0ther"), ("FACEPLUSPLUS_SECRET", "0ther")])
def test_a_wrong_key_is_tried_once_and_stands_in_no_message(
    faceplusplus: FacePlusPlusServer,
    people: list[Picture],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    one = judge(faceplusplus, ask="rank")
    for _ in range(2):
        with pytest.raises(
            JudgeError, match="AUTHENTICATION_ERROR.*It does not accept the key. Mend the var"
        ) as caught:
            one.enrol("p", [people[0]])
    assert not any(each in str(caught.value) for each in (KEY, SECRET, value))
    one.close()
    assert (one.spending.requests, faceplusplus.sent) == (1, [])


def test_an_account_without_money(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    refusal = {"error_message": "AUTHORIZATION_ERROR:Insufficient Account Balance"}
    faceplusplus.script.append(Answer(403, json.dumps(refusal).encode()))
    with pytest.raises(JudgeError, match=r"Insufficient Account Balance.*whether there is money in it"):
        judge(faceplusplus).compare(people[0], people[1])


@pytest.mark.parametrize("variable", ["FACEPLUSPLUS_KEY", "FACEPLUSPLUS_SECRET"])
def test_a_key_that_is_not_set(
    faceplusplus: FacePlusPlusServer, people: list[Picture], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)
    for one in (judge(faceplusplus), judge(faceplusplus, ask="rank")):
        with pytest.raises(FacecryptError, match=f"the environment variable {variable} is not set"):
            one.enrol("p", [people[0]]) if "rank" in one.answers else one.compare(people[0], people[1])
        one.close()
        assert one.spending.requests == 0


@pytest.mark.parametrize("shape", [(40, 60), (500, 700), pytest.param((60, 5000), marks=pytest.mark.slow)])
def test_pictures_are_as_large_as_it_takes_them(
    faceplusplus: FacePlusPlusServer, people: list[Picture], shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    picture = Picture(noise, people[0].face)
    assert judge(faceplusplus, largest_side=4096).compare(picture, picture).found
    width, height = Image.open(io.BytesIO(faceplusplus.pictures()[0])).size
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_what_it_refuses_of_one_picture_is_told(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    refusals = ["IMAGE_FILE_TOO_LARGE:image_base64_1", "MISSING_ARGUMENTS: image_base64_2"]
    faceplusplus.script.extend(Answer(400, json.dumps({"error_message": each}).encode()) for each in refusals)
    one = judge(faceplusplus)
    for each in refusals:
        with pytest.raises(JudgeError, match=f"answered 400 .*{each}"):
            one.compare(people[0], people[1])
    assert one.compare(people[0], people[0]).same is True


def test_a_face_that_does_not_go_into_the_set(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank")
    one.enrol("p0", [people[0]])
    failure = {"failure_detail": [{"reason": "QUOTA_EXCEEDED", "face_token": "t"}]}
    faceplusplus.script.extend([Answer(body=b'{"faces": []}'), Answer(body=json.dumps(failure).encode())])
    one.enrol("p1", [people[1]])
    assert asked(faceplusplus)[-1] == "detect"
    faceplusplus.script.clear()
    face = {"face_token": "t", "face_rectangle": {"width": 9, "height": 9}}
    faceplusplus.script.extend(Answer(body=json.dumps(each).encode()) for each in ({"faces": [face]}, failure))
    with pytest.raises(JudgeError, match="did not take a face into its set: QUOTA_EXCEEDED"):
        one.enrol("p1", [people[1]])
    one.close()
    assert faceplusplus.sets == {}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "answered confidence of type NoneType, not a number"),
        ({"confidence": "99"}, "answered confidence of type str, not a number"),
        ({"confidence": 99}, "answered thresholds.1e-4 of type NoneType, not a number"),
        ({"confidence": 99, "thresholds": {"1e-4": True}}, "answered thresholds.1e-4 of type bool"),
    ],
)
def test_answers_of_another_contract(
    faceplusplus: FacePlusPlusServer, people: list[Picture], answer: dict[str, Any], told: str
) -> None:
    faceplusplus.script.append(Answer(body=json.dumps(answer).encode()))
    with pytest.raises(JudgeError, match=told):
        judge(faceplusplus).compare(people[0], people[1])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "answered results of type NoneType, not a list"),
        (
            {"thresholds": {"1e-4": 1}, "results": [{"face_token": "x", "confidence": 9}]},
            "a face that is not of this run",
        ),
        ({"thresholds": {"1e-4": 1}, "results": ["x"]}, "answered face_token of type NoneType, not a text"),
    ],
)
def test_results_of_another_contract(
    faceplusplus: FacePlusPlusServer, people: list[Picture], answer: dict[str, Any], told: str
) -> None:
    one = judge(faceplusplus, ask="rank", false_matches=None)
    one.enrol("p0", [people[0]])
    faceplusplus.script.append(Answer(body=json.dumps(answer).encode()))
    with pytest.raises(JudgeError, match=told):
        one.rank(people[0], 5)
    one.close()


def test_a_dry_run_counts_what_would_be_asked(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank", dry_run=True, cost=0.5)
    for name, photos in (("p0", people[:1]), ("p1", [people[1]] * 6)):
        with pytest.raises(NotSentError):
            one.enrol(name, photos)
    with pytest.raises(NotSentError):
        one.rank(people[0], 5)
    one.close()
    assert one.spending.unsent == one.requests_to_enrol([1, 6]) + 1 == 2 + 2 + 8 + 1
    assert (faceplusplus.sent, one.spending.cost) == ([], 6.5)


def test_a_budget_leaves_a_request_to_delete_the_set(faceplusplus: FacePlusPlusServer, people: list[Picture]) -> None:
    one = judge(faceplusplus, ask="rank", budget=4)
    one.enrol("p0", [people[0]])
    with pytest.raises(JudgeError, match="the budget of 4 requests is used up, but for 1 to clear away"):
        one.rank(people[0], 5)
    one.close()
    assert (one.spending.requests, faceplusplus.sets) == (4, {})
    none = judge(faceplusplus, ask="rank", budget=1)
    with pytest.raises(JudgeError, match="budget of 1 requests"):
        none.enrol("p0", [people[0]])
    none.close()
    assert none.spending.requests == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"false_matches": 1e-2}, "is none of the rates for which Face"),
        ({"false_matches": "1e-4"}, "a valid number"),
        ({"key_variable": ""}, "at least 1 character"),
        ({"secret_variable": "a-b"}, "is no name of an environment variable"),
        ({"url": "http://faces.example"}, "would send pictures unencrypted"),
        ({"largest_side": 5000}, "less than or equal to 4096"),
    ],
)
def test_wrong_arguments_are_found_when_a_recipe_is_checked(args: dict[str, Any], told: str) -> None:
    (fault,) = registry.get("judge", "faceplusplus").bind(args)[1]
    assert told in fault
