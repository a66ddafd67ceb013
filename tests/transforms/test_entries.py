from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecrypt.errors import FacecryptError, RecipeError
from facecrypt.photos.files import Photo
from facecrypt.pipeline import runner
from facecrypt.recipe.check import check_recipe, dump_recipe, load_recipe
from facecrypt.transforms.base import publish
from facecrypt.transforms.entries import read_entry, shorten
from tests import processes

ROOT = Path(__file__).parents[2]
SURROGATES = {"surrogates": [{"name": "sface"}]}


@pytest.mark.parametrize(
    ("entry", "label", "short"),
    [
        ("jpeg_75", "jpeg_75", "jpeg_75"),
        ({"name": "jpeg_75"}, "jpeg_75", "jpeg_75"),
        ("half_size + jpeg_50", "half_size+jpeg_50", "half_size+jpeg_50"),
        ({"chain": ["half_size", "jpeg_50"]}, "half_size+jpeg_50", "half_size+jpeg_50"),
        ({"name": "jpeg", "args": {"quality": 60}}, "jpeg(quality=60)", {"name": "jpeg", "args": {"quality": 60}}),
        ({"chain": [{"name": "blur", "label": ""}]}, None, None),
        (
            {"chain": ["blur+half_size", {"chain": [{"name": "webp", "args": {"quality": 80}}]}], "label": "chat"},
            "chat",
            {"chain": ["blur", "half_size", {"name": "webp", "args": {"quality": 80}}], "label": "chat"},
        ),
        ({"name": "x", "label": "Twitter"}, "Twitter", {"name": "x", "label": "Twitter"}),
    ],
)
def test_what_means_the_same_is_spelt_the_same(entry: object, label: str | None, short: object) -> None:
    if label is None:
        with pytest.raises(FacecryptError, match="no labels"):
            read_entry(entry)
        return
    assert read_entry(entry).label == label
    assert shorten(entry) == short
    assert read_entry(short).steps == read_entry(entry).steps


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("jpg_75", "no transform named 'jpg_75'. Did you mean 'jpeg_75'?"),
        ("half_size+jpeg_5", "no transform named 'jpeg_5'. Did you mean 'jpeg_75'?"),
        ("", "no transform named ''"),
        (3, "3 is no transform. Give a name"),
        ({"nam": "blur"}, "unknown key 'nam'. Did you mean 'name'?"),
        ({"name": "jpeg", "args": {"qality": 60}}, "unknown argument 'qality'. Did you mean 'quality'?"),
        ({"name": "jpeg", "args": {"quality": 600}}, "less than or equal to 100"),
        ({"name": "jpeg", "args": [60]}, "a mapping of its arguments"),
        ({"chain": []}, "chain: give a list of transforms"),
        ({"chain": ["blur"], "name": "blur"}, "give either a name"),
        ({"chain": ["blur"] * 17}, "Allowed: at most 16"),
        ({"name": "blur", "label": "jpeg_75"}, "'jpeg_75' is the name of another transform"),
        ({"name": "blur", "label": 2024}, "Quote a number"),
    ],
)
def test_faults_say_what_is_near_and_what_is_allowed(entry: object, fault: str) -> None:
    with pytest.raises(FacecryptError) as error:
        read_entry(entry)
    assert fault in str(error.value)


def test_recipes_tell_faults_before_anything_is_built() -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe({**SURROGATES, "receipt": {"transforms": ["blur", "jpg_75"]}, "epsilon": 0})
    (first, second) = sorted(error.value.faults)
    assert first.startswith("epsilon: 0 is wrong")
    assert second.startswith("receipt.transforms[1]: 'jpg_75' is wrong: no transform named 'jpg_75'. Did you mean")


def test_one_label_has_one_meaning() -> None:
    both: list[Any] = [{"name": "jpeg", "args": {"quality": each}, "label": "mine"} for each in (60, 70)]
    with pytest.raises(RecipeError, match="two different transforms are called 'mine'"):
        check_recipe({**SURROGATES, "receipt": {"transforms": both}})
    assert check_recipe({**SURROGATES, "receipt": {"transforms": both[:1] * 2}})


def test_entries_survive_the_file_and_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("surrogates: [{name: sface}]\n")
    entries = "[jpeg_75, half_size+jpeg_50, {name: jpeg, args: {quality: 60}}, {chain: [blur, webp], label: chat}]"
    recipe = load_recipe(file, [f"receipt.transforms={entries}"])
    file.write_text(dump_recipe(recipe))
    again = load_recipe(file)
    assert again == recipe
    assert [read_entry(each).label for each in again.receipt.transforms] == [
        "jpeg_75",
        "half_size+jpeg_50",
        "jpeg(quality=60)",
        "chat",
    ]


def test_a_chain_is_one_after_the_other(photo: Photo) -> None:
    pixels = photo.pixels[40:240, 140:310].copy()
    one = publish("half_size")(pixels)
    two = publish({"name": "jpeg", "args": {"quality": 60}})(one)
    chain = publish({"chain": ["half_size", {"name": "jpeg", "args": {"quality": 60}}], "label": "both"})
    assert np.array_equal(chain(pixels), two)
    assert not np.array_equal(publish("jpeg_75+half_size")(pixels), publish("half_size+jpeg_75")(pixels))


def test_names_are_checked_without_torch() -> None:
    program = (
        "import sys\nfrom facecrypt.transforms.entries import read_entry\n"
        "read_entry({'chain': ['half_size', {'name': 'jpeg', 'args': {'quality': 60}}]})\n"
        "try:\n    read_entry('jpg_75')\nexcept Exception as error:\n    print(error)\n"
        "print('heavy:', sorted({'torch', 'cv2', 'lightning'} & set(sys.modules)))\n"
    )
    done = processes.run([sys.executable, "-c", program], check=True)
    assert "Did you mean 'jpeg_75'?" in done.stdout
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.slow
def test_a_run_judges_after_chains_and_shows_them_to_the_loop(tmp_path: Path) -> None:
    views = "[{name: published, args: {transforms: [whatsapp, half_size+jpeg_50]}}]"
    entries = "[jpeg_75, {name: jpeg, args: {quality: 60}}, {chain: [half_size, webp], label: chat}]"
    report = runner.run(
        load_recipe(
            ROOT / "recipes" / "tipim.yaml",
            [
                f"output={tmp_path}",
                f"views={views}",
                f"receipt.transforms={entries}",
                "steps=2",
                "max_targets=2",
                "trainer.accelerator=cpu",
            ],
        )
    )
    ((face,),) = [photo["faces"] for photo in report.photos]
    for verdict in face["recognisers"].values():
        assert list(verdict["after"]) == ["none", "jpeg_75", "jpeg(quality=60)", "chat"]
    assert 0 < face["max_abs"] <= 12
