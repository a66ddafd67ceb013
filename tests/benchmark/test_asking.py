"""Judges that are asked who somebody is, in a whole benchmark: what they are shown, and what becomes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.judges.pictures import show
from facecrypt.photos.files import read_photo
from tests import judge_server
from tests.judge_server import Answer, JudgeServer
from tests.pictures import DATA

pytestmark = pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
PACK = DATA / "virtual_targets"
PEOPLE = ("v01", "v04", "v08", "v12", "v16")


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server.serve() as running:
        yield running


def write(folder: Path, evaluators: list[dict[str, Any]], **changes: Any) -> Path:
    """Two probes of five people, blackened or as they are: nothing that takes long."""
    lines = ["image,identity,role"]
    for number, person in enumerate(PEOPLE):
        role = "probe" if number < 2 else "target" if number == 2 else "gallery"
        lines += [f"{PACK / person / '0.png'},{person},{role}", f"{PACK / person / '1.png'},{person},gallery"]
        lines += [f"{PACK / person / '2.png'},{person},gallery"]
    (folder / "protocol.csv").write_text("\n".join(lines) + "\n")
    values: dict[str, Any] = {
        "title": "a test",
        "protocol": {"file": str(folder / "protocol.csv")},
        "evaluators": evaluators,
        "methods": [
            {"label": "clean"},
            {"label": "dark", "obfuscation": {"method": "darken", "strength": 0.1}},
        ],
        "output": str(folder / "results"),
        "cache": str(folder / "cache"),
    }
    file = folder / "benchmark.yaml"
    file.write_text(yaml.safe_dump(values | changes))
    return file


def evaluate(folder: Path, evaluators: list[dict[str, Any]], **changes: Any) -> int:
    return cli.main(["evaluate", str(write(folder, evaluators, **changes))])


def rows(folder: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((folder / "results" / "metrics.json").read_text())
    return loaded


def http(server: JudgeServer, **args: Any) -> dict[str, Any]:
    return {"name": "http", "args": {"url": server.address, "ask": "rank", "cost": 0.5, "backoff": 0.0, **args}}


def seen_by(server: JudgeServer) -> list[bytes]:
    files = [file for sent in server.sent for file in sent.pictures]
    return [np.asarray(Image.open(io.BytesIO(file))).tobytes() for file in files]


def test_a_remote_judge_identifies_what_is_protected_and_sees_no_clean_probe(
    server: JudgeServer, tmp_path: Path, detector: FaceDetector
) -> None:
    assert evaluate(tmp_path, [http(server)]) == cli.DONE
    (row,) = rows(tmp_path)
    assert (row["method"], row["evaluator"], row["needs"], row["queries"]) == ("dark", "http", "ranks", 2)
    assert (row["n_gallery"], row["n_probes"], row["no_face"]) == (12, 2, 0)
    assert (row["rank1_ut"], row["rank5_ut"]) == (0, 0), "it is dark, and they are found all the same"
    assert [sent.path for sent in server.sent] == ["/enrol"] * 5 + ["/rank"] * 2
    seen = seen_by(server)
    for person, place in (("v01", "gallery"), ("v01", "probe")):
        photo = read_photo(PACK / person / ("1.png" if place == "gallery" else "0.png"))
        pixels = show(photo, detector.find(photo, "largest")[0]).pixels.tobytes()
        assert (pixels in seen) is (place == "gallery")
    assert not any(person in json.dumps(sent.body.get("person")) for sent in server.sent for person in PEOPLE)
    table = (tmp_path / "results" / "table.md").read_text()
    assert "## Judges that were asked" in table
    assert "7 requests, estimated to cost 3.5" in table


@pytest.mark.slow
def test_clean_probes_are_sent_where_the_benchmark_says_so(server: JudgeServer, tmp_path: Path) -> None:
    assert evaluate(tmp_path, [http(server) | {"send_originals": True}], methods=[{"label": "clean"}]) == cli.DONE
    (row,) = rows(tmp_path)
    assert (row["method"], row["rank1_ut"], row["queries"]) == ("clean", 0, 2)


@pytest.mark.slow
def test_beside_recognisers_it_is_one_more_and_is_left_out_where_it_fails(server: JudgeServer, tmp_path: Path) -> None:
    server.script.extend([*[Answer()] * 5, Answer(403, b"no")])
    assert evaluate(tmp_path, [{"name": "sface"}, http(server)]) == cli.DONE
    found = rows(tmp_path)
    assert [(row["method"], row["evaluator"]) for row in found] == [("clean", "sface"), ("dark", "sface")]
    assert "needs" not in found[0]
    assert "**http could not judge**" in (tmp_path / "results" / "table.md").read_text()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"dry_run": True}, "dry run: 7 requests, estimated to cost 3.5 were counted, and none was made"),
        ({"ask": "compare"}, "http compares, and a benchmark asks who somebody is"),
        ({"key_variable": "FACECRYPT_NO_SUCH_KEY"}, "the environment variable FACECRYPT_NO_SUCH_KEY is not set"),
        ({"budget": 3}, "the budget of 3 requests is used up"),
    ],
)
def test_alone_it_must_judge(
    server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: dict[str, Any], told: str
) -> None:
    assert evaluate(tmp_path, [http(server, **args)]) == cli.WRONG
    assert told in capsys.readouterr().err
    assert len(server.sent) == args.get("budget", 0)


@pytest.mark.slow
def test_a_judge_that_names_nobody_identifies_nobody(server: JudgeServer, tmp_path: Path) -> None:
    server.script.extend([*[Answer()] * 5, *[Answer(body=b'{"matches": []}')] * 2])
    assert evaluate(tmp_path, [http(server)]) == cli.DONE
    (row,) = rows(tmp_path)
    assert (row["rank1_ut"], row["rank1_t"], row["no_face"]) == (100, 0, 0)


@pytest.mark.slow
def test_a_plugins_judge_on_this_machine_sees_everything(tmp_path: Path) -> None:
    pytest.importorskip("facecrypt_example", reason="plugins/facecrypt-example is not installed")
    assert evaluate(tmp_path, [{"name": "thumbnails"}]) == cli.DONE
    assert [(row["method"], row["queries"]) for row in rows(tmp_path)] == [("clean", 2), ("dark", 2)]
