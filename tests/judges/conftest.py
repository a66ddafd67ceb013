from __future__ import annotations

from collections.abc import Iterator

import pytest

from facecrypt.judges.base import Picture
from facecrypt.judges.pictures import people_of_nowhere
from tests import judge_server, vendor_servers
from tests.judge_server import JudgeServer
from tests.vendor_servers import FacePlusPlusServer, RekognitionServer


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server.serve() as running:
        yield running


@pytest.fixture
def faceplusplus(monkeypatch: pytest.MonkeyPatch) -> Iterator[FacePlusPlusServer]:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(FacePlusPlusServer()) as running:
        yield running


@pytest.fixture
def rekognition(monkeypatch: pytest.MonkeyPatch) -> Iterator[RekognitionServer]:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(RekognitionServer()) as running:
        yield running


@pytest.fixture(scope="session")
def people() -> list[Picture]:
    """Four people who do not exist."""
    return people_of_nowhere(4)
