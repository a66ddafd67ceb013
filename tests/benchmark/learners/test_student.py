from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facecrypt.benchmark.learners.student import Adapter, _cut, _layers, tune_student
from facecrypt.engine.fitting import Pace
from facecrypt.errors import FacecryptError
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder

SPEC = replace(SFACE, height=12, width=12, dimension=16, threshold=0.3, mean=(127.5,) * 3, std=(64.0,) * 3)
PEOPLE, TEST = torch.arange(60), range(100, 140)
SHORT = Pace(epochs=30, batch_size=16)


def chain() -> Embedder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3, stride=2), nn.PReLU(6), nn.Conv2d(6, 8, 3), nn.PReLU(8)]
        return Embedder(nn.Sequential(*layers, nn.Flatten(), nn.Linear(72, 16)), SPEC)


class Odd(nn.Module):
    """No chain, and its layers are used in another order than they were made in."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(72, 16)
        self.first = nn.Conv2d(3, 6, 3, stride=2)
        self.unused = nn.Linear(2, 2)
        self.second = nn.Conv2d(6, 8, 3)

    def forward(self, crops: Tensor) -> Tensor:
        features: Tensor = self.last(self.second(self.first(crops).relu()).relu().flatten(1))
        return features


class Opaque(nn.Module):
    """A network whose weights are none of torch's."""

    def forward(self, crops: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(crops.detach(), 3).flatten(1)[:, :16]


def photos(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Crops, and the same under one pattern that hides them."""
    clean = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    pattern = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(99))
    return (clean + 0.3 * pattern).clamp(0, 1), clean


def rank_1(student: Embedder, teacher: Embedder, crops: Tensor, clean: Tensor) -> float:
    """Return the share of crops whose nearest clean photo, by the teacher, is their own."""
    with torch.no_grad():
        nearest = (student(crops) @ teacher(clean).T).argmax(dim=1)
    return float((nearest == torch.arange(len(crops))).float().mean())


def test_it_sees_through_protection_of_other_people_and_still_knows_clean_photos() -> None:
    teacher = chain()
    weights = {name: each.clone() for name, each in teacher.state_dict().items()}
    protected, clean = photos(60, 0)
    student = tune_student(teacher, protected, clean, PEOPLE, TEST, pace=SHORT)
    assert student.tuned == "adapter and last block"
    assert student.after < student.before
    hidden, known = photos(40, 1)
    assert rank_1(teacher, teacher, hidden, known) < 0.4
    assert rank_1(student.embedder, teacher, hidden, known) > 0.6
    assert rank_1(student.embedder, teacher, known, known) > 0.9
    assert student.embedder.spec.threshold is None
    for name, each in teacher.state_dict().items():
        assert torch.equal(each, weights[name])
    assert not any(each.requires_grad for each in (*teacher.parameters(), *student.embedder.parameters()))


def test_the_same_seed_makes_the_same_student() -> None:
    protected, clean = photos(60, 0)
    pace = Pace(epochs=2, batch_size=16)
    first, again, other = (
        tune_student(chain(), protected, clean, PEOPLE, TEST, pace=pace, seed=seed) for seed in (0, 0, 1)
    )
    state = torch.random.get_rng_state()
    with torch.no_grad():
        seen = [each.embedder(protected) for each in (first, again, other)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_more_of_it_is_tuned_where_that_is_asked_for() -> None:
    teacher, (protected, clean) = chain(), photos(60, 0)
    pace = Pace(epochs=3, batch_size=16)
    for tuned, changed in (
        ("adapter", set[str]()),
        ("adapter and last block", {"5"}),
        ("whole network", {"0", "2", "5"}),
    ):
        student = tune_student(teacher, protected, clean, PEOPLE, TEST, tuned=tuned, pace=pace)  # type: ignore[arg-type]
        assert student.tuned == tuned
        assert student.after < student.before
        trunk, rest, _ = student.embedder.network.children()
        after = {**dict(trunk.named_parameters()), **dict(rest.named_parameters())}
        before = dict(teacher.network.named_parameters())
        assert after.keys() == before.keys()
        assert {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])} == changed


def test_a_network_whose_weights_are_not_torch_s_gets_an_adapter() -> None:
    protected, clean = photos(60, 0)
    teacher = Embedder(Opaque(), SPEC)
    student = tune_student(teacher, protected, clean, PEOPLE, TEST, pace=SHORT)
    assert student.tuned == "adapter"
    assert student.after < student.before
    assert student.embedder.network[0] is teacher.network  # type: ignore[index]


def test_layers_are_known_in_the_order_in_which_a_crop_passes() -> None:
    odd = Embedder(Odd(), SPEC)
    assert _layers(odd, torch.rand(1, 3, 12, 12)) == ["first", "second", "last"]
    assert _cut(odd.network, ["last"])[1] is odd.network
    protected, clean = photos(60, 0)
    pace = Pace(epochs=3, batch_size=16)
    student = tune_student(odd, protected, clean, PEOPLE, TEST, pace=pace)
    after, before = student.embedder.network[1], odd.network  # type: ignore[index]
    assert torch.equal(after.first.weight, before.first.weight)  # type: ignore[union-attr,arg-type]
    assert not torch.equal(after.last.weight, before.last.weight)  # type: ignore[union-attr,arg-type]


def test_a_chain_is_cut_before_the_first_that_is_tuned(sface_embedder: Embedder) -> None:
    network = sface_embedder.network
    layers = _layers(sface_embedder, torch.rand(1, 3, 112, 112))
    assert len(layers) == 28
    trunk, rest = _cut(network, layers[-3:])
    prepared = torch.rand(1, 3, 112, 112) * 255
    with torch.no_grad():
        features = trunk(prepared)
        assert features.shape == (1, 1024, 7, 7)
        assert torch.equal(rest(features), network(prepared))


def test_an_adapter_changes_nothing_at_first() -> None:
    embeddings = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        assert torch.equal(Adapter(5)(embeddings), nn.functional.normalize(embeddings, dim=1))


def test_people_are_apart() -> None:
    protected, clean = photos(6, 0)
    with pytest.raises(FacecryptError, match="both among"):
        tune_student(chain(), protected, clean, torch.arange(6), [4])
