"""Face++ and Amazon Rekognition as held-out judges of a run, by servers that behave as documented."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from facecrypt.cli import main as cli
from facecrypt.pipeline.runner import run
from facecrypt.recipe.check import check_recipe
from facecrypt.report.writer import Report
from tests import vendor_servers
from tests.pictures import DATA
from tests.vendor_servers import FacePlusPlusServer, RekognitionServer

pytestmark = pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
PACK = DATA / "virtual_targets"
SERVERS = {"faceplusplus": FacePlusPlusServer, "rekognition": RekognitionServer}
RECIPE: dict[str, Any] = {
    "surrogates": [{"name": "sface"}],
    "targets": "virtual",
    "max_targets": 2,
    "steps": 1,
    "receipt": {"transforms": []},
    "trainer": {"accelerator": "cpu"},
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_servers.set_keys(monkeypatch)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The photo to protect, and photos of two people beside it that a judge may have."""
    for name, person in (("ann-roe", "v01"), ("jane-doe", "v04")):
        (tmp_path / "people" / name).mkdir(parents=True)
        shutil.copy(PACK / person / "1.png", tmp_path / "people" / name)
    path = tmp_path / "photos" / "me.png"
    path.parent.mkdir()
    shutil.copy(PACK / "v04" / "2.png", path)
    return path


def recipe(photo: Path, name: str, address: str, slot: dict[str, Any], **args: Any) -> dict[str, Any]:
    given = {"url": address, "rate": None, "backoff": 0.0, **args}
    held_out = [{"name": name, "args": given, **slot}]
    return RECIPE | {"photos": str(photo.parent), "output": str(photo.parents[1] / "out"), "held_out": held_out}


def protect(photo: Path, name: str, address: str, slot: dict[str, Any], **args: Any) -> Report:
    return run(check_recipe(recipe(photo, name, address, slot, **args)))


@pytest.mark.parametrize("name", ["faceplusplus", pytest.param("rekognition", marks=pytest.mark.slow)])
def test_a_vendor_that_ranks_gives_a_verdict_and_keeps_nothing(name: str, photo: Path) -> None:
    with vendor_servers.serve(SERVERS[name]()) as server:
        people = {"enrol": str(photo.parents[1] / "people")}
        report = protect(photo, name, server.address, people, ask="rank", cost=0.5)
    ((face,),) = [each["faces"] for each in report.photos]
    verdict = face["recognisers"][name]
    assert (verdict["person"], verdict["cannot_judge"], verdict["asked"]) == ("jane-doe", "", "ranking")
    assert verdict["still_recognised"] is (verdict["named"] == "jane-doe")
    assert (server.sets if isinstance(server, FacePlusPlusServer) else server.collections) == {}
    (account,) = report.judges or []
    # A set, two faces in it, who is known is tried, who is protected is asked about, and the set goes.
    requests = 1 + (4 if name == "faceplusplus" else 2) + 1 + 1 + 1
    assert (account["requests"], account["cost"]) == (len(server.sent), requests / 2)
    written = (photo.parents[1] / "out" / "report.json").read_text()
    assert vendor_servers.SECRET not in written
    assert "jane-doe" not in json.dumps([sent.body for sent in server.sent])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faceplusplus", "rekognition"])
def test_a_vendor_that_compares_gives_a_verdict(name: str, photo: Path) -> None:
    with vendor_servers.serve(SERVERS[name]()) as server:
        args = {"threshold": 90.0} if name == "rekognition" else {}
        report = protect(photo, name, server.address, {"send_originals": True}, **args)
    ((face,),) = [each["faces"] for each in report.photos]
    verdict = face["recognisers"][name]
    assert (verdict["still_recognised"], verdict["asked"], verdict["cannot_judge"]) == (True, "pair", "")
    assert len(server.sent) == 3, "two to try it, and one about the face"


@pytest.mark.parametrize("name", ["faceplusplus", "rekognition"])
def test_check_says_what_a_vendor_costs_and_asks_nobody(
    name: str, photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv({"faceplusplus": "FACEPLUSPLUS_SECRET"}.get(name, "AWS_SECRET_ACCESS_KEY"))
    path = photo.parents[1] / "recipe.yaml"
    slot = {"enrol": str(photo.parents[1] / "people")}
    with vendor_servers.serve(SERVERS[name]()) as server:
        path.write_text(json.dumps(recipe(photo, name, server.address, slot, ask="rank", cost=0.5, budget=100)))
        assert cli.main(["check", str(path)]) == cli.DONE
    requests = 1 + (4 if name == "faceplusplus" else 2) + 1 + 1 + 1
    told = capsys.readouterr().out
    assert f"held_out[0] ({name}): at most {requests} requests for 1 photo with one face" in told
    assert f"{requests / 2:g} by the price that the recipe tells; its budget is 100, which is enough" in told
    assert "; its key is not set here: " in told
    assert "_SECRET" in told
    assert server.sent == []
