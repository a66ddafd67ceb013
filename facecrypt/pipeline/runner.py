"""One run from photos to report. Reads top down: `run` first, then its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from facecrypt import registry
from facecrypt.carriers.base import Delivery
from facecrypt.choices import FaceChoice
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.callbacks import (
    Ended,
    OnProgress,
    PhotoWriter,
    ProgressTeller,
    ReportWriter,
    StepProgress,
)
from facecrypt.engine.data import PhotoShares
from facecrypt.engine.dataset import Job, Photos, save
from facecrypt.engine.known import REPORTS
from facecrypt.engine.manifest import lies_in
from facecrypt.engine.planned import PlannedPhoto
from facecrypt.engine.records import RECORDS, Records
from facecrypt.engine.strength import Goal, Ladder, goal_of, level_keys, strength_notes
from facecrypt.engine.trainer import Prepared, ProtectionModule, predict, trainer_arguments
from facecrypt.errors import EmbeddingError, FacecryptError, PhotoError
from facecrypt.evaluation.robustness import Gallery, People
from facecrypt.evaluation.verification import FaceReport, Judge, Jury, make_judge, verify
from facecrypt.judges.enrolment import Enrolment, digests_of
from facecrypt.methods.base import ITERATIVE, Bounds, Method, MethodModule
from facecrypt.methods.iterative.boundary import guard
from facecrypt.methods.iterative.loop import ProtectionLoop, Settings, Surrogate
from facecrypt.methods.iterative.own_photos import OwnPhotos, own_album, person_album
from facecrypt.photos.files import file_digest, sweep
from facecrypt.photos.metadata import policy_note
from facecrypt.pipeline.builders import assemble, build_detectors, build_region, warn
from facecrypt.pipeline.hearings import account, add_heard, close_all, devices_for, hear_all, unheard
from facecrypt.pipeline.inputs import sample_photo as sample_photo
from facecrypt.pipeline.material import Material, delivered, gather
from facecrypt.pipeline.plan import Plan, make_plan
from facecrypt.pipeline.recovery import measure_again
from facecrypt.recipe.check import Recipe, dump_recipe, is_measured, level_recipes, recipe_values
from facecrypt.recipe.face_rules import face_rules
from facecrypt.recipe.schema import Receipt, Slot, TermSlot
from facecrypt.registry import Kind
from facecrypt.report import writer
from facecrypt.report.earlier import keep_earlier
from facecrypt.report.model import Report
from facecrypt.system import limits
from facecrypt.system.journal import Journal
from facecrypt.system.locks import is_first_process, locked_folders
from facecrypt.system.naming import expand_home
from facecrypt.system.places import check_unchanged
from facecrypt.system.private_files import sweep_temporary_folders
from facecrypt.system.timing import stage
from facecrypt.targets.selectors import Target, load_targets
from facecrypt.transforms.base import publish_all
from facecrypt.verdicts.verdict import worst
from facecrypt.views.base import OneOf, View

JOURNAL = "journal.jsonl"
"""The file among the records that tells which photos are protected."""


def run(
    recipe: Recipe,
    *,
    chosen: Sequence[tuple[Path, Path]] | None = None,
    on_progress: OnProgress | None = None,
    recipe_file: Path | None = None,
    bases: Sequence[Path] = (),
    on_start: Callable[[Path, int, str], None] | None = None,
) -> Report:
    """Protect the photos that a recipe names; leave files, report and resolved recipe in its output folder.

    Args:
        recipe: A checked recipe.
        chosen: The photos, each with the file that its protected version goes to, instead of those that the recipe
            names.
        on_progress: Told of the progress instead of a bar on the terminal; what it raises ends the run.
        recipe_file: The file of the recipe, which the run must not replace.
        bases: The files that it is laid over, likewise.
        on_start: Told, before the first photo, of the file that says what is done, the number of photos, and where the
            protected ones are.

    Returns:
        The report. Photos that could not be protected are in it, with the reason.

    Raises:
        FacecryptError: If the recipe or the input as a whole is wrong, another run works on the same folders, or a
            file would be destroyed; nothing has been written then.
    """
    with prepare(
        recipe, chosen=chosen, on_progress=on_progress, recipe_file=recipe_file, bases=bases, on_start=on_start
    ) as prepared:
        predict(prepared.module, prepared.datamodule, prepared.arguments)
    assert prepared.report is not None
    return prepared.report


@contextmanager
def prepare(
    recipe: Recipe,
    *,
    chosen: Sequence[tuple[Path, Path]] | None = None,
    on_progress: OnProgress | None = None,
    recipe_file: Path | None = None,
    bases: Sequence[Path] = (),
    on_start: Callable[[Path, int, str], None] | None = None,
) -> Iterator[Prepared]:
    """Give a run for a Trainer of one's own; the folders that it works on are locked meanwhile.

    Args:
        recipe: As for `run`, as all others are.
        chosen: Likewise.
        on_progress: Likewise.
        recipe_file: Likewise.
        bases: Likewise.
        on_start: Likewise.

    Raises:
        FacecryptError: As `run` raises it.
    """
    started, notes = time.monotonic(), list[str]()
    arguments = trainer_arguments(recipe.trainer)
    # The other processes of a run work under the locks of the first one.
    with ExitStack() as stack:
        stack.enter_context(limits.applied(limits.resolve(recipe.limits)))
        material = stack.enter_context(gather(recipe, sample_photo(), notes, chosen))
        if material.sink is not None and material.sink.private:
            recipe = replace(recipe, output=str(material.output))
        stack.enter_context(material.telling())
        output = expand_home(recipe.output)
        others = {made.parent for _, made in material.chosen if recipe.in_place or not lies_in(made, output)}
        closed: dict[Path, str] = {}
        if is_first_process():
            closed = stack.enter_context(locked_folders(output, others))
        plan = make_plan(
            recipe,
            material.chosen,
            recipe_file=recipe_file,
            bases=bases,
            closed=closed,
            names=material.names,
            further=material.further,
        )
        plan.notes[:0] = notes
        for note in plan.notes:
            warn(note)
        try:
            yield _prepare(recipe, plan, material, started, arguments, on_progress, on_start, stack)
        except RuntimeError as error:
            if "onnection closed by peer" not in str(error) and "onnection reset by peer" not in str(error):
                raise
            raise FacecryptError(
                "trainer: another process of this run was ended from outside, as where memory runs out. What is "
                "written stays, and the same command goes on from there."
            ) from error


def _prepare(
    recipe: Recipe,
    plan: Plan,
    material: Material,
    started: float,
    arguments: dict[str, Any],
    on_progress: OnProgress | None,
    on_start: Callable[[Path, int, str], None] | None,
    stack: ExitStack,
) -> Prepared:
    with stage("build"):
        detectors = build_detectors(recipe.detector, recipe.receipt.detector)
        detector = detectors.masks
        aligned = face_rules(recipe.faces).choose == "aligned"
        shown: FaceChoice = "aligned" if aligned else "largest"
        targets = load_targets(recipe.targets, recipe.max_targets, detector, shown, recipe.target_weights)
        jobs = Photos(
            [photo.source for photo in plan.photos],
            [photo.destination for photo in plan.photos],
            recipe.faces,
            detector,
            {index: photo.no_work for index, photo in enumerate(plan.photos) if photo.no_work},
            plan.settings,
        )
        method = build_method(recipe.method)
        crew = assemble(
            recipe,
            "gradients" if method is None else method.uses,
            lambda folder: Enrolment(folder, detectors.judges, aligned=aligned, protected=_originals(plan)),
            ahead=any(photo.no_work is None for photo in plan.photos),
        )
        stack.callback(close_all, crew.hearings)
        hear = hear_all(crew.hearings)
        gallery = _open_gallery(recipe.receipt, detectors.judges, aligned)
        sources = [photo.source for photo in plan.photos]
        own_photos = load_own_photos(recipe, crew.surrogates, detector, sources)
        judges = [make_judge(name, embedder, white, targets) for name, embedder, white in crew.judges]
        transforms = publish_all(recipe.receipt.transforms)
        people = _show_gallery(gallery, judges, crew.notes) if gallery else None
    crew.notes[:0] = plan.notes
    if own_photos and own_photos.faceless:
        crew.notes.append(f"{own_photos.key}: no face found in {own_photos.faceless} of its photos, which are left out")
        warn(crew.notes[-1])
    if gallery and people and (faceless := len(gallery.photos) - len(people.names)):
        crew.notes.append(f"receipt.gallery: no face found in {faceless} of its photos, which are left out")
        warn(crew.notes[-1])
    if recipe.receipt.detector not in (None, recipe.detector):
        crew.notes.append(
            f"masks were made for the faces that {recipe.detector.name} finds; those that are judged were found by "
            f"{recipe.receipt.detector.name}"
        )
    if note := policy_note(recipe.metadata):
        crew.notes.append(note)
        warn(note)
    output = expand_home(recipe.output)
    records = Records(output / RECORDS)
    records.open([photo.source for photo in plan.photos] if recipe.photos == "-" else None)
    sweep({output, *(path.parent for photo in plan.photos for path in (photo.destination, photo.backup) if path)})
    sweep_temporary_folders()
    with stage("build"):
        choosers = [make_judge(name, embedder, False, targets, chooses=True) for name, embedder in crew.choosers]
        levels = level_recipes(recipe)
        makers = [build_maker(level, method, crew.surrogates, targets, own_photos) for level in levels]
        deciding = judges[: len(crew.surrogates)] if recipe.protect is not None else choosers
        goal = goal_of(recipe)
        seen = Jury(
            targets=targets,
            judges=deciding,
            detector=detectors.judges,
            choice=recipe.faces,
            another=recipe.receipt.detector is not None,
            transforms=transforms,
        )
        ladder = Ladder(goal, levels, seen, recipe.metadata) if deciding else None
        judges += choosers
        jury = replace(seen, judges=judges, asked=recipe.protect, expects=is_measured(recipe), hear=hear)
        module = ProtectionModule(makers, judges, recipe.seed, ladder)
    earlier = writer.read_earlier(output, records.folder)
    journal = Journal(records.folder / JOURNAL, _known(plan))
    counted = [_is_to_be_written(photo) for photo in plan.photos]
    if on_start:
        beside = any(not lies_in(photo.destination, output) for photo in plan.photos)
        where = "in their places" if recipe.in_place else "beside their originals" if beside else f"in {output}"
        on_start(records.folder / JOURNAL, sum(counted), where)

    originals = material.originals

    def finish(job: Job) -> None:
        planned = plan.photos[job.index]
        save(job, levels, recipe.metadata, planned, lambda digest: journal.announce(job.index, job.destination, digest))
        photo = _verified(job, planned, jury, goal)
        photo = replace(photo, reason=material.tell(photo.reason))
        (entry,) = writer.carry_over([asdict(photo)], [job.destination], earlier, originals)
        asked = unheard(entry, crew.hearings) if entry["carried_over"] else crew.hearings
        if job.already and (asked or not entry["carried_over"]):
            late = measure_again(
                photo,
                job.destination,
                planned.manifest.find_original(job.source, job.destination),
                choose=jobs.choose,
                surrogates=crew.surrogates,
                jury=replace(jury, hear=hear_all(asked)),
                goal=goal,
                in_place=recipe.in_place,
            )
            if entry["carried_over"]:
                add_heard(entry, asdict(late), asked, asked=jury.asked, expects=jury.expects)
            else:
                entry = asdict(late)
        try:
            records.add(job.index, entry)
        except PhotoError as error:  # the photo is done nevertheless, and this process knows it
            warn(str(error))
        journal.settle(job.index, counted[job.index] and (photo.status == "written" or photo.already))

    def report(ended: Ended) -> None:
        journal_open.close()
        photos = []
        for index, (planned, photo) in enumerate(zip(plan.photos, records.collect(len(plan.photos)), strict=True)):
            if ended.limit and index not in ended.finished:
                left = _left_out(planned, ended.limit)
                (photo,) = writer.carry_over([asdict(left)], [planned.destination], earlier, originals)
            photos.append(asdict(_unknown(planned.known_as, records)) if photo is None else photo)
        close_all(crew.hearings)
        if ended.first:
            fresh = [photo for photo in photos if not photo["already"]]
            if written := encoder_note(recipe.views, fresh):  # Of every JPEG, so it is no reason to worry anybody.
                crew.notes.append(written)
            notes = (
                *strength_notes(goal, fresh),
                by_hand_note(fresh),
                late_note(photos),
            )
            heard = (note for hearing in crew.hearings for note in hearing.notes())
            for note in (*notes, limit_note(plan, ended), *heard):
                if note:
                    warn(note)
                    crew.notes.append(note)
        known = gallery.describe(people) if gallery and people else None
        seconds, asked, values = time.monotonic() - started, account(crew.hearings), recipe_values(recipe)
        result = prepared.report = writer.make(values, crew.notes, photos, seconds, ended.device, known, asked)
        ended.wait()
        if ended.first:
            _deliver(result, material, plan, left_out(plan, ended))
            _write_report(result, recipe, plan, records, originals)
            if material.sink is not None and material.sink.private:
                result.photos[:] = [_shown(photo, material) for photo in result.photos]

    journal_open = stack.enter_context(ExitStack())
    journal_open.enter_context(closing(journal))
    shares = PhotoShares(
        jobs,
        module.loop,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        allowed=recipe.limits,
        aligned=aligned,
    )
    photo_writer = PhotoWriter(finish)
    arguments["devices"] = devices_for(crew.hearings, recipe.trainer.devices)
    bar = [StepProgress(shares)] if recipe.trainer.enable_progress_bar else []
    progress = [ProgressTeller(shares, on_progress)] if on_progress else bar
    arguments["callbacks"][:0] = [photo_writer, ReportWriter(photo_writer, report), *progress]
    prepared = Prepared(module, shares, arguments)
    return prepared


def _left_out(planned: PlannedPhoto, limit: str) -> writer.PhotoReport:
    """Return what to tell of a photo that a run did not come to."""
    source = str(planned.known_as)
    if (known := planned.no_work) is None:
        return writer.PhotoReport(source, None, "unchanged", f"{source}: was left out by {limit}.")
    return writer.PhotoReport(source, None, known.status, known.reason, already=known.already)


def limit_note(plan: Plan, ended: Ended) -> str | None:
    """Return what to know of photos that a limit of the Trainer left out."""
    if not (count := len(left_out(plan, ended))):
        return None
    which = "1 photo was left out and is" if count == 1 else f"{count} photos were left out and are"
    return f"{which} not protected, by {ended.limit}: without it, the same command goes on from there"


def left_out(plan: Plan, ended: Ended) -> set[int]:
    """Return the numbers of the photos to protect that a limit of the Trainer left out."""
    todo = {index for index, planned in enumerate(plan.photos) if planned.no_work is None}
    return todo - ended.finished if ended.limit else set()


def _deliver(result: Report, material: Material, plan: Plan, left: Collection[int]) -> None:
    """Give what was made to the sink; where that fails, say so, and let the protected photos be where they are."""
    if material.sink is None:
        return

    def announce(path: Path, digest: str) -> None:
        check_unchanged(path, plan.further[path.relative_to(material.output).as_posix()])
        plan.manifest.add_report(path, digest)

    photos = delivered(material, plan.photos, result.photos, left)
    delivery = Delivery(photos, material.origin, material.output, material.further, announce)
    try:
        material.sink.deliver(delivery)
    except PhotoError as error:
        fault = material.tell(str(error))
        warn(fault)
        result.faults.append(fault)
    for note in map(material.tell, delivery.notes):
        warn(note)
        result.notes.append(note)


def _shown(photo: dict[str, Any], material: Material) -> dict[str, Any]:
    return photo | {"output": photo["output"] and material.tell(photo["output"])}


def _unknown(source: Path, records: Records) -> writer.PhotoReport:
    reason = f"{source}: what became of it is not known: its record in {records.folder} is gone. Run again."
    return writer.PhotoReport(source=str(source), output=None, status="failed", reason=reason)


def _write_report(result: Report, recipe: Recipe, plan: Plan, records: Records, originals: Mapping[str, Path]) -> None:
    """Write the report; where that fails, say so and leave the records to the next run."""

    def announce(path: Path, digest: str) -> None:
        check_unchanged(path, plan.reports[path.name])
        plan.manifest.add_report(path, digest)

    output = expand_home(recipe.output)
    try:
        keep_earlier(output / REPORTS[0], records.folder, {each["source"] for each in result.photos}, result.recipe)
        writer.write(
            result, output, dump_recipe(recipe) if "recipe.yaml" in plan.reports else None, announce, originals
        )
    except PhotoError as error:
        warn(str(error))
        result.faults.append(str(error))
    else:
        records.remove()


def encoder_note(views: Sequence[Slot], photos: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know of photos that were written with loss by a recipe that did not prepare for it."""
    formats = sorted({str(photo["encoding"]).split()[1] for photo in photos if "lossy" in (photo["encoding"] or "")})
    if not formats or any(view.name == "jpeg" for view in views):
        return None
    return f"photos were written with loss ({', '.join(formats)}); the numbers are those of these files"


