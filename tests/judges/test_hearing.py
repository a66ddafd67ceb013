"""A judge in a run: what it is shown, what is made of its answers, and what is told at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import JudgeError, PhotoError, PluginError
from facecrypt.judges.base import Match, NotSentError, Opinion, Picture, Spending
from facecrypt.judges.enrolment import Enrolment, digests_of
from facecrypt.judges.guard import swear_in
from facecrypt.judges.hearing import Hearing
from facecrypt.judges.pictures import darker, show
from facecrypt.judges.recogniser import RecogniserJudge
from facecrypt.photos.files import read_photo
from facecrypt.registry import Component
from facecrypt.surrogates.embedder import Embedder
from tests.pictures import DATA

PACK = DATA / "virtual_targets"


class Scripted:
    """Answers what it is told to, as it stands in a list, and notes what it is shown."""

    remote = True
    answers = ("compare", "rank")

    def __init__(self, *script: Any) -> None:
        self.script: list[Any] = list(script)
        self.shown: list[Picture] = []
        self.spending = Spending(price=0.5)

    def compare(self, first: Picture, second: Picture) -> Any:
        return self._say(first, second)

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        self._say(*photos)

    def rank(self, photo: Picture, count: int) -> Any:
        return self._say(photo)

    def _say(self, *shown: Picture) -> Any:
        answer = self.script.pop(0)
        if isinstance(answer, NotSentError):
            self.spending.unsent += 1
            raise answer
        self.spending.requests += 1
        self.shown += shown
        if isinstance(answer, BaseException):
            raise answer
        return answer


SAME, OTHER = Opinion(95, True), Opinion(10, False)
TRIED = [SAME, OTHER]
NOT_SENT = NotSentError("dry run: nothing was sent")


def hearing(way: Any, judge: Any, enrolment: Enrolment | None = None) -> Hearing:
    return Hearing("mine", swear_in(Component("judge", "mine", Scripted, "a judge", "p"), judge), way, enrolment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with two photos each, one of a third beside them, and a photo without a face."""
    folder = tmp_path_factory.mktemp("people")
    for person in ("v01", "v04"):
        (folder / person).mkdir()
        for number in range(2):
            shutil.copy(PACK / person / f"{number}.png", folder / person)
    shutil.copy(PACK / "v08" / "1.png", folder / "alone.png")
    return folder


@pytest.fixture(scope="module")
def enrolment(folder: Path, detector: FaceDetector) -> Enrolment:
    return Enrolment(str(folder), detector, aligned=False, protected=())


def picture(person: str, number: int, detector: FaceDetector) -> Picture:
    photo = read_photo(PACK / person / f"{number}.png")
    return show(photo, detector.find(photo, "largest")[0])


def of_pictures(pictures: Iterable[Picture]) -> list[bytes]:
    return [each.pixels.tobytes() for each in pictures]


