"""Groups at their bounds, their rates by slow counting, and the section that tells of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from facecrypt.benchmark import group_tables, groups, tables
from facecrypt.benchmark.groups import TRAITS, Groups
from facecrypt.evaluation.traits import FaceTraits


def face(**values: Any) -> FaceTraits:
    usual = {"skin": 30.0, "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "size": 40.0, "sharpness": 0.2, "brightness": 55.0}
    return FaceTraits(**(usual | values))


def row(digits: str, told: Groups, **keys: Any) -> dict[str, Any]:
    usual = {
        "method": "mine", "setting": "", "surrogates": ["sface"], "evaluator": "a", "white_box": False, "psnr": 30.0,
        "rank1_ut": 100 * digits.count("1") / len(digits), "rank1_ut_probes": digits, "n_probes": len(digits),
        "seed": 0, "transform": "none", "adversary": "none",
    }  # fmt: skip
    return usual | told.rates(digits) | keys


@pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.name)
def test_a_bound_belongs_to_the_class_before_it(trait: groups.Trait) -> None:
    assert len(trait.classes) == len(trait.bounds) + 1
    key = "yaw" if trait.name == "pose" else trait.name
    for bound, before, after in zip(trait.bounds, trait.classes[:-1], trait.classes[1:], strict=True):
        assert trait.classify(face(**{key: bound})) == before
        assert trait.classify(face(**{key: np.nextafter(bound, 1000)})) == after
    assert trait.classify(None) is None


def test_the_classes_of_skin_are_those_of_the_typology() -> None:
    (skin,) = (trait for trait in TRAITS if trait.name == "skin")
    angles = {"very light": 60, "light": 50, "intermediate": 30, "tan": 20, "brown": 0, "dark": -40}
    assert {name: skin.classify(face(skin=angle)) for name, angle in angles.items()} == {name: name for name in angles}
    assert skin.classify(face(skin=None)) is None


def test_heads_turned_to_either_side_are_turned() -> None:
    (pose,) = (trait for trait in TRAITS if trait.name == "pose")
    assert [pose.classify(face(yaw=yaw)) for yaw in (-20, -15, 0, 15, 20)] == [
        "turned", "frontal", "frontal", "frontal", "turned",
    ]  # fmt: skip


def test_rates_of_groups_by_counting() -> None:
    faces = [face(yaw=30.0 if number < 12 else 0.0, skin=None if number == 3 else 30.0) for number in range(40)]
    told = Groups(range(40), [*faces[:-1], None], 0).rates("1" * 6 + "0" * 6 + "10" * 14)
    assert "probe_people" not in told
    rates = {(group["trait"], group["class"]): group for group in told["groups"]}
    assert list(rates) == [
        ("skin", "intermediate"), ("pose", "frontal"), ("pose", "turned"), ("size", "medium"), ("sharpness", "medium"),
        ("brightness", "medium"),
    ]  # fmt: skip
    assert rates["pose", "turned"]["n"] == 12
    assert rates["pose", "turned"]["rank1_ut"] == 50
    assert rates["pose", "turned"]["probes"] == "1" * 12 + "0" * 28
    assert rates["pose", "frontal"]["rank1_ut"] == pytest.approx(100 * 14 / 27)
    assert rates["skin", "intermediate"]["n"] == 38
    low, high = rates["pose", "turned"]["rank1_ut_interval"]
    assert 15 < low < 30
    assert 70 < high < 85


def test_where_nobody_was_searched_there_are_no_rates() -> None:
    assert Groups(range(9), [face()] * 9, 0).rates("") == {}


def test_people_with_several_probes_are_drawn_with_all_of_them() -> None:
    """The same rates have wider intervals than those of as many people, in what is compared, too."""
    faces = [face(size=30.0 if number < 20 else 40.0) for number in range(40)]
    digits = "1100" * 10
    pairs, apart = (
        groups.standings([row(digits, Groups(people, faces, 0))])[0]
        for people in ([number // 2 for number in range(40)], range(40))
    )
    assert pairs.rate == apart.rate == 50
    assert pairs.interval[1] - pairs.interval[0] > 1.2 * (apart.interval[1] - apart.interval[0])


def test_few_probes_have_a_rate_and_no_interval() -> None:
    told = Groups(range(9), [face()] * 9, 0).rates("110000000")
    assert {group["n"] for group in told["groups"]} == {9}
    assert told["groups"][0]["rank1_ut"] == pytest.approx(200 / 9)
    assert told["groups"][0]["rank1_ut_interval"] is None


def test_intervals_are_those_of_people_drawn_one_by_one() -> None:
    """Twelve people with two probes each, which succeed or fail together: as many draws as there are people."""
    people = [number // 2 for number in range(24)]
    digits = "".join(str(int(person < 5)) for person in people)
    (group, *_) = Groups(people, [face()] * 24, 0).rates(digits)["groups"]
    draw, means = random.Random(0), []
    for _ in range(4000):
        drawn = [draw.randrange(12) for _ in range(12)]
        values = [int(digits[probe]) for person in drawn for probe in range(24) if people[probe] == person]
        means.append(100 * sum(values) / len(values))
    low, high = np.quantile(means, [0.025, 0.975])
    assert Groups(people, [face()] * 24, 0).rates(digits)["probe_people"] == people
    assert group["rank1_ut_interval"] == pytest.approx([low, high], abs=4.2)
    apart = Groups(range(24), [face()] * 24, 0).rates(digits)["groups"][0]["rank1_ut_interval"]
    assert apart[1] - apart[0] < high - low


def test_a_group_is_compared_with_the_rest_over_all_evaluators() -> None:
    told = Groups(range(40), [face(yaw=30.0 if number < 10 else 0.0) for number in range(40)], 0)
    rows = [row("1" * 5 + "0" * 5 + "1" * 30, told), row("0" * 10 + "1" * 15 + "0" * 15, told, evaluator="b")]
    frontal, turned = groups.standings(rows)
    assert (turned.trait, turned.group, turned.n) == ("pose", "turned", 10)
    assert turned.rate == 25
    assert frontal.rate == 75
    assert (turned.ahead, frontal.ahead) == (-50, 50)
    assert turned.ahead_interval[0] < -50 < turned.ahead_interval[1] < 0
    assert turned.marked
    assert not frontal.marked


def test_small_classes_are_joined_with_their_smaller_neighbour() -> None:
    skins = [-40.0] * 3 + [0.0] * 9 + [20.0] * 12 + [60.0] * 12  # Nobody is intermediate or light.
    told = Groups(range(36), [face(skin=skin) for skin in skins], 0)
    found = groups.standings([row("1" * 36, told)])
    assert [(each.group, each.n) for each in found] == [("dark to brown", 12), ("tan", 12), ("very light", 12)]
    assert groups.left_out(row("1" * 36, told)) == [
        "pose (36 frontal)", "size (36 medium)", "sharpness (36 medium)", "brightness (36 medium)",
    ]  # fmt: skip


def test_a_group_is_marked_from_more_than_ten_points_on() -> None:
    told = Groups(range(40), [face(size=30.0 if number < 20 else 40.0) for number in range(40)], 0)
    at = groups.standings([row("1" * 10 + "0" * 10 + "1" * 12 + "0" * 8, told)])
    beyond = groups.standings([row("1" * 9 + "0" * 11 + "1" * 12 + "0" * 8, told)])
    assert [round(each.ahead, 6) for each in at] == [-10, 10]
    assert [each.marked for each in at] == [False, False]
    assert [each.marked for each in beyond] == [True, False]


def test_the_section_has_a_line_and_a_table_for_each_method() -> None:
    told = Groups(range(40), [face(size=30.0 if number < 20 else 40.0) for number in range(40)], 0)
    weak, even = "0" * 20 + "1" * 20, "10" * 20
    rows = [
        row(even, told, method="clean", psnr=None, surrogates=[]),
        row(weak, told),
        row(even, told, evaluator="b"),
        row("1" * 40, told, evaluator="inside", white_box=True),
        row(weak, told, transform="jpeg_50"),
    ]
    text = group_tables.section(rows)
    assert text.startswith("## Who is protected less\n\n- mine / none: worst group size: small, n = 20, R1-UT 25.0 [")
    first, second = (line for line in text.splitlines() if line.startswith("- "))
    assert "-50.0 [" in first
    assert first.endswith("against the rest ‡")
    assert second.startswith("- mine / jpeg_50: worst group size: small")
    assert text.count("### ") == 1
    assert "| all |  | 40 | 50.0 |  |" in text
    assert "| size | small | 20 | 25.0 [" in text
    assert "Mean over a, b. Left out, for want of a second group: skin (40 intermediate); pose (40 frontal);" in text
    assert "inside" not in text
    whole = tables.render_markdown("t", [each | _rest(each) for each in rows], "c", groups=text)
    assert whole.index("## Untargeted") < whole.index("## Who is protected less") < whole.index("## Image quality")


def _rest(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rank1_t": 0.0, "rank5_t": 0.0, "rank5_ut": 0.0, "n_gallery": 9, "ssim": 0.9, "mmd": 0.1, "no_face": 0.0,
        "seconds_per_face": None,
    } | ({"ssim": None} if row["method"] == "clean" else {})  # fmt: skip


def test_results_of_earlier_versions_have_no_section() -> None:
    told = Groups(range(40), [face(size=30.0 if number < 20 else 40.0) for number in range(40)], 0)
    old = {key: value for key, value in row("10" * 20, told).items() if key not in ("groups", "probe_people")}
    assert group_tables.section([old]) == ""


def test_too_few_probes_are_said_to_be_so() -> None:
    told = Groups(range(4), [face()] * 4, 0)
    assert group_tables.section([row("1010", told)]) == (
        "## Who is protected less\n\nNot told: no trait has two groups of 10 probes or more."
    )
    assert group_tables.section([row("1010", told, white_box=True)]) == ""


def test_masks_by_other_surrogates_are_told_apart() -> None:
    told = Groups(range(40), [face(size=30.0 if number < 20 else 40.0) for number in range(40)], 0)
    text = group_tables.section([row("10" * 20, told), row("01" * 20, told, surrogates=["dlib"])])
    assert [line.partition(":")[0] for line in text.splitlines() if line.startswith("- ")] == [
        "- mine / sface",
        "- mine / dlib",
    ]
