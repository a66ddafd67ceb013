from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from facecrypt.benchmark.adversaries.averaging import average, join
from facecrypt.benchmark.adversaries.base import Seen
from facecrypt.photos.files import Photo, read_photo, write_photo
from tests.benchmark.adversaries.embeddings import draw


def test_copies_are_averaged_pixel_by_pixel_and_anew_when_they_change(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (6, 5, 3)).astype(np.uint8) for _ in range(3)]
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, pixels in zip(files, pictures, strict=True):
        write_photo(Photo(file, pixels), pixels, file)
    made = average(files, tmp_path / "mean" / "x.png")
    slow = [
        [[round(sum(int(each[y, x, c]) for each in pictures) / 3) for c in range(3)] for x in range(5)]
        for y in range(6)
    ]
    assert read_photo(made).pixels.tolist() == slow
    before = made.stat().st_mtime_ns
    assert average(files, made).stat().st_mtime_ns == before
    os.utime(files[1], ns=(before + 10**9, before + 10**9))
    assert average(files, made).stat().st_mtime_ns > before


def test_the_mean_embedding_is_that_of_a_person_and_of_the_photos_with_a_face() -> None:
    probes, own = draw(3, 1, 0.5, 1)
    others, labels = draw(3, 2, 0.5, 2)
    seen = Seen(probes * torch.tensor([[1], [0], [0]]), torch.tensor([True, False, False]))
    there = torch.tensor([True, False, True, True, False, False])
    more = Seen(torch.where(there[:, None], others, 0.0), there)
    mean = join(seen, own, more, labels)
    assert mean.found.tolist() == [True, True, False]
    first = probes[0].double() + others[0].double()
    second = others[2].double() + others[3].double()
    assert torch.allclose(mean.embeddings[0].double(), first / first.norm(), atol=1e-6)
    assert torch.allclose(mean.embeddings[1].double(), second / second.norm(), atol=1e-6)
    assert not mean.embeddings[2].any()
