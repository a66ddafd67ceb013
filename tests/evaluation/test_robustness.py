"""Receipts: faces found again after changes, places in a gallery, and what repeated runs take over."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptWarning, PhotoError, RecipeError
from facecrypt.evaluation.robustness import FoundFace, Gallery, People, see_again
from facecrypt.evaluation.verification import Jury, make_judge, verify
from facecrypt.faces.face import Face, face_at, place_face
from facecrypt.faces.patches import cut
from facecrypt.photos.files import Photo, file_digest, read_photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe
from facecrypt.recipe.face_rules import Faces
from facecrypt.report import writer
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import publish, publish_all
from tests.pictures import DATA

VIRTUAL = DATA / "virtual_targets"
IN_PLACE = {"in_place": True, "receipt": {"transforms": []}}
ALL = Faces(choose="all")
TRANSFORMS: list[str] = ["jpeg_75", "half_size", "blur"]


class Counting(FaceDetector):
    """A detector that counts the pixels it searches."""

    searched = 0

    def find(self, photo: Photo, choice: Any, min_size: float | None = None) -> list[Face]:
        self.searched += photo.pixels.shape[0] * photo.pixels.shape[1]
        return super().find(photo, choice, min_size)


def similarity(embedder: Embedder, photo: Photo, face: Face, other: Any) -> float:
    first, second = embed(embedder, [cut(photo, face), other])
    return float(first @ second)


@pytest.mark.parametrize("transform", [*TRANSFORMS, "screenshot", "whatsapp"])
def test_a_changed_photo_shows_the_same_person(
    transform: str, photo: Photo, face: Face, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    """Also where the photo has another size afterwards, as a screenshot has."""
    (again,) = see_again(photo, publish(transform), [face], detector, ALL)
    assert again is not None
    assert similarity(sface_embedder, photo, face, again.image) > 0.9


def test_only_the_neighbourhood_of_small_faces_is_searched(photo: Photo, face: Face, sface_embedder: Embedder) -> None:
    pixels = np.full((900, 1500, 3), 127, np.uint8)
    pixels[300:812, 800:1312] = photo.pixels
    large, counting = Photo(photo.path, pixels), Counting()
    (placed,) = counting.find(large, "all")
    counting.searched = 0
    (whole,) = see_again(large, publish("none"), [placed], counting, ALL)
    assert counting.searched == 900 * 1500
    counting.searched = 0
    (near,) = see_again(large, publish("jpeg_75"), [placed], counting, ALL)
    assert counting.searched < 900 * 1500 / 4
    assert whole is not None
    assert near is not None
    assert similarity(sface_embedder, large, placed, near.image) > 0.9
    counting.searched = 0
    see_again(photo, publish("jpeg_75"), [face], counting, ALL)  # Here the face fills the photo: one search of it all.
    assert counting.searched == 512 * 512


def test_a_face_that_is_gone_is_not_another_one(photo: Photo, face: Face, detector: FaceDetector) -> None:
    pixels = photo.pixels.copy()
    pixels[:220, 140:310] = 127
    assert see_again(Photo(photo.path, pixels), publish("none"), [face], detector, ALL) == [None]
    elsewhere = replace(face, box=(0.0, 300.0, 90.0, 400.0))
    assert see_again(photo, publish("blur"), [elsewhere], detector, ALL) == [None]


def test_an_aligned_face_is_searched_nowhere(photo: Photo, detector: FaceDetector) -> None:
    (found,) = detector.find(photo, "aligned")
    (again,) = see_again(photo, publish("half_size"), [found], detector, Faces(choose="aligned"))
    assert again is not None
    assert torch.equal(again.image.landmarks, cut(photo, found).landmarks)


@pytest.mark.parametrize("transform", ["none", "jpeg_75", "screenshot"])
def test_a_face_given_by_hand_is_never_lost(
    transform: str, photo: Photo, face: Face, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    def again(shown: Photo, given: Face) -> FoundFace:
        (found,) = see_again(shown, publish(transform), [given], detector, ALL)
        assert found is not None
        return found

    given = face_at(face.landmarks.tolist())
    upright = again(photo, given)
    assert upright.how == "detected"
    assert similarity(sface_embedder, photo, given, upright.image) > 0.9
    # The search of a whole photo finds one that lies on its side, too.
    turned = Photo(photo.path, np.rot90(photo.pixels).copy())
    x, y = face.landmarks.T
    lying = face_at(np.stack([y, photo.pixels.shape[1] - 1 - x], axis=1).tolist())
    on_its_side = again(turned, lying)
    assert on_its_side.how == "detected"
    assert similarity(sface_embedder, turned, lying, on_its_side.image) > 0.9
    empty = place_face((40, 300, 120, 400))
    known = again(photo, empty)
    assert known.how == "known landmarks"
    before = cut(photo, empty).pixels
    if transform == "screenshot":  # It is larger: both are compared in one size.
        before = functional.interpolate(before[None], size=known.image.pixels.shape[-2:], mode="bilinear")[0]
    assert (known.image.pixels - before).abs().mean() < 0.03


def people(generator: torch.Generator) -> tuple[People, list[torch.Tensor], torch.Tensor]:
    photos = functional.normalize(torch.randn(40, 8, generator=generator))
    targets = [functional.normalize(torch.randn(count, 8, generator=generator)) for count in (1, 3)]
    face = functional.normalize(torch.randn(8, generator=generator), dim=0)
    return People([f"p{row % 9}" for row in range(40)], [f"d{row}" for row in range(40)], photos), targets, face


def test_ranks_are_those_of_a_sorted_list(generator: torch.Generator) -> None:
    known, targets, face = people(generator)
    rows = [(float(photo @ face), name) for photo, name in zip(known.embeddings, known.names, strict=True)]
    rows += [(float(photo @ face), f"target {number}") for number, each in enumerate(targets) for photo in each]
    order = [name for _, name in sorted(rows, reverse=True)]
    for target in (0, 1):
        for person in ("p0", "p4", "p8"):
            place = known.place(face, person, targets, target)
            assert place.own_rank == order.index(person) + 1
            assert place.target_rank == order.index(f"target {target}") + 1
            assert place.own_similarity == pytest.approx(max(value for value, name in rows if name == person))
    assert known.place(face, None, targets, 0).own_rank is None
    best = max(row for row in rows if not row[1].startswith("target"))
    assert known.recognise(face, best[0] - 1e-4) == best[1]
    assert known.recognise(face, best[0] + 1e-4) is None
    assert known.recognise(face, None) is None


def test_copies_of_the_photo_itself_are_left_out(generator: torch.Generator) -> None:
    known, _, face = people(generator)
    assert known.without("of another file") is known
    rest = known.without("d7")
    assert len(rest.names) == len(rest.embeddings) == 39
    assert "d7" not in rest.digests
    assert torch.equal(rest.embeddings[7], known.embeddings[8])
    nobody = People(["p"], ["d"], known.embeddings[:1]).without("d")
    assert nobody.recognise(face, 0.0) is None


@pytest.fixture(scope="module")
def gallery_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's mirrored photo and the photo itself, a subfolder of another person, two loose photos."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "astronaut").mkdir()
    original = Image.open(runner.sample_photo())
    original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "astronaut" / "mirrored.png")
    shutil.copy(runner.sample_photo(), folder / "astronaut" / "same.png")
    (folder / "other" / "trip").mkdir(parents=True)
    shutil.copy(VIRTUAL / "v18" / "0.png", folder / "other" / "trip" / "a.png")
    shutil.copy(VIRTUAL / "v19" / "0.png", folder / "loose.png")
    Image.new("RGB", (64, 64), "gray").save(folder / "empty.png")
    return folder


def test_a_gallery_knows_whose_photos_it_has(
    gallery_folder: Path, tmp_path: Path, detector: FaceDetector, sface_embedder: Embedder
) -> None:
    gallery = Gallery(str(gallery_folder), detector, aligned=False, cache=str(tmp_path / "cache"))
    known = gallery.people(sface_embedder)
    assert list(known.names) == ["astronaut", "astronaut", "loose", "other"]
    assert gallery.describe(known) == {"folder": str(gallery_folder), "photos": 4, "people": 3}
    assert len(gallery.photos) == 5
    assert torch.equal(gallery.people(sface_embedder).embeddings, known.embeddings)
    assert list((tmp_path / "cache").glob("embeddings*"))


def test_a_gallery_that_cannot_be(tmp_path: Path, detector: FaceDetector, sface_embedder: Embedder) -> None:
    def open_gallery(where: Path) -> Gallery:
        return Gallery(str(where), detector, aligned=False, cache=None)

    with pytest.raises(PhotoError, match=r"receipt.gallery: '.*nowhere' is no folder. Name one with a subfolder"):
        open_gallery(tmp_path / "nowhere")
    with pytest.raises(PhotoError, match="no photos found"):
        open_gallery(tmp_path)
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "empty.png")
    with pytest.raises(PhotoError, match="receipt.gallery: no face found in"):
        open_gallery(tmp_path).people(sface_embedder)
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(PhotoError, match=r"receipt.gallery: photos: 1 cannot be used.*\n.*broken.jpg"):
        open_gallery(tmp_path).people(sface_embedder)


def test_a_run_whose_gallery_cannot_be_leaves_nothing(ran: Runs, tmp_path: Path) -> None:
    keys = recipe(ran.photo, tmp_path / "out") | {"receipt": {"gallery": str(tmp_path / "nowhere")}}
    with pytest.raises(PhotoError, match="receipt.gallery"):
        runner.run(check_recipe(keys))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"transforms": ["jpeg_74"]}, "receipt.transforms[0]: 'jpeg_74' is wrong: no transform named"),
        (
            {"galery": "x"},
            "receipt.galery: unknown key. Did you mean 'gallery'? Known: transforms, gallery, cache, detector.",
        ),
        ({"gallery": ""}, "receipt.gallery: "),
    ],
)
def test_faults_of_a_recipe(keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe({"surrogates": [{"name": "sface"}], "receipt": keys})
    assert fault in str(error.value)


def test_a_photo_that_nobody_changed(
    photo: Photo, face: Face, detector: FaceDetector, targets: list[Target], sface_embedder: Embedder
) -> None:
    """Before and after must be equal then, whatever happens to both."""
    judge = make_judge("sface", sface_embedder, False, targets)
    transforms = publish_all(["blur", "none", "blur"])
    jury = Jury(targets=targets, judges=[judge], detector=detector, choice="all", transforms=transforms)
    (seen,) = verify(photo.path, photo, [face], [0], [1.0], jury)
    verdict = seen.recognisers["sface"]
    assert list(verdict.before) == list(verdict.after) == ["none", "blur"]
    for transform, before in verdict.before.items():
        assert verdict.after[transform].similarity == pytest.approx(before.similarity, abs=1e-5)
    assert verdict.before["none"].similarity == pytest.approx(1)
    assert verdict.after["none"].similarity == verdict.similarity
    assert verdict.after["none"].place is None
    assert seen.sentence.startswith("sface, which gave no gradients, still takes this face for the original")
    assert seen.psnr is None


@dataclass
class Runs:
    """Runs over one photo into one output folder; the first has a gallery."""

    photo: Path
    output: Path
    first: writer.Report

    def again(self, **keys: Any) -> dict[str, Any]:
        """Run once more and return the photo's entry in report.json."""
        runner.run(check_recipe(recipe(self.photo, self.output) | keys))
        (entry,) = json.loads((self.output / "report.json").read_text())["photos"]
        return entry  # type: ignore[no-any-return]


