"""One run at a time works on a folder, and a run that is gone locks nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facecrypt.errors import FacecryptError
from facecrypt.system.locks import NAME, is_first_process, lock, locked_folders
from tests.processes import started

HOLD = """
import os, sys, time
from pathlib import Path
from facecrypt.system.locks import lock
with lock(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(600)
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with started([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(FacecryptError) as caught, lock(path):
            pass
        assert (
            f"{tmp_path}: another run is at work here: process {first.pid} on {os.uname().nodename}, since 20"
            in str(caught.value)
        )
        first.stdin.write("\n")
        first.stdin.flush()
        first.wait()
    assert list(tmp_path.iterdir()) == []
    with lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.timeout(300)  # a child that kept the lock would keep it until the test ends
@pytest.mark.parametrize("child", [[], ["child"]], ids=["alone", "with a child that lives on"])
def test_a_killed_process_locks_nothing(tmp_path: Path, child: list[str]) -> None:
    path = tmp_path / NAME
    for _ in range(3):
        with started([sys.executable, "-c", HOLD, str(path), *child], stdin=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert path.exists()
            with lock(path, wait=True):  # for the moment that its child, which lives on, takes to let go
                pass
    assert list(tmp_path.iterdir()) == []


def test_one_process_cannot_hold_a_lock_twice(tmp_path: Path) -> None:
    with (
        lock(tmp_path / NAME),
        pytest.raises(FacecryptError, match=f"process {os.getpid()} on"),
        lock(tmp_path / NAME),
    ):
        pass


def test_waiting_processes_come_one_after_the_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from facecrypt.system.locks import lock\n"
        "count = Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    with lock(Path(sys.argv[2]), wait=True): count.write_text(str(int(count.read_text()) + 1))\n"
    )
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", code, str(count), str(tmp_path / NAME)]
    with started(command) as first, started(command) as second, started(command) as third:
        assert [process.wait() for process in (first, second, third)] == [0, 0, 0]
    assert count.read_text() == "300"
    assert list(tmp_path.iterdir()) == [count]


def test_a_lock_is_never_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    for target in ("mine", "nowhere", tmp_path):
        (tmp_path / NAME).symlink_to(target)
        with pytest.raises(FacecryptError, match=r"\.facecrypt\.lock: is no lock of facecrypt"), lock(tmp_path / NAME):
            pass
        (tmp_path / NAME).unlink()
    assert (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["text", "folder", "pipe"])
def test_what_is_no_lock_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    if kind == "text":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    for wait in (False, True):
        with pytest.raises(FacecryptError, match="is no lock of facecrypt. Move it away"), lock(path, wait=wait):
            pass
    assert path.exists()
    assert kind != "text" or path.read_text() == "precious"


def test_a_lock_that_a_power_cut_left_is_taken(tmp_path: Path) -> None:
    for left in (b"", bytes(100), b'{"facecrypt_lock": 1, "pid": 1, "ho'):
        (tmp_path / NAME).write_bytes(left)
        with lock(tmp_path / NAME):
            pass
        assert list(tmp_path.iterdir()) == []


def test_an_output_folder_is_made_and_goes_if_nothing_came_into_it(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "out"
    with locked_folders(output, []):
        assert (output / NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with locked_folders(output, []):
        (output / "photo.jpg").touch()
    assert [path.name for path in output.iterdir()] == ["photo.jpg"]
    (tmp_path / "mine").mkdir()
    with locked_folders(tmp_path / "mine", []):
        pass
    assert (tmp_path / "mine").is_dir()  # it was there before


def test_folders_of_photos_are_locked_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    with locked_folders(tmp_path / "out", [tmp_path / "photos", tmp_path / "link", tmp_path / "out"]) as closed:
        assert closed == {}
        assert (tmp_path / "photos" / NAME).exists()
        with (
            pytest.raises(FacecryptError, match="photos: another run is at work here"),
            locked_folders(tmp_path / "other", [tmp_path / "link"]),
        ):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "photos"]
    assert list((tmp_path / "photos").iterdir()) == []


def test_a_folder_of_photos_that_cannot_be_locked_closes_no_other(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    gone = tmp_path / "gone"
    with locked_folders(tmp_path / "out", [tmp_path / "photos", gone]) as closed:
        assert closed == {gone: "No such file or directory"}
        assert (tmp_path / "photos" / NAME).exists()


def test_very_many_folders(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(1500)]
    for folder in folders:
        folder.mkdir()
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
        with locked_folders(tmp_path / "out", folders) as closed:
            assert closed == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not any(any(folder.iterdir()) for folder in folders)


def test_which_process_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert is_first_process()
    for name in names:
        monkeypatch.setenv(name, "0")
        assert is_first_process()
    for name in names:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not is_first_process()
