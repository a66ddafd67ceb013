"""How a command ends when it is told to: at any moment, within seconds, in one line, and with nothing left behind.

A command is two processes. One does the work. The other waits for it and for signals, and can be kept from answering by
nothing: neither by native code that runs for long nor by a library that treats signals its own way. Since files appear
whole or not at all, work may be cut off anywhere. So a signal kills it, as ``kill -9`` would; then the waiting process
ends what the work has started, removes unfinished files, and says what is done.

Where a process cannot be forked (Windows), Ctrl-C raises KeyboardInterrupt as in any Python program.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # What typing, json and pathlib take to import is time in which Ctrl-C shows a traceback.
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

_FAMILY = "FACECRYPT_FAMILY"
"""Environment variable by which a process of a run knows who waits for its parent: ``<who waits>:<parent>``."""
_RANKS = ("LOCAL_RANK", "RANK", "SLURM_PROCID")
"""Set by who starts several processes of one run: Lightning, torchrun, SLURM. The first one has the number 0."""
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_PULSE = 1.0  # seconds between looks at whether the parent of a rank still lives
_PATIENCE = 2.0  # seconds until processes are ended that outlive work that came to its end
_GRACE = 1.0  # seconds between asking a process to end and ending it
_LOOK = 1.5  # seconds to look at files for what is done
_MOST_UNFINISHED = 64
_KEPT_SIGNAL = 128  # what a shell adds to the number of the signal that ended a program
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def supervise() -> None:
    """Go on in a second process, while this one waits for it, for signals, and exits as it does.

    To be called first of all by a program; returns in the second process only. Signals that are ignored stay so, as
    under ``nohup`` or in a shell's background.
    """
    global _channel
    if os.name != "posix" or _channel is not None:
        return
    _open_standard_streams()
    waiting, family, parent = os.getpid(), os.environ.get(_FAMILY, ""), os.getppid()
    signals = [each for each in _stops() if signal.getsignal(each) != signal.SIG_IGN]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Ignored, as some programs leave it, it would tell no exit status.
    # What arrives meanwhile is kept for whoever this process is then.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGCHLD})
    hears, tells = os.pipe()
    child = os.fork()
    if child:
        os.close(tells)
        further = family.endswith(f":{parent}") and _RANKS[0] in os.environ
        starter = int(family.partition(":")[0]) if further else None
        os._exit(_Supervisor(child, hears, signals, starter).run(before))
    os.close(hears)
    for each in signals:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    end_with(waiting)
    os.environ[_FAMILY] = f"{waiting}:{os.getpid()}"
    sys.excepthook = _show_late
    _channel = tells


def tell_ending(text: str) -> None:
    """Say what to tell the user if the command is stopped from now on.

    Args:
        text: What is done, and how to go on.
    """
    _tell({"text": text})


def tell_run(journal: Path, photos: int, where: str) -> None:
    """Say how to know what is done if the command is stopped from now on.

    Args:
        journal: The file of a `facecrypt.system.journal.Journal`.
        photos: How many photos there are in all.
        where: Where the protected ones are.
    """
    _tell({"journal": str(journal.absolute()), "photos": photos, "where": where})


def tell_unfinished(path: Path) -> None:
    """Say that a file, if it is there when the command is stopped, is to be removed."""
    if _channel is not None:
        _tell({"unfinished": str(path.absolute())})


def tell_lock(path: Path) -> None:
    """Say that a lock is held, whose file is to be removed if the command is stopped.

    Args:
        path: The file of a `facecrypt.system.locks.lock`.
    """
    if _channel is not None:
        _tell({"lock": str(path.absolute())})


def tell_folder(path: Path) -> None:
    """Say that a folder was made, which is to be removed if the command is stopped while nothing is in it."""
    if _channel is not None:
        _tell({"folder": str(path.absolute())})


def ending() -> str:
    """Return the line for the user of a command that is stopped now."""
    return _account.line()


def end_with(parent: int) -> None:
    """Let this process end as soon as another one does.

    Args:
        parent: The process that started this one.
    """
    if os.name != "posix":
        return
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    elif os.getppid() != parent:  # It has ended before.
        os._exit(_KEPT_SIGNAL + signal.SIGKILL)


def start_worker(number: int) -> None:
    """Let a worker of a DataLoader end with the process that started it, and only so, even by Ctrl-C in a terminal.

    Args:
        number: The number of the worker, which says nothing here.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(os.getppid())


@contextmanager
def own_signals() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in a block that runs Lightning, which would exit and ignore it ever after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except _InterruptedError:
        raise KeyboardInterrupt from None
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _InterruptedError(BaseException):
    """Ctrl-C, by a name that no library knows."""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _InterruptedError


class _Account:
    """What is done, as far as the work has told."""

    def __init__(self) -> None:
        self.unfinished: deque[str] = deque(maxlen=_MOST_UNFINISHED)
        self.locks: set[str] = set()
        self.folders: list[str] = []
        self._text = "nothing was changed; the same command starts again"
        self._run: dict[str, Any] | None = None

    def take(self, message: dict[str, Any]) -> None:
        if "unfinished" in message:
            self.unfinished.append(message["unfinished"])
        elif "lock" in message:
            self.locks.add(message["lock"])
        elif "folder" in message:
            self.folders.append(message["folder"])
        elif "text" in message:
            self._text, self._run = message["text"], None
        else:
            self._run = message

    def line(self) -> str:
        text = self._text
        if self._run is not None:
            from pathlib import Path

            from facecrypt.system.journal import count_protected

            done = count_protected(Path(self._run["journal"]), _LOOK)
            text = f"{done} of {self._run['photos']} photos are written {self._run['where']}; "
            text += "the same command goes on from there"
        # Names of files come from anywhere, and some would move the cursor.
        return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


