"""The page over HTTP: on the loopback address only, behind a secret address, with nothing from elsewhere.

Three things keep others out. Nobody but this machine can connect. Every address starts with a secret that only the
terminal shows, so neither another user of the machine nor another web page can guess one. And a request must name this
server as its host and, where a browser tells, as its origin, which stops DNS rebinding.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import jinja2
import pydantic
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facecrypt.errors import FacecryptError
from facecrypt.photos.files import FORMATS
from facecrypt.system import console
from facecrypt.ui.connections import MOST_CONNECTIONS, Connection, StalledError, in_time
from facecrypt.ui.session import BusyError, Choices, Session, make_folder

MAX_UPLOAD = 50_000_000
"""Largest photo in bytes."""

_LOOPBACK = "127.0.0.1"
_MAX_ORDER = 10_000
_ASSETS = {"page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The receipt's own policy narrows this to its one script, by hash; sandboxed, it belongs to no origin.
_RECEIPT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "sandbox allow-scripts; frame-ancestors 'none'"
)


class _TooLargeError(FacecryptError):
    pass


class _Json(JSONResponse):
    """JSON in ASCII, which carries the names of files that are no UTF-8 as well."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


def serve(choices: Choices, port: int, open_browser: bool) -> None:
    """Show the page until the program is ended; remove all its files then.

    Args:
        choices: What the page offers.
        port: Where to listen on the loopback address; 0 for any free port.
        open_browser: Whether to open the page in the user's browser.

    Raises:
        FacecryptError: If the port is taken.
    """
    with _listen(port) as listener:
        port = listener.getsockname()[1]
        secret = secrets.token_urlsafe(16)
        folder = make_folder()
        session = Session(folder, choices)
        try:
            address = f"http://{_LOOPBACK}:{port}/{secret}/"
            # In full, for whoever reads it from a pipe as well.
            console.say(f"facecrypt: open {address} (Ctrl+C ends it)")
            if open_browser:
                threading.Thread(target=_open, args=(_write_opener(folder, address),), daemon=True).start()
            config = uvicorn.Config(
                make_app(session, secret, port),
                access_log=False,
                log_level="warning",
                server_header=False,
                http=Connection,
                ws="none",
                backlog=MOST_CONNECTIONS,  # no more are accepted at once, before any of them is looked at
                timeout_graceful_shutdown=2,
            )
            _Server(config).run(sockets=[listener])
        finally:
            session.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `facecrypt.system.interrupts`."""
        yield


def _write_opener(folder: Path, address: str) -> Path:
    """Return a page that leads to an address, for this user alone: what a program is told, every user can read.

    Args:
        folder: Gets the page.
        address: Where it leads.
    """
    path = folder / "open.html"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>facecrypt</title>'
            f'<meta http-equiv="refresh" content="0; url={address}"><p><a href="{address}">facecrypt</a></p>\n'
        )
    return path


def _open(page: Path) -> None:
    """Open a file in the user's browser, by a process of its own that waits for what it starts."""
    quiet = subprocess.DEVNULL
    subprocess.run(
        [sys.executable, "-m", "webbrowser", page.as_uri()], stdin=quiet, stdout=quiet, stderr=quiet, check=False
    )


