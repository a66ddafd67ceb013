"""A process of this program that does one thing at a time for it and can be ended while it does: on time, on memory.

Libraries that read other people's files cannot be interrupted, and some need gigabytes for a file of a few bytes. In a
process of their own they can be stopped, whatever they do. It bounds time and memory. It is no sandbox: it may do
whatever its user may do.

A child imports what its task needs and never torch. It is started with ``subprocess``, because ``multiprocessing``
forbids the workers of a data loader to have children and imports the program's main file anew.
"""

from __future__ import annotations

import importlib
import math
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import IO, Any, TypeVar

import numpy as np

from facecrypt.errors import FacecryptError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Result = TypeVar("Result")

_START_SECONDS = 120
"""How long a child may take to come up on a machine that is busy with something else."""
_WALL_FACTOR = 6 if resource else 3
"""How much longer than the seconds of computing a task may take, since a busy machine computes something else."""
_PIPE_BYTES = 1 << 20
_LENGTHS = struct.Struct("<QI")
_BOOT = """import sys
sys.path[:] = sys.argv[3:]
from facecrypt.system.child import serve
serve(sys.argv[1], int(sys.argv[2]))"""


class ChildError(Exception):
    """A task that its child could not finish.

    Attributes:
        overtime: Whether it was ended because it took too long; otherwise the child crashed.
    """

    def __init__(self, reason: str, *, overtime: bool) -> None:
        super().__init__(reason)
        self.overtime = overtime


