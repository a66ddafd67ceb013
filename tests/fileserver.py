"""A web server on this machine that stands in for the internet: it serves bytes, notes requests, fails on demand."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing of a client that has gone, which would stand in the output of some other test."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], release: threading.Event) -> Iterator[str]:
    """Give the address of a server while the context lasts, then let go the requests that wait for an event."""
    with QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            release.set()
            server.shutdown()
            thread.join()


@dataclass
class FileServer:
    """What the server serves, and what it was asked for.

    Attributes:
        address: Its base address, without a slash at the end.
        files: Content by path.
        requests: Path and headers of every request, in order.
        cut: Closes the connection after that many bytes of a body, once per entry.
        status: Answers this to everything, where it is not 200.
        ranges: Whether it honours Range.
        etags: Whether it marks versions.
        silent: Seconds for which it takes a connection and says nothing.
        answers: While it is not set, requests wait.
        kind: Content type.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    status: int = 200
    ranges: bool = True
    etags: bool = True
    silent: float = 0.0
    answers: threading.Event = field(default_factory=threading.Event)
    kind: str = "application/octet-stream"


@contextmanager
def serve() -> Iterator[FileServer]:
    """Run a server while the context lasts."""
    state = FileServer()
    state.answers.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append((self.path, dict(self.headers)))
            time.sleep(state.silent)
            state.answers.wait()
            content = state.files.get(self.path)
            if state.status != 200 or content is None:
                self.send_error(state.status if state.status != 200 else 404)
                return
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            start = 0
            asked = self.headers.get("Range")
            if asked and state.ranges and self.headers.get("If-Range", etag) == etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(content) - start))
            if state.etags:
                self.send_header("ETag", etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: state.cut.pop(0)] if state.cut else body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler, state.answers) as state.address:
        yield state
