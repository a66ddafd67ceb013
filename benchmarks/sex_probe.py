"""Fit what tells the apparent sex of a face by dlib's embedding of it: facecrypt/data/sex_probe.json.

    python benchmarks/sex_probe.py PHOTOS --names NAMES [--write]

PHOTOS holds a subfolder for each person, called First_Last, as LFW has it. NAMES is ``nam_dict.txt`` of the Python
package gender-guesser 0.4.0, which says of first names whether men or women bear them; it is not installed for this.
People are labelled by their first names, those with another one are left out, so some labels are wrong.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.embedding_cache import EmbeddingCache, recogniser_key
from facecrypt.photos.files import find_photos
from facecrypt.surrogates import dlib_resnet
from facecrypt.system.private_files import temporary_folder

_FOLDS = 10
_DECAY = 3e-4
_SEXES = {"M": 0.0, "F": 1.0}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the accuracy on people whom the fit has not seen; write the fit to all if asked to."""
    parser = argparse.ArgumentParser(description="Fit what tells the apparent sex of a face.")
    parser.add_argument("photos", help="folder with a subfolder for each person")
    parser.add_argument("--names", type=Path, required=True, help="nam_dict.txt of gender-guesser 0.4.0")
    parser.add_argument("--write", action="store_true", help="write the fit into the package")
    arguments = parser.parse_args(argv)
    names = _read_names(arguments.names)
    paths = [path for path in find_photos(arguments.photos, recursive=True) if path.parent.name.split("_")[0] in names]
    embedder = dlib_resnet.build()
    with temporary_folder("probe") as scratch:
        cache = EmbeddingCache(scratch)
        seen, found = cache.embed_files(paths, embedder, recogniser_key(embedder), FaceDetector(), "largest")
    people = [path.parent.name for path, is_face in zip(paths, found.tolist(), strict=True) if is_face]
    labels = torch.tensor([names[person.split("_")[0]] for person in people], dtype=torch.float64)
    shares = torch.tensor([1 / people.count(person) for person in people], dtype=torch.float64)
    _print_accuracy(seen[found].double(), labels, shares, people)
    if arguments.write:
        fitted = _fit(seen[found].double(), labels, shares)
        values = {"weights": [round(each, 4) for each in fitted[:-1].tolist()], "bias": round(fitted[-1].item(), 4)}
        target = Path(str(resources.files("facecrypt") / "data" / "sex_probe.json"))
        target.write_text(json.dumps(values) + "\n", encoding="utf-8")


def _read_names(path: Path) -> Mapping[str, float]:
    """Return 0 or 1 for each first name that men or women alone bear, in any country."""
    seen: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") and len(words := line.split()) > 1:
            seen.setdefault(words[1], set()).add(words[0])
    return {name: _SEXES[sex] for name, kinds in seen.items() if len(kinds) == 1 and (sex := min(kinds)) in _SEXES}


def _fit(embeddings: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
    """Return the weights and the bias of a logistic regression in which both sexes count as much."""
    weights = torch.zeros(embeddings.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    counts = torch.where(labels == 1, shares / shares[labels == 1].sum(), shares / shares[labels == 0].sum()) / 2
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        signs = (2 * labels - 1) * (embeddings @ weights[:-1] + weights[-1])
        value: Tensor = (counts * functional.softplus(-signs)).sum() + _DECAY * weights[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def _print_accuracy(embeddings: Tensor, labels: Tensor, shares: Tensor, people: Sequence[str]) -> None:
    """Print how often the sex of people is told whom the fit has not seen, by ten folds of people."""
    order = sorted(set(people))
    random.Random(0).shuffle(order)
    fold = torch.tensor([order.index(person) % _FOLDS for person in people])
    right = torch.zeros(len(people), dtype=torch.float64)
    for number in range(_FOLDS):
        inside = fold != number
        fitted = _fit(embeddings[inside], labels[inside], shares[inside])
        guessed = (embeddings[~inside] @ fitted[:-1] + fitted[-1] > 0).double()
        right[~inside] = (guessed == labels[~inside]).double()
    for name, label in (("men", 0), ("women", 1)):
        part = shares * (labels == label)
        print(f"{name}: {part.sum():.0f} people, {100 * (right * part).sum() / part.sum():.1f} % told")


if __name__ == "__main__":
    main()
