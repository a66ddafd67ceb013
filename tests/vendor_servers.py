"""Servers of this machine that behave as the documentation of Face++ and of Amazon Rekognition says, errors included.

They find a face in every picture that is not of one colour, and tell faces apart as `tests.judge_server` does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.server
import io
import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.fileserver import serving
from tests.judge_server import Answer, Sent, alike, vector

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a/session/token=="
THRESHOLDS = {"1e-3": 85.0, "1e-4": 90.0, "1e-5": 95.0}
Vector = NDArray[np.float64]


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: The status of the answer.
        word: What the vendor calls it.
        message: What it says besides.
    """

    def __init__(self, status: int, word: str, message: str = "") -> None:
        super().__init__(word)
        self.status, self.word, self.message = status, word, message


class Vendor(Protocol):
    address: str
    script: deque[Answer | None]
    sent: list[Sent]
    over: threading.Event

    def answer(self, path: str, headers: Mapping[str, str], content: bytes) -> Answer: ...


AnyVendor = TypeVar("AnyVendor", bound=Vendor)


def set_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables in which judges look for keys by default."""
    for name in ("FACEPLUSPLUS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, KEY)
    for name in ("FACEPLUSPLUS_SECRET", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@contextmanager
def serve(state: AnyVendor) -> Iterator[AnyVendor]:
    """Run a vendor's server while the context lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            answer = state.answer(self.path, dict(self.headers), content)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler, state.over) as state.address:
        yield state


