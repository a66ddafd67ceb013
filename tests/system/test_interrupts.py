"""Real signals to real programs: each ends within seconds, says so in one line, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from facecrypt.cli import main as cli
from facecrypt.system import interrupts
from facecrypt.system.journal import Journal
from tests.benchmark.test_identification import make as make_benchmark
from tests.commands import ROOT, RUN, Command, promise
from tests.fileserver import serve
from tests.kill_runs import kill
from tests.processes import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


PROGRAM = """
import ctypes, os, subprocess, sys, time
from pathlib import Path
from facecrypt.system import interrupts, private_files
interrupts.supervise()
folder = Path(sys.argv[1])
def ready():
    (folder / "ready").touch()
"""
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def start(folder: Path, body: str, *arguments: str, **options: object) -> Command:
    environment = {"TMPDIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM + body, str(folder), *arguments]
    return Command(command, environment, **options)  # type: ignore[arg-type]


def started(command: Command, folder: Path) -> None:
    command.until((folder / "ready").exists)
    assert command.process.poll() is None, command.stderr


def stopped(command: Command, number: int, *, group: bool = False) -> float:
    began = time.monotonic()
    command.send(number, group=group)
    assert command.wait() == 128 + number, command.stderr
    spent = time.monotonic() - began
    assert command.living() == []
    return spent


BODIES = {
    "sleeps": "ready(); time.sleep(600)",
    "calculates": "ready()\nwhile True: pass",
    "is in native code that lets no other code run": "ready(); ctypes.PyDLL(None).sleep(600)",
    "is in native code": "ready(); ctypes.CDLL(None).sleep(600)",
    "swallows everything": "ready()\nwhile True:\n try: time.sleep(1)\n except BaseException: pass",
    "wants to handle signals itself": (
        "import signal\nfor each in (2, 15, 1): signal.signal(each, lambda number, frame: 1 / 0)\n"
        "ready(); time.sleep(600)"
    ),
    "waits for a thread": "import threading; ready(); threading.Thread(target=time.sleep, args=(600,)).start()",
    "ends with an error": "ready(); time.sleep(0.3); raise ValueError",
}


@pytest.mark.parametrize(
    ("body", "number", "group"),
    [
        pytest.param(
            body, number, group, marks=[] if body == "sleeps" or number == signal.SIGTERM else pytest.mark.slow
        )
        for body in BODIES
        for number, group in (
            (signal.SIGINT, True),
            (signal.SIGINT, False),
            (signal.SIGTERM, False),
            (signal.SIGHUP, True),
        )
    ],
)
def test_whatever_it_does_a_signal_ends_it(tmp_path: Path, body: str, number: int, group: bool) -> None:
    with start(tmp_path, BODIES[body]) as command:
        started(command, tmp_path)
        assert stopped(command, number, group=group) < promise()
        assert command.stderr == "facecrypt: stopped: nothing was changed; the same command starts again\n"


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with start(tmp_path, "ready(); time.sleep(600)") as command:
        started(command, tmp_path)
        for _ in range(20):
            command.send(signal.SIGINT, group=True)
        assert command.wait() == 130
        assert command.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), 11)", 139),
        ("os.kill(os.getpid(), 9)", 137),
        ("os.kill(os.getpid(), 15)", 143),
    ],
)
def test_the_exit_status_is_that_of_the_work(tmp_path: Path, body: str, status: int) -> None:
    with start(tmp_path, body) as command:
        assert command.wait() == status
        killed = "ended by signal 9 (Killed), as where memory runs out"
        said = {139: "ended by signal 11 (Segmentation fault)", 137: killed, 143: "stopped"}.get(status)
        lines = [line for line in command.stderr.splitlines() if line.startswith("facecrypt: ")]
        assert len(lines) == bool(said)
        assert not said or lines[0].startswith(f"facecrypt: {said}: ")
        assert ("Traceback" in command.stderr) == (status == 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_is_ignored_stays_so(tmp_path: Path, number: signal.Signals) -> None:
    """As a shell leaves it for its background, and nohup."""
    body = "import signal\nready()\ntime.sleep(1)\nprint(signal.getsignal(int(sys.argv[2])).name)"
    with start(tmp_path, body, str(int(number)), before=lambda: signal.signal(number, signal.SIG_IGN)) as command:
        started(command, tmp_path)
        for group in (False, True):
            command.send(number, group=group)
        assert command.wait() == 0
        assert command.stdout == "SIG_IGN\n"
        assert command.stderr == ""


def test_children_that_are_ignored_tell_their_end_nevertheless(tmp_path: Path) -> None:
    with start(tmp_path, "sys.exit(3)", before=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)) as command:
        assert command.wait(60) == 3


FAMILY = f"""
twice = "import subprocess, time; subprocess.Popen({SLEEPER}); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", twice])
deaf = "import signal, time; [signal.signal(each, signal.SIG_IGN) for each in (1, 2, 15)]; print('.', flush=True)"
print(subprocess.Popen([sys.executable, "-c", deaf + "; time.sleep(600)"], stdout=subprocess.PIPE).stdout.readline())
if not os.fork():  # an orphan of one that ends at once
    os.fork() or os._exit(0)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("end", "number"),
    [
        ("time.sleep(600)", signal.SIGINT),
        ("time.sleep(600)", signal.SIGTERM),
        ("os._exit(0)", None),  # by itself
    ],
)
def test_what_it_started_ends_too(tmp_path: Path, end: str, number: signal.Signals | None) -> None:
    with start(tmp_path, f"{FAMILY}\nready(); {end}") as command:
        if number is None:
            assert command.wait() == 0
            assert command.living() == []
        else:
            started(command, tmp_path)
            command.until(lambda: len(command.living()) >= 6)
            assert stopped(command, number) < promise()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_left_the_session_is_not_its_own(tmp_path: Path, number: int) -> None:
    """As a browser does that the user may have opened other pages in."""
    body = f"print(subprocess.Popen({SLEEPER}, start_new_session=True).pid, flush=True); ready(); time.sleep(600)"
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        detached = int(command.stdout)
        try:
            command.send(number)
            command.wait()
            command.until_gone(20)
            os.kill(detached, 0)
        finally:
            os.kill(detached, signal.SIGKILL)


