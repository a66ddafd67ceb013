"""Judges in whole runs, over HTTP against a server of this machine, which sees no original and fails in every way."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError, RecipeError
from facecrypt.judges.pictures import show
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.hearings import devices_for
from facecrypt.pipeline.runner import run
from facecrypt.recipe.check import check_recipe
from facecrypt.report.writer import Report
from tests import judge_server
from tests.judge_server import Answer, JudgeServer
from tests.pictures import DATA

pytestmark = pytest.mark.filterwarnings("ignore::facecrypt.errors.FacecryptWarning")
PACK = DATA / "virtual_targets"
QUICK = {
    "surrogates": [{"name": "sface"}],
    "targets": "virtual",
    "max_targets": 2,
    "target_selector": {"name": "nearest"},
    "steps": 1,
    "step_size": 8,
    "receipt": {"transforms": []},
    "trainer": {"accelerator": "cpu"},
}

SEARCH = {"name": "random_squares", "args": {"queries": 2}}
"""A method of which nothing is expected, by a surrogate that is told apart: judges alone decide."""


@pytest.fixture(autouse=True)
def plugin() -> None:
    pytest.importorskip("facecrypt_example", reason="plugins/facecrypt-example is not installed")


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server.serve() as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The photo to protect: of v04, as a file of its own."""
    path = tmp_path / "photos" / "me.png"
    path.parent.mkdir()
    shutil.copy(PACK / "v04" / "2.png", path)
    return path


@pytest.fixture
def people(tmp_path: Path, photo: Path) -> Path:
    """Photos that a judge may have; by mistake, a copy of the photo to protect is among them."""
    folder = tmp_path / "people"
    for name, person in (("ann-roe", "v01"), ("jane-doe", "v04")):
        (folder / name).mkdir(parents=True)
        shutil.copy(PACK / person / "1.png", folder / name)
    shutil.copy(photo, folder / "jane-doe" / "copy.png")
    return folder


def protect(photo: Path, slot: dict[str, Any], **keys: Any) -> Report:
    output = photo.parents[1] / "out"
    return run(check_recipe({**QUICK, "photos": str(photo.parent), "output": str(output), "held_out": [slot], **keys}))


def http(server: JudgeServer, **slot: Any) -> dict[str, Any]:
    args = {"url": server.address, "retries": 1, "backoff": 0.0, "timeout": 20.0, **slot.pop("args", {})}
    return {"name": "http", "args": args, **slot}


def verdict_of(report: Report, name: str = "http") -> dict[str, Any]:
    ((face,),) = [photo["faces"] for photo in report.photos]
    verdict: dict[str, Any] = face["recognisers"][name]
    return verdict


def shown_of(path: Path, detector: FaceDetector) -> NDArray[np.uint8]:
    photo = read_photo(path)
    return show(photo, detector.find(photo, "largest")[0]).pixels


def is_among(pixels: NDArray[np.uint8], server: JudgeServer) -> bool:
    """Return whether a server has seen a picture, or the larger part of it at some place of a larger one."""
    core = pixels[10:-10, 10:-10]
    for file in (file for sent in server.sent for file in sent.pictures):
        seen = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        rows, columns = (max(0, seen.shape[axis] - core.shape[axis]) for axis in (0, 1))
        for top in range(rows + 1):
            for left in range(columns + 1):
                part = seen[top : top + core.shape[0], left : left + core.shape[1]]
                alike = part.shape == core.shape and (part[::20, ::20] == core[::20, ::20]).mean() > 0.8
                if alike and (part == core).mean() > 0.95:
                    return True
    return False