_account = _Account()
_channel: int | None = None
_telling = threading.Lock()


def _tell(message: dict[str, Any]) -> None:
    _account.take(message)
    if _channel is not None:
        import json

        with _telling, suppress(BrokenPipeError):
            os.write(_channel, json.dumps(message).encode() + b"\n")


class _Supervisor:
    """The process that waits.

    Args:
        child: The process that works.
        channel: Where that one tells what it does.
        signals: The signals that stop it.
        starter: The process that waits for the one which started this one as a further process of its run, if it did.
    """

    def __init__(self, child: int, channel: int, signals: Sequence[signal.Signals], starter: int | None) -> None:
        self._child = child
        self._channel = channel
        self._signals = signals
        self._starter = starter
        self._parent = os.getppid()
        self._started = starter is not None or _TORCHRUN in os.environ
        self._quiet = starter is not None or any(os.environ.get(name, "0") not in ("", "0") for name in _RANKS)
        self._status: int | None = None
        self._account = _Account()
        self._heard = b""
        self._more = True

    def run(self, mask: set[int | signal.Signals]) -> int:
        """Wait, end what is left, and return the exit status.

        Args:
            mask: The signals to block from now on.
        """
        woken, wakes = os.pipe()
        for end in (woken, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for each in (*self._signals, signal.SIGCHLD):
            signal.signal(each, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        stop: int | None = None
        while stop is None and self._status is None:
            ready, _, _ = select.select([woken, self._channel] if self._more else [woken], [], [], _PULSE)
            came = os.read(woken, 4096) if woken in ready else b""
            if self._channel in ready:
                self._hear()
            self._reap()
            stop = next((number for number in came if number in self._signals), None)
            if self._started and os.getppid() != self._parent:
                stop, self._quiet = signal.SIGTERM, True
        if self._status is not None and os.WIFEXITED(self._status):
            self._end_all(_PATIENCE)
            return os.WEXITSTATUS(self._status)
        number = stop or os.WTERMSIG(self._status or 0)
        self._pass_on(number)
        self._end_all(0.0)
        self._tidy()
        if not self._quiet:
            self._say(number)
        return _KEPT_SIGNAL + number

    def _hear(self) -> None:
        """Take what the work tells."""
        import json

        data = os.read(self._channel, 1 << 16)
        self._more = bool(data)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._account.take(json.loads(line))

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return
                if process == self._child:
                    self._status = status

    def _pass_on(self, number: int) -> None:
        """Let a signal for one process of a run end the run."""
        if self._starter is not None and number in _stops() and os.getppid() == self._parent:
            with suppress(OSError):
                os.kill(self._starter, number)

    def _end_all(self, patience: float) -> None:
        """End the work and what it has started, but for what left the session, as a user's browser does.

        Args:
            patience: Seconds to wait for processes to end by themselves.
        """
        begin, sent = time.monotonic(), set[tuple[int, int]]()
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
        while True:
            self._reap()
            left = _descendants() if sys.platform == "linux" else []
            spent = time.monotonic() - begin - patience
            # The work is over when it tells its status: until then, threads of it may have files open.
            if (not left and self._status is not None) or spent > 2 * _GRACE:
                return
            if spent >= 0:
                for process in left:
                    number = signal.SIGTERM if spent < _GRACE else signal.SIGKILL
                    if (process, number) not in sent:
                        sent.add((process, number))
                        with suppress(OSError):
                            os.kill(process, number)
            time.sleep(0.01)

    def _tidy(self) -> None:
        """Remove what the work would have removed."""
        from pathlib import Path

        from facecrypt.system.locks import remove_dead
        from facecrypt.system.private_files import sweep_temporary_folders

        while self._more and select.select([self._channel], [], [], 0)[0]:
            self._hear()
        for path in self._account.unfinished:
            with suppress(OSError):
                os.unlink(path)
        for path in self._account.locks:
            with suppress(OSError):
                remove_dead(Path(path))
        for path in reversed(self._account.folders):
            with suppress(OSError):
                os.rmdir(path)
        sweep_temporary_folders()

    def _say(self, number: int) -> None:
        what = "stopped" if number in _stops() else f"ended by signal {number} ({signal.strsignal(number)})"
        if number == signal.SIGKILL:
            what += ", as where memory runs out"
        line = f"facecrypt: {what}: {self._account.line()}\n"
        with suppress(OSError, ValueError):
            if os.isatty(2) and os.environ.get("TERM") != "dumb":
                line = f"\x1b[?25h\n{line}"  # A progress bar hides the cursor.
            if select.select([], [2], [], _GRACE)[1]:  # Whoever should read it may have stopped doing so.
                os.write(2, line.encode(sys.stderr.encoding or "ascii", "backslashreplace"))


def _stops() -> tuple[signal.Signals, ...]:
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _descendants() -> list[int]:
    """Return the living processes of this session that this one or its descendants have started."""
    children: dict[int, list[int]] = {}
    own = set[int]()
    session = os.getsid(0)
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _, its_session = file.read().rpartition(b")")[2].split()[:4]
                children.setdefault(int(parent), []).append(int(name))
                if int(its_session) == session and state not in (b"Z", b"X"):
                    own.add(int(name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return [process for process in found if process in own]


def _prctl(option: int, value: int) -> bool:
    """Ask Linux for something about this process, and return whether it agrees."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PULSE)
    os._exit(_KEPT_SIGNAL + signal.SIGKILL)


def _open_standard_streams() -> None:
    """Put the null device where a standard stream is closed: another file would get its number, and be printed into."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # It gets the lowest number that is free.
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


def _show_late(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what nobody caught, unless it came of the end of another process of a run that is being stopped."""
    time.sleep(_GRACE)
    sys.__excepthook__(kind, error, trace)
