from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from facecrypt import registry
from facecrypt.engine import digest
from facecrypt.engine.digest import detector_identity, recipe_digest
from facecrypt.photos.files import file_digest
from facecrypt.recipe.check import check_recipe
from facecrypt.recipe.schema import Slot
from facecrypt.registry import Component
from tests.pictures import make_image
from tests.surrogates.onnx_files import mobilefacenet

BASE: dict[str, Any] = {"surrogates": [{"name": "sface"}]}


def of(**keys: Any) -> str:
    return recipe_digest(check_recipe(BASE | keys))


@pytest.mark.parametrize(
    "keys",
    [
        {"photos": "x", "output": "y", "name": "z-{stem}{suffix}", "overwrite": True},
        {"batch_size": 2, "workers": 1, "limits": {"seconds": 9}, "trainer": {"devices": 2}},
        {"receipt": {"gallery": "z", "transforms": []}, "report": {"originals": False}},
        {"held_out": [{"name": "dlib_resnet"}]},
        # Spelt otherwise.
        {"steps": 50, "views": [], "budget": None, "own_identity": {"weight": 0}},
        {"optimizer": {"name": "momentum", "args": {"decay": 1}}},
        {"target_selector": {"name": "greedy", "args": {"every": 1, "margin": 0.25}}},
        {"surrogates": [{"name": "sface", "args": {}, "weight": 1, "fallback": []}]},
        {"detector": {"name": "mtcnn", "args": {}}, "region": None},
        {"receipt": {"detector": {"name": "yunet"}}},  # It judges what is done.
    ],
)
def test_what_changes_no_pixel_changes_nothing(keys: dict[str, Any]) -> None:
    assert of(**keys) == of()


@pytest.mark.parametrize(
    "keys",
    [
        {"epsilon": 8},
        {"trainer": {"precision": "bf16-mixed"}},
        {"optimizer": {"name": "momentum", "args": {"decay": 0.9}}},
        {"optimizer": {"name": "adam"}},
        {"views": [{"name": "blur"}]},
        {"naturalness": [{"name": "mmd", "weight": 2}]},
        {"surrogates": [{"name": "sface"}, {"name": "dlib_resnet"}]},
        {"surrogates": [{"name": "sface", "dropout": 0.1}]},
        {"budget": {"jod": 9.3}},
        {"metadata": "strip"},
        {"detector": {"name": "yunet"}},
        {"region": {"name": "skin"}},
        {"region": {"outside": 0.5}},
        {"preset": "mid"},
        {"protect": 0.7},
    ],
)
def test_what_changes_a_photo_changes_it(keys: dict[str, Any]) -> None:
    assert of(**keys) != of()


def test_a_preset_is_its_keys() -> None:
    from facecrypt.recipe.presets import load_presets

    assert of(preset="mid") == of(**load_presets()["mid"])
    assert of(preset="mid", steps=3) != of(preset="mid")
    levels = [{"preset": "low"}, {"preset": "mid"}]
    spelt = [load_presets()["low"], load_presets()["mid"]]
    assert of(protect=0.7, levels=levels) == of(protect=0.7, levels=spelt) != of(protect=0.7, levels=levels[:1])
    assert of(protect=0.7) != of(protect=0.6)


def test_what_lies_in_files_counts(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    seen = []
    for number in range(3):
        make_image(size=(40, 40)).rotate(number * 10).save(folder / "a.png")
        seen.append((of(targets=str(folder)), of(own_photos=str(folder))))
        seen.append((of(targets=f"{folder}/*.png"), of(own_photos=f"{folder}/../people")))
    assert len({each for pair in seen[::2] for each in pair}) == 6
    assert [own for _, own in seen[::2]] == [own for _, own in seen[1::2]]


def test_the_content_of_weights_counts(tmp_path: Path) -> None:
    path = mobilefacenet(tmp_path / "net.onnx")
    slot = {"name": "onnx", "args": {"path": str(path), "dimension": 16}}
    before = of(surrogates=[slot])
    copy = tmp_path / "same.onnx"
    copy.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes() + b" ")
    assert of(surrogates=[slot]) != before


