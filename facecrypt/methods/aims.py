"""What a recogniser makes of the targets: one embedding for each, or a set of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.choices import TargetEmbedding
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target


def embed_targets(embedder: Embedder, targets: Sequence[Target], how: TargetEmbedding = "first") -> Tensor:
    """Return unit embeddings of K targets, on the embedder's device, ``(K, D)``, or of all photos, ``(M, D)``.

    Args:
        embedder: The recogniser.
        targets: The K targets.
        how: ``first`` takes the first photo of each, ``mean`` the mean of all of its photos, ``set`` all of them.

    Raises:
        EmbeddingError: If the recogniser gives no embedding of a face.
    """
    if how == "first":
        return embed(embedder, [target.aim for target in targets])
    seen = embed(embedder, [face for target in targets for face in target.faces])
    if how == "set":
        return seen
    parts = torch.split(seen, [len(target.faces) for target in targets])
    return functional.normalize(torch.stack([part.mean(dim=0) for part in parts]))


def target_rows(targets: Sequence[Target], how: TargetEmbedding = "first") -> Tensor | None:
    """Return which rows of a set belong to each target, ``(K, P)``, the last one again where it has fewer than P.

    None where each target has one row, as it always has but for a ``set``.
    """
    if how != "set":
        return None
    most = max(len(target.faces) for target in targets)
    rows, start = [], 0
    for target in targets:
        count = len(target.faces)
        rows.append([start + min(place, count - 1) for place in range(most)])
        start += count
    return torch.tensor(rows)


def distances_to_targets(embeddings: Tensor, targets: Tensor, rows: Tensor | None) -> Tensor:
    """Return the squared distances of unit embeddings ``(..., D)`` from K targets, ``(..., K)``: 2 - 2 cos.

    Args:
        embeddings: The embeddings.
        targets: From `embed_targets`.
        rows: From `target_rows`: a target is then as near as the nearest of its photos.
    """
    # D of unit vectors: |a - b|^2 = 2 - 2 ab.
    away = 2 - 2 * embeddings @ targets.T
    return away if rows is None else away[..., rows].amin(dim=-1)
