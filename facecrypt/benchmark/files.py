"""The protected photos of a benchmark: made once, kept, and measured against the originals."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from facecrypt.benchmark.config import Row
from facecrypt.benchmark.metrics import (
    face_psnr,
    face_ssim,
    set_mmd,
)
from facecrypt.engine.callbacks import PhotoWriter, StepProgress
from facecrypt.engine.data import PhotoShares
from facecrypt.engine.dataset import Job, Photos, save
from facecrypt.engine.digest import deciding_receipt
from facecrypt.engine.strength import Ladder, goal_of
from facecrypt.engine.trainer import ProtectionModule, predict, trainer_arguments
from facecrypt.errors import PhotoError
from facecrypt.evaluation.looks import WAYS, Looks, measure
from facecrypt.evaluation.verification import Jury, make_judge
from facecrypt.faces.face import Face
from facecrypt.faces.patches import FaceImage, face_area
from facecrypt.methods.base import Uses
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.methods.obfuscation import obfuscate
from facecrypt.methods.universal import PersonMask, learn, write_mask
from facecrypt.photos.files import Photo, read_photo, write_photo
from facecrypt.pipeline.builders import build_choosers, build_detectors, build_surrogates, warn
from facecrypt.pipeline.learning import learning_task
from facecrypt.pipeline.runner import build_maker, build_method, load_own_photos
from facecrypt.recipe.check import Recipe, dump_recipe, level_recipes
from facecrypt.recipe.face_rules import face_rules
from facecrypt.recipe.trainer_options import HARDWARE, TrainerOptions
from facecrypt.report.writer import write_text
from facecrypt.surrogates.embedder import Embedder
from facecrypt.system.regular import read_text
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import Published, publish_all


@dataclass(frozen=True)
class Probe:
    """A photo to protect.

    Attributes:
        path: The photo.
        label: Number of its identity.
        photo: The decoded photo.
        face: Its largest face; None where none is found.
    """

    path: Path
    label: int
    photo: Photo
    face: Face | None


@dataclass(frozen=True)
class Saved:
    """The files of one method, or of one target of a method that runs once per target.

    Attributes:
        files: One per probe; the probe itself where nothing was done.
        target: Name of the only target, or empty.
        seconds: Mean time per face, or None where no mask was made.
        surrogates: Recognisers with which the masks were made; none where the method asks nobody.
        choosers: Recognisers that chose the strength.
        uses: What the method learned of them; empty where nothing was done.
        queries: Mean number of pictures of a face that were shown to them; None where nobody counted.
    """

    files: list[Path]
    target: str
    seconds: float | None
    surrogates: list[Surrogate]
    choosers: list[Embedder] = field(default_factory=list)
    uses: Uses | Literal[""] = ""
    queries: float | None = None


def make_files(
    row: Row,
    probes: Sequence[Probe],
    targets: Sequence[Target],
    output: Path,
    gallery: Mapping[int, Sequence[FaceImage]] = MappingProxyType({}),
) -> list[Saved]:
    """Return the files of a row, making those that are not there yet.

    Args:
        row: The row.
        probes: Whom it protects.
        targets: At whom it aims.
        output: The folder of the benchmark.
        gallery: Faces of gallery photos by identity, for rows that learn a mask per person.

    Raises:
        PhotoError: If a person has no gallery photo to learn from.
    """
    if row.recipe is None and row.obfuscation is None:
        return [Saved([probe.path for probe in probes], "", None, [])]
    folder = output / "photos" / folder_of(row, probes, targets, gallery)
    if row.obfuscation is not None:
        files = [_obfuscated(folder / _name(number, probe), probe, row) for number, probe in enumerate(probes)]
        return [Saved(files, "", None, [], uses="nothing")]
    recipe = row.recipe
    assert recipe is not None
    notes: list[str] = []
    surrogates = build_surrogates(recipe, notes)
    choosers = build_choosers(recipe.strength, notes, permissive_only=recipe.permissive_only)
    for note in notes:
        warn(note)
    weights = recipe.target_weights
    targets = [replace(each, weight=weights.get(each.name, 1.0)) for each in targets[: recipe.max_targets]]
    if row.learn_from is not None:
        return [_protect_people(recipe, surrogates, probes, targets, folder, gallery, row.learn_from)]
    if not row.every_target:
        return [_protect(recipe, surrogates, choosers, probes, targets, folder, "")]
    runs = []
    for index, target in enumerate(targets):
        single = replace(recipe, target_selector=replace(recipe.target_selector, name="fixed", args={"index": index}))
        place = folder / f"{index:02d}"
        runs.append(_protect(single, surrogates, choosers, probes, targets, place, target.name))
    return runs


def _protect_people(
    recipe: Recipe,
    surrogates: list[Surrogate],
    probes: Sequence[Probe],
    targets: Sequence[Target],
    folder: Path,
    gallery: Mapping[int, Sequence[FaceImage]],
    photos: int,
) -> Saved:
    """Protect each person's probes by one mask, learned from their gallery photos."""
    names = [folder / _name(number, probe) for number, probe in enumerate(probes)]
    parts: list[tuple[list[int], Saved]] = []
    for label in dict.fromkeys(probe.label for probe in probes):
        own = [number for number, probe in enumerate(probes) if probe.label == label]
        file = folder / f"{names[own[0]].stem}.safetensors"
        if not file.is_file():
            faces = list(gallery.get(label, ()))[:photos]
            if not faces:
                raise PhotoError(f"{probes[own[0]].path}: the gallery shows no face of this person to learn from.")
            task = learning_task(recipe, surrogates, faces)
            mask = learn(task, range(len(faces)), recipe.method.args.get("hull", "affine"), task.generator(0))
            folder.mkdir(parents=True, exist_ok=True)
            write_mask(PersonMask(mask.cpu(), tuple(task.recognisers.names)), file)
        single = replace(recipe, method=replace(recipe.method, args={**recipe.method.args, "mask": str(file)}))
        mine, wanted = [probes[number] for number in own], [names[number] for number in own]
        parts.append((own, _protect(single, surrogates, [], mine, targets, folder, "", wanted)))
    files = dict[int, Path]()
    for own, saved in parts:
        files |= dict(zip(own, saved.files, strict=True))
    seconds = [saved.seconds for _, saved in parts for _ in saved.files if saved.seconds is not None]
    mean = _mean(seconds) if seconds else None
    return Saved([files[number] for number in range(len(probes))], "", mean, surrogates, uses="gradients")