def recipe(photo: Path, output: Path) -> dict[str, Any]:
    return {
        "surrogates": [{"name": "sface"}],
        "held_out": [{"name": "dlib_resnet"}],
        "photos": str(photo),
        "output": str(output),
        "max_targets": 2,
        "target_selector": {"name": "nearest"},
        "steps": 2,
        "trainer": {"accelerator": "cpu"},
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, gallery_folder: Path) -> Runs:
    output = tmp_path_factory.mktemp("out")
    photo = tmp_path_factory.mktemp("photos") / "me.png"
    shutil.copy(runner.sample_photo(), photo)
    keys = recipe(photo, output) | {"receipt": {"transforms": TRANSFORMS, "gallery": str(gallery_folder)}}
    with pytest.warns(FacecryptWarning, match=r"receipt.gallery: no face found in 1 of its photos"):
        made = runner.run(check_recipe(keys))
    return Runs(photo, output, made)


def test_a_run_with_a_gallery(
    ran: Runs, gallery_folder: Path, detector: FaceDetector, dlib_embedder: Embedder, photo: Photo, face: Face
) -> None:
    assert ran.first.gallery == {"folder": str(gallery_folder), "photos": 4, "people": 3}
    (entry,) = ran.first.photos
    (seen,) = entry["faces"]
    verdict = seen["recognisers"]["dlib_resnet"]
    assert verdict["person"] == "astronaut"
    states = ["none", *TRANSFORMS]
    assert list(verdict["before"]) == list(verdict["after"]) == states
    before = verdict["before"]["none"]
    assert before["place"]["own_rank"] == 1
    # The very same file is in the gallery, too, and would be found with a similarity of 1.
    mirrored = read_photo(gallery_folder / "astronaut" / "mirrored.png")
    other = cut(mirrored, detector.find(mirrored, "largest")[0])
    assert before["place"]["own_similarity"] == pytest.approx(similarity(dlib_embedder, photo, face, other), abs=1e-4)
    assert before["place"]["own_similarity"] < 0.999
    # The changed file, made by hand and read from the disk.
    saved = Image.open(entry["output"])
    saved.save(ran.output.parent / "changed.jpg", quality=75)
    changed = read_photo(ran.output.parent / "changed.jpg")
    now = cut(changed, detector.find(changed, "all")[0])
    measured = verdict["after"]["jpeg_75"]["similarity"]
    assert measured == pytest.approx(similarity(dlib_embedder, photo, face, now), abs=1e-3)
    assert ran.first.summary.startswith("Weak: dlib_resnet, which gave no gradients, still takes this face for the ")
    assert seen["sentence"].startswith("dlib_resnet, which gave no gradients,")
    html = writer.render(ran.first)
    assert "in the gallery: astronaut" in html
    assert "This run's gallery: 4 photos of 3 people" in html