@pytest.mark.parametrize("ask", ["compare", pytest.param("rank", marks=pytest.mark.slow)])
def test_an_original_never_reaches_a_remote_judge(
    server: JudgeServer, photo: Path, people: Path, detector: FaceDetector, ask: str
) -> None:
    report = protect(photo, http(server, args={"ask": ask}, enrol=str(people)))
    original, saved = shown_of(photo, detector), shown_of(Path(report.photos[0]["output"]), detector)
    assert is_among(saved, server), "else nothing was shown, and the next line says nothing"
    assert not is_among(original, server)
    for sent in server.sent:
        told = json.dumps(sent.body)
        assert base64.b64encode(photo.read_bytes()).decode()[:200] not in told
        assert "jane-doe" not in told, "it is told whose face it is"
    verdict = verdict_of(report)
    assert (verdict["person"], verdict["cannot_judge"]) == ("jane-doe", "")
    assert verdict["still_recognised"] is not None
    assert any("1 of the photos" in note and "are to be protected" in note for note in report.notes)


def test_an_original_is_sent_where_the_recipe_says_so(server: JudgeServer, photo: Path, detector: FaceDetector) -> None:
    report = protect(photo, http(server, args={"cost": 0.5}, send_originals=True))
    assert is_among(shown_of(photo, detector), server)
    verdict = verdict_of(report)
    assert (verdict["asked"], verdict["named"], verdict["white_box"]) == ("pair", None, False)
    assert verdict["still_recognised"] is (verdict["similarity"] >= judge_server.SAME)
    assert report.judges == [
        {
            "name": "http", "remote": True, "asked": "pair", "originals_sent": True, "enrolled": None, "requests": 3,
            "unsent": 0, "price": 0.5, "cost": 1.5, "not_judged": 0,
        }
    ]  # fmt: skip
    stored = json.loads((photo.parents[1] / "out" / "report.json").read_text())
    assert stored["judges"] == report.judges
    assert stored["recipe"]["held_out"][0]["send_originals"] is True
    sentence = report.photos[0]["faces"][0]["sentence"]
    assert sentence.startswith("http, which gave no gradients,")
    assert "on its own scale" in sentence


@pytest.mark.parametrize(("same", "outcome"), [pytest.param(True, "weak", marks=pytest.mark.slow), (False, "pass")])
def test_its_own_word_counts(server: JudgeServer, photo: Path, same: bool, outcome: str) -> None:
    fine = [{"same": True}, {"same": False}, {"same": same}]
    server.script.extend(Answer(body=json.dumps(each).encode()) for each in fine)
    report = protect(photo, http(server, send_originals=True), method=SEARCH)
    assert report.verdict == outcome
    assert verdict_of(report)["similarity"] is None
    assert "no face is found" not in report.photos[0]["faces"][0]["sentence"]
    assert "it tells no similarity" in report.photos[0]["faces"][0]["sentence"]
    page = (photo.parents[1] / "out" / "report.html").read_text()
    assert "decides by itself, beside the original" in page
    assert "not found" not in page.split("<table")[-1]


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([Answer(401)], "it does not accept the key"),
        pytest.param([Answer(500)] * 2, "answered 500", marks=pytest.mark.slow),
        pytest.param([Answer(body=b"oh")], "answered no JSON", marks=pytest.mark.slow),
        pytest.param([Answer(body=b'{"same": 3}')], "answered same of type int", marks=pytest.mark.slow),
    ],
)
def test_a_judge_that_fails_leaves_the_photo_and_no_verdict(
    server: JudgeServer, photo: Path, failures: list[Answer], told: str
) -> None:
    fine = [Answer(body=json.dumps({"same": same}).encode()) for same in (True, False)]
    server.script.extend([*fine, *failures])
    report = protect(photo, http(server, send_originals=True), method=SEARCH)
    assert [each["status"] for each in report.photos] == ["written"]
    assert report.verdict == "not judged"
    assert told in verdict_of(report)["cannot_judge"]
    assert any("http did not judge 1 face" in note and told in note for note in report.notes)


def test_one_that_fails_from_the_start_is_told_before_the_first_mask(server: JudgeServer, photo: Path) -> None:
    server.script.append(Answer(403))
    report = protect(photo, http(server, send_originals=True), method=SEARCH)
    assert report.verdict == "not judged"
    assert len(server.sent) == 1
    assert any(note.startswith("http could not judge: ") for note in report.notes)
    assert any("no held-out recogniser judged this run" in note for note in report.notes)


