"""Amazon Rekognition: what it is sent and how that is signed, its answers, its limits and its errors, as documented."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt import registry
from facecrypt.errors import FacecryptError, JudgeError
from facecrypt.judges import rekognition as module
from facecrypt.judges.base import Match, NotSentError, Opinion, Picture
from facecrypt.judges.rekognition import Rekognition
from tests.judge_server import Answer
from tests.vendor_servers import KEY, SECRET, TOKEN, RekognitionServer, throttled


def judge(server: RekognitionServer, **args: Any) -> Rekognition:
    given = {"url": server.address, "rate": None, "backoff": 0.0, "threshold": 90.0, **args}
    made: Rekognition = registry.build("judge", "rekognition", given)
    return made


def asked(server: RekognitionServer) -> list[str]:
    return [sent.path for sent in server.sent]


def of_one_colour(picture: Picture) -> Picture:
    return Picture(np.full_like(picture.pixels, 90), picture.face)


def refusal(kind: str, status: int = 400, **told: str) -> Answer:
    return Answer(status, json.dumps({"__type": f"com.amazonaws.rekognition#{kind}", **told}).encode())


def test_it_compares_the_largest_faces(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, cost=0.001)
    assert one.compare(people[0], people[0]) == Opinion(100.0, True), "not somebody in the background, with 99.9"
    different = one.compare(people[0], people[1])
    assert different.same is False
    assert 0 < (different.similarity or 0) < 90
    assert one.compare(people[0], of_one_colour(people[0])) == Opinion(None, None, found=False)
    assert judge(rekognition, threshold=None).compare(people[0], people[0]) == Opinion(100.0, None)
    assert (asked(rekognition), one.spending.requests) == (["CompareFaces"] * 4, 3)
    assert rekognition.sent[0].body["SimilarityThreshold"] == 0, "so that the similarity of others is told, too"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(rekognition.pictures()[1]))), people[0].pixels)


def test_it_searches_a_collection_that_it_deletes(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, ask="rank")
    assert one.rank(people[0], 5) == []
    for number, picture in enumerate(people[:3]):
        one.enrol(f"person {number}", [picture] * (number + 1))
    ((name, faces),) = rekognition.collections.items()
    assert name.startswith("facecrypt-")
    assert [number for number, _ in faces] == ["1", "2", "2", "3", "3", "3"]
    assert asked(rekognition) == ["CreateCollection", *["IndexFaces"] * 6]
    assert one.rank(people[2], 5) == [Match("person 2", 100.0)], "the others are below the threshold"
    assert rekognition.sent[-1].body["MaxFaces"] == 15, "each of five people may have three faces in it"
    assert one.rank(of_one_colour(people[1]), 5) == []
    assert not any("person" in json.dumps(sent.body) for sent in rekognition.sent), "it is told who somebody is"
    one.close()
    assert rekognition.collections == {}
    assert (asked(rekognition)[-1], one.rank(people[1], 5)) == ("DeleteCollection", [])
    one.close()
    assert one.spending.requests == len(asked(rekognition)) == one.requests_to_enrol([1, 2, 3]) + 2


def test_a_search_by_similarity_alone(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, ask="rank", threshold=None)
    for number, picture in enumerate(people):
        one.enrol(f"p{number}", [picture])
    first, *others = one.rank(people[2], 3)
    assert first == Match("p2", 100.0)
    assert len(others) == 2
    one.close()


def test_photos_without_a_face_are_left_out(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, ask="rank")
    one.enrol("nobody", [of_one_colour(people[0])])
    assert one.rank(people[0], 5) == []
    one.enrol("p1", [people[1], of_one_colour(people[1])])
    assert one.rank(people[1], 5) == [Match("p1", 100.0)]
    one.close()


@pytest.mark.parametrize(
    "answer",
    [
        throttled("ThrottlingException"),
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException", 500),
        Answer(503),
    ],
)
def test_it_is_asked_again_and_each_request_is_signed_anew(
    rekognition: RekognitionServer, people: list[Picture], answer: Answer
) -> None:
    rekognition.script.extend([answer] * 2)
    one = judge(rekognition)
    assert one.compare(people[0], people[0]).same is True
    assert one.spending.requests == len(rekognition.sent) == 3


def test_the_signature_holds_for_a_region_a_token_and_a_moment(
    rekognition: RekognitionServer, people: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    rekognition.region, rekognition.token = "eu-west-1", TOKEN
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    assert judge(rekognition, region="eu-west-1").compare(people[0], people[0]).same is True
    assert rekognition.sent[0].headers["x-amz-security-token"] == TOKEN
    with pytest.raises(JudgeError, match="InvalidSignatureException"):
        judge(rekognition).compare(people[0], people[0])

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Yesterday:
            return cls(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(module, "datetime", Yesterday)
    with pytest.raises(JudgeError, match="InvalidSignatureException.*or the clock of this machine"):
        judge(rekognition, region="eu-west-1").compare(people[0], people[0])


def test_the_address_is_that_of_the_region() -> None:
    assert vars(Rekognition(region="ap-southeast-2"))["_url"] == "https://rekognition.ap-southeast-2.amazonaws.com"


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("AWS_ACCESS_KEY_ID", "AKANOTHER", "UnrecognizedClientException"),
        ("AWS_SECRET_ACCESS_KEY", "0ther", "InvalidSignatureException"),
        ("AWS_SESSION_TOKEN", "t0ken", "UnrecognizedClientException"),
    ],
)
def test_a_wrong_key_is_tried_once_and_stands_in_no_message(
    rekognition: RekognitionServer,
    people: list[Picture],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    kind: str,
) -> None:
    monkeypatch.setenv(variable, value)
    one = judge(rekognition, ask="rank")
    for _ in range(2):
        with pytest.raises(JudgeError, match=f"{kind}.*It does not accept the key for this. Mend the var") as caught:
            one.enrol("p", [people[0]])
    assert not any(each in str(caught.value) for each in (KEY, SECRET, value))
    one.close()
    assert (one.spending.requests, rekognition.sent) == (1, [])


def test_a_key_that_may_not_search(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, ask="rank")
    one.enrol("p", [people[0]])
    rekognition.script.append(
        refusal("AccessDeniedException", Message="not authorized: rekognition:SearchFacesByImage")
    )
    with pytest.raises(JudgeError, match="AccessDeniedException.*what the key may do at Amazon"):
        one.rank(people[0], 5)
    one.close()
    assert rekognition.collections == {}, "although nothing else is asked any more"


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_key_that_is_not_set(
    rekognition: RekognitionServer, people: list[Picture], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(FacecryptError, match=f"the environment variable {variable} is not set"):
        judge(rekognition).compare(people[0], people[1])


@pytest.mark.parametrize("shape", [(40, 60), pytest.param((1300, 1300), marks=pytest.mark.slow)])
def test_pictures_are_as_large_as_it_takes_them(
    rekognition: RekognitionServer, people: list[Picture], shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    picture = Picture(noise, people[0].face)
    assert judge(rekognition, largest_side=4096).compare(picture, picture).found
    width, height = Image.open(io.BytesIO(rekognition.pictures()[0])).size
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)


@pytest.mark.parametrize("kind", ["ImageTooLargeException", "InvalidImageFormatException", "ResourceNotFoundException"])
def test_what_it_refuses_of_one_picture_is_told(
    rekognition: RekognitionServer, people: list[Picture], kind: str
) -> None:
    rekognition.script.append(refusal(kind))
    one = judge(rekognition)
    with pytest.raises(JudgeError, match=f"answered 400 .*{kind}"):
        one.compare(people[0], people[1])
    assert one.compare(people[0], people[0]).same is True


def test_a_search_that_is_wrong_is_not_a_picture_without_a_face(
    rekognition: RekognitionServer, people: list[Picture]
) -> None:
    one = judge(rekognition, ask="rank")
    one.enrol("p", [people[0]])
    rekognition.script.append(refusal("InvalidParameterException", Message="Request has invalid parameters"))
    with pytest.raises(JudgeError, match="InvalidParameterException"):
        one.rank(people[0], 5)
    one.close()


def test_an_answer_that_was_lost_leaves_one_collection(rekognition: RekognitionServer, people: list[Picture]) -> None:
    rekognition.script.extend([Answer(500), refusal("ResourceAlreadyExistsException")])
    one = judge(rekognition, ask="rank")
    rekognition.collections = _Any()
    one.enrol("p", [people[0]])
    assert asked(rekognition) == ["CreateCollection", "CreateCollection", "IndexFaces"]
    one.close()


class _Any(dict[str, Any]):
    """Has a collection of any name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        return self.setdefault(name, [])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "answered FaceMatches of type NoneType, not a list"),
        (
            {"FaceMatches": [{"Similarity": 9}], "UnmatchedFaces": []},
            "answered Face.BoundingBox.Width of type NoneType",
        ),
        ({"FaceMatches": [], "UnmatchedFaces": {}}, "answered UnmatchedFaces of type dict, not a list"),
    ],
)
def test_answers_of_another_contract(
    rekognition: RekognitionServer, people: list[Picture], answer: dict[str, Any], told: str
) -> None:
    rekognition.script.append(Answer(body=json.dumps(answer).encode()))
    with pytest.raises(JudgeError, match=told):
        judge(rekognition).compare(people[0], people[1])