def make_app(session: Session, secret: str, port: int) -> ASGIApp:
    """Return the page and what it calls.

    Args:
        session: What it works on; it is closed when the server ends.
        secret: First part of every address.
        port: Where the server listens.
    """

    async def page(request: Request) -> Response:
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        text = environment.from_string(_asset("index.html.jinja")).render(
            presets=session.presets,
            asked=session.asked,
            first=session.first,
            accepted=",".join(FORMATS),
            max_upload=MAX_UPLOAD,
        )
        return HTMLResponse(text)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        return Response(_asset(name), media_type=_ASSETS[name]) if name in _ASSETS else _missing()

    async def status(request: Request) -> Response:
        return _Json(session.status())

    async def upload(request: Request) -> Response:
        if _declared(request) > MAX_UPLOAD:
            return _refused(_TooLargeError(_too_large()))
        path = session.expect(request.query_params.get("name", ""))
        try:
            await _receive(request, path)
            await run_in_threadpool(session.take, path)
        except BaseException:
            session.abandon()
            raise
        return _Json(session.status())

    async def forget(request: Request) -> Response:
        session.forget()
        return _Json(session.status())

    async def start(request: Request) -> Response:
        if _declared(request) > _MAX_ORDER:
            raise _TooLargeError("order: is too long.")
        try:
            order = _Order.model_validate_json(await request.body())
        except pydantic.ValidationError as error:
            raise FacecryptError(f"order: {error.errors()[0]['msg']}. Reload the page.") from error
        session.start(order.faces, order.strength, order.asked)
        return _Json(session.status())

    async def cancel(request: Request) -> Response:
        session.cancel()
        return _Json(session.status())

    async def preview(request: Request) -> Response:
        data = await run_in_threadpool(session.preview, request.path_params["which"] == "protected")
        return Response(data, media_type="image/jpeg") if data else _missing()

    async def file(request: Request) -> Response:
        path = session.file(request.path_params["name"])
        if path is None or not path.is_file():
            return _missing()
        if "view" in request.query_params and path.name == "report.html":
            return HTMLResponse(path.read_bytes(), headers={"Content-Security-Policy": _RECEIPT_POLICY})
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        # Here and not only after the server: a signal ends the program before it comes back.
        await run_in_threadpool(session.close)

    routes = [
        Route("/", page),
        Route("/assets/{name}", asset),
        Route("/status", status),
        Route("/photo", upload, methods=["POST"]),
        Route("/photo", forget, methods=["DELETE"]),
        Route("/run", start, methods=["POST"]),
        Route("/run", cancel, methods=["DELETE"]),
        Route("/preview/{which}", preview),
        Route("/files/{name}", file),
    ]
    app = Starlette(
        routes=[Mount(f"/{secret}", routes=routes)],
        lifespan=lifespan,
        exception_handlers={FacecryptError: _on_error, ClientDisconnect: _on_error, 404: _on_missing},
    )
    return Guard(app, port)


class Guard:
    """Refuses requests that do not come from this server's own page, and forbids pages to load anything else.

    Args:
        app: What answers the others.
        port: Where the server listens.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (_LOOPBACK, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.setdefault("Content-Security-Policy", _PAGE_POLICY)
                answer["X-Content-Type-Options"] = "nosniff"
                answer["Referrer-Policy"] = "no-referrer"
                answer["Cross-Origin-Resource-Policy"] = "same-origin"
                answer["Cross-Origin-Opener-Policy"] = "same-origin"
                answer["Cache-Control"] = "no-store"
            await send(message)

        own = self._is_own(headers, scope["method"]) or self._is_opened(headers, scope["method"], scope["path"])
        app = self._app if own else _FOREIGN
        await app(scope, in_time(receive), send_guarded)

    def _is_own(self, headers: Headers, method: str) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return False
        if origin is None:  # browsers leave it out of what only reads
            return method in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        return origin == f"http://{host}"

    def _is_opened(self, headers: Headers, method: str, path: str) -> bool:
        """Return whether the user came to the page from elsewhere, such as the file that `serve` opens."""
        how = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"), headers.get("origin")
        return (
            method == "GET"
            and headers.get("host", "") in self._hosts
            and how == ("navigate", "document", None)
            and re.fullmatch("/[^/]+/", path) is not None
        )


class _Order(pydantic.BaseModel):
    faces: Annotated[list[int], pydantic.Field(max_length=1000)]
    strength: str
    asked: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None


_FOREIGN = PlainTextResponse("facecrypt: the page answers only to itself, at the address that the terminal shows.", 403)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, port))
        listener.listen()  # so that a browser that is faster than the server waits
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise FacecryptError(f"--port {port}: {reason}. Name another port, or 0 for any that is free.") from error
    return listener


def _asset(name: str) -> str:
    return (resources.files("facecrypt") / "data" / "ui" / name).read_text(encoding="utf-8")


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _receive(request: Request, path: Path) -> None:
    """Write the body of a request into a file, up to the limit, whatever length it declares."""
    size = 0
    with path.open("xb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_UPLOAD:
                raise _TooLargeError(_too_large())
            file.write(chunk)


def _too_large() -> str:
    return f"The photo is too large: at most {MAX_UPLOAD // 1_000_000} MB. Scale it down, or use 'facecrypt run'."


def _missing() -> Response:
    return _Json({"error": "There is no such file now."}, 404)


def _refused(error: Exception) -> Response:
    kinds = {BusyError: 409, _TooLargeError: 413, StalledError: 408}
    status = next((number for kind, number in kinds.items() if isinstance(error, kind)), 400)
    return _Json({"error": str(error)}, status)


async def _on_error(request: Request, error: Exception) -> Response:
    return _refused(error)


async def _on_missing(request: Request, error: Exception) -> Response:
    return PlainTextResponse("facecrypt: nothing is here. Open the address that the terminal shows.", 404)
