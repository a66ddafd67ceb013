"""Those who learn from pairs of protected and clean photos of other people; what they learn is in `learners`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facecrypt.benchmark.adversaries.base import Answer, Lab, Measure, Needs, Rows, Seen, Shown, rank_by
from facecrypt.benchmark.adversaries.base import Pairs as Photos
from facecrypt.benchmark.adversaries.entries import Epochs, Pairs
from facecrypt.benchmark.learners import linear_map, protection_detector, purifier, student
from facecrypt.benchmark.learners.protection_detector import ProtectionDetector, area_under_roc
from facecrypt.benchmark.learners.student import Tuned
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
from facecrypt.pipeline.builders import build_recogniser
from facecrypt.surrogates.crops import crops
from facecrypt.surrogates.judging import embed

_SAMPLES = 10_000


class Mapper:
    """Maps embeddings of protected photos to where the clean ones would be, by ridge regression.

    Args:
        pairs: From how many pairs it learns.
    """

    rows: Rows = "protected"

    def __init__(self, *, pairs: Pairs = 100) -> None:
        self._pairs = pairs
        self.needs = Needs(pairs=pairs)

    def prepare(self, lab: Lab) -> _Learned:
        """Return it with its map."""
        pairs = lab.pairs(self._pairs)
        clean, protected = lab.embed(pairs.clean), lab.embed(pairs.protected)
        both = clean.found & protected.found
        learned = linear_map.learn_linear_map(
            protected.embeddings[both], clean.embeddings[both], _people(pairs)[both], _tested(lab), lab.seed
        )

        def see(shown: Shown) -> Seen:
            seen = lab.embed(shown.files)
            return Seen(torch.where(seen.found[:, None], learned(seen.embeddings), 0.0), seen.found)

        return _Learned(lab, see)


class Tutor:
    """Tunes the recogniser to tell whose protected photos are, among the clean ones as it saw them before.

    So the gallery stays as the recogniser saw it before.

    Args:
        pairs: From how many pairs it learns.
        tuned: What of the recogniser; of one that is no network of torch, always the ``adapter`` alone.
        epochs: Most passes over the pairs.
    """

    rows: Rows = "protected"

    def __init__(self, *, pairs: Pairs = 100, tuned: Tuned = "adapter and last block", epochs: Epochs = 60) -> None:
        self._pairs, self._tuned, self._epochs = pairs, tuned, epochs
        self.needs = Needs(pairs=pairs)

    def prepare(self, lab: Lab) -> _Learned:
        """Return it with the tuned recogniser."""
        pairs = lab.pairs(self._pairs)
        clean, protected = _same_faces(pairs)
        own = lab.evaluator.embedder
        tuned = student.tune_student(
            own,
            crops(own, protected),
            crops(own, clean),
            _people(pairs),
            _tested(lab),
            tuned=self._tuned,
            pace=replace(student.PACE, epochs=self._epochs),
            seed=lab.seed,
        )

        def see(shown: Shown) -> Seen:
            faces, found = lab.faces(shown.files)
            return _spread(embed(tuned.embedder, faces) if faces else torch.zeros(0, own.spec.dimension), found)

        return _Learned(lab, see, tuned.tuned)


class Cleaner:
    """Trains a small U-Net to take masks off faces; what it makes of the probes is recognised.

    Args:
        pairs: From how many pairs it learns.
        teacher: Registered name of a recogniser that gives gradients, by whose embeddings it learns what matters.
        epochs: Most passes over the pairs.
    """

    rows: Rows = "protected"

    def __init__(self, *, pairs: Pairs = 100, teacher: str = "sface", epochs: Epochs = 30) -> None:
        self._pairs, self._teacher, self._epochs = pairs, teacher, epochs
        self.needs = Needs(pairs=pairs)

    def prepare(self, lab: Lab) -> _Learned:
        """Return it with its network, which is the same for all recognisers."""
        clean_up = lab.shared(("purifier", self._pairs, self._teacher, self._epochs), lambda: self._train(lab))

        def see(shown: Shown) -> Seen:
            faces, found = lab.faces(shown.files)
            purified = [face._replace(pixels=clean_up(face.pixels)) for face in faces]
            embedder = lab.evaluator.embedder
            return _spread(embed(embedder, purified) if faces else torch.zeros(0, embedder.spec.dimension), found)

        return _Learned(lab, see)

    def _train(self, lab: Lab) -> purifier.Purifier:
        pairs = lab.pairs(self._pairs)
        clean, protected = _same_faces(pairs)
        teacher = build_recogniser(self._teacher, {})
        teacher.require_gradients()
        pace = replace(purifier.PACE, epochs=self._epochs)
        people = _people(pairs)
        return purifier.learn_purifier(
            protected, clean, people, _tested(lab), embedders=[teacher], pace=pace, seed=lab.seed
        )


@dataclass(frozen=True)
class _Learned:
    lab: Lab
    see: Callable[[Shown], Seen]
    chosen: str | None = None

    def answer(self, shown: Shown) -> Answer:
        gallery = self.lab.evaluator.gallery
        return Answer(rank_by(gallery, self.see(shown)), gallery.size, chosen=self.chosen)


class Watcher:
    """Tells protected photos from clean ones: the area under the ROC curve, of the probes and these as they were.

    Args:
        pairs: From how many pairs it learns.
        epochs: Most passes over the pairs of its network.
    """

    rows: Rows = "protected"

    def __init__(self, *, pairs: Pairs = 100, epochs: Epochs = 30) -> None:
        self._pairs, self._epochs = pairs, epochs
        self.needs = Needs(pairs=pairs)

    def prepare(self, lab: Lab) -> _Watching:
        """Return it with its classifier."""
        pairs = lab.pairs(self._pairs)
        clean, protected = _same_faces(pairs)
        pace = replace(protection_detector.PACE, epochs=self._epochs)
        learned = protection_detector.learn_detector(
            _look(lab, protected), _look(lab, clean), _people(pairs), _tested(lab), pace=pace, seed=lab.seed
        )
        return _Watching(lab, learned)


@dataclass(frozen=True)
class _Watching:
    lab: Lab
    detector: ProtectionDetector

    def answer(self, shown: Shown) -> Answer:
        clean = shown.after([probe.path for probe in self.lab.probes], "clean")
        seen = [self.lab.faces(files) for files in (shown.files, clean)]
        both = seen[0][1] & seen[1][1]
        if not both.any():
            return Answer(size=len(both), chosen=self.detector.kind)
        # Of probes in which a face is found either way.
        protected, before = (
            _spread(self.detector(_look(self.lab, faces))[:, None], found)[0][both, 0] for faces, found in seen
        )
        measures = {"auc": measure_auc(protected, before, self.lab.own[both], self.lab.seed)}
        return Answer(size=len(both), measures=measures, chosen=self.detector.kind)


def measure_auc(protected: Tensor, clean: Tensor, people: Tensor, seed: int) -> Measure:
    """Return the area under the ROC curve in percent, with its 95 % bootstrap interval over people.

    Args:
        protected: Scores of protected photos, ``(P,)``.
        clean: Scores of the same as they were, ``(P,)``.
        people: Whom they show, ``(P,)``.
        seed: Seed of the draws.
    """
    wins = (protected[:, None] > clean).double() + 0.5 * (protected[:, None] == clean).double()
    _, whose = torch.unique(people, return_inverse=True)
    count = int(whose.max()) + 1
    drawn = torch.randint(count, (_SAMPLES, count), generator=torch.Generator().manual_seed(seed))
    times = torch.zeros(_SAMPLES, count, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    weights = times[:, whose]
    samples = ((weights @ wins) * weights).sum(dim=1) / weights.sum(dim=1).square()
    low, high = torch.quantile(samples, torch.tensor([0.025, 0.975]).double()).tolist()
    return Measure(100 * area_under_roc(protected, clean), 100 * low, 100 * high)


def _same_faces(pairs: Photos) -> tuple[list[FaceImage], list[FaceImage]]:
    """Return the faces of pairs as they were and protected, cut out at the same place."""
    found: tuple[list[FaceImage], list[FaceImage]] = [], []
    for photo, file in zip(pairs.photos, pairs.protected, strict=True):
        assert photo.face is not None
        found[0].append(cut(photo.photo, photo.face))
        found[1].append(cut(read_photo(file), photo.face))
    return found


def _look(lab: Lab, faces: list[FaceImage]) -> protection_detector.Shown:
    embedder = lab.evaluator.embedder
    return protection_detector.Shown(crops(embedder, faces), embed(embedder, faces).cpu())


def _spread(rows: Tensor, found: Tensor) -> Seen:
    """Return rows of the photos in which a face is found, with zeros for the others."""
    whole = torch.zeros(len(found), rows.shape[1])
    whole[found] = rows.float().cpu()
    return Seen(whole, found)


def _people(pairs: Photos) -> Tensor:
    return torch.tensor([photo.label for photo in pairs.photos])


def _tested(lab: Lab) -> list[int]:
    return sorted(set(lab.own.tolist()))