def _protect(
    recipe: Recipe,
    surrogates: list[Surrogate],
    choosers: Sequence[tuple[str, Embedder]],
    probes: Sequence[Probe],
    targets: Sequence[Target],
    folder: Path,
    target: str,
    wanted_files: Sequence[Path] = (),
) -> Saved:
    files = list(wanted_files) or [folder / _name(number, probe) for number, probe in enumerate(probes)]
    method = build_method(recipe.method)
    uses: Uses = "gradients" if method is None else method.uses
    asked = surrogates if uses != "nothing" else []
    todo = [number for number, file in enumerate(files) if probes[number].face is not None and not file.is_file()]
    if todo:
        levels = level_recipes(recipe)
        detectors = build_detectors(recipe.detector, recipe.receipt.detector)
        own_photos = load_own_photos(recipe, surrogates, detectors.masks, [probe.path for probe in probes])
        makers = [build_maker(level, method, surrogates, targets, own_photos) for level in levels]
        judges = [make_judge(name, embedder, False, targets, chooses=True) for name, embedder in choosers]
        if recipe.protect is not None:
            judges = [make_judge(each.name, each.embedder, True, targets) for each in surrogates]
        jury = Jury(
            targets=targets,
            judges=judges,
            detector=detectors.judges,
            choice=recipe.faces,
            another=recipe.receipt.detector is not None,
            transforms=publish_all(recipe.receipt.transforms),
        )
        ladder = Ladder(goal_of(recipe), levels, jury, recipe.metadata) if judges else None
        paths, wanted = [probes[number].path for number in todo], [files[number] for number in todo]

        def finish(job: Job) -> None:
            if job.status == "unchanged":
                return  # The recipe's own detector finds no face, where that of the benchmark does.
            # The time goes first: a photo that is there counts as done.
            if not job.error:
                queries = [each for each in job.queries if each is not None]
                facts = {"seconds": _mean(job.seconds), "queries": _mean(queries) if queries else None}
                write_text(_sidecar(job.destination), json.dumps(facts))
            save(job, levels, recipe.metadata)
            if job.error:
                raise PhotoError(job.error)

        module = ProtectionModule(makers, judges, recipe.seed, ladder)
        shares = PhotoShares(
            Photos(paths, wanted, recipe.faces, detectors.masks),
            module.loop,
            batch_size=recipe.batch_size,
            workers=recipe.workers,
            allowed=recipe.limits,
            aligned=face_rules(recipe.faces).choose == "aligned",
        )
        # Nothing else of its trainer: with a limit, photos would count as they are.
        hardware = TrainerOptions(**{name: getattr(recipe.trainer, name) for name in HARDWARE})
        arguments = trainer_arguments(hardware)
        arguments["callbacks"][:0] = [PhotoWriter(finish), StepProgress(shares)]
        predict(module, shares, arguments)
    done = [number for number, file in enumerate(files) if file.is_file()]
    known = [_facts_of(files[number]) for number in done]
    # A probe in which no face is found cannot be protected: it stays as it is, and counts so.
    final = [file if file.is_file() else probes[number].path for number, file in enumerate(files)]
    queries = [each for _, each in known if each is not None]
    return Saved(
        final,
        target,
        _mean([seconds for seconds, _ in known]) if known else None,
        asked,
        [embedder for _, embedder in choosers],
        uses,
        _mean(queries) if queries else None,
    )