def test_a_child_that_ends_first_is_no_zombie(tmp_path: Path) -> None:
    body = "os.fork() or os.fork() or os._exit(0)\nready(); time.sleep(600)"
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        command.until(lambda: not [line for line in _states(command) if line == "Z"], 20)


def _states(command: Command) -> list[str]:
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [stat[0] for stat in stats if int(stat[3]) == command.process.pid and int(stat[1]) == command.process.pid]


def test_a_kill_ends_the_work_too(tmp_path: Path) -> None:
    with start(tmp_path, "ready(); ctypes.PyDLL(None).sleep(600)") as command:
        started(command, tmp_path)
        command.send(signal.SIGKILL)
        command.wait()
        command.until_gone(20)


def test_unfinished_files_and_temporary_folders_go(tmp_path: Path) -> None:
    body = """
own = private_files.make_temporary_folder("test")
(own / "photo.png").write_bytes(b"private")
def pieces():
    yield b"half"
    ready()
    time.sleep(600)
private_files.write_whole(folder / "new" / "photo.png", pieces())
"""
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        assert len(list(tmp_path.rglob("*.tmp"))) == 1
        assert len(list(tmp_path.glob("facecrypt-test-*/photo.png"))) == 1
        stopped(command, signal.SIGTERM)
    assert {path.name for path in tmp_path.rglob("*")} == {"ready", "new"}


def test_locks_and_empty_folders_go(tmp_path: Path) -> None:
    body = """
from facecrypt.system.locks import locked_folders
with locked_folders(folder / "new" / "out", [folder]):
    ready()
    time.sleep(600)
"""
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        assert len(list(tmp_path.rglob(".facecrypt.lock"))) == 2
        stopped(command, signal.SIGTERM)
    assert {path.name for path in tmp_path.rglob("*")} == {"ready"}


def test_the_lock_of_another_run_stays(tmp_path: Path) -> None:
    """Even one that took it after this one had ended."""
    body = """
from facecrypt.system.locks import lock
with lock(folder / "lock"):
    ready()
    time.sleep(0.5 if sys.argv[2:] else 600)
(folder / "released").touch(); time.sleep(600)
"""
    with start(tmp_path, body, "shortly") as first:
        first.until((tmp_path / "released").exists)
        (tmp_path / "ready").unlink()
        with start(tmp_path, body) as second:
            started(second, tmp_path)
            stopped(first, signal.SIGTERM)
            assert (tmp_path / "lock").exists()
            stopped(second, signal.SIGTERM)
            assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """The next file that is opened must not get the number of a stream, into which others print."""
    body = """
file = open(folder / "file", "w")
os.write(1, b"printed"); print("printed"); print("printed", file=sys.stderr); sys.stdout.isatty()
file.close(); ready(); time.sleep(600)
"""
    with start(tmp_path, body, closed=closed) as command:
        started(command, tmp_path)
        stopped(command, signal.SIGTERM)
        assert ("stopped" in command.stderr) == (2 not in closed)
    assert (tmp_path / "file").read_text() == ""


