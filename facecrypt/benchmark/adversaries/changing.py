"""One who changes photos before they are recognised, by the change that undoes most, chosen on people of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from facecrypt.benchmark.adversaries.base import Answer, Gallery, Lab, Needs, Rows, Shown, rank_by
from facecrypt.benchmark.adversaries.entries import People
from facecrypt.benchmark.learners.people import confusion
from facecrypt.transforms.base import Published, publish_all

DEFAULTS: tuple[str | dict[str, Any], ...] = (
    "none",
    {"name": "jpeg", "args": {"quality": 95}},
    "jpeg_75",
    "jpeg_50",
    "jpeg_30",
    "half_size",
    {"name": "resize", "args": {"factor": 0.25}},
    "blur",
    {"name": "blur", "args": {"sigma": 2.0}},
    "median",
    {"name": "median", "args": {"size": 5}},
    "total_variation",
    "noise_denoise",
    "bit_depth",
    "gamma",
    {"name": "gamma", "args": {"exponent": 1.25}},
    "print_and_scan",
    "screenshot",
    "webp",
    "avif",
    "whatsapp",
    "instagram",
    "facebook",
)
"""What is tried where an entry names nothing."""


_HARDEST = 20.0
"""Of `confusion`: that of cosines 2 apart, divided by its temperature."""


class BestTransform:
    """Tries transforms on protected photos of other people and does the one by which it recognises most of them.

    Of two that recognise equally many, it is the one by which it is less hard to tell whose photos they are
    (`learners.people.confusion`); the first of equal ones.

    Args:
        transforms: Entries as in ``transforms``; a long list by default (`DEFAULTS`).
        people: By how many other people it chooses.
    """

    rows: Rows = "protected"

    def __init__(self, *, transforms: list[str | dict[str, Any]] | None = None, people: People = 30) -> None:
        self._transforms = publish_all(DEFAULTS if transforms is None else transforms)
        self._people = people
        self.needs = Needs(validation=people)

    def prepare(self, lab: Lab) -> _Changer:
        """Return it with the transform that it chose."""
        trial, files = lab.validation(self._people)
        gallery = lab.evaluator.gallery.without(torch.isin(lab.evaluator.places, trial.places))
        own = torch.tensor([photo.label for photo in trial.photos])
        scores: list[tuple[float, float]] = []
        for transform in self._transforms:
            seen = lab.embed(lab.change(files, trial.photos, transform, "validation"))
            recognised = (rank_by(gallery, seen)[:, 0] == own).double().mean().item()
            # Whoever has no photo with a face left in the gallery is told apart by nothing.
            hard = confusion(seen.embeddings, gallery.embeddings, own, gallery.labels).clamp(max=_HARDEST)
            scores.append((recognised, -hard.mean().item()))
        best = max(range(len(scores)), key=lambda index: scores[index])
        return _Changer(lab, gallery=lab.evaluator.gallery, transform=self._transforms[best], rate=scores[best][0])


@dataclass(frozen=True)
class _Changer:
    lab: Lab
    gallery: Gallery
    transform: Published
    rate: float

    def answer(self, shown: Shown) -> Answer:
        changed = self.lab.change(shown.files, self.lab.probes, self.transform, f"changed/{shown.name}")
        ranked = rank_by(self.gallery, self.lab.embed(changed))
        chosen = f"{self.transform.label} ({100 * self.rate:.0f} % of its own people recognised)"
        return Answer(ranked, self.gallery.size, chosen=chosen)
