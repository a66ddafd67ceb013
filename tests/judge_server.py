"""A judge behind an address of this machine: it answers, notes what it was sent, and fails on demand."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.fileserver import serving

SAME = 90.0
"""Similarity from which it takes two pictures for one person."""


class Answer(NamedTuple):
    """An answer out of turn.

    Attributes:
        status: Its status.
        body: Its body.
        headers: Further headers.
        silent: Whether it says nothing at all until the server ends.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}
    silent: bool = False


class Sent(NamedTuple):
    """A request.

    Attributes:
        path: Its path.
        headers: Its headers.
        body: What was sent, as JSON or a form has it.
    """

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def pictures(self) -> list[bytes]:
        """The files in it."""
        values = [self.body.get(key) for key in ("first", "second", "photo")]
        return [base64.b64decode(each) for each in (*values, *self.body.get("photos", [])) if each is not None]


@dataclass
class JudgeServer:
    """The server.

    Attributes:
        address: Its base address.
        script: What it answers to the next requests, in this order, before it judges by itself.
        sent: The requests.
        people: Whom it knows, as small grey vectors.
    """

    address: str = ""
    script: deque[Answer] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)
    people: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def judge(self, path: str, body: Any) -> dict[str, Any]:
        if path == "/compare":
            similarity = alike(vector(body["first"]), vector(body["second"]))
            return {"similarity": similarity, "same": similarity >= SAME}
        if path == "/enrol":
            self.people.setdefault(body["person"], []).extend(map(vector, body["photos"]))
            return {}
        face = vector(body["photo"])
        told = {person: max(alike(face, each) for each in known) for person, known in self.people.items()}
        names = sorted(told, key=lambda person: -told[person])[: body["count"]]
        return {"matches": [{"person": name, "similarity": told[name]} for name in names]}


def vector(text: str) -> NDArray[np.float64]:
    image = Image.open(io.BytesIO(base64.b64decode(text))).convert("L").resize((24, 24))
    grey = np.asarray(image).astype(float).ravel()
    grey -= grey.mean()
    unit: NDArray[np.float64] = grey / np.linalg.norm(grey)
    return unit


def alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return round(100 * float(first @ second), 3)


@contextmanager
def serve() -> Iterator[JudgeServer]:
    """Run a server while the context lasts."""
    state = JudgeServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            form = self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            body = dict(parse_qsl(content.decode())) if form else json.loads(content)
            state.sent.append(Sent(self.path, dict(self.headers), body))
            answer = (
                state.script.popleft()
                if state.script
                else Answer(body=json.dumps(state.judge(self.path, body)).encode())
            )
            if answer.silent:
                state.over.wait()
                return
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
