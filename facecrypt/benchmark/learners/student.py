"""An adversary's recogniser, tuned on pairs so that it sees through protection (FaceLinkGen, arXiv 2026).

A student starts as a known recogniser. It learns to give a protected photo an embedding nearest to that which the
recogniser, as it was, gives to the clean one; and clean photos too, so that it can embed galleries of both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from facecrypt.benchmark.learners.people import confusion, split_people
from facecrypt.engine.fitting import Pace, fit
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.frozen import FrozenPReLU

Tuned = Literal["adapter", "adapter and last block", "whole network"]
TUNED: tuple[Tuned, ...] = get_args(Tuned)
LAST = 0.1
"""Share of a network's layers, those that a crop passes last, which are tuned with the adapter: three of SFace's 28."""
PACE = Pace(epochs=60, batch_size=16, patience=12)
_RATE = 3e-4
_RATES = {"adapter": 0.0, "adapter and last block": 3e-5, "whole network": 1e-5}
"""Of AdamW, for the adapter, and for the weights of the network."""
_WIDTH = 512
"""Of the adapter's hidden layer."""
_AT_ONCE = 32
"""Crops that a network is shown together where nothing is learnt."""


@dataclass(frozen=True)
class Student:
    """A tuned recogniser.

    Attributes:
        embedder: It, to be used like any other: ``embedder(crops)``, `facecrypt.surrogates.judging.look`. It has no
            threshold.
        tuned: What of it was: the ``adapter`` alone where the network's weights are not torch's to change.
        pairs: Number of pairs, those of the validation people included.
        epochs: Passes over them.
        before: Mean `people.confusion` of the validation people's photos, protected and clean, before it learnt.
        after: The same of the student.
    """

    embedder: Embedder
    tuned: Tuned
    pairs: int
    epochs: int
    before: float
    after: float


class Adapter(nn.Module):
    """Embeddings ``(B, D)`` to embeddings: themselves and what a hidden layer adds, at first nothing.

    Args:
        dimension: Their length, D.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dimension, _WIDTH)
        self.added = nn.Linear(_WIDTH, dimension)
        nn.init.zeros_(self.added.weight)
        nn.init.zeros_(self.added.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return them changed, of unit length where nothing was added."""
        unit = functional.normalize(embeddings.float(), dim=1)
        # Entries of unit vectors are small; a layer wants numbers near 1.
        added: Tensor = self.added(functional.gelu(self.hidden(unit * unit.shape[1] ** 0.5)))
        return unit + added


