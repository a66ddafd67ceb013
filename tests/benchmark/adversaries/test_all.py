"""All adversaries of a benchmark on virtual people, with a real recogniser: told again from the files that it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from facecrypt.benchmark.adversaries.galleries import choose_photos, choose_protected
from facecrypt.cli import main as cli
from facecrypt.detectors.search import FaceDetector
from facecrypt.faces.patches import cut
from facecrypt.photos.files import read_photo
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from tests.pictures import DATA

ROOT = Path(__file__).parents[3]
PACK = DATA / "virtual_targets"
SHORT: dict[str, Any] = {"pairs": 12, "epochs": 1}


def make(tmp_path: Path, adversaries: list[Any], methods: list[Any], protected: int = 3, everybody: int = 24) -> Path:
    """A benchmark of virtual people: some are protected, two aimed at, all others further in the gallery."""
    people = sorted(path for path in PACK.iterdir() if path.is_dir() and not path.name.startswith("_"))[:everybody]
    lines = ["image,identity,role"]
    for number, person in enumerate(people):
        first, *others = sorted(person.glob("*.png"))
        role = "probe" if number < protected else "target" if number < protected + 2 else "gallery"
        lines += [f"{first},{person.name},{role}", *(f"{other},{person.name},gallery" for other in others)]
    (tmp_path / "protocol.csv").write_text("\n".join(lines) + "\n")
    values = {
        "title": "a test",
        "protocol": {"file": str(tmp_path / "protocol.csv")},
        "evaluators": [{"name": "sface"}],
        "methods": methods,
        "adversaries": adversaries,
        "output": str(tmp_path / "results"),
        "cache": str(tmp_path / "cache"),
    }
    path = tmp_path / "benchmark.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    assert cli.main(["evaluate", str(path)]) == cli.DONE
    rows = json.loads((path.parent / "results" / "metrics.json").read_text())
    return {(row["method"], row["adversary"]): row for row in rows}


@pytest.mark.slow
def test_every_adversary_answers(tmp_path: Path) -> None:
    quick = {"steps": 1, "target_selector": {"name": "nearest"}, "trainer.accelerator": "cpu"}
    methods = [
        {"label": "clean"},
        {"label": "blur", "obfuscation": {"method": "blur", "strength": 0.3}},
        {"label": "TIP-IM", "recipe": str(ROOT / "recipes" / "tipim.yaml"), "set": quick},
    ]
    adversaries = [
        "none",
        "clean_gallery",
        "protected_gallery",
        "growing_gallery",
        "linear_probe",
        {"name": "clusterer", "people": 4, "label": "clusterer"},
        {"name": "best_transform", "people": 3, "transforms": ["none", "jpeg_30"], "label": "best_transform"},
        "other_alignment",
        {"name": "averaging", "count": 2, "label": "copies"},
        {"name": "averaging", "of": "photos", "count": 2, "label": "photos"},
        "adaptive",
        {"name": "adaptive", "by": "change", "pairs": 12, "label": "change"},
        {"name": "linear_map", "pairs": 12, "label": "linear_map"},
        {"name": "student", **SHORT, "label": "student"},
        {"name": "purifier", **SHORT, "label": "purifier"},
        {"name": "protection_detector", **SHORT, "label": "detector"},
    ]
    labels = [each if isinstance(each, str) else each["label"] for each in adversaries]
    path = make(tmp_path, adversaries, methods)
    found = run(path)
    every = {"none", "clean_gallery", "growing_gallery", "linear_probe", "clusterer", "other_alignment", "photos"}
    seeded = {"copies", "adaptive", "change"}
    assert {name for method, name in found if method == "clean"} == every
    assert {name for method, name in found if method == "blur"} == set(labels) - seeded
    assert [name for method, name in found if method == "TIP-IM"] == labels
    for (_, name), row in found.items():
        assert (row["n_probes"], row["seed"]) == (3, 0)
        if name in ("clusterer", "detector"):
            assert row["rank1_ut"] is None
            assert row["measures"].keys() == ({"purity", "completeness"} if name == "clusterer" else {"auc"})
            for measure in row["measures"].values():
                low, high = measure["interval"]
                assert 0 <= low <= measure["value"] <= high <= 100
        else:
            assert row["rank1_ut_probes"].count("1") * 100 / 3 == pytest.approx(row["rank1_ut"])
    assert found["TIP-IM", "best_transform"]["chosen"].startswith(("none (", "jpeg_30 ("))
    assert found["TIP-IM", "student"]["chosen"] == "adapter and last block"
    table = (tmp_path / "results" / "table.md").read_text()
    for heading in ("Not found (R1-UT), by adversary", "clusterer", "detector", "What adversaries chose"):
        assert f"## {heading}\n" in table
    # What was made is kept, whoever asks again.
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "results" / "photos").rglob("*.png")}
    assert run(path) == found
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "results" / "photos").rglob("*.png")} == files


@pytest.mark.slow
def test_a_mixed_gallery_holds_what_it_says(tmp_path: Path, sface_embedder: Embedder) -> None:
    """Its size, and whom it names, searched slowly among the photos that should be in it."""
    entry = {"name": "protected_gallery", "photos": 2, "share": 0.5, "probe": "clean", "label": "mixed"}
    methods = [{"label": "cover", "obfuscation": {"method": "occlude", "strength": 0.3}}]
    row = run(make(tmp_path, [entry], methods, 2, 7))["cover", "mixed"]
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    probes = [(Path(image), person) for image, person, role in lines if role == "probe"]
    gallery = [(Path(image), person) for image, person, role in lines if role == "gallery"]
    own = {person for _, person in probes}
    numbers = {person: number for number, person in enumerate(sorted({person for _, person, _ in lines}))}
    theirs = [(file, person) for file, person in gallery if person in own]
    labels, names = [numbers[person] for _, person in theirs], [file.name for file, _ in theirs]
    stay = choose_photos(labels, names, 2, 0)
    protected = choose_protected([labels[each] for each in stay], [names[each] for each in stay], 0.5, 0)
    assert sum(protected) == 2
    made = {
        file.name: file for folder in (tmp_path / "results" / "photos").glob("cover-*") for file in folder.glob("*.png")
    }
    files = [each for each in gallery if each[1] not in own]
    for place, hidden in zip(stay, protected, strict=True):
        file, person = theirs[place]
        files.append((made[f"{place:04d}-{file.stem}.png"] if hidden else file, person))
    detector = FaceDetector()

    def embedding(file: Path) -> np.ndarray[Any, Any] | None:
        photo = read_photo(file)
        faces = detector.find(photo, "largest")
        return embed(sface_embedder, [cut(photo, faces[0])])[0].numpy() if faces else None

    known = [(each, person) for file, person in files if (each := embedding(file)) is not None]
    assert row["n_gallery"] == len(known)
    missed = []
    for file, person in probes:
        mine = embedding(file)
        assert mine is not None
        missed.append(max(known, key=lambda each: float(mine @ each[0]))[1] != person)
    assert row["rank1_ut"] == 100 * np.mean(missed)


@pytest.mark.slow
def test_embeddings_without_the_targets_find_as_a_slow_search_does(tmp_path: Path, sface_embedder: Embedder) -> None:
    quick = {"steps": 2, "step_size": 6, "epsilon": 12, "trainer.accelerator": "cpu"}
    methods = [{"label": "TIP-IM", "recipe": str(ROOT / "recipes" / "tipim.yaml"), "set": quick}]
    row = run(make(tmp_path, ["adaptive"], methods, 3, 8))["TIP-IM", "adaptive"]
    lines = [line.split(",") for line in (tmp_path / "protocol.csv").read_text().splitlines()[1:]]
    detector = FaceDetector()

    def embedding(file: Path) -> torch.Tensor:
        photo = read_photo(file)
        return embed(sface_embedder, [cut(photo, detector.find(photo, "largest")[0])])[0].double()

    basis = torch.linalg.qr(torch.stack([embedding(Path(image)) for image, _, role in lines if role == "target"]).T)[0]

    def rest(file: Path) -> torch.Tensor:
        mine = embedding(file)
        return functional.normalize(mine - basis @ (basis.T @ mine), dim=0)

    gallery = [(rest(Path(image)), person) for image, person, role in lines if role == "gallery"]
    people = [person for _, person, role in lines if role == "probe"]
    (folder,) = (tmp_path / "results" / "photos").glob("tip-im-*")
    missed = [
        max(gallery, key=lambda each: float(rest(file) @ each[0]))[1] != person
        for file, person in zip(sorted(folder.glob("*.png")), people, strict=True)
    ]
    assert row["rank1_ut"] == pytest.approx(100 * np.mean(missed))


def test_too_few_people_end_it_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, [{"name": "student", "pairs": 5000}], [{"label": "clean"}], 1, 6)
    assert cli.main(["evaluate", str(path)]) == cli.WRONG
    assert "adversaries: student(pairs=5000) needs 5000 photos of other people" in capsys.readouterr().err
    assert not (tmp_path / "results" / "photos").exists()
