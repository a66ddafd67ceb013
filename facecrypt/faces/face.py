"""Faces in a photo: where they are, the patch around each, and the crop that a recogniser sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from facecrypt.choices import FaceChoice, LandmarksFrom
from facecrypt.detectors.mtcnn import SMALLEST_FACE, Mtcnn
from facecrypt.errors import PhotoError
from facecrypt.photos.files import Photo
from facecrypt.templates import ARCFACE_TEMPLATE, Template
from facecrypt.vision.eye import FULL_HD

WORKING_SIDE = 192
"""Largest side, in pixels, at which a patch is optimised. A larger face gets a coarser mask, upsampled bilinearly."""

_DETECTION_SIDE = 1600
"""Photos are searched at this width or height at most: MTCNN's time grows with the area."""
_BOX_ON_CROP = (55.1, 64.3, 78.6, 104.7)
"""Centre, width and height of MTCNN's box in pixels of the ArcFace crop: means over 150 photos of LFW."""
_PATCH_MARGIN = 0.12
"""Share of the ArcFace crop that a patch adds on each side: dlib's chip reaches 8 % lower, views need the rest."""
_ALIGNED_SIDE = 112


class Patch(NamedTuple):
    """A square of photo pixels. It may reach beyond the photo, where it is black and never written."""

    left: int
    top: int
    side: int