class TestPair:
    @pytest.mark.parametrize(
        ("answer", "same", "similarity"),
        [(SAME, True, 95), (OTHER, False, 10), (Opinion(60, None), None, 60), (Opinion(None, False), False, None)],
    )
    def test_it_says_what_the_judge_says(
        self, people: list[Picture], answer: Opinion, same: bool | None, similarity: float | None
    ) -> None:
        judge = Scripted(*TRIED, answer)
        asked = hearing("pair", judge)
        heard = asked.hear(people[2], people[3])
        assert (heard.same, heard.similarity, heard.fault, heard.person) == (same, similarity, "", None)
        assert of_pictures(judge.shown[-2:]) == of_pictures([people[2], people[3]])
        assert asked.account() == {
            "name": "mine", "remote": True, "asked": "pair", "originals_sent": True, "enrolled": None, "requests": 3,
            "unsent": 0, "price": 0.5, "cost": 1.5, "not_judged": 0,
        }  # fmt: skip
        assert asked.notes() == [
            "mine was sent original and saved faces (send_originals: true): 3 requests were made, estimated to cost "
            "1.5 in all"
        ]

    def test_a_face_that_is_not_found_is_shown_to_nobody(self, people: list[Picture]) -> None:
        judge = Scripted()
        heard = hearing("pair", judge).hear(people[0], None)
        assert (heard.same, heard.similarity, heard.fault, judge.shown) == (None, None, "", [])

    @pytest.mark.parametrize(
        ("answers", "fault"),
        [
            ([OTHER], "it takes a person for somebody else after a slight change, so it tells nobody apart"),
            ([SAME, SAME], "it takes two people for one, so it tells nobody apart"),
            ([Opinion(5, None), Opinion(5, None)], "it finds two people as similar as one and the same"),
            ([Opinion(None, None, False)], "it finds no face in a picture of one"),
            ([JudgeError("it is away")], "it is away"),
            ([7], r"judge 'mine' \(p\): returned 7; expected an Opinion"),
        ],
    )
    def test_a_judge_that_cannot_be_believed_judges_nobody(
        self, people: list[Picture], answers: list[Any], fault: str
    ) -> None:
        judge = Scripted(*answers, OTHER, OTHER)
        asked = hearing("pair", judge)
        asked.prepare()
        before = judge.spending.requests
        for _ in range(2):
            heard = asked.hear(people[0], people[1])
            assert (heard.same, heard.similarity) == (None, None)
            with pytest.raises(AssertionError, match=fault):
                raise AssertionError(heard.fault)
        assert judge.spending.requests == before, "it was asked nevertheless"
        assert not asked.judges
        assert "did not judge 2 faces" in asked.notes()[-1]

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (JudgeError("it is away"), "it is away"),
            (PluginError("it is wrong"), "it is wrong"),
            (Opinion(None, None, False), "it finds no face in the picture"),
        ],
    )
    def test_a_face_that_it_fails_at_is_not_judged(self, people: list[Picture], answer: Any, fault: str) -> None:
        asked = hearing("pair", Scripted(*TRIED, answer, OTHER))
        assert asked.hear(people[0], people[1]).fault == fault
        assert asked.hear(people[0], people[1]).same is False
        assert asked.account()["not_judged"] == 1

    def test_a_dry_run_counts_what_would_be_asked(self, people: list[Picture]) -> None:
        asked = hearing("pair", Scripted(*[NOT_SENT] * 4))
        assert {asked.hear(people[0], people[1]).fault for _ in range(2)} == {"dry run: nothing was sent"}
        assert asked.notes() == [
            "mine: dry run: 4 requests were counted, estimated to cost 2 in all, and none was made"
        ]
        assert asked.account()["originals_sent"] is False
        assert not asked.judges


class TestEnrolledPhotos:
    def test_the_saved_face_is_compared_with_photos_of_its_person_until_one_is_the_same(
        self, enrolment: Enrolment, detector: FaceDetector
    ) -> None:
        original, saved = picture("v04", 2, detector), picture("v08", 2, detector)
        judge = Scripted(*TRIED, OTHER, Opinion(40, False), SAME)
        asked = hearing("enrolled photos", judge, enrolment)
        heard = asked.hear(original, saved)
        assert (heard.same, heard.similarity, heard.person) == (False, 40, "v04")
        known = enrolment.people["v04"]
        assert of_pictures(judge.shown[4:]) == of_pictures([known[0], saved, known[1], saved])
        assert asked.hear(original, saved).same is True
        assert len(judge.shown) == 10
        assert of_pictures([original])[0] not in of_pictures(judge.shown)

    @pytest.mark.parametrize("answers", [[OTHER, JudgeError("away")], [JudgeError("away")]])
    def test_that_it_is_another_person_needs_every_answer(
        self, enrolment: Enrolment, detector: FaceDetector, answers: list[Any]
    ) -> None:
        asked = hearing("enrolled photos", Scripted(*TRIED, *answers), enrolment)
        heard = asked.hear(picture("v04", 2, detector), picture("v08", 2, detector))
        assert (heard.same, heard.fault) == (None, "away")

    def test_a_photo_without_an_opinion_leaves_it_open(self, enrolment: Enrolment, detector: FaceDetector) -> None:
        asked = hearing("enrolled photos", Scripted(*TRIED, OTHER, Opinion(30, None)), enrolment)
        heard = asked.hear(picture("v04", 2, detector), picture("v08", 2, detector))
        assert (heard.same, heard.similarity, heard.fault) == (None, 30, "")

    def test_a_dry_run_counts_every_photo(self, enrolment: Enrolment, detector: FaceDetector) -> None:
        asked = hearing("enrolled photos", Scripted(*[NOT_SENT] * 4), enrolment)
        asked.hear(picture("v04", 2, detector), picture("v08", 2, detector))
        assert asked.account()["unsent"] == 4

    def test_a_stranger_is_nobodys_business(self, enrolment: Enrolment, detector: FaceDetector) -> None:
        judge = Scripted(*TRIED)
        asked = hearing("enrolled photos", judge, enrolment)
        heard = asked.hear(picture("v12", 1, detector), picture("v12", 2, detector))
        assert "the original shows nobody of" in heard.fault
        assert len(judge.shown) == 4


