"""Face++ and Amazon Rekognition as evaluators of a whole benchmark, by servers that behave as documented."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.judges.pictures import show
from facecrypt.photos.files import read_photo
from tests import vendor_servers
from tests.benchmark.test_asking import PACK, evaluate, rows, write
from tests.judge_server import Answer
from tests.vendor_servers import FacePlusPlusServer, RekognitionServer, pixels_of, throttled, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
SERVERS = {"faceplusplus": FacePlusPlusServer, "rekognition": RekognitionServer}
NO_THRESHOLD = {"faceplusplus": {"false_matches": None}, "rekognition": {"threshold": None}}
REQUESTS = {"faceplusplus": 2 + 12 + 5, "rekognition": 2 + 12}
"""To enrol twelve photos of five people, and to delete them."""


def kept(server: FacePlusPlusServer | RekognitionServer) -> dict[str, Any]:
    return dict(server.sets if isinstance(server, FacePlusPlusServer) else server.collections)


def slot(name: str, address: str, **args: Any) -> dict[str, Any]:
    given = {"url": address, "ask": "rank", "cost": 0.5, "backoff": 0.0, "rate": None, **NO_THRESHOLD[name], **args}
    return {"name": name, "args": given}


@pytest.mark.parametrize("name", [pytest.param("faceplusplus", marks=pytest.mark.slow), "rekognition"])
def test_a_vendor_identifies_what_is_protected_and_keeps_nothing(
    name: str, tmp_path: Path, detector: FaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(SERVERS[name]()) as server:
        server.script.append(throttled({"faceplusplus": "CONCURRENCY_LIMIT_EXCEEDED"}.get(name, "ThrottlingException")))
        assert evaluate(tmp_path, [slot(name, server.address)]) == cli.DONE
    (row,) = rows(tmp_path)
    assert (row["method"], row["evaluator"], row["needs"], row["queries"]) == ("dark", name, "ranks", 2)
    assert (row["n_gallery"], row["n_probes"], row["no_face"]) == (12, 2, 0)
    assert (row["rank1_ut"], row["rank5_ut"]) == (0, 0), "it is dark, and they are found all the same"
    seen = [pixels_of(file).tobytes() for file in server.pictures()]
    for place, number in (("gallery", 1), ("probe", 0)):
        photo = read_photo(PACK / "v01" / f"{number}.png")
        pixels = show(photo, detector.find(photo, "largest")[0]).pixels.tobytes()
        assert (pixels in seen) is (place == "gallery"), "clean probes are withheld"
    assert kept(server) == {}
    requests = REQUESTS[name] + 2 + 1  # two probes, and one request again
    assert len(server.sent) == requests
    assert f"{requests} requests, estimated to cost {requests / 2:g}" in (tmp_path / "results" / "table.md").read_text()
    for file in (tmp_path / "results").rglob("*"):
        assert not file.is_file() or vendor_servers.SECRET.encode() not in file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faceplusplus", "rekognition"])
def test_a_dry_run_counts_all_that_would_be_asked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(SERVERS[name]()) as server:
        assert evaluate(tmp_path, [slot(name, server.address, dry_run=True)]) == cli.WRONG
    requests = REQUESTS[name] + 2
    told = f"dry run: {requests} requests, estimated to cost {requests / 2:g} were counted, and none was made"
    assert told in capsys.readouterr().err
    assert server.sent == []


@pytest.mark.parametrize("name", [pytest.param("faceplusplus", marks=pytest.mark.slow), "rekognition"])
def test_after_a_failure_nothing_is_kept(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(SERVERS[name]()) as server:
        refusal = {"faceplusplus": b'{"error_message": "INVALID_IMAGE_SIZE:image_base64"}'}
        server.script.extend([None, Answer(400, refusal.get(name, b'{"__type": "ImageTooLargeException"}'))])
        assert evaluate(tmp_path, [slot(name, server.address)]) == cli.WRONG
    assert "evaluators: none of them could judge" in capsys.readouterr().err
    assert len(server.sent) == 3, "its collection is made, a picture is refused, and the collection goes"
    assert kept(server) == {}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_after_ctrl_c_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_servers.set_keys(monkeypatch)
    with vendor_servers.serve(RekognitionServer()) as server:
        file = write(tmp_path, [slot("rekognition", server.address, rate=0.5)])
        command = [sys.executable, "-m", "facecrypt", "evaluate", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            wait_for(lambda: any(server.collections.values()))
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=60)
        assert "facecrypt: stopped: " in told
        wait_for(lambda: not server.collections)
    assert "SearchFacesByImage" not in {sent.path for sent in server.sent}


def test_a_vendor_without_a_key_is_left_out_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEPLUSPLUS_KEY", raising=False)
    lonely = slot("faceplusplus", "https://faces.example") | {"optional": True}
    assert evaluate(tmp_path, [lonely]) == cli.WRONG
    told = capsys.readouterr().err
    assert "evaluator faceplusplus does not judge this benchmark: the environment variable FACEPLUSPLUS_KEY" in told
    assert "evaluators: none of them could judge (faceplusplus: the environment variable FACEPLUSPLUS_KEY" in told
    assert not (tmp_path / "results" / "photos").exists()
