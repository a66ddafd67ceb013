"""Nothing stays with a vendor: not after a failure, and not after a run that was killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import pytest

from facecrypt.errors import JudgeError
from facecrypt.judges.base import Picture
from facecrypt.judges.faceplusplus import FacePlusPlus
from tests.judge_server import Answer
from tests.vendor_servers import FacePlusPlusServer, RekognitionServer, wait_for

KILLED = """
import os, signal, sys
import numpy as np
from facecrypt import registry
from facecrypt.judges.base import Picture
judge = registry.build("judge", "rekognition", {"url": sys.argv[1], "ask": "rank", "rate": None})
judge.enrol("p", [Picture(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8), None)])
print("enrolled", flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[2])) if sys.argv[2] else None
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    "end", ["SIGKILL", pytest.param("SIGINT", marks=pytest.mark.slow), pytest.param("", marks=pytest.mark.slow)]
)
def test_a_run_that_is_ended_leaves_nothing(rekognition: RekognitionServer, end: str) -> None:
    command = [sys.executable, "-c", KILLED, rekognition.address, end]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "enrolled\n", done.stderr
    assert done.returncode == (-getattr(signal, end) if end else 0)
    wait_for(lambda: not rekognition.collections)
    assert [sent.path for sent in rekognition.sent] == ["CreateCollection", "IndexFaces", "DeleteCollection"]


def test_what_cannot_be_deleted_is_told_and_tried_again(
    faceplusplus: FacePlusPlusServer, people: list[Picture]
) -> None:
    judge = FacePlusPlus(url=faceplusplus.address, ask="rank", rate=None, backoff=0.0, retries=0)
    judge.enrol("p", [people[0]])
    (name,) = faceplusplus.sets
    faceplusplus.script.append(Answer(500, b"out of order"))
    with pytest.raises(
        JudgeError, match=f"the collection {name}, in which faces of this run are, could not be deleted"
    ):
        judge.close()
    del judge  # Nobody closes it again.
    gc.collect()
    wait_for(lambda: not faceplusplus.sets)


def test_a_collection_that_may_have_been_made_is_deleted(
    faceplusplus: FacePlusPlusServer, people: list[Picture]
) -> None:
    judge = FacePlusPlus(url=faceplusplus.address, ask="rank", rate=None, backoff=0.0, retries=0)
    faceplusplus.script.append(Answer(500, b"out of order"))
    with pytest.raises(JudgeError, match="out of order"):
        judge.enrol("p", [people[0]])
    judge.close()
    assert [sent.path.rpartition("/")[2] for sent in faceplusplus.sent] == ["create", "delete"]


def test_without_a_process_that_watches_nothing_is_given_away(
    faceplusplus: FacePlusPlusServer, people: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    judge = FacePlusPlus(url=faceplusplus.address, ask="rank")
    with pytest.raises(JudgeError, match="no process can be started that would delete what faceplusplus keeps"):
        judge.enrol("p", [people[0]])
    judge.close()
    assert faceplusplus.sent == []