def transformed(saved: Saved, transform: Published, folder: Path, probes: Sequence[Probe]) -> list[Path]:
    """Return the files of a run after a transform, making those that are missing or older than what they show."""
    if transform.is_nothing:
        return saved.files
    files = []
    for number, (probe, source) in enumerate(zip(probes, saved.files, strict=True)):
        file = folder / _name(number, probe)
        if not file.is_file() or file.stat().st_mtime_ns < source.stat().st_mtime_ns:
            pixels = transform(read_photo(source).pixels)
            # Not the photo that was read: its transparency would not fit another size.
            write_photo(Photo(source, pixels), pixels, file)
        files.append(file)
    return files


def transform_folder(transform: Published) -> str:
    """Return a folder name for what a transform makes: a plain name itself, else one that its meaning is part of."""
    if re.fullmatch(r"\w+", transform.label) and transform.is_plain:
        return transform.label
    digest = hashlib.sha256(transform.meaning.encode(errors="surrogateescape")).hexdigest()[:10]
    return f"{re.sub('[^A-Za-z0-9]+', '-', transform.label).strip('-').lower()}-{digest}"


def _obfuscated(file: Path, probe: Probe, row: Row) -> Path:
    if probe.face is None:
        return probe.path
    if not file.is_file():
        assert row.obfuscation is not None
        pixels = obfuscate(probe.photo.pixels, probe.face, row.obfuscation.method, row.obfuscation.strength)
        write_photo(probe.photo, pixels, file)
    return file


def folder_of(
    row: Row,
    probes: Sequence[Probe],
    targets: Sequence[Target],
    gallery: Mapping[int, Sequence[FaceImage]] = MappingProxyType({}),
) -> str:
    """Return a folder name that changes with anything that changes the pictures."""
    recipe = row.recipe
    words = []
    if recipe:
        trainer = type(recipe.trainer)(precision=recipe.trainer.precision)  # Devices differ by rounding only.
        bare = replace(
            recipe,
            output="",
            receipt=deciding_receipt(recipe.receipt, recipe.protect, recipe.strength),
            report=type(recipe.report)(),
            limits=type(recipe.limits)(),
            trainer=trainer,
        )
        words = [dump_recipe(bare)]
    words += [repr(row.obfuscation), *(str(probe.path) for probe in probes), *(target.name for target in targets)]
    words += [str(target.aim.pixels.sum().item()) for target in targets]
    if row.obfuscation is not None:
        words += [str(probe.face and probe.face.box) for probe in probes]
    if row.learn_from is not None:
        learned = [face.pixels.sum().item() for label in sorted(gallery) for face in gallery[label]]
        words += [f"learn from {row.learn_from}", str(learned)]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{row.method} {row.setting}").strip("-").lower()
    return f"{readable}-{digest}"


def _name(number: int, probe: Probe) -> str:
    return f"{number:04d}-{probe.path.stem}.png"


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".seconds.json")


def _facts_of(file: Path) -> tuple[float, float | None]:
    """Return the seconds and the queries per face of a saved file; earlier versions wrote its seconds alone."""
    facts = json.loads(read_text(_sidecar(file)))
    return (facts["seconds"], facts["queries"]) if isinstance(facts, dict) else (float(facts), None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def quality_of(saved: Sequence[Saved], probes: Sequence[Probe]) -> dict[str, float | None]:
    """Return mean PSNR, SSIM, JOD and FLIP, and the MMD of the set, over the faces of all files as saved."""
    before: list[Tensor] = []
    looks: list[Looks] = []
    after: list[Tensor] = []
    for each in saved:
        for probe, file in zip(probes, each.files, strict=True):
            if file != probe.path and probe.face is not None:
                before.append(face_area(probe.photo, probe.face))
                protected = read_photo(file)
                after.append(face_area(protected, probe.face))
                looks.append(measure(probe.photo.pixels, protected.pixels, probe.face))
    if not after:
        return dict.fromkeys(("psnr", "ssim", "mmd", *(f"jod_{way}" for way in WAYS), "flip"))
    originals, faces = torch.cat(before), torch.cat(after)
    psnr = face_psnr(faces, originals)
    changed = psnr.isfinite()
    return {
        "psnr": psnr[changed].mean().item() if changed.any() else None,
        "ssim": face_ssim(faces, originals).mean().item(),
        "mmd": set_mmd(faces, originals).item(),
        **{f"jod_{way}": float(np.mean([each.jod[way] for each in looks])) for way in WAYS},
        "flip": float(np.mean([each.flip for each in looks])),
    }
