"""Connections of the page that cannot be held for ever: as many as are useful, each with a time for what it owes.

uvicorn bounds the time between two requests. Whoever opens a connection and says nothing, sends headers or a body byte
by byte, or does not read the answer, could hold it, and its files, until the program ends.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from facecrypt.errors import FacecryptError

MOST_CONNECTIONS = 64
"""A browser opens six."""
_HEADER_SECONDS = 5.0
_STALL_SECONDS = 10.0
_SLOWEST = 100_000
"""Bytes per second that a body must come in at; the largest photo takes a second on the loopback address."""
_ANSWER_SECONDS = 30.0
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class StalledError(FacecryptError):
    """A request that does not come to its end."""


class Connection(H11Protocol):
    """One connection: it is closed when headers take too long, when nobody reads the answer, or for a newer one.

    Where there are too many, the one goes that has owed headers for longest. Whoever sends a request at once is
    answered, however many others only pretend to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = time.monotonic()
        self._owing: asyncio.TimerHandle | None = None
        self._answering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and let go of another one where there are too many."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST_CONNECTIONS:
            others = [each for each in self.connections if isinstance(each, Connection) and each._owing]
            min(others, key=lambda each: each._since)._give_up(_UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        """Take some bytes of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        super().connection_lost(exc)
        for clock in (self._owing, self._answering):
            if clock:
                clock.cancel()
        self._owing = self._answering = None

    def pause_writing(self) -> None:
        """Begin to wait for the answer to be read."""
        super().pause_writing()
        self._answering = self._answering or self.loop.call_later(_ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the answer is read."""
        super().resume_writing()
        if self._answering:
            self._answering.cancel()
            self._answering = None

    def _watch(self) -> None:
        """Let the clock run as long as no request is being answered."""
        owing = self.cycle is None or self.cycle.response_complete
        if owing and not self._owing and not self.transport.is_closing():
            self._since = time.monotonic()
            self._owing = self.loop.call_later(_HEADER_SECONDS, self._give_up, _TIMEOUT)
        elif not owing and self._owing:
            self._owing.cancel()
            self._owing = None

    def _give_up(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        self.connections.discard(self)
        # Between two requests nothing was asked, and an answer would be taken for that to the next one.
        if self.cycle is None or self.conn.trailing_data[0]:
            self.transport.write(answer)
        self.transport.close()


def in_time(receive: Receive) -> Receive:
    """Return what receives the body of a request and fails where that does not come.

    Args:
        receive: What receives it.

    Raises:
        StalledError: If the next part takes too long, or all parts come too slowly.
    """
    start, size, more = time.monotonic(), 0, True

    async def receive_in_time() -> Message:
        nonlocal size, more
        if not more:  # It waits for the connection to be closed.
            return await receive()
        try:
            left = start + _STALL_SECONDS + size / _SLOWEST - time.monotonic()
            async with asyncio.timeout(max(0.0, min(_STALL_SECONDS, left))):
                message = await receive()
        except TimeoutError as error:
            raise StalledError("The request came to a stop before its end. Send it again.") from error
        size += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    return receive_in_time
