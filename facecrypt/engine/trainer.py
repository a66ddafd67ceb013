"""The protection loop under Lightning: devices, precision and sharding are the Trainer's business."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from facecrypt.engine.callbacks import StepLogger
from facecrypt.engine.class_paths import build_classes
from facecrypt.engine.data import PhotoShares
from facecrypt.engine.dataset import Job
from facecrypt.engine.strength import Ladder
from facecrypt.errors import FacecryptError
from facecrypt.evaluation.verification import Judge
from facecrypt.faces.patches import cut
from facecrypt.methods.base import Asked, Masks, MethodModule, OnStep
from facecrypt.methods.iterative.loop import ProtectionLoop
from facecrypt.recipe.trainer_options import TrainerOptions, given_options
from facecrypt.report.model import Report
from facecrypt.system import interrupts
from facecrypt.system.timing import stage

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others, which may have slower devices or larger photos; 30 minutes by default."""


@dataclass
class Prepared:
    """A run, ready for a Trainer: ``lightning.Trainer(**arguments).predict(module, datamodule)``.

    Attributes:
        module: Makes the masks.
        datamodule: Gives each process its photos.
        arguments: Of the Trainer, those of the recipe and those that a run needs: callbacks that write photos, manifest
            and report, gradients, and no sampler of Lightning's.
        report: What became of the photos, once the Trainer is done.
    """

    module: ProtectionModule
    datamodule: PhotoShares
    arguments: dict[str, Any]
    report: Report | None = None


