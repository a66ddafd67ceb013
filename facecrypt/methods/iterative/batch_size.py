"""How many faces fit into memory at once, by measuring what one of them needs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from facecrypt.faces.patches import WORKING_SIDE, FaceImage
from facecrypt.methods.iterative.loop import ProtectionLoop
from facecrypt.system import limits
from facecrypt.system.byte_counter import ByteCounter
from facecrypt.targets.selectors import Distances, Situation, TargetSelector
from facecrypt.templates import ARCFACE_TEMPLATE

_MOST = {"cpu": 8, "cuda": 64}
"""More faces at once no longer make a step faster; on a CPU that is measured (docs/performance.md)."""
MOST_AT_ONCE = max(_MOST.values())
"""The most that `faces_at_once` returns."""
_SHARE = 0.5
"""Share of the free memory that the faces may take: photos, judges and the allocator need the rest."""
_MARGIN = 1.5
"""Working memory inside operations and fragmentation, which the measurement does not see."""


def faces_at_once(loop: ProtectionLoop, processes: int = 1) -> int:
    """Return how many faces to protect together on the loop's device, at least 1.

    One iteration of one and of two made-up faces of the largest size is run, and the bytes of its tensors are counted.
    A selector that tries only close targets then finds all equally close: the most that any iteration can need.

    Args:
        loop: What makes the masks.
        processes: How many processes share the machine's main memory.
    """
    device = next(loop.buffers()).device
    one, two = (_peak_bytes(loop, count) for count in (1, 2))
    each = _MARGIN * max(two - one, 1)
    free = _SHARE * (free_memory(device) / (processes if device.type == "cpu" else 1))
    return max(1, min(_MOST.get(device.type, 8), int((free - _MARGIN * (one - (two - one))) / each)))


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device; for the CPU, those of the machine, or of its container if fewer."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else limits.free_memory()


def _peak_bytes(loop: ProtectionLoop, count: int) -> int:
    places = torch.tensor(ARCFACE_TEMPLATE) / 112
    face = FaceImage(
        torch.full((3, WORKING_SIDE, WORKING_SIDE), 0.5),
        torch.ones(1, WORKING_SIDE, WORKING_SIDE),
        (0.1 + 0.8 * places) * WORKING_SIDE,
    )
    settings, selector = loop.settings, loop.target_selector
    try:
        loop.settings, loop.target_selector = replace(settings, steps=1), _Undecided(selector)
        counter = ByteCounter()
        with counter:
            loop.run([face] * count, list(range(count)))
    finally:
        loop.settings, loop.target_selector = settings, selector
    return counter.peak


class _Undecided:
    """A selector before its hardest choice: every target is as close to a face as any other."""

    def __init__(self, selector: TargetSelector) -> None:
        self._selector = selector

    def __call__(self, situation: Situation) -> Tensor:
        """Return what the selector chooses then."""
        to_self, to_targets = situation.now
        even = to_targets.mean(dim=1, keepdim=True).expand_as(to_targets)
        return self._selector(replace(situation, now=Distances(to_self, even)))
