from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import PhotoError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.methods.iterative.batch import Batch
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.iterative.own_photos import OwnPhotos
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.runner import build_loop, load_own_photos
from facecrypt.recipe.check import check_recipe
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
    own = OwnPhotos(str(folder), [sface_embedder], detector)
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
        OwnPhotos(str(tmp_path / "nowhere"), [], detector)
    with pytest.raises(PhotoError, match="own_photos: "):
        OwnPhotos(str(tmp_path), [], detector)
    Image.new("RGB", (100, 100), "gray").save(tmp_path / "wall.png")
    with pytest.raises(PhotoError, match="own_photos: no face found in "):
        OwnPhotos(str(tmp_path), [], detector)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"(?s)own_photos: .*broken.png"):
        OwnPhotos(str(tmp_path), [], detector)
