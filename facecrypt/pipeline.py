"""One run from photos to report. Reads top down: `run` first, then its parts."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from facecrypt import registry, report
from facecrypt.crew import assemble, warn
from facecrypt.encoding import QUALITY
from facecrypt.errors import FacecryptError, PhotoError
from facecrypt.evaluation import FaceReport, Judge, make_judge, verify
from facecrypt.faces import FaceDetector
from facecrypt.inputs import RECORDS, choose_photos
from facecrypt.jobs import Job, Photos, save
from facecrypt.lightning_loop import ProtectionModule, protect
from facecrypt.manifest import open_manifests
from facecrypt.photos import sweep
from facecrypt.protection import ProtectionLoop, Settings, Surrogate
from facecrypt.recipe import Recipe, dump_recipe
from facecrypt.stopwatch import stage
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
    with stage("build"):
        detector = FaceDetector()
        targets = load_targets(recipe.targets, recipe.max_targets, detector, recipe.faces)
        crew = assemble(recipe)
    output = _prepare_output(recipe)
    sweep({output, *(destination.parent for _, destination in chosen)})
    with stage("build"):
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
