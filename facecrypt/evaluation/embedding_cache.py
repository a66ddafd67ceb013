"""Embeddings of many photos, kept on disk, and the exact search through them.

``python -m facecrypt.evaluation.embedding_cache --size 1000000 --dimension 512 --probes 100`` measures time and memory
of a search.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import sqlite3
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import EmbeddingError, FacecryptError, PhotoError
from facecrypt.faces.face import Face, Patch
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import find_fault_of, look
from facecrypt.system.regular import digest_regular

DETECTION_VERSION = 2
"""Raise it when faces are found, cut out or aligned differently: everything is then computed anew."""

GalleryChoice = Literal["largest", "aligned"]
T = TypeVar("T")

_FACE = struct.Struct("<4d10f3q")  # box, landmarks, patch
_PATIENCE = 60.0  # seconds to wait for processes that write; a batch takes milliseconds
_PROBES_AT_ONCE = 256


class EmbeddingCache:
    """Embeddings and faces of photos, kept in one SQLite file.

    SQLite because a million entries are then one file, processes wait for each other, and a batch is written whole or
    not at all. It does not notice a value that changed on the disk, so each carries a checksum; what does not fit it
    is computed anew, as is everything in a file that SQLite calls damaged. Photos are known by their content and may
    be moved. Faces are entries of their own: a second recogniser costs reading, cutting and its network.

    Embeddings tell who somebody is. Keep the folder as private as the photos; deleting it is always safe.

    Args:
        folder: Where the file goes, created on first use. A local disk: network file systems are known for bad locks.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "embeddings-1.sqlite"  # The number is that of the layout.

    def embed_files(
        self,
        paths: Sequence[Path],
        embedder: Embedder,
        key: str,
        detector: FaceDetector,
        choice: GalleryChoice,
        batch_size: int = 64,
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the largest face of each photo, and where a face was found.

        What was computed is kept even where a photo fails or the run is stopped. The last digits of an embedding
        depend on the batch and the device on which it was first computed.

        Args:
            paths: N photos.
            embedder: The recogniser.
            key: Its `recogniser_key`.
            detector: Finds faces that are not known yet.
            choice: ``largest``, or ``aligned`` where each photo is itself an aligned face.
            batch_size: Photos per forward pass.

        Returns:
            Unit embeddings ``(N, D)``, float32, zero where there is no face, and whether there is one, ``(N,)``; both
            on the CPU.

        Raises:
            PhotoError: With all photos that cannot be used.
            EmbeddingError: If the recogniser gives no embedding of a photo.
            FacecryptError: If the cache cannot be used.
        """
        embeddings = torch.zeros(len(paths), embedder.spec.dimension)
        found = torch.zeros(len(paths), dtype=torch.bool)
        faults: list[str] = []
        for start in range(0, len(paths), batch_size):
            batch = dict(enumerate(paths[start : start + batch_size], start))
            photos = self._photos(batch, detector, choice, faults)
            keys = {index: _hash("embedding", key, face_key) for index, (_, face_key) in photos.items()}
            known = self._read(keys.values())
            # An earlier version also kept what is no embedding.
            rows = {each: row for each, row in known.items() if _is_embedding(row, embedder.spec.dimension)}
            todo = {index: photo for index, photo in photos.items() if keys[index] not in rows}
            if faces := self._find_faces(todo, detector, choice, faults):
                seen = look(embedder, list(faces.values()))
                if seen.fault:
                    path = next(paths[index] for index, fault in zip(faces, seen.faults, strict=True) if fault)
                    raise EmbeddingError(f"{path}: {seen.fault}")
                fresh = seen.embeddings.numpy().astype("<f4")
                computed = {keys[index]: row.tobytes() for index, row in zip(faces, fresh, strict=True)}
                self._write(computed)
                rows |= computed
            for index in keys:
                if keys[index] in rows:
                    embeddings[index] = torch.tensor(np.frombuffer(rows[keys[index]], "<f4"))
                    found[index] = True
        if faults:
            raise PhotoError(f"photos: {len(faults)} cannot be used; mend them or leave them out", faults)
        return embeddings, found

    def find_faces(self, paths: Sequence[Path], detector: FaceDetector, choice: GalleryChoice) -> dict[int, FaceImage]:
        """Return the largest face of each photo that shows one, by the photo's number.

        Args:
            paths: The photos.
            detector: Finds faces that are not known yet.
            choice: As `embed_files` takes it.

        Raises:
            PhotoError: With all photos that cannot be used.
            FacecryptError: If the cache cannot be used.
        """
        faults: list[str] = []
        photos = self._photos(dict(enumerate(paths)), detector, choice, faults)
        images = self._find_faces(photos, detector, choice, faults)
        if faults:
            raise PhotoError(f"photos: {len(faults)} cannot be used; mend them or leave them out", faults)
        return images

    def _photos(
        self, paths: Mapping[int, Path], detector: FaceDetector, choice: GalleryChoice, faults: list[str]
    ) -> dict[int, tuple[Path, bytes]]:
        """Return photos with the keys of their faces; add to the faults."""
        photos: dict[int, tuple[Path, bytes]] = {}
        found_by = (detector.identity,) if detector.identity else ()
        for index, path in paths.items():
            try:
                photos[index] = path, _hash("face", DETECTION_VERSION, choice, *found_by, _content(path))
            except PhotoError as error:
                faults.append(str(error))
        return photos

    def _find_faces(
        self, photos: Mapping[int, tuple[Path, bytes]], detector: FaceDetector, choice: GalleryChoice, faults: list[str]
    ) -> dict[int, FaceImage]:
        """Return the faces of photos, which come with the keys of their faces; add to the faults."""
        known = self._read(key for _, key in photos.values())
        fresh: dict[bytes, bytes] = {}
        images: dict[int, FaceImage] = {}
        for index, (path, key) in photos.items():
            if known.get(key) == b"":
                continue  # It is known that there is no face: the photo need not be read.
            try:
                photo = read_photo(path)
                if key in known:
                    face: Face | None = _unpack(known[key])
                else:
                    face = next(iter(detector.find(photo, choice)), None)
                    fresh[key] = _pack(face)
                if face:
                    images[index] = cut(photo, face)
            except PhotoError as error:
                faults.append(str(error))
        self._write(fresh)
        return images

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the values that are there and undamaged."""
        # The cast, because damage may also turn a value into one of another type.
        query = "SELECT CAST(value AS BLOB) FROM entries WHERE key = ?"
        wanted = list(keys)
        found = self._transact(lambda database: [database.execute(query, (key,)).fetchone() for key in wanted])
        stored = {key: row[0] or b"" for key, row in zip(wanted, found, strict=True) if row}
        return {key: value[4:] for key, value in stored.items() if value[:4] == _checksum(key, value[4:])}

    def _write(self, values: Mapping[bytes, bytes]) -> None:
        if values:
            statement = "INSERT OR REPLACE INTO entries VALUES (?, ?)"
            rows = [(key, _checksum(key, value) + value) for key, value in values.items()]
            self._transact(lambda database: database.executemany(statement, rows))

    def _transact(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of an action, all of it or nothing, on a new file where the old one is damaged."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            for pause in (0.0, 0.5):  # While one process replaces a damaged file, others may stumble over it.
                try:
                    return self._connect(action)
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                        self._file.unlink(missing_ok=True)
                        Path(f"{self._file}-journal").unlink(missing_ok=True)
                time.sleep(pause)
            return self._connect(action)
        except (OSError, sqlite3.Error) as error:
            raise FacecryptError(
                f"{self._file}: the cache cannot be used ({error}). Check free space and rights or name another folder."
            ) from error

    def _connect(self, action: Callable[[sqlite3.Connection], T]) -> T:
        # A connection per transaction: none stays open that a forked process or another thread could inherit.
        with closing(sqlite3.connect(self._file, timeout=_PATIENCE)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
            return action(database)


def recogniser_key(embedder: Embedder) -> str:
    """Return a digest that tells this recogniser from others: its weights, and how its crops are prepared.

    The weights in use are part of it, because their digest in the specification may be empty or that of another file.
    """
    spec, weights = embedder.spec, embedder.spec.weights
    named = weights.sha256 or (weights.source, weights.path)
    prepared = (spec.template, spec.height, spec.width, spec.mean, spec.std, spec.channel_order)
    digest = hashlib.sha256(_hash(named, *prepared))
    for name, tensor in (*embedder.named_parameters(), *embedder.named_buffers()):
        digest.update(_hash(name, str(tensor.dtype), tuple(tensor.shape)))
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def search(probes: Tensor, gallery: Tensor | NDArray[np.float32], k: int, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Return the k gallery rows of largest cosine for each probe: the largest first, of equal ones the lower index.

    Products are summed in float64: equal rows then get equal cosines wherever they stand, and the result depends on
    neither `chunk` nor threads nor a device's reduced precision.

    Args:
        probes: Unit embeddings, ``(P, D)``.
        gallery: Unit embeddings, ``(G, D)``: a tensor on any device, or an array, such as a memory map of a file. Leave
            out rows without a face: their cosine of 0 would beat all negative ones.
        k: How many, 1 to G.
        chunk: Gallery rows looked at together. Memory grows with it, and not with G.

    Returns:
        Cosines, float32, and indices, each ``(P, k)``, on the device of the probes.

    Raises:
        ValueError: If shapes, k or chunk do not fit, or an embedding is not finite.
    """
    if probes.ndim != 2 or gallery.ndim != 2 or probes.shape[1] != gallery.shape[1]:
        raise ValueError(f"probes {tuple(probes.shape)}, gallery {tuple(gallery.shape)}. Allowed: (P, D) and (G, D).")
    if not 1 <= k <= len(gallery) or chunk < 1:
        raise ValueError(f"k {k}, chunk {chunk}. Allowed: k from 1 to {len(gallery)}, chunk from 1.")
    blocks = torch.split(probes.double(), _PROBES_AT_ONCE)
    best = [torch.empty(len(block), 0, dtype=torch.int64, device=probes.device) for block in blocks]
    for start in range(0, len(gallery), chunk):
        rows = _rows(gallery, start, start + chunk).to(probes.device).double()
        for number, block in enumerate(blocks):
            ranks = torch.cat([best[number], _rank(block @ rows.T, start)], dim=1)
            best[number] = ranks.topk(min(k, ranks.shape[1]), dim=1).values
    ranks = torch.cat(best)
    return _flip((ranks >> 32).int()).view(torch.float32), 0xFFFFFFFF - (ranks & 0xFFFFFFFF)


def _rank(cosines: Tensor, start: int) -> Tensor:
    """Return int64 numbers in the order of cosine, then of falling index: no two are equal, so top-k is unambiguous."""
    if not cosines.isfinite().all():
        raise ValueError("probes, gallery: an embedding is not finite. Allowed: unit vectors.")
    order = _flip((cosines.float() + 0.0).view(torch.int32)).long()  # adding 0.0 turns -0.0 into 0.0
    index = torch.arange(start, start + cosines.shape[1], device=cosines.device)
    return (order << 32) | (0xFFFFFFFF - index)


def _flip(bits: Tensor) -> Tensor:
    """Return int32 numbers in the order of the float32 numbers that have these bits; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _rows(gallery: Tensor | NDArray[np.float32], start: int, stop: int) -> Tensor:
    if isinstance(gallery, Tensor):
        return gallery[start:stop]
    rows = torch.from_numpy(np.array(gallery[start:stop]))
    pages: object = gallery.base  # where a memory map is given whole
    if sys.platform == "linux" and isinstance(pages, mmap.mmap) and getattr(gallery, "mode", "") == "r":
        # Pages once read count as memory of this process until the system wants them back: let go of them.
        pages.madvise(mmap.MADV_DONTNEED)
    return rows


def _is_embedding(row: bytes, dimension: int) -> bool:
    return len(row) == 4 * dimension and not find_fault_of(torch.tensor(np.frombuffer(row, "<f4")))


def _content(path: Path) -> bytes:
    try:
        return bytes.fromhex(digest_regular(path))
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({error.strerror}). Check its name and your rights.") from error


def _hash(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _checksum(key: bytes, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "little")


def _pack(face: Face | None) -> bytes:
    return _FACE.pack(*face.box, *face.landmarks.flatten().tolist(), *face.patch) if face else b""


def _unpack(data: bytes) -> Face:
    values = _FACE.unpack(data)
    return Face(values[:4], np.array(values[4:14], np.float32).reshape(5, 2), Patch(*values[14:]))


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m facecrypt.evaluation.embedding_cache", description="Measure a search."
    )
    parser.add_argument("--size", type=int, default=1_000_000, help="embeddings in the gallery, on disk")
    parser.add_argument("--dimension", type=int, default=512, help="length of an embedding")
    parser.add_argument("--probes", type=int, default=100, help="embeddings that are looked for")
    given = parser.parse_args(arguments)
    if min(given.size, given.dimension, given.probes) < 1:
        parser.error("--size, --dimension, --probes: allowed are numbers from 1")
    import resource  # Windows has none.

    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryFile() as file:
        for start in range(0, given.size, 1024):  # less at once than the search takes, or its peak would not show
            count = min(1024, given.size - start)
            functional.normalize(torch.randn(count, given.dimension, generator=generator)).numpy().tofile(file)
        gallery = np.memmap(file, np.float32, "r", shape=(given.size, given.dimension))
        probes = functional.normalize(torch.randn(given.probes, given.dimension, generator=generator))
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        search(probes, gallery, min(5, given.size))
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    mebibytes = peak / (2**20 if sys.platform == "darwin" else 2**10)
    print(
        f"{given.size:,} x {given.dimension} embeddings, {given.probes} probes: {seconds:.1f} s, "
        f"peak memory +{mebibytes:.0f} MiB"
    )


if __name__ == "__main__":
    _main()
