from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from facecrypt import pipeline
from facecrypt.errors import FacecryptError, NoFaceFoundError, PhotoError
from facecrypt.faces import FaceDetector
from facecrypt.targets import (
    VIRTUAL,
    Center,
    Distances,
    Farthest,
    Fixed,
    Greedy,
    Nearest,
    Random,
    Situation,
    Target,
    center_gain,
    gain,
    load_targets,
)

PACK = Path(pipeline.__file__).parent / "data" / "virtual_targets"


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
