"""Components that break one promise each, of every kind, and what is to be said of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.carriers.base import Delivery, Room
from facecrypt.choices import Norm
from facecrypt.gradients.base import Landscape
from facecrypt.methods.base import Task, Uses
from facecrypt.optimizers.base import State, normalize
from facecrypt.registry import Kind
from facecrypt.surrogates.catalogue import SFACE
from facecrypt.surrogates.embedder import Embedder
from facecrypt.targets.selectors import Situation
from facecrypt.transforms.base import Pixels
from facecrypt.views.base import Params

SPEC = replace(SFACE, mean=(127.5,) * 3, std=(127.5,) * 3, dimension=3 * 14 * 14, threshold=None)
SEEN: dict[str, Any] = {}
"""What components here hide from one call to the next, as a global."""


def per_face(values: Tensor) -> Tensor:
    return values.square().mean(dim=(1, 2, 3, 4))


# Naturalness terms. As functions, which is all that the protocol asks for.


def a_number_for_all(protected: Tensor, original: Tensor) -> Tensor:
    return (protected - original).square().mean()


def a_row_per_view(protected: Tensor, original: Tensor) -> Tensor:
    return (protected - original).square().mean(dim=(2, 3, 4))


def in_double(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected.double() - original)


def a_plain_number(protected: Tensor, original: Tensor) -> float:
    return (protected - original).square().mean().item()


def detached(protected: Tensor, original: Tensor) -> Tensor:
    return per_face((protected - original).detach())


def attached_elsewhere(protected: Tensor, original: Tensor) -> Tensor:
    weight = torch.ones(3, device=protected.device, requires_grad=True)
    return per_face((protected - original).detach() * weight.view(3, 1, 1))


def steep_at_the_start(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected - original).sqrt()


def no_number(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected - original) / 0


def clamps_its_argument(protected: Tensor, original: Tensor) -> Tensor:
    original.clamp_(0.1, 0.9)
    return per_face(protected - original)


def over_the_batch(protected: Tensor, original: Tensor) -> Tensor:
    changes = protected - original
    return per_face(changes - changes.mean(dim=0))


def first_faces(protected: Tensor, original: Tensor) -> Tensor:
    known = SEEN.setdefault(f"first {tuple(original.shape)}", original)
    return per_face(protected - known)


def counts(protected: Tensor, original: Tensor) -> Tensor:
    SEEN["calls"] = SEEN.get("calls", 0) + 1
    return per_face(protected - original) * (1 + 1e-3 * SEEN["calls"])


def random_pixels(protected: Tensor, original: Tensor) -> Tensor:
    return per_face((protected - original) * torch.rand_like(protected))


def random_scale(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected - original) * (1 + 0.1 * random.random())


def wastes_numbers(protected: Tensor, original: Tensor) -> Tensor:
    np.random.rand()
    return per_face(protected - original)


def ramp_on_the_cpu(protected: Tensor, original: Tensor) -> Tensor:
    return per_face((protected - original) * torch.linspace(0, 1, protected.shape[-1]))


def blind_to_change(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected - protected.detach() + 0 * original) + 1


def crashes(protected: Tensor, original: Tensor) -> Tensor:
    return per_face(protected - original) + [][0]


# Target selectors.


def beyond_the_last(situation: Situation) -> Tensor:
    return situation.now.to_targets.argmin(dim=1) + situation.now.to_targets.shape[1]


def a_distance(situation: Situation) -> Tensor:
    return situation.now.to_targets.amin(dim=1)


def one_for_all(situation: Situation) -> Tensor:
    return situation.now.to_targets.sum(dim=0).argmin()[None]


def of_the_crowd(situation: Situation) -> Tensor:
    chosen = situation.now.to_targets.sum(dim=0).argmin()
    return chosen.expand(len(situation.now.to_targets))


def by_chance(situation: Situation) -> Tensor:
    return torch.randint(situation.now.to_targets.shape[1], situation.now.to_self.shape)


def in_turn(situation: Situation) -> Tensor:
    SEEN["turn"] = SEEN.get("turn", 0) + 1
    return torch.full(situation.now.to_self.shape, SEEN["turn"] % situation.now.to_targets.shape[1])


def sorts_what_it_is_given(situation: Situation) -> Tensor:
    situation.now.to_targets.copy_(situation.now.to_targets.sort(dim=1).values)
    return situation.now.to_targets.argmin(dim=1)


def indices_on_the_cpu(situation: Situation) -> Tensor:
    return torch.zeros(len(situation.now.to_self), dtype=torch.long)


class Steps:
    """An optimizer.

    Args:
        change: Makes a step of gradients.
        state: Makes the next state.
    """

    def __init__(self, change: Callable[[Tensor], Any], state: Callable[[Any], Any] = lambda state: state) -> None:
        self.change, self.state = change, state

    def init(self, masks: Tensor) -> State:
        return ()

    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Any, Any]:
        return self.change(gradients), self.state(state)


class HiddenMomentum(Steps):
    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        before = SEEN.get("momentum")
        SEEN["momentum"] = gradients + (before if before is not None and before.shape == gradients.shape else 0)
        return normalize(SEEN["momentum"], norm), ()


class KernelOnTheCpu(Steps):
    def update(self, gradients: Tensor, state: State, norm: Norm) -> tuple[Tensor, State]:
        kernel = torch.ones(3, 1, 3, 3)
        return normalize(functional.conv2d(gradients, kernel, padding=1, groups=3), norm), ()


class NoPair(Steps):
    def update(self, gradients: Tensor, state: State, norm: Norm) -> Any:
        return normalize(gradients, norm)


class Follows:
    """A gradient component.

    Args:
        change: Makes what is followed of the gradient here.
    """

    def __init__(self, change: Callable[[Landscape], Any]) -> None:
        self.change = change

    def init(self, masks: Tensor) -> State:
        return ()

    def update(self, landscape: Landscape, state: State) -> tuple[Any, State]:
        return self.change(landscape), ()


class Sees:
    """A view.

    Args:
        see: Changes pictures.
        draw: Draws for a count and a side.
    """

    def __init__(
        self, see: Callable[[Tensor, Params], Any], draw: Callable[[int, int], Any] = lambda count, side: {}
    ) -> None:
        self.see, self.draw = see, draw

    def sample(self, count: int, side: int) -> Any:
        return {"strength": torch.rand(count) / 2} | self.draw(count, side)

    def apply(self, images: Tensor, params: Params) -> Any:
        return self.see(images, params)


def darker(images: Tensor, params: Params) -> Tensor:
    return images * (1 - params["strength"].to(images).view(-1, 1, 1, 1))


class RemembersItsDraw(Sees):
    def sample(self, count: int, side: int) -> Any:
        SEEN["strength"] = torch.rand(count)[:1] / 2
        return {"unused": torch.rand(count)}

    def apply(self, images: Tensor, params: Params) -> Any:
        return images * (1 - SEEN["strength"].to(images).view(-1, 1, 1, 1))


class Makes:
    """A method.

    Args:
        make: Makes the mask of a face.
        uses: What it says that it uses.
    """

    bounded = True
    native = False

    def __init__(self, make: Callable[[Task, int], Any], uses: Uses = "nothing") -> None:
        self.make, self.uses = make, uses

    def protect(self, task: Task) -> Any:
        return [self.make(task, number) for number in range(len(task.faces))]


def noise(task: Task, number: int) -> Tensor:
    return task.epsilon * (2 * torch.rand(task.faces[number].pixels.shape, generator=task.generator(number)) - 1)


def of_the_first(task: Task, number: int) -> Tensor:
    mask = noise(task, number)
    return mask * task.faces[0].pixels.mean() if number else mask * len(task.faces) / 2


def paints(task: Task, number: int) -> Tensor:
    task.faces[number].pixels.mul_(0.5)
    return noise(task, number)


def asks_for_more(task: Task, number: int) -> Tensor:
    return task.recognisers.embed(number, task.faces[number].pixels[None]).mean() + noise(task, number)


class SaysNothing:
    def protect(self, task: Task) -> list[Tensor]:
        return [noise(task, number) for number in range(len(task.faces))]


class Thumbnail(nn.Module):
    """A network that is right: the embedding is a small picture.

    Args:
        change: What is wrong with it.
    """

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, crops: Tensor) -> Any:
        return self.change(functional.avg_pool2d(crops, 8).flatten(1))


def network(change: Callable[[Tensor], Any]) -> Callable[[], Embedder]:
    return lambda: Embedder(Thumbnail(change), SPEC)


def grows(features: Tensor) -> Tensor:
    SEEN["features"] = SEEN.get("features", 0) + 1
    return features + 0.01 * SEEN["features"]


def as_floats(pixels: Pixels) -> Any:
    return pixels / 2


def sprinkled(pixels: Pixels) -> Pixels:
    made: Pixels = np.where(np.random.rand(*pixels.shape) < 0.5, pixels, 255 - pixels)
    return made


class Fetches:
    """A source.

    Args:
        fetch: Puts something into a room.
    """

    def __init__(self, fetch: Callable[[Room], Any]) -> None:
        self._fetch = fetch

    def fetch(self, photos: str | None, room: Room) -> None:
        self._fetch(room)


class Delivers:
    """A sink.

    Args:
        deliver: What it does.
    """

    private = False

    def __init__(self, deliver: Callable[[Delivery], Any]) -> None:
        self._deliver = deliver

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        return ["list.txt"]

    def deliver(self, delivery: Delivery) -> None:
        self._deliver(delivery)


def elsewhere(delivery: Delivery) -> None:
    with delivery.file("other.txt") as file:
        file.write(b"x")


def to_nan(values: Tensor) -> Tensor:
    return torch.where(values > values.mean(), torch.nan, values)


WRONG: list[tuple[Kind, object, str]] = [
    ("naturalness", a_number_for_all, r"returned \(\) in torch.float32 on cpu; expected a finite penalty per face"),
    ("naturalness", a_row_per_view, r"returned \(1, 1\) in torch.float32 on cpu"),
    ("naturalness", in_double, r"returned \(1,\) in torch.float64 on cpu; expected .* in torch.float32"),
    ("naturalness", a_plain_number, "returned float; expected a finite penalty per face"),
    ("naturalness", detached, r"without a gradient \(detached\?\); expected one that is differentiable"),
    ("naturalness", attached_elsewhere, r"without a gradient \(detached\?\)"),
    ("naturalness", steep_at_the_start, "the gradient is finite for untouched faces: measured 75264 values"),
    ("naturalness", no_number, "returned 1 of 1 numbers that are not finite"),
    ("naturalness", clamps_its_argument, "it changed a tensor that it was given; expected new tensors"),
    ("naturalness", over_the_batch, "faces are independent: measured a relative difference of"),
    ("naturalness", first_faces, "the order of faces does not matter: measured .* Compute from the two"),
    ("naturalness", counts, "keeps no state: measured a difference of"),
    ("naturalness", random_pixels, "keeps no state: measured a difference of"),
    ("naturalness", random_scale, "keeps no state: .*Remove what is random or remembered"),
    ("naturalness", wastes_numbers, "draws no global random numbers: measured .* of numpy"),
    ("naturalness", ramp_on_the_cpu, "stays on its device: measured Tensor on device cpu is not on"),
    ("naturalness", blind_to_change, "tells changed faces from untouched ones"),
    ("naturalness", crashes, r"raised IndexError \(wrong.py, line \d+\): list index out of range; expected a result"),
    ("target_selector", beyond_the_last, r"chose the targets \[1, 1, 1, 1\]; expected indices from 0 to 0"),
    ("target_selector", a_distance, r"returned \(4,\) in torch.float32 on cpu; expected the index of each"),
    ("target_selector", one_for_all, r"returned \(1,\) in torch.int64 on cpu; expected .*: \(4,\) in torch.int64"),
    ("target_selector", of_the_crowd, "faces are independent: measured .* choices differ in another batch"),
    ("target_selector", by_chance, "chooses the same twice: .* draw by situation.draw alone"),
    ("target_selector", in_turn, "chooses the same twice: .* Keep nothing from one run to the next"),
    ("target_selector", sorts_what_it_is_given, "it changed a tensor that it was given"),
    ("target_selector", indices_on_the_cpu, "stays on its device: measured a result on cpu"),
    ("optimizer", Steps(to_nan), "numbers that are not finite; expected a step per mask"),
    ("optimizer", Steps(lambda g: g[:1].sign()), r"returned \(1, 3, 8, 8\) .* expected a step per mask"),
    ("optimizer", Steps(lambda g: g), "the first step has unit length"),
    ("optimizer", Steps(lambda g: -g.sign()), "descends a quadratic"),
    ("optimizer", Steps(torch.Tensor.sign, lambda s: {}), r"state dict"),
    ("optimizer", Steps(lambda g: g / g.abs().max()), "faces are independent"),
    ("optimizer", HiddenMomentum(lambda g: g), "is a function of its state"),
    ("optimizer", KernelOnTheCpu(lambda g: g), "stays on its device"),
    ("optimizer", NoPair(lambda g: g), "returned Tensor; expected a pair: the result and the next state"),
    ("gradient", Follows(lambda at: at.here.mean(dim=0)), r"returned \(3, 8, 8\) .* expected a gradient per mask"),
    ("gradient", Follows(lambda at: at.here.half()), "in torch.float16 on cpu; expected a gradient per mask"),
    ("gradient", Follows(lambda at: -at.here), "leads downhill"),
    ("gradient", Follows(lambda at: at.here + 0.001 * torch.randn_like(at.here)), "is a function of its state"),
    ("gradient", Follows(lambda at: at.here - at.here.mean(dim=0)), "faces are independent|leads downhill"),
    ("gradient", Follows(lambda at: at.here / at.here.norm()), "faces are independent|numbers that are not finite"),
    ("view", Sees(lambda x, p: x[..., 2:, 2:]), r"returned \(4, 3, \d+, \d+\) .* expected the pictures as"),
    ("view", Sees(lambda x, p: darker(x, p).detach()), r"without a gradient \(detached\?\)"),
    ("view", Sees(lambda x, p: x * 2 - 1), "returned values from -1 to 1; expected pictures in"),
    ("view", Sees(lambda x, p: darker(x, p) + torch.rand_like(x) / 100), "applying is a function of the draw"),
    ("view", Sees(darker, lambda count, side: {"angle": 3.0}), r"drew \{.*angle: float\}; expected a mapping of names"),
    ("view", Sees(darker, lambda c, side: {"grid": torch.rand(c, side)}), "draws of different sides"),
    ("view", Sees(darker, lambda c, side: {"strength": torch.full((c,), random.random() / 2)}), "seed alone"),
    ("view", Sees(darker, lambda c, side: {"strength": torch.rand(1).expand(c) / 2}), "rows are drawn one by one"),
    ("view", Sees(lambda x, p: x * (1 - p["strength"].view(-1, 1, 1, 1))), "stays on its device"),
    ("view", Sees(lambda x, p: x.clone()), "changes the picture"),
    ("view", Sees(lambda x, p: (darker(x, p) + x.mean(dim=0)) / 2), "images are independent"),
    ("view", RemembersItsDraw(darker), "images are independent|applying is a function of the draw"),
    ("view", Sees(lambda x, p: x - x.detach() + torch.rand(x.shape)), "applying|same picture"),
    ("method", Makes(lambda t, n: noise(t, n)[None]), r"returned \(1, 3, \d+, \d+\) in .* expected what is added"),
    ("method", Makes(lambda t, n: noise(t, n) * torch.nan), "numbers that are not finite; expected what is added"),
    ("method", Makes(lambda t, n: noise(t, n).numpy()), "returned ndarray; expected what is added"),
    ("method", Makes(lambda t, n: torch.rand(t.faces[n].pixels.shape) / 50), "repeats itself"),
    ("method", Makes(lambda t, n: 0 * noise(t, n)), "changes some face"),
    ("method", Makes(of_the_first), "no face depends on its batch"),
    ("method", Makes(paints), "it changed a tensor that it was given"),
    ("method", Makes(asks_for_more), "a method that uses nothing asked for gradients. Say so in its attribute `uses`"),
    ("method", SaysNothing(), "has None for its attribute 'uses'; expected one of 'gradients', 'scores'"),
    ("transform", as_floats, "returns 8-bit pixels|8-bit"),
    ("transform", sprinkled, "same pixels|random numbers"),
    ("source", Fetches(lambda room: None), "measured nothing by Room.add"),
    ("source", Fetches(lambda room: room.add("a.png", [b"no picture"])), "brings pictures that can be read: measured"),
    ("sink", Delivers(lambda delivery: [][0]), "IndexError"),
    ("sink", Delivers(elsewhere), "other.txt|names its files"),
    ("surrogate", network(lambda e: e[:, :7]), r"measured \(3, 7\) in torch.float32, allowed \(3, 588\)"),
    ("surrogate", network(lambda e: e.detach()), "the gradient reaches every part of the crop: .*not require grad"),
    ("surrogate", network(lambda e: e * torch.nan), "embeddings have unit length: measured lengths"),
    ("surrogate", network(lambda e: e - 0.5 * e.mean(dim=0)), "the same embedding in a batch and alone"),
    ("surrogate", network(grows), "the same crops give the same embeddings"),
    ("surrogate", network(lambda e: e + torch.zeros(588)), "stays on its device: measured Tensor on device cpu"),
    ("surrogate", network(lambda e: [][0]), "IndexError: list index out of range"),
    ("surrogate", lambda: Thumbnail(lambda e: e), "it is Thumbnail; expected an Embedder"),
]  # fmt: skip
