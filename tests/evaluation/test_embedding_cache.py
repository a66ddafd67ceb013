from __future__ import annotations

import dataclasses
import multiprocessing
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.choices import FaceChoice
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.evaluation import embedding_cache
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key, search
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, read_photo
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.surrogates.spec import EmbedderSpec
from tests.pictures import DATA

SPEC = dataclasses.replace(SFACE, dimension=16)


class CountingDetector(FaceDetector):
    """Counts the photos that it searches."""

    def __init__(self, detector: FaceDetector) -> None:
        self.detector = detector
        self.photos = 0

    def find(self, photo: Photo, choice: FaceChoice) -> list[Face]:
        self.photos += 1
        return self.detector.find(photo, choice)


class CountingNetwork(nn.Sequential):
    """Random, small, and counts the faces that it sees."""

    faces = 0

    def forward(self, crops: Tensor) -> Tensor:
        self.faces += len(crops)
        embeddings: Tensor = super().forward(crops)  # type: ignore[no-untyped-call]
        return embeddings


def recogniser(seed: int = 0, spec: EmbedderSpec = SPEC) -> Embedder:
    torch.manual_seed(seed)
    return Embedder(CountingNetwork(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 14 * 14, spec.dimension)), spec)


def faces_seen(embedder: Embedder) -> int:
    assert isinstance(embedder.network, CountingNetwork)
    return embedder.network.faces


@pytest.fixture
def counting(detector: FaceDetector) -> CountingDetector:
    return CountingDetector(detector)


