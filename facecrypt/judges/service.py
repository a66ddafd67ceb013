"""A web service that is asked about faces: how often, for how much, and what happens when it does not answer.

`Service` is what judges over HTTP have in common, those of plugins included. It waits between requests, asks again
where that may help, counts what is spent, and keeps within a budget. Keys come from the environment and stand in no
message.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

from facecrypt.errors import FacecryptError, JudgeError
from facecrypt.judges.base import NotSentError, Spending
from facecrypt.surrogates.weights import OFFLINE, offline
from facecrypt.system.texts import plain

if TYPE_CHECKING:
    import requests

HERE: Final = ("localhost", "127.0.0.1", "::1")
"""This machine, where pictures may go unencrypted, and to which they go by no proxy."""
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a server answers that may do so differently a little later."""
_CLOSED: Final = frozenset({401, 402, 403, 404, 405, 407, 410})
"""What it answers to everything, whatever the picture: it is not asked again in this run."""
_MOST_FAILURES: Final = 2
"""Requests in a row that no repetition helped, after which a service counts as away."""
_MOST_BYTES: Final = 1 << 16
"""Largest answer that is read."""
_TOLD: Final = 200
"""Characters of an answer that a message repeats."""


class Refusal(NamedTuple):
    """What an answer means that is no success, where its status alone does not tell.

    Attributes:
        code: What the service calls it.
        then: ``again``: it may pass, so the request is made again; ``over``: everything would be refused, so nothing
            more is asked; ``skip``: it concerns this request alone.
        remedy: What the user can do, as a sentence without its full stop.
    """

    code: str
    then: Literal["again", "over", "skip"]
    remedy: str = "See what the service says of it"


class RefusedError(JudgeError):
    """A service refuses a request, and says why by a word that `Service` was told of.

    Attributes:
        code: This word; empty where it says none.
    """

    code: str = ""


