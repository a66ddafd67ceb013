"""A judge behind an address that speaks a small JSON contract: a service of one's own, or a bridge to somebody else's.

What is sent and answered, pictures as PNG files in base64:

    POST URL/compare  {"first": "...", "second": "..."}        {"similarity": 87.5, "same": true, "found": true}
    POST URL/enrol    {"person": "person-1", "photos": [...]}  {}
    POST URL/rank     {"photo": "...", "count": 1}             {"matches": [{"person": "person-1", "similarity": 87.5}]}

``similarity`` and ``same`` may be null or left out, one of them at least is given; ``found`` is true by default.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from facecrypt.choices import Question
from facecrypt.errors import JudgeError
from facecrypt.judges.base import LARGEST_SIDE, Match, Opinion, Picture, Spending
from facecrypt.judges.service import HERE, Service

_PERSON_LENGTH = 200


def check_url(url: str) -> str:
    """Return an address to which pictures and a key may be sent.

    Raises:
        ValueError: If it is none, holds a password or words after a question mark, or goes unencrypted over a network.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no web address ({error})") from error
    if parts.scheme not in ("http", "https") or not host or url != url.strip() or not url.isprintable():
        raise ValueError("is no web address: it looks like https://server/path")
    if parts.scheme == "http" and host not in HERE:
        raise ValueError("would send pictures unencrypted: it begins with https:// unless it is on this machine")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("holds more than an address: a key comes from the variable that key_variable names")
    return url.rstrip("/")


def check_variable(name: str) -> str:
    """Return the name of an environment variable.

    Raises:
        ValueError: If it is none, as where somebody wrote the key itself.
    """
    if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise ValueError("is no name of an environment variable, as MY_KEY is one. It holds the key, a recipe does not")
    return name


Url = Annotated[str, AfterValidator(check_url)]
Variable = Annotated[str, AfterValidator(check_variable)]
KeyVariable = Annotated[str, Field(min_length=1), AfterValidator(check_variable)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Http:
    """A judge over HTTP, with a key, a rate, repetitions, a price, a budget and a dry run.

    Args:
        url: Its address, without ``/compare``, ``/enrol`` and ``/rank``. Over a network it is encrypted (https).
        ask: What it is asked: whether two pictures show one person, or who of the enrolled people one shows.
        key_variable: Name of the environment variable that holds its key; without one, no key is sent.
        key_header: Header in which the key is sent; in ``Authorization`` after the word Bearer.
        threshold: Similarity from which two pictures show one person, where it does not decide itself.
        largest_side: Larger pictures are shrunk to so many pixels before they are sent.
        rate: Most requests per second; null for no bound.
        retries: How often a request is made again after 429, 5xx, a time-out or a lost connection.
        backoff: Seconds before the first repetition, twice as many before each further one, or what Retry-After says.
        timeout: Seconds without a sign of it after which a request has failed.
        seconds: Seconds that one answer may take in all, repetitions included.
        cost: Price of a request, for the estimate; null where it is not known.
        budget: Most requests of a run, repetitions included; null for no bound.
        dry_run: Make no request, and count those that would be made.
    """

    remote = True

    def __init__(
        self,
        *,
        url: Url = "http://127.0.0.1:8000",
        ask: Literal["compare", "rank"] = "compare",
        key_variable: Variable = "",
        key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] = "Authorization",
        threshold: float | None = None,
        largest_side: Annotated[int, Field(ge=64, le=8192)] = LARGEST_SIDE,
        rate: Annotated[float, Field(gt=0, le=1000)] | None = None,
        retries: Annotated[int, Field(ge=0, le=10)] = 3,
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
        )
        self._url, self._variable, self._header = url.rstrip("/"), key_variable, key_header
        self._threshold, self._largest = threshold, largest_side

    @property
    def spending(self) -> Spending:
        """What it cost so far."""
        return self._service.spending

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return what the service says of two pictures.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        answer = self._post("compare", {"first": self._encode(first), "second": self._encode(second)})
        similarity = self._number(answer, "similarity", "compare")
        same = self._truth(answer, "same", None, "compare")
        if same is None and similarity is not None and self._threshold is not None:
            same = similarity >= self._threshold
        found = self._truth(answer, "found", True, "compare") is not False
        if found and same is None and similarity is None:
            raise JudgeError(f"{self._url}/compare answered neither similarity nor same, so it says nothing")
        return Opinion(similarity, same, found)

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Send photos of somebody to the service.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        self._post("enrol", {"person": person, "photos": [self._encode(photo) for photo in photos]})

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return whom the service takes a picture for.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        answer = self._post("rank", {"photo": self._encode(photo), "count": count})
        given = answer.get("matches")
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise self._odd("rank", "matches", "a list of mappings", given)
        matches = []
        for each in given[:count]:
            person = each.get("person")
            if not isinstance(person, str) or not 0 < len(person) <= _PERSON_LENGTH:
                raise self._odd("rank", "person", "a text", person)
            similarity = self._number(each, "similarity", "rank")
            if self._threshold is None or similarity is None or similarity >= self._threshold:
                matches.append(Match(person, similarity))
        return matches

    def _post(self, what: str, body: dict[str, object]) -> dict[str, Any]:
        headers = {}
        if self._variable and (key := self._service.secret(self._variable)):
            headers[self._header] = f"Bearer {key}" if self._header.lower() == "authorization" else key
        return self._service.post(f"{self._url}/{what}", json=body, headers=headers)

    def _encode(self, picture: Picture) -> str:
        return base64.b64encode(picture.png(self._largest)).decode()

    def _number(self, answer: dict[str, Any], key: str, what: str) -> float | None:
        value = answer.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self._odd(what, key, "a number or null", value)
        return float(value)

    def _truth(self, answer: dict[str, Any], key: str, default: bool | None, what: str) -> bool | None:
        value = answer.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self._odd(what, key, "true, false or null", value)
        return value

    def _odd(self, what: str, key: str, allowed: str, value: object) -> JudgeError:
        return JudgeError(
            f"{self._url}/{what} answered {key} of type {type(value).__name__}, not {allowed}. See whether it speaks "
            "the contract of this judge"
        )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
