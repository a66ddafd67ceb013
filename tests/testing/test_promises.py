"""The kit finds what it is there to find: for each promise, a component that breaks this one alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt import testing
from facecrypt.choices import Norm
from facecrypt.errors import PhotoError
from facecrypt.judges.base import Match, Opinion, Picture, Spending
from facecrypt.judges.recogniser import RecogniserJudge
from facecrypt.naturalness.base import MMD
from facecrypt.optimizers.base import Plain, State
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Nearest, Situation
from facecrypt.testing.surrogate import recognises_people, same_answer_on_cuda
from facecrypt.views.base import Params, affine
from tests.pictures import DATA

SPEC = replace(SFACE, mean=(127.5,) * 3, std=(127.5,) * 3, dimension=3 * 14 * 14, threshold=0.5)
NO_THRESHOLD = replace(SPEC, threshold=None)


class Thumbnail(nn.Module):
    """Keeps every promise: the embedding is a small picture."""

    def forward(self, crops: Tensor) -> Tensor:
        return functional.avg_pool2d(crops, 8).flatten(1)


class CountsCalls(Thumbnail):
    calls = 0

    def forward(self, crops: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(crops) + 1e-6 * self.calls


class DrawsNumbers(Thumbnail):
    def forward(self, crops: Tensor) -> Tensor:
        return super().forward(crops) + 0 * torch.rand(())


class LooksAtItsNeighbours(Thumbnail):
    def forward(self, crops: Tensor) -> Tensor:
        features = super().forward(crops)
        return features - 0.1 * features.mean(0)


class BlindAtTheTop(Thumbnail):
    def forward(self, crops: Tensor) -> Tensor:
        return super().forward(torch.cat([crops[:, :, :40].detach(), crops[:, :, 40:]], dim=2))


class SteepAtBlack(Thumbnail):
    def forward(self, crops: Tensor) -> Tensor:
        brightness = (crops + 1).square().sum(dim=(1, 2, 3)).sqrt()
        return super().forward(crops) + 1e-3 * brightness.unsqueeze(1)


class Trainable(Thumbnail):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, crops: Tensor) -> Tensor:
        return self.scale * super().forward(crops)


class HoldsALambda(Thumbnail):
    def __init__(self) -> None:
        super().__init__()
        self.change: Callable[[Tensor], Tensor] = lambda features: features

    def forward(self, crops: Tensor) -> Tensor:
        return self.change(super().forward(crops))


class HoldsATensor(Thumbnail):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [torch.ones(())]

    def forward(self, crops: Tensor) -> Tensor:
        return self.scales[0] * super().forward(crops)


class StaysOnTheCpu(Thumbnail):
    def forward(self, crops: Tensor) -> Tensor:
        return super().forward(crops) + torch.zeros(SPEC.dimension)


class KnowsNobody(nn.Module):
    """An angle that turns many times between one photo and the next."""

    def forward(self, crops: Tensor) -> Tensor:
        ramp = torch.linspace(0.5, 1.5, crops.shape[3], device=crops.device)
        angle = 300 * (crops * ramp).mean(dim=(1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


class Answers(nn.Module):
    """The same for everybody, but for a gradient that reaches every part.

    Args:
        value: What it answers.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, crops: Tensor) -> Tensor:
        return functional.avg_pool2d(crops, 8).flatten(1) * 0 + self.value


class TwiceAsLong(Embedder):
    def forward(self, crops: Tensor) -> Tensor:
        return 2 * super().forward(crops)


class TakesAnySize(Embedder):
    def forward(self, crops: Tensor) -> Tensor:
        return super().forward(functional.interpolate(crops, size=(self.spec.height, self.spec.width)))


class Trains(Embedder):
    def train(self, mode: bool = True) -> Trains:
        nn.Module.train(self, mode)
        return self


def trainable() -> Embedder:
    embedder = Embedder(Trainable(), SPEC)
    embedder.requires_grad_(True)
    return embedder