def trainer_arguments(options: TrainerOptions) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for a run, without the callbacks that write what it makes.

    Args:
        options: A checked part of a recipe.

    Raises:
        RecipeError: If a class that the recipe names cannot be made.
    """
    arguments = given_options(options) | build_classes(options)
    if arguments["strategy"] == "ddp":
        arguments["strategy"] = DDPStrategy(timeout=_PATIENCE)
    return {
        "logger": False,
        "enable_model_summary": False,
        **arguments,
        "callbacks": [StepLogger(), *arguments.get("callbacks", [])],
        "enable_progress_bar": False,  # Lightning's, which knows batches only.
        "enable_checkpointing": False,
        "inference_mode": False,
        "use_distributed_sampler": False,  # It would count photos; the shares are balanced by faces.
    }


def make_trainer(arguments: Mapping[str, Any]) -> lightning.Trainer:
    """Return a Trainer.

    Args:
        arguments: Of Lightning's Trainer.

    Raises:
        FacecryptError: If Lightning refuses them.
    """
    try:
        return lightning.Trainer(**arguments)
    except (TypeError, ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise FacecryptError(f"trainer: Lightning refuses what it is told: {' '.join(str(error).split())}") from error


def predict(module: ProtectionModule, datamodule: PhotoShares, arguments: Mapping[str, Any]) -> None:
    """Make the masks of photos under Lightning; every process makes those of its own share.

    Args:
        module: What makes the masks.
        datamodule: The photos.
        arguments: From `trainer_arguments`.

    Raises:
        FacecryptError: If Lightning refuses its arguments, or a process that reads photos ahead is ended from outside.
    """
    trainer = make_trainer(arguments)
    with warnings.catch_warnings(), interrupts.own_signals():
        # Reading a photo takes milliseconds, protecting it seconds: one process may well do both.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            trainer.predict(module, datamodule=datamodule, return_predictions=False)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise FacecryptError(
                f"workers: a process that reads photos ahead was ended from outside ({error}), as where memory runs "
                "out. What is protected stays, and the same command goes on from there; workers=0 needs less memory."
            ) from error


class ProtectionModule(lightning.LightningModule):
    """Lightning's handle on the protection loop: devices, precision and sharding are the Trainer's business.

    Args:
        loops: Make the masks, one per level of strength, the lightest first: of TIP-IM, or of another method.
        judges: Recognisers that must be on the device when files are verified.
        seed: From which each face gets its own.
        ladder: Says which faces need the next level; without it, all masks are of the first.
    """

    def __init__(
        self,
        loops: Sequence[ProtectionLoop | MethodModule],
        judges: Sequence[Judge],
        seed: int,
        ladder: Ladder | None = None,
    ) -> None:
        super().__init__()
        self.loops = list(loops)
        self._moved = nn.ModuleList(loops)
        self.judges = nn.ModuleList(judge.embedder for judge in judges)
        self.ladder = ladder
        self.listeners: list[OnStep] = []
        self._seed = seed

    @property
    def loop(self) -> ProtectionLoop | MethodModule:
        """The loop of the strongest level."""
        return self.loops[-1]

    def predict_step(self, batch: list[Job], batch_idx: int) -> list[Job]:
        """Make the masks of all faces of some photos, level by level for those that need it.

        Raises:
            FacecryptError: If the Trainer runs without gradients.
        """
        if torch.is_inference_mode_enabled():
            raise FacecryptError(
                "trainer: gradients make the masks. Give Lightning's Trainer inference_mode=False, as the prepared "
                "arguments have it."
            )
        todo = [(job, number) for job in batch for number in range(len(job.faces))]
        for job in batch:
            job.prepare()
        while todo:
            for level, loop in enumerate(self.loops):
                part = [(job, number) for job, number in todo if job.levels[number] == level]
                self._make(part, loop, again=level > 0)
            # A mask that reaches into a neighbour's patch may undo it, so all faces of a changed photo are looked at.
            changed = {job.index: job for job, _ in todo}.values()
            # Judges say what they say of a saved file anywhere else: in full precision.
            with torch.autocast(self.device.type, enabled=False):
                todo = [(job, number) for job in changed for number in (self.ladder.climb(job) if self.ladder else [])]
        return batch

    @stage("protect")
    def _make(self, todo: Sequence[tuple[Job, int]], loop: ProtectionLoop | MethodModule, *, again: bool) -> None:
        """Make masks; where it is `again`, go on from those of the level before, which costs less and protects more."""
        shares = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning declares it nowhere.
        assert isinstance(shares, PhotoShares)
        on_step = self._tell if self.listeners else None
        for start in range(0, len(todo), shares.faces_per_batch):
            part = todo[start : start + shares.faces_per_batch]
            began = time.monotonic()
            seeds = [face_seed(self._seed, job.source, number) for job, number in part]
            made: Masks | Asked
            if isinstance(loop, MethodModule):
                made = _run_method(loop, part, seeds, on_step)
            else:
                start_from = [job.masks[number] for job, number in part] if again else None
                made = loop.run([job.images[number] for job, number in part], seeds, on_step, start_from)
            spent = (time.monotonic() - began) / len(part)
            _hand_out(part, made, spent)

    def _tell(self, step: int, similarity: float | None) -> None:
        for listener in self.listeners:
            listener(step, similarity)


def _run_method(
    module: MethodModule, part: Sequence[tuple[Job, int]], seeds: Sequence[int], on_step: OnStep | None
) -> Asked:
    faces, boxes = [], []
    for job, number in part:
        assert job.photo is not None
        face = job.faces[number]
        image = cut(job.photo, face, face.patch.side) if module.method.native else job.images[number]
        scale = image.pixels.shape[-1] / face.patch.side
        left, top = face.patch.left, face.patch.top
        x0, y0, x1, y1 = face.box
        faces.append(image)
        boxes.append(((x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale))
        job.bounded[number] = module.method.bounded
    return module.run(faces, seeds, on_step, boxes=boxes)


def face_seed(seed: int, source: Path, number: int) -> int:
    """Return the seed of a face, which depends on neither its folder nor the other photos of the run."""
    return zlib.crc32(f"{seed}/{source.name}/{number}".encode(errors="surrogateescape"))


def _hand_out(part: Sequence[tuple[Job, int]], made: Masks | Asked, seconds: float) -> None:
    for place, (job, number) in enumerate(part):
        job.masks[number] = made.masks[place]
        if isinstance(made, Asked):
            job.queries[number] = made.queries[place] + (job.queries[number] or 0)
        else:
            job.targets[number] = made.targets[place]
        job.seconds[number] += seconds