def test_a_reader_that_stopped_reading_does_not_hold_it_up(tmp_path: Path) -> None:
    full, other = os.pipe()
    os.set_blocking(other, False)
    try:
        while True:
            os.write(other, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(other, True)
    with start(tmp_path, "ready(); time.sleep(600)", before=lambda: os.dup2(other, 2)) as command:
        started(command, tmp_path)
        assert stopped(command, signal.SIGINT) < promise()
    os.close(full)
    os.close(other)


def test_a_terminal_gets_its_cursor_back(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with start(tmp_path, "ready(); time.sleep(600)", before=lambda: os.dup2(theirs, 2)) as command:
        started(command, tmp_path)
        stopped(command, signal.SIGINT)
    os.close(theirs)
    assert os.read(ours, 1000).startswith(b"\x1b[?25h\r\nfacecrypt: stopped: ")
    os.close(ours)


def test_the_line_says_what_is_done(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"protected")
    digest = "6a2e7d2a6a3b8b8a"
    journal = Journal(tmp_path / "journal", [(0, photo, digest), (1, tmp_path / "none.png", digest)])
    journal.settle(2, True)
    journal.settle(3, False)
    journal.close()
    body = f"interrupts.tell_run(Path({str(tmp_path / 'journal')!r}), 9, 'in out'); ready(); time.sleep(600)"
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        stopped(command, signal.SIGINT)
        assert command.stderr == (
            "facecrypt: stopped: 1 of 9 photos are written in out; the same command goes on from there\n"
        )


def test_names_that_the_console_cannot_show(tmp_path: Path) -> None:
    body = "interrupts.tell_ending('kept in caf\\udce9 \\u2713 \\x1b[2J\\n'); ready(); time.sleep(600)"
    with start(tmp_path, body) as command:
        started(command, tmp_path)
        stopped(command, signal.SIGINT)
        assert command.stderr.startswith("facecrypt: stopped: kept in caf\\udce9 ")
        assert command.stderr.endswith(" \\x1b[2J\\n\n")


def test_where_nobody_waits_ctrl_c_says_the_same(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom facecrypt.cli import main as cli; from facecrypt import registry\n"
        "registry.list_components = lambda kind: signal.raise_signal(signal.SIGINT)\n"
        "raise SystemExit(cli.main(['list']))"
    )
    done = run([sys.executable, "-c", code])
    assert done.returncode == 130
    assert done.stderr == "facecrypt: stopped: nothing was changed; the same command starts again\n"


def test_ctrl_c_leaves_lightning_as_it_is() -> None:
    """Lightning would exit with 1, and ignore Ctrl-C from then on."""
    with pytest.raises(KeyboardInterrupt), interrupts.own_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with interrupts.own_signals():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


SAYS = re.compile(r"facecrypt: stopped: (?:(\d+) of (\d+) photos are written .*|nothing was changed; .*)")


def said(command: Command) -> str:
    """The line of a command, after making sure that there is one and no traceback, nor the last line of one.

    A note may name an exception within its line: a mirror that cannot be reached says why.
    """
    assert "Traceback" not in command.stderr
    assert not re.search(r"^[\w.]*(Error|Exception|Interrupt)\b", command.stderr, re.MULTILINE), command.stderr
    (line,) = [line for line in command.stderr.splitlines() if line.startswith("facecrypt: stopped: ")]
    return line


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a short path, as workers need it."""
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        yield Path(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    sample = Image.open(ROOT / "facecrypt/data/sample/astronaut.png").crop((100, 0, 356, 256))
    for number in range(4):
        sample.rotate(2 * number).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
def test_a_run_is_stopped_and_goes_on(photos: Path, short: Path, tmp_path: Path) -> None:
    """By Ctrl-C in a terminal, with two workers; at a umask of 077, nothing that is left is for others."""
    output = tmp_path / "out"
    own = [*RUN, f"photos={photos}", f"output={output}", "workers=2"]
    private = {"TMPDIR": str(short)}
    with Command(own, private, before=lambda: os.umask(0o077)) as command:
        command.until(lambda: list(output.glob("*.png")))
        began = time.monotonic()
        command.send(signal.SIGINT, group=True)
        assert command.wait() == 130
        assert time.monotonic() - began < promise()
        assert command.living() == []
        done = sorted(path.name for path in output.glob("*.png"))
        assert said(command) == (
            f"facecrypt: stopped: {len(done)} of 4 photos are written in {output}; the same command goes on from there"
        )
    assert [path for path in output.rglob("*") if path.suffix in (".tmp", ".lock")] == []
    states = {name: (output / name).read_bytes() for name in done}
    # As if it had been ended between the photo and its record.
    for record in (output / ".facecrypt").glob("*.json"):
        record.unlink()
    with Command(own, private, before=lambda: os.umask(0o077)) as command:
        assert command.wait() == 0, command.stderr
        assert "keep it private" in command.stdout.splitlines()[-1]
    report = json.loads((output / "report.json").read_text())
    assert [len(photo["faces"]) for photo in report["photos"]] == [1] * 4
    assert {name: (output / name).read_bytes() for name in done} == states
    late = [photo for photo in report["photos"] if "measured now" in photo["reason"]]
    assert [Path(photo["source"]).name for photo in late] == done
    assert any(f"{len(done)} photo" in note and "that was done now" in note for note in report["notes"])
    left = [output, *output.rglob("*")]
    assert [path for path in left if path.stat().st_mode & 0o077] == []
    assert {path.name for path in left if path.is_file()} == {
        *(f"{number}.png" for number in range(4)), "report.html", "report.json", "recipe.yaml", "manifest.json"
    }  # fmt: skip


def test_a_download_is_stopped(tmp_path: Path) -> None:
    with serve() as server:
        server.silent = 60
        fetch = [sys.executable, "-m", "facecrypt", "weights", "fetch", "facenet_casia"]
        known = {"FACECRYPT_CACHE": str(tmp_path), "FACECRYPT_MIRROR": server.address, "NO_PROXY": "*"}
        with Command(fetch, known) as command:
            command.until(lambda: server.requests)
            assert stopped(command, signal.SIGINT, group=True) < promise()
            assert said(command).endswith("what was downloaded so far is kept; the same command goes on from there")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.4, 2, 5, 10])
@pytest.mark.parametrize("name", ["run", "evaluate", "bench", "ui", "list", "check"])
def test_every_command_at_every_moment(
    name: str, seconds: float, number: int, photos: Path, short: Path, tmp_path: Path
) -> None:
    arguments = {
        "run": ["recipes/tipim_plus.yaml", f"photos={photos}", f"output={tmp_path / 'out'}", "workers=2"],
        "evaluate": [str(make_benchmark(tmp_path))],
        "bench": ["recipes/quickstart.yaml"],
        "ui": ["--no-browser", "--port", "0"],
        "list": [],
        "check": ["recipes/quickstart.yaml"],
    }[name]
    with Command([sys.executable, "-m", "facecrypt", name, *arguments], {"TMPDIR": str(short)}) as command:
        time.sleep(seconds)
        if command.process.poll() is None:
            assert stopped(command, number, group=True) < promise()
            said(command)
    assert list(short.glob("facecrypt-*-*")) == []


DDP = ("workers=1", "trainer={accelerator: cpu, devices: 2, strategy: ddp}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whom", ["first", "group", "second", "work of the second"])
def test_a_run_of_two_processes(whom: str, number: int, photos: Path, short: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Command([*RUN, f"photos={photos}", f"output={output}", *DDP], {"TMPDIR": str(short)}) as command:
        command.until(lambda: list(output.glob("*.png")))
        (work,) = command.children()
        second = next(each for each in command.children(work) if b"LOCAL_RANK=1" in _environment(each))
        began = time.monotonic()
        if whom in ("first", "group"):
            command.send(number, group=whom == "group")
        else:
            os.kill(second if whom == "second" else command.children(second)[0], number)
        status = command.wait()
        spent = time.monotonic() - began
        command.until_gone(20)
        if number != signal.SIGKILL:
            assert status == 128 + number
            assert spent < promise()
            done = len(list(output.glob("*.png")))
            assert SAYS.fullmatch(said(command))[1] == str(done)  # type: ignore[index]
        else:
            # Whoever waited for a process that was killed ends with an error, if it is not ended before.
            assert status in (-signal.SIGKILL, 128 + signal.SIGKILL, cli.WRONG)
            assert "Traceback" not in command.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_ended_leaves_no_traceback(number: int, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Command([*RUN, f"photos={photos}", f"output={output}", "workers=1", "steps=40"]) as command:
        command.until(lambda: output.exists() and command.children(command.children()[0]))
        (worker,) = command.children(command.children()[0])
        os.kill(worker, number)
        assert command.wait() in (0, 2)  # It may have had nothing left to do.
        assert "Traceback" not in command.stderr
        assert command.process.returncode == 0 or "a process that reads photos ahead was ended" in command.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_runs_that_replace_photos_lose_no_original(number: signal.Signals, tmp_path: Path) -> None:
    kill(tmp_path, 8, number, 0, "originals/{stem}{suffix}", print)


def _environment(process: int) -> bytes:
    return Path("/proc", str(process), "environ").read_bytes()