@pytest.fixture
def paths(tmp_path: Path, photo: Photo) -> list[Path]:
    """Three small photos of a face, and one of none between them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    head = photo.pixels[10:220, 120:330]
    pictures = {"a.png": head, "b.png": photo.pixels[300:420, :120], "c.png": head[:, ::-1], "d.png": head[15:, :200]}
    for name, pixels in pictures.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
    return sorted(folder.iterdir())


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def one_by_one(paths: Sequence[Path], embedder: Embedder, detector: FaceDetector) -> tuple[Tensor, list[bool]]:
    rows, found = [], []
    for path in paths:
        photo = read_photo(path)
        faces = detector.find(photo, "largest")
        rows.append(embed(embedder, [cut(photo, faces[0])])[0] if faces else torch.zeros(embedder.spec.dimension))
        found.append(bool(faces))
    return torch.stack(rows), found


def run(cache: EmbeddingCache, paths: Sequence[Path], embedder: Embedder, detector: FaceDetector) -> Tensor:
    embeddings, found = cache.embed_files(paths, embedder, recogniser_key(embedder), detector, "largest", 2)
    assert torch.equal(found, embeddings.any(dim=1))
    return embeddings


def test_embeds_the_largest_face_of_each_photo(
    cache: EmbeddingCache, paths: list[Path], detector: FaceDetector
) -> None:
    embedder = recogniser()
    expected, there = one_by_one(paths, embedder, detector)
    embeddings, found = cache.embed_files(paths, embedder, recogniser_key(embedder), detector, "largest", 3)
    assert found.tolist() == there == [True, False, True, True]
    assert (embeddings.dtype, embeddings.shape) == (torch.float32, (4, 16))
    assert torch.allclose(embeddings, expected, atol=1e-5)
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1, 0, 1, 1])


@pytest.mark.parametrize("name", ["sface_embedder", "dlib_embedder"])
def test_embeds_with_real_recognisers(
    cache: EmbeddingCache, paths: list[Path], detector: FaceDetector, name: str, request: pytest.FixtureRequest
) -> None:
    embedder: Embedder = request.getfixturevalue(name)
    embeddings = run(cache, paths, embedder, detector)
    assert torch.allclose(embeddings, one_by_one(paths, embedder, detector)[0], atol=1e-5)
    assert torch.dot(embeddings[0], embeddings[3]) > 0.9  # the same face, cropped a little differently


def test_faces_are_kept_for_each_detector(
    cache: EmbeddingCache, paths: list[Path], detector: FaceDetector, counting: CountingDetector
) -> None:
    embedder = recogniser()
    known = run(cache, paths, embedder, detector)
    counting.identity = "another"
    assert torch.equal(run(cache, paths, embedder, counting), known)  # It finds the same, but searches for itself.
    assert counting.photos == len(paths)
    run(cache, paths, embedder, counting)
    assert counting.photos == len(paths)
    counting.identity = ""
    run(cache, paths, embedder, counting)
    assert counting.photos == len(paths)


def test_embeds_people_who_do_not_exist(cache: EmbeddingCache, detector: FaceDetector) -> None:
    pack = sorted((DATA / "virtual_targets").glob("*/*.png"))[:3]
    if not pack:
        pytest.skip("no virtual targets are installed")
    embedder = recogniser()
    assert torch.allclose(run(cache, pack, embedder, detector), one_by_one(pack, embedder, detector)[0], atol=1e-5)


def test_no_photos_are_no_rows(cache: EmbeddingCache, detector: FaceDetector) -> None:
    assert run(cache, [], recogniser(), detector).shape == (0, 16)


def test_a_second_run_computes_nothing(cache: EmbeddingCache, paths: list[Path], counting: CountingDetector) -> None:
    embedder = recogniser()
    first = run(cache, paths, embedder, counting)
    assert (counting.photos, faces_seen(embedder)) == (4, 3)
    moved = [Path(shutil.copy(path, path.with_name(f"moved-{path.name}"))) for path in reversed(paths)]
    assert torch.equal(run(cache, moved, embedder, counting), first.flip(0))
    assert (counting.photos, faces_seen(embedder)) == (4, 3)


def test_a_second_recogniser_needs_no_detection(
    cache: EmbeddingCache, paths: list[Path], counting: CountingDetector
) -> None:
    first, second = recogniser(0), recogniser(1)
    run(cache, paths, first, counting)
    embeddings = run(cache, paths, second, counting)
    assert (counting.photos, faces_seen(second)) == (4, 3)
    assert torch.allclose(embeddings, one_by_one(paths, second, counting.detector)[0], atol=1e-5)


def test_changed_photos_and_a_changed_version_are_computed_anew(
    cache: EmbeddingCache, paths: list[Path], counting: CountingDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = recogniser()
    run(cache, paths, embedder, counting)
    shutil.copy(paths[2], paths[1])
    after = run(cache, paths, embedder, counting)
    assert torch.equal(after[1], after[2])
    assert counting.photos == 4
    Image.open(paths[0]).rotate(5).save(paths[0])
    run(cache, paths, embedder, counting)
    assert counting.photos == 5
    monkeypatch.setattr(embedding_cache, "DETECTION_VERSION", embedding_cache.DETECTION_VERSION + 1)
    run(cache, paths, embedder, counting)
    assert (counting.photos, faces_seen(embedder)) == (8, 7)  # three different photos


def test_aligned_photos_are_kept_apart(cache: EmbeddingCache, paths: list[Path], counting: CountingDetector) -> None:
    embedder = recogniser()
    key = recogniser_key(embedder)
    largest = run(cache, paths[:2], embedder, counting)
    aligned, found = cache.embed_files(paths[:2], embedder, key, counting, "aligned")
    assert found.all()
    photo = read_photo(paths[0])
    expected = embed(embedder, [cut(photo, counting.detector.find(photo, "aligned")[0])])
    assert torch.allclose(aligned[:1], expected, atol=1e-5)
    assert not torch.allclose(aligned[0], largest[0], atol=1e-2)
    assert torch.equal(run(cache, paths[:2], embedder, counting), largest)


def test_all_photos_that_cannot_be_used_are_named_and_the_others_kept(
    cache: EmbeddingCache, paths: list[Path], counting: CountingDetector
) -> None:
    embedder = recogniser()
    bad = paths[0].with_name("bad.png")
    bad.write_text("not a photo")
    none = paths[0].with_name("none.png")
    with pytest.raises(PhotoError) as caught:
        run(cache, [bad, *paths, none], embedder, counting)
    head, *faults = str(caught.value).split("\n  ")
    assert head == "photos: 2 cannot be used; mend them or leave them out"
    assert [fault.split(": ")[0] for fault in faults] == [str(bad), str(none)]
    run(cache, paths, embedder, counting)
    assert (counting.photos, faces_seen(embedder)) == (4, 3)


def flip_values(file: Path) -> None:
    with sqlite3.connect(file) as database:
        for key, value in database.execute("SELECT key, value FROM entries").fetchall():
            damaged = value[:-1] + bytes([value[-1] ^ 1])
            database.execute("UPDATE entries SET value = ? WHERE key = ?", (damaged, key))
    database.close()


def swap_values(file: Path) -> None:
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT key, value FROM entries").fetchall()
        for (key, _), (_, value) in zip(rows, rows[1:] + rows[:1], strict=True):
            database.execute("UPDATE entries SET value = ? WHERE key = ?", (value, key))
    database.close()


def change_types(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("UPDATE entries SET value = CAST(x'ff80' AS TEXT)")
    database.close()


def overwrite(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def blank_pages(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4096] + bytes(len(content) - 4096))


@pytest.mark.parametrize("damage", [flip_values, swap_values, change_types, overwrite, cut_short, blank_pages])
def test_damaged_files_are_computed_anew_and_not_trusted(
    tmp_path: Path, cache: EmbeddingCache, paths: list[Path], counting: CountingDetector, damage: Callable[[Path], None]
) -> None:
    embedder = recogniser()
    expected = run(cache, paths, embedder, counting)
    (file,) = (tmp_path / "cache").iterdir()
    damage(file)
    assert torch.equal(run(cache, paths, embedder, counting), expected)
    assert (counting.photos, faces_seen(embedder)) == (8, 6)
    assert torch.equal(run(cache, paths, embedder, counting), expected)
    assert (counting.photos, faces_seen(embedder)) == (8, 6)
    assert list((tmp_path / "cache").iterdir()) == [file]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, paths: list[Path], detector: FaceDetector) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other/embeddings-1.sqlite").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "other"):
        with pytest.raises(FacecryptError, match=rf"{re.escape(str(folder))}.*: the cache cannot be used"):
            run(EmbeddingCache(folder), paths, recogniser(), detector)


def write_entries(folder: Path, worker: int) -> None:
    cache = EmbeddingCache(folder)
    for number in range(20):
        cache._write({f"{worker}-{number}".encode(): b"x" * 500, b"shared": b"y" * 500})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # The processes only write; spawned ones start slowly.
def test_processes_and_threads_may_write_at_once(tmp_path: Path, cache: EmbeddingCache) -> None:
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_entries, args=(folder, worker)) for worker in range(3)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor() as threads:
        written = [threads.submit(write_entries, folder, worker) for worker in (3, 4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [each.exception() for each in written] == [None, None]
    keys = [f"{worker}-{number}".encode() for worker in range(5) for number in range(20)]
    assert cache._read([*keys, b"shared", b"none"]) == dict.fromkeys(keys, b"x" * 500) | {b"shared": b"y" * 500}


def test_the_version_stands_for_what_the_detector_finds(face: Face) -> None:
    expected = [[205.0, 101.7], [246.8, 103.7], [224.7, 129.0], [201.7, 139.2], [245.3, 141.9]]
    moved = np.abs(face.landmarks - np.array(expected)).max()
    assert (embedding_cache.DETECTION_VERSION, moved < 0.5) == (2, True), "other landmarks: raise DETECTION_VERSION"


def test_recognisers_are_told_apart_by_weights_and_preparation() -> None:
    unnamed = dataclasses.replace(SPEC, weights=dataclasses.replace(SPEC.weights, sha256=""))
    specs = [
        SPEC,
        dataclasses.replace(SPEC, template=tuple((x + 1, y) for x, y in SPEC.template)),
        dataclasses.replace(SPEC, height=113),
        dataclasses.replace(SPEC, width=113),
        dataclasses.replace(SPEC, mean=(127.5, 127.5, 127.0)),
        dataclasses.replace(SPEC, std=(128.0, 128.0, 127.0)),
        dataclasses.replace(SPEC, channel_order="bgr"),
        dataclasses.replace(SPEC, weights=dataclasses.replace(SPEC.weights, sha256="0" * 64)),
        unnamed,
        dataclasses.replace(unnamed, weights=dataclasses.replace(unnamed.weights, path="other")),
        dataclasses.replace(unnamed, weights=dataclasses.replace(unnamed.weights, source="other")),
    ]
    keys = [recogniser_key(recogniser(0, spec)) for spec in specs]
    keys += [recogniser_key(recogniser(1)), recogniser_key(recogniser(0).half())]
    assert len(set(keys)) == len(specs) + 2
    same = dataclasses.replace(SPEC, threshold=0.5, threshold_source="elsewhere")
    assert recogniser_key(recogniser(0, same)) == keys[0]


def full_sort(probes: Tensor, rows: Tensor, k: int) -> tuple[list[list[float]], list[list[int]]]:
    """The reference: sort every row by falling cosine, then by index, and keep the first k."""
    cosines, indices = [], []
    for probe in probes.double():
        scores = [
            float(np.float32(sum(a * b for a, b in zip(probe.tolist(), row.tolist(), strict=True)))) for row in rows
        ]
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]
        cosines.append([scores[index] for index in order])
        indices.append(order)
    return cosines, indices


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_search_equals_a_full_sort(generator: torch.Generator, k: int, chunk: int) -> None:
    probes = functional.normalize(torch.randn(6, 8, generator=generator))
    rows = functional.normalize(torch.randn(40, 8, generator=generator))
    rows[[11, 25, 39]] = rows[3].clone()
    rows[20] = 0.0
    cosines, indices = search(probes, rows, k, chunk)
    assert (cosines.dtype, indices.dtype) == (torch.float32, torch.int64)
    expected_cosines, expected_indices = full_sort(probes, rows, k)
    assert indices.tolist() == expected_indices
    assert np.allclose(cosines, expected_cosines, atol=1e-7)


def test_search_gives_equal_rows_in_their_order(generator: torch.Generator) -> None:
    probes = functional.normalize(torch.randn(300, 8, generator=generator))
    row = functional.normalize(torch.randn(1, 8, generator=generator))
    for chunk in (1, 7, 100):
        cosines, indices = search(probes, row.expand(50, 8), 20, chunk)
        assert torch.equal(indices, torch.arange(20).expand(300, 20))
        assert torch.allclose(cosines, (probes @ row.T).expand(300, 20), atol=1e-6)
    # A cosine of -0.0 equals one of 0.0.
    probe = torch.tensor([[1.0, 0.0]])
    rows = torch.tensor([[-0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert search(probe, rows, 4)[1].tolist() == [[0, 1, 3, 2]]


def test_search_takes_arrays_and_memory_maps(tmp_path: Path, generator: torch.Generator) -> None:
    probes = functional.normalize(torch.randn(4, 8, generator=generator))
    rows = functional.normalize(torch.randn(100, 8, generator=generator))
    expected = search(probes, rows, 3)
    rows.numpy().tofile(tmp_path / "rows")
    for mode in ("r", "r+", "c"):
        mapped = np.memmap(tmp_path / "rows", np.float32, mode, shape=(100, 8))
        for found, wanted in zip(search(probes, mapped, 3, 9), expected, strict=True):
            assert torch.equal(found, wanted)
        part = search(probes, mapped[50:], 3, 9)[1]
        assert torch.equal(part, search(probes, rows[50:], 3)[1])
    assert torch.equal(search(probes, rows.numpy(), 3)[1], expected[1])
    cosines, indices = search(probes[:0], rows, 3)
    assert cosines.shape == indices.shape == (0, 3)


def test_search_refuses_what_does_not_fit() -> None:
    probes, rows = torch.eye(2), torch.eye(2)
    with pytest.raises(ValueError, match=r"probes \(2, 2\), gallery \(2, 3\). Allowed: \(P, D\) and \(G, D\)"):
        search(probes, torch.ones(2, 3), 1)
    for k, chunk in ((0, 8), (3, 8), (1, 0)):
        with pytest.raises(ValueError, match=f"k {k}, chunk {chunk}. Allowed: k from 1 to 2, chunk from 1"):
            search(probes, rows, k, chunk)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            search(probes, torch.full((2, 2), value), 1)


@pytest.mark.gpu
def test_search_on_a_gpu_equals_that_on_the_cpu(generator: torch.Generator) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    probes = functional.normalize(torch.randn(300, 64, generator=generator))
    rows = functional.normalize(torch.randn(5000, 64, generator=generator))
    rows[4000:] = rows[:1000].clone()
    expected = search(probes, rows, 10, 999)
    for each in (rows, rows.cuda(), rows.numpy()):
        cosines, indices = search(probes.cuda(), each, 10, 777)
        assert cosines.is_cuda
        assert torch.equal(indices.cpu(), expected[1])
        assert torch.allclose(cosines.cpu(), expected[0], atol=1e-6)


def test_the_command_measures_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    embedding_cache._main(["--size", "9000", "--dimension", "16", "--probes", "3"])
    assert re.fullmatch(r"9,000 x 16 embeddings, 3 probes: \d+\.\d s, peak memory \+\d+ MiB\n", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        embedding_cache._main(["--size", "0"])
    assert "numbers from 1" in capsys.readouterr().err
