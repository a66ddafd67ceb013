"""Names that stand for one file, as the real file system says it, and as others would."""

from __future__ import annotations

import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from facecrypt.errors import PhotoError
from facecrypt.system import places
from facecrypt.system.places import Places, check_unchanged, file_id, fold, is_one_name, place, state

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))


def numbers(*paths: Path) -> list[int]:
    found = Places()
    return [found.add(path, number) for number, path in enumerate(paths)]


def test_every_way_to_a_file_is_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "far").symlink_to(tmp_path / "real" / "deep")
    monkeypatch.chdir(tmp_path / "real")
    ways = ["real/deep/new.jpg", "link/deep/new.jpg", "real/far/new.jpg", "link/far/../deep/new.jpg"]
    ways += ["real/./deep/nowhere/../new.jpg"]
    assert numbers(*(tmp_path / way for way in ways), Path("deep/new.jpg"), Path("far/new.jpg")) == [0] * 7
    assert numbers(tmp_path / "real/new.jpg", tmp_path / "real/deep/new.jpg", tmp_path / "new.jpg") == [0, 1, 2]


def test_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "later")
    assert numbers(tmp_path / "later/a/x", tmp_path / "link/a/x", tmp_path / "later/a/y") == [0, 0, 2]
    assert place(tmp_path / "later/a/x").names == ("later", "a", "x")


def test_a_link_is_a_name_of_its_own(tmp_path: Path) -> None:
    """What is replaced is the link, and not what it leads to."""
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "hard").hardlink_to(tmp_path / "real")
    assert numbers(tmp_path / "real", tmp_path / "link", tmp_path / "hard") == [0, 1, 2]
    assert file_id(tmp_path / "real") == file_id(tmp_path / "link") == file_id(tmp_path / "hard") is not None


def test_a_place_that_must_be_a_folder_too(tmp_path: Path) -> None:
    found = Places()
    found.add(tmp_path / "a.png", 7)
    assert found.inside(tmp_path / "a.png" / "b.png") == 7
    assert found.inside(tmp_path / "a.png" / "deep" / "b.png") == 7
    assert found.inside(tmp_path / "a.png") is None
    assert found.inside(tmp_path / "a" / "a.png") is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
def test_a_folder_that_is_mounted_twice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").touch()
    done = subprocess.run(["mount", "--bind", tmp_path / "a", tmp_path / "b"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this system allows no bind mounts")
    try:
        assert file_id(tmp_path / "a" / "x") == file_id(tmp_path / "b" / "x")
        assert numbers(tmp_path / "a" / "new", tmp_path / "b" / "new") == [0, 0]
    finally:
        subprocess.run(["umount", tmp_path / "b"], check=True)


ALIKE = [
    ("A.JPG", "a.jpg"),
    (COMPOSED, DECOMPOSED),
    ("STRASSE.png", "straße.png"),
    ("ﬁsh.png", "FISH.png"),
    ("a.jpg", "a.jpg."),
    ("a.jpg", "a.jpg . "),
    ("Ǆ.jpg", "ǆ.jpg"),
    ("K.jpg", "\N{KELVIN SIGN}.jpg"),
    ("a\N{ZERO WIDTH JOINER}.jpg", "a.jpg"),
    ("ΣΑΣ.jpg", "σας.jpg"),
]


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_what_some_file_system_takes_for_one_name_folds_alike(first: str, second: str) -> None:
    assert fold(first) == fold(second)


def test_what_none_takes_for_one_name_does_not() -> None:
    names = ["a.jpg", "b.jpg", "a.jpeg", "á.jpg", ".a.jpg", "a jpg", "caf\udce9.jpg"]
    assert len({fold(name) for name in names}) == len(names)


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_the_file_system_itself_is_asked(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / first).touch()
    really = (tmp_path / "probe" / second).exists()
    before = sorted(tmp_path.iterdir())
    assert is_one_name(tmp_path, [first], [second]) == really
    assert is_one_name(tmp_path, ["folder", first], ["folder", second]) == really
    assert numbers(tmp_path / first, tmp_path / second) == ([0, 0] if really else [0, 1])
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_system_that_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux can seldom mount one, so this stands in for its answer."""
    monkeypatch.setattr(places, "is_one_name", lambda folder, a, b: [fold(x) for x in a] == [fold(x) for x in b])
    out = tmp_path / "out"
    assert numbers(out / "A.JPG", out / "a.jpg", out / COMPOSED, out / DECOMPOSED, out / "b") == [0, 0, 2, 2, 4]
    assert numbers(out / "Trip/a", out / "trip/a", out / "trip/A", out / "trips/a") == [0, 0, 0, 3]
    found = Places()
    found.add(out / "TRIP", 0)
    assert found.inside(out / "trip" / "a.jpg") == 0


def test_a_folder_that_cannot_be_asked_folds(tmp_path: Path) -> None:
    assert is_one_name(tmp_path / "nowhere", ["a"], ["A"])
    assert not is_one_name(tmp_path, ["a"], ["b"])


def test_what_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    check_unchanged(path, None)
    path.write_bytes(b"one")
    seen = state(path)
    check_unchanged(path, seen)
    with pytest.raises(PhotoError, match="a: appeared while the run was at work, so it stays as it is"):
        check_unchanged(path, None)
    path.write_bytes(b"two and more")
    with pytest.raises(PhotoError, match="a: was changed while the run was at work"):
        check_unchanged(path, seen)
    path.unlink()
    check_unchanged(path, seen)  # nothing is there that could be lost
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PhotoError, match="was changed"):
        check_unchanged(path, seen)
