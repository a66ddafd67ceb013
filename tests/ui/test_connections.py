"""Connections to the page that stall: each gets its answer or is closed, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from facecrypt.recipe.resolve import quickstart
from facecrypt.ui import connections
from facecrypt.ui.connections import MOST_CONNECTIONS, Connection
from facecrypt.ui.server import make_app
from facecrypt.ui.session import Session, load_choices

SECRET = "secret"


class Page:
    """The page's server in a thread of this process, with little patience."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.session = Session(folder, load_choices(quickstart(), []))
        config = uvicorn.Config(
            make_app(self.session, SECRET, self.port),
            http=Connection,
            ws="none",
            backlog=MOST_CONNECTIONS,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[self._listener])), daemon=True
        )
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join(30)
        self._listener.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, method: str, path: str, headers: str = "", body: bytes = b"") -> socket.socket:
        """Send the beginning of a request, as the page would send it."""
        connection = self.connect()
        host = f"127.0.0.1:{self.port}"
        head = f"{method} /{SECRET}/{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)
        return connection

    def status(self) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            answer: dict[str, Any] = session.get(f"http://127.0.0.1:{self.port}/{SECRET}/status", timeout=60).json()
            return answer


@pytest.fixture(scope="module")
def patience() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_HEADER_SECONDS", 0.3)
        patch.setattr(connections, "_STALL_SECONDS", 0.3)
        patch.setattr(connections, "_ANSWER_SECONDS", 0.3)
        yield patch


@pytest.fixture(scope="module")
def page(patience: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("page"))
    yield page
    page.close()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes the connection."""
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


def drip(connection: socket.socket, piece: bytes, pause: float = 0.1) -> threading.Thread:
    """Send a few bytes again and again for as long as somebody takes them, until the connection is closed."""

    def send() -> None:
        try:
            while True:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def answered(connections: list[socket.socket]) -> bool:
    """Whether anything has come on one of them: where the machine is busy, it may be given up before all have begun."""
    return bool(select.select(connections, [], [], 0.01)[0])


@pytest.mark.parametrize("slowly", [False, True])
def test_an_upload_that_stalls_frees_the_page(slowly: bool, page: Page) -> None:
    with page.send("POST", "photo?name=a.png", "Content-Length: 100000\r\n", b"some") as connection:
        if slowly:
            drip(connection, b"x")
        while page.status()["state"] != "looking" and not answered([connection]):
            pass
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"came to a stop before its end" in answer
    assert page.status()["state"] == "empty"


def test_an_upload_that_is_abandoned_frees_the_page(page: Page) -> None:
    with page.send("POST", "photo?name=a.png", "Content-Length: 100000\r\n", b"some") as connection:
        while page.status()["state"] != "looking" and not answered([connection]):
            pass
    while page.status()["state"] != "empty":
        time.sleep(0.01)


def test_an_order_that_stalls(page: Page) -> None:
    with page.send("POST", "run", "Content-Length: 100\r\n", b"{") as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
@pytest.mark.parametrize("slowly", [False, True])
def test_headers_that_do_not_end(begun: bytes, slowly: bool, page: Page) -> None:
    with page.connect() as connection:
        connection.sendall(begun)
        if slowly and begun.endswith(b"\n"):
            drip(connection, b"a: b\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 408 Request Timeout")


def test_nothing_after_an_answer_closes_the_connection_in_silence(page: Page) -> None:
    with page.send("GET", "status") as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_nobody_wants_does_not_hold_the_connection(page: Page) -> None:
    with page.connect() as connection:
        connection.sendall(b"POST /elsewhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        thread = drip(connection, b"x")
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        pytest.param(b"GET / HT", marks=pytest.mark.slow),
        pytest.param(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx", marks=pytest.mark.slow),
    ],
)
def test_hundreds_of_half_open_connections_keep_nobody_out(begun: bytes, page: Page) -> None:
    with ExitStack() as opened:
        for _ in range(300):
            connection = opened.enter_context(page.connect())
            with suppress(OSError):  # it has been let go of already
                connection.sendall(begun)
        assert page.status()["state"] == "empty"
        assert len(page.server.server_state.connections) <= MOST_CONNECTIONS + 1
    while len(page.server.server_state.connections) > 1:
        time.sleep(0.01)


def test_where_all_are_busy_a_new_one_is_turned_away(page: Page) -> None:
    with ExitStack() as opened:
        busy = [
            opened.enter_context(page.send("POST", "run", "Content-Length: 9000\r\n", b"{"))
            for _ in range(MOST_CONNECTIONS)
        ]
        while len(page.server.server_state.connections) < MOST_CONNECTIONS and not answered(busy):
            pass
        with page.connect() as connection:
            answer = read_all(connection)
        assert answer.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 408 "))  # or one of the others was given up before
        assert all(read_all(each).startswith(b"HTTP/1.1 408 ") for each in busy)
    assert page.status()["state"] == "empty"


def test_huge_headers(page: Page) -> None:
    with page.connect() as connection:
        drip(connection, b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000, pause=0).join()
        assert read_all(connection)[:13] in (b"", b"HTTP/1.1 400 ")
    assert page.status()["state"] == "empty"


def test_an_answer_that_nobody_reads(page: Page) -> None:
    with page.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET /{SECRET}/assets/page.js HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode()
        drip(connection, request * 100, pause=0)
        assert connection.recv(1)
        while page.server.server_state.connections:
            time.sleep(0.01)
    assert page.status()["state"] == "empty"
