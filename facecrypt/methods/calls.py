"""How components are called: what one raises, returns or changes is checked once, at the call, so that it has a name.

Components come from plugins. `methods.iterative.boundary` and `judges.guard` put them behind their protocols by what is
here; surrogates, which every method asks, are looked at through `embed_crops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from facecrypt.errors import EmbeddingError
from facecrypt.registry import BUILT_IN, Promised
from facecrypt.surrogates.embedder import Embedder

_Result = TypeVar("_Result")

_UNIT = 1e-2
"""How far the length of a unit embedding may be from 1."""


@dataclass(frozen=True)
class Source(Promised):
    """Which component it is, where it may be a surrogate as a recipe's report calls it, and what it does with tensors.

    Attributes:
        kind: What it is for.
        name: What recipes call it.
        origin: ``built-in``, or the plugin.
    """

    kind: str
    name: str
    origin: str
    not_its_fault: ClassVar[tuple[type[BaseException], ...]] = (*Promised.not_its_fault, torch.OutOfMemoryError)

    def call(self, function: Callable[..., _Result], *given: Any) -> _Result:
        """Return what a component's function returns, which leaves its arguments and torch's settings alone.

        Raises:
            PluginError: If it does not, or raises anything: what a plugin raises is no fault of this program.
        """
        versions = [(tensor, _version(tensor)) for tensor in _tensors(given)]
        grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
        result = super().call(function, *given)
        if any(_version(tensor) != version for tensor, version in versions):
            raise self.broken("it changed a tensor that it was given", "new tensors, and those given as they were")
        if (torch.is_grad_enabled(), torch.get_default_dtype()) != (grad, dtype):
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
            raise self.broken("it left gradients or torch's default type switched", "torch's settings as they were")
        return result

    def check(self, came: object, like: Tensor, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> Tensor:
        """Return a result that is a finite tensor of this shape and type on the device of `like`.

        Raises:
            PluginError: If it is none.
        """
        expected = f"{what}: {shape} in {dtype} on {like.device}"
        if not isinstance(came, Tensor):
            raise self.broken(f"returned {type(came).__name__}", expected)
        if tuple(came.shape) != shape or came.dtype != dtype or came.device != like.device:
            raise self.broken(f"returned {tuple(came.shape)} in {came.dtype} on {came.device}", expected)
        if came.is_floating_point() and not came.isfinite().all():
            count = int((~came.isfinite()).sum())
            raise self.broken(f"returned {count} of {came.numel()} numbers that are not finite", expected)
        return came

    def check_graph(self, came: Tensor, given: Tensor) -> None:
        """Make sure that a gradient flows from a result to what was given, where one is wanted.

        Raises:
            PluginError: If it was cut off.
        """
        if torch.is_grad_enabled() and given.requires_grad and not _follows_from(came, given):
            raise self.broken("returned a tensor without a gradient (detached?)", "one that is differentiable")

    def pair(self, came: object) -> tuple[Any, Any]:
        """Return the result and the next state that an update returns.

        Raises:
            PluginError: If it is no pair.
        """
        if not isinstance(came, tuple) or len(came) != 2:
            raise self.broken(f"returned {type(came).__name__}", "a pair: the result and the next state")
        return came


def _follows_from(came: Tensor, given: Tensor) -> bool:
    """Return whether the graph of a tensor holds another one, however much else it holds."""
    if came is given:
        return True
    seen, todo = set[object](), [came.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node is given.grad_fn or getattr(node, "variable", None) is given:
            return True
        seen.add(node)
        todo += [each for each, _ in node.next_functions]
    return False


def _tensors(given: object) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif is_dataclass(given) and not isinstance(given, type):
        yield from _tensors([getattr(given, item.name) for item in fields(given)])
    elif isinstance(given, Mapping):
        yield from _tensors(tuple(given.values()))
    elif isinstance(given, tuple | list):
        for each in given:
            yield from _tensors(each)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # Tensors of inference mode count no changes.


def embed_crops(source: Source, embedder: Embedder, crops: Tensor) -> Tensor:
    """Return the unit embeddings ``(N, D)`` of crops, checked.

    Args:
        source: Which surrogate it is.
        embedder: The surrogate.
        crops: What it is shown, ``(N, 3, H, W)``.

    Raises:
        PluginError: If a plugin's network raises, or returns something else.
        EmbeddingError: If the numbers of a network that is no plugin's are not finite.
    """
    came = source.call(embedder, crops)
    shape = (len(crops), embedder.spec.dimension)
    if source.origin == BUILT_IN and isinstance(came, Tensor) and not came.isfinite().all():
        raise EmbeddingError(
            f"surrogate {source.name}: its embeddings hold numbers that are not finite, so no mask can be made by it. "
            "Set trainer.precision to 32-true if it is less, or name another."
        )
    embeddings = source.check(came, crops, shape, torch.float32, "a unit embedding per crop")
    source.check_graph(embeddings, crops)
    if source.origin != BUILT_IN:
        lengths = embeddings.detach().norm(dim=1)
        if ((lengths - 1).abs() > _UNIT).any():
            came = f"returned embeddings of length {lengths.min().item():.3g} to {lengths.max().item():.3g}"
            raise source.broken(came, "unit embeddings, of length 1")
    return embeddings
