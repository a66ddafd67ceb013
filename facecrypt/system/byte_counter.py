"""How many bytes torch's tensors take, counted as they come and go."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class ByteCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types.
    """Counts the bytes of all tensors that come to life inside the block, and the most at any time.

    Attributes:
        peak: The most at any time.

    Args:
        limit: The most that there may be: an operation that would make more raises `MemoryError` and is not begun.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._limit = limit
        self._now = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            self._limit is not None
            and not func.is_view
            and self._now + _predict(func, args, kwargs or {}) > self._limit
        ):
            raise MemoryError(f"it takes more than {self._limit >> 20} MiB of memory")
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._known:
                    self._known.add(storage)
                    self._now += storage.nbytes()
                    self.peak = max(self.peak, self._now)
                    weakref.finalize(storage, self._free, storage.nbytes())
        return result

    def _free(self, size: int) -> None:
        self._now -= size


def _predict(func: Any, args: Any, kwargs: Any) -> int:
    """Return the bytes of what an operation makes, without making it; 0 where only the values tell."""
    try:
        made = func(*tree_map(_hollow, args), **tree_map(_hollow, kwargs))
    except Exception:  # torch has many classes of errors, and the operation itself will raise it if it is one
        return 0
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))


def _hollow(value: Any) -> Any:
    """Return a tensor without values, and a device without memory for one."""
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return torch.device("meta") if isinstance(value, torch.device) else value
