"""Amazon Rekognition, asked by its documented web service (JSON 1.1, Signature Version 4).

    CompareFaces          https://docs.aws.amazon.com/rekognition/latest/APIReference/API_CompareFaces.html
    CreateCollection      https://docs.aws.amazon.com/rekognition/latest/APIReference/API_CreateCollection.html
    IndexFaces            https://docs.aws.amazon.com/rekognition/latest/APIReference/API_IndexFaces.html
    SearchFacesByImage    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchFacesByImage.html
    DeleteCollection      https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DeleteCollection.html
    what is refused       https://docs.aws.amazon.com/rekognition/latest/dg/error-handling.html
    sizes of pictures     https://docs.aws.amazon.com/rekognition/latest/dg/limits.html

Written by these pages, and tried against a server of the tests that behaves as they say, not against Amazon itself.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from facecrypt.choices import Question
from facecrypt.errors import JudgeError
from facecrypt.judges.answers import pick
from facecrypt.judges.base import LARGEST_SIDE, Match, Opinion, Picture, Spending
from facecrypt.judges.http import KeyVariable, Seconds, Url, Variable
from facecrypt.judges.keeping import OPENED, Kept
from facecrypt.judges.service import Refusal, RefusedError, Service
from facecrypt.judges.signing import sign

if TYPE_CHECKING:
    import requests

_SMALLEST, _LARGEST = 80, 4096
"""Pixels of a side: the least that it takes, and the most that is sent."""
_MOST_BYTES: Final = 5_000_000
"""Of a picture that is sent as bytes."""
_MOST_MATCHES: Final = 1000
"""Faces that a search is asked for; it would tell 4096, each in some 450 bytes."""
_MOST_ANSWERED: Final = 1 << 20
_NO_FACE: Final = "no face"
_AGAIN: Final = frozenset(
    {
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "InternalServerError",
        "ServiceUnavailableException",
    }
)
_KEYS: Final = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)


class Rekognition:
    """Amazon Rekognition: compares two faces, or searches a collection that a run makes there and deletes at its end.

    The key needs the permissions ``rekognition:CompareFaces``, or ``CreateCollection``, ``IndexFaces``,
    ``SearchFacesByImage`` and ``DeleteCollection``.

    Args:
        region: Where in the world it is asked.
        url: Its address; null for that of the region.
        ask: What it is asked: whether two pictures show one person, or who of the enrolled people one shows.
        key_variable: Name of the environment variable that holds the access key's ID.
        secret_variable: Name of the one that holds the secret access key.
        token_variable: Name of the one that holds the session token of temporary keys; it need not be set.
        threshold: Similarity from which two faces are one person, of 100; a search then names nobody who is less
            similar. With null, it decides nothing, and a search ranks by similarity alone.
        largest_side: Larger pictures are shrunk to so many pixels before they are sent, and further to 5 MB.
        rate: Most requests per second; null for no bound.
        retries: How often a request is made again after ThrottlingException, ProvisionedThroughputExceededException,
            429, 5xx, a time-out or a lost connection.
        backoff: Seconds before the first repetition, twice as many before each further one.
        timeout: Seconds without a sign of it after which a request has failed.
        seconds: Seconds that one answer may take in all, repetitions included.
        cost: Price of a request, for the estimate; null where it is not known.
        budget: Most requests of a run, repetitions included; null for no bound. One is kept to delete the collection.
        dry_run: Make no request, and count those that would be made.
    """

    remote = True

    def __init__(
        self,
        *,
        region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+){1,2}-\d{1,2}$", max_length=30)] = "us-east-1",
        url: Url | None = None,
        ask: Literal["compare", "rank"] = "compare",
        key_variable: KeyVariable = "AWS_ACCESS_KEY_ID",
        secret_variable: KeyVariable = "AWS_SECRET_ACCESS_KEY",
        token_variable: Variable = "AWS_SESSION_TOKEN",
        threshold: Annotated[float, Field(ge=0, le=100)] | None = 80.0,
        largest_side: Annotated[int, Field(ge=_SMALLEST, le=_LARGEST)] = LARGEST_SIDE,
        rate: Annotated[float, Field(gt=0, le=1000)] | None = 5.0,
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
            most_bytes=_MOST_ANSWERED,
        )
        self._region, self._url = region, (url or f"https://rekognition.{region}.amazonaws.com").rstrip("/")
        self._key, self._secret, self._token = key_variable, secret_variable, token_variable
        self._threshold, self._largest = threshold, largest_side
        args = {
            "region": region,
            "url": self._url,
            "key_variable": key_variable,
            "secret_variable": secret_variable,
            "token_variable": token_variable,
        }
        self._collection = Kept(self._service, "rekognition", args, self._create, self.forget)
        self._faces: dict[str, int] = {}  # how many of each person are in it

    @staticmethod
    def requests_to_enrol(photos: Collection[int]) -> int:
        """Return how many requests it takes to enrol people with so many photos each, and to delete them at the end."""
        return OPENED + sum(photos)

    @property
    def spending(self) -> Spending:
        """What it cost so far."""
        return self._service.spending

    def compare(self, first: Picture, second: Picture) -> Opinion:
        """Return what Amazon says of the largest faces of two pictures.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        try:
            pictures = {"SourceImage": self._encode(first), "TargetImage": self._encode(second)}
            answer = self._post("CompareFaces", pictures | {"SimilarityThreshold": 0, "QualityFilter": "NONE"})
        except RefusedError as error:
            # If a picture shows no face, it says no more than that a parameter is wrong.
            if error.code in (_NO_FACE, "InvalidParameterException"):
                return Opinion(None, None, found=False)
            raise
        alike = pick(answer, self._url, "a list", "FaceMatches")
        others = pick(answer, self._url, "a list", "UnmatchedFaces")
        faces = [
            *((self._area(match, "Face"), pick(match, self._url, "a number", "Similarity")) for match in alike),
            *((self._area(face), 0.0) for face in others),
        ]
        if not faces:
            return Opinion(None, None, found=False)
        similarity = max(faces)[1]
        return Opinion(similarity, None if self._threshold is None else similarity >= self._threshold)

    def enrol(self, person: str, photos: Sequence[Picture]) -> None:
        """Add somebody's faces to the collection, under a number. Photos in which Amazon finds none are left out.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        opened = OPENED if self._faces else 0
        self._faces.setdefault(person, 0)
        if self._service.dry_run:
            self._service.skip(self.requests_to_enrol([len(photos)]) - opened)
        name, number = self._collection.open(), str(list(self._faces).index(person) + 1)
        for photo in photos:
            whose = {"CollectionId": name, "ExternalImageId": number, "MaxFaces": 1, "QualityFilter": "NONE"}
            answer = self._post("IndexFaces", whose | {"Image": self._encode(photo)})
            self._faces[person] += len(pick(answer, self._url, "a list", "FaceRecords"))

    def rank(self, photo: Picture, count: int) -> list[Match]:
        """Return whom Amazon takes the largest face of a picture for.

        Raises:
            FacecryptError: If its key is not set.
            JudgeError: If it does not answer as it should.
        """
        most = max(self._faces.values(), default=0)
        if not most and not self._service.dry_run:
            return []
        wanted = {
            "CollectionId": self._collection.name,
            "MaxFaces": min(_MOST_MATCHES, count * most),
            "FaceMatchThreshold": self._threshold or 0,
            "QualityFilter": "NONE",
        }
        try:
            answer = self._post("SearchFacesByImage", wanted | {"Image": self._encode(photo)})
        except RefusedError as error:
            if error.code == _NO_FACE:
                return []
            raise
        people, named = list(self._faces), dict[str, float]()
        for match in pick(answer, self._url, "a list", "FaceMatches"):
            number = pick(match, self._url, "a text", "Face", "ExternalImageId")
            similarity = pick(match, self._url, "a number", "Similarity")
            if not number.isascii() or not number.isdigit() or not 0 < int(number) <= len(people):
                raise JudgeError(f"{self._url} found a face that is not of this run. See whether its contract changed")
            person = people[int(number) - 1]
            named[person] = max(similarity, named.get(person, similarity))
        ordered = sorted(named.items(), key=lambda entry: -entry[1])
        return [Match(person, similarity) for person, similarity in ordered[:count]]

    def close(self) -> None:
        """Delete the collection.

        Raises:
            JudgeError: If it may still be there.
        """
        self._collection.close()
        self._faces.clear()

    def forget(self, collection: str) -> None:
        """Delete a collection, with the faces that are in it.

        Raises:
            JudgeError: If it may still be there.
        """
        try:
            self._post("DeleteCollection", {"CollectionId": collection}, last=True)
        except RefusedError as error:
            if error.code != "ResourceNotFoundException":
                raise

    def _create(self, name: str) -> None:
        try:
            self._post("CreateCollection", {"CollectionId": name})
        except RefusedError as error:
            if error.code != "ResourceAlreadyExistsException":  # Nobody else thinks of such a name: an answer was lost.
                raise

    def _area(self, face: object, *place: str) -> float:
        sides = (pick(face, self._url, "a number", *place, "BoundingBox", side) for side in ("Width", "Height"))
        width, height = sides
        return float(width * height)

    def _post(self, what: str, body: Mapping[str, object], last: bool = False) -> dict[str, Any]:
        key, secret = self._service.secret(self._key), self._service.secret(self._secret)
        token = self._service.secret(self._token) if os.environ.get(self._token, "").strip() else ""

        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"RekognitionService.{what}"}
        if token:
            headers["X-Amz-Security-Token"] = token

        def signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
            parts = urlsplit(self._url)
            all_signed = headers | {"Host": parts.netloc, "X-Amz-Date": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"}
            assert isinstance(request.body, bytes)
            request.headers.update(all_signed)
            request.headers["Authorization"] = sign(
                all_signed,
                request.body,
                path=parts.path or "/",
                region=self._region,
                service="rekognition",
                key=key,
                secret=secret,
            )
            return request

        return self._service.post(self._url, json=body, headers=headers, auth=signed, last=last)

    def _encode(self, picture: Picture) -> dict[str, str]:
        content = picture.png(self._largest, smallest=_SMALLEST, most_bytes=_MOST_BYTES)
        return {"Bytes": base64.b64encode(content).decode()}


def _refusal(status: int, answer: Mapping[str, Any]) -> Refusal | None:
    kind = answer.get("__type")
    if not isinstance(kind, str) or not kind:
        return None
    code = kind.rpartition("#")[2].partition(":")[0]
    if code in _AGAIN:
        return Refusal(code, "again")
    if code in _KEYS:
        return Refusal(
            code,
            "over",
            "It does not accept the key for this. Mend the variables that key_variable, secret_variable and "
            "token_variable name, what the key may do at Amazon, the region, or the clock of this machine",
        )
    said = answer.get("Message", answer.get("message"))
    if code == "InvalidParameterException" and isinstance(said, str) and "no faces" in said.casefold():
        return Refusal(_NO_FACE, "skip")
    return Refusal(code, "skip")
