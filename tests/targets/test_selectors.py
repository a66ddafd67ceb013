from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facecrypt.choices import Trait
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.targets.selectors import (
    VIRTUAL,
    Center,
    Distances,
    Farthest,
    Fixed,
    Greedy,
    MatchedFar,
    Nearest,
    Persistent,
    Person,
    Random,
    Situation,
    Target,
    center_gain,
    gain,
    load_targets,
)
from tests.pictures import DATA

PACK = DATA / "virtual_targets"


def situation(step: int = 0, previous: torch.Tensor | None = None, tries: list[int] | None = None) -> Situation:
    now = Distances(torch.tensor([0.5, 0.6]), torch.tensor([[1.9, 1.2, 1.4], [1.0, 1.5, 1.1]]))

    def try_targets(wanted: torch.Tensor) -> Distances:
        if tries is not None:
            tries.append(step)
        # Face 0 gains most from target 2 by the maximum, from target 1 by the sum; face 1 from target 0 by both.
        after = torch.tensor(
            [[[1.8, 1.2, 1.4], [1.0, 1.0, 1.0], [1.9, 1.9, 0.9]], [[0.1, 0.1, 0.1], [1, 1, 1], [1, 1, 1]]]
        )
        return Distances(torch.full((2, 3), 0.7), after.masked_fill(~wanted.unsqueeze(2), torch.inf))

    return Situation(step, previous, now, try_targets, lambda below: torch.tensor([0, below - 1]))


def test_gains_follow_their_formulas() -> None:
    distances = Distances(torch.tensor([0.7]), torch.tensor([[1.2, 0.3]]))
    terms = [torch.tensor(0.7 - 1.2).exp(), torch.tensor(0.7 - 0.3).exp()]
    assert gain(distances).item() == pytest.approx(torch.log(1 + max(terms)).item())
    assert center_gain(distances).item() == pytest.approx(torch.log(1 + sum(terms)).item())


def test_selectors_choose_per_face() -> None:
    assert Greedy()(situation()).tolist() == [2, 0]
    assert Center()(situation()).tolist() == [1, 0]
    assert Nearest()(situation()).tolist() == [1, 0]
    assert Farthest()(situation()).tolist() == [0, 1]
    assert Random()(situation()).tolist() == [0, 2]
    assert Fixed(index=1)(situation()).tolist() == [1, 1]


def test_greedy_keeps_its_target_between_choices() -> None:
    tries: list[int] = []
    previous = torch.tensor([0, 1])
    assert Greedy(every=3)(situation(1, previous, tries)).tolist() == [0, 1]
    assert Greedy(every=3)(situation(2, previous, tries)).tolist() == [0, 1]
    assert Greedy(every=3)(situation(3, previous, tries)).tolist() == [2, 0]
    assert tries == [3]


def test_greedy_tries_only_targets_that_could_win() -> None:
    tries: list[int] = []
    # 1.2 against 1.4, and 1.0 against 1.1: contested at 0.25, decided by the nearest at 0.05.
    assert Greedy(margin=0.05)(situation(tries=tries)).tolist() == [1, 0]
    assert tries == []
    assert Greedy(margin=0.15)(situation(tries=tries)).tolist() == [1, 0]
    assert Greedy(margin=0.25)(situation(tries=tries)).tolist() == [2, 0]
    assert Greedy(margin=None)(situation(tries=tries)).tolist() == [2, 0]
    assert tries == [0, 0, 0]


def test_the_farthest_target_is_kept() -> None:
    assert Farthest()(situation(1, torch.tensor([2, 0]))).tolist() == [2, 0]


def test_a_random_target_may_be_kept() -> None:
    assert Random(keep=True)(situation()).tolist() == [0, 2]
    assert Random(keep=True)(situation(1, torch.tensor([2, 1]))).tolist() == [2, 1]
    assert Random()(situation(1, torch.tensor([2, 1]))).tolist() == [0, 2]