class Child:
    """A process that calls functions. It starts with the first call, and anew after one that ended it.

    It ends with the process that made it, however that ends. Threads wait for each other; a forked process has no
    part in the children of the process that it was forked from, and gets one of its own with its first call.

    Args:
        module: What it imports when it starts.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Child] | None = None
        self._life = -1
        self._ready = False
        self._lock = threading.Lock()
        _watch_forks()
        _children.add(self)

    def start(self) -> None:
        """Start the process ahead of the first call, without waiting for it."""
        with self._lock:
            self._start()

    def call(
        self, function: Callable[..., Result], *arguments: object, seconds: float, memory: int | None = None
    ) -> Result:
        """Return what a function returns that the child calls.

        Args:
            function: A function of a module, which the child imports; its result and its `FacecryptError` or
                `MemoryError` come back. Arrays in the result are read-only.
            arguments: Its arguments.
            seconds: Computing time that it may take, on all cores together; several times as long by the clock.
            memory: Bytes that it may take; None for any number. Only Linux can hold a process to that.

        Raises:
            ChildError: If it takes longer, or the child crashes. The next call has a new child.
        """
        with self._lock:
            process = self._start()
            assert process.stdin
            assert process.stdout
            clock: _Clock | None = None
            try:
                if not self._ready:
                    clock = _Clock(process, _START_SECONDS)
                    _receive(process.stdout)
                    clock.stop()
                    self._ready = True
                clock = _Clock(process, _WALL_FACTOR * seconds)
                _send(process.stdin, (function, arguments, seconds, memory))
                status, value = _receive(process.stdout)
                clock.stop()
            except BaseException as error:
                # Whatever stopped this call, as Ctrl+C may, an answer that comes too late must meet no other question.
                if clock:
                    clock.stop()
                code = self._end(process)
                if not isinstance(error, EOFError | OSError):
                    raise
                if not self._ready:
                    raise RuntimeError(f"a child process of facecrypt could not start (exit status {code})") from error
                overtime = clock is not None and clock.fired
                raise _explain(code, overtime, seconds) from error
            if clock.fired:  # after the answer
                self._end(process)
        if status == "error":
            raise value
        if status == "bug":
            raise RuntimeError(f"in a child process of facecrypt:\n{value}")
        result: Result = value
        return result

    def close(self) -> None:
        """End the process; the next call starts another one."""
        with self._lock:
            if self._process:
                self._end(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is None:
            return self._process
        if self._process:
            self._end(self._process)
        # Threads of mathematical libraries would take memory each, and what a child does needs none of them.
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = [os.path.abspath(folder) for folder in sys.path]
        life, self._life = os.pipe() if sys.platform == "linux" else (-1, -1)
        command = [sys.executable, "-P", "-c", _BOOT, self._module, str(life), *path]
        # A group of its own: Ctrl+C in the terminal is for the parent, which ends the child when it is done.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {"creationflags": _WINDOWS_GROUP}
        try:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | alone,
                cwd=os.path.abspath(os.sep),  # so that it holds no folder that somebody wants to remove
                pass_fds=() if life < 0 else (life,),
                **group,
            )
        except BaseException:
            _close(self._life)
            raise
        finally:
            _close(life)
        self._finalizer = weakref.finalize(self, _end, self._process, self._life)
        self._ready = False
        assert self._process.stdout
        _enlarge(self._process.stdout)
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        if self._finalizer:
            self._finalizer.detach()
        self._process = self._finalizer = None
        return _end(process, self._life)

    def _leave(self) -> None:
        """Let go of a child of the process that this one was forked from."""
        if self._process:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            _close(self._life)
            self._process.returncode = 0  # it is not for this process to wait for it
        if self._finalizer:
            self._finalizer.detach()
        self._process = self._finalizer = None
        self._lock = threading.Lock()


def _end(process: subprocess.Popen[bytes], life: int) -> int:
    """End a process and return its exit status."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    try:
        # It may be about to end by itself, and its own status says why.
        return process.wait(timeout=_MOMENT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        _close(life)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


_MOMENT = 0.2
_WINDOWS_GROUP = 0x00000200 | 0x08000000
"""CREATE_NEW_PROCESS_GROUP and CREATE_NO_WINDOW, which `subprocess` has on Windows only."""
_children: weakref.WeakSet[Child] = weakref.WeakSet()


class _Clock:
    """Kills a process after some seconds, unless it is stopped before."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()


def _explain(code: int, overtime: bool, seconds: float) -> ChildError:
    if overtime or (resource and code == -signal.SIGXCPU):
        return ChildError(f"takes more than {seconds:g} s", overtime=True)
    if code < 0:
        try:
            ended = signal.Signals(-code).name
        except ValueError:
            ended = f"signal {-code}"
    else:
        ended = f"exit status {code}"
    return ChildError(f"the process that read it crashed ({ended})", overtime=False)


def _watch_forks() -> None:
    global _watching
    if not _watching and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_all)
        _watching = True


def _leave_all() -> None:
    for child in _children:
        child._leave()


_watching = False


def lower_memory(memory: int) -> None:
    """Let a task have less memory than its call said, from now on; without effect outside a child.

    Args:
        memory: Bytes that it may take in all.
    """
    if _task and memory < _task[0]:
        _bound_memory(_task[1], memory)


# What goes through the pipes: a pickle, and after it the bytes of arrays, which are copied as little as can be.


def _send(pipe: IO[bytes], message: object) -> None:
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    lengths = struct.pack(f"<{len(views)}Q", *(view.nbytes for view in views))
    _write(pipe, _LENGTHS.pack(len(body), len(views)) + lengths + body)
    for view in views:
        _write(pipe, view)


def _write(pipe: IO[bytes], data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def _receive(pipe: IO[bytes]) -> Any:
    """Return the next message.

    Raises:
        EOFError: If there is none any more.
    """
    size, count = _LENGTHS.unpack(_read(pipe, _LENGTHS.size))
    lengths = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    body = _read(pipe, size)
    return pickle.loads(body, buffers=[_read(pipe, length) for length in lengths])


def _read(pipe: IO[bytes], size: int) -> memoryview:
    # NumPy asks for large pages, so that a photo takes a few of them and not thousands.
    data = np.empty(size, np.uint8).data
    rest = data
    while rest:
        count = pipe.readinto(rest)  # type: ignore[attr-defined]  # it is a raw file
        if not count:
            raise EOFError
        rest = rest[count:]
    return data.toreadonly()


def _enlarge(pipe: IO[bytes]) -> None:
    """Let more bytes into a pipe at once, where the system can do that: fewer turns for a photo."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        pass


# The child's side


def serve(module: str, life: int) -> None:
    """Call functions for the parent until it ends or closes the pipe.

    Args:
        module: What to import before it is told that this process is ready.
        life: A pipe that the parent holds open while it lives, and writes nothing to; -1 where there is none.
    """
    questions, answers = (os.fdopen(os.dup(number), mode, 0) for number, mode in ((0, "rb"), (1, "wb")))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # so that no library reads or writes what is not for it
        os.dup2(nothing, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _end_with_parent(life)
    importlib.import_module(module)
    try:
        _send(answers, "ready")
        os.dup2(nothing, 2)  # decoders talk
        while True:
            question = _receive(questions)
            answer = _answer(*question)
            _send(answers, answer)
            del answer, question  # they may be large
    except (EOFError, BrokenPipeError):
        os._exit(0)


def _answer(function: Callable[..., Any], arguments: Any, seconds: float, memory: int | None) -> tuple[str, Any]:
    _bound_time(seconds)
    try:
        if memory is not None:
            _task[:] = memory, _data_bytes()
            _bound_memory(_task[1], memory)
        return "result", function(*arguments)
    except (FacecryptError, MemoryError) as error:
        return "error", error.with_traceback(None)
    except Exception:
        return "bug", traceback.format_exc()
    finally:
        _bound_memory(0, None)
        _task.clear()


_task: list[int] = []
"""In a child: the bytes that its task may take, and those that it had before."""


def _bound_time(seconds: float) -> None:
    """Let the system end this process when it has computed for some more seconds."""
    if resource:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _bound_memory(before: int, memory: int | None) -> None:
    """Let the system give this process only so much memory beyond what it had before."""
    if resource and sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = hard if memory is None else before + memory
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard < 0 else min(soft, hard), hard))


def _data_bytes() -> int:
    """Return the bytes of memory that this process could write to."""
    try:
        with open("/proc/self/status", "rb") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(b"VmData:"))
    except (OSError, StopIteration):  # no Linux, where there is no bound either
        return 0


def _end_with_parent(life: int) -> None:
    """End this process when its parent ends, even where no line of Python runs until later.

    Linux sends SIGIO, which ends a process, when a pipe closes, or when something comes through it: so it is one of its
    own. That questions come through would not do: the signal for the last bytes of one may come after they were read.

    Args:
        life: The pipe; -1 where it is not Linux.
    """
    if sys.platform == "linux":
        import fcntl
        import select

        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(life, 0)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            os._exit(0)
    else:
        threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process soon after its parent."""
    if sys.platform == "win32":
        import _winapi

        handle = _winapi.OpenProcess(0x00100000, False, os.getppid())  # SYNCHRONIZE
        _winapi.WaitForSingleObject(handle, _winapi.INFINITE)
    else:
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(1)
    os._exit(0)