BROKEN: list[tuple[str, Callable[[], Embedder]]] = [
    (
        "template_lies_in_the_crop",
        lambda: Embedder(Thumbnail(), replace(SPEC, template=(*SPEC.template[:4], (70.7, 113.0)))),
    ),
    ("returns_one_embedding_per_crop", lambda: Embedder(Thumbnail(), replace(SPEC, dimension=128))),
    ("embeddings_have_unit_length", lambda: TwiceAsLong(Thumbnail(), SPEC)),
    (
        "takes_a_slightly_changed_photo_for_the_same_person",
        lambda: Embedder(Thumbnail(), replace(SPEC, threshold=0.99)),
    ),
    ("threshold_decides", lambda: Embedder(Thumbnail(), replace(SPEC, threshold=0.4))),
    ("threshold_decides", lambda: Embedder(Thumbnail(), replace(SPEC, threshold=-7.0))),
    ("same_answer_twice", lambda: Embedder(CountsCalls(), SPEC)),
    ("same_answer_twice", lambda: Embedder(DrawsNumbers(), SPEC)),
    ("same_answer_in_a_batch_and_alone", lambda: Embedder(LooksAtItsNeighbours(), NO_THRESHOLD)),
    ("gradient_reaches_every_part_of_the_crop", lambda: Embedder(BlindAtTheTop(), SPEC)),
    ("gradient_is_finite_on_a_black_crop", lambda: Embedder(SteepAtBlack(), SPEC)),
    ("refuses_other_sizes", lambda: TakesAnySize(Thumbnail(), SPEC)),
    ("weights_are_frozen", trainable),
    ("stays_in_evaluation_mode", lambda: Trains(Thumbnail(), SPEC)),
    ("pickles", lambda: Embedder(HoldsALambda(), SPEC)),
    ("every_tensor_moves_along", lambda: Embedder(HoldsATensor(), SPEC)),
    ("stays_on_its_device", lambda: Embedder(StaysOnTheCpu(), SPEC)),
    ("recognises_people", lambda: Embedder(KnowsNobody(), replace(NO_THRESHOLD, dimension=2))),
]


def faults(check: Callable[[Any], Any], component: object) -> list[str]:
    """Return the lines on broken promises."""
    with pytest.raises(AssertionError) as caught:
        check(component)
    first, *lines = str(caught.value).split("\n  ")
    assert first.endswith(": 1 broken promise" if len(lines) == 1 else f": {len(lines)} broken promises")
    return lines


@pytest.mark.slow
def test_a_surrogate_that_keeps_every_promise() -> None:
    skipped = testing.check_surrogate(Embedder(Thumbnail(), SPEC))
    assert skipped == ([] if torch.cuda.is_available() else ["same_answer_on_cuda: no CUDA device"])
    skipped = testing.check_surrogate(Embedder(Thumbnail(), replace(SPEC, threshold=None)))
    assert "takes_a_slightly_changed_photo_for_the_same_person: its threshold is not known" in skipped


@pytest.mark.parametrize(("promise", "build"), BROKEN)
def test_a_surrogate_that_breaks_one_promise(promise: str, build: Callable[[], Embedder]) -> None:
    (fault,) = faults(testing.check_surrogate, build())
    assert fault.startswith(f"{promise}: ")
    assert ": measured " in fault
    assert ", allowed " in fault
    assert fault.endswith(".")


def test_every_promise_of_a_surrogate_is_broken_once() -> None:
    promises = {check.__name__ for check in testing.SURROGATE_CHECKS}
    assert {promise for promise, _ in BROKEN} == promises - {"same_answer_on_cuda"}  # That one needs CUDA.


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_surrogate_that_stays_on_the_cpu() -> None:
    with pytest.raises(AssertionError, match="runs on CUDA: measured RuntimeError"):
        same_answer_on_cuda(Embedder(StaysOnTheCpu(), SPEC))


def test_several_faults_are_told_at_once() -> None:
    embedder = TwiceAsLong(DrawsNumbers(), SPEC)
    assert [fault.split(":")[0] for fault in faults(testing.check_surrogate, embedder)] == [
        "embeddings_have_unit_length",
        "same_answer_twice",
    ]


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf, 1e30, 1e-30])
def test_embeddings_that_say_nothing(value: float) -> None:
    assert faults(testing.check_surrogate, Embedder(Answers(value), SPEC))


def test_a_folder_of_people(tmp_path: Path) -> None:
    pack = DATA / "virtual_targets"
    for name in ("v01", "v02", "v03"):
        shutil.copytree(pack / name, tmp_path / name)
    recognises_people(Embedder(Thumbnail(), SPEC), folder=tmp_path)
    with pytest.raises(AssertionError, match=r"\(3 people, .* guessing gives 33.3 %"):
        testing.check_surrogate(Embedder(KnowsNobody(), replace(SPEC, dimension=2)), folder=tmp_path)
    alone = tmp_path / "alone"
    shutil.copytree(pack / "v01", alone / "v01")
    with pytest.raises(PhotoError, match="holds 1 people with two or more photos"):
        testing.check_surrogate(Embedder(Thumbnail(), SPEC), folder=alone)