def by_hand_note(photos: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know of faces that a person gave and a search did not find, in the original or the saved file."""
    faces = [(photo["source"], face) for photo in photos for face in photo["faces"]]
    placed = sorted({source for source, face in faces if face["landmarks"] == "placed in box"})
    known = sorted({source for source, face in faces if face["found_again"] == "known landmarks"})
    parts = []
    if placed:
        parts.append(f"no face was found in a box given for {', '.join(placed)}: average landmarks were placed in it")
    if known:
        parts.append(
            f"no search finds a face given by hand in the saved {', '.join(known)}: it was judged where it was in the "
            "original"
        )
    return "; ".join(parts) or None


def late_note(photos: Sequence[dict[str, Any]]) -> str | None:
    """Return what to know of photos that were protected by a run that had no time to measure them."""
    late = sum(photo["already"] and bool(photo["faces"]) and not photo["carried_over"] for photo in photos)
    if not late:
        return None
    return (
        f"{late} photo{'s were' if late > 1 else ' was'} written by a run that was ended before it had measured "
        f"{'them' if late > 1 else 'it'}: that was done now, which takes as long as it does after a mask is made"
    )


def load_own_photos(
    recipe: Recipe, surrogates: Sequence[Surrogate], detector: FaceDetector, photos: Sequence[Path] = ()
) -> OwnPhotos | None:
    """Return the people whom a recipe tells from others, or None where it does not.

    Args:
        recipe: The recipe: ``own_photos`` of people, or ``person``, who the photos of the run are of.
        surrogates: Its recognisers.
        detector: Finds the faces.
        photos: The photos of the run.

    Raises:
        PhotoError: As `OwnPhotos`.
        EmbeddingError: As `OwnPhotos`.
    """
    aligned = face_rules(recipe.faces).choose == "aligned"
    embedders = [surrogate.embedder for surrogate in surrogates]
    if recipe.own_photos is not None:
        return OwnPhotos(own_album(recipe.own_photos), embedders, detector, aligned=aligned)
    if recipe.person is None or not photos:
        return None
    return OwnPhotos(person_album(recipe.person, recipe.photos, photos), embedders, detector, aligned=aligned)


def build_loop(
    recipe: Recipe,
    surrogates: Sequence[Surrogate],
    targets: Sequence[Target],
    own_photos: OwnPhotos | None = None,
) -> ProtectionLoop:
    """Return the protection loop that a recipe describes.

    Args:
        recipe: The recipe.
        surrogates: Its recognisers.
        targets: The target identities.
        own_photos: From `load_own_photos`, for these surrogates.

    Raises:
        FacecryptError: If a surrogate cannot be used as the recipe says.
    """
    views: list[View] = [_build("view", view) for view in recipe.views]
    return ProtectionLoop(
        surrogates=surrogates,
        targets=targets,
        target_selector=_build("target_selector", recipe.target_selector),
        naturalness=[(_build("naturalness", term), term.weight) for term in recipe.naturalness],
        gradient=_build("gradient", recipe.gradient),
        optimizer=_build("optimizer", recipe.optimizer),
        own_photos=own_photos,
        views=[OneOf(views)] if recipe.views_mode == "one" and views else views,
        settings=Settings(
            epsilon=recipe.epsilon / 255,
            step_size=recipe.step_size / 255,
            norm=recipe.norm,
            ceiling=None if recipe.ceiling is None else recipe.ceiling / 255,
            steps=recipe.steps,
            target_weight=recipe.target_weight,
            target_embedding=recipe.target_embedding,
            self_weight=recipe.self_weight,
            own_weight=recipe.own_identity.weight,
            own_hinge=recipe.own_identity.hinge,
            views_per_step=recipe.views_per_step,
            surrogates_per_step=recipe.surrogates_per_step,
            seed=recipe.seed,
            region=build_region(recipe.region),
            colour=recipe.colour,
            texture=recipe.texture,
            feather=recipe.feather,
            low_pass=recipe.low_pass,
            budget=recipe.budget,
        ),
    )


def build_method(slot: Slot) -> Method | None:
    """Return the method that a recipe names, guarded; None for the loop, which other keys of the recipe set."""
    return None if slot.name == ITERATIVE else _build("method", slot)


def build_maker(
    recipe: Recipe,
    method: Method | None,
    surrogates: Sequence[Surrogate],
    targets: Sequence[Target],
    own_photos: OwnPhotos | None = None,
) -> ProtectionLoop | MethodModule:
    """Return what makes masks: the protection loop, or a method with the surrogates that it may ask.

    Args:
        recipe: The recipe, which bounds them.
        method: From `build_method`.
        surrogates: As for `build_loop`.
        targets: Likewise.
        own_photos: Likewise.

    Raises:
        FacecryptError: If a surrogate cannot be used as the recipe says.
    """
    if method is None:
        return build_loop(recipe, surrogates, targets, own_photos)
    return MethodModule(
        method,
        [surrogate.name for surrogate in surrogates],
        [surrogate.embedder for surrogate in surrogates],
        targets,
        Bounds(
            epsilon=recipe.epsilon / 255,
            step_size=recipe.step_size / 255,
            norm=recipe.norm,
            steps=recipe.steps,
            ceiling=None if recipe.ceiling is None else recipe.ceiling / 255,
            region=build_region(recipe.region),
        ),
        recipe.target_embedding,
        [surrogate.origin for surrogate in surrogates],
    )


def _build(kind: Kind, slot: Slot | TermSlot) -> Any:
    """Return a component that a recipe names, guarded."""
    return guard(registry.get(kind, slot.name), registry.build(kind, slot.name, slot.args))


def _verified(job: Job, planned: PlannedPhoto, jury: Jury, goal: Goal) -> writer.PhotoReport:
    """Return what became of a photo that was saved, if it could be."""
    faces: list[FaceReport] = []
    if not job.error and job.photo is not None:
        try:
            faces = verify(job.destination, job.photo, job.faces, job.targets, job.seconds, jury)
        except PhotoError as error:
            job.fail(error)
    if faces:
        levelled = zip(faces, job.levels, strict=True)
        faces = [replace(face, **level_keys(goal, face, level)) for face, level in levelled]
        faces = [replace(face, queries=queries) for face, queries in zip(faces, job.queries, strict=True)]
    return writer.PhotoReport(
        source=str(planned.known_as),
        output=None if job.error else str(job.destination),
        status=job.status,
        reason=job.error,
        faces=faces,
        backup=None if job.error or planned.backup is None else str(planned.backup),
        encoding=job.encoding,
        already=job.already,
        skipped=job.skipped,
        source_sha256=None if job.status == "failed" or job.photo is None else job.photo.digest,
        output_sha256=None if job.error else file_digest(job.destination),
        verdict=worst(face.verdict for face in faces),
    )


def _known(plan: Plan) -> Iterator[tuple[int, Path, str]]:
    """Yield the photos that earlier runs protected, as far as the manifests tell: number, file and its SHA-256."""
    for number, photo in enumerate(plan.photos):
        if digest := photo.manifest.expected(photo.destination):
            yield number, photo.destination, digest


def _originals(plan: Plan) -> set[str | None]:
    """Return the SHA-256 of the photos of a run, and of those that it would replace."""
    paths = [path for photo in plan.photos for path in (photo.source, photo.backup) if path]
    return digests_of([path for path in paths if path.is_file()])


def _is_to_be_written(photo: PlannedPhoto) -> bool:
    """Return whether a photo has a protected version, or is to get one: not a backup that lies among the photos."""
    if photo.no_work is None or photo.no_work.status == "failed":
        return True
    return photo.manifest.expected(photo.destination) is not None


def _open_gallery(options: Receipt, detector: FaceDetector, aligned: bool) -> Gallery | None:
    if options.gallery is None:
        return None
    return Gallery(options.gallery, detector, aligned=aligned, cache=options.cache)


def _show_gallery(gallery: Gallery, judges: Sequence[Judge], notes: list[str]) -> People | None:
    """Give the judges that can judge the gallery; return it as one of them sees it, or None without such a judge."""
    for judge in judges:
        if judge.fault:
            continue
        try:
            judge.people = gallery.people(judge.embedder)
        except EmbeddingError as error:
            notes.append(f"receipt.gallery: {judge.name} has no ranks: {error}")
            warn(notes[-1])
    # Which photos show a face does not depend on the recogniser.
    return next((judge.people for judge in judges if judge.people), None)
