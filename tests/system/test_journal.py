from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from facecrypt.system.journal import Journal, count_protected
from tests.processes import started


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_only_what_is_there_counts(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    with closing(Journal(file, [(0, tmp_path / "0", digest(b"0")), (1, tmp_path / "1", digest(b"1"))])) as journal:
        assert count_protected(file, 60) == 0
        (tmp_path / "0").write_bytes(b"0")
        assert count_protected(file, 60) == 1
        journal.announce(2, tmp_path / "2", digest(b"2"))
        (tmp_path / "2").write_bytes(b"the original, in place")
        assert count_protected(file, 60) == 1
        (tmp_path / "2").write_bytes(b"2")
        assert count_protected(file, 60) == 2
        journal.settle(2, True)
        journal.settle(1, False)
        journal.settle(3, True)
        assert count_protected(file, 60) == 3
        journal.settle(0, False)
        assert count_protected(file, 60) == 2
    with closing(Journal(file)):
        assert count_protected(file, 60) == 0


def test_what_takes_too_long_to_read_counts_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"another")
    with closing(Journal(tmp_path / "journal", [(0, tmp_path / "0", digest(b"0")), (1, tmp_path / "1", digest(b"1"))])):
        assert count_protected(tmp_path / "journal", -1) == 1


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"[1", b"[1, true]\n[2, tr", b"[]\n5\n{}\nnull\n[1, true]\n"])
def test_a_damaged_journal_is_no_fault(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(content)
    assert count_protected(tmp_path / "journal", 60) == (b"[1, true]\n" in content)
    assert count_protected(tmp_path / "none", 60) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "pipe"])
def test_what_has_its_name_is_not_written_into(kind: str, tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"original")
    file = tmp_path / "journal"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        (os.symlink if kind == "symbolic link" else os.link)(tmp_path / "original", file)
    with closing(Journal(file)) as journal:
        journal.settle(0, True)
    assert (tmp_path / "original").read_bytes() == b"original"
    assert count_protected(file, 60) == 1


def test_processes_write_beside_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from facecrypt.system.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); print(flush=True); sys.stdin.readline()\n"
        "for number in range(200): journal.settle(int(sys.argv[2]) + number, True)"
    )
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                started([sys.executable, "-c", code, str(tmp_path / "journal"), str(start)], stdin=subprocess.PIPE)
            )
            for start in (0, 1000)
        ]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            process.communicate("\n")
    lines = (tmp_path / "journal").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 400
    assert count_protected(tmp_path / "journal", 60) == 400