@pytest.mark.slow
def test_after_a_failure_that_passes_it_judges(server: JudgeServer, photo: Path) -> None:
    server.script.extend([Answer(429, headers={"Retry-After": "0"}), Answer(500)])
    report = protect(photo, http(server, args={"retries": 2}, send_originals=True))
    assert verdict_of(report)["cannot_judge"] == ""
    assert report.judges is not None
    assert report.judges[0]["requests"] == 5


def test_a_dry_run_asks_nobody(server: JudgeServer, photo: Path, people: Path) -> None:
    args = {"dry_run": True, "cost": 0.25, "key_variable": "FACECRYPT_NO_SUCH_KEY"}
    report = protect(photo, http(server, args=args, enrol=str(people)), method=SEARCH)
    assert server.sent == []
    assert verdict_of(report)["cannot_judge"] == "dry run: nothing was sent"
    assert any("dry run: 3 requests were counted, estimated to cost 0.75 in all" in note for note in report.notes)
    assert report.verdict == "not judged"


def test_the_key_is_written_nowhere(
    server: JudgeServer, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUR_KEY", "s3cr3t-k3y")
    server.script.extend([Answer(400, b'{"key": "s3cr3t-k3y"}')])
    recipe = photo.parents[1] / "recipe.yaml"
    slot = http(server, args={"key_variable": "OUR_KEY"}, send_originals=True)
    output = photo.parents[1] / "out"
    recipe.write_text(
        json.dumps({**QUICK, "photos": str(photo.parent), "output": str(output), "held_out": [slot]}), encoding="utf-8"
    )
    assert cli.main(["run", str(recipe), "method={name: random_squares, args: {queries: 2}}"]) == cli.WEAK
    assert server.sent[0].headers["Authorization"] == "Bearer s3cr3t-k3y"
    shown = capsys.readouterr()
    assert "answered 400" in shown.out + shown.err
    assert "s3cr3t" not in shown.out + shown.err
    assert not [path for path in output.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]


def test_a_key_that_is_not_set_ends_the_run_before_it_begins(server: JudgeServer, photo: Path) -> None:
    slot = http(server, args={"key_variable": "FACECRYPT_NO_SUCH_KEY"}, send_originals=True)
    with pytest.raises(FacecryptError, match="the environment variable FACECRYPT_NO_SUCH_KEY is not set"):
        protect(photo, slot)
    assert not (photo.parents[1] / "out").exists() or not list((photo.parents[1] / "out").glob("*.png"))
    report = protect(photo, {**slot, "optional": True}, method=SEARCH)
    assert any("held-out http does not judge this run" in note for note in report.notes)
    assert server.sent == []


def test_what_was_judged_is_not_asked_again(server: JudgeServer, photo: Path) -> None:
    slot = http(server, send_originals=True)
    first = protect(photo, slot, method=SEARCH)
    asked = len(server.sent)
    again = protect(photo, slot, method=SEARCH)
    assert len(server.sent) == asked
    assert again.photos[0]["carried_over"]
    assert verdict_of(again) == verdict_of(first)
    assert again.judges is not None
    assert again.judges[0]["requests"] == 0


@pytest.mark.slow
def test_what_was_not_judged_yet_is_asked_later_and_the_rest_stays(server: JudgeServer, photo: Path) -> None:
    dry = protect(photo, http(server, args={"dry_run": True}, send_originals=True), method=SEARCH)
    assert server.sent == []
    slot = http(server, send_originals=True)
    server.script.extend([*[Answer(body=json.dumps({"same": same}).encode()) for same in (True, False)], Answer(400)])
    failed = protect(photo, slot, method=SEARCH)
    assert "answered 400" in verdict_of(failed)["cannot_judge"]
    judged = protect(photo, slot, method=SEARCH)
    assert verdict_of(judged)["cannot_judge"] == ""
    assert [report.verdict for report in (dry, failed)] == ["not judged"] * 2
    assert judged.verdict in ("weak", "pass")
    assert "http, which" in judged.photos[0]["faces"][0]["sentence"]
    assert len(server.sent) == 6
    for report in (failed, judged):
        assert report.photos[0]["carried_over"]
        assert report.photos[0]["faces"][0]["seconds"] == dry.photos[0]["faces"][0]["seconds"]
    protect(photo, slot, method=SEARCH)
    assert len(server.sent) == 6


def test_judges_are_asked_by_one_process() -> None:
    hearing: Any = object()
    assert devices_for([hearing], "auto") == 1
    assert devices_for([], "auto") == "auto"
    assert devices_for([hearing], 2) == 2


def test_a_recogniser_is_asked_as_a_service_is(photo: Path, people: Path) -> None:
    report = protect(photo, {"name": "sface", "enrol": str(people)}, surrogates=[{"name": "dlib_resnet"}])
    verdict = verdict_of(report, "sface")
    assert (verdict["asked"], verdict["person"]) == ("ranking", "jane-doe")
    assert verdict["still_recognised"] is (verdict["named"] == "jane-doe")
    assert report.judges is not None
    assert report.judges[0]["remote"] is False


def test_a_plugins_judge_that_only_ranks(photo: Path, people: Path) -> None:
    report = protect(photo, {"name": "facecrypt-example/thumbnails", "enrol": str(people)})
    verdict = verdict_of(report, "facecrypt-example/thumbnails")
    assert (verdict["named"], verdict["still_recognised"], verdict["similarity"]) == ("jane-doe", True, None)
    assert report.verdict == "weak"
    assert "it names jane-doe" in report.photos[0]["faces"][0]["sentence"]


@pytest.mark.parametrize(
    ("slot", "keys", "told"),
    [
        ({"name": "http"}, {}, r"held_out\[0\] \(http\): may show pictures to others, so it is shown no original face"),
        ({"name": "http", "enrol": "f", "send_originals": True}, {}, "is given enrol, so it needs no original"),
        ({"name": "sface", "send_originals": True}, {}, "send_originals is for judges that are not on this machine"),
        ({"name": "http", "send_originals": True}, {"trainer": {"num_nodes": 2}}, "trainer starts several"),
        ({"name": "htp", "send_originals": True}, {}, "no judge or surrogate named 'htp'. Did you mean 'http'"),
        ({"name": "http", "args": {"url": "x"}, "send_originals": True}, {}, "is no web address"),
        ({"name": "http", "enroll": "f"}, {}, "unknown key. Did you mean 'enrol'"),
    ],
)
def test_what_is_wrong_is_found_when_the_recipe_is_checked(
    slot: dict[str, Any], keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        check_recipe({"surrogates": [{"name": "dlib_resnet"}], "held_out": [slot], **keys})


def test_a_service_that_ranks_needs_people(server: JudgeServer, photo: Path) -> None:
    with pytest.raises(RecipeError, match="ranks people, and none is enrolled"):
        protect(photo, http(server, args={"ask": "rank"}, send_originals=True))


def test_check_tells_what_it_costs(
    server: JudgeServer, photo: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = photo.parents[1] / "recipe.yaml"
    values = {**QUICK, "photos": str(photo.parent), "held_out": [http(server, args={"cost": 0.5}, enrol=str(people))]}
    recipe.write_text(json.dumps(values), encoding="utf-8")
    ways = {
        "held_out[0].args.budget=3": "at most 4 requests for 1 photo with one face, none of them repeated, 2 by the "
        "price that the recipe tells; its budget is 3, which is too few: some faces are not judged",
        "held_out[0].args.ask=rank": "at most 4 requests for 1 photo with one face",
        "held_out[0].args.dry_run=true": "dry_run: none is made",
        "held_out[0].args.key_variable=FACECRYPT_NO_SUCH_KEY": "its key is not set here: FACECRYPT_NO_SUCH_KEY",
        "photos=-": "what it costs is not known, as the photos do not lie in a folder",
        "photos=/nowhere": "what it costs is not known: ",
    }
    for override, told in ways.items():
        assert cli.main(["check", str(recipe), override]) == cli.DONE
        first, second = capsys.readouterr().out.splitlines()
        assert first.endswith("no problems")
        assert second.startswith("held_out[0] (http): ")
        assert told in second
    assert server.sent == []
