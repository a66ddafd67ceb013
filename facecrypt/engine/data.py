"""Which photos each process of a run protects, and how they reach it: searched ahead, balanced by faces, in batches."""

from __future__ import annotations

import heapq
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import lightning
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from facecrypt.engine.dataset import Job, Photos
from facecrypt.engine.selection import Selection
from facecrypt.errors import FacecryptError
from facecrypt.methods.base import MethodModule
from facecrypt.methods.iterative.batch_size import faces_at_once
from facecrypt.methods.iterative.loop import ProtectionLoop
from facecrypt.recipe.schema import Limits
from facecrypt.system import interrupts, limits

_FACES_OF_A_METHOD = 8
"""Faces together where ``batch_size: auto`` meets a method of which nobody knows what it needs."""


class PhotoShares(lightning.LightningDataModule):
    """Gives each process of a Trainer its photos.

    With several processes, each first searches every n-th photo for faces; they tell each other what they found, and
    each works out the same balanced shares. So no photo is searched twice. Aligned faces need no search: one photo is
    one face.

    Args:
        photos: All photos of the run.
        loop: Makes the masks, at the strongest level; what it needs for a face is measured where the batch
            size is left open.
        batch_size: Faces together, or ``auto``.
        workers: Processes that read photos ahead.
        allowed: What photos may take of memory and time.
        aligned: Whether each photo is one aligned face.

    Raises:
        FacecryptError: If processes that read ahead could not send what they read.
    """

    def __init__(
        self,
        photos: Photos,
        loop: ProtectionLoop | MethodModule,
        *,
        batch_size: int | Literal["auto"],
        workers: int,
        allowed: Limits,
        aligned: bool,
    ) -> None:
        super().__init__()
        if workers:
            _check_temporary_folder(tempfile.gettempdir())
        # More processes than photos: those without one have nothing to do, which is no fault.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.share: list[int] = []
        self.faces_per_batch = 0
        self._batch_size = batch_size
        self._workers = workers
        self._allowed = allowed
        self._aligned = aligned
        self._photos = photos
        self._loop = loop
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def predict_dataloader(self) -> DataLoader[list[Job]]:
        """Return the photos of this process; every process must call it, when its device is ready."""
        trainer = self.trainer
        assert trainer is not None
        if threading.current_thread() is threading.main_thread():
            # Lightning has just made it wait for the other processes, which may have got the signal as well.
            signal.signal(signal.SIGTERM, self._on_sigterm)
        ranks, rank = trainer.world_size, trainer.global_rank
        # The processes of one machine share its main memory, and each has a graphics card of its own.
        here = max(1, ranks // trainer.num_nodes)
        self._photos.bounds = limits.resolve(self._allowed, here)
        if self._batch_size == "auto" and isinstance(self._loop, MethodModule):
            self.faces_per_batch = _FACES_OF_A_METHOD
        elif self._batch_size == "auto":
            assert isinstance(self._loop, ProtectionLoop)
            self.faces_per_batch = faces_at_once(self._loop, here)
        else:
            self.faces_per_batch = self._batch_size
        if ranks == 1:
            self.share = list(range(len(self._photos)))
        elif self._aligned:
            self.share = list(range(rank, len(self._photos), ranks))
        else:
            self._photos.found = self._search(ranks, rank)
            counts = [0] * len(self._photos)
            for index, selection in self._photos.found.items():
                counts[index] = len(selection.faces)
            self.share = share_out(counts, ranks)[rank]
        # Two batches for each worker are in flight beside the one whose masks are being made.
        ahead = _READ_AHEAD * self._workers
        return DataLoader(
            _Together(self._photos),
            batch_size=None,
            sampler=_Batches(self.share, self.faces_per_batch, self._photos, self._workers, ahead),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            prefetch_factor=_READ_AHEAD if self._workers else None,
            worker_init_fn=interrupts.start_worker,
        )

    def transfer_batch_to_device(self, batch: list[Job], device: torch.device, dataloader_idx: int) -> list[Job]:
        """Leave photos where they are: the loop moves the patches, and nothing else is needed on the device."""
        return batch

    def _search(self, ranks: int, rank: int) -> dict[int, Selection]:
        """Return the choice of faces in all photos that can be read, by the number of the photo, from all processes."""
        mine = range(rank, len(self._photos), ranks)
        # Only what is found comes out of the workers: a photo has many millions of bytes.
        ahead = max(0, _READ_AHEAD * self._workers - 1)
        loader = DataLoader(
            _Search(self._photos),
            batch_size=None,
            sampler=_Batches(mine, 1, self._photos, self._workers, ahead),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            prefetch_factor=_READ_AHEAD if self._workers else None,
            worker_init_fn=interrupts.start_worker,
        )
        found = {index: selection for batch in loader for index, selection in batch if selection is not None}
        parts: list[dict[int, Selection]] = [{} for _ in range(ranks)]
        distributed.all_gather_object(parts, found)
        return {index: selection for part in parts for index, selection in part.items()}


_READ_AHEAD = 2


class _Batches(Sampler[list[int]]):
    """Which photos are read together: as many as are asked for, or fewer where more would not fit into memory.

    What a photo needs is measured when its turn comes, so that the first batch does not wait for the headers of all.
    """

    def __init__(self, share: Sequence[int], size: int, photos: Photos, workers: int, ahead: int) -> None:
        self._share = share
        self._size = size
        self._photos = photos
        self._workers = workers
        self._ahead = ahead

    def __iter__(self) -> Iterator[list[int]]:
        if len(self._share) == 1 or self._size == 1 + self._ahead:
            return iter([[index] for index in self._share])  # Nothing is in flight beside it.
        return limits.batches(
            self._share,
            self._size,
            self._photos.measure,
            self._photos.bounds.memory,
            readers=self._workers,
            ahead=self._ahead,
        )

    def __len__(self) -> int:
        """Return the most that there can be: each photo alone, and those in flight let pass before it."""
        return len(self._share) * (1 + self._ahead)


class _Together(Dataset[list[Job]]):
    """The photos of a batch."""

    def __init__(self, photos: Photos) -> None:
        self._photos = photos

    def __getitem__(self, indices: Sequence[int]) -> list[Job]:
        return [self._photos[index] for index in indices]


class _Search(Dataset[list[tuple[int, Selection | None]]]):
    """The choice of faces in the photos of a batch, with the numbers of these."""

    def __init__(self, photos: Photos) -> None:
        self._photos = photos

    def __getitem__(self, indices: Sequence[int]) -> list[tuple[int, Selection | None]]:
        return [(index, self._photos.search(index)) for index in indices]


def _as_it_is(batch: Any) -> Any:
    return batch


def share_out(counts: Sequence[int], ranks: int) -> list[list[int]]:
    """Return the photos of each process, such that all have about as many faces.

    The photos with most faces go first, each to the process with fewest faces so far (Graham's rule, at most 4/3 of the
    best possible); photos without faces go where fewest photos are.

    Args:
        counts: Faces of each photo.
        ranks: Number of processes.

    Returns:
        Indices of photos in ascending order, for each process.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [(0, 0, rank) for rank in range(ranks)]
    for index in sorted(range(len(counts)), key=lambda index: -counts[index]):
        faces, photos, rank = loads[0]
        heapq.heapreplace(loads, (faces + counts[index], photos + 1, rank))
        shares[rank].append(index)
    return [sorted(share) for share in shares]


_LONGEST_TEMPORARY_FOLDER = 75
"""Bytes. Processes send tensors through sockets in it, whose whole path has 107 at most, or they would wait forever."""


def _check_temporary_folder(folder: str) -> None:
    length = len(os.fsencode(folder))
    if os.name == "posix" and length > _LONGEST_TEMPORARY_FOLDER:
        raise FacecryptError(
            f"workers: the path of the temporary folder {folder} has {length} bytes, and processes that read ahead can "
            f"send nothing where it has more than {_LONGEST_TEMPORARY_FOLDER}. Set TMPDIR to a shorter one, or workers "
            "to 0."
        )
