"""Further photos of the people of a run, from which a face is led away as well as from itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from facecrypt import registry
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import EmbeddingError, PhotoError
from facecrypt.evaluation.embedding_cache import EmbeddingCache, GalleryChoice, recogniser_key
from facecrypt.faces.patches import FaceImage
from facecrypt.photos.finding import find_photos
from facecrypt.recipe.face_rules import RECOGNISER
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder


class OwnPhotos:
    """The people whose photos lie in a folder, as surrogates see them. Of each photo the largest face counts.

    Attributes:
        names: The P people: those of the subfolders; photos in the folder itself show one person, who is called as it.
        sums: Sum of the unit embeddings of each person's photos, ``(P, D)``, for each surrogate.
        faceless: How many photos show no face, and are left out.

    Args:
        where: The folder.
        surrogates: The recognisers that give gradients.
        detector: Finds the faces.
        aligned: Whether each photo is itself an aligned face.

    Raises:
        PhotoError: If it is no folder, a photo cannot be used, or none shows a face.
        EmbeddingError: If a recogniser gives no embedding of a photo.
    """

    def __init__(
        self, where: str, surrogates: Sequence[Embedder], detector: FaceDetector, *, aligned: bool = False
    ) -> None:
        folder = expand_home(where)
        if not folder.is_dir():
            raise PhotoError(
                f"own_photos: {where!r} is no folder. Name one with photos of the person, or with a subfolder for "
                "each person."
            )
        try:
            paths = find_photos(str(folder), recursive=True)
        except PhotoError as error:
            raise PhotoError(f"own_photos: {error.lines[0]}", error.faults) from error
        self._recogniser: Embedder = registry.build("surrogate", RECOGNISER, {})
        with temporary_folder("own") as scratch:
            cache = EmbeddingCache(scratch)
            known, found = _embed(cache, paths, self._recogniser, detector, aligned)
            seen = [_embed(cache, paths, each, detector, aligned)[0] for each in surrogates]
        if not found.any():
            raise PhotoError(f"own_photos: no face found in {folder}. Name a folder with photos of the person's face.")
        parts = [path.relative_to(folder).parts for path in paths]
        owners = [names[0] if len(names) > 1 else folder.resolve().name for names in parts]
        rows = found.nonzero().flatten().tolist()
        self.names = sorted({owners[row] for row in rows})
        self.faceless = len(paths) - len(rows)
        self._known = known[found]
        self._people = torch.tensor([self.names.index(owners[row]) for row in rows])
        self.sums: list[Tensor] = [
            torch.zeros(len(self.names), each.shape[1]).index_add(0, self._people, each[found]) for each in seen
        ]

    def recognise(self, faces: Sequence[FaceImage]) -> list[int | None]:
        """Return which person each face is: that of the most similar photo; None where it is not similar enough.

        Similar enough is what one recogniser takes for the same person, which is always the same one, so that no other
        setting changes who is who.

        Args:
            faces: The faces.

        Raises:
            EmbeddingError: If it gives no embedding of a face.
        """
        threshold = self._recogniser.spec.threshold
        assert threshold is not None
        seen = look(self._recogniser, faces)
        if seen.fault:
            raise EmbeddingError(f"own_photos: {seen.fault}, so it cannot tell whose face this is.")
        similarity, nearest = (seen.embeddings @ self._known.T).max(dim=1)
        people: list[int] = self._people[nearest].tolist()
        return [
            person if alike >= threshold else None for person, alike in zip(people, similarity.tolist(), strict=True)
        ]


def _embed(
    cache: EmbeddingCache, paths: Sequence[Path], embedder: Embedder, detector: FaceDetector, aligned: bool
) -> tuple[Tensor, Tensor]:
    choice: GalleryChoice = "aligned" if aligned else "largest"
    try:
        return cache.embed_files(paths, embedder, recogniser_key(embedder), detector, choice)
    except (PhotoError, EmbeddingError) as error:
        raise type(error)(f"own_photos: {error.lines[0]}", error.faults) from error