def tune_student(
    embedder: Embedder,
    protected: Tensor,
    clean: Tensor,
    people: Tensor,
    test_people: Collection[int],
    *,
    tuned: Tuned = "adapter and last block",
    pace: Pace = PACE,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> Student:
    """Return a recogniser that has learnt from pairs to see through protection.

    The loss of a photo, protected or clean, is how hard it is to tell whose it is among the clean photos of all
    training people, as the recogniser embedded them (`people.confusion`). A further term, the cosine with that of the
    clean photo, made students worse: they knew the training photos by heart sooner. Crops are mirrored at random.
    Layers before the first that is tuned are computed once, where the network is a chain.

    A network without weights of torch's, such as an ONNX file, gets the adapter alone; the result says so.

    Args:
        embedder: The recogniser, which is left as it is.
        protected: What it is shown of the protected photos, ``(N, 3, H, W)`` (`facecrypt.surrogates.crops.crops`).
        clean: The same of the photos as they were.
        people: Whom each shows, ``(N,)`` int64.
        test_people: Labels of the people by whom it will be judged.
        tuned: What of it is.
        pace: How long and by which steps.
        seed: Draws validation people, weights, order and mirrors.
        arguments: Of Lightning's Trainer; ``{"accelerator": "gpu"}`` trains on a GPU.

    Raises:
        FacecryptError: If somebody is among both, there are fewer than four people, or Lightning refuses its arguments.
    """
    parts = split_people(people, test_people, seed)
    layers = _layers(embedder, clean[:1])
    tuned = tuned if layers else "adapter"
    count = {"adapter": 0, "whole network": len(layers)}.get(tuned, max(1, round(LAST * len(layers))))
    # Where none of its weights changes it is not copied: it may be a process of its own.
    network = copy.deepcopy(embedder.network) if count else embedder.network
    changed = [network.get_submodule(name) for name in layers[len(layers) - count :]]
    trunk, rest = _cut(network, layers[len(layers) - count :])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = Adapter(embedder.spec.dimension)
    spec = replace(embedder.spec, threshold=None, threshold_source="")
    device = next(embedder.buffers()).device
    student, still = (Embedder(each, spec).to(device) for each in (nn.Sequential(trunk, rest, adapter), trunk))
    taught = _in_parts(embedder, clean, device)
    seen = [
        torch.stack([_in_parts(still.raw, crops, device) for crops in (each, each.flip(3))], dim=1)
        for each in (protected, clean)
    ]
    inputs = torch.stack(seen, dim=1)
    weights = [each for layer in changed for each in layer.parameters(recurse=False)]
    lesson = _Lesson(rest, adapter, weights, taught, people, parts.training, _RATES[tuned])
    training, validation = ([inputs[part], people[part]] for part in parts)
    done = fit(lesson, training, validation, pace, seed, arguments)
    student.requires_grad_(False).to(device)
    return Student(student, tuned, len(people), done.epochs, done.before, done.after)


class _Lesson(nn.Module):
    gallery: Tensor
    everybody: Tensor
    strangers: Tensor
    whose: Tensor

    def __init__(
        self,
        rest: nn.Module,
        adapter: Adapter,
        weights: list[nn.Parameter],
        taught: Tensor,
        people: Tensor,
        training: Tensor,
        rate: float,
    ) -> None:
        super().__init__()
        self.rest, self.adapter = rest, adapter
        self._weights, self._rate = weights, rate
        for each in (*weights, *adapter.parameters()):
            each.requires_grad_()
        self.register_buffer("gallery", taught)
        self.register_buffer("everybody", people)
        self.register_buffer("strangers", taught[training])
        self.register_buffer("whose", people[training])

    def loss(self, batch: list[Tensor], draw: torch.Generator) -> Tensor:
        """Return how hard it is to tell whose photos they are among the training people's clean ones."""
        inputs, people = batch
        rows = torch.arange(len(inputs))[:, None]
        mirrored = torch.randint(2, (len(inputs), 2), generator=draw)
        embeddings = self._embed(inputs[rows, torch.arange(2), mirrored])
        return confusion(embeddings, self.strangers, people, self.whose).mean()

    def errors(self, batch: list[Tensor]) -> Tensor:
        """Return how hard it is to tell whose a pair is, the mean of both versions, ``(B,)``."""
        inputs, people = batch
        return confusion(self._embed(inputs[:, :, 0]), self.gallery, people, self.everybody).mean(dim=0)

    def groups(self) -> list[dict[str, Any]]:
        """Return the adapter, and the tuned weights of the network, which move by smaller steps."""
        groups: list[dict[str, Any]] = [{"params": list(self.adapter.parameters()), "lr": _RATE}]
        return [*groups, {"params": self._weights, "lr": self._rate}] if self._weights else groups

    def _embed(self, inputs: Tensor) -> Tensor:
        """Return unit embeddings ``(2, B, D)`` of both versions, ``(B, 2, ...)``."""
        embeddings: Tensor = self.adapter(self.rest(inputs.transpose(0, 1).flatten(0, 1)))
        return functional.normalize(embeddings, dim=1).reshape(2, len(inputs), -1)


def _layers(embedder: Embedder, crop: Tensor) -> list[str]:
    """Return the names of the layers with weights that torch can tune, in the order in which a crop passes them."""
    passed: dict[str, None] = {}
    hooks = []
    for name, module in embedder.network.named_modules():
        # The slopes of a frozen PReLU get no gradient.
        if not isinstance(module, FrozenPReLU) and any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: passed.setdefault(name)))
    if hooks:
        _in_parts(embedder, crop, next(embedder.buffers()).device)
    for hook in hooks:
        hook.remove()
    return list(passed)


def _cut(network: nn.Module, layers: list[str]) -> tuple[nn.Module, nn.Module]:
    """Return the part of a network that comes before these layers, and the rest; all is rest where it is no chain."""
    if not layers:
        return network, nn.Identity()
    if type(network) is not nn.Sequential:
        return nn.Identity(), network
    names = [name for name, _ in network.named_children()]
    first = min(names.index(layer.partition(".")[0]) for layer in layers)
    return network[:first], network[first:]


def _in_parts(function: Callable[[Tensor], Tensor], crops: Tensor, device: torch.device) -> Tensor:
    with torch.no_grad():
        return torch.cat([function(part.to(device)).cpu() for part in torch.split(crops, _AT_ONCE)])
