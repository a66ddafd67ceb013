"""The judge over HTTP: what it sends, and what it makes of every answer."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecrypt import registry
from facecrypt.errors import JudgeError
from facecrypt.judges.base import Match, Opinion, Picture
from facecrypt.judges.http import Http
from tests.judge_server import Answer, JudgeServer


def says(**answer: Any) -> Answer:
    return Answer(body=json.dumps(answer).encode())


def test_it_compares_what_the_pictures_show(server: JudgeServer, people: list[Picture]) -> None:
    judge = Http(url=f"{server.address}/")
    assert judge.compare(people[0], people[0]) == Opinion(100.0, True)
    different = judge.compare(people[0], people[1])
    assert different.same is False
    assert different.similarity is not None
    assert different.similarity < 90
    assert [sent.path for sent in server.sent] == ["/compare", "/compare"]
    assert "Authorization" not in server.sent[0].headers
    first, second = server.sent[1].pictures
    for picture, file in zip(people, (first, second), strict=False):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), picture.pixels)
        assert Image.open(io.BytesIO(file)).info == {}, "metadata"


def test_it_ranks_whom_it_was_given(server: JudgeServer, people: list[Picture]) -> None:
    judge = Http(url=server.address, ask="rank")
    for number, picture in enumerate(people[:3]):
        judge.enrol(f"p{number}", [picture])
    first, *others = judge.rank(people[1], 2)
    assert (first, len(others)) == (Match("p1", 100.0), 1)
    assert Http(url=server.address, ask="rank", threshold=99.0).rank(people[1], 2) == [first]


def test_large_pictures_are_shrunk(server: JudgeServer, people: list[Picture]) -> None:
    Http(url=server.address, largest_side=64).compare(people[0], people[0])
    assert max(Image.open(io.BytesIO(server.sent[0].pictures[0])).size) == 64


@pytest.mark.parametrize(("header", "sent"), [("Authorization", "Bearer k3y"), ("X-Api-Key", "k3y")])
def test_the_key_comes_from_the_environment(
    server: JudgeServer, people: list[Picture], monkeypatch: pytest.MonkeyPatch, header: str, sent: str
) -> None:
    monkeypatch.setenv("MY_KEY", "k3y")
    Http(url=server.address, key_variable="MY_KEY", key_header=header).compare(people[0], people[1])
    assert server.sent[0].headers[header] == sent


@pytest.mark.parametrize(
    ("answer", "opinion"),
    [
        (says(similarity=12), Opinion(12.0, None)),
        (says(same=True), Opinion(None, True)),
        (says(similarity=None, same=False, found=None), Opinion(None, False)),
        (says(found=False), Opinion(None, None, False)),
    ],
)
def test_what_is_left_out_is_not_known(
    server: JudgeServer, people: list[Picture], answer: Answer, opinion: Opinion
) -> None:
    server.script.append(answer)
    assert Http(url=server.address).compare(people[0], people[1]) == opinion


def test_a_threshold_decides_where_the_service_does_not(server: JudgeServer, people: list[Picture]) -> None:
    server.script.extend([says(similarity=80), says(similarity=79.9), says(similarity=10, same=True)])
    judge = Http(url=server.address, threshold=80)
    assert [judge.compare(*people[:2]).same for _ in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (says(similarity="high"), "answered similarity of type str, not a number or null"),
        (says(similarity=True), "answered similarity of type bool"),
        (Answer(body=b'{"similarity": NaN}'), "answered similarity of type float"),
        (Answer(body=b'{"similarity": ' + b"9" * 400 + b"}"), "answered similarity of type int"),
        (says(same="yes"), "answered same of type str, not true, false or null"),
        (says(same=1), "answered same of type int"),
        (says(found=0, same=True), "answered found of type int"),
        (says(), "answered neither similarity nor same"),
    ],
)
def test_answers_of_wrong_types(server: JudgeServer, people: list[Picture], answer: Answer, told: str) -> None:
    server.script.append(answer)
    with pytest.raises(JudgeError, match=rf"/compare {told}"):
        Http(url=server.address).compare(people[0], people[1])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (says(), "answered matches of type NoneType, not a list of mappings"),
        (says(matches=["p1"]), "answered matches of type list"),
        (says(matches=[{}]), "answered person of type NoneType, not a text"),
        (says(matches=[{"person": "x" * 201}]), "answered person of type str"),
        (says(matches=[{"person": "p1", "similarity": []}]), "answered similarity of type list"),
    ],
)
def test_rankings_of_wrong_types(server: JudgeServer, people: list[Picture], answer: Answer, told: str) -> None:
    server.script.append(answer)
    with pytest.raises(JudgeError, match=rf"/rank {told}"):
        Http(url=server.address, ask="rank").rank(people[0], 3)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"url": "server/path"}, "is no web address"),
        ({"url": "http://server/path"}, "would send pictures unencrypted"),
        ({"url": "https://me:word@server"}, "holds more than an address"),
        ({"url": "https://server?key=1"}, "holds more than an address"),
        ({"url": "https://[::1"}, "is no web address"),
        ({"url": "ftp://server"}, "is no web address"),
        ({"key_variable": "sk-live-123"}, "is no name of an environment variable"),
        ({"key_header": "X Key"}, "pattern"),
        ({"rate": 0}, "greater than 0"),
        ({"budget": -1}, "greater than or equal to 0"),
        ({"cost": -0.1}, "greater than or equal to 0"),
        ({"key": "k3y"}, "unknown argument 'key'"),
        ({"ask": "identify"}, "'compare' or 'rank'"),
    ],
)
def test_wrong_arguments_are_found_when_a_recipe_is_checked(args: dict[str, Any], told: str) -> None:
    (fault,) = registry.get("judge", "http").bind(args)[1]
    assert told in fault


@pytest.mark.parametrize(
    "url", ["https://server", "https://server:8443/v1/", "http://localhost:80", "http://[::1]:9/x"]
)
def test_addresses_that_are_fine(url: str) -> None:
    assert registry.get("judge", "http").bind({"url": url})[1] == []