def pixels_of(file: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


@dataclass
class FacePlusPlusServer:
    """Face++.

    Attributes:
        address: Its base address.
        script: What it answers to the next requests, in this order; None for what it finds itself.
        sent: The requests whose key was right.
        sets: Its sets of faces: the tokens in each.
        faces: What it knows of each token.
    """

    address: str = ""
    script: deque[Answer | None] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    sets: dict[str, list[str]] = field(default_factory=dict)
    faces: dict[str, Vector] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def answer(self, path: str, headers: Mapping[str, str], content: bytes) -> Answer:
        if len(content) > 2_000_000:
            return Answer(413, b"Request Entity Too Large")
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        form = {key: value for key, (value,) in parse_qs(content.decode(), strict_parsing=True).items()}
        try:
            for name in ("api_key", "api_secret"):
                self._need(form, name)
            if (form.pop("api_key"), form.pop("api_secret")) != (KEY, SECRET):
                raise RefusedError(401, "AUTHENTICATION_ERROR")
            self.sent.append(Sent(path, dict(headers), form))
            if self.script and (out_of_turn := self.script.popleft()):
                return out_of_turn
            operation = getattr(self, "_" + path.removeprefix("/facepp/v3/").replace("/", "_"), None)
            if operation is None:
                raise RefusedError(404, "API_NOT_FOUND")
            return _as_json(200, {"request_id": "1", "time_used": 5, **operation(form)})
        except RefusedError as refused:
            return _as_json(refused.status, {"request_id": "1", "time_used": 5, "error_message": refused.word})

    def pictures(self) -> list[bytes]:
        names = ("image_base64", "image_base64_1", "image_base64_2")
        return [base64.b64decode(sent.body[name]) for sent in self.sent for name in names if name in sent.body]

    def _need(self, form: Mapping[str, str], name: str) -> str:
        if not form.get(name):
            raise RefusedError(400, f"MISSING_ARGUMENTS: {name}")
        return form[name]

    def _see(self, form: Mapping[str, str], name: str) -> Vector | None:
        """Return what it knows of the face in a picture, if there is one."""
        file = base64.b64decode(self._need(form, name), validate=True)
        if len(file) > 2 << 20:
            raise RefusedError(400, f"IMAGE_FILE_TOO_LARGE:{name}")
        image = Image.open(io.BytesIO(file))
        if image.format not in ("PNG", "JPEG"):
            raise RefusedError(400, f"IMAGE_ERROR_UNSUPPORTED_FORMAT:{name}")
        if not 48 <= min(image.size) <= max(image.size) <= 4096:
            raise RefusedError(400, f"INVALID_IMAGE_SIZE:{name}")
        return vector(form[name]) if pixels_of(file).std() > 1 else None

    def _faces(self, face: Vector | None) -> list[dict[str, Any]]:
        """Return what is told of the faces of a picture: that one, and a smaller one before it."""
        if face is None:
            return []
        told = []
        for side, known in ((10, -face), (90, face)):
            token = f"token{next(self._numbers)}"
            self.faces[token] = known
            told.append({"face_token": token, "face_rectangle": {"top": 1, "left": 1, "width": side, "height": side}})
        return told

    def _compare(self, form: Mapping[str, str]) -> dict[str, Any]:
        first, second = self._see(form, "image_base64_1"), self._see(form, "image_base64_2")
        told = {"faces1": self._faces(first), "faces2": self._faces(second)}
        if first is None or second is None:
            return told
        return {**told, "confidence": max(0.0, alike(first, second)), "thresholds": THRESHOLDS}

    def _detect(self, form: Mapping[str, str]) -> dict[str, Any]:
        return {"faces": self._faces(self._see(form, "image_base64"))}

    def _faceset_create(self, form: Mapping[str, str]) -> dict[str, Any]:
        name = self._need(form, "outer_id")
        for key in ("outer_id", "display_name"):
            if len(form.get(key, "")) > 255 or set(form.get(key, "")) & set("^@,&=*'\""):
                raise RefusedError(400, f"BAD_ARGUMENTS: {key}")
        if name in self.sets:
            raise RefusedError(400, "FACESET_EXIST")
        self.sets[name] = []
        return {"outer_id": name, "face_added": 0, "failure_detail": []}

    def _set(self, form: Mapping[str, str]) -> list[str]:
        name = self._need(form, "outer_id")
        if name not in self.sets:
            raise RefusedError(400, "INVALID_OUTER_ID")
        return self.sets[name]

    def _faceset_addface(self, form: Mapping[str, str]) -> dict[str, Any]:
        known, tokens = self._set(form), self._need(form, "face_tokens").split(",")
        if len(tokens) > 5:
            raise RefusedError(400, "INVALID_FACE_TOKENS_SIZE")
        failures = [{"face_token": each, "reason": "INVALID_FACE_TOKEN"} for each in tokens if each not in self.faces]
        known += [each for each in tokens if each in self.faces]
        return {"face_added": len(tokens) - len(failures), "face_count": len(known), "failure_detail": failures}

    def _faceset_delete(self, form: Mapping[str, str]) -> dict[str, Any]:
        if self._set(form) and form.get("check_empty", "1") != "0":  # The English and the Chinese page differ.
            raise RefusedError(400, "FACESET_NOT_EMPTY")
        del self.sets[form["outer_id"]]
        return {"outer_id": form["outer_id"]}

    def _search(self, form: Mapping[str, str]) -> dict[str, Any]:
        known, count = self._set(form), int(form.get("return_result_count", "1"))
        if not 1 <= count <= 5:
            raise RefusedError(400, "BAD_ARGUMENTS:return_result_count")
        if not known:
            raise RefusedError(400, "EMPTY_FACESET")
        face = self._see(form, "image_base64")
        if face is None:
            return {"faces": []}
        results = [{"face_token": each, "confidence": max(0.0, alike(face, self.faces[each]))} for each in known]
        results.sort(key=lambda result: -float(str(result["confidence"])))
        return {"faces": self._faces(face), "results": results[:count], "thresholds": THRESHOLDS}


@dataclass
class RekognitionServer:
    """Amazon Rekognition.

    Attributes:
        address: Its base address.
        script: What it answers to the next requests, in this order; None for what it finds itself.
        sent: The requests whose signature was right; the path is the operation.
        region: Where in the world it stands.
        token: The session token that belongs to its key, or empty.
        collections: Its collections: the external IDs of faces, and what it knows of them.
    """

    address: str = ""
    script: deque[Answer | None] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    region: str = "us-east-1"
    token: str = ""
    collections: dict[str, list[tuple[str, Vector]]] = field(default_factory=dict)

    def answer(self, path: str, headers: Mapping[str, str], content: bytes) -> Answer:
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            self._verify(path, lower, content)
            assert lower["content-type"] == "application/x-amz-json-1.1"
            prefix, _, operation = lower["x-amz-target"].partition(".")
            assert prefix == "RekognitionService"
            body = json.loads(content)
            self.sent.append(Sent(operation, lower, body))
            if self.script and (out_of_turn := self.script.popleft()):
                return out_of_turn
            method = re.sub("([A-Z])", r"_\1", operation).lower()
            return _as_json(200, getattr(self, method)(body))
        except RefusedError as refused:
            return _as_json(refused.status, {"__type": refused.word, "Message": refused.message})

    def pictures(self) -> list[bytes]:
        names = ("Image", "SourceImage", "TargetImage")
        return [base64.b64decode(sent.body[name]["Bytes"]) for sent in self.sent for name in names if name in sent.body]

    def _verify(self, path: str, headers: Mapping[str, str], content: bytes) -> None:
        """Check a signature, step by step as the page of Amazon has it."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/rekognition/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if found is None:
            raise RefusedError(400, "IncompleteSignatureException")
        key, day, region, signed, signature = found.groups()
        if key != KEY or headers.get("x-amz-security-token", "") != self.token:
            raise RefusedError(
                400, "UnrecognizedClientException", "The security token included in the request is invalid."
            )
        moment = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        names = signed.split(";")
        must = {"host", *(name for name in headers if name.startswith("x-amz-"))}
        canonical_headers = "".join(name + ":" + headers[name].strip() + "\n" for name in names)
        payload_hash = hashlib.sha256(content).hexdigest()
        canonical_request = "\n".join(["POST", path, "", canonical_headers, signed, payload_hash])
        scope = f"{day}/{region}/rekognition/aws4_request"
        request_hash = hashlib.sha256(canonical_request.encode()).hexdigest()
        string_to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, request_hash])
        date_key = _hmac(("AWS4" + SECRET).encode(), day)
        signing_key = _hmac(_hmac(_hmac(date_key, region), "rekognition"), "aws4_request")
        fine = (
            must <= set(names)
            and region == self.region
            and headers["x-amz-date"].startswith(day)
            and abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
            and _hmac(signing_key, string_to_sign).hex() == signature
        )
        if not fine:
            message = f"The request signature we calculated does not match. Credential={KEY}, {canonical_request[:60]}"
            raise RefusedError(400, "InvalidSignatureException", message)

    def _see(self, image: Mapping[str, str]) -> Vector | None:
        """Return what it knows of the face in a picture, if there is one."""
        try:
            file = base64.b64decode(image["Bytes"], validate=True)
        except binascii.Error:
            raise RefusedError(400, "SerializationException") from None
        if len(file) > 5 << 20:
            raise RefusedError(400, "ImageTooLargeException")
        picture = Image.open(io.BytesIO(file))
        if picture.format not in ("PNG", "JPEG"):
            raise RefusedError(400, "InvalidImageFormatException", "Request has invalid image format")
        if min(picture.size) < 80:
            raise RefusedError(400, "InvalidParameterException", "Request has invalid parameters")
        return vector(image["Bytes"]) if pixels_of(file).std() > 1 else None

    def _collection(self, body: Mapping[str, Any]) -> list[tuple[str, Vector]]:
        if body["CollectionId"] not in self.collections:
            raise RefusedError(400, "ResourceNotFoundException", "The collection id does not exist")
        return self.collections[body["CollectionId"]]

    def _compare_faces(self, body: Mapping[str, Any]) -> dict[str, Any]:
        source, target = self._see(body["SourceImage"]), self._see(body["TargetImage"])
        if source is None or target is None:
            raise RefusedError(400, "InvalidParameterException", "Request has invalid parameters")
        similarity = max(0.0, alike(source, target))
        large, small = ({"BoundingBox": {"Width": side, "Height": side, "Left": 0, "Top": 0}} for side in (0.5, 0.1))
        matches = [{"Similarity": 99.9, "Face": small}]  # Somebody in the background.
        unmatched = []
        if similarity >= body.get("SimilarityThreshold", 80):
            matches.append({"Similarity": similarity, "Face": large})
        else:
            unmatched.append(large)
        return {"SourceImageFace": large, "FaceMatches": matches, "UnmatchedFaces": unmatched}

    def _create_collection(self, body: Mapping[str, Any]) -> dict[str, Any]:
        name = body["CollectionId"]
        if not re.fullmatch(r"[a-zA-Z0-9_.\-]{1,255}", name):
            raise RefusedError(400, "InvalidParameterException", "Request has invalid parameters")
        if name in self.collections:
            raise RefusedError(400, "ResourceAlreadyExistsException", "The collection id already exists")
        self.collections[name] = []
        return {"StatusCode": 200, "CollectionArn": f"arn:aws:rekognition:::collection/{name}"}

    def _index_faces(self, body: Mapping[str, Any]) -> dict[str, Any]:
        known, face = self._collection(body), self._see(body["Image"])
        assert re.fullmatch(r"[a-zA-Z0-9_.\-:]{1,255}", body["ExternalImageId"])
        assert body["MaxFaces"] == 1
        if face is None:
            return {"FaceRecords": [], "UnindexedFaces": []}
        known.append((body["ExternalImageId"], face))
        return {"FaceRecords": [{"Face": {"ExternalImageId": body["ExternalImageId"]}}], "UnindexedFaces": []}

    def _search_faces_by_image(self, body: Mapping[str, Any]) -> dict[str, Any]:
        known, face = self._collection(body), self._see(body["Image"])
        assert 1 <= body["MaxFaces"] <= 4096
        if face is None:
            message = "There are no faces in the image. Should be at least 1."
            raise RefusedError(400, "InvalidParameterException", message)
        told = [{"Similarity": max(0.0, alike(face, each)), "Face": {"ExternalImageId": name}} for name, each in known]
        near = [each for each in told if each["Similarity"] >= body.get("FaceMatchThreshold", 80)]
        near.sort(key=lambda match: -float(str(match["Similarity"])))
        return {"FaceMatches": near[: body["MaxFaces"]], "SearchedFaceConfidence": 99.9}

    def _delete_collection(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self._collection(body)
        del self.collections[body["CollectionId"]]
        return {"StatusCode": 200}


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something is so that another process brings about."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def throttled(word: str) -> Answer:
    """Return how either vendor refuses too many requests."""
    key = "error_message" if word.isupper() else "__type"
    return Answer(403 if word.isupper() else 400, json.dumps({key: word}).encode())


def _as_json(status: int, value: Mapping[str, Any]) -> Answer:
    return Answer(status, json.dumps(value).encode())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
