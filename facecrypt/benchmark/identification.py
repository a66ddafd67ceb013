"""Open-set identification of protected photos: who is found in a gallery, by recognisers that may never have seen them.

`evaluate` reads top down. Everything is measured on saved files, in which the faces are found afresh. What is done is
not done again: saved photos and embeddings are kept, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facecrypt import registry
from facecrypt.benchmark import group_tables, plots, tables
from facecrypt.benchmark.adversaries import Gallery, Identifier, grow, measure_threshold, stream_of, train_linear_probe
from facecrypt.benchmark.asking import AskedEvaluator
from facecrypt.benchmark.config import Benchmark, EvaluatorSlot, Row, dump_benchmark, split_adversary
from facecrypt.benchmark.files import Probe, Saved, folder_of, make_files, quality_of, transform_folder, transformed
from facecrypt.benchmark.groups import Groups
from facecrypt.benchmark.metrics import (
    NO_FACE,
    best_over_targets,
    bootstrap_interval,
    targeted_success,
    untargeted_success,
)
from facecrypt.benchmark.protocol import (
    Entry,
    IdentificationProtocol,
    build_protocol,
    distractor_entries,
    is_distractor,
    load_protocol,
    subset,
)
from facecrypt.choices import Adversary
from facecrypt.detectors.search import FaceDetector
from facecrypt.engine.known import ResultFiles
from facecrypt.errors import (
    EmbeddingError,
    FacecryptError,
    JudgeError,
    NoFaceFoundError,
    PhotoError,
    PluginError,
    WeightsError,
)
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.evaluation.traits import measure_face
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.judges.base import NotSentError, Sworn
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.builders import build_detector, build_judge, build_recogniser, same_network, warn
from facecrypt.recipe.schema import JudgeSlot
from facecrypt.registry import JUDGES
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import find_fault
from facecrypt.system.locks import locked_folders
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import Published, publish, publish_all

TOP = (1, 5)
"""The N of Rank-N-T and Rank-N-UT in metrics.json."""

_RESULTS = ("metrics.json", "benchmark.yaml", "table.md", *plots.PLOTS)


@dataclass(frozen=True)
class Evaluator:
    """A recogniser with its embeddings of the gallery.

    Attributes:
        label: How tables call it.
        embedder: The recogniser.
        key: Its key in the cache.
        gallery: The gallery photos that show a face.
        places: Place of each of them in the protocol's gallery, ``(G,)``.
    """

    label: str
    embedder: Embedder
    key: str
    gallery: Gallery
    places: Tensor


@dataclass(frozen=True)
class Others:
    """The gallery photos of the protected people, of which adversaries collect protected versions.

    Attributes:
        photos: The photos.
        places: Place of each in the protocol's gallery, ``(M,)``.
        distractors: Whether each photo of the protocol's gallery shows somebody whom nobody names, ``(G,)`` bool.
    """

    photos: list[Probe]
    places: Tensor
    distractors: Tensor


class _Opponent:
    """An adversary, and what has happened to the photos that it collects.

    Args:
        name: Its registered name.
        entry: The transform, as recipes name one.
    """

    def __init__(self, name: Adversary, entry: object) -> None:
        self.name = name
        self._transform: Published = publish(entry)
        after = "" if self._transform.is_nothing else f", which collects after {self._transform.label}"
        self.label = f"{name}{after}"

    def change(self, collected: Sequence[Saved], folder: Path, photos: Sequence[Probe]) -> list[Saved]:
        """Return the photos as it gets them, one `Saved` per run."""
        if self._transform.is_nothing:
            return list(collected)
        place = folder / "collected" / transform_folder(self._transform)
        return [
            replace(each, files=transformed(each, self._transform, place / f"{run:02d}", photos))
            for run, each in enumerate(collected)
        ]


def _names(benchmark: Benchmark) -> set[Adversary]:
    return {split_adversary(entry)[0] for entry in benchmark.adversaries}


def evaluate(benchmark: Benchmark, rows: Sequence[Row], command: str) -> list[dict[str, Any]]:
    """Run a benchmark and leave metrics.json, table.md, plots and the saved photos in its output folder.

    Args:
        benchmark: A checked benchmark.
        rows: Its rows.
        command: What to write beside the figures, so that anybody can make them again.

    Returns:
        The rows of metrics.json. An evaluator that cannot judge a photo is in none of them, and named in table.md.

    Raises:
        FacecryptError: If the protocol or its photos cannot be used, no evaluator can judge, another benchmark works on
            the same folder, or files of somebody else's would be replaced.
    """
    output = expand_home(benchmark.output)
    panel = _Panel()
    with locked_folders(output, []):
        try:
            return _evaluate(benchmark, rows, command, output, ResultFiles(output, _RESULTS), panel)
        finally:
            panel.dismiss()


def _evaluate(
    benchmark: Benchmark,
    rows: Sequence[Row],
    command: str,
    output: Path,
    output_files: ResultFiles,
    panel: _Panel,
) -> list[dict[str, Any]]:
    protocol = _protocol(benchmark)
    identities = sorted({entry.identity for entry in (*protocol.probes, *protocol.targets, *protocol.gallery)})
    numbers = {identity: number for number, identity in enumerate(identities)}
    cache = EmbeddingCache(expand_home(benchmark.cache))
    detector = build_detector(benchmark.detector)
    probes = [_probe(entry, numbers[entry.identity], detector, benchmark) for entry in protocol.probes]
    groups = _groups(probes, benchmark.seed)
    targets = [_target(entry, detector, benchmark) for entry in protocol.targets]
    transforms = publish_all(benchmark.transforms)
    adversaries = [_Opponent(*split_adversary(entry)) for entry in benchmark.adversaries]
    _seat(panel, benchmark, protocol, numbers, cache, detector)
    others = _others(protocol, numbers, detector, benchmark)
    results: list[dict[str, Any]] = []
    for row in rows:
        known_faces = _gallery_faces(row, protocol, numbers, probes, detector, benchmark)
        saved = make_files(row, probes, targets, output, known_faces)
        aimed = [numbers[target.name] for target in targets[: row.recipe.max_targets if row.recipe else None]]
        quality = quality_of(saved, probes)
        clean = row.recipe is None and row.obfuscation is None
        collected = make_files(row, others.photos, targets, output, known_faces) if others.photos else saved
        photos = output / "photos" / folder_of(row, probes, targets, known_faces)
        for adversary in adversaries:
            if adversary.name == "protected_gallery" and clean:
                continue  # Nobody protects, so there is nothing to collect.
            changed = adversary.change(collected, photos, others.photos)
            facing = {}
            for each in list(panel.evaluators):
                with panel.asking(each):
                    facing[each.label] = [
                        _face(adversary.name, each, others, run, clean, cache, detector, benchmark) for run in changed
                    ]
            for transform in transforms:
                folder = photos / transform_folder(transform)
                shown = [transformed(each, transform, folder / f"{run:02d}", probes) for run, each in enumerate(saved)]
                for evaluator in list(panel.evaluators):
                    faced = facing[evaluator.label]
                    with panel.asking(evaluator):
                        seen = [
                            _identify(evaluator, each[0], files, probes, aimed, cache, detector, benchmark)
                            for each, files in zip(faced, shown, strict=True)
                        ]
                        marks = _marks(evaluator.embedder, saved[0])
                        label = evaluator.label
                        found = _result(
                            row, transform.label, label, marks, saved, seen, quality, benchmark, len(probes)
                        )
                        identifier, stream = faced[0]
                        known = {"adversary": adversary.label, "n_gallery": identifier.size, "stream": stream}
                        results.append(found | known | groups.rates(found["rank1_ut_probes"]))
                for judge in list(panel.judges) if adversary.name == "none" else []:
                    if clean and not judge.originals:
                        continue
                    before = judge.queries
                    with panel.asking(judge):
                        answers = [
                            _ask(judge, files, each, probes, aimed) for each, files in zip(saved, shown, strict=True)
                        ]
                        marks = {"white_box": False, "chooses": False}
                        found = _result(
                            row, transform.label, judge.label, marks, saved, answers, quality, benchmark, len(probes)
                        )
                        known = {"adversary": adversary.label, "n_gallery": judge.size, "stream": None}
                        asked = {"needs": "ranks", "queries": judge.queries - before}
                        results.append(found | known | asked | groups.rates(found["rank1_ut_probes"]))
        results = [each for each in results if each["evaluator"] not in panel.left_out]
        # After every row, so that a run that is stopped leaves what it knows.
        output_files.write(output / "metrics.json", f"{json.dumps(results, indent=1, allow_nan=False)}\n".encode())
    panel.close()
    output_files.write(output / "benchmark.yaml", dump_benchmark(benchmark).encode(errors="backslashreplace"))
    costs = {judge.label: judge.describe_cost() for judge in panel.judges}
    less = group_tables.section(results)
    table = tables.render_markdown(benchmark.title, results, command, panel.left_out, costs, less)
    output_files.write(output / "table.md", table.encode())
    with temporary_folder("plots") as scratch:
        for plot in plots.plot(results, scratch):
            output_files.write(output / plot.name, plot.read_bytes())
    return results


def _protocol(benchmark: Benchmark) -> IdentificationProtocol:
    source = benchmark.protocol
    if source.file is not None:
        protocol = load_protocol(expand_home(source.file))
    else:
        protocol = build_protocol(
            expand_home(str(source.folder)),
            seed=source.seed,
            protected=source.protected,
            targets=source.targets,
            further=source.further,
        )
    if benchmark.probes is not None and benchmark.probes < len(protocol.probes):
        protocol = subset(protocol, benchmark.probes, benchmark.seed)
    gallery = list(protocol.gallery)
    targets = sorted(protocol.targets, key=lambda entry: entry.identity)
    if benchmark.targets == "virtual":
        pack = Path(str(resources.files("facecrypt") / "data" / "virtual_targets"))
        images = sorted(pack.glob("*/*.png"))
        first = {image.parent: image for image in reversed(images)}
        targets = [Entry(image, image.parent.name, "target") for image in sorted(first.values())]
        gallery += [Entry(image, image.parent.name, "gallery") for image in images if image != first[image.parent]]
    gallery += distractor_entries([expand_home(folder) for folder in benchmark.distractors])
    return IdentificationProtocol(protocol.probes, targets, gallery)


def _probe(entry: Entry, number: int, detector: FaceDetector, benchmark: Benchmark) -> Probe:
    photo = read_photo(entry.image)
    return Probe(entry.image, number, photo, next(iter(detector.find(photo, benchmark.faces)), None))


def _groups(probes: Sequence[Probe], seed: int) -> Groups:
    """Return the groups of the probes, by what shows in their original photos."""
    shown = [None if probe.face is None else measure_face(probe.photo, probe.face) for probe in probes]
    return Groups([probe.label for probe in probes], shown, seed)


def _gallery_faces(
    row: Row,
    protocol: IdentificationProtocol,
    numbers: Mapping[str, int],
    probes: Sequence[Probe],
    detector: FaceDetector,
    benchmark: Benchmark,
) -> dict[int, list[FaceImage]]:
    """Return the faces of the first gallery photos of each protected person, where a row learns from them."""
    faces: dict[int, list[FaceImage]] = {}
    wanted = {probe.label for probe in probes} if row.learn_from is not None else set()
    for entry in protocol.gallery:
        label = numbers[entry.identity]
        if label in wanted and len(faces.setdefault(label, [])) < (row.learn_from or 0):
            photo = read_photo(entry.image)
            faces[label] += [cut(photo, face) for face in detector.find(photo, benchmark.faces)[:1]]
    return faces


def _target(entry: Entry, detector: FaceDetector, benchmark: Benchmark) -> Target:
    photo = read_photo(entry.image)
    faces = detector.find(photo, "largest" if benchmark.targets == "virtual" else benchmark.faces)
    if not faces:
        raise NoFaceFoundError(
            f"{entry.image}: no face found, but it is a target to aim at. Name another photo of them."
        )
    return Target(entry.identity, cut(photo, faces[0]), ())


class _Panel:
    """The evaluators of a benchmark, and why some were left out: every photo counts for each of the others."""

    def __init__(self) -> None:
        self.evaluators: list[Evaluator] = []
        self.judges: list[AskedEvaluator] = []
        self.left_out: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.asked: dict[str, Sworn] = {}

    @contextmanager
    def asking(self, evaluator: Evaluator | AskedEvaluator) -> Iterator[None]:
        """Leave an evaluator out from now on if it gives no embedding of a photo, or no answer, in this context.

        One that makes no request goes on, so that all of them are counted.
        """
        try:
            yield
        except NotSentError:
            pass
        except (EmbeddingError, JudgeError, PluginError) as error:
            if isinstance(error, PluginError) and isinstance(evaluator, Evaluator):
                raise
            self._remove(evaluator)
            self.leave_out(evaluator.label, str(error))
            self.require_any()

    def _remove(self, evaluator: Evaluator | AskedEvaluator) -> None:
        if isinstance(evaluator, AskedEvaluator):
            self.judges.remove(evaluator)
        else:
            self.evaluators.remove(evaluator)

    def dismiss(self) -> None:
        """Have the judges clear away what they keep of this benchmark elsewhere, once."""
        while self.asked:
            label, judge = self.asked.popitem()
            try:
                judge.close()
            except (JudgeError, PluginError) as error:
                warn(f"evaluator {label}: {error}")

    def close(self) -> None:
        """End the asking, and tell what a dry run has counted, in place of results.

        Raises:
            FacecryptError: If there is nobody else.
        """
        self.dismiss()
        for judge in list(self.judges):
            spent = judge.judge.spending
            if spent is not None and spent.unsent:
                self.judges.remove(judge)
                self.leave_out(judge.label, f"dry run: {judge.describe_cost()} were counted, and none was made")
        self.require_any()

    def leave_out(self, label: str, reason: str) -> None:
        """Note, and tell the user, that an evaluator does not judge."""
        self.left_out[label] = reason
        warn(f"evaluator {label} is left out, as it could not judge: {reason}")

    def miss(self, label: str, reason: str) -> None:
        """Note, and tell the user, that an optional evaluator is not there."""
        self.missing[label] = reason
        warn(f"evaluator {label} does not judge this benchmark: {reason}")

    def require_any(self) -> None:
        """Raise FacecryptError if no evaluator is left."""
        if not self.evaluators and not self.judges:
            reasons = "; ".join(f"{label}: {reason}" for label, reason in (self.missing | self.left_out).items())
            raise FacecryptError(f"evaluators: none of them could judge ({reasons}). Name one that can.")


def _seat(
    panel: _Panel,
    benchmark: Benchmark,
    protocol: IdentificationProtocol,
    numbers: dict[str, int],
    cache: EmbeddingCache,
    detector: FaceDetector,
) -> None:
    """Show the gallery to every evaluator of a benchmark."""
    paths = [entry.image for entry in protocol.gallery]
    labels = torch.tensor([numbers[entry.identity] for entry in protocol.gallery])
    for slot in benchmark.evaluators:
        if registry.get(JUDGES, slot.name).kind == "judge":
            _add_judge(panel, slot, protocol, numbers, detector, benchmark)
            continue
        try:
            embedder = build_recogniser(slot.name, slot.args)
        except WeightsError as error:
            if not slot.optional:
                raise
            panel.miss(slot.label, str(error))
            continue
        # Ranks need no threshold, but whoever lets a gallery grow does.
        fault = find_fault(embedder, by_threshold="growing_gallery" in _names(benchmark))
        if fault:
            panel.leave_out(slot.label, fault)
            continue
        key = recogniser_key(embedder)
        try:
            gallery, found = cache.embed_files(paths, embedder, key, detector, benchmark.faces)
        except EmbeddingError as error:
            panel.leave_out(slot.label, str(error))
            continue
        if found.sum() < max(TOP):
            raise PhotoError(
                f"gallery: {found.sum()} of {len(paths)} photos show a face, {max(TOP)} are needed. Add photos."
            )
        places = found.nonzero().flatten()
        panel.evaluators.append(Evaluator(slot.label, embedder, key, Gallery(gallery[found], labels[found]), places))
    panel.require_any()


def _add_judge(
    panel: _Panel,
    slot: EvaluatorSlot,
    protocol: IdentificationProtocol,
    numbers: dict[str, int],
    detector: FaceDetector,
    benchmark: Benchmark,
) -> None:
    """Enrol the gallery with a judge, and have it identify as the others do."""
    judge = panel.asked[slot.label] = build_judge(JudgeSlot(slot.name, slot.args))
    evaluator = AskedEvaluator(slot.label, judge, slot.send_originals or not judge.remote, detector, benchmark.faces)
    try:
        evaluator.enrol(protocol.gallery, numbers)
    except (JudgeError, PluginError) as error:
        panel.leave_out(slot.label, str(error))
        return
    except PhotoError:
        raise
    except FacecryptError as error:
        if not slot.optional:
            raise
        panel.miss(slot.label, str(error))
        return
    panel.judges.append(evaluator)


def _others(
    protocol: IdentificationProtocol, numbers: dict[str, int], detector: FaceDetector, benchmark: Benchmark
) -> Others:
    people = {entry.identity for entry in protocol.probes} if _names(benchmark) - {"none"} else set()
    places = [place for place, entry in enumerate(protocol.gallery) if entry.identity in people]
    entries = [protocol.gallery[place] for place in places]
    photos = [_probe(entry, numbers[entry.identity], detector, benchmark) for entry in entries]
    distractors = torch.tensor([is_distractor(entry) for entry in protocol.gallery])
    return Others(photos, torch.tensor(places, dtype=torch.int64), distractors)


def _face(
    adversary: Adversary,
    evaluator: Evaluator,
    others: Others,
    collected: Saved,
    clean: bool,
    cache: EmbeddingCache,
    detector: FaceDetector,
    benchmark: Benchmark,
) -> tuple[Identifier, dict[str, int] | None]:
    """Return who identifies by means of a recogniser, and what came of the stream of photos, if there was one.

    Args:
        adversary: What it does about protection.
        evaluator: The recogniser, with the clean gallery.
        others: The gallery photos of the protected people.
        collected: Their protected versions.
        clean: Whether these are the clean photos themselves, as nobody protects.
        cache: Embeddings that are known.
        detector: Finds faces.
        benchmark: The benchmark.
    """
    gallery = evaluator.gallery
    if adversary == "none":
        return gallery, None
    files = collected.files
    embeddings, found = cache.embed_files(files, evaluator.embedder, evaluator.key, detector, benchmark.faces)
    own = torch.tensor([other.label for other in others.photos])
    if adversary == "protected_gallery":
        theirs = torch.isin(evaluator.places, others.places)
        return gallery.without(theirs).joined(embeddings[found], own[found]), None
    if adversary == "linear_probe":
        known = gallery.without(others.distractors[evaluator.places])
        known = known if clean else known.joined(embeddings[found], own[found])
        return train_linear_probe(known.embeddings, known.labels), None
    later = stream_of(own.tolist(), [other.path.name for other in others.photos], benchmark.seed)
    arriving = torch.tensor([index for index in later if found[index]], dtype=torch.int64)
    begin = gallery.without(torch.isin(evaluator.places, others.places[torch.tensor(later, dtype=torch.int64)]))
    threshold = evaluator.embedder.spec.threshold
    if threshold is None:
        threshold = measure_threshold(begin, benchmark.seed)
    grown = grow(begin, embeddings[arriving], own[arriving], threshold)
    return grown.gallery, {"photos": len(arriving), "joined": grown.joined, "right": grown.right}


def _identify(
    evaluator: Evaluator,
    identifier: Identifier,
    files: Sequence[Path],
    probes: Sequence[Probe],
    aimed: Sequence[int],
    cache: EmbeddingCache,
    detector: FaceDetector,
    benchmark: Benchmark,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return success T and UT of each probe, ``(P, len(TOP))`` each, and whether a face was found, ``(P,)``."""
    embeddings, found = cache.embed_files(files, evaluator.embedder, evaluator.key, detector, benchmark.faces)
    ranked = torch.full((len(probes), max(TOP)), NO_FACE)
    if found.any():
        ranked[found] = identifier.rank(embeddings[found], max(TOP))
    own = torch.tensor([probe.label for probe in probes])
    return targeted_success(ranked, aimed, TOP), untargeted_success(ranked, own, TOP), found


