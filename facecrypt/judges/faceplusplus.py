"""Face++ (Megvii), asked by its documented web service, version 3.

    compare               https://console.faceplusplus.com/documents/5679308
    detect                https://console.faceplusplus.com/documents/5679127
    search                https://console.faceplusplus.com/documents/5681455
    faceset/create        https://console.faceplusplus.com/documents/6329329
    faceset/addface       https://console.faceplusplus.com/documents/6329371
    faceset/delete        https://console.faceplusplus.com/documents/6329394

Written by these pages, and tried against a server of the tests that behaves as they say, not against Face++ itself.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from facecrypt.choices import Question
from facecrypt.errors import JudgeError
from facecrypt.judges.answers import pick
from facecrypt.judges.base import LARGEST_SIDE, Match, Opinion, Picture, Spending
from facecrypt.judges.http import KeyVariable, Seconds, Url
from facecrypt.judges.keeping import OPENED, Kept
from facecrypt.judges.service import Refusal, RefusedError, Service

_RATES: Final = {1e-3: "1e-3", 1e-4: "1e-4", 1e-5: "1e-5"}
"""The rates of false matches for which it answers thresholds."""
_SMALLEST, _LARGEST = 48, 4096
"""Pixels of a side that it takes."""
_MOST_BYTES: Final = 1_350_000
"""Of the pictures of one request: no more than 2 MB in all, where each byte takes 1.4 as a form has base64."""
_MOST_TOKENS: Final = 5
"""Faces that are added by one request, and results of a search."""


def check_rate(rate: float) -> float:
    """Return a rate of false matches.

    Raises:
        ValueError: If Face++ answers no threshold for it.
    """
    if rate not in _RATES:
        raise ValueError(f"is none of the rates for which Face++ answers a threshold: {', '.join(_RATES.values())}")
    return rate


class FacePlusPlus:
    """Face++: compares two faces, or searches a set of faces that a run makes there and deletes at its end.

    Args:
        url: Its address, ``https://api-cn.faceplusplus.com`` for keys from China.
        ask: What it is asked: whether two pictures show one person, or who of the enrolled people one shows.
        key_variable: Name of the environment variable that holds the API key.
        secret_variable: Name of the one that holds the API secret.
        false_matches: At which rate of false matches two faces are one person, 1e-3, 1e-4 or 1e-5; a search then
            names nobody who is less similar. With null, it decides nothing, and a search ranks by similarity alone.
        largest_side: Larger pictures are shrunk to so many pixels before they are sent, and further to less than 2 MB.
        rate: Most requests per second; null for no bound. Keys without a contract may be asked about once a second.
        retries: How often a request is made again after CONCURRENCY_LIMIT_EXCEEDED, 429, 5xx, a time-out or a lost
            connection.
        backoff: Seconds before the first repetition, twice as many before each further one.
        timeout: Seconds without a sign of it after which a request has failed.
        seconds: Seconds that one answer may take in all, repetitions included.
        cost: Price of a request, for the estimate; null where it is not known.
        budget: Most requests of a run, repetitions included; null for no bound. One is kept to delete the set of faces.
        dry_run: Make no request, and count those that would be made.
    """

    remote = True

    def __init__(
        self,
        *,
        url: Url = "https://api-us.faceplusplus.com",
        ask: Literal["compare", "rank"] = "compare",
        key_variable: KeyVariable = "FACEPLUSPLUS_KEY",
        secret_variable: KeyVariable = "FACEPLUSPLUS_SECRET",
        false_matches: Annotated[float, AfterValidator(check_rate)] | None = 1e-4,
        largest_side: Annotated[int, Field(ge=_SMALLEST, le=_LARGEST)] = LARGEST_SIDE,
        rate: Annotated[float, Field(gt=0, le=1000)] | None = 1.0,
        retries: Annotated[int, Field(ge=0, le=10)] = 5,
        backoff: Annotated[float, Field(ge=0, le=600)] = 1.0,
        timeout: Seconds = 20.0,
        seconds: Seconds = 120.0,
        cost: Annotated[float, Field(ge=0)] | None = None,
        budget: Annotated[int, Field(ge=0)] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.answers: tuple[Question, ...] = (ask,)
        self._service = Service(
            rate=rate,
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            seconds=seconds,
            price=cost,
            budget=budget,
            dry_run=dry_run,
            refusals=_refusal,
        )
        self._url, self._key, self._secret = url.rstrip("/"), key_variable, secret_variable
        self._at = None if false_matches is None else _RATES[false_matches]
        self._largest = largest_side
        args = {"url": url, "key_variable": key_variable, "secret_variable": secret_variable}
        self._set = Kept(self._service, "faceplusplus", args, self._create, self.forget)
        self._people: dict[str, str] = {}
        self._counted = False

    @staticmethod
    def requests_to_enrol(photos: Collection[int]) -> int:
        """Return how many requests it takes to enrol people with so many photos each, and to delete them at the end."""
        return OPENED + sum(count + math.ceil(count / _MOST_TOKENS) for count in photos)

    @property
    def spending(self) -> Spending:
        """What it cost so far."""
        return self._service.spending

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return what Face++ says of the largest faces of two pictures.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        pictures = {"image_base64_1": self._encode(first, 2), "image_base64_2": self._encode(second, 2)}
        answer = self._post("compare", pictures)
        if answer.get("confidence") is None and [] in (answer.get("faces1"), answer.get("faces2")):
            return Opinion(None, None, found=False)
        confidence: float = pick(answer, self._url, "a number", "confidence")
        threshold = self._threshold(answer)
        return Opinion(confidence, None if threshold is None else confidence >= threshold)

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Add somebody's faces to the set of this run. Face++ is told no name; photos in which it finds none are left.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        if self._service.dry_run:
            opened, self._counted = OPENED if self._counted else 0, True
            self._service.skip(self.requests_to_enrol([len(photos)]) - opened)
        name = self._set.open()
        tokens = [token for photo in photos if (token := self._detect(photo))]
        for start in range(0, len(tokens), _MOST_TOKENS):
            some = tokens[start : start + _MOST_TOKENS]
            answer = self._post("faceset/addface", {"outer_id": name, "face_tokens": ",".join(some)})
            if failures := pick(answer, self._url, "a list", "failure_detail"):
                reason = pick(failures[0], self._url, "a text", "reason")
                raise JudgeError(f"{self._url} did not take a face into its set: {reason}. See what Face++ says of it")
            self._people.update(dict.fromkeys(some, person))

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return whom Face++ takes the largest face of a picture for: the people of the five most similar faces.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        if not self._people and not self._service.dry_run:
            return []
        wanted = {"outer_id": self._set.name, "return_result_count": str(_MOST_TOKENS)}
        answer = self._post("search", wanted | {"image_base64": self._encode(photo, 1)})
        if answer.get("results") is None and answer.get("faces") == []:
            return []
        threshold, named = self._threshold(answer), dict[str, float]()
        for result in pick(answer, self._url, "a list", "results"):
            token, confidence = (
                pick(result, self._url, "a text", "face_token"),
                pick(result, self._url, "a number", "confidence"),
            )
            if (person := self._people.get(token)) is None:
                raise JudgeError(f"{self._url} found a face that is not of this run. See whether its contract changed")
            if threshold is None or confidence >= threshold:
                named[person] = max(confidence, named.get(person, confidence))
        ordered = sorted(named.items(), key=lambda entry: -entry[1])
        return [Match(person, confidence) for person, confidence in ordered[:count]]

    def close(self) -> None:
        """Delete the set of faces.

        Raises:
            JudgeError: If it may still be there.
        """
        self._set.close()
        self._people.clear()

    def forget(self, collection: str) -> None:
        """Delete a set of faces, with those that are in it.

        Raises:
            JudgeError: If it may still be there.
        """
        try:
            self._post("faceset/delete", {"outer_id": collection, "check_empty": "0"}, last=True)
        except RefusedError as error:
            if error.code != "INVALID_OUTER_ID":
                raise

    def _create(self, name: str) -> None:
        try:
            self._post("faceset/create", {"outer_id": name, "display_name": "facecrypt"})
        except RefusedError as error:
            if error.code != "FACESET_EXIST":  # Nobody else thinks of such a name: an answer was lost.
                raise

    def _detect(self, photo: Picture) -> str | None:
        """Return what Face++ calls the largest face of a picture."""
        faces = pick(self._post("detect", {"image_base64": self._encode(photo, 1)}), self._url, "a list", "faces")
        if not faces:
            return None
        token: str = pick(max(faces, key=self._area), self._url, "a text", "face_token")
        return token

    def _area(self, face: object) -> float:
        width, height = (pick(face, self._url, "a number", "face_rectangle", side) for side in ("width", "height"))
        return float(width * height)

    def _threshold(self, answer: Mapping[str, Any]) -> float | None:
        return None if self._at is None else pick(answer, self._url, "a number", "thresholds", self._at)

    def _post(self, what: str, form: Mapping[str, str], last: bool = False) -> dict[str, Any]:
        keys = {"api_key": self._service.secret(self._key), "api_secret": self._service.secret(self._secret)}
        return self._service.post(f"{self._url}/facepp/v3/{what}", form=keys | dict(form), last=last)

    def _encode(self, picture: Picture, of: int) -> str:
        content = picture.png(self._largest, smallest=_SMALLEST, most_bytes=_MOST_BYTES // of)
        return base64.b64encode(content).decode()


def _refusal(status: int, answer: Mapping[str, Any]) -> Refusal | None:
    said = answer.get("error_message")
    if not isinstance(said, str) or not said:
        return None
    code = said.partition(":")[0].replace(" ", "")  # Some pages have a space in INVALID_OUTER_ID.
    if code in ("CONCURRENCY_LIMIT_EXCEEDED", "INTERNAL_ERROR"):
        return Refusal(code, "again")
    if code == "AUTHENTICATION_ERROR":
        return Refusal(
            code,
            "over",
            "It does not accept the key. Mend the variables that key_variable and secret_variable name, or url: a key "
            "of one region is none in another",
        )
    if code in ("AUTHORIZATION_ERROR", "API_NOT_FOUND"):
        return Refusal(
            code, "over", "See in the account at Face++ what the key may ask, and whether there is money in it"
        )
    return Refusal(code, "skip")
