"""One run from photos to report. Reads top down: `run` first, then its parts."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.utils.data import DataLoader, Dataset

from facecrypt import registry, report
from facecrypt.budget import fit_photo
from facecrypt.encoding import QUALITY
from facecrypt.errors import FacecryptError, FacecryptWarning, NoFaceFoundError, PhotoError, RecipeError, WeightsError
from facecrypt.evaluation import FaceReport, Judge, make_judge, verify
from facecrypt.faces import Face, FaceDetector, FaceImage, add_masks, cut
from facecrypt.inputs import RECORDS, choose_photos
from facecrypt.manifest import Manifest, manifest_path, open_manifests, recipe_digest
from facecrypt.naming import beside
from facecrypt.photos import Photo, read_photo, sweep, write_photo
from facecrypt.protection import Masks, OnStep, ProtectionLoop, Settings, Surrogate
from facecrypt.recipe import Recipe, dump_recipe, permission_fault
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.mixup import Mixup
from facecrypt.targets import Target, load_targets
from facecrypt.views import OneOf, View


def run(recipe: Recipe) -> report.Report:
    """Protect the photos that a recipe names; leave files, report and resolved recipe in its output folder.

    Args:
        recipe: A checked recipe.

    Returns:
        The report. Photos that could not be protected are in it, with the reason.

    Raises:
        FacecryptError: If the recipe or the input as a whole is wrong; nothing has been written then.
    """
    started = time.monotonic()
    chosen = choose_photos(recipe, sample_photo())
    manifests = open_manifests(recipe, [destination for _, destination in chosen])
    detector = FaceDetector()
    targets = load_targets(recipe.targets, recipe.max_targets, detector, recipe.faces)
    crew = assemble(recipe)
    output = _prepare_output(recipe)
    sweep({output, *(destination.parent for _, destination in chosen)})
    judges = [make_judge(name, embedder, white, targets) for name, embedder, white in crew.judges]
    module = ProtectionModule(build_loop(recipe, crew.surrogates, targets), judges, recipe)
    records = output / RECORDS

    def finish(job: Job) -> None:
        photo = _write_and_verify(job, recipe, targets, judges, detector)
        (records / f"{job.index}.json").write_text(json.dumps(asdict(photo)))

    trainer = protect(
        recipe,
        module,
        Photos(
            [source for source, _ in chosen], [destination for _, destination in chosen], recipe, detector, manifests
        ),
        finish,
    )
    trainer.strategy.barrier()
    photos = [json.loads((records / f"{index}.json").read_text()) for index in range(len(chosen))]
    if trainer.is_global_zero and (note := encoder_note(recipe, photos)):
        warn(note)
        crew.notes.append(note)
    result = report.make(recipe, crew.notes, photos, time.monotonic() - started, str(trainer.strategy.root_device))
    trainer.strategy.barrier()
    if trainer.is_global_zero:
        report.write(result, output, dump_recipe(recipe))
        shutil.rmtree(records)
    return result


def protect(
    recipe: Recipe, module: ProtectionModule, photos: Photos, finish: Callable[[Job], None]
) -> lightning.Trainer:
    """Make the masks of photos under Lightning; every process makes those of its own share.

    Args:
        recipe: For the hardware, the batch size and the workers.
        module: What makes the masks.
        photos: The photos.
        finish: Called for every photo, with its masks or its error, in the process that made them.

    Returns:
        The Trainer, which knows this process's place among the others.
    """
    jobs = DataLoader(photos, batch_size=recipe.batch_size, num_workers=recipe.workers, collate_fn=list)
    trainer = lightning.Trainer(
        **asdict(recipe.trainer),
        callbacks=[JobWriter(finish), StepProgress(len(photos))],
        inference_mode=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        # Reading a photo takes milliseconds, protecting it seconds: one process may well do both.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.predict(module, jobs, return_predictions=False)
    return trainer


def encoder_note(recipe: Recipe, photos: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know of photos that were written with loss by a recipe that did not prepare for it."""
    formats = sorted({str(photo["encoding"]).split()[1] for photo in photos if "lossy" in (photo["encoding"] or "")})
    if not formats or any(view.name == "jpeg" for view in recipe.views):
        return None
    return (
        f"photos were written with loss ({', '.join(formats)}), but the recipe has no jpeg view, so the masks "
        f"were made without knowing of it. The numbers are those of the saved files. "
        f"Add {{name: jpeg, args: {{quality: [75, {QUALITY}]}}}} to views, or set format: png"
    )


def sample_photo() -> Path:
    """Return the built-in photo of a real person, which is free to use."""
    return Path(str(resources.files("facecrypt") / "data" / "sample" / "astronaut.png"))


