r"""Fits what unseen recognisers are expected to make of a saved face, and says how far it can be believed.

    python benchmarks/expectation.py measure --protocol lfw/protocol.csv --judges judges.yaml \
        --surrogates sface dlib_resnet
    python benchmarks/expectation.py fit

`measure` protects people of a protocol at several budgets, saves, finds and looks at them afresh, as they are and after
the changes of sharing, and adds to a file of samples what the surrogates see, and whom the judges find in the gallery
of the protocol. `fit` writes facecrypt/data/expectation.yaml, the reliability diagram and its table from these samples.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from facecrypt.benchmark.protocol import Entry, load_protocol
from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.evaluation.robustness import see_again
from facecrypt.faces.patches import FaceImage, add_masks, cut
from facecrypt.methods.budget import fit_photo
from facecrypt.methods.iterative.loop import Surrogate
from facecrypt.photos.files import Photo, read_photo
from facecrypt.pipeline.builders import build_recogniser
from facecrypt.pipeline.runner import build_loop
from facecrypt.recipe import check_recipe
from facecrypt.recipe.face_rules import face_rules
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import look
from facecrypt.targets import load_targets
from facecrypt.transforms.base import publish_all
from facecrypt.verdicts.expectation import margin

ROOT = Path(__file__).parents[1]
BUDGETS = [
    {"jod": 9.7, "enlarged": 9.55, "flip": 0.022, "delta_e": 1.5, "creases": 0.25},
    {"jod": 9.5, "enlarged": 9.3, "flip": 0.03, "delta_e": 1.5, "creases": 0.25},
    {"jod": 9.3, "enlarged": 9.1, "flip": 0.033, "delta_e": 1.5, "creases": 0.25},
    {"jod": 9.0, "enlarged": 8.8, "flip": 0.042, "delta_e": 2.0, "creases": 0.4},
    {"jod": 8.7, "enlarged": 8.5, "flip": 0.052, "delta_e": 2.0, "creases": 0.4},
    {"jod": 8.4, "enlarged": 8.2, "flip": 0.065, "delta_e": 2.0, "creases": 0.4},
]
"""Those of the presets, one below and two between and above them."""
CHANGES = ("none", "jpeg_75", "half_size", "blur")
CEILING = 24
FOLDS = 5
BINS = 10
AT_ONCE = 6


class Sample(NamedTuple):
    """What is known of one saved face in one state.

    Attributes:
        person: Who it is.
        surrogates: Names of those that gave gradients, sorted and joined by a plus.
        margins: How far each surrogate's similarity to the original face lies below its threshold.
        others: The same of each judge.
        searched: By how much each judge finds another photo of the person more similar than anybody else's photo; below
            0 it takes the face for somebody else.
    """

    person: str
    surrogates: str
    margins: dict[str, float]
    others: dict[str, float]
    searched: dict[str, float]


class Judge(NamedTuple):
    """A recogniser without gradients, and the photos that it searches.

    Attributes:
        embedder: The recogniser.
        gallery: Unit embeddings, ``(N, D)``.
        identities: Whom each of them shows.
    """

    embedder: Embedder
    gallery: Tensor
    identities: NDArray[np.str_]


def measure(arguments: argparse.Namespace) -> None:
    """Protect people and add to the file of samples what recognisers make of them."""
    detector, rules = FaceDetector(), face_rules("all")
    changes = publish_all(CHANGES)
    targets = load_targets("virtual", 10, detector, "largest")
    surrogates = {name: build_recogniser(name, {}) for name in arguments.surrogates}
    for embedder in surrogates.values():
        embedder.require_gradients()
    slots = yaml.safe_load(arguments.judges.read_text())
    protocol = load_protocol(arguments.protocol)
    judges = {
        slot["label"]: _search_by(build_recogniser(slot["name"], slot["args"]), protocol.gallery, detector, arguments)
        for slot in slots
    }
    probes = sorted(protocol.probes, key=lambda entry: entry.identity)
    random.Random(arguments.seed).shuffle(probes)
    draw = random.Random(arguments.seed)
    people = []
    for entry in probes[arguments.skip : arguments.skip + arguments.people]:
        photo = read_photo(entry.image)
        if faces := detector.find(photo, "largest"):
            people.append((photo, faces[0], entry.identity, draw.sample(range(len(BUDGETS)), arguments.budgets)))
    for number, budget in enumerate(BUDGETS):
        recipe = check_recipe(
            {
                "surrogates": [{"name": name} for name in surrogates],
                "preset": "mid",
                "target_selector": {"name": "farthest"},
                "budget": budget,
                "epsilon": CEILING,
                "ceiling": CEILING,
            }
        )
        loop = build_loop(recipe, [Surrogate(name, embedder, 1.0) for name, embedder in surrogates.items()], targets)
        chosen = [each for each in people if number in each[3]]
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            masks = loop.run([cut(photo, face) for photo, face, _, _ in part], range(start, start + len(part))).masks
            for (photo, face, person, _), mask in zip(part, masks, strict=True):
                fitted = fit_photo(photo, [face], [mask], CEILING, [recipe.budget])
                saved = Photo(photo.path, add_masks(photo, [face], fitted, CEILING))
                for change in changes:
                    if (again := see_again(saved, change, [face], detector, rules)[0]) is None:
                        continue
                    pair = [again.image, cut(photo, face)]
                    sample = Sample(
                        person,
                        "+".join(sorted(surrogates)),
                        {name: _margin(embedder, pair) for name, embedder in surrogates.items()},
                        {name: _margin(judge.embedder, pair) for name, judge in judges.items()},
                        {name: _lead(judge, again.image, person) for name, judge in judges.items()},
                    )
                    with arguments.samples.open("a") as file:
                        file.write(json.dumps(sample._asdict()) + "\n")
            print(f"JOD {budget['jod']}: {start + len(part)} of {len(chosen)} faces", flush=True)


def _search_by(
    embedder: Embedder, gallery: Sequence[Entry], detector: FaceDetector, arguments: argparse.Namespace
) -> Judge:
    paths = [entry.image for entry in gallery]
    cache = EmbeddingCache(arguments.cache)
    embeddings, found = cache.embed_files(paths, embedder, recogniser_key(embedder), detector, "largest")
    return Judge(embedder, embeddings[found], np.array([entry.identity for entry in gallery])[found.numpy()])


def _lead(judge: Judge, face: FaceImage, person: str) -> float:
    similarities = (judge.gallery @ look(judge.embedder, [face]).embeddings[0]).numpy()
    own = judge.identities == person
    return float(similarities[own].max() - similarities[~own].max())


def _margin(embedder: Embedder, pair: Sequence[Any]) -> float:
    embeddings = look(embedder, pair).embeddings
    found = margin(torch.dot(*embeddings).item(), embedder.spec.threshold)
    assert found is not None, "a judge without a threshold cannot be used"
    return found


def logistic(features: NDArray[np.float64], outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intercept and the weights of a logistic regression, ``(1 + K,)``, by Newton's method.

    Args:
        features: ``(N, K)``.
        outcomes: 0 or 1, ``(N,)``.
    """
    rows = np.column_stack([np.ones(len(features)), features])
    weights = np.zeros(rows.shape[1])
    ridge = 1e-3 * np.eye(rows.shape[1])
    for _ in range(50):
        chances = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (outcomes - chances) - ridge @ weights
        weights += np.linalg.solve(rows.T @ (rows * (chances * (1 - chances))[:, None]) + ridge, slope)
    return weights


