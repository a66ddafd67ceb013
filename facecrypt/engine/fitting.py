"""Small networks trained under Lightning: quietly, on one device, up to the best epoch by what they never saw."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from facecrypt.engine.trainer import make_trainer
from facecrypt.errors import FacecryptError


class Lesson(Protocol):
    """What is learnt: a torch module with its loss. Its parameters that want gradients are trained."""

    def loss(self, batch: list[Tensor], draw: torch.Generator) -> Tensor:
        """Return the loss of a batch of what is trained on, a scalar.

        Args:
            batch: A part of each tensor that `fit` was given.
            draw: Draws, on the CPU, what is random about it.
        """

    def errors(self, batch: list[Tensor]) -> Tensor:
        """Return how wrong the network is about each of a batch that it was not trained on, ``(B,)``."""

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters to train, as Adam takes them: ``params`` and ``lr`` of each group."""


@dataclass(frozen=True)
class Pace:
    """How long a network is trained, and by which steps.

    Attributes:
        epochs: Most passes over the data.
        batch_size: Of a step.
        patience: Epochs without a better one after which training ends.
        weight_decay: Of AdamW.
    """

    epochs: int
    batch_size: int
    patience: int = 10
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class Fitted:
    """What became of a training.

    Attributes:
        epochs: Passes that were made.
        before: Mean error, on what it was not trained on, before the first of them.
        after: The same with the weights that were kept; never more than before.
    """

    epochs: int
    before: float
    after: float


class _Fit(lightning.LightningModule):
    def __init__(self, lesson: Lesson, seed: int, weight_decay: float) -> None:
        super().__init__()
        assert isinstance(lesson, nn.Module)
        self.lesson = lesson
        self.before, self.best = float("inf"), float("inf")
        self.kept: dict[str, Tensor] = {}
        self._draw = torch.Generator().manual_seed(seed)
        self._errors: list[Tensor] = []
        self._weight_decay = weight_decay

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.lesson.loss(batch, self._draw)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._errors.append(self.lesson.errors(batch).detach().float().cpu())

    def on_validation_epoch_end(self) -> None:
        error = float(torch.cat(self._errors).mean())
        self._errors.clear()
        if self.trainer.sanity_checking:
            self.before = error
        if error < self.best:
            self.best, self.kept = error, copy.deepcopy(self._trained())
        self.log("error", error)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.lesson.groups(), weight_decay=self._weight_decay)

    def restore(self) -> None:
        with torch.no_grad():
            for name, each in self._trained().items():
                each.copy_(self.kept[name])

    def _trained(self) -> dict[str, Tensor]:
        return {name: each.data for name, each in self.named_parameters() if each.requires_grad}


def fit(
    lesson: Lesson,
    training: Sequence[Tensor],
    validation: Sequence[Tensor],
    pace: Pace,
    seed: int,
    arguments: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train a network in place; it has the weights of its best epoch at last, or its first ones if none is better.

    Nothing is printed, logged or written. The lesson is on the CPU at last.

    Args:
        lesson: The network with its loss, a `torch.nn.Module`.
        training: Tensors of N rows each: what it is trained on.
        validation: The same of others, by which the best epoch is chosen and training ends.
        pace: How long and by which steps.
        seed: Of the order and of what the loss draws; the weights are drawn by whoever makes them.
        arguments: Of Lightning's Trainer: ``{"accelerator": "gpu"}``. One device is used; networks are small.

    Raises:
        FacecryptError: If Lightning refuses its arguments, or the errors are not finite.
    """
    module = _Fit(lesson, seed, pace.weight_decay)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(*training), pace.batch_size, shuffle=True, generator=order)
    unseen = DataLoader(TensorDataset(*validation), pace.batch_size)
    given = dict(arguments or {})
    own = [EarlyStopping("error", patience=pace.patience), *given.pop("callbacks", [])]
    alone = {"devices": 1, "num_nodes": 1, "logger": False, "enable_checkpointing": False, "callbacks": own}
    quiet = {"enable_model_summary": False, "enable_progress_bar": False, "num_sanity_val_steps": -1}
    with _silence(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        trainer = make_trainer({"max_epochs": pace.epochs, **given, **alone, **quiet, "inference_mode": False})
        trainer.fit(module, loader, unseen)
    if not module.kept:
        raise FacecryptError(
            "training: the errors on what was not trained on are not finite numbers. Set trainer.precision to 32-true "
            "if it is less, or leave the recogniser out."
        )
    module.restore()
    module.cpu()
    return Fitted(trainer.current_epoch, module.before, module.best)


@contextmanager
def _silence() -> Iterator[None]:
    """Let Lightning say nothing of what is so on purpose, and of its own future."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*number of training batches.*",
            "Found .* in eval mode",
            ".*LeafSpec.* is deprecated",
            ".*GPU available but not used.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        for each in loggers:
            each.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
