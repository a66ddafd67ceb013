"""What happens between a judge and its service: waiting, asking again, giving up, paying; keys are told to nobody."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from requests import PreparedRequest
from requests.auth import AuthBase

from facecrypt.errors import FacecryptError, JudgeError
from facecrypt.judges.base import NotSentError
from facecrypt.judges.service import Service
from facecrypt.surrogates.weights import OFFLINE
from tests.judge_server import Answer, JudgeServer

FINE = Answer(body=b'{"fine": true}')


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., Service]:
    def make(**options: Any) -> Service:
        return Service(**{"timeout": 5.0, **options}, sleep=clock.sleep, clock=clock)

    return make


def test_an_answer_comes_back_and_is_counted(server: JudgeServer, make: Callable[..., Service]) -> None:
    server.script.append(FINE)
    service = make(price=0.01)
    assert service.post(f"{server.address}/x", json={"a": 1}, headers={"X-Own": "yes"}) == {"fine": True}
    (sent,) = server.sent
    assert (sent.path, sent.body, sent.headers["X-Own"]) == ("/x", {"a": 1}, "yes")
    assert (service.spending.requests, service.spending.unsent, service.spending.cost) == (1, 0, 0.01)


def test_a_form_and_a_signature_are_what_some_services_want(server: JudgeServer, make: Callable[..., Service]) -> None:
    class Signed(AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            assert isinstance(request.body, str)
            request.headers["X-Signature"] = f"{len(request.body)} bytes"
            return request

    server.script.extend([Answer(503), FINE])
    make(backoff=0.1).post(server.address, form={"a": "1 & 2"}, auth=Signed())
    assert [(sent.body, sent.headers["X-Signature"]) for sent in server.sent] == [({"a": "1 & 2"}, "9 bytes")] * 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again_later_and_later(
    server: JudgeServer, make: Callable[..., Service], clock: Clock, status: int
) -> None:
    server.script.extend([Answer(status), Answer(status), FINE])
    service = make(backoff=2.0)
    assert service.post(server.address, json={}) == {"fine": True}
    assert clock.waits == [2.0, 4.0]
    assert service.spending.requests == 3


def test_retry_after_is_kept_in_seconds_and_as_a_date(
    server: JudgeServer, make: Callable[..., Service], clock: Clock
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    answers = [{"Retry-After": "7"}, {"Retry-After": later}, {"Retry-After": "soon"}]
    server.script.extend([*(Answer(429, headers=headers) for headers in answers), FINE])
    assert make(backoff=1.0, seconds=200).post(server.address, json={}) == {"fine": True}
    seven, date, own = clock.waits
    assert (seven, own) == (7.0, 4.0)
    assert 20 < date <= 40


def test_nobody_waits_longer_than_one_answer_may_take(
    server: JudgeServer, make: Callable[..., Service], clock: Clock
) -> None:
    server.script.append(Answer(503, b"away", {"Retry-After": "3600"}))
    with pytest.raises(
        JudgeError, match=r"answered 503 \(away\), and no more than 120 s may be spent on it. Try again later"
    ):
        make().post(server.address, json={})
    assert clock.waits == []


def test_repetitions_end_and_a_service_that_is_away_is_left_alone(
    server: JudgeServer, make: Callable[..., Service]
) -> None:
    server.script.extend([Answer(500, b"out of order")] * 4)
    service = make(retries=1, backoff=0.5)
    with pytest.raises(JudgeError, match=r"http://127.0.0.1:\d+ answered 500 \(out of order\). Try again later"):
        service.post(server.address, json={})
    with pytest.raises(JudgeError):
        service.post(server.address, json={})
    with pytest.raises(JudgeError, match="it is not asked any more in this run"):
        service.post(server.address, json={})
    assert service.spending.requests == 4


def test_an_answer_that_does_not_end_is_cut_off(server: JudgeServer) -> None:
    server.script.append(FINE)
    clock = Clock()

    def hurried() -> float:
        clock.now += 15
        return clock.now

    service = Service(seconds=60, retries=0, sleep=clock.sleep, clock=hurried)
    with pytest.raises(JudgeError, match="did not end its answer within 60 s"):
        service.post(server.address, json={})


def test_silence_is_a_time_out(server: JudgeServer, make: Callable[..., Service]) -> None:
    server.script.append(Answer(silent=True))
    with pytest.raises(JudgeError, match="did not answer within 0.05 s"):
        make(timeout=0.05, retries=0).post(server.address, json={})


def test_nobody_listens(make: Callable[..., Service]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(JudgeError, match=rf"http://127.0.0.1:{port} cannot be reached \(ConnectionRefusedError"):
            make(retries=0).post(f"http://127.0.0.1:{port}", json={})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(body=b"<html>hello</html>"), r"answered no JSON \(<html>hello</html>\)"),
        (Answer(body=b"[1]"), "answered list, not a mapping"),
        (Answer(body=b"[" * 50_000), "answered no JSON"),
        (Answer(body=b" " * (1 << 16) + b"  {}"), "answered more than 65,536 bytes"),
        (Answer(400, b"bad picture"), r"answered 400 \(bad picture\). See what the service says"),
    ],
)
def test_what_does_not_pass_is_not_asked_again(
    server: JudgeServer, make: Callable[..., Service], answer: Answer, told: str
) -> None:
    server.script.extend([answer, FINE])
    service = make()
    with pytest.raises(JudgeError, match=told):
        service.post(server.address, json={})
    assert service.post(server.address, json={}) == {"fine": True}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_address_that_is_wrong_is_tried_once(
    server: JudgeServer, make: Callable[..., Service], status: int
) -> None:
    server.script.append(Answer(status))
    service = make()
    for _ in range(3):
        with pytest.raises(JudgeError, match=rf"answered {status}.*key"):
            service.post(server.address, json={})
    assert service.spending.requests == 1


def test_what_stays_on_this_machine_goes_by_no_proxy(
    server: JudgeServer, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script.append(FINE)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # Nobody listens there.
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert make(retries=0).post(f"{server.address}/compare", json={}) == {"fine": True}


def test_pictures_do_not_follow_to_another_address(server: JudgeServer, make: Callable[..., Service]) -> None:
    server.script.append(Answer(307, headers={"Location": f"{server.address}/elsewhere"}))
    with pytest.raises(JudgeError, match=r"answered 307 \(\{\}\), to go elsewhere"):
        make().post(server.address, json={})
    assert len(server.sent) == 1


def test_a_rate_spreads_requests_the_repeated_ones_too(
    server: JudgeServer, make: Callable[..., Service], clock: Clock
) -> None:
    server.script.extend([FINE, Answer(500), FINE])
    service = make(rate=0.5, backoff=0.25)
    service.post(server.address, json={})
    service.post(server.address, json={})
    assert clock.waits == [2.0, 0.25, 1.75]


def test_a_budget_bounds_every_request(server: JudgeServer, make: Callable[..., Service]) -> None:
    server.script.extend([FINE, Answer(500)])
    service = make(budget=2, price=1.5)
    service.post(server.address, json={})
    with pytest.raises(JudgeError, match="the budget of 2 requests is used up"):
        service.post(server.address, json={})
    assert (service.spending.requests, service.spending.cost) == (2, 3.0)
    assert len(server.sent) == 2


def test_a_dry_run_counts_and_sends_nothing(server: JudgeServer, make: Callable[..., Service]) -> None:
    service = make(dry_run=True, price=0.25, budget=1)
    assert service.secret("FACECRYPT_NO_SUCH_KEY") == ""
    for _ in range(3):
        with pytest.raises(NotSentError):
            service.post(server.address, json={})
    assert (service.spending.requests, service.spending.unsent, service.spending.cost) == (0, 3, 0.75)
    assert server.sent == []


def test_offline_asks_nobody(
    server: JudgeServer, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    service = make()
    with pytest.raises(JudgeError, match="no connection may be opened"):
        service.post(server.address, json={})
    assert (service.spending.requests, server.sent) == (0, [])


def test_a_key_stands_in_no_message(
    server: JudgeServer, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", " s3cr3t ")
    service = make()
    assert service.secret("SOME_KEY") == "s3cr3t"
    server.script.append(Answer(400, json.dumps({"you sent": "Bearer s3cr3t"}).encode()))
    with pytest.raises(JudgeError) as caught:
        service.post(server.address, json={}, headers={"Authorization": "Bearer s3cr3t"})
    assert "s3cr3t" not in str(caught.value)
    assert "Bearer ***" in str(caught.value)


@pytest.mark.parametrize(("value", "told"), [(None, "is not set"), ("", "is not set"), ("a\nb", "holds no key")])
def test_a_variable_without_a_key(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, value: str | None, told: str
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(FacecryptError, match=f"the environment variable SOME_KEY {told}"):
        make().secret("SOME_KEY")