class Window(NamedTuple):
    """A part of a photo, in pixels; right and bottom are the first that are not part of it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Attributes:
        box: Left, top, right, bottom in photo pixels.
        landmarks: Left eye, right eye, nose, left and right mouth corner, ``(5, 2)``: x, y in photo pixels.
        patch: The region that the mask may change.
        index: Its number among all faces that were found, from 1, the largest first; None for one given by hand.
        landmarks_from: How the landmarks came about.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    patch: Patch
    index: int | None = None
    landmarks_from: LandmarksFrom = "detected"


@dataclass(frozen=True)
class SkippedFace:
    """A face of a photo that was left as it is.

    Attributes:
        index: Its number among all faces that were found, from 1, the largest first.
        box: Left, top, right, bottom in photo pixels; None where a recipe names a number that no face has.
        reason: Why it was left.
        similarity: Largest cosine with the reference photos, where that decided; else None.
    """

    index: int
    box: tuple[float, float, float, float] | None
    reason: str
    similarity: float | None = None


class FaceDetector:
    """Finds faces, whichever way up they are: `facecrypt.detectors.mtcnn.Mtcnn`, on the CPU."""

    def __init__(self) -> None:
        self._mtcnn = Mtcnn()

    def find(self, photo: Photo, choice: FaceChoice, min_size: float | None = None) -> list[Face]:
        """Return the faces of a photo, the largest first.

        Args:
            photo: The photo to search.
            choice: ``all`` faces, the ``largest``, or ``aligned``: the photo is itself an aligned face, nothing is
                searched.
            min_size: Search large photos finely enough to find faces of this many pixels. Smaller ones may be found
                too.

        Raises:
            PhotoError: If an aligned face is not square.
        """
        height, width = photo.pixels.shape[:2]
        if choice == "aligned":
            if height != width:
                raise PhotoError(
                    f"{photo.path}: {width}x{height} pixels, but an aligned face is square. Crop it, or use faces: all."
                )
            landmarks = (np.asarray(ARCFACE_TEMPLATE, np.float32) + 0.5) * (width / _ALIGNED_SIDE) - 0.5
            return [Face((0.0, 0.0, float(width), float(height)), landmarks, Patch(0, 0, width), index=1)]
        shrink = search_scale(width, height, min_size)
        size = (round(width * shrink), round(height * shrink))
        if min(size) < SMALLEST_FACE:  # MTCNN fails on pictures smaller than its smallest face.
            return []
        image = Image.fromarray(photo.pixels)
        pixels = np.asarray(image if shrink == 1 else image.resize(size))
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = []
        for found in self._mtcnn.search(pixels):
            left, top, right, bottom = (found.box * np.tile(scale, 2)).tolist()
            points = found.landmarks * scale
            faces.append(Face((left, top, right, bottom), points, patch_around(points)))
        faces.sort(key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), reverse=True)
        faces = [replace(face, index=number) for number, face in enumerate(faces, 1)]
        return faces[:1] if choice == "largest" else faces

    def find_in(self, photo: Photo, box: Sequence[float]) -> Face | None:
        """Return the face that a person says is in a box, or None where none is found there.

        Args:
            photo: The photo.
            box: Left, top, right, bottom in photo pixels.
        """
        found = self._mtcnn.search_box(photo.pixels, box)
        if found is None:
            return None
        left, top, right, bottom = found.box.tolist()
        patch = patch_around(found.landmarks)
        return Face((left, top, right, bottom), found.landmarks, patch, landmarks_from="detected in box")


def search_scale(width: int, height: int, min_size: float | None) -> float:
    """Return the factor, at most 1, by which a photo is shrunk before it is searched.

    Args:
        width: Of the photo, in pixels.
        height: Likewise.
        min_size: As `FaceDetector.find` takes it.
    """
    finely = SMALLEST_FACE / min_size if min_size else 0.0
    return min(1.0, max(_DETECTION_SIDE / max(height, width), finely))


def place_face(box: Sequence[float]) -> Face:
    """Return an upright face of average proportions in a box that a person gave.

    Args:
        box: Left, top, right, bottom in photo pixels.
    """
    x, y, width, height = _BOX_ON_CROP
    scale = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]) / (width * height)))
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    points = ((np.asarray(ARCFACE_TEMPLATE) - (x, y)) * scale + centre).astype(np.float32)
    left, top, right, bottom = map(float, box)
    return Face((left, top, right, bottom), points, patch_around(points), landmarks_from="placed in box")


def face_at(landmarks: Sequence[Sequence[float]]) -> Face:
    """Return the face whose landmarks a person gave, with the box that the detector would draw.

    Args:
        landmarks: x, y of left eye, right eye, nose, left and right mouth corner in photo pixels.
    """
    points = np.asarray(landmarks, np.float32)
    x, y, width, height = _BOX_ON_CROP
    corners = torch.tensor([[x + u * width / 2, y + v * height / 2] for u in (-1, 1) for v in (-1, 1)])
    matrix = crop_to_image(torch.from_numpy(points)[None], ARCFACE_TEMPLATE)[0]
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = corners.amin(0).tolist(), corners.amax(0).tolist()
    return Face((left, top, right, bottom), points, patch_around(points), landmarks_from="given")


def patch_around(landmarks: NDArray[np.float32]) -> Patch:
    """Return the upright square that holds the crops of a face.

    Args:
        landmarks: ``(5, 2)``, x, y in photo pixels.
    """
    low, high = -_PATCH_MARGIN * _ALIGNED_SIDE, (1 + _PATCH_MARGIN) * _ALIGNED_SIDE
    corners = torch.tensor([[low, low], [high, low], [high, high], [low, high]])
    matrix = crop_to_image(torch.from_numpy(landmarks).unsqueeze(0), ARCFACE_TEMPLATE)[0]
    points = corners @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
    side = int(np.ceil(max(right - left, bottom - top)))
    return Patch(round((left + right - side) / 2), round((top + bottom - side) / 2), side)


class FaceImage(NamedTuple):
    """A face at the resolution in which it is optimised and judged.

    Attributes:
        pixels: The patch, ``(3, S, S)``, RGB in [0, 1], S at most `WORKING_SIDE`.
        inside: 1 where the patch lies inside the photo, ``(1, S, S)``.
        landmarks: ``(5, 2)``, x, y in pixels of `pixels`.
        scale: Pixels of the photo across one of them, at least 1.
        fit: By which the photo is shrunk to be seen as a whole on a full-HD screen, at most 1.
    """

    pixels: Tensor
    inside: Tensor
    landmarks: Tensor
    scale: float = 1.0
    fit: float = 1.0


def cut(photo: Photo, face: Face) -> FaceImage:
    """Return the patch of a face, shrunk with antialiasing where it is larger than `WORKING_SIDE`."""
    left, top, side = face.patch
    working = min(side, WORKING_SIDE)
    # Line by line, in one direction and then in the other: all of a large face would be a large tensor.
    narrow = torch.zeros(4, side, working)
    lines = max(1, _STRIP_PIXELS // side)
    for start in range(0, side, lines):
        square = _square_part(photo, face.patch, start, min(start + lines, side))
        narrow[:, start : start + lines] = _shrink(square, (square.shape[1], working))
    square = _shrink(narrow, (working, working))
    landmarks = (torch.from_numpy(face.landmarks) - torch.tensor([left, top]) + 0.5) * (working / side) - 0.5
    fit = FULL_HD.fit(*photo.pixels.shape[1::-1])
    return FaceImage(square[:3], (square[3:] > 0.5).float(), landmarks, side / working, fit)


def _square_part(photo: Photo, patch: Patch, start: int, stop: int) -> Tensor:
    """Return some lines of a patch, ``(4, stop - start, side)``: colours, and 1 where it lies inside the photo."""
    left, top, side = patch
    height, width = photo.pixels.shape[:2]
    rows = slice(max(top + start, 0), max(min(top + stop, height), 0))
    columns = slice(max(left, 0), max(min(left + side, width), 0))
    square = torch.zeros(4, stop - start, side)
    if rows.start < rows.stop and columns.start < columns.stop:
        visible = torch.from_numpy(photo.pixels[rows, columns].copy()).permute(2, 0, 1).float() / 255
        there = (
            slice(rows.start - top - start, rows.stop - top - start),
            slice(columns.start - left, columns.stop - left),
        )
        square[:3, *there] = visible
        square[3, *there] = 1.0
    return square


def _shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[1:] == size:
        return image
    return functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]


def add_masks(
    photo: Photo, faces: Sequence[Face], masks: Sequence[Tensor], epsilon: int, window: Window | None = None
) -> NDArray[np.uint8]:
    """Return the photo with the masks of its faces added, in whole grey levels.

    Args:
        photo: The original.
        faces: The faces that were protected.
        masks: One per face, ``(3, S, S)`` in the [0, 1] scale, at the resolution of `cut`.
        epsilon: Largest change of a channel in grey levels, also where patches overlap.
        window: The part of the photo to return; all of it by default.

    Returns:
        ``(H, W, 3)``; identical to the photo outside the patches. A grayscale photo stays grayscale.
    """
    x0, y0, x1, y1 = window or Window(0, 0, photo.pixels.shape[1], photo.pixels.shape[0])
    result = photo.pixels[y0:y1, x0:x1].copy()
    parts = [
        _MaskPart(patch, mask, max(patch.left, x0), max(patch.top, y0), right, bottom)
        for patch, mask in zip((face.patch for face in faces), masks, strict=True)
        if (right := min(patch.left + patch.side, x1)) > max(patch.left, x0)
        and (bottom := min(patch.top + patch.side, y1)) > max(patch.top, y0)
    ]
    if not parts:
        return result
    left, right = min(part.left for part in parts), max(part.right for part in parts)
    lines = max(1, _STRIP_PIXELS // (right - left))
    for start in range(min(part.top for part in parts), max(part.bottom for part in parts), lines):
        stop = min(start + lines, y1)
        change = np.zeros((stop - start, right - left, 3), np.float32)
        for part in parts:
            part.add(change, left, start)
        if photo.grayscale:
            change = np.repeat(change.mean(axis=2, keepdims=True), 3, axis=2)
        levels = np.rint(change).clip(-epsilon, epsilon).astype(np.int16)
        lines_of_result = result[start - y0 : stop - y0, left - x0 : right - x0]
        lines_of_result[:] = (lines_of_result + levels).clip(0, 255)
    return result


_STRIP_PIXELS = 1 << 20
"""Pixels that are worked on together: large photos would take a dozen times their own memory at once."""


class _MaskPart:
    """The part of a mask that lies inside a window, upsampled bilinearly to the size of its patch.

    That is a convex combination: the bound on the coarse mask holds for every pixel.

    Args:
        patch: Its patch.
        mask: ``(3, S, S)``.
        left: First column inside the window.
        top: First row.
        right: The column after the last one.
        bottom: The row after the last one.
    """

    def __init__(self, patch: Patch, mask: Tensor, left: int, top: int, right: int, bottom: int) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom
        self._patch = patch
        small = mask.shape[-1]
        # Across first, which is little; down only for the lines that are asked for.
        wide = functional.interpolate(mask[None].float().cpu(), size=(small, patch.side), mode="bilinear")[0]
        self._wide = wide[..., left - patch.left : right - patch.left]

    def add(self, change: NDArray[np.float32], left: int, top: int) -> None:
        """Add its grey levels to those of some lines, ``(H, W, 3)``, whose first pixel is at `left` and `top`."""
        first, last = max(self.top, top), min(self.bottom, top + len(change))
        if first >= last:
            return
        small, side = self._wide.shape[1], self._patch.side
        at = ((torch.arange(first, last) - self._patch.top + 0.5) * (small / side) - 0.5).clamp_min(0)
        above = at.floor().long().clamp_max(small - 1)
        weight = (at - above)[:, None]
        below = (above + 1).clamp_max(small - 1)
        lines = self._wide[:, above] * (1 - weight) + self._wide[:, below] * weight
        columns = slice(self.left - left, self.right - left)
        change[first - top : last - top, columns] += lines.permute(1, 2, 0).numpy() * 255


def face_grid(landmarks: Tensor, side: int) -> Tensor:
    """Return the `crop_grid` of the face area in which naturalness is measured, ``(B, 112, 112, 2)``."""
    return crop_grid(landmarks, ARCFACE_TEMPLATE, (_ALIGNED_SIDE, _ALIGNED_SIDE), side)


def face_area(photo: Photo, face: Face) -> Tensor:
    """Return the face area in which naturalness and quality are measured, ``(1, 3, 112, 112)``, RGB in [0, 1].

    Args:
        photo: The original or the protected photo.
        face: The face as it was found in the original.
    """
    image = cut(photo, face)
    # The weights of an interpolation add up to 1 only after rounding: white may come out a hair above it.
    return crop(image.pixels[None], face_grid(image.landmarks[None], image.pixels.shape[-1])).clamp(0, 1)


def crop_to_image(landmarks: Tensor, template: Template) -> Tensor:
    """Return the similarity that takes crop pixels to image pixels, ``(B, 2, 3)``.

    It inverts the least-squares fit of the landmarks onto the template (Umeyama, 1991, without reflection), as
    recognisers' own aligners do. Points are complex numbers here, where a similarity is ``a * z + b``.

    Args:
        landmarks: ``(B, 5, 2)``, x, y in image pixels.
        template: The same points in crop pixels.
    """
    source = torch.view_as_complex(landmarks.double().contiguous())
    target = torch.view_as_complex(torch.tensor(template, dtype=torch.float64, device=landmarks.device))
    source_mean, target_mean = source.mean(dim=1, keepdim=True), target.mean()
    centred = source - source_mean
    fit = (centred.conj() * (target - target_mean)).sum(1) / centred.abs().square().sum(1)
    a = 1 / fit
    b = source_mean.squeeze(1) - a * target_mean
    rows = torch.stack([torch.stack([a.real, -a.imag, b.real], 1), torch.stack([a.imag, a.real, b.imag], 1)], 1)
    return rows.float()


def crop_grid(landmarks: Tensor, template: Template, size: tuple[int, int], side: int) -> Tensor:
    """Return where each crop pixel lies in the image, as `torch.nn.functional.grid_sample` wants it, ``(B, H, W, 2)``.

    Args:
        landmarks: ``(B, 5, 2)``, x, y in pixels of square images.
        template: Where the landmarks land in the crop.
        size: Height and width of the crop in pixels.
        side: Width and height of the images in pixels.
    """
    v, u = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=2).float().to(landmarks.device)
    points = torch.einsum("hwc,bxc->bhwx", pixels, crop_to_image(landmarks, template))
    return (2 * points + 1) / side - 1


def crop(images: Tensor, grid: Tensor) -> Tensor:
    """Return the crops ``(N, 3, H, W)`` of images ``(N, 3, S, S)`` by bilinear sampling; black outside the image.

    Args:
        images: RGB in [0, 1].
        grid: From `crop_grid`, ``(N, H, W, 2)``.
    """
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