class LikesChange(MMD):
    def __call__(self, protected: Tensor, original: Tensor) -> Tensor:
        return -super().__call__(protected, original)


class FollowsTheCrowd(Nearest):
    def __call__(self, situation: Situation) -> Tensor:
        return (
            super()
            .__call__(situation)
            .sum()
            .remainder(situation.now.to_targets.shape[1])
            .expand(len(situation.now.to_targets))
        )


class Remembers(Plain):
    """Repeats the first step of its life, plus what it is asked for."""

    calls = 0

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        self.calls += 1
        step, state = super().update(gradients, state, norm)
        return step * (1 + 1e-6 * self.calls), state


class TooBright:
    """An affine view that forgets the upper end of the range."""

    def __init__(self) -> None:
        self.view = affine()

    def sample(self, count: int, side: int) -> Params:
        return self.view.sample(count, side)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        return 1.1 * self.view.apply(images, params)


class Judge(RecogniserJudge):
    """Keeps every promise: small pictures, compared."""

    def __init__(self) -> None:
        super().__init__(Embedder(Thumbnail(), replace(SPEC, threshold=0.98)))


class Undecided(Judge):
    answers = ("compare", "identify")  # type: ignore[assignment]  # What is wrong with it.

    def rank(self, photo: Picture, count: int) -> list[Match]:
        raise AssertionError("nobody may ask")


class UncountedFarAway(Judge):
    remote = True
    spending: Spending | None = None


class KnowsAStranger(Judge):
    def rank(self, photo: Picture, count: int) -> list[Match]:
        return super().rank(photo, count) or [Match("somebody")] * (not self._people)


class TakesAllForOne(Judge):
    def compare(self, first: Picture, second: Picture) -> Opinion:
        return Opinion(None, True)


class RanksBackwards(Judge):
    def rank(self, photo: Picture, count: int) -> list[Match]:
        alike = {person: float((known @ self._look([photo])[0]).max()) for person, known in self._people.items()}
        return [Match(person) for person in sorted(alike, key=lambda person: alike[person])][:count]


class RanksPhotos(Judge):
    def rank(self, photo: Picture, count: int) -> list[Match]:
        return [each for match in super().rank(photo, count) for each in (match, match)]


class GetsTired(Judge):
    calls = 0

    def compare(self, first: Picture, second: Picture) -> Opinion:
        self.calls += 1
        similarity, same, _ = super().compare(first, second)
        assert similarity is not None
        return Opinion(similarity - 1e-3 * self.calls, same)


JUDGES = [
    ("says_what_it_is", Undecided()),
    ("says_what_it_is", UncountedFarAway()),
    ("ranks_nobody_without_anybody", KnowsAStranger()),
    ("knows_a_face_again", TakesAllForOne()),
    ("ranks_whom_it_knows_first", RanksBackwards()),
    ("ranks_as_many_as_asked", RanksPhotos()),
    ("repeats_itself", GetsTired()),
]


def test_a_judge_that_keeps_every_promise() -> None:
    assert testing.check_judge(Judge()) == []


@pytest.mark.parametrize(("promise", "judge"), JUDGES, ids=lambda value: type(value).__name__)
def test_a_judge_that_breaks_one_promise(promise: str, judge: Judge) -> None:
    (fault,) = faults(testing.check_judge, judge)
    assert fault.startswith(f"{promise}: ")


def test_every_promise_of_a_judge_is_broken_once() -> None:
    assert {promise for promise, _ in JUDGES} == {check.__name__ for check in testing.JUDGE_CHECKS}


def test_a_term_that_rewards_change_is_remarked_on() -> None:
    (remark,) = testing.check_naturalness(LikesChange())
    assert remark.startswith("tells_changed_faces_from_untouched_ones: it rewards change ")
    assert remark.endswith("where that is not meant, change its sign")


@pytest.mark.parametrize(
    ("check", "component", "promise"),
    [
        (testing.check_target_selector, FollowsTheCrowd(), "faces_are_independent"),
        (testing.check_optimizer, Remembers(), "is_a_function_of_its_state"),
        (testing.check_view, TooBright(), "returned values from 0 to 1.1; expected pictures in [0, 1]"),
    ],
)
def test_other_components_that_break_one_promise(check: Callable[[Any], Any], component: object, promise: str) -> None:
    (fault,) = faults(check, component)
    assert fault.startswith(promise)
