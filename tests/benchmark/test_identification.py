"""A whole benchmark on a small set of labelled faces, with real recognisers and few steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from skimage.metrics import peak_signal_noise_ratio

from facecrypt.benchmark.adversaries.growing import stream_of
from facecrypt.benchmark.adversaries.probing import train_linear_probe
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.detectors.yunet import Yunet
from facecrypt.faces.alignment import crop, crop_grid
from facecrypt.faces.patches import add_masks, cut
from facecrypt.methods.obfuscation import obfuscate
from facecrypt.methods.universal import drawn, read_mask
from facecrypt.photos.files import read_photo
from facecrypt.pipeline import runner
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.templates import ARCFACE_TEMPLATE
from facecrypt.transforms.base import publish
from tests.pictures import DATA

ROOT = Path(__file__).parents[2]
PACK = DATA / "virtual_targets"


def make(tmp_path: Path, **changes: Any) -> Path:
    """A benchmark whose people are virtual: two are protected, two aimed at, one is further in the gallery."""
    people = sorted(path for path in PACK.iterdir() if path.is_dir() and not path.name.startswith("_"))[:5]
    lines = ["image,identity,role"]
    for number, person in enumerate(people):
        first, *others = sorted(person.glob("*.png"))
        role = "probe" if number < 2 else "target" if number < 4 else "gallery"
        lines += [f"{first},{person.name},{role}", *(f"{other},{person.name},gallery" for other in others)]
    (tmp_path / "protocol.csv").write_text("\n".join(lines) + "\n")
    tipim = str(ROOT / "recipes" / "tipim.yaml")
    quick = {"steps": 2, "target_selector": {"name": "nearest"}, "trainer.accelerator": "cpu"}
    values: dict[str, Any] = {
        "title": "a test",
        "protocol": {"file": str(tmp_path / "protocol.csv")},
        "evaluators": [{"name": "sface"}, {"name": "dlib_resnet"}],
        "methods": [
            {"label": "clean"},
            {"label": "cover half", "obfuscation": {"method": "occlude", "strength": 0.5}},
            {"label": "blur", "recipe": str(ROOT / "recipes" / "methods" / "blur.yaml"), "set": {"held_out": []}},
            {"label": "single", "recipe": tipim, "every_target": True, "set": quick},
            {"label": "TIP-IM", "recipe": tipim, "set": quick},
        ],
        "output": str(tmp_path / "results"),
        "cache": str(tmp_path / "cache"),
    }
    path = tmp_path / "benchmark.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    assert cli.main(["evaluate", str(make(folder))]) == cli.DONE
    return folder


def test_results_of_the_users_own_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "table.md").write_text("mine")
    assert cli.main(["evaluate", str(make(tmp_path))]) == cli.WRONG
    assert "would replace files that are not from facecrypt, or were changed since" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in results.iterdir()] == [("table.md", "mine")]


def rows(folder: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((folder / "results" / "metrics.json").read_text())
    return loaded


def test_metrics_keep_their_contract(finished: Path) -> None:
    found = rows(finished)
    assert [(row["method"], row["evaluator"]) for row in found] == [
        (method, evaluator)
        for method in ("clean", "cover half", "blur", "single", "TIP-IM")
        for evaluator in ("sface", "dlib_resnet")
    ]
    names = {
        "method", "surrogates", "evaluator", "white_box", "rank1_t", "rank5_t", "rank1_ut", "rank5_ut", "psnr", "ssim",
        "mmd", "n_probes", "n_gallery", "seconds_per_face", "transform", "adversary", "seed",
    }  # fmt: skip
    assert all(names <= set(row) for row in found)
    assert {(row["method"], row["evaluator"]) for row in found if row["white_box"]} == {
        ("single", "sface"),
        ("TIP-IM", "sface"),
    }
    clean = found[0]
    assert (clean["rank1_t"], clean["rank1_ut"], clean["psnr"], clean["seconds_per_face"]) == (0, 0, None, None)
    assert clean["n_probes"] == 2
    for row in found:
        assert {group["trait"] for group in row["groups"]} == {"skin", "pose", "size", "sharpness", "brightness"}
        assert all(group["n"] == group["probes"].count("1") for group in row["groups"])
        for rate in ("rank1_t", "rank1_ut"):
            assert len(row[f"{rate}_probes"]) == 2
            assert row[f"{rate}_probes"].count("1") * 50 == row[rate]
    assert {path.name for path in (finished / "results").iterdir()} >= {
        "metrics.json",
        "table.md",
        "benchmark.yaml",
        "photos",
    }
    assert any((finished / "results").glob("*.svg"))
    assert found[6]["best_target"] in {path.name for path in PACK.iterdir()}


def test_numbers_can_be_computed_again_from_the_files(
    finished: Path, sface_embedder: Embedder, reference_ssim: Callable[..., float]
) -> None:
    """Slowly, photo by photo, with a full sort."""
    detector = FaceDetector()
    lines = [line.split(",") for line in (finished / "protocol.csv").read_text().splitlines()[1:]]

    def embedding(path: Path) -> np.ndarray[Any, Any]:
        photo = read_photo(path)
        return embed(sface_embedder, [cut(photo, detector.find(photo, "largest")[0])])[0].numpy()

    gallery = [(embedding(Path(image)), identity) for image, identity, role in lines if role == "gallery"]
    probes = [(Path(image), identity) for image, identity, role in lines if role == "probe"]
    aimed = {identity for _, identity, role in lines if role == "target"}
    (folder,) = (finished / "results" / "photos").glob("tip-im-*")
    files = sorted(folder.glob("*.png"))
    assert len(files) == len(probes)
    counts = {"rank1_t": 0, "rank5_t": 0, "rank1_ut": 0, "rank5_ut": 0}
    each_t = ""
    psnr, ssim = [], []
    for file, (original, identity) in zip(files, probes, strict=True):
        mine = embedding(file)
        ranked = [name for _, name in sorted(((-float(mine @ other), name) for other, name in gallery))]
        each_t += str(int(ranked[0] in aimed))
        for n in (1, 5):
            counts[f"rank{n}_t"] += bool(aimed & set(ranked[:n]))
            counts[f"rank{n}_ut"] += identity not in ranked[:n]
        before, after = read_photo(original), read_photo(file)
        image = cut(before, detector.find(before, "largest")[0])
        grid = crop_grid(image.landmarks[None], ARCFACE_TEMPLATE, (112, 112), image.pixels.shape[-1])
        changed = cut(after, detector.find(before, "largest")[0])
        crops = [crop(each.pixels[None], grid)[0].permute(1, 2, 0).numpy() for each in (image, changed)]
        psnr.append(peak_signal_noise_ratio(*crops, data_range=1.0))
        ssim.append(reference_ssim(*crops))
    (row,) = [row for row in rows(finished) if (row["method"], row["evaluator"]) == ("TIP-IM", "sface")]
    assert row["rank1_t_probes"] == each_t
    assert {key: row[key] for key in counts} == {key: 100 * value / len(probes) for key, value in counts.items()}
    assert row["psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert row["ssim"] == pytest.approx(np.mean(ssim), abs=1e-4)


@pytest.mark.slow
def test_running_again_makes_nothing_twice(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "results" / "photos").rglob("*.png")}
    assert len(before) == 2 * (1 + 1 + 2 + 1)
    metrics = (finished / "results" / "metrics.json").read_text()
    removed = next(path for path in before if "tip-im" in str(path))
    removed.unlink()
    assert cli.main(["evaluate", str(finished / "benchmark.yaml")]) == cli.DONE
    after = {path: path.stat().st_mtime_ns for path in (finished / "results" / "photos").rglob("*.png")}
    assert {path for path in before if after[path] != before[path]} == {removed}

    def without_time(text: str) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key != "seconds_per_face"} for row in json.loads(text)]

    assert without_time((finished / "results" / "metrics.json").read_text()) == without_time(metrics)


@pytest.mark.slow
def test_transformed_photos_are_identified_afresh(tmp_path: Path, sface_embedder: Embedder) -> None:
    names = ["none", "jpeg_30", "half_size"]
    tipim = str(ROOT / "recipes" / "tipim.yaml")
    quick = {"steps": 2, "target_selector": {"name": "nearest"}, "trainer.accelerator": "cpu"}
    methods = [{"label": "clean"}, {"label": "TIP-IM", "recipe": tipim, "set": quick}]
    path = make(tmp_path, methods=methods, transforms=names, evaluators=[{"name": "sface"}])
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    found = rows(tmp_path)
    expected = [(method, name) for method in ("clean", "TIP-IM") for name in names]
    assert [(row["method"], row["transform"]) for row in found] == expected
    assert len({(row["psnr"], row["ssim"], row["mmd"]) for row in found}) == 2  # Of the photos as they were saved.
    photos = tmp_path / "results" / "photos"
    (protected,) = photos.glob("tip-im-*")
    (clean,) = photos.glob("clean-*")
    probes = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines() if ",probe" in line]
    originals = [Path(image) for image, *_ in probes]
    for folder, sources in ((clean, originals), (protected, sorted(protected.glob("*.png")))):
        for name in ("jpeg_30", "half_size"):
            files = sorted((folder / name).rglob("*.png"))
            assert len(files) == len(sources) == 2
            for file, source in zip(files, sources, strict=True):
                assert np.array_equal(read_photo(file).pixels, publish(name)(read_photo(source).pixels))
    table = (tmp_path / "results" / "table.md").read_text()
    assert all(table.count(f"### {name}\n") == 2 for name in names)

    # The rates are those of the transformed files, found and embedded slowly.
    detector = FaceDetector()

    def embedding(file: Path) -> np.ndarray[Any, Any]:
        picture = read_photo(file)
        return embed(sface_embedder, [cut(picture, detector.find(picture, "largest")[0])])[0].numpy()

    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    gallery = [(embedding(Path(image)), identity) for image, identity, role in lines if role == "gallery"]
    for row, folder in ((found[2], clean), (found[5], protected)):
        nearest = []
        for file in sorted((folder / "half_size").rglob("*.png")):
            mine = embedding(file)
            nearest.append(max(gallery, key=lambda each: float(mine @ each[0]))[1])
        missed = [identity != own for identity, (_, own, _) in zip(nearest, probes, strict=True)]
        assert row["rank1_ut"] == 100 * np.mean(missed)

    # Nothing is made twice, and what was made anew from a photo follows it.
    before = {file: file.stat().st_mtime_ns for file in photos.rglob("*.png")}
    removed = sorted(protected.glob("*.png"))[0]
    removed.unlink()
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    changed = {file for file in before if file.stat().st_mtime_ns != before[file]}
    assert changed == {removed, *protected.glob(f"*/*/{removed.name}")}


@pytest.mark.slow
def test_a_protected_gallery_holds_protected_photos_of_the_same_people(
    tmp_path: Path, sface_embedder: Embedder
) -> None:
    methods = [{"label": "clean"}, {"label": "cover", "obfuscation": {"method": "occlude", "strength": 0.3}}]
    both = ["none", "protected_gallery", {"name": "protected_gallery", "transform": "half_size+jpeg_30"}]
    path = make(tmp_path, methods=methods, adversaries=both, evaluators=[{"name": "sface"}])
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    found = rows(tmp_path)
    assert [(row["method"], row["adversary"]) for row in found] == [
        ("clean", "none"),
        ("cover", "none"),
        ("cover", "protected_gallery"),
        ("cover", "protected_gallery, which collects after half_size+jpeg_30"),
    ]
    saved = tmp_path / "results" / "photos"
    later = publish("half_size+jpeg_30")
    collected = sorted(saved.glob("cover-*/collected/half-size-jpeg-30-*/00/*.png"))
    assert collected
    for file in collected:
        (source,) = saved.glob(f"cover-*/{file.name}")
        assert np.array_equal(read_photo(file).pixels, later(read_photo(source).pixels))
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    probes = [(Path(image), person) for image, person, role in lines if role == "probe"]
    gallery = [(Path(image), person) for image, person, role in lines if role == "gallery"]
    detector = FaceDetector()

    def embedding(file: Path, cover: bool) -> np.ndarray[Any, Any] | None:
        picture = read_photo(file)
        if cover:
            face = detector.find(picture, "largest")[0]
            picture = replace(picture, pixels=obfuscate(picture.pixels, face, "occlude", 0.3))
        faces = detector.find(picture, "largest")
        return embed(sface_embedder, [cut(picture, faces[0])])[0].numpy() if faces else None

    own = {person for _, person in probes}
    known = [(embedding(file, person in own), person) for file, person in gallery]
    searched = [(each, person) for each, person in known if each is not None]
    missed = []
    for file, person in probes:
        mine = embedding(file, True)
        missed.append(mine is None or max(searched, key=lambda each: float(mine @ each[0]))[1] != person)
    assert found[2]["rank1_ut"] == 100 * np.mean(missed)
    assert found[2]["n_gallery"] == len(searched)
    assert "### none, protected_gallery\n" in (tmp_path / "results" / "table.md").read_text()


@pytest.mark.slow
def test_a_gallery_grows_and_a_classifier_trains_on_protected_photos(tmp_path: Path, sface_embedder: Embedder) -> None:
    methods = [{"label": "clean"}, {"label": "blur", "obfuscation": {"method": "blur", "strength": 0.2}}]
    adversaries = ["none", "protected_gallery", "growing_gallery", "linear_probe"]
    photo = str(runner.sample_photo().parent)
    path = make(tmp_path, methods=methods, adversaries=adversaries, evaluators=[{"name": "sface"}], distractors=[photo])
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    found = {(row["method"], row["adversary"]): row for row in rows(tmp_path)}
    # Whoever trains or lets the gallery grow faces clean photos too, which tells what protection takes from them.
    assert set(found) == {(method, each) for method in ("clean", "blur") for each in adversaries} - {
        ("clean", "protected_gallery")
    }
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    probes = [(Path(image), person) for image, person, role in lines if role == "probe"]
    gallery = [(Path(image), person) for image, person, role in lines if role == "gallery"]
    own = {person for _, person in probes}
    detector = FaceDetector()
    people = sorted({person for _, person in gallery})
    pictures = {
        path.name: path for folder in (tmp_path / "results" / "photos").glob("blur-*") for path in folder.glob("*.png")
    }

    def embedding(file: Path) -> np.ndarray[Any, Any] | None:
        picture = read_photo(file)
        faces = detector.find(picture, "largest")
        return embed(sface_embedder, [cut(picture, faces[0])])[0].numpy() if faces else None

    theirs = [file for file, person in gallery if person in own]
    collected = {file: pictures[f"{number:04d}-{file.stem}.png"] for number, file in enumerate(theirs)}
    shown = [
        (embedding(pictures[f"{number:04d}-{file.stem}.png"]), person) for number, (file, person) in enumerate(probes)
    ]

    # The tracker, slowly: half of the photos of each person come by, and join where they are recognised.
    half = sum(sum(person == each for _, person in gallery) // 2 for each in own)
    assert found["clean", "growing_gallery"]["stream"] == {"photos": half, "joined": half, "right": half}
    numbers = [sorted(people_of(lines)).index(person) for file, person in gallery if person in own]
    later = [theirs[index] for index in stream_of(numbers, [file.name for file in theirs], 0)]
    known = [(embedding(file), person) for file, person in gallery if file not in later]
    known = [(each, person) for each, person in known if each is not None]
    (known_distractor,) = [embedding(file) for file in sorted(Path(photo).glob("*.png"))]
    known.append((known_distractor, "nobody"))
    arrived = joined = right = 0
    for file in later:
        mine = embedding(collected[file])
        if mine is None:
            continue
        arrived += 1
        cosine, name = max((float(mine @ each), person) for each, person in known)
        if cosine >= 0.307:
            known.append((mine, name))
            joined, right = joined + 1, right + (name == dict(gallery)[file])
    row = found["blur", "growing_gallery"]
    assert row["stream"] == {"photos": arrived, "joined": joined, "right": right}
    assert joined
    assert row["n_gallery"] == len(known)
    missed = [mine is None or max(known, key=lambda each: float(mine @ each[0]))[1] != person for mine, person in shown]
    assert row["rank1_ut"] == 100 * np.mean(missed)

    # The classifier knows the clean gallery and the protected photos, and none of the distractors.
    trained = [(embedding(file), person) for file, person in gallery]
    trained += [(embedding(file), dict(gallery)[original]) for original, file in collected.items()]
    trained = [(each, person) for each, person in trained if each is not None]
    row = found["blur", "linear_probe"]
    assert row["n_gallery"] == len(trained)
    assert found["clean", "linear_probe"]["n_gallery"] == len(gallery)
    classifier = train_linear_probe(
        torch.tensor(np.stack([each for each, _ in trained])),
        torch.tensor([people.index(person) for _, person in trained]),
    )
    missed = [
        mine is None or people[int(classifier.rank(torch.tensor(mine)[None], 1))] != person for mine, person in shown
    ]
    assert row["rank1_ut"] == 100 * np.mean(missed)
    assert found["clean", "linear_probe"]["rank1_ut"] == 0
    table = (tmp_path / "results" / "table.md").read_text()
    for name in ("protected_gallery", "growing_gallery", "linear_probe"):
        assert table.count(f"### none, {name}\n") == 2
    assert f"{joined} of {arrived}, {right} rightly" in table


@pytest.mark.slow
def test_a_chosen_strength_is_found_for_a_benchmark_too_and_its_judge_is_marked(tmp_path: Path) -> None:
    strength = {"judges": [{"name": "dlib_resnet"}], "levels": [{"epsilon": 2}, {"epsilon": 5}], "margin": 0.9}
    quick = {"steps": 1, "step_size": 9, "target_selector": {"name": "nearest"}, "trainer.accelerator": "cpu"}
    methods = [
        {"label": "chosen", "recipe": str(ROOT / "recipes" / "tipim.yaml"), "set": {**quick, "strength": strength}}
    ]
    assert cli.main(["evaluate", str(make(tmp_path, methods=methods))]) == cli.DONE
    found = rows(tmp_path)
    marks = {row["evaluator"]: (row["white_box"], row["chooses"]) for row in found}
    assert marks == {"sface": (True, False), "dlib_resnet": (False, True)}
    assert "†" in (tmp_path / "results" / "table.md").read_text().partition("## Notes")[0]
    # No level escapes by such a margin, so all are saved at the last one.
    originals = [
        line.split(",")[0] for line in (tmp_path / "protocol.csv").read_text().splitlines() if ",probe" in line
    ]
    for file, original in zip(sorted((tmp_path / "results").rglob("chosen-*/*.png")), originals, strict=True):
        change = read_photo(file).pixels.astype(int) - read_photo(Path(original)).pixels.astype(int)
        assert np.abs(change).max() == 5


@pytest.mark.slow
def test_a_mask_per_person_is_learned_from_their_gallery_photos_and_added_to_their_probe(tmp_path: Path) -> None:
    universal = str(ROOT / "recipes" / "methods" / "universal.yaml")
    square = str(ROOT / "recipes" / "methods" / "square.yaml")
    quick = {"steps": 2, "trainer.accelerator": "cpu"}
    methods = [
        {"label": "OPOM", "recipe": universal, "set": quick, "learn_from": 2},
        {"label": "Square", "recipe": square, "set": {**quick, "steps": 5}},
    ]
    assert cli.main(["evaluate", str(make(tmp_path, methods=methods))]) == cli.DONE
    masks = sorted((tmp_path / "results").rglob("opom-*/*.safetensors"))
    files = sorted((tmp_path / "results").rglob("opom-*/*.png"))
    assert [mask.stem for mask in masks] == [file.stem for file in files]
    detector = FaceDetector()
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()]
    probes = [Path(path) for path, _, role in lines if role == "probe"]
    for mask, file, probe in zip(masks, files, probes, strict=True):
        photo = read_photo(probe)
        face = detector.find(photo, "largest")[0]
        learned = read_mask(mask).mask
        assert 2.9 / 255 < learned.abs().max() <= 3.001 / 255  # a start and two steps of a grey level
        expected = add_masks(photo, [face], [drawn(learned, cut(photo, face))], 8)
        saved = read_photo(file).pixels
        assert np.abs(saved.astype(int) - expected.astype(int)).max() <= 1
        assert (saved != photo.pixels).any()
    found = {(row["method"], row["evaluator"]): row for row in rows(tmp_path)}
    assert found["OPOM", "sface"]["white_box"]
    assert found["OPOM", "sface"]["uses"] == "gradients"
    assert (found["Square", "sface"]["uses"], found["Square", "sface"]["queries_per_face"]) == ("scores", 5)


def people_of(lines: list[list[str]]) -> set[str]:
    photo = runner.sample_photo().parent
    return {person for _, person, _ in lines} | {f"distractor/{path}" for path in photo.glob("*.png")}


@pytest.mark.slow
def test_virtual_targets_join_the_gallery(tmp_path: Path) -> None:
    methods = [{"label": "clean"}]
    path = make(tmp_path, methods=methods, targets="virtual", evaluators=[{"name": "sface"}])
    protocol = (tmp_path / "protocol.csv").read_text().splitlines()
    # Real people would be protected here; these stand-ins must not be targets as well.
    renamed = [line.replace(",v", ",person-v") for line in protocol]
    (tmp_path / "protocol.csv").write_text("\n".join(renamed) + "\n")
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    checks = len(list(PACK.glob("*/*.png"))) - len(
        [person for person in PACK.iterdir() if person.is_dir() and any(person.glob("*.png"))]
    )
    gallery = sum(line.endswith(",gallery") for line in renamed)
    assert rows(tmp_path)[0]["n_gallery"] == gallery + checks


@pytest.mark.slow
def test_another_detector_identifies(tmp_path: Path, sface_embedder: Embedder) -> None:
    """Masks for the faces of one detector, found by another: told again from the files."""
    recipe, quick = str(ROOT / "recipes" / "tipim.yaml"), {"steps": 1, "trainer.accelerator": "cpu"}
    methods = [{"label": "TIP-IM", "recipe": recipe, "set": quick | {"epsilon": 60, "step_size": 60}}]
    path = make(tmp_path, methods=methods, evaluators=[{"name": "sface"}], detector={"name": "yunet"})
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    (row,) = rows(tmp_path)
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    yunet = FaceDetector(Yunet())

    def embedding(file: Path) -> np.ndarray[Any, Any] | None:
        photo = read_photo(file)
        faces = yunet.find(photo, "largest")
        return embed(sface_embedder, [cut(photo, faces[0])])[0].numpy() if faces else None

    gallery = [(embedding(Path(image)), person) for image, person, role in lines if role == "gallery"]
    known = [(each, person) for each, person in gallery if each is not None]
    probes = [person for _, person, role in lines if role == "probe"]
    saved = sorted((tmp_path / "results" / "photos").glob("*/*.png"))
    seen = [embedding(file) for file in saved]
    missed = [
        mine is None or max(known, key=lambda each: float(mine @ each[0]))[1] != person
        for mine, person in zip(seen, probes, strict=True)
    ]
    assert row["rank1_ut"] == 100 * np.mean(missed)
    assert row["no_face"] == 100 * np.mean([mine is None for mine in seen])


def test_a_bad_protocol_is_refused_with_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path)
    with (tmp_path / "protocol.csv").open("a") as file:
        file.write("gone.png,somebody,probe\nalso-gone.png,nobody,prob\n")
    assert cli.main(["evaluate", str(path)]) == cli.WRONG
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for fault in ("gone.png", "prob", "somebody"):
        assert fault in error