def matched(
    selector: MatchedFar, away: list[float], skin: list[float], sex: list[float], previous: torch.Tensor | None = None
) -> int:
    asked: list[str] = []

    def apart(trait: Trait) -> torch.Tensor:
        assert trait not in asked, "measured twice"
        asked.append(trait)
        return torch.tensor([skin if trait == "skin" else sex])

    distances = Distances(torch.zeros(1), torch.tensor([away]))
    chosen = selector(
        Situation(0, previous, distances, lambda _: distances, lambda _: torch.zeros(1).long(), apart=apart)
    )
    return int(chosen)


def test_the_matched_far_target_is_the_farthest_of_those_alike() -> None:
    away, skin, sex = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [5.0, 40, 9, 50, 2, 90], [0.0, 0, 0, 0, 1, 1]
    assert matched(MatchedFar(skin=1, sex=False), away, skin, sex) == 5
    assert matched(MatchedFar(skin=1), away, skin, sex) == 3  # of the same sex
    assert matched(MatchedFar(skin=0.5), away, skin, sex) == 2  # the nearer half of four
    assert matched(MatchedFar(skin=0.25), away, skin, sex) == 0  # the nearest of four
    assert matched(MatchedFar(skin=0.01), away, skin, sex) == 0  # at least one
    assert matched(MatchedFar(skin=0.3, sex=False), away, skin, sex) == 4  # of six, 0 and 4 are the nearest two
    assert matched(MatchedFar(skin=0.5), away, skin, [1.0] * 6) == 4  # nobody of the same sex: 0, 2 and 4 of all
    assert matched(MatchedFar(), away, skin, sex, torch.tensor([3])) == 3


def test_a_person_keeps_one_target() -> None:
    def known(people: list[Person | None], count: int = 8) -> Situation:
        distances = Distances(torch.zeros(len(people)), torch.rand(len(people), count))
        draw = torch.zeros(len(people)).long()
        return Situation(0, None, distances, lambda _: distances, lambda _: draw, people=people)

    away = torch.linspace(1, 2, 8)
    anna = Person("anna", away)
    first, other, second = Persistent(salt=1)(known([anna, None, anna])).tolist()
    assert first == second
    assert first >= 4, "not of the farther half"
    assert other == int(Persistent(salt=1)(known([None])))
    salts = {int(Persistent(salt=salt)(known([anna]))) for salt in range(64)}
    assert salts == {4, 5, 6, 7}
    names = {int(Persistent()(known([Person(f"{number}", away)]))) for number in range(64)}
    assert names == {4, 5, 6, 7}
    strangers = {int(Persistent(salt=salt)(known([None]))) for salt in range(200)}
    assert strangers == set(range(8))
    assert Persistent()(known([Person("a", away[:1])], 1)).tolist() == [0]


def test_without_own_photos_all_faces_share_a_target() -> None:
    chosen = Persistent(salt=7)(situation()).tolist()
    assert chosen[0] == chosen[1]
    assert Persistent(salt=7)(situation(1, torch.tensor([2, 0]))).tolist() == [2, 0]


def test_a_fixed_target_must_exist() -> None:
    with pytest.raises(FacecryptError, match="index 3 of 3 targets. Allowed: 0 to 2"):
        Fixed(index=3)(situation())


def test_the_built_in_pack_loads(targets: list[Target]) -> None:
    assert len(targets) == 10
    assert all(len(target.checks) >= 2 for target in targets)
    assert [target.name for target in targets] == sorted(target.name for target in targets)


def test_a_folder_of_photos_and_of_people(tmp_path: Path, detector: FaceDetector) -> None:
    sources = sorted(PACK.glob("*/*.png"))
    shutil.copy(sources[0], tmp_path / "bea.png")
    (tmp_path / "adam").mkdir()
    for number, source in enumerate(sources[4:6]):
        shutil.copy(source, tmp_path / "adam" / f"{number}.png")
    loaded = load_targets(str(tmp_path), 10, detector, "all")
    assert [(target.name, len(target.checks)) for target in loaded] == [("adam", 1), ("bea", 0)]
    assert [target.name for target in load_targets(str(tmp_path), 1, detector, "all")] == ["adam"]