class Service:
    """A service behind an address.

    Args:
        rate: Most requests per second; None for no bound.
        retries: How often a request is made again that failed in a way that may pass: 429, 5xx, a time-out, a lost
            connection.
        backoff: Seconds before the first repetition, twice as many before each further one. Where the service says how
            long to wait (``Retry-After``), that is done if it is longer.
        timeout: Seconds without a sign of it after which a request has failed.
        seconds: Seconds that an answer may take in all, repetitions and waiting included.
        price: Of one request.
        budget: Most requests, repetitions included; None for no bound.
        dry_run: Make no request: count what would be asked, and raise `NotSentError` in place of an answer.
        refusals: Tells what an answer means that is no success, from its status and its JSON mapping, which is empty
            where there is none; None where the status tells.
        most_bytes: Largest answer that is read.
        sleep: Waits for some seconds.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        retries: int = 3,
        backoff: float = 1.0,
        timeout: float = 20.0,
        seconds: float = 120.0,
        price: float | None = None,
        budget: int | None = None,
        dry_run: bool = False,
        refusals: Callable[[int, Mapping[str, Any]], Refusal | None] | None = None,
        most_bytes: int = _MOST_BYTES,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spending = Spending(price=price)
        self.dry_run = dry_run
        self._rate, self._retries, self._backoff = rate, retries, backoff
        self._timeout, self._seconds, self._budget = timeout, seconds, budget
        self._refusals, self._most_bytes = refusals, most_bytes
        self._sleep, self._clock = sleep, clock
        self._reserved = 0
        self._secrets: list[str] = []
        self._free_at = -math.inf
        self._failures = 0
        self._over = ""

    def secret(self, variable: str) -> str:
        """Return what an environment variable holds, which from now on stands in no message.

        Args:
            variable: Its name, as a recipe gives it; a recipe holds no key.

        Raises:
            FacecryptError: If it is not set. A dry run does without.
        """
        value = os.environ.get(variable, "").strip()
        if not value and not self.dry_run:
            raise FacecryptError(
                f"the environment variable {variable} is not set, which holds the key of a judge. Set it, name another "
                "one in the recipe, or set dry_run: true."
            )
        if value and (not value.isascii() or not value.isprintable()):
            raise FacecryptError(f"the environment variable {variable} holds no key: a key has no such characters.")
        if value and value not in self._secrets:
            self._secrets.append(value)
        return value

    def skip(self, count: int) -> NoReturn:
        """Count requests that a dry run does not make.

        Raises:
            NotSentError: Always.
        """
        self.spending.unsent += count
        raise NotSentError("dry run: nothing was sent")

    def reserve(self, count: int) -> None:
        """Keep so many requests of the budget for the last ones, which clear away what is kept at the service's."""
        self._reserved = count

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None,
        last: bool = False,
    ) -> dict[str, Any]:
        """Send a request and return the JSON mapping that comes back.

        Args:
            url: The address.
            json: The body, sent as JSON.
            form: The body, sent as a form, where `json` is None.
            headers: Further headers.
            auth: Signs each request, as those of the package requests do.
            last: Whether it clears away what is kept at the service's: that is asked for whatever the budget, and
                although nothing else is asked any more.

        Raises:
            NotSentError: In a dry run.
            RefusedError: If the service refuses the request, in a word that `refusals` knows.
            JudgeError: If no answer comes, or none that can be used: with the address, what happened and what to do.
        """
        if self.dry_run:
            self.skip(1)
        if self._over and not last:
            raise JudgeError(self._over)
        if offline():
            raise JudgeError(f"{url} was not asked, as no connection may be opened ({OFFLINE}, --offline)")
        end, reason, wait = self._clock() + self._seconds, "", 0.0
        for attempt in range(1 + self._retries):
            if attempt:
                wait = max(wait, self._backoff * 2 ** (attempt - 1))
                if self._clock() + wait >= end:
                    reason = f"{reason}, and no more than {self._seconds:g} s may be spent on it"
                    break
                self._sleep(wait)
            self._take_turn(url, last)
            try:
                answer = self._ask(url, json, form, headers or {}, auth, end)
            except _AgainError as failure:
                reason, wait = failure.reason, failure.wait
                continue
            self._failures = 0
            return answer
        self._failures += 1
        told = f"{url} {reason}"
        if self._failures >= _MOST_FAILURES:
            self._over = f"{told}; it is not asked any more in this run"
        raise JudgeError(f"{told}. Try again later, or raise retries and seconds of the judge")

    def _take_turn(self, url: str, last: bool) -> None:
        """Wait until another request may be made, and count it."""
        if self._budget is not None and not last and self.spending.requests >= self._budget - self._reserved:
            kept = f", but for {self._reserved} to clear away what is kept there" if self._reserved else ""
            self._close(f"{url} was not asked any more: the budget of {self._budget} requests is used up{kept}")
        if self._rate is not None:
            now = self._clock()
            if now < self._free_at:
                self._sleep(self._free_at - now)
            self._free_at = max(now, self._free_at) + 1 / self._rate
        self.spending.requests += 1

    def _ask(
        self,
        url: str,
        body: Any,
        form: Mapping[str, str] | None,
        headers: Mapping[str, str],
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None,
        end: float,
    ) -> dict[str, Any]:
        import requests

        left = max(min(self._timeout, end - self._clock()), 1e-3)
        try:
            with requests.post(
                url,
                json=body,
                data=form if body is None else None,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
                # Without one, requests would look for a password for this host in files of the user's home folder.
                auth=auth or _as_it_is,
                timeout=left,
                stream=True,
                proxies={"no_proxy": host} if (host := urlsplit(url).hostname) in HERE else None,
                allow_redirects=False,  # Pictures and keys go where the recipe says, and nowhere else.
            ) as response:
                return self._read(url, response, end)
        except requests.Timeout:
            raise _AgainError(f"did not answer within {left:g} s") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _AgainError(self._hide(f"cannot be reached ({_innermost(error)})")) from None
        except requests.RequestException as error:
            raise JudgeError(self._hide(f"{url} cannot be asked ({_innermost(error)})")) from None

    def _read(self, url: str, response: requests.Response, end: float) -> dict[str, Any]:
        content = self._receive(url, response, end)
        status = response.status_code
        refusal = None
        if self._refusals is not None and not 200 <= status < 300:
            refusal = self._refusals(status, _mapping_of(content))
        if (status in _AGAIN and refusal is None) or (refusal is not None and refusal.then == "again"):
            raise _AgainError(f"answered {status}{self._excerpt(content)}", _wait_of(response.headers))
        if not 200 <= status < 300:
            what = f"{url} answered {status}{self._excerpt(content)}"
            if refusal is not None:
                error = RefusedError(f"{what}. {refusal.remedy}")
                error.code = refusal.code
                if refusal.then == "over":
                    self._over = str(error)
                raise error
            if 300 <= status < 400:
                self._close(f"{what}, to go elsewhere, which is not done with pictures and keys. Name that address")
            if status in (401, 403):
                self._close(f"{what}: it does not accept the key. Mend the variable that key_variable names")
            if status in _CLOSED:
                self._close(f"{what}. Mend its address or its key")
            raise JudgeError(f"{what}. See what the service says of it")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise JudgeError(f"{url} answered no JSON{self._excerpt(content)}. See whether it is the address") from None
        if not isinstance(answer, dict):
            raise JudgeError(f"{url} answered {type(answer).__name__}, not a mapping. See whether it is the address")
        return answer

    def _receive(self, url: str, response: requests.Response, end: float) -> bytes:
        """Return the body, byte by byte as it comes, so that one that drips ends in time."""
        content = bytearray()
        for piece in response.iter_content(1):
            content += piece
            if len(content) > self._most_bytes:
                raise JudgeError(f"{url} answered more than {self._most_bytes:,} bytes. See whether it is the address")
            if self._clock() > end:
                raise _AgainError(f"did not end its answer within {self._seconds:g} s")
        return bytes(content)

    def _close(self, why: str) -> NoReturn:
        self._over = why
        raise JudgeError(why)

    def _excerpt(self, content: bytes) -> str:
        """Return the beginning of an answer for a message, without what is secret."""
        said = " ".join(self._hide(plain(content[: 20 * _TOLD].decode(errors="replace"))).split())
        return f" ({said[:_TOLD]}{' ...' if len(said) > _TOLD else ''})" if said else ""

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _AgainError(Exception):
    """A request failed in a way that may pass.

    Args:
        reason: What happened, without the address.
        wait: Seconds that the service wants to be left alone.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _mapping_of(content: bytes) -> dict[str, Any]:
    try:
        mapping = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return mapping if isinstance(mapping, dict) else {}


def _wait_of(headers: Mapping[str, str]) -> float:
    """Return the seconds that a service asks to wait: a number, or a date; 0 where it says nothing of use."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _innermost(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_TOLD]}"
