"""Open-set identification of protected photos: who is found in a gallery, by recognisers that may never have seen them.

`evaluate` reads top down. Everything is measured on saved files, in which the faces are found afresh. What is done is
not done again: saved photos and embeddings are kept, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facecrypt.benchmark import group_tables, plots, tables
from facecrypt.benchmark.adversaries.base import TOP, Adversary, Answer, Lab, Shown
from facecrypt.benchmark.adversaries.entries import read_adversary, target_of
from facecrypt.benchmark.asking import AskedEvaluator
from facecrypt.benchmark.cast import Cast
from facecrypt.benchmark.config import Benchmark, Row, dump_benchmark
from facecrypt.benchmark.files import quality_of, transform_folder, transformed
from facecrypt.benchmark.groups import Groups
from facecrypt.benchmark.material import Material
from facecrypt.benchmark.overview import overview
from facecrypt.benchmark.panel import Panel, seat
from facecrypt.benchmark.results import marks_of, result_of
from facecrypt.engine.known import ResultFiles
from facecrypt.evaluation.embedding_cache import EmbeddingCache
from facecrypt.evaluation.traits import measure_face
from facecrypt.pipeline.builders import build_detector
from facecrypt.system.locks import locked_folders
from facecrypt.system.naming import expand_home
from facecrypt.system.private_files import temporary_folder
from facecrypt.transforms.base import Published, publish, publish_all

_RESULTS = ("metrics.json", "benchmark.yaml", "table.md", *plots.PLOTS)


class Entrant:
    """An adversary of a benchmark, as its entry names it."""

    def __init__(self, entry: object) -> None:
        named = read_adversary(entry)
        self.name, self.label, self.collects = named.name, named.label, publish(named.transform)
        module, _, attribute = target_of(named.name).partition(":")
        self.adversary: Adversary = getattr(importlib.import_module(module), attribute)(**named.args)

    def faces(self, row: Row) -> bool:
        """Return whether it has a meaning for a row."""
        protects = row.recipe is not None or row.obfuscation is not None
        return {"all": True, "protected": protects, "recipe": row.recipe is not None}[self.adversary.rows]

    def make(self, material: Material) -> None:
        """Have the photos made that it needs."""
        # Outside of what an evaluator does, which is left out for its errors.
        needs = self.adversary.needs
        if needs.collected:
            _ = material.collected
        if needs.pairs:
            material.pairs(needs.pairs)
        if needs.validation:
            material.validation(needs.validation)
        if needs.copies:
            material.copies(needs.copies)


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
    panel = Panel()
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
    panel: Panel,
) -> list[dict[str, Any]]:
    cast = Cast(benchmark, build_detector(benchmark.detector))
    cache = EmbeddingCache(expand_home(benchmark.cache))
    groups = _groups(cast)
    transforms = publish_all(benchmark.transforms)
    entrants = [Entrant(entry) for entry in benchmark.adversaries]
    for entrant in entrants:
        cast.require(entrant.label, entrant.adversary.needs.pairs, entrant.adversary.needs.validation)
    # Ranks need no threshold, but whoever lets a gallery grow does.
    seat(panel, cast, cache, by_threshold=any(each.name == "growing_gallery" for each in entrants))
    results: list[dict[str, Any]] = []
    for row in rows:
        material = Material(row, cast, output)
        quality = quality_of(material.saved, cast.probes)
        for entrant in entrants:
            if not entrant.faces(row):
                continue
            entrant.make(material)
            opponents = {}
            for each in list(panel.evaluators):
                with panel.asking(each):
                    labs = [Lab(each, material, run, entrant.collects, cache) for run in range(len(material.saved))]
                    opponents[each.label] = [entrant.adversary.prepare(lab) for lab in labs]
            for transform in transforms:
                shown = [_show(material, run, transform) for run in range(len(material.saved))]
                known: dict[str, Any] = {"transform": transform.label, "adversary": entrant.label}
                for evaluator in list(panel.evaluators):
                    with panel.asking(evaluator):
                        met = zip(opponents[evaluator.label], shown, strict=True)
                        answers = [opponent.answer(each) for opponent, each in met]
                        marks = marks_of(evaluator.embedder, material.saved[0])
                        told = known | marks | {"evaluator": evaluator.label}
                        found = result_of(row, cast, material.saved, answers, told, quality)
                        results.append(found | groups.rates(found["rank1_ut_probes"]))
                for judge in list(panel.judges) if entrant.name == "none" else []:
                    if material.clean and not judge.originals:
                        continue
                    before = judge.queries
                    with panel.asking(judge):
                        answers = [_ask(judge, each, material, run) for run, each in enumerate(shown)]
                        told = known | {"white_box": False, "chooses": False, "evaluator": judge.label}
                        found = result_of(row, cast, material.saved, answers, told, quality)
                        asked = {"needs": "ranks", "queries": judge.queries - before}
                        results.append(found | asked | groups.rates(found["rank1_ut_probes"]))
        results = [each for each in results if each["evaluator"] not in panel.left_out]
        # After every row, so that a run that is stopped leaves what it knows.
        output_files.write(output / "metrics.json", f"{json.dumps(results, indent=1, allow_nan=False)}\n".encode())
    panel.close()
    output_files.write(output / "benchmark.yaml", dump_benchmark(benchmark).encode(errors="backslashreplace"))
    costs = {judge.label: judge.describe_cost() for judge in panel.judges}
    first = overview(results)
    less = group_tables.section(tables.without_many(results))
    table = tables.render_markdown(benchmark.title, results, command, panel.left_out, costs, less, first)
    output_files.write(output / "table.md", table.encode())
    with temporary_folder("plots") as scratch:
        for plot in plots.plot(results, scratch):
            output_files.write(output / plot.name, plot.read_bytes())
    return results


def _groups(cast: Cast) -> Groups:
    """Return the groups of the probes, by what shows in their original photos."""
    shown = [None if probe.face is None else measure_face(probe.photo, probe.face) for probe in cast.probes]
    return Groups([probe.label for probe in cast.probes], shown, cast.benchmark.seed)


def _show(material: Material, run: int, transform: Published) -> Shown:
    """Return the probes of a run after a transform."""
    folder, probes = material.folder / transform_folder(transform), material.cast.probes
    saved = material.saved[run]

    def after(files: Sequence[Path], name: str) -> list[Path]:
        return transformed(replace(saved, files=list(files)), transform, folder / name / f"{run:02d}", probes)

    return Shown(after(saved.files, ""), transform_folder(transform), after)


def _ask(judge: AskedEvaluator, shown: Shown, material: Material, run: int) -> Answer:
    """Return whom a judge names."""
    probes = material.cast.probes
    unprotected = [file == probe.path for file, probe in zip(material.saved[run].files, probes, strict=True)]
    return Answer(judge.rank(shown.files, max(TOP), unprotected)[0], judge.size)
