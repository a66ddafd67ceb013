"""Whether a recogniser can judge: one that answers nonsense would seem fooled by every mask, so it must not count.

`look` is how faces are shown to a recogniser whose answers decide something; it says of each face whether what came
back is an embedding. `find_fault` tries a recogniser on a few people before it judges anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from facecrypt.errors import EmbeddingError, FacecryptError, WeightsError
from facecrypt.faces.face import face_at
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.embedder import Embedder

_UNIT = 1e-2
"""How far the length of a unit embedding may be from 1, which leaves room for half precision."""
_SAME = 0.999
"""Cosine of two embeddings of the same crop: rounding makes no larger difference, chance does."""
_APART = 1e-2
"""Distance of unit embeddings below which two people have the same one."""
_SHIFT = 0.5 / 112
"""How far `slightly_changed` moves the landmarks, in sides of the patch: no aligner is more precise."""
_LIGHT = 0.97

PEOPLE = {
    "v01": ((59, 73), (111, 76), (75, 107), (61, 125), (108, 128)),
    "v04": ((55, 73), (107, 75), (68, 105), (57, 128), (109, 131)),
    "v08": ((53, 80), (105, 79), (83, 113), (59, 142), (102, 141)),
    "v12": ((58, 79), (105, 79), (91, 113), (57, 134), (101, 133)),
    "v16": ((57, 82), (107, 76), (75, 122), (67, 142), (110, 137)),
}
"""People of the built-in pack on whom recognisers are tried, with the landmarks of one photo of each."""


class Seen(NamedTuple):
    """What a recogniser makes of N faces.

    Attributes:
        embeddings: Unit embeddings, ``(N, D)``, float32, on the CPU; zeros where there is a fault.
        faults: Why there is no embedding of a face, or empty.
    """

    embeddings: Tensor
    faults: list[str]

    @property
    def fault(self) -> str:
        """The first fault, or empty."""
        return next(filter(None, self.faults), "")


def look(embedder: Embedder, faces: Sequence[FaceImage]) -> Seen:
    """Return the embeddings of faces of any sizes, and why there is none of a face.

    Networks come from files and plugins: what one raises makes it a recogniser that cannot judge these faces.

    Args:
        embedder: The recogniser.
        faces: The faces.
    """
    dimension = embedder.spec.dimension
    try:
        device = next(embedder.buffers()).device
        with torch.no_grad():
            found: object = embedder(crops(embedder, faces).to(device))
    except (MemoryError, torch.OutOfMemoryError):
        raise  # No fault of the recogniser.
    except (Exception, SystemExit) as error:
        told = str(error) if isinstance(error, FacecryptError) else f"{type(error).__name__}: {error}"
        return _nothing(faces, dimension, f"its network fails on a face ({' '.join(told.split())[:200]})")
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != (len(faces), dimension):
        given = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        return _nothing(faces, dimension, f"it gives {given} for {len(faces)} faces, not {(len(faces), dimension)}")
    embeddings = found.detach().float().cpu()
    faults = [find_fault_of(embedding) for embedding in embeddings]
    usable = torch.tensor([not fault for fault in faults]).unsqueeze(1)
    return Seen(torch.where(usable, embeddings, 0.0), faults)


def find_fault(embedder: Embedder, *, by_threshold: bool = True) -> str:
    """Return why a recogniser can judge no face at all, or nothing.

    It is shown five people, each once more after a slight change, and two of them again. What is no embedding, nearly
    the same for everybody, another one at the second look, or not nearest to that of the same person after the change
    decides nothing; nor does a threshold that is no cosine, that everybody reaches, or that nobody does.

    Args:
        embedder: The recogniser, which is tried once.
        by_threshold: Whether its threshold is to decide anything.
    """
    trial = _try(embedder)
    return trial.network or (trial.threshold if by_threshold else "")


def require_surrogate(name: str, embedder: Embedder) -> None:
    """Refuse a recogniser whose gradients could only spoil a mask.

    Args:
        name: What messages call it.
        embedder: The recogniser, after `Embedder.require_gradients`.

    Raises:
        WeightsError: If it gives no embeddings that tell people apart, or no finite gradient other than zero.
    """
    if fault := _try(embedder).network or _find_fault_of_gradient(embedder):
        raise WeightsError(
            f"surrogate {name}: {fault}, so no mask can be made by it. Mend its weights or arguments, or name another."
        )


def find_fault_of(embedding: Tensor) -> str:
    """Return why a vector ``(D,)`` is no unit embedding, or nothing."""
    if not embedding.isfinite().all():
        return "its embedding holds numbers that are not finite"
    length = embedding.norm().item()
    if length == 0:
        return "its embedding is all zero"
    return "" if abs(length - 1) <= _UNIT else f"its embedding has length {length:.2g}, not 1"


def slightly_changed(face: FaceImage) -> FaceImage:
    """Return a face as another detector and another lamp may show it: half a pixel aside, 3 % darker."""
    shift = _SHIFT * face.pixels.shape[-1]
    return FaceImage(face.pixels * _LIGHT, face.inside, face.landmarks + shift)


def require_embeddings(seen: Seen) -> Tensor:
    """Return the embeddings, ``(N, D)``.

    Raises:
        EmbeddingError: If there is none of a face.
    """
    if seen.fault:
        raise EmbeddingError(f"the recogniser cannot be used: {seen.fault}. Mend its weights, or name another.")
    return seen.embeddings


def embed(embedder: Embedder, faces: Sequence[FaceImage]) -> Tensor:
    """Return the unit embeddings ``(N, D)`` of faces of any sizes, without gradient, on the embedder's device.

    Raises:
        EmbeddingError: If the recogniser gives no embedding of a face.
    """
    return require_embeddings(look(embedder, faces)).to(next(embedder.buffers()).device)


class _Trial(NamedTuple):
    """Why a network gives no embeddings to compare, and why its threshold decides nothing; empty where they do."""

    network: str
    threshold: str


_TRIALS: WeakKeyDictionary[Embedder, _Trial] = WeakKeyDictionary()


def _try(embedder: Embedder) -> _Trial:
    if embedder not in _TRIALS:
        _TRIALS[embedder] = _make_trial(embedder)
    return _TRIALS[embedder]


def _make_trial(embedder: Embedder) -> _Trial:
    people = _people()
    count = len(people)
    seen = look(embedder, [*people, *map(slightly_changed, people)])
    alone = [look(embedder, [face]) for face in people[:2]]
    if fault := seen.fault or next(filter(None, (each.fault for each in alone)), ""):
        return _Trial(fault, "")
    once, changed = seen.embeddings[:count], seen.embeddings[count:]
    apart = ~torch.eye(count, dtype=torch.bool)
    if torch.cdist(once, once)[apart].max() < _APART:
        return _Trial(f"it gives {count} different people the same embedding", "")
    repeated = min((again.embeddings[0] @ first).item() for again, first in zip(alone, once, strict=False))
    if repeated < _SAME:
        return _Trial(f"it gives the same face another embedding at the second look (similarity {repeated:.3f})", "")
    similarities = changed @ once.T
    known = int((similarities.argmax(dim=1) == torch.arange(count)).sum())
    if known < count - 1:
        return _Trial(f"it does not tell people apart: of {count}, it knows {known} again after a slight change", "")
    return _Trial("", _find_fault_of_threshold(embedder.spec.threshold, (once @ once.T)[apart], similarities.diag()))


def _find_fault_of_threshold(threshold: object, strangers: Tensor, same: Tensor) -> str:
    if threshold is None:
        return ""
    if not isinstance(threshold, int | float) or not -1 <= threshold <= 1:
        return f"its threshold is {threshold!r}, which is no cosine from -1 to 1"
    if (lowest := strangers.min().item()) >= threshold:
        return (
            f"by its threshold everybody is the same person (similarity of strangers from {lowest:.3f}, same person "
            f"from {threshold:.3f})"
        )
    if (highest := same.max().item()) < threshold:
        return (
            f"by its threshold nobody is the same person (similarity after a slight change up to {highest:.3f}, same "
            f"person from {threshold:.3f})"
        )
    return ""


def _find_fault_of_gradient(embedder: Embedder) -> str:
    faces = crops(embedder, _people()[:2]).to(next(embedder.buffers()).device).requires_grad_()
    try:
        with torch.enable_grad():
            first, second = embedder(faces)
            similarity = first @ second
            if not similarity.requires_grad:
                return "it gives no gradient"
            (gradient,) = torch.autograd.grad(similarity, faces)
    except (FacecryptError, MemoryError, torch.OutOfMemoryError):
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # Networks come from files and plugins: what one raises makes it one without gradients.
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"it gives no gradient ({told})"
    if not gradient.isfinite().all():
        return "its gradient holds numbers that are not finite"
    return "" if gradient.any() else "its gradient is zero"


def _nothing(faces: Sequence[FaceImage], dimension: int, fault: str) -> Seen:
    return Seen(torch.zeros(len(faces), dimension), [fault] * len(faces))


@cache
def _people() -> list[FaceImage]:
    folder = Path(str(resources.files("facecrypt") / "data" / "virtual_targets"))
    return [cut(read_photo(folder / name / "1.png"), face_at(points)) for name, points in PEOPLE.items()]