def _ask(
    judge: AskedEvaluator, files: Sequence[Path], saved: Saved, probes: Sequence[Probe], aimed: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `_identify` does, of a judge."""
    unprotected = [file == probe.path for file, probe in zip(saved.files, probes, strict=True)]
    ranked, found = judge.rank(files, max(TOP), unprotected)
    own = torch.tensor([probe.label for probe in probes])
    return targeted_success(ranked, aimed, TOP), untargeted_success(ranked, own, TOP), found


def _marks(embedder: Embedder, saved: Saved) -> dict[str, bool]:
    """Return whether a recogniser had a part in the masks that it judges."""
    return {
        "white_box": any(same_network(embedder, surrogate.embedder) for surrogate in saved.surrogates),
        "chooses": any(same_network(embedder, chooser) for chooser in saved.choosers),
    }


def _result(
    row: Row,
    transform: str,
    label: str,
    marks: dict[str, bool],
    saved: Sequence[Saved],
    seen: Sequence[tuple[Tensor, Tensor, Tensor]],
    quality: dict[str, float | None],
    benchmark: Benchmark,
    n_probes: int,
) -> dict[str, Any]:
    """Return one row of metrics.json. With several runs, each measure is that of the target that serves it best."""
    result: dict[str, Any] = {
        "method": row.method,
        "setting": row.setting,
        "surrogates": [surrogate.name for surrogate in saved[0].surrogates],
        "evaluator": label,
        **marks,
        "best_target": None,
    }
    for kind, place in (("t", 0), ("ut", 1)):
        for column, n in enumerate(TOP):
            success = torch.stack([each[place][:, column] for each in seen])
            best = best_over_targets(success).target
            if n == 1 and kind == "t" and len(saved) > 1:
                result["best_target"] = saved[best].target
            low, high = bootstrap_interval(success[best].double(), seed=benchmark.seed)
            result[f"rank{n}_{kind}"] = success[best].double().mean().item() * 100
            result[f"rank{n}_{kind}_interval"] = [low * 100, high * 100]
            if n == 1:  # A digit per probe, for tests of the difference between methods on the same probes.
                result[f"rank{n}_{kind}_probes"] = "".join(str(int(each)) for each in success[best])
    seconds = [each.seconds for each in saved if each.seconds is not None]
    queries = [each.queries for each in saved if each.queries is not None]
    return (
        result
        | quality
        | {
            "n_probes": n_probes,
            "no_face": 100 * (1 - torch.stack([each[2] for each in seen]).double().mean().item()),
            "seconds_per_face": float(np.sum(seconds)) if seconds else None,
            "uses": saved[0].uses or None,
            "queries_per_face": float(np.sum(queries)) if queries else None,
            "transform": transform,
            "seed": benchmark.seed,
        }
    )
