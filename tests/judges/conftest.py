from __future__ import annotations

from collections.abc import Iterator

import pytest

from facecrypt.judges.base import Picture
from facecrypt.judges.pictures import people_of_nowhere
from tests import judge_server
from tests.judge_server import JudgeServer


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server.serve() as running:
        yield running


@pytest.fixture(scope="session")
def people() -> list[Picture]:
    """Four people who do not exist."""
    return people_of_nowhere(4)
