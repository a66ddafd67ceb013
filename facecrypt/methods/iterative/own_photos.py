"""Photos of the people of a run: what they share, and from which a face is led away as well as from itself.

They are further photos, or those of the run themselves, where the recipe tells which of them show one person.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from facecrypt import registry
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import EmbeddingError, PhotoError
from facecrypt.evaluation.embedding_cache import EmbeddingCache, GalleryChoice, recogniser_key
from facecrypt.faces.patches import FaceImage
from facecrypt.photos.finding import common_root, find_photos
from facecrypt.recipe.face_rules import RECOGNISER
from facecrypt.recipe.schema import PersonOptions
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder
from facecrypt.system.regular import MOST_TEXT, read_regular


class Shares(NamedTuple):
    """What the photos of one person have in common.

    Attributes:
        target: A target that is kept throughout.
        identity: The own identity, which is then their mean.
    """

    target: bool
    identity: bool


class Album(NamedTuple):
    """Photos whose people are known.

    Attributes:
        key: The key of the recipe that tells.
        where: Where they lie, for messages.
        paths: The photos.
        owners: Who each is of.
        shares: What those of one person share.
    """

    key: str
    where: str
    paths: Sequence[Path]
    owners: Sequence[str]
    shares: Shares


def own_album(where: str) -> Album:
    """Return further photos of people: of those of the subfolders; photos in the folder itself show one more person.

    Args:
        where: The folder.

    Raises:
        PhotoError: If it is no folder, or holds no photos.
    """
    folder = expand_home(where)
    if not folder.is_dir():
        raise PhotoError(
            f"own_photos: {where!r} is no folder. Name one with photos of the person, or with a subfolder for each "
            "person."
        )
    try:
        paths = find_photos(str(folder), recursive=True)
    except PhotoError as error:
        raise PhotoError(f"own_photos: {error.lines[0]}", error.faults) from error
    parts = [path.relative_to(folder).parts for path in paths]
    owners = [names[0] if len(names) > 1 else folder.resolve().name for names in parts]
    return Album("own_photos", str(folder), paths, owners, Shares(target=False, identity=True))


def person_album(person: PersonOptions, photos: str | None, paths: Sequence[Path]) -> Album:
    """Return the photos of a run, with who each is of.

    Args:
        person: What the recipe says of it.
        photos: The recipe's ``photos``.
        paths: The photos of the run.

    Raises:
        PhotoError: If the table cannot be read, or names none of the photos.
    """
    root = common_root(photos, paths)
    places = [path.relative_to(root) for path in paths]
    if person.by == "table":
        assert person.table is not None
        known = _read_table(person.table)
        found = [
            (path, known.get(place.as_posix(), known.get(path.name))) for path, place in zip(paths, places, strict=True)
        ]
    elif person.by == "folder":
        found = [
            (path, place.parent.as_posix() if place.parent.parts else root.resolve().name)
            for path, place in zip(paths, places, strict=True)
        ]
    else:
        found = [(path, "all") for path in paths]
    named = [(path, owner) for path, owner in found if owner is not None]
    if not named:
        raise PhotoError(f"person: {person.table} names none of the photos. Give their paths below {root}, or names.")
    shares = Shares(person.share in ("target", "both"), person.share in ("identity", "both"))
    return Album("person", str(root), [path for path, _ in named], [owner for _, owner in named], shares)


def _read_table(where: str) -> dict[str, str]:
    try:
        text = read_regular(expand_home(where), MOST_TEXT).decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise PhotoError(f"person.table: {where}: cannot be read ({error}). Give a CSV file in UTF-8.") from error
    if not rows or not {"photo", "person"} <= rows[0].keys():
        raise PhotoError(
            f"person.table: {where}: has no rows with the columns photo and person. Begin with: photo,person"
        )
    known = dict[str, str]()
    for number, row in enumerate(rows, start=2):
        photo, owner = (row["photo"] or "").strip(), (row["person"] or "").strip()
        if not photo or not owner:
            raise PhotoError(f"person.table: {where}: line {number} lacks a photo or a person. Fill both in.")
        if known.setdefault(photo, owner) != owner:
            raise PhotoError(
                f"person.table: {where}: line {number} gives {photo} to {owner} too. Name each photo once."
            )
    return known


class OwnPhotos:
    """The people of an album, as surrogates see them. Of each photo the largest face counts.

    Attributes:
        key: The key of the recipe that tells of them.
        shares: What the photos of one person share.
        further: Whether they are others than those of the run.
        names: The P people.
        sums: Sum of the unit embeddings of each person's photos, ``(P, D)``, for each surrogate.
        faceless: How many photos show no face, and are left out.

    Args:
        album: The photos.
        surrogates: The recognisers that give gradients.
        detector: Finds the faces.
        aligned: Whether each photo is itself an aligned face.

    Raises:
        PhotoError: If a photo of an album of further ones cannot be used, or none shows a face.
        EmbeddingError: If a recogniser gives no embedding of a photo.
    """

    def __init__(
        self, album: Album, surrogates: Sequence[Embedder], detector: FaceDetector, *, aligned: bool = False
    ) -> None:
        self.key, self.shares, self.further = album.key, album.shares, album.key == "own_photos"
        self._recogniser: Embedder = registry.build("surrogate", RECOGNISER, {})
        with temporary_folder("own") as scratch:
            cache = EmbeddingCache(scratch)
            if self.key == "person":
                album = self._usable(cache, album, detector, aligned)
            known, found = self._embed(cache, album.paths, self._recogniser, detector, aligned)
            seen = [self._embed(cache, album.paths, each, detector, aligned)[0] for each in surrogates]
        if not found.any():
            raise PhotoError(
                f"{self.key}: no face found in {album.where}. Name a folder with photos of the person's face."
            )
        owners = album.owners
        rows = found.nonzero().flatten().tolist()
        self.names = sorted({owners[row] for row in rows})
        self.faceless = len(album.paths) - len(rows)
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
            raise EmbeddingError(f"{self.key}: {seen.fault}, so it cannot tell whose face this is.")
        similarity, nearest = (seen.embeddings @ self._known.T).max(dim=1)
        people: list[int] = self._people[nearest].tolist()
        return [
            person if alike >= threshold else None for person, alike in zip(people, similarity.tolist(), strict=True)
        ]

    def _usable(self, cache: EmbeddingCache, album: Album, detector: FaceDetector, aligned: bool) -> Album:
        """Return an album without the photos that cannot be used: the run tells of each, and does the others."""
        try:
            self._embed(cache, album.paths, self._recogniser, detector, aligned)
            return album
        except PhotoError:
            pass
        kept = []
        for path, owner in zip(album.paths, album.owners, strict=True):
            try:
                self._embed(cache, [path], self._recogniser, detector, aligned)
                kept.append((path, owner))
            except PhotoError:
                continue
        return album._replace(paths=[path for path, _ in kept], owners=[owner for _, owner in kept])

    def _embed(
        self, cache: EmbeddingCache, paths: Sequence[Path], embedder: Embedder, detector: FaceDetector, aligned: bool
    ) -> tuple[Tensor, Tensor]:
        choice: GalleryChoice = "aligned" if aligned else "largest"
        try:
            return cache.embed_files(paths, embedder, recogniser_key(embedder), detector, choice)
        except (PhotoError, EmbeddingError) as error:
            raise type(error)(f"{self.key}: {error.lines[0]}", error.faults) from error