def test_a_repeated_run_takes_over_what_was_measured(ran: Runs) -> None:
    (before,) = ran.first.photos
    assert not before["carried_over"]
    for _ in range(2):  # What was taken over once is taken over again.
        after = ran.again()
        assert (after["status"], after["already"], after["carried_over"]) == ("unchanged", True, True)
        assert "was written before with these settings" in after["reason"]
        kept = ("faces", "output", "encoding", "source_sha256", "output_sha256")
        assert {key: after[key] for key in kept} == json.loads(json.dumps({key: before[key] for key in kept}))
    loaded = json.loads((ran.output / "report.json").read_text())
    assert loaded["summary"] == ran.first.summary
    html = (ran.output / "report.html").read_text()
    assert "Carried over: an earlier run measured the numbers below" in html
    assert "in the gallery: astronaut" in html  # Of the earlier run: this one has none.


def test_a_damaged_report_is_passed_over_and_records_of_a_stopped_run_are_not(ran: Runs) -> None:
    whole = (ran.output / "report.json").read_text()
    (entry,) = json.loads(whole)["photos"]
    wrong_type = json.dumps({"photos": [entry | {"faces": [{"box": "none"}]}]})
    not_finite = whole.replace('"ssim": ', '"ssim": NaN, "was": ')
    for text in ("", "[]", "{}", "[" * 10_000, wrong_type, not_finite, "\x00"):
        (ran.output / "report.json").write_text(text)
        assert writer.read_earlier(ran.output, ran.output / runner.RECORDS) == {}
    (ran.output / runner.RECORDS).mkdir()
    (ran.output / runner.RECORDS / "0.json").write_text(json.dumps(entry))
    (ran.output / runner.RECORDS / "1.json").write_text("{")
    assert ran.again()["carried_over"]


