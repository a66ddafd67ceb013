from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.cli.words import Words, sort_words
from facecrypt.errors import FacecryptError
from facecrypt.recipe.shipped import shipped_recipe


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save("a.jpg")
    Image.new("RGB", (8, 8)).save("a=b.jpg")
    Path("a.jpg").rename("photos/a.jpg")
    Image.new("RGB", (8, 8)).save("unnamed", "JPEG")
    Path("mine.yaml").write_text("surrogates: [{name: sface}]\n")
    Path("plain").write_text("surrogates: [{name: sface}]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "recipe", "photos", "overrides"),
    [
        ("photos", None, ["photos"], []),
        ("photos/a.jpg photos/*.png -", None, ["photos/a.jpg", "photos/*.png", "-"], []),
        ("tipim_plus photos/", str(shipped_recipe("tipim_plus")), ["photos/"], []),
        ("photos epsilon=8 baselines/pgd seed:=1", str(shipped_recipe("baselines/pgd")), ["photos"],
         ["epsilon=8", "seed:=1"]),
        ("mine.yaml photos=holiday/ output=x", "mine.yaml", [], ["photos=holiday/", "output=x"]),
        ("a=b.jpg photos/a.jpg mine.yaml", "mine.yaml", ["a=b.jpg", "photos/a.jpg"], []),
        ("plain photos", "plain", ["photos"], []),  # A recipe has any name where nothing was given before.
        ("unnamed", None, ["unnamed"], []),  # A photo, too.
        ("gone.yaml", "gone.yaml", [], []),
        ("gone.jpg", None, ["gone.jpg"], []),
        ("views=[{name:jpeg}] trainer.devices=2", None, [], ["views=[{name:jpeg}]", "trainer.devices=2"]),
    ],
)  # fmt: skip
def test_words_are_told_apart(words: str, recipe: str | None, photos: list[str], overrides: list[str]) -> None:
    assert sort_words(words.split()) == Words(recipe, photos, overrides)


def test_a_recipe_may_be_an_option() -> None:
    Path("tipim").mkdir()
    assert sort_words(["./tipim"], "tipim") == Words(str(shipped_recipe("tipim")), ["./tipim"], [])
    assert sort_words(["photos"], "mine.yaml") == Words("mine.yaml", ["photos"], [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tipim", "tipim: is the name of a recipe, and of a folder here. Write ./tipim for the folder, or --recipe "),
        ("mine.yaml quickstart", "quickstart.yaml are both recipes, and a run follows one. Leave one out."),
        (
            "quickstrat photos",
            "'quickstrat': there is no such photo, folder, recipe or command. Did you mean 'quicksta",
        ),
        ("photo", "'photo': there is no such photo, folder, recipe or command. Did you mean 'photos'?"),
        ("photos/a", "'photos/a': there is no such photo, folder, recipe or command. Did you mean 'photos/a.jpg'?"),
    ],
)
def test_words_that_mean_nothing(words: str, says: str) -> None:
    Path("tipim").mkdir()
    with pytest.raises(FacecryptError) as caught:
        sort_words(words.split())
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["photos"], ["photos"]),
        (["photos/a.jpg", "-o", "out", "mine.yaml", "seed=1"], ["photos/a.jpg", "mine.yaml", "seed=1"]),
        (["-o", "out", "photos"], ["photos"]),
        (["-q", "--dry-run", "photos"], ["photos"]),
        (["--offline", "run", "-v", "photos", "-o", "out", "unnamed"], ["photos", "unnamed"]),
        (["-"], ["-"]),
        (["-", "--json"], ["-"]),
        (["run", "photos", "--allow-weak", "-"], ["photos", "-"]),
        (["photos=photos", "-o", "out"], ["photos=photos"]),
    ],
)
def test_photos_alone_mean_run(argv: list[str], words: list[str]) -> None:
    arguments = cli.parse(argv)
    assert arguments.command.__module__ == "facecrypt.cli.commands.run"
    assert arguments.words == words
    assert arguments.output == ("out" if "-o" in argv else None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["rnu", "photos"], "Did you mean 'run'?"),
        (["evalute", "mine.yaml"], "Did you mean 'evaluate'?"),
        (["run", "--dryrun", "photos"], "unrecognized arguments: --dryrun"),
    ],
)
def test_a_misspelt_command_suggests_the_right_one(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == cli.WRONG
    assert says in capsys.readouterr().err
