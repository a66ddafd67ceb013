"""One who has several photos of which each is protected otherwise, and averages them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Seen, Shown, rank_by
from facecrypt.benchmark.adversaries.entries import Several
from facecrypt.benchmark.adversaries.galleries import choose_photos, others_of
from facecrypt.photos.files import Photo, read_photo, write_photo

Of = Literal["copies", "photos"]


class Averaging:
    """Averages the pixels of one photo that was protected several times, or the embeddings of several photos.

    Args:
        of: ``copies``: the probe, protected with several seeds, which are those of the recipe and the next ones.
            ``photos``: the probe and other protected photos of the same person, of which at least one stays in the
            gallery.
        count: How many, at most.
    """

    def __init__(self, *, of: Of = "copies", count: Several = 4) -> None:
        self._of, self._count = of, count
        self.rows: Rows = "recipe" if of == "copies" else "all"
        self.needs = Needs(copies=count - 1) if of == "copies" else Needs(collected=True)

    def prepare(self, lab: Lab) -> _OfCopies | _OfPhotos:
        """Return it with what it has of each person."""
        if self._of == "copies":
            return _OfCopies(lab, lab.copies(self._count - 1))
        labels, names = others_of(lab)
        taken: list[int] = []
        for label in dict.fromkeys(labels):
            mine = [index for index, each in enumerate(labels) if each == label]
            most = min(self._count - 1, len(mine) - 1)
            own = [names[index] for index in mine]
            taken += [mine[place] for place in choose_photos([label] * len(mine), own, most, lab.seed)]
        files = lab.others()
        gone = lab.cast.others.places[torch.tensor(taken, dtype=torch.int64)]
        gallery = lab.evaluator.gallery.without(torch.isin(lab.evaluator.places, gone))
        seen = lab.embed([files[index] for index in taken])
        return _OfPhotos(lab, gallery, seen, torch.tensor([labels[index] for index in taken], dtype=torch.int64))


@dataclass(frozen=True)
class _OfCopies:
    lab: Lab
    copies: Sequence[Sequence[Path]]

    def answer(self, shown: Shown) -> Answer:
        others = [shown.after(files, f"copy-{number}") for number, files in enumerate(self.copies, 1)]
        folder = self.lab.folder / f"mean-of-{len(others) + 1}" / shown.name
        files = [
            average(group, folder / f"{number:04d}-{group[0].stem}.png")
            for number, group in enumerate(zip(shown.files, *others, strict=True))
        ]
        gallery = self.lab.evaluator.gallery
        return Answer(rank_by(gallery, self.lab.embed(files)), gallery.size)


def average(files: Sequence[Path], destination: Path) -> Path:
    """Return the file of the mean of photos of one size, made if it is not there or older than they are."""
    newest = max(file.stat().st_mtime_ns for file in files)
    if not destination.is_file() or destination.stat().st_mtime_ns < newest:
        pixels = np.mean([read_photo(file).pixels for file in files], axis=0)
        rounded = np.rint(pixels).astype(np.uint8)
        write_photo(Photo(files[0], rounded), rounded, destination)
    return destination


@dataclass(frozen=True)
class _OfPhotos:
    lab: Lab
    gallery: Gallery
    others: Seen
    labels: Tensor

    def answer(self, shown: Shown) -> Answer:
        probes = self.lab.embed(shown.files)
        return Answer(rank_by(self.gallery, join(probes, self.lab.own, self.others, self.labels)), self.gallery.size)


def join(probes: Seen, own: Tensor, others: Seen, labels: Tensor) -> Seen:
    """Return the mean embedding of each probe and the other photos of its person, of unit length.

    Args:
        probes: The probes; of one without a face, only the others count.
        own: Whom each shows, ``(P,)``.
        others: Other photos.
        labels: Whom each shows, ``(M,)``.
    """
    mine = (own[:, None] == labels) & others.found
    sums = probes.embeddings.double() + mine.double() @ others.embeddings.double()
    return Seen(functional.normalize(sums, dim=1).float(), probes.found | mine.any(dim=1))
