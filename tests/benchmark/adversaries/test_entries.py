from __future__ import annotations

import sys
from typing import Any, get_args

import pytest

from facecrypt.benchmark.adversaries.entries import (
    CLASSES,
    adversary_faults,
    read_adversary,
    shorten_adversary,
    target_of,
)
from facecrypt.benchmark.identification import Entrant
from facecrypt.choices import Adversary
from facecrypt.errors import FacecryptError
from facecrypt.signatures import read_arguments
from tests import processes


def test_every_adversary_has_a_class_whose_arguments_have_defaults() -> None:
    assert set(CLASSES) == set(get_args(Adversary))
    for name in CLASSES:
        entrant = Entrant(name)
        assert entrant.label == name
        assert entrant.adversary.rows in ("all", "protected", "recipe")
        assert entrant.adversary.needs.pairs in (0, 100)


def test_arguments_are_read_without_torch() -> None:
    program = (
        "import sys\nfrom facecrypt.benchmark.adversaries import entries\n"
        "for name in entries.CLASSES: entries.read_adversary({'name': name, 'label': 'x'})\n"
        "print('torch' in sys.modules)"
    )
    assert processes.run([sys.executable, "-c", program], check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("entry", "short", "label"),
    [
        ("none", "none", "none"),
        ({"name": "linear_probe"}, "linear_probe", "linear_probe"),
        ({"name": "protected_gallery", "share": 1.0, "transform": "none"}, "protected_gallery", "protected_gallery"),
        (
            {"name": "protected_gallery", "transform": {"name": "jpeg_75"}},
            {"name": "protected_gallery", "transform": "jpeg_75"},
            "protected_gallery, which collects after jpeg_75",
        ),
        (
            {"name": "protected_gallery", "photos": 3, "share": 0.5},
            {"name": "protected_gallery", "photos": 3, "share": 0.5},
            "protected_gallery(photos=3, share=0.5)",
        ),
        ({"name": "student", "pairs": "all"}, {"name": "student", "pairs": "all"}, "student(pairs=all)"),
        (
            {"name": "best_transform", "transforms": ["none", {"name": "blur"}], "label": "two"},
            {"name": "best_transform", "transforms": ["none", "blur"], "label": "two"},
            "two",
        ),
    ],
    ids=str,
)
def test_entries_in_their_shortest_form(entry: object, short: object, label: str) -> None:
    assert shorten_adversary(entry) == short
    assert shorten_adversary(short) == short
    assert read_adversary(entry).label == label


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"name": "protected_gallery", "photos": 0}, "photos: 0 is wrong: input should be greater than or equal to 1"),
        ({"name": "protected_gallery", "foto": 1}, "unknown key 'foto'. Did you mean 'photos'? Known: name, label, tr"),
        ({"name": "clusterer", "transform": "blur"}, "'clusterer' collects no photos. Name another, or use transforms"),
        ({"name": "student", "pairs": "many"}, "pairs: 'many' is wrong"),
        ({"name": "other_alignment", "detector": "mtcn"}, "no detector named 'mtcn'. Did you mean 'mtcnn'?"),
        ({"name": "purifier", "teacher": "safce"}, "no surrogate named 'safce'. Did you mean 'sface'?"),
        ({"name": "best_transform", "transforms": ["blurr"]}, "no transform named 'blurr'"),
        ({"name": "none", "label": ""}, "label '' is wrong"),
        (3, "input should be 'none', 'protected_gallery'"),
    ],
    ids=str,
)
def test_one_fault(entry: object, fault: str) -> None:
    with pytest.raises(FacecryptError) as raised:
        read_adversary(entry)
    assert str(raised.value).startswith(fault)


def test_two_with_one_label_are_told() -> None:
    entries: list[dict[str, Any] | str] = [{"name": "none"}, {"name": "linear_probe", "label": "none"}]
    assert adversary_faults(entries) == ["adversaries: two different ones are called 'none'. Label them."]
    assert not adversary_faults(["none", "linear_probe"])
    assert "photos" in read_arguments(target_of("clean_gallery"))
