"""Runs on an archive that are ended from outside, and runs of several processes. Linux only, as `tests.commands` is."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from facecrypt.cli import main as cli
from facecrypt.pipeline import runner
from tests import processes
from tests.commands import RUN, Command, promise

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files: sockets in it have short names."""
    folder = Path(tempfile.mkdtemp(prefix="c"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(4):
            tar.add(runner.sample_photo(), f"{number}.png")
            tar.add(Path(__file__), f"{number}.txt")
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("facecrypt-"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_photo_and_no_archive_behind_and_goes_on(
    number: int, archive: Path, short: Path, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", archive.read_bytes()
    keys = [f"photos={archive}", "source=archive", "sink=archive", f"output={out}"]
    with Command((*RUN, *keys, "steps=40"), {"TMPDIR": str(short)}) as command:
        command.until(lambda: (out / "0.png").exists())
        assert left(short)
        command.send(number)
        assert command.wait(promise()) == 128 + number
        assert "the same command goes on from there" in command.stderr
        assert "facecrypt-source" not in command.stderr
    assert left(short) == []
    assert not (out / "a.tar").exists()
    assert archive.read_bytes() == before
    with Command((*RUN, *keys, "steps=40"), {"TMPDIR": str(short)}) as command:
        assert command.wait() == cli.DONE, command.stderr
        assert "written before" in command.stdout
    with tarfile.open(out / "a.tar") as tar:
        assert tar.getnames() == [f"{number}.{kind}" for number in range(4) for kind in ("png", "txt")]
    assert left(short) == []


def test_two_processes_share_the_photos_of_an_archive(archive: Path, short: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keys = [f"photos={archive}", "source=archive", "sink=archive", f"output={out}"]
    done = processes.run(
        [*RUN, *keys, "trainer={accelerator: cpu, devices: 2, strategy: ddp}"],
        environment=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(short)},
    )
    assert done.returncode == cli.DONE, done.stderr
    with tarfile.open(out / "a.tar") as tar:
        assert len(tar.getnames()) == 8
    assert left(short) == []