@pytest.mark.parametrize("change", ["source", "output", "path", "hash"])
def test_numbers_of_other_files_are_not_taken_over(change: str, tmp_path: Path) -> None:
    source, output = tmp_path / "me.png", tmp_path / "out.png"
    source.write_bytes(b"original")
    output.write_bytes(b"protected")
    face = {"box": [0, 0, 1, 1], "target": "v", "seconds": 1.0, "max_abs": 1, "psnr": None, "ssim": 1.0, "mmd": 0.0}
    entry = asdict(writer.PhotoReport(str(source), str(output), "written", ""))
    entry |= {"faces": [face], "source_sha256": file_digest(source), "output_sha256": file_digest(output)}
    if change == "hash":
        entry["output_sha256"] = None
    (tmp_path / "report.json").write_text(json.dumps({"photos": [entry]}))
    earlier = writer.read_earlier(tmp_path, tmp_path / "none")
    assert list(earlier) == [str(source)]
    now = asdict(writer.PhotoReport(str(source), None, "unchanged", "was before", already=True))
    (same,) = writer.carry_over([now], [output], earlier)
    assert same["carried_over"] == (change != "hash")
    assert writer.carry_over([now | {"already": False}], [output], earlier) == [now | {"already": False}]
    if change in ("source", "output"):
        (source if change == "source" else output).write_bytes(b"changed")
    destination = tmp_path / "elsewhere.png" if change == "path" else output
    assert writer.carry_over([now], [destination], earlier) == [now]


@pytest.mark.slow
def test_a_photo_that_was_replaced_keeps_its_numbers(tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    shutil.copy(runner.sample_photo(), photo)
    runs = Runs(photo, tmp_path / "out", runner.run(check_recipe(recipe(photo, tmp_path / "out") | IN_PLACE)))
    after = runs.again(**IN_PLACE)
    assert after["carried_over"]
    assert after["backup"] == str(tmp_path / "me.original.png")
    assert after["faces"] == json.loads(json.dumps(runs.first.photos[0]["faces"]))
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<img") == 3