def predict(weights: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected shares, ``(N,)``, of features ``(N, K)``."""
    chances: NDArray[np.float64] = 1 / (1 + np.exp(-(weights[0] + features @ weights[1:])))
    return chances


def reliability(
    expected: NDArray[np.float64], outcomes: NDArray[np.float64]
) -> tuple[float, list[tuple[float, float, int]]]:
    """Return the expected calibration error, and for each bin the mean expectation, the share seen, and the count.

    Args:
        expected: ``(N,)``.
        outcomes: 0 or 1, ``(N,)``.
    """
    bins = np.minimum((expected * BINS).astype(int), BINS - 1)
    rows = [
        (float(expected[bins == each].mean()), float(outcomes[bins == each].mean()), int((bins == each).sum()))
        for each in range(BINS)
        if (bins == each).any()
    ]
    return sum(abs(mean - seen) * count for mean, seen, count in rows) / len(expected), rows


def fit(arguments: argparse.Namespace) -> None:
    """Write the coefficients, the reliability diagram and the table."""
    samples = [Sample(**json.loads(line)) for line in arguments.samples.read_text().splitlines()]
    fits: dict[str, Any] = {}
    lines = [
        "| surrogates | faces | people | left-out judge | not found | expected | ECE | beside the photo |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    curves = {}
    for surrogates in sorted({sample.surrogates for sample in samples}):
        own = [sample for sample in samples if sample.surrogates == surrogates]
        names, judges = sorted(own[0].margins), sorted(own[0].others)
        features = np.array([[sample.margins[name] for name in names] for sample in own])
        outcomes = {judge: np.array([float(sample.searched[judge] < 0) for sample in own]) for judge in judges}
        beside = {judge: np.array([float(sample.others[judge] > 0) for sample in own]) for judge in judges}
        people = sorted({sample.person for sample in own})
        random.Random(0).shuffle(people)
        fold = np.array([people.index(sample.person) % FOLDS for sample in own])
        expected = {judge: np.zeros(len(own)) for judge in judges}
        for judge in judges:
            others = [each for each in judges if each != judge]
            for number in range(FOLDS):
                known, new = fold != number, fold == number
                weights = logistic(
                    np.concatenate([features[known]] * len(others)),
                    np.concatenate([outcomes[each][known] for each in others]),
                )
                expected[judge][new] = predict(weights, features[new])
        for judge in judges:
            error, _ = reliability(expected[judge], outcomes[judge])
            lines.append(_row(surrogates, own, people, judge, outcomes[judge], expected[judge], error, beside[judge]))
        every, all_seen = np.concatenate([*expected.values()]), np.concatenate([*outcomes.values()])
        error, curves[surrogates] = reliability(every, all_seen)
        beside_all = np.concatenate([*beside.values()])
        lines.append(_row(surrogates, own, people, "each in turn", all_seen, every, error, beside_all))
        weights = logistic(np.concatenate([features] * len(judges)), np.concatenate([*outcomes.values()]))
        fits[surrogates] = {
            "intercept": round(float(weights[0]), 4),
            "margins": {name: round(float(weight), 4) for name, weight in zip(names, weights[1:], strict=True)},
        }
    head = (
        "# Coefficients of facecrypt/verdicts/expectation.py, by surrogates. Made by benchmarks/expectation.py fit\n"
        "# How they were measured, and how far they can be believed: docs/results.md, under Expectation.\n"
    )
    (ROOT / "facecrypt" / "data" / "expectation.yaml").write_text(head + yaml.safe_dump(fits, sort_keys=False))
    _draw(curves, ROOT / "docs" / "images" / "expectation.svg")
    print("\n".join(lines))


def _row(
    surrogates: str,
    own: Sequence[Sample],
    people: Sequence[str],
    judge: str,
    seen: NDArray[np.float64],
    expected: NDArray[np.float64],
    error: float,
    beside: NDArray[np.float64],
) -> str:
    faces = len(own) // len(CHANGES)
    return (
        f"| {surrogates.replace('+', ', ')} | {faces} | {len(people)} | {judge} | {seen.mean():.2f} | "
        f"{expected.mean():.2f} | {error:.3f} | {beside.mean():.2f} |"
    )


def _draw(curves: dict[str, list[tuple[float, float, int]]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "facecrypt"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for surrogates, rows in curves.items():
        sizes = [20 + 200 * count / sum(row[2] for row in rows) for _, _, count in rows]
        (line,) = axes.plot([row[0] for row in rows], [row[1] for row in rows], label=surrogates.replace("+", ", "))
        axes.scatter([row[0] for row in rows], [row[1] for row in rows], s=sizes, color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="expected share", ylabel="share of judges that did not find the person")
    axes.legend(title="surrogates", frameon=False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("measure")
    first.add_argument("--protocol", type=Path, required=True)
    first.add_argument("--judges", type=Path, required=True, help="YAML: a list of label, name and args")
    first.add_argument("--surrogates", nargs="+", required=True)
    first.add_argument("--people", type=int, default=30)
    first.add_argument("--skip", type=int, default=0, help="people left out at the beginning of the shuffled protocol")
    first.add_argument("--budgets", type=int, default=2, help="of the six, drawn for each person")
    first.add_argument("--seed", type=int, default=0)
    first.add_argument("--cache", type=Path, default=Path("results/cache"), help="for embeddings of the gallery")
    first.set_defaults(run=measure)
    second = commands.add_parser("fit")
    second.set_defaults(run=fit)
    for command in (first, second):
        command.add_argument("--samples", type=Path, default=Path("results/expectation.jsonl"))
    arguments = parser.parse_args()
    arguments.samples.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