@dataclass
class Crew:
    """The recognisers of a run.

    Attributes:
        surrogates: Those that give gradients.
        judges: Name, recogniser, and whether it also gives gradients: the surrogates and the held-out ones.
        notes: What a reader of the report must know: fallbacks taken, judges left out, no judge at all.
    """

    surrogates: list[Surrogate] = field(default_factory=list)
    judges: list[tuple[str, Embedder, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assemble(recipe: Recipe) -> Crew:
    """Build the recognisers of a recipe, falling back where the recipe allows it.

    Raises:
        WeightsError: If a recogniser's weights cannot be loaded and the recipe names no way out.
        RecipeError: If one network would both give gradients and judge, or a licence is not permitted.
    """
    crew = Crew()
    crew.surrogates = build_surrogates(recipe, crew.notes)
    crew.judges = [(surrogate.name, surrogate.embedder, True) for surrogate in crew.surrogates]
    held_out = 0
    for index, judge in enumerate(recipe.held_out):
        try:
            embedder = registry.build("surrogate", judge.name, judge.args)
        except WeightsError as error:
            if not judge.optional:
                raise
            crew.notes.append(f"held-out {judge.name} does not judge this run: {error}")
            continue
        _permit(recipe, f"held_out[{index}]", judge.name, embedder)
        white_box = any(same_network(embedder, surrogate.embedder) for surrogate in crew.surrogates)
        if white_box and not recipe.allow_white_box:
            raise RecipeError(
                "held_out",
                [f"the network of {judge.name!r} is a surrogate too. Name another, or set allow_white_box: true."],
            )
        held_out += not white_box
        crew.judges.append((_unused(judge.name, [name for name, _, _ in crew.judges]), embedder, white_box))
    if not held_out:
        crew.notes.append(
            "no held-out recogniser judged this run: its numbers say nothing about recognisers that gave no gradients"
        )
    for note in crew.notes:
        warn(note)
    return crew


def warn(note: str) -> None:
    """Tell the user something that the run survives."""
    warnings.warn(note, FacecryptWarning, stacklevel=3)


def build_surrogates(recipe: Recipe, notes: list[str]) -> list[Surrogate]:
    """Build the recognisers that give gradients, falling back where the recipe allows it.

    Args:
        recipe: A checked recipe.
        notes: Gets a remark for every fallback taken.

    Raises:
        WeightsError: If weights cannot be loaded and the recipe names no way out.
        RecipeError: If one network would be used twice, or a licence is not permitted.
    """
    surrogates: list[Surrogate] = []
    for index, slot in enumerate(recipe.surrogates):
        name, embedder = _surrogate(slot.name, slot.args, slot.fallback, notes)
        _permit(recipe, f"surrogates[{index}]", name, embedder)
        if any(same_network(embedder, other.embedder) for other in surrogates):
            raise RecipeError("surrogates", [f"the network of {name!r} would be used twice. Leave one of them out."])
        mixup = Mixup(slot.mixup.probability, slot.mixup.ratio) if slot.mixup else None
        name = _unused(name, [other.name for other in surrogates])
        surrogates.append(Surrogate(name, embedder, slot.weight, slot.dropout, mixup))
    return surrogates


def build_loop(recipe: Recipe, surrogates: Sequence[Surrogate], targets: Sequence[Target]) -> ProtectionLoop:
    """Return the protection loop that a recipe describes.

    Raises:
        FacecryptError: If a surrogate cannot be used as the recipe says.
    """
    views: list[View] = [registry.build("view", view.name, view.args) for view in recipe.views]
    return ProtectionLoop(
        surrogates=surrogates,
        targets=targets,
        target_selector=registry.build("target_selector", recipe.target_selector.name, recipe.target_selector.args),
        naturalness=[(registry.build("naturalness", term.name, term.args), term.weight) for term in recipe.naturalness],
        gradient=registry.build("gradient", recipe.gradient.name, recipe.gradient.args),
        optimizer=registry.build("optimizer", recipe.optimizer.name, recipe.optimizer.args),
        views=[OneOf(views)] if recipe.views_mode == "one" and views else views,
        settings=Settings(
            epsilon=recipe.epsilon / 255,
            step_size=recipe.step_size / 255,
            norm=recipe.norm,
            steps=recipe.steps,
            self_weight=recipe.self_weight,
            own_weight=recipe.own_identity.weight,
            own_hinge=recipe.own_identity.hinge,
            views_per_step=recipe.views_per_step,
            surrogates_per_step=recipe.surrogates_per_step,
            seed=recipe.seed,
            region=recipe.region,
            feather=recipe.feather,
            low_pass=recipe.low_pass,
            ssim_budget=recipe.budget.ssim if recipe.budget else None,
        ),
    )


@dataclass
class Job:
    """One photo on its way through a run.

    Attributes:
        index: Its place among the photos.
        source: The input file.
        destination: The output file.
        photo: What was read; None where that failed.
        faces: The faces to protect.
        images: Their patches.
        error: Why the photo cannot be protected, or empty.
        status: ``failed`` or ``unchanged`` where there is an error.
        masks: One per face.
        targets: Index of each face's target.
        seconds: Time of each face.
        backup: Where the original stays when the destination is the photo itself.
        manifest: What knows of the photos that are protected already.
        already: Whether there is nothing to do, since it was done before.
        encoding: How the file was written, such as ``lossy JPEG``.
    """

    index: int
    source: Path
    destination: Path
    photo: Photo | None = None
    faces: list[Face] = field(default_factory=list)
    images: list[FaceImage] = field(default_factory=list)
    error: str = ""
    status: str = "protected"
    masks: list[torch.Tensor] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    backup: Path | None = None
    manifest: Manifest | None = None
    already: bool = False
    encoding: str | None = None

    def fail(self, error: FacecryptError, status: str = "failed") -> Job:
        """Note why the photo cannot be protected."""
        self.error, self.status = str(error), status
        return self


class Photos(Dataset[Job]):
    """The photos of a run, read and searched for faces.

    Args:
        paths: The photos.
        destinations: Where the protected version of each goes.
        recipe: For the choice of faces, and for what happens to the photo itself.
        detector: Finds the faces.
        manifests: What knows of photos that are protected already; without it, each is protected.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        destinations: Sequence[Path],
        recipe: Recipe,
        detector: FaceDetector,
        manifests: Mapping[Path, Manifest] | None = None,
    ) -> None:
        self._manifests = manifests or {}
        self._recipe = recipe
        self._digest = recipe_digest(recipe)
        self._paths = list(paths)
        self._detector = detector
        self._choice = recipe.faces
        self._destinations = list(destinations)
        self._first: dict[Path, int] = {}
        for index, destination in enumerate(destinations):
            self._first.setdefault(destination, index)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Job:
        job = Job(index, self._paths[index], self._destinations[index])
        recipe = self._recipe
        job.manifest = self._manifests.get(
            manifest_path(job.destination, Path(recipe.output).expanduser(), recipe.in_place)
        )
        if recipe.in_place:
            job.backup = beside(job.destination, recipe.backup)
        try:
            first = self._first[job.destination]
            if first != index:
                raise PhotoError(
                    f"{job.source}: its output would be {job.destination}, as that of {self._paths[first]}. "
                    "Rename one of them, or protect them into different folders."
                )
            if job.manifest and (reason := job.manifest.find_reason(job.source, job.destination, self._digest)):
                job.already = True
                return job.fail(PhotoError(reason), "unchanged")
            job.photo = read_photo(job.source)
            job.faces = self._detector.find(job.photo, self._choice)
        except PhotoError as error:
            return job.fail(error)
        if not job.faces:
            return job.fail(
                NoFaceFoundError(
                    f"{job.source}: no face found, nothing was written. Use a photo with a larger, unobstructed face, "
                    "or faces: aligned if it is an aligned face."
                ),
                "unchanged",
            )
        job.images = [cut(job.photo, face) for face in job.faces]
        return job


class ProtectionModule(lightning.LightningModule):
    """Lightning's handle on the protection loop: devices, precision and sharding are the Trainer's business.

    Args:
        loop: Makes the masks.
        judges: Recognisers that must be on the device when files are verified.
        recipe: For batch size and seed.
    """

    def __init__(self, loop: ProtectionLoop, judges: Sequence[Judge], recipe: Recipe) -> None:
        super().__init__()
        self.loop = loop
        self.judges = nn.ModuleList(judge.embedder for judge in judges)
        self.on_step: OnStep | None = None
        self._faces_per_batch = recipe.batch_size
        self._seed = recipe.seed

    def transfer_batch_to_device(self, batch: list[Job], device: torch.device, dataloader_idx: int) -> list[Job]:
        """Leave photos where they are: the loop moves the patches, and nothing else is needed on the device."""
        return batch

    def predict_step(self, batch: list[Job], batch_idx: int) -> list[Job]:
        """Make the masks of all faces of some photos."""
        todo = [(job, number) for job in batch for number in range(len(job.faces))]
        for start in range(0, len(todo), self._faces_per_batch):
            part = todo[start : start + self._faces_per_batch]
            began = time.monotonic()
            made = self.loop.run(
                [job.images[number] for job, number in part],
                [face_seed(self._seed, job.source, number) for job, number in part],
                self.on_step,
            )
            spent = (time.monotonic() - began) / len(part)
            _hand_out(part, made, spent)
        return batch


def face_seed(seed: int, source: Path, number: int) -> int:
    """Return the seed of a face, which depends on neither its folder nor the other photos of the run."""
    return zlib.crc32(f"{seed}/{source.name}/{number}".encode())


class JobWriter(BasePredictionWriter):
    """Hands each finished photo on, in the process that made it.

    Args:
        finish: Takes the photo.
    """

    def __init__(self, finish: Callable[[Job], None]) -> None:
        super().__init__(write_interval="batch")
        self._finish = finish

    def write_on_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Hand on the photos of one batch."""
        for job in prediction:
            self._finish(job)


class StepProgress(lightning.Callback):
    """A progress bar: photos done, steps of the current batch, and how similar its faces still are to themselves."""

    def __init__(self, photos: int) -> None:
        self._photos = photos
        self._bar: Progress | None = None

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar, in one process only."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ProtectionModule)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
        photos = bar.add_task("photos", total=-(-self._photos // trainer.world_size), note="")
        steps = bar.add_task("steps", total=pl_module.loop.settings.steps, note="")
        self._tasks = photos, steps
        self._bar = bar
        pl_module.on_step = lambda step, cosine: bar.update(steps, completed=step, note=f"similarity {cosine:+.2f}")
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


def save(job: Job, recipe: Recipe) -> None:
    """Write the protected version of a photo; a failure becomes the job's error."""
    if job.error or job.photo is None:
        return
    # Only the infinity norm bounds a single channel.
    epsilon = int(recipe.epsilon) if recipe.norm == "linf" else 255
    photo, manifest, digest = job.photo, job.manifest, recipe_digest(recipe)

    def announce(written: str) -> None:
        if manifest:
            manifest.add(job.source, photo.digest, job.destination, written, digest, job.backup)

    masks = job.masks
    if recipe.budget:
        masks = fit_photo(photo, job.faces, masks, epsilon, recipe.budget.ssim)
    try:
        pixels = add_masks(photo, job.faces, masks, epsilon)
        job.encoding = write_photo(
            photo, pixels, job.destination, recipe.metadata, backup=job.backup, announce=announce
        )
    except PhotoError as error:
        job.fail(error)


def _write_and_verify(
    job: Job, recipe: Recipe, targets: Sequence[Target], judges: Sequence[Judge], detector: FaceDetector
) -> report.PhotoReport:
    save(job, recipe)
    faces: list[FaceReport] = []
    if not job.error and job.photo is not None:
        try:
            faces = verify(
                job.destination,
                job.photo,
                job.faces,
                job.targets,
                job.seconds,
                targets=targets,
                judges=judges,
                detector=detector,
                choice=recipe.faces,
            )
        except PhotoError as error:
            job.fail(error)
    return report.PhotoReport(
        source=str(job.source),
        output=None if job.error else str(job.destination),
        status=job.status,
        reason=job.error,
        faces=faces,
        backup=None if job.error or job.backup is None else str(job.backup),
        encoding=job.encoding,
        already=job.already,
    )


def _prepare_output(recipe: Recipe) -> Path:
    output = Path(recipe.output).expanduser()
    try:
        (output / RECORDS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output / RECORDS) as file:
            file.write(b"room?")
    except OSError as error:
        raise FacecryptError(
            f"output: {output} cannot be written to ({error.strerror}). Name another folder, or mend its permissions."
        ) from error
    return output


def _surrogate(name: str, args: dict[str, Any], fallback: Sequence[str], notes: list[str]) -> tuple[str, Embedder]:
    try:
        embedder: Embedder = registry.build("surrogate", name, args)
        embedder.require_gradients()
        return name, embedder
    except WeightsError as error:
        if not fallback:
            raise
        used, embedder = _surrogate(fallback[0], {}, fallback[1:], notes)
        notes.append(f"surrogate {name} was replaced by its fallback {used}: {error}")
        return used, embedder


def _permit(recipe: Recipe, path: str, name: str, embedder: Embedder) -> None:
    """Refuse a recogniser of which only its building tells that a recipe with ``permissive_only`` may not have it."""
    fault = permission_fault(path, name, embedder.spec.weights)
    if recipe.permissive_only and fault:
        raise RecipeError("recipe", [fault])


def same_network(a: Embedder, b: Embedder) -> bool:
    """Return whether two recognisers have the same weights, so that neither may judge what the other made."""
    first, second = a.spec.weights, b.spec.weights
    same_file = first.sha256 == second.sha256 != ""
    return same_file or (first.source, first.path) == (second.source, second.path)


def _unused(name: str, taken: Sequence[str]) -> str:
    return next(new for new in (name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))) if new not in taken)


def _hand_out(part: Sequence[tuple[Job, int]], made: Masks, seconds: float) -> None:
    for (job, _), mask, target in zip(part, made.masks, made.targets, strict=True):
        job.masks.append(mask)
        job.targets.append(target)
        job.seconds.append(seconds)