def test_folders_that_cannot_be_targets(tmp_path: Path, detector: FaceDetector) -> None:
    with pytest.raises(PhotoError, match="is no folder. Name a folder of face photos, or 'virtual'"):
        load_targets(str(tmp_path / "nowhere"), 10, detector, "all")
    with pytest.raises(PhotoError, match="holds no photos"):
        load_targets(str(tmp_path), 10, detector, "all")
    from PIL import Image

    Image.new("RGB", (100, 100), "gray").save(tmp_path / "wall.png")
    with pytest.raises(NoFaceFoundError, match=r"wall.png: no face found"):
        load_targets(str(tmp_path), 10, detector, "all")


def test_virtual_is_the_name_of_the_pack() -> None:
    assert VIRTUAL == "virtual"
    assert PACK.is_dir()


def weighted(weights: list[float], **given: object) -> Situation:
    return replace(situation(), weights=torch.tensor(weights), **given)  # type: ignore[arg-type]  # any field


def test_gains_weigh_their_terms() -> None:
    distances, weights = Distances(torch.tensor([0.7]), torch.tensor([[1.2, 0.3]])), torch.tensor([4.0, 0.5])
    terms = [4.0 * torch.tensor(0.7 - 1.2).exp(), 0.5 * torch.tensor(0.7 - 0.3).exp()]
    assert gain(distances, weights).item() == pytest.approx(torch.log(1 + max(terms)).item())
    assert center_gain(distances, weights).item() == pytest.approx(torch.log(1 + sum(terms)).item())
    ones = torch.ones(2)
    assert torch.equal(gain(distances, ones), gain(distances))
    assert torch.equal(center_gain(distances, ones), center_gain(distances))


def test_selectors_prefer_what_weighs_more() -> None:
    # Weights of 20 to 1 outweigh any difference of these distances.
    for selector in (Greedy(), Nearest(), Farthest()):
        assert selector(weighted([1.0, 20.0, 1.0])).tolist() == [1, 1]
    # Where all steps are tried, the one to target 0 brings face 1 nearest to target 1 as well.
    for selector in (Greedy(margin=None), Center()):
        assert selector(weighted([1.0, 20.0, 1.0])).tolist() == [1, 0]
    assert MatchedFar(skin=1, sex=False)(weighted([1.0, 1.0, 20.0])).tolist() == [2, 2]
    assert Fixed(index=0)(weighted([1.0, 20.0, 1.0])).tolist() == [0, 0]


def test_draws_are_in_proportion_to_weights() -> None:
    count, weights = 2000, [1.0, 3.0, 4.0]
    faces = Distances(torch.zeros(count), torch.zeros(count, 3))
    given = Situation(
        0, None, faces, lambda wanted: faces, lambda below: torch.arange(count) * below // count,
        weights=torch.tensor(weights),
    )  # fmt: skip
    assert Random()(given).bincount().tolist() == [250, 750, 1000]
    chosen = torch.tensor([int(Persistent(salt=salt)(weighted([1.0, 3.0, 4.0]))[0]) for salt in range(800)])
    assert chosen.bincount().tolist() == pytest.approx([100, 300, 400], abs=50)


def test_a_person_shares_a_target_that_is_kept() -> None:
    ann = Person("ann", torch.tensor([1.0, 2.0, 1.5]))
    shared = replace(situation(), people=[ann, ann], shared=True)
    assert Farthest()(replace(shared, shared=False)).tolist() == [0, 1]
    assert Farthest()(shared).tolist() == [1, 1]
    assert Farthest()(replace(shared, people=[None, ann])).tolist() == [0, 1]
