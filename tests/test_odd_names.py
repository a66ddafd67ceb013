"""A run over photos whose names may hold anything, through everything that a run leaves and prints."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.engine.records import RECORDS, Records
from facecrypt.pipeline import runner
from facecrypt.pipeline.inputs import choose_photos, read_list
from facecrypt.recipe.check import check_recipe, load_recipe

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "tests" / "judged.yaml")
NAMES = ("caf\udce9.png", "a\nb\x1b[31m\u202e.png", "#2 ${x}\U0001f600.png")
QUICK = (
    "steps=1",
    "max_targets=2",
    "held_out=[]",
    "receipt.transforms=[]",
    "budget=null",
    "trainer.accelerator=cpu",
    "views=[]",
)


def unseen(text: str) -> list[str]:
    return [each for each in text if not each.isprintable() and each != "\n"]


def test_odd_names_go_through_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, output = tmp_path / "in", tmp_path / "out\udcff #1"
    folder.mkdir()
    picture = Image.open(runner.sample_photo()).convert("RGB").crop((100, 0, 356, 256))
    for name in NAMES:
        picture.save(folder / name)
    assert cli.main(["run", "--allow-weak", QUICKSTART, "photos=in", f"output={output}", *QUICK]) == cli.DONE
    out, err = capsys.readouterr()
    assert unseen(out + err) == []
    assert r"written: in/caf\xe9.png -> " in out
    assert {path.name for path in output.iterdir()} >= {*NAMES, "report.json", "report.html", "recipe.yaml"}

    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {photo["source"] for photo in report["photos"]} == {f"in/{name}" for name in NAMES}
    assert all(Path(photo["output"]).is_file() for photo in report["photos"])
    page = (output / "report.html").read_text(encoding="utf-8")
    assert r">a\nb\x1b[31m\u202e.png<" in page
    assert not {"\x1b", "\u202e"} & set(page)

    # The recipe that it left says the same, by which every photo is known again.
    again = ["run", "--allow-weak", str(output / "recipe.yaml")]
    assert cli.main(again) == cli.DONE
    assert capsys.readouterr().out.count("was written before with these settings") == len(NAMES)
    assert cli.main([*again, f"photos=in/{NAMES[0]}"]) == cli.DONE
    assert capsys.readouterr().out.count("was written before with these settings") == 1
    names = "\0".join(f"in/{name}" for name in NAMES)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(names)), encoding="ascii"))
    assert cli.main([*again, "photos=-"]) == cli.DONE
    assert capsys.readouterr().out.count("was written before with these settings") == len(NAMES)
    assert load_recipe(output / "recipe.yaml").output == str(output)


def test_names_on_standard_input_are_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_list("a\u2028b.jpg\r\n~x.jpg\n\n ~/y.jpg\n") == [
        Path("a\u2028b.jpg"), Path("~x.jpg"), Path(" ~/y.jpg"),
    ]  # fmt: skip
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "photos": "-", "output": str(tmp_path)})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9.jpg\n"), encoding="utf-8"))
    assert choose_photos(recipe, tmp_path)[0][0] == Path("caf\udce9.jpg")
    # A process that Lightning starts finds the list in the output folder.
    names = [Path("caf\udce9.jpg"), Path("two\nlines.jpg")]
    Records(tmp_path / RECORDS).open(names)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [source for source, _ in choose_photos(recipe, tmp_path)] == names


@pytest.mark.parametrize("name", ["~nobody-of-that-name.png", "-.png", "no.png"])
def test_a_photo_of_an_odd_name_is_found(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"no picture")
    assert cli.main(["run", "--allow-weak", QUICKSTART, f"photos={name}", "output=null", *QUICK]) == cli.SOME_FAILED
    assert f"{name}: " in capsys.readouterr().out
    assert (tmp_path / "null" / "report.json").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems shorten such names")
@pytest.mark.parametrize("key", ["photos", "output", "targets", "own_photos", "receipt.gallery", "faces.only"])
def test_names_that_are_too_long(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("x" * 300, "y/" * 2000):
        assert cli.main(["check", QUICKSTART, f"{key}={path}"]) == cli.WRONG
        assert "a name has at most 255 bytes" in capsys.readouterr().err
