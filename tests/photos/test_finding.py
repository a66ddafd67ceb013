"""What a folder or a glob stands for, and the one line that says what of it was left out."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from facecrypt.errors import PhotoError
from facecrypt.photos.finding import files_below, find, find_photos
from facecrypt.system.naming import FORMATS


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, where: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in find(f"{folder}{where}", recursive=True).photos]


def line(folder: Path, where: str = "") -> str:
    found = find(f"{folder}{where}", recursive=True)
    said = found.left_out.describe(f"{folder}{where}")
    assert "\n" not in said
    return said


@pytest.mark.parametrize("suffix", [*FORMATS, ".JFIF", ".Mpo", ".HIF", ".gif"])
def test_every_extension_of_a_photo(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path, f"a{suffix}")
    assert names(tmp_path, "") == names(tmp_path, "/*") == names(tmp_path, "/**") == [f"a{suffix}"]
    assert line(tmp_path) == line(tmp_path, "/*") == ""


def test_a_folder_tells_what_it_left_out(tmp_path: Path) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    fill(away, "far.jpg")
    fill(folder, "a.jpg", ".hidden.jpg", ".trash/b.jpg", "deep/.c.jpg", "x.txt", "deep/y.TXT", "z.mov", "README")
    (folder / "phone").symlink_to(away)
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    assert names(folder, "") == ["a.jpg"]
    assert line(folder) == (
        f"photos: {folder}: left out 3 hidden files and folders, 1 linked folder, 4 files of unknown kind "
        "(2 .txt, 1 without extension, 1 .mov), 2 broken links and special files; "
        f"photos='{folder}/**/.*' names hidden files; photos='{folder}/**/*' follows linked folders; "
        "a photo of another extension can be named itself"
    )
    # What it advises does it.
    assert names(folder, "/**/.*") == [".hidden.jpg", "deep/.c.jpg"]
    assert names(folder, "/**/*") == ["a.jpg", "phone/far.jpg"]


def test_nothing_is_said_where_nothing_was_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "deep/b.png", "empty/.facecrypt/0.json", ".facecrypt.lock", "facecrypt-manifest.json")
    fill(tmp_path, "out/manifest.json", "out/report.json", "out/report.html", "out/recipe.yaml", "out/c.jpg")
    (tmp_path / "again").symlink_to("deep")  # its photos are found under their own names
    assert line(tmp_path) == ""
    fill(tmp_path, "report.json")  # of no run: there is no manifest beside it
    assert "1 file of unknown kind (1 .json)" in line(tmp_path)


def test_many_kinds_are_summed_up_and_none_reaches_the_terminal_raw(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.\x1b[31mred", "c.new\nline", *(f"{kind}.k{kind}" for kind in range(20)))
    said = line(tmp_path)
    assert said.isprintable()
    assert "22 files of unknown kind (2 others, 1 .k0," in said
    assert "others)" in said


def test_a_glob_tells_too(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.txt", ".c.jpg", "trip/d.jpg", "trip/.e.jpg", "x1.jpg")
    assert names(tmp_path, "/*") == ["a.jpg", "x1.jpg"]
    assert "left out 1 hidden file or folder, 1 file of unknown kind (1 .txt), 1 folder; " in line(tmp_path, "/*")
    assert f"photos='{tmp_path}/**' looks into folders" in line(tmp_path, "/*")
    assert names(tmp_path, "/**") == names(tmp_path, "/**/*") == ["a.jpg", "trip/d.jpg", "x1.jpg"]
    assert "2 hidden files and folders" in line(tmp_path, "/**")
    # Who asks for JPEGs has left the others out himself, but for the hidden one.
    assert "left out 1 hidden file or folder; " in line(tmp_path, "/*.jpg")
    assert line(tmp_path, "/x*.jpg") == ""
    assert names(tmp_path, "/x[0-9].jpg") == ["x1.jpg"]
    assert names(tmp_path, "/t*p/*.jpg") == ["trip/d.jpg"]
    assert names(tmp_path, "/.c*") == [".c.jpg"]
    assert names(tmp_path, "/trip/../*.jpg") == ["trip/../a.jpg", "trip/../x1.jpg"]


@pytest.mark.parametrize("where", ["/**", "/**/*.jpg", "/**/**/*.jpg", "/*/**/*.jpg", "/**/loop/**/*.jpg", "/[ab]/**"])
def test_links_that_loop(tmp_path: Path, where: str) -> None:
    """Two loops in each folder: to follow them all would take longer than anybody can wait."""
    for name in ("a", "b", "a/c", "a/c/d"):
        fill(tmp_path, f"{name}/{name[-1]}.jpg")
        for number in range(3):
            (tmp_path / name / f"loop{number or ''}").symlink_to(("..", tmp_path, "../../a")[number])
    found = find_photos(f"{tmp_path}{where}")
    real = [path.resolve() for path in found]
    assert len(set(real)) == len(real)
    if where in ("/**", "/**/*.jpg", "/**/**/*.jpg", "/[ab]/**"):
        assert sorted(path.name for path in real) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert sum(path.is_file() for path in files_below(tmp_path)) == 4


def test_a_link_to_a_folder_above_leads_nowhere_else(tmp_path: Path) -> None:
    fill(tmp_path, "mine.jpg", "a/b.jpg")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "root").symlink_to("/")
    assert names(tmp_path / "a", "/**") == ["b.jpg"]
    assert "2 linked folders" in line(tmp_path / "a", "/**")


def test_a_folder_keeps_the_name_that_is_no_link(tmp_path: Path) -> None:
    fill(tmp_path, "z/x.jpg", "away/y.jpg")
    (tmp_path / "a").symlink_to("z")
    (tmp_path / "b").symlink_to("z")
    assert names(tmp_path, "/**/*.jpg") == ["away/y.jpg", "z/x.jpg"]
    assert names(tmp_path, "/*/x.jpg") == ["a/x.jpg", "b/x.jpg", "z/x.jpg"]  # each was asked for


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_mount_that_loops(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg", "a/b/c/y.jpg")
    mounted = tmp_path / "a" / "b" / "c"
    if subprocess.run(["mount", "--bind", tmp_path / "a", mounted], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no bind mounts")
    try:
        assert names(tmp_path / "a", "") == names(tmp_path / "a", "/**") == ["x.jpg"]
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_what_is_no_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))
        assert names(tmp_path, "") == names(tmp_path, "/*") == ["a.jpg"]
        assert "2 broken links and special files" in line(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b/c.jpg")
    (tmp_path / "b").chmod(0)
    with pytest.raises(PhotoError, match="cannot be read"):
        find(str(tmp_path), recursive=True)
    assert "1 folder that cannot be read" in line(tmp_path, "/**")
    (tmp_path / "b").chmod(0o700)


def test_a_folder_that_a_glob_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.jpg", "b/c.jpg")
    read = Path.iterdir

    def forbid(self: Path) -> object:
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "iterdir", forbid)
    assert names(tmp_path, "/**") == ["a.jpg"]
    assert "1 folder that cannot be read" in line(tmp_path, "/**")
    with pytest.raises(PhotoError, match="b: cannot be read. Mend its permissions"):
        find(f"{tmp_path}/b/*.jpg")
    with pytest.raises(PhotoError, match="cannot be read"):
        find(str(tmp_path), recursive=True)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes only text")
    assert names(tmp_path, "") == names(tmp_path, "/*.jpg") == names(tmp_path, "/**") == [name]