class TestRanking:
    @pytest.mark.parametrize(
        ("matches", "same", "named", "similarity"),
        [
            ([Match("person-3", 88), Match("person-1", 12)], True, "v04", 88),
            ([Match("person-2", 70), Match("person-3", 60)], False, "v01", 60),
            ([Match("person-1")], False, "alone", None),
            ([], False, None, None),
        ],
    )
    def test_whom_it_names_first_counts(
        self,
        enrolment: Enrolment,
        detector: FaceDetector,
        matches: list[Match],
        same: bool,
        named: str | None,
        similarity: float | None,
    ) -> None:
        assert list(enrolment.people) == ["alone", "v01", "v04"]
        judge = Scripted(None, None, None, [Match("person-3")], matches)
        asked = hearing("ranking", judge, enrolment)
        original, saved = picture("v04", 2, detector), picture("v08", 2, detector)
        heard = asked.hear(original, saved)
        assert (heard.same, heard.person, heard.named, heard.similarity) == (same, "v04", named, similarity)
        enrolled = [each for pictures in enrolment.people.values() for each in pictures]
        assert of_pictures(judge.shown) == of_pictures([*enrolled, enrolment.people["v04"][0], saved])

    @pytest.mark.parametrize("first", [[], [Match("person-1")]])
    def test_who_is_not_found_by_a_photo_of_their_own_is_not_judged(
        self, enrolment: Enrolment, detector: FaceDetector, first: list[Match]
    ) -> None:
        judge = Scripted(None, None, None, first)
        asked = hearing("ranking", judge, enrolment)
        for _ in range(2):
            heard = asked.hear(picture("v04", 2, detector), picture("v08", 2, detector))
            assert heard.fault == "it does not find v04 by a photo that it was given of them"
        assert judge.script == []

    def test_a_dry_run_counts_enrolment_and_trial(self, enrolment: Enrolment, detector: FaceDetector) -> None:
        asked = hearing("ranking", Scripted(*[NOT_SENT] * 6), enrolment)
        for _ in range(2):
            asked.hear(picture("v04", 2, detector), picture("v08", 2, detector))
        assert asked.account()["unsent"] == 3 + 1 + 2

    def test_a_recogniser_ranks_by_its_threshold(
        self, enrolment: Enrolment, detector: FaceDetector, sface_embedder: Embedder
    ) -> None:
        asked = hearing("ranking", RecogniserJudge(sface_embedder), enrolment)
        original = picture("v04", 2, detector)
        heard = asked.hear(original, darker(original))
        assert (heard.same, heard.named) == (True, "v04")
        away = asked.hear(original, picture("v16", 1, detector))
        assert (away.same, away.named, away.fault) == (False, None, "")
        assert asked.notes() == []


class TestEnrolment:
    def test_photos_of_the_run_and_without_a_face_are_left_out(self, folder: Path, detector: FaceDetector) -> None:
        some = Enrolment(str(folder), detector, aligned=False, protected=digests_of([folder / "v01" / "0.png"]))
        assert {name: len(pictures) for name, pictures in some.people.items()} == {"alone": 1, "v01": 1, "v04": 2}
        assert some.left_out == 1
        asked = hearing("ranking", Scripted(), some)
        assert asked.notes() == [
            f"mine: 1 of the photos in {folder} are left out: they show no face, or are to be protected"
        ]

    def test_nothing_left_is_an_error(self, tmp_path: Path, detector: FaceDetector) -> None:
        shutil.copy(PACK / "v01" / "1.png", tmp_path)
        with pytest.raises(PhotoError, match=r"enrol: no photo of .* shows a face and is none of the photos"):
            Enrolment(str(tmp_path), detector, aligned=False, protected=digests_of([tmp_path / "1.png"]))
        with pytest.raises(PhotoError, match="enrol: .* is no folder"):
            Enrolment(str(tmp_path / "1.png"), detector, aligned=False, protected=())


def test_a_picture_is_the_face_with_room_and_nothing_else(detector: FaceDetector) -> None:
    photo = read_photo(DATA / "sample" / "astronaut.png")
    (face,) = detector.find(photo, "all")
    shown = show(photo, face)
    left, top, right, bottom = face.box
    room = 0.5 * max(right - left, bottom - top)
    rows = slice(max(0, int(top - room)), int(bottom + room) + 1)
    columns = slice(max(0, int(left - room)), int(right + room) + 1)
    np.testing.assert_array_equal(shown.pixels, photo.pixels[rows, columns])
    assert shown.pixels.size < photo.pixels.size / 2
    assert darker(shown).pixels.mean() == pytest.approx(0.97 * shown.pixels.mean(), abs=1)
