"""What Lightning calls on the way of a run: writing photos, the report, progress, and loggers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import lightning
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import distributed

from facecrypt.engine.data import PhotoShares
from facecrypt.engine.dataset import Job
from facecrypt.system.console import make_progress

if TYPE_CHECKING:
    from facecrypt.engine.trainer import ProtectionModule


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


class PhotoWriter(lightning.Callback):
    """Hands each finished photo on to be written and noted, in the process that made it.

    Attributes:
        finished: Numbers of the photos that this process has handed on.

    Args:
        finish: Takes the photo: writes it, notes it in the manifest, and judges what was written.
    """

    def __init__(self, finish: Callable[[Job], None]) -> None:
        self.finished: set[int] = set()
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
            self.finished.add(job.index)


@dataclass(frozen=True)
class Ended:
    """The end of the work in one process, when all others have come there too.

    Attributes:
        first: Whether this process is the one that speaks for all.
        device: What made the masks.
        limit: What kept the run from going through all photos, as a recipe writes it; empty where nothing did.
        finished: With a limit, the numbers of the photos that all processes together have finished.
        wait: Returns when all other processes have called it.
    """

    first: bool
    device: str
    limit: str
    finished: set[int]
    wait: Callable[[], None]


class ReportWriter(lightning.Callback):
    """Has the report written when all processes are done, those without a photo among them.

    Args:
        writer: Knows which photos this process has finished.
        report: Writes it.
    """

    def __init__(self, writer: PhotoWriter, report: Callable[[Ended], None]) -> None:
        self._writer = writer
        self._report = report

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Wait for the others and write."""
        if stage != "predict":
            return
        trainer.strategy.barrier()
        limit, parts = _find_limit(trainer), [self._writer.finished]
        if limit and trainer.world_size > 1:
            parts = [set() for _ in range(trainer.world_size)]
            distributed.all_gather_object(parts, self._writer.finished)
        device = str(trainer.strategy.root_device)
        self._report(
            Ended(trainer.is_global_zero, device, limit, set[int]().union(*parts), lambda: trainer.strategy.barrier())
        )


def _find_limit(trainer: lightning.Trainer) -> str:
    if quick := getattr(trainer, "fast_dev_run", False):  # Lightning declares it nowhere.
        return f"trainer.fast_dev_run={str(quick).lower()}"
    limit = trainer.limit_predict_batches
    return "" if limit == 1.0 and isinstance(limit, float) else f"trainer.limit_predict_batches={limit}"


class StepProgress(lightning.Callback):
    """A progress bar: photos done, steps of the current batch, and how similar its faces still are to themselves."""

    def __init__(self, shares: PhotoShares) -> None:
        self._shares = shares
        self._bar: Bar | None = None

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar, in one process only."""
        if not trainer.is_global_zero:
            return
        module = cast("ProtectionModule", pl_module)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = make_progress(*columns, TextColumn("{task.fields[note]}"))
        photos = bar.add_task("photos", total=len(self._shares.share), note="")
        steps = bar.add_task("steps", total=module.loop.settings.steps, note="")
        self._tasks = photos, steps
        self._bar = bar

        def tell(step: int, cosine: float | None) -> None:
            bar.update(steps, completed=step, note="" if cosine is None else f"similarity {cosine:+.2f}")

        module.listeners.append(tell)
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
        module = cast("ProtectionModule", pl_module)
        self._steps = module.loop.settings.steps
        module.listeners.append(self._at)
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


class StepLogger(lightning.Callback):
    """Gives the Trainer's loggers the similarity at each step, and photos, faces and seconds of each batch."""

    def __init__(self) -> None:
        self._steps = 0
        self._photos = 0

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen to the steps, where there is a logger."""

        def log(step: int, similarity: float | None) -> None:
            self._steps += 1
            if similarity is not None:
                _log(trainer, {"similarity": similarity}, self._steps)

        if trainer.loggers:
            cast("ProtectionModule", pl_module).listeners.append(log)

    def on_predict_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log what became of the batch."""
        self._photos += len(batch)
        seconds = [each for job in batch for each in job.seconds]
        found = {"photos": float(self._photos), "faces": float(len(seconds))}
        mean = {"seconds_per_face": sum(seconds) / len(seconds)} if seconds else {}
        _log(trainer, found | mean, self._steps)


def _log(trainer: lightning.Trainer, metrics: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=step)