def test_the_content_of_a_folder_with_weights_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    slot = {"name": "timm", "args": {"model": "convnext_atto", "folder": str(tmp_path)}}
    before = of(surrogates=[slot])
    (tmp_path / "out").mkdir()  # Nobody reads weights there.
    (tmp_path / "out" / "report.json").write_text("{}")
    assert of(surrogates=[slot]) == before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert of(surrogates=[slot]) != before


def test_photos_of_a_person_count_and_no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run writes may lie among them."""
    monkeypatch.chdir(tmp_path)
    photos = [tmp_path / name / "1.png" for name in ("ann", "bob")]
    for number, photo in enumerate(photos):
        photo.parent.mkdir()
        photo.write_bytes(bytes([number]))
    keys = {"photos": str(tmp_path), "person": {"share": "identity"}}
    seen: list[str] = []

    def digest_of(chosen: list[Path], **more: Any) -> str:
        return recipe_digest(check_recipe(BASE | keys | more), chosen)

    before = digest_of(photos)
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / "1.png").write_bytes(b"made")
    assert digest_of(photos) == digest_of(photos[::-1]) == before
    assert digest_of(photos[:1]) != before
    read = file_digest
    monkeypatch.setattr(digest, "file_digest", lambda path: (seen.append(str(path)), read(path))[1])
    levels = [{"epsilon": 4}, {"epsilon": 8}]
    digest_of(photos, strength={"judges": [{"name": "dlib_resnet"}], "levels": levels})
    assert sorted(each for each in seen if each.endswith(".png")) == [str(photo) for photo in photos]
    photos[0].write_bytes(b"another")
    assert digest_of(photos) != before
    assert of() == recipe_digest(check_recipe(BASE), photos)


def test_detectors_and_regions_count_with_their_arguments(tmp_path: Path) -> None:
    yunet, strict = {"name": "yunet"}, {"name": "yunet", "args": {"score": 0.95}}
    assert of(detector=yunet) == of(detector={"name": "yunet", "args": {"score": 0.9}}) != of(detector=strict)
    assert of(detector="yunet") == of(detector=yunet)
    assert of(region="skin") == of(region={"name": "skin"}) == of(region={"name": "skin", "args": {"soft": 1}})
    # The masks of these are chosen by what is seen in the saved photo.
    judge = {"strength": {"judges": [{"name": "dlib_resnet"}]}}
    assert of(**judge) != of(**judge, receipt={"detector": yunet})
    assert of(protect=0.7) != of(protect=0.7, receipt={"detector": yunet})
    assert of(protect=0.7, receipt={"detector": "yunet"}) == of(protect=0.7, receipt={"detector": yunet})
    slot = Slot("yunet", {"path": str(tmp_path / "own.onnx")})
    (tmp_path / "own.onnx").write_bytes(b"one")
    first = detector_identity(slot)
    (tmp_path / "own.onnx").write_bytes(b"another")
    assert detector_identity(Slot("mtcnn")) == ""
    assert len({first, detector_identity(slot), detector_identity(Slot("yunet")), ""}) == 4


def test_a_new_key_with_its_default_voids_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a later version would add one."""

    @dataclass
    class Options:
        one: int = 1
        more: list[int] = field(default_factory=list)

    later = make_dataclass(
        "Later", [("new", int, 5), ("nested", Options, field(default_factory=Options))], bases=(Options,)
    )
    assert digest._changed(later()) == {}
    assert digest._changed(later(nested=Options(one=2))) == {"nested": {"one": 2}}


def test_versions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: Mapping[str, str] = {"facecrypt": "0.1", "plug": "1"}
    plugged = [Plugin("plug")]
    monkeypatch.setattr(metadata, "version", lambda name: versions[name])
    component = registry.get("optimizer", "adam")
    registry.list_components()
    mine = Component("optimizer", "mine", component.target, "mine", "plug")
    monkeypatch.setitem(registry._shared.components, ("optimizer", "mine"), mine)
    monkeypatch.setattr(metadata, "entry_points", lambda group: plugged)
    digests = [of(), of(optimizer={"name": "mine"})]
    plugged[0].dist.version = "2"
    assert of() == digests[0]
    assert of(optimizer={"name": "mine"}) != digests[1]
    versions = {"facecrypt": "0.2"}
    assert of() != digests[0]


class Plugin:
    """An entry point."""

    def __init__(self, name: str) -> None:
        self.name, self.module, self.dist = name, "somewhere", self
        self.version = "1"
