from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PhotoError, RecipeError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.iterative.batch import Batch
from facecrypt.methods.iterative.loop import ProtectionLoop, Surrogate
from facecrypt.methods.iterative.own_photos import OwnPhotos, own_album, person_album
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import build_loop, load_own_photos, run
from facecrypt.recipe.check import check_recipe
from facecrypt.recipe.schema import PersonOptions
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import embed
from facecrypt.targets.selectors import Target
from tests.pictures import DATA

PACK = DATA / "virtual_targets"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in subfolders, with a photo that shows nobody, and one person in the folder itself."""
    made = tmp_path_factory.mktemp("own") / "album"
    for person, name in (("v01", "ann"), ("v05", "bob"), ("v09", "")):
        (made / name).mkdir(parents=True, exist_ok=True)
        for number in (1, 2):
            shutil.copy(PACK / person / f"{number}.png", made / name / f"{person}-{number}.png")
    Image.new("RGB", (100, 100), "gray").save(made / "ann" / "wall.png")
    return made


def aim(person: str, detector: FaceDetector) -> FaceImage:
    photo = read_photo(PACK / person / "0.png")
    return cut(photo, detector.find(photo, "largest")[0])


def test_people_are_known_by_their_photos(folder: Path, detector: FaceDetector, sface_embedder: Embedder) -> None:
    own = OwnPhotos(own_album(str(folder)), [sface_embedder], detector)
    assert own.names == ["album", "ann", "bob"]
    assert own.faceless == 1
    faces = [aim(person, detector) for person in ("v05", "v12", "v01", "v09")]
    found = own.recognise(faces)
    assert [None if each is None else own.names[each] for each in found] == ["bob", None, "ann", "album"]


def test_the_own_identity_is_the_mean(
    folder: Path, detector: FaceDetector, sface_embedder: Embedder, targets: list[Target]
) -> None:
    recipe = check_recipe({"surrogates": [{"name": "sface"}], "own_photos": str(folder), "steps": 1})
    surrogates = [Surrogate("sface", sface_embedder, 1.0)]
    loop = build_loop(recipe, surrogates, targets, load_own_photos(recipe, surrogates, detector))
    known, stranger = aim("v01", detector), aim("v12", detector)
    batch = Batch(loop, [known, stranger], [0, 1], torch.autocast("cpu", enabled=False))
    photos = [read_photo(PACK / "v01" / f"{number}.png") for number in (1, 2)]
    others = embed(sface_embedder, [cut(photo, detector.find(photo, "largest")[0]) for photo in photos])
    itself = embed(sface_embedder, [known, stranger])
    mean = functional.normalize((others.sum(0) + itself[0])[None])[0]
    assert torch.allclose(batch.identities[0][0], mean, atol=1e-4)
    assert torch.allclose(batch.identities[0][1], itself[1], atol=1e-5)
    person, nobody = batch.people
    assert nobody is None
    assert person is not None
    assert person.name == "ann"
    away = 2 - 2 * functional.normalize(others.sum(0), dim=0) @ loop.get_buffer("targets_0").T
    assert torch.allclose(person.to_targets, away, atol=1e-4)


def test_own_photos_change_the_masks_of_those_who_are_in_them(
    folder: Path, detector: FaceDetector, sface_embedder: Embedder, targets: list[Target]
) -> None:
    surrogates = [Surrogate("sface", sface_embedder, 1.0)]
    faces = [aim("v01", detector), aim("v12", detector)]
    values = {"surrogates": [{"name": "sface"}], "steps": 3, "target_selector": {"name": "farthest"}}
    plain = build_loop(check_recipe(values), surrogates, targets).run(faces, [0, 1]).masks
    recipe = check_recipe(values | {"own_photos": str(folder)})
    led = build_loop(recipe, surrogates, targets, load_own_photos(recipe, surrogates, detector)).run(faces, [0, 1])
    assert not torch.equal(plain[0], led.masks[0])
    assert torch.equal(plain[1], led.masks[1])


def test_folders_that_cannot_be_own_photos(tmp_path: Path, detector: FaceDetector) -> None:
    with pytest.raises(PhotoError, match="own_photos: .* is no folder. Name one with photos of the person"):
        OwnPhotos(own_album(str(tmp_path / "nowhere")), [], detector)
    with pytest.raises(PhotoError, match="own_photos: "):
        OwnPhotos(own_album(str(tmp_path)), [], detector)
    Image.new("RGB", (100, 100), "gray").save(tmp_path / "wall.png")
    with pytest.raises(PhotoError, match="own_photos: no face found in "):
        OwnPhotos(own_album(str(tmp_path)), [], detector)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"(?s)own_photos: .*broken.png"):
        OwnPhotos(own_album(str(tmp_path)), [], detector)


PEOPLE = {"v01": (1, 2), "v05": (1, 2)}
"""Photos of two people of the pack."""


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run") / "photos"
    for person, numbers in PEOPLE.items():
        (made / person).mkdir(parents=True)
        for number in numbers:
            shutil.copy(PACK / person / f"{number}.png", made / person / f"{person}-{number}.png")
    return made


def test_whose_photos_they_are(album: Path, tmp_path: Path) -> None:
    paths = sorted(album.rglob("*.png"))
    assert person_album(PersonOptions(), str(album), paths).owners == ["v01", "v01", "v05", "v05"]
    assert person_album(PersonOptions(), str(album / "v*/*.png"), paths).owners == ["v01", "v01", "v05", "v05"]
    assert person_album(PersonOptions(), str(album / "v01"), paths[:2]).owners == ["v01", "v01"]
    assert person_album(PersonOptions(by="all"), str(album), paths).owners == ["all"] * 4
    table = tmp_path / "people.csv"
    table.write_text("photo,person\nv01/v01-1.png,ann\nv05-2.png,bob\n")
    named = person_album(PersonOptions("table", str(table), "both"), str(album), paths)
    assert [(path.name, owner) for path, owner in zip(named.paths, named.owners, strict=True)] == [
        ("v01-1.png", "ann"), ("v05-2.png", "bob"),
    ]  # fmt: skip
    assert named.shares == (True, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no rows with the columns photo and person"),
        ("name,who\na,b\n", "has no rows with the columns photo and person"),
        ("photo,person\na.png,\n", "line 2 lacks a photo or a person"),
        ("photo,person\na.png,ann\na.png,bob\n", "line 3 gives a.png to bob too"),
        ("photo,person\nnobody.png,ann\n", "names none of the photos"),
    ],
)
def test_tables_that_tell_nothing(text: str, says: str, album: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text(text)
    with pytest.raises(PhotoError, match=f"person.*{says}"):
        person_album(PersonOptions("table", str(table)), str(album), sorted(album.rglob("*.png")))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"person": {"by": "table"}}, "person: by: table needs a table"),
        ({"person": {"table": "a.csv"}}, "person: by: table needs a table"),
        ({"person": {}, "own_photos": "me"}, "person: stands beside own_photos"),
        ({"person": {}, "target_selector": {"name": "greedy"}}, "photos share no target that 'greedy' chooses"),
        ({"person": {}, "target_selector": {"name": "random"}}, "or random with keep: true"),
        ({"person": {}, "photos": "-"}, "person: photos: '-' may name others each time"),
        ({"person": {}, "photos": "a", "in_place": True}, "person: with in_place"),
        ({"person": {}, "method": {"name": "blur"}}, "the method 'blur' has no use for it"),
        ({"target_embedding": "set", "method": {"name": "blur"}}, "is given one embedding per target"),
        ({"target_weights": {"v01": 0}}, "target_weights.v01: "),
        ({"target_weights": {"v01": "much"}}, "target_weights.v01: "),
    ],
)
def test_recipes_that_make_no_sense(keys: dict[str, object], says: str) -> None:
    values = {"surrogates": [{"name": "sface"}], "target_selector": {"name": "farthest"}} | keys
    with pytest.raises(RecipeError) as caught:
        check_recipe(values)
    assert says in str(caught.value)


@pytest.mark.slow
def test_photos_of_one_person_share_a_target_or_an_identity(
    album: Path, detector: FaceDetector, sface_embedder: Embedder, targets: list[Target]
) -> None:
    paths = sorted(album.rglob("*.png"))
    surrogates = [Surrogate("sface", sface_embedder, 1.0)]
    faces = [cut(photo, detector.find(photo, "largest")[0]) for photo in map(read_photo, paths)]

    def loop(share: str | None, selector: str, **args: object) -> ProtectionLoop:
        keys = {"surrogates": [{"name": "sface"}], "steps": 1, "target_selector": {"name": selector, "args": args}}
        recipe = check_recipe(keys | ({"person": {"share": share}} if share else {}) | {"photos": str(album)})
        return build_loop(recipe, surrogates, targets, load_own_photos(recipe, surrogates, detector, paths))

    for selector, args in (("random", {"keep": True}), ("farthest", {}), ("persistent", {"salt": 3})):
        chosen = loop("target", selector, **args).run(faces, [0, 1, 2, 3]).targets
        assert chosen[0] == chosen[1]
        assert chosen[2] == chosen[3]
    alone = Batch(loop("target", "farthest"), faces, [0] * 4, torch.autocast("cpu", enabled=False)).identities[0]
    mean = Batch(loop("identity", "farthest"), faces, [0] * 4, torch.autocast("cpu", enabled=False)).identities[0]
    assert torch.allclose(alone, embed(sface_embedder, faces), atol=1e-5)
    expected = functional.normalize(alone[0] + alone[1], dim=0)
    assert torch.allclose(mean[0], expected, atol=1e-3)
    assert torch.allclose(mean[1], expected, atol=1e-3)


@pytest.mark.slow
def test_a_run_shares_targets_and_does_without_a_broken_photo(album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(album / "v01", photos / "ann")
    (photos / "ann" / "broken.png").write_bytes(b"no picture")
    recipe = check_recipe(
        {
            "surrogates": [{"name": "sface"}], "steps": 1, "photos": str(photos), "output": str(tmp_path / "out"),
            "target_selector": {"name": "random", "args": {"keep": True}}, "person": {"share": "both"},
            "target_weights": {"v01": 2.0}, "target_embedding": "mean", "max_targets": 4,
            "receipt": {"transforms": []}, "trainer": {"accelerator": "cpu"},
        }
    )  # fmt: skip
    report = run(recipe)
    assert [photo["status"] for photo in report.photos] == ["failed", "written", "written"]
    assert len({photo["faces"][0]["target"] for photo in report.photos[1:]}) == 1
