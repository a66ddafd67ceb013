"""The protection loop under Lightning: devices, precision and sharding are the Trainer's business."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import nn

from facecrypt.engine.data import PhotoShares
from facecrypt.engine.dataset import Job, Photos
from facecrypt.engine.strength import Ladder
from facecrypt.errors import FacecryptError
from facecrypt.evaluation.verification import Judge
from facecrypt.faces.patches import cut
from facecrypt.methods.base import Asked, Masks, MethodModule, OnStep
from facecrypt.methods.iterative.loop import ProtectionLoop
from facecrypt.recipe.check import Recipe
from facecrypt.system import interrupts
from facecrypt.system.console import make_progress
from facecrypt.system.timing import stage

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others, which may have slower devices or larger photos; 30 minutes by default."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Photos that are finished.
        photos: Photos of this process.
        step: Steps done with the faces that are being protected now; it starts anew for each batch of faces.
        steps: Steps that each face takes.
        similarity: Mean cosine between these faces and their originals, as the surrogates see them; None where there is
            none, as before the first step.
    """

    done: int
    photos: int
    step: int
    steps: int
    similarity: float | None


OnProgress = Callable[[Progress], None]
"""Is told of the progress; what it raises ends the run."""


def protect(
    recipe: Recipe,
    module: ProtectionModule,
    photos: Photos,
    finish: Callable[[Job], None],
    on_progress: OnProgress | None = None,
) -> lightning.Trainer:
    """Make the masks of photos under Lightning; every process makes those of its own share.

    Args:
        recipe: For the hardware, the batch size and the workers.
        module: What makes the masks.
        photos: The photos.
        finish: Called for every photo, with its masks or its error, in the process that made them.
        on_progress: Told of the progress in place of a bar on the terminal.

    Returns:
        The Trainer, which knows this process's place among the others.

    Raises:
        FacecryptError: If a process that reads photos ahead is ended from outside.
    """
    shares = PhotoShares(recipe, photos, module.loop)
    hardware = asdict(recipe.trainer)
    if hardware["strategy"] == "ddp":
        hardware["strategy"] = DDPStrategy(timeout=_PATIENCE)
    trainer = lightning.Trainer(
        **hardware,
        callbacks=[JobWriter(finish), ProgressTeller(shares, on_progress) if on_progress else StepProgress(shares)],
        use_distributed_sampler=False,  # It would count photos; the shares are balanced by faces.
        inference_mode=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings(), interrupts.own_signals():
        # Reading a photo takes milliseconds, protecting it seconds: one process may well do both.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            trainer.predict(module, datamodule=shares, return_predictions=False)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise FacecryptError(
                f"workers: a process that reads photos ahead was ended from outside ({error}), as where memory runs "
                "out. What is protected stays, and the same command goes on from there; workers=0 needs less memory."
            ) from error
    return trainer


class ProtectionModule(lightning.LightningModule):
    """Lightning's handle on the protection loop: devices, precision and sharding are the Trainer's business.

    Args:
        loops: Make the masks, one per level of strength, the lightest first: of TIP-IM, or of another method.
        judges: Recognisers that must be on the device when files are verified.
        recipe: For the seed.
        ladder: Says which faces need the next level; without it, all masks are of the first.
    """

    def __init__(
        self,
        loops: Sequence[ProtectionLoop | MethodModule],
        judges: Sequence[Judge],
        recipe: Recipe,
        ladder: Ladder | None = None,
    ) -> None:
        super().__init__()
        self.loops = list(loops)
        self._moved = nn.ModuleList(loops)
        self.judges = nn.ModuleList(judge.embedder for judge in judges)
        self.ladder = ladder
        self.on_step: OnStep | None = None
        self._seed = recipe.seed

    @property
    def loop(self) -> ProtectionLoop | MethodModule:
        """The loop of the strongest level."""
        return self.loops[-1]

    def predict_step(self, batch: list[Job], batch_idx: int) -> list[Job]:
        """Make the masks of all faces of some photos, level by level for those that need it."""
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
        for start in range(0, len(todo), shares.faces_per_batch):
            part = todo[start : start + shares.faces_per_batch]
            began = time.monotonic()
            seeds = [face_seed(self._seed, job.source, number) for job, number in part]
            made: Masks | Asked
            if isinstance(loop, MethodModule):
                made = _run_method(loop, part, seeds, self.on_step)
            else:
                start_from = [job.masks[number] for job, number in part] if again else None
                made = loop.run([job.images[number] for job, number in part], seeds, self.on_step, start_from)
            spent = (time.monotonic() - began) / len(part)
            _hand_out(part, made, spent)


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


class JobWriter(lightning.Callback):
    """Hands each finished photo on, in the process that made it.

    Args:
        finish: Takes the photo.
    """

    def __init__(self, finish: Callable[[Job], None]) -> None:
        self._finish = finish

    def on_predict_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand on the photos of one batch."""
        for job in batch:
            self._finish(job)
            job.release()  # Lightning holds a batch until it has the next one.


class StepProgress(lightning.Callback):
    """A progress bar: photos done, steps of the current batch, and how similar its faces still are to themselves."""

    def __init__(self, shares: PhotoShares) -> None:
        self._shares = shares
        self._bar: Bar | None = None

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar, in one process only."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ProtectionModule)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = make_progress(*columns, TextColumn("{task.fields[note]}"))
        photos = bar.add_task("photos", total=len(self._shares.share), note="")
        steps = bar.add_task("steps", total=pl_module.loop.settings.steps, note="")
        self._tasks = photos, steps
        self._bar = bar

        def tell(step: int, cosine: float | None) -> None:
            bar.update(steps, completed=step, note="" if cosine is None else f"similarity {cosine:+.2f}")

        pl_module.on_step = tell
        bar.start()

    def on_predict_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the photos."""
        if self._bar:
            self._bar.advance(self._tasks[0], len(batch))

    def on_predict_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the bar down."""
        if self._bar:
            self._bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar down, so that the error is readable."""
        if self._bar:
            self._bar.stop()


class ProgressTeller(lightning.Callback):
    """Tells a function of the progress, in one process only.

    Args:
        shares: Knows the photos of this process.
        tell: The function.
    """

    def __init__(self, shares: PhotoShares, tell: OnProgress) -> None:
        self._shares = shares
        self._tell = tell
        self._done = 0

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell that it begins, and listen to the steps."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ProtectionModule)
        self._steps = pl_module.loop.settings.steps
        pl_module.on_step = self._at
        self._at(0, None)

    def on_predict_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the photos."""
        self._done += len(batch)
        if trainer.is_global_zero:
            self._at(self._steps, None)

    def _at(self, step: int, similarity: float | None) -> None:
        self._tell(Progress(self._done, len(self._shares.share), step, self._steps, similarity))


def _hand_out(part: Sequence[tuple[Job, int]], made: Masks | Asked, seconds: float) -> None:
    for place, (job, number) in enumerate(part):
        job.masks[number] = made.masks[place]
        if isinstance(made, Asked):
            job.queries[number] = made.queries[place] + (job.queries[number] or 0)
        else:
            job.targets[number] = made.targets[place]
        job.seconds[number] += seconds
