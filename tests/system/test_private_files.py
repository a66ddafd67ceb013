from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from facecrypt.engine.manifest import Manifest
from facecrypt.system.private_files import (
    make_temporary_folder,
    remove_temporary_folder,
    sweep_temporary_folders,
    temporary_folder,
    write_whole,
)
from tests.processes import started

posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and rights")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(params=[0o077, 0o022, 0o002, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


@posix
def test_files_have_the_rights_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, [b"a", b"b"])
    assert path.read_bytes() == b"ab"
    assert rights(path) == 0o666 & ~umask
    assert rights(path.parent) == 0o777 & ~umask
    path.chmod(0o666)
    write_whole(path, [b"c"])
    assert rights(path) == 0o666 & ~umask
    assert os.umask(umask) == umask


@posix
def test_a_manifest_that_is_added_to_has_them_too(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    Manifest(path).add(Path("a"), "0", tmp_path / "a", "1", "r", None)
    assert rights(path) == 0o666 & ~umask
    for before in (0o666, 0o644, 0o600):
        path.chmod(before)
        Manifest(path).add(Path("a"), "0", tmp_path / f"{before}", "1", "r", None)
        assert rights(path) == before & ~umask


@pytest.mark.parametrize("where", ["pieces", "prepare"])
def test_what_fails_leaves_the_old_file_and_nothing_else(where: str, tmp_path: Path) -> None:
    def fail(*_: object) -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    (tmp_path / "file").write_bytes(b"old")
    pieces = fail() if where == "pieces" else [b"new"]
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "file", pieces, lambda path: next(b for b in fail() if not b))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "temporary"}


@posix
def test_many_programs_make_and_sweep_folders_at_once(temporary: Path) -> None:
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from facecrypt.system.private_files import sweep_temporary_folders, temporary_folder\n"
        "for number in range(300):\n"
        "    with temporary_folder('test') as folder:\n"
        "        (folder / 'photo').touch(); sweep_temporary_folders(); assert (folder / 'photo').exists()"
    )
    command = [sys.executable, "-c", code, str(temporary)]
    with ExitStack() as stack:
        running = [stack.enter_context(started(command, stdout=None, stderr=None)) for _ in range(4)]
        assert [process.wait() for process in running] == [0] * 4
    assert list(temporary.iterdir()) == []


@posix
def test_a_temporary_folder_is_this_users_and_goes(umask: int, temporary: Path) -> None:
    with temporary_folder("test") as folder:
        assert rights(folder) == 0o700
        (folder / "in").mkdir()
        (folder / "in" / "photo").touch()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []
    remove_temporary_folder(folder)  # twice is no fault


HOLDER = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from facecrypt.system.private_files import make_temporary_folder
folder = make_temporary_folder("test")
(folder / "in").mkdir()
(folder / "in" / "photo.png").write_bytes(b"private")
print(folder, flush=True)
time.sleep(600)
"""


@contextmanager
def holder(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with started([sys.executable, "-c", HOLDER, str(temporary)], stderr=None) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


@posix
def test_the_folder_of_a_killed_program_is_swept_and_that_of_a_living_one_is_not(temporary: Path) -> None:
    with holder(temporary) as (living, its):
        with holder(temporary):
            pass  # it is killed
        own = make_temporary_folder("test")
        sweep_temporary_folders()
        assert {path.name for path in temporary.iterdir()} == {its.name, own.name}
        assert (its / "in" / "photo.png").exists()
        # Its number says nothing: the process that has it now may be another one.
        living.send_signal(signal.SIGSTOP)
        sweep_temporary_folders()
        assert its.exists()
    os.rename(its, reused := its.with_name(f"facecrypt-test-{os.getpid()}-{'0' * 16}"))
    sweep_temporary_folders()
    assert not reused.exists()
    remove_temporary_folder(own)
    assert list(temporary.iterdir()) == []


@posix
def test_what_only_looks_like_a_temporary_folder_stays(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo.png").touch()
    name = f"facecrypt-test-1-{'0' * 15}"
    (temporary / f"{name}a").symlink_to(precious)  # as another user may leave it in a common folder
    (temporary / f"{name}b").touch()
    (temporary / "facecrypt-holiday").mkdir()
    (temporary / "facecrypt-holiday" / "photo.png").touch()
    before = sorted(path.name for path in temporary.rglob("*"))
    sweep_temporary_folders()
    assert sorted(path.name for path in temporary.rglob("*")) == before
    assert (precious / "photo.png").exists()
    (temporary / f"{name}c").mkdir()  # ended while it was being made
    sweep_temporary_folders()
    assert sorted(path.name for path in temporary.rglob("*")) == before


@posix
def test_links_inside_a_folder_are_not_followed(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "photo.png").touch()
    folder = temporary / f"facecrypt-test-1-{'0' * 16}"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "precious")
    sweep_temporary_folders()
    assert not folder.exists()
    assert (tmp_path / "precious" / "photo.png").exists()


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give files away")
def test_the_folder_of_another_user_stays(temporary: Path) -> None:
    folder = temporary / f"facecrypt-test-1-{'0' * 16}"
    folder.mkdir()
    (folder / "photo.png").touch()
    os.chown(folder, 12345, 12345)
    sweep_temporary_folders()
    assert folder.exists()


@posix
def test_where_others_may_rename_folders_nothing_is_swept(temporary: Path) -> None:
    folder = temporary / f"facecrypt-test-1-{'0' * 16}"
    folder.mkdir()
    (folder / "photo.png").touch()
    temporary.chmod(0o777)
    sweep_temporary_folders()
    assert folder.exists()
    temporary.chmod(0o1777)
    sweep_temporary_folders()
    assert not folder.exists()