@pytest.mark.parametrize("number", ["0", "2", "somebody"])
def test_a_face_of_somebody_elses(rekognition: RekognitionServer, people: list[Picture], number: str) -> None:
    one = judge(rekognition, ask="rank")
    one.enrol("p", [people[0]])
    match = {"Similarity": 99, "Face": {"ExternalImageId": number}}
    rekognition.script.append(Answer(body=json.dumps({"FaceMatches": [match]}).encode()))
    with pytest.raises(JudgeError, match="a face that is not of this run"):
        one.rank(people[0], 5)
    one.close()


def test_a_dry_run_counts_what_would_be_asked(rekognition: RekognitionServer, people: list[Picture]) -> None:
    one = judge(rekognition, ask="rank", dry_run=True, cost=0.5)
    for name, photos in (("p0", people[:1]), ("p1", [people[1]] * 6)):
        with pytest.raises(NotSentError):
            one.enrol(name, photos)
    with pytest.raises(NotSentError):
        one.rank(people[0], 5)
    one.close()
    assert one.spending.unsent == one.requests_to_enrol([1, 6]) + 1 == 2 + 7 + 1
    assert (rekognition.sent, one.spending.cost) == ([], 5.0)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"region": "mars"}, "pattern"),
        ({"threshold": 101}, "less than or equal to 100"),
        ({"key_variable": ""}, "at least 1 character"),
        ({"url": "http://faces.example"}, "would send pictures unencrypted"),
    ],
)
def test_wrong_arguments_are_found_when_a_recipe_is_checked(args: dict[str, Any], told: str) -> None:
    (fault,) = registry.get("judge", "rekognition").bind(args)[1]
    assert told in fault
