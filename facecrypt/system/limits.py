"""How much memory and time photos may take, what a photo needs, and how many are in flight together.

What is free is asked of the system and of the container; what a photo needs follows from its header, by figures that
docs/photos.md tells how to measure.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from facecrypt.recipe.schema import Limits

Key = TypeVar("Key")

_SHARE = 0.5
"""Share of the free memory that photos may take: networks, faces and whatever else runs need the rest."""
_LEAST = 1 << 20
_MOST = 1 << 60
"""Bytes that no machine has, and that every system counts."""
_UNITS = {"": 1, "B": 1} | {
    f"{letter}{middle}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for middle, base in (("", 1000), ("I", 1024))
}
SECONDS = 20.0
"""Seconds of computing for a photo, where no recipe says otherwise."""


LIBRARIES = 256 << 20
"""Bytes that decoders themselves may take when they are first used, whatever the photo."""


@dataclass(frozen=True)
class Bounds:
    """What the photos of one process may take.

    Attributes:
        memory: Bytes of all photos together that are in flight.
        seconds: Seconds of computing to decode one photo and to read its metadata.
    """

    memory: int
    seconds: float = SECONDS


def resolve(limits: Limits, processes: int = 1) -> Bounds:
    """Return what a recipe allows to each of some processes of this machine.

    Args:
        limits: From the recipe; what it leaves open is decided by what is free now.
        processes: How many share the machine's memory.
    """
    memory = int(_SHARE * free_memory()) if limits.memory is None else parse_size(limits.memory)
    return Bounds(max(_LEAST, memory // processes), limits.seconds)


def current() -> Bounds:
    """Return the bounds of the innermost `applied` block, or those of a recipe that says nothing about them."""
    return _current.get() or Bounds(max(_LEAST, int(_SHARE * free_memory())))


@contextmanager
def applied(bounds: Bounds) -> Iterator[None]:
    """Let bounds hold inside the block, in this thread and in processes that are forked from it."""
    token = _current.set(bounds)
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Bounds | None] = ContextVar("bounds", default=None)


def parse_size(given: int | str) -> int:
    """Return a number of bytes, given as one or as text: ``2 GiB``, ``500MB``.

    Raises:
        ValueError: If it is neither, less than a mebibyte, or more than any machine has.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})", str(given).strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(float(found[1]) * unit) if found and unit and not isinstance(given, bool) else 0
    if not _LEAST <= size <= _MOST:
        raise ValueError(f"{given!r} is no size of at least 1 MiB")
    return size


def show_size(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size < 1000 * unit else f"{size / unit:,.0f} {name}"
    return f"{size / 1024:.3g} KiB"


def free_memory() -> int:
    """Return the bytes of main memory that this process may still take.

    Those that the machine has free, or fewer where its container or its user has a smaller limit.
    """
    return max(0, min([_free_of_machine(), *_free_of_groups(), *_free_of_process()]))


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # No Linux: half of what there is.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 4 << 30


def _free_of_groups() -> list[int]:
    """Return what each control group leaves that holds this process; a container's own is at the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    free = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        names = ("memory.max", "memory.current", "inactive_file")
        root = _GROUPS
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), root / "memory"
        folder = root / place.lstrip("/")
        for group in (folder, *folder.parents) if ".." not in folder.parts else (root,):
            if group == root.parent:
                break
            free += _free_of_group(group, *names)
    return free


_GROUPS = Path("/sys/fs/cgroup")


def _free_of_group(group: Path, most: str, used: str, cached: str) -> list[int]:
    try:
        limit, now = (group / most).read_text().strip(), int((group / used).read_text())
        if limit == "max":
            return []
        # What the system keeps of files that were read counts as used, and is given back when it is wanted.
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return [int(limit) - now + int(counts.get(cached, 0))]
    except (OSError, ValueError):
        return []


def _free_of_process() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    bounds = {
        "VmSize": resource.getrlimit(resource.RLIMIT_AS)[0],
        "VmData": resource.getrlimit(resource.RLIMIT_DATA)[0],
    }
    if max(bounds.values()) < 0:
        return []
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    except OSError:
        return []
    return [bound - 1024 * int(status[name].split()[0]) for name, bound in bounds.items() if bound >= 0]


@dataclass(frozen=True)
class Need:
    """What a photo takes of main memory, in bytes.

    Attributes:
        held: From when it is read until it is saved and verified.
        work: On top, while it is decoded, searched, changed, written or verified.
    """

    held: int
    work: int

    @property
    def total(self) -> int:
        """The most at any time."""
        return self.held + self.work


def need_of(width: int, height: int, file_format: str, *, bits: int, alpha: bool, file_bytes: int) -> Need:
    """Return what a photo needs from being read to being verified.

    Args:
        width: Of the picture, in pixels.
        height: Likewise.
        file_format: Pillow's name of its format, in which it is written again.
        bits: Bits per channel, 8 or 16.
        alpha: Whether it has transparency.
        file_bytes: Size of the file.
    """
    pixels = width * height
    deep = bits > 8
    held = (_HELD_DEEP if deep else _HELD) * (4 if alpha else 3) // 3
    work = _WORK_DEEP if deep else _WORK.get(file_format, _WORK_OTHERWISE)
    return Need(held * pixels, work * pixels + min(pixels, _SEARCHED) * _SEARCH + _COPIES * file_bytes + _WORK_LEAST)


# Bytes per pixel and per byte of the file, as measured by tests/measure_memory.py and rounded up. The encoders of the
# formats that are named take the most.
_HELD, _HELD_DEEP = 3, 9
_WORK = {"AVIF": 56, "HEIF": 36, "WEBP": 32}
_WORK_OTHERWISE, _WORK_DEEP = 22, 60
_SEARCHED, _SEARCH = 1600 * 1600, 60
_COPIES = 3
_WORK_LEAST = 16 << 20


def batches(
    keys: Iterable[Key], size: int, measure: Callable[[Key], Need], memory: int, *, readers: int = 0, ahead: int = 0
) -> Iterator[list[Key]]:
    """Yield photos in batches that fit into memory together with those that are still in flight.

    A photo that fits beside no other one is alone in its batch, and empty batches before it let those in flight pass.

    Args:
        keys: The photos.
        size: The most of a batch.
        measure: Says what a photo needs; asked just before its batch is yielded.
        memory: Bytes that all may take together.
        readers: Processes that read photos beside the one that takes the batches.
        ahead: How many batches are in flight beside each one: read before it is their turn, or not done yet.
    """
    flying: deque[list[Need]] = deque([[] for _ in range(ahead)], maxlen=ahead)
    batch: list[Key] = []
    needs: list[Need] = []
    for key in keys:
        need = measure(key)
        while len(batch) == size or not _fits([*flying, [*needs, need]], memory, readers):
            if not batch and not any(flying):
                break  # Alone it needs what it needs: whoever reads it decides.
            yield batch
            flying.append(needs)
            batch, needs = [], []
        batch.append(key)
        needs.append(need)
    if batch:
        yield batch


def _fits(flying: list[list[Need]], memory: int, readers: int) -> bool:
    needs = [need for batch in flying for need in batch]
    at_work = sorted((need.work for need in needs), reverse=True)[: readers + 1]
    return sum(need.held for need in needs) + sum(at_work) <= memory
