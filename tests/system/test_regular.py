from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from facecrypt.system.regular import digest_regular, open_regular, read_regular, read_text
from tests.processes import started


def test_reads_files_and_links_to_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"caf\xc3\xa9")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        assert read_regular(tmp_path / name, 5) == b"caf\xc3\xa9"
        assert read_text(tmp_path / name) == "café"
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"caf\xc3\xa9"
    assert digest_regular(tmp_path / "file").startswith("850f7dc43910")


def test_an_empty_file_and_one_without_a_size(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_regular(tmp_path / "empty", 0) == b""
    if Path("/proc/self/status").exists():
        assert b"VmRSS" in read_regular("/proc/self/status", 1 << 20)
        with pytest.raises(OSError, match="larger"):
            read_regular("/proc/self/status", 10)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("pipe", "it is a named pipe, not a regular file"),
        ("socket", "it is a socket, not a regular file"),
        ("device", "it is a device, not a regular file"),
        ("folder", "it is a folder"),
        ("missing", "No such file"),
        ("loop", "[Ss]ymbolic link"),
        ("under a file", "Not a directory"),
        ("nul", "no possible name"),
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_refuses_everything_else_at_once(kind: str, what: str, linked: bool, tmp_path: Path) -> None:
    path = tmp_path / "it"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            listener.bind(os.path.relpath(path))
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "under a file":
            (tmp_path / "file").touch()
            path = tmp_path / "file" / "it"
        elif kind == "nul":
            path = tmp_path / "a\0b"
        if linked and kind != "nul":
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        for read in (open_regular, digest_regular, read_text, lambda path: read_regular(path, 10)):
            with pytest.raises(OSError, match=what):
                read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(OSError, match="larger than 1 GiB"):
        read_regular(path, 1 << 30)
    path.write_bytes(bytes(11))
    assert len(read_regular(path, 11)) == 11
    with pytest.raises(OSError, match="larger than"):
        read_regular(path, 10)


WRITER = """
import sys
with open(sys.argv[1], "ab", 0) as file:
    for _ in range(1000):
        file.write(bytes(1 << 16))
"""


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x")
    with started([sys.executable, "-c", WRITER, str(path)]) as process:
        while process.poll() is None:
            with suppress(OSError):
                assert len(read_regular(path, 2 << 20)) <= 2 << 20
    with pytest.raises(OSError, match="larger than 2 MiB"):
        read_regular(path, 2 << 20)
