"""``facecrypt run`` with photos as arguments: where protected ones go, and what a second run does."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.cli.commands import run as command
from facecrypt.pipeline import runner
from tests import processes

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "tests" / "judged.yaml")
QUICK = [
    "steps=1", "max_targets=2", "target_selector={name: nearest}", "trainer.accelerator=cpu", "receipt.transforms=[]",
    "budget=null", "held_out=[]",
]  # fmt: skip
AGAIN = """
import sys
from facecrypt.cli.main import main
status = main(sys.argv[1:])
print("heavy:", sorted({"torch", "lightning", "kornia"} & sys.modules.keys()), file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder of two photos with a face and one without, protected beside the originals; what was printed."""
    folder = tmp_path_factory.mktemp("first")
    picture = Image.open(runner.sample_photo()).convert("RGB")
    (folder / "holiday" / "day 1").mkdir(parents=True)
    picture.crop((100, 0, 356, 256)).save(folder / "holiday" / "a.jpg")
    picture.crop((90, 0, 346, 256)).save(folder / "holiday" / "day 1" / "b.png")
    Image.new("RGB", (300, 200), "green").save(folder / "holiday" / "sea.jpg")
    (folder / "holiday" / "notes.txt").write_text("notes")
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = cli.main(["holiday", RECIPE, *QUICK, "--allow-weak"])
    finally:
        os.chdir(before)
    assert status == cli.SOME_FAILED, err.getvalue()  # One shows no face.
    return folder, out.getvalue(), err.getvalue()


@pytest.fixture
def there(first: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    folder = tmp_path / "there"
    shutil.copytree(first[0], folder)
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def task(*words: str) -> command._Task:
    from facecrypt.cli.words import sort_words

    arguments = cli.parse(["run", *words])
    return command._read(sort_words(arguments.words, arguments.recipe), arguments)


def names(given: command._Task) -> dict[str, str]:
    assert given.chosen is not None
    return {str(source): str(destination) for source, destination in given.chosen}


def test_protected_photos_lie_beside_their_originals(first: tuple[Path, str, str]) -> None:
    folder, out, err = first
    assert files(folder / "holiday") == {
        "a.jpg", "a_protected.jpg", "sea.jpg", "notes.txt", "facecrypt-manifest.json",
        "day 1/b.png", "day 1/b_protected.png", "day 1/facecrypt-manifest.json",
        *(f"facecrypt-report/{name}" for name in ("manifest.json", "recipe.yaml", "report.html", "report.json")),
    }  # fmt: skip
    assert files(folder) == {f"holiday/{name}" for name in files(folder / "holiday")}
    assert "written: holiday/day 1/b.png -> holiday/day 1/b_protected.png" in out
    assert "report: holiday/facecrypt-report/report.html" in out
    # Nobody did anything wrong, so nobody is warned.
    assert err == "facecrypt: holiday: left out 1 file of unknown kind (1 .txt); a photo of another extension can be "\
        "named itself\n"  # fmt: skip


def test_a_second_run_loads_no_model_and_changes_nothing(there: Path) -> None:
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    words = ["run", "holiday", RECIPE, *QUICK, "--allow-weak", "--json"]
    done = processes.run([sys.executable, "-c", AGAIN, *words], environment=environment, folder=there)
    assert done.returncode == cli.SOME_FAILED
    assert done.stderr.endswith("heavy: []\n"), done.stderr
    told = json.loads(done.stdout)
    states = {photo["source"]: (photo["status"], photo["already"], len(photo["faces"])) for photo in told["photos"]}
    assert states == {
        "holiday/a.jpg": ("unchanged", True, 1),
        "holiday/day 1/b.png": ("unchanged", True, 1),
        "holiday/sea.jpg": ("unchanged", False, 0),
    }
    assert told["report"] == "holiday/facecrypt-report/report.json"
    assert "a.jpg: was written before with these settings, as holiday/a_protected.jpg." in done.stderr
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == before
    # So it does from another folder, where all have other names.
    words = ["a.jpg", *words[2:]]
    done = processes.run([sys.executable, "-c", AGAIN, *words], environment=environment, folder=there / "holiday")
    assert done.stderr.endswith("heavy: []\n"), done.stderr
    (photo,) = json.loads(done.stdout)["photos"]
    assert (done.returncode, photo["output"], len(photo["faces"])) == (cli.DONE, "a_protected.jpg", 1)


def test_what_was_made_is_no_input(there: Path) -> None:
    made = {"holiday/a.jpg": "holiday/a_protected.jpg", "holiday/day 1/b.png": "holiday/day 1/b_protected.png"}
    made |= {"holiday/sea.jpg": "holiday/sea_protected.jpg"}
    assert names(task("holiday")) == made
    # A shell makes this list of holiday/*.
    assert names(task(*sorted(str(path) for path in Path("holiday").iterdir() if path.suffix != ".txt"))) == made
    # What is named alone is meant.
    assert list(names(task("holiday/a_protected.jpg"))) == ["holiday/a_protected.jpg"]
    # By their names, too, where nothing is noted.
    for manifest in Path("holiday").rglob("facecrypt-manifest.json"):
        manifest.unlink()
    assert names(task("holiday")) == made


def test_of_the_same_photos_only_new_ones_are_to_do(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("holiday/a.jpg", "holiday/c.jpg")
    with Image.open("holiday/c.jpg") as picture:
        picture.rotate(2).save("holiday/c.jpg")
    before = files(there)
    assert cli.main(["holiday", RECIPE, *QUICK, "--dry-run", "--json"]) == cli.DONE
    told = json.loads(capsys.readouterr().out)
    assert {photo["source"]: photo["doing"] for photo in told["photos"]} == {
        "holiday/a.jpg": "nothing", "holiday/c.jpg": "protect", "holiday/day 1/b.png": "nothing",
        "holiday/sea.jpg": "nothing",
    }  # fmt: skip
    (new,) = [photo for photo in told["photos"] if photo["doing"] == "protect"]
    assert (new["output"], len(new["faces"])) == ("holiday/c_protected.jpg", 1)
    assert told["seconds"][0] <= told["seconds"][1]
    assert cli.main(["holiday", RECIPE, *QUICK, "--dry-run"]) == cli.DONE
    out = capsys.readouterr().out
    assert "would protect 1 face: holiday/c.jpg -> holiday/c_protected.jpg\n" in out
    assert "1 of 4 photos, 1 face; about " in out
    assert files(there) == before


def test_a_file_of_that_name_is_never_replaced(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("holiday/sea_protected.jpg").write_bytes(b"mine")
    assert cli.main(["holiday/sea.jpg", "--dry-run"]) == cli.WRONG
    assert "sea_protected.jpg: is not from facecrypt, or was changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "output", "destination"),
    [
        (["p/a.jpg"], "p/facecrypt-report", "p/a_protected.jpg"),
        (["p", "format=png"], "p/facecrypt-report", "p/a_protected.png"),
        (["p/*.jpg", "name={stem}-x{suffix}"], "p/facecrypt-report", "p/a-x.jpg"),
        (["a.jpg"], "facecrypt-report", "a_protected.jpg"),
        (["p", "-o", "out"], "out", "out/a.jpg"),
        (["p/a.jpg", "output=out"], "out", "out/a.jpg"),
        (["said.yaml", "p/a.jpg"], "there", "there/a.jpg"),
        (["p/a.jpg", "in_place=true"], "p/facecrypt-report", None),
    ],
)
def test_where_photos_go(
    words: list[str], output: str, destination: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p").mkdir()
    Image.new("RGB", (8, 8)).save("p/a.jpg")
    Image.new("RGB", (8, 8)).save("a.jpg")
    Path("said.yaml").write_text("surrogates: [{name: sface}]\noutput: there\n")
    given = task(*words)
    assert given.recipe.output == output
    (made,) = names(given).values()
    assert made == (destination or str(tmp_path / "p" / "a.jpg"))


def test_a_recipe_s_own_photos_go_where_they_always_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["quickstart"], ["quickstart", "photos=p"], ["photos=p"]):
        given = task(*words)
        assert (given.chosen, given.recipe.output, given.recipe.name) == (None, "protected", "{stem}{suffix}")


def test_a_photo_through_pipes() -> None:
    def ends(*words: str) -> tuple[str, str]:
        recipe = task(*words).recipe
        return recipe.source.name, recipe.sink.name

    assert ends("-") == ("stdin", "stdout")
    assert ends("tipim", "-", "format=png") == ("stdin", "stdout")
    assert ends("-", "-o", "out") == ("stdin", "folder")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gone.jpg"], "gone.jpg: there is no such file or folder. Name a photo, a folder or a glob."),
        (["empty"], "empty: no photos found. A photo ends in "),
        (["*.tiff"], "*.tiff: no photos found. A photo ends in "),
        (["a.jpg", "-o", "a.jpg"], "-o a.jpg: is a file, and protected photos go to a folder. Name a folder."),
        (["a.jpg", "-o", "b.jpg"], "-o b.jpg: is called as a photo, and would be a folder."),
        (["a.jpg", "p/a.jpg", "-o", "out"], "out/a.jpg: would be both a.jpg and p/a.jpg, protected. Name the folder t"),
        (["a.jpg", "a.png", "format=png"], "a_protected.png: would be both a.jpg and a.png, protected. Leave out form"),
        (["-", "a.jpg"], "-: stands for one photo on standard input, and other photos are named, too. Name either."),
        (["-", "--json"], "run: both --json and the photo would go to standard output. Leave one out."),
        (["a.jpg", "p", "source=archive"], "source 'archive': takes one file, folder or glob, and 2 are named."),
        (["-", "--dry-run"], "--dry-run: photos of the source 'stdin' are not known before they come."),
        (["tipim", "a.jpg"], "tipim: is the name of a recipe, and of a folder here."),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "p", "tipim"):
        Path(folder).mkdir()
    for name in ("a.jpg", "a.png", "p/a.jpg"):
        Image.new("RGB", (8, 8)).save(name)
    assert cli.main(["run", *words]) == cli.WRONG
    captured = capsys.readouterr()
    assert captured.err.startswith(f"facecrypt: {says}")
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_all_names_that_lead_nowhere_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gone.jpg", "lost.png"]) == cli.WRONG
    assert [line.split(":")[-2].strip() for line in capsys.readouterr().err.splitlines()] == ["gone.jpg", "lost.png"]


def test_quiet_and_verbose(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["holiday/a.jpg", RECIPE, *QUICK, "--allow-weak"]
    shutil.rmtree("holiday/day 1")
    report: dict[str, Any] = json.loads(Path("holiday/facecrypt-report/report.json").read_text())
    assert cli.main([*words, "-q"]) == cli.DONE
    assert capsys.readouterr() == ("", "")
    assert cli.main(["-v", *words]) == cli.DONE
    out = capsys.readouterr().out
    assert report["notes"]
    assert all(f"note: {note}\n" in out for note in report["notes"])
