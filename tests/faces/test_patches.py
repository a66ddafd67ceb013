from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facecrypt.faces.face import Face, Patch
from facecrypt.faces.patches import WORKING_SIDE, add_masks, cut
from facecrypt.photos.files import Photo, read_photo


def test_masks_change_nothing_outside_patches_and_stay_within_epsilon(photo: Photo, face: Face) -> None:
    other = Face(face.box, face.landmarks, Patch(face.patch.left + 30, face.patch.top - 60, face.patch.side))
    masks = [torch.full_like(cut(photo, each).pixels, 12 / 255) for each in (face, other)]
    changed = add_masks(photo, [face, other], masks, 12)
    difference = changed.astype(int) - photo.pixels
    assert np.abs(difference).max() == 12  # Also where the two patches overlap.
    inside = np.zeros(photo.pixels.shape[:2], bool)
    for patch in (face.patch, other.patch):
        inside[max(patch.top, 0) : patch.top + patch.side, max(patch.left, 0) : patch.left + patch.side] = True
    assert (difference[~inside] == 0).all()
    assert inside.sum() < inside.size


def test_a_coarse_mask_keeps_its_bound(photo: Photo, face: Face) -> None:
    large = replace(photo, pixels=np.full((900, 900, 3), 128, np.uint8))
    patch = Face(face.box, face.landmarks, Patch(100, 100, 700))
    mask = torch.empty(3, WORKING_SIDE, WORKING_SIDE).uniform_(
        -7 / 255, 7 / 255, generator=torch.Generator().manual_seed(0)
    )
    difference = add_masks(large, [patch], [mask], 7).astype(int) - 128
    assert np.abs(difference).max() <= 7
    assert np.abs(difference[:100]).max() == 0


def test_grayscale_stays_grayscale(tmp_path: Path, face: Face, photo: Photo) -> None:

    Image.fromarray(np.asarray(photo.pixels)).convert("L").save(tmp_path / "gray.png")
    gray = read_photo(tmp_path / "gray.png")
    mask = torch.stack([torch.full(cut(photo, face).pixels.shape[1:], value / 255) for value in (12.0, 6.0, 3.0)])
    changed = add_masks(gray, [face], [mask], 12)
    assert (changed == changed[..., :1]).all()
    assert (changed.astype(int) - gray.pixels).max() == 7
