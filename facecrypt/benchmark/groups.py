"""Who is protected less: the probes by what shows in their original photos, and how far each group is behind the rest.

Groups are told by fixed bounds, so that they mean the same in every benchmark. Light changes what a photo tells of
skin, so these are groups of photos as much as of people.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecrypt.evaluation.traits import FaceTraits

FEWEST = 10
"""A smaller group has a rate, but no interval, and is not compared: it is joined with its neighbour, or left out."""
BEHIND = 10.0
"""A group is marked from more points behind the rest on."""

_SAMPLES = 2000


@dataclass(frozen=True)
class Trait:
    """Something that shows in a photo, in classes.

    Attributes:
        name: Its name, of an attribute of `FaceTraits` unless it is ``pose``.
        classes: The classes, in order.
        bounds: Largest value of each class but the last.
    """

    name: str
    classes: tuple[str, ...]
    bounds: tuple[float, ...]

    def classify(self, face: FaceTraits | None) -> str | None:
        """Return the class of a face, None where it cannot be told."""
        value = None if face is None else abs(face.yaw) if self.name == "pose" else getattr(face, self.name)
        return None if value is None else self.classes[bisect_left(self.bounds, value)]


TRAITS = (
    # Chardon, Cretois and Hourseau, Skin colour typology and suntanning pathways, Int. J. Cosmet. Sci. 13 (1991); the
    # bound of dark skin as Del Bino and Bernerd give it, Br. J. Dermatol. 169 Suppl. 3 (2013).
    Trait("skin", ("dark", "brown", "tan", "intermediate", "light", "very light"), (-30, 10, 28, 41, 55)),
    # The cameras of Multi-PIE (Gross et al., 2010) are 15 degrees apart. Pitch does not count: a long nose looks like a
    # nod. Nor does roll, which alignment undoes.
    Trait("pose", ("frontal", "turned"), (15,)),
    # 35 pixels are between the eyes of the crop of 112 pixels that recognisers see; from 49 on, a patch is larger than
    # the 192 pixels at which masks are made.
    Trait("size", ("small", "medium", "large"), (35, 49)),
    # Measured on 280 photos of LFW: shrunk to half and enlarged again, all are below 0.162; to three quarters, 95 % are
    # below 0.22. So soft faces show no more than half as many pixels would.
    Trait("sharpness", ("soft", "medium", "sharp"), (0.16, 0.22)),
    # Two thirds of a stop below and above L* 55.
    Trait("brightness", ("dark", "medium", "bright"), (45, 65)),
)


@dataclass(frozen=True)
class Standing:
    """How well a group is protected.

    Attributes:
        trait: Name of the trait.
        group: Its class, or the first and last of several.
        n: Number of probes.
        rate: Percent of them that are not found.
        interval: Its 95 % interval, by a bootstrap over people.
        ahead: Points by which it is ahead of all other probes of which the trait is told; behind them where negative.
        ahead_interval: The interval of that.
    """

    trait: str
    group: str
    n: int
    rate: float
    interval: tuple[float, float]
    ahead: float
    ahead_interval: tuple[float, float]

    @property
    def marked(self) -> bool:
        """Whether it is so far behind that a reader must know."""
        return self.ahead < -BEHIND


class Groups:
    """The groups of the probes of a benchmark.

    Args:
        people: Number of the person whom each probe shows.
        faces: What shows of each in its original photo; None where no face is found.
        seed: Seed of the bootstrap.
    """

    def __init__(self, people: Sequence[int], faces: Sequence[FaceTraits | None], seed: int) -> None:
        self._people = np.unique(people, return_inverse=True)[1]
        self._known = {"probe_people": list(people)} if len(set(people)) < len(people) else {}
        self._members: dict[tuple[str, str], str] = {}
        for trait in TRAITS:
            told = [trait.classify(face) for face in faces]
            for name in trait.classes:
                if name in told:
                    self._members[trait.name, name] = "".join(str(int(each == name)) for each in told)
        self._counts = _draws(self._people, seed)

    def rates(self, digits: str) -> dict[str, Any]:
        """Return what a row of metrics.json says of groups.

        Args:
            digits: A digit per probe: 1 where it is not found, its ``rank1_ut_probes``. None where nobody was searched.
        """
        if not digits:
            return {}
        values = _flags(digits).astype(float)
        groups = []
        for (trait, name), members in self._members.items():
            mask = _flags(members)
            means = _resampled(values, mask, self._people, self._counts)
            interval = _interval(means) if mask.sum() >= FEWEST else None
            groups.append(
                {
                    "trait": trait,
                    "class": name,
                    "n": int(mask.sum()),
                    "rank1_ut": 100 * float(values[mask].mean()),
                    "rank1_ut_interval": interval and list(interval),
                    "probes": members,
                }
            )
        return {**self._known, "groups": groups}


def standings(rows: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """Return how well each group is protected from several evaluators: the mean over them, probe by probe.

    A class of fewer than 10 probes is joined with the smaller of its neighbours; a trait is left out where that leaves
    a single group.

    Args:
        rows: Rows of metrics.json, of one method under one condition.
    """
    first = rows[0]
    people = np.unique(first.get("probe_people", range(first["n_probes"])), return_inverse=True)[1]
    values = np.mean([_flags(row["rank1_ut_probes"]) for row in rows], axis=0)
    counts = _draws(people, first["seed"])
    found = []
    for trait, groups in _joined(first["groups"]).items():
        told = np.any([mask for _, mask in groups], axis=0)
        for name, mask in groups:
            rest = told & ~mask
            own, others = (_resampled(values, each, people, counts) for each in (mask, rest))
            found.append(
                Standing(
                    trait,
                    name,
                    int(mask.sum()),
                    100 * float(values[mask].mean()),
                    _interval(own),
                    100 * float(values[mask].mean() - values[rest].mean()),
                    _interval(own - others),
                )
            )
    return found


def left_out(row: Mapping[str, Any]) -> list[str]:
    """Return the traits of a row that `standings` leaves out, each with the number of probes in its classes."""
    counts: dict[str, list[str]] = {}
    for group in row["groups"]:
        counts.setdefault(group["trait"], []).append(f"{group['n']} {group['class']}")
    return [f"{trait} ({', '.join(texts)})" for trait, texts in counts.items() if trait not in _joined(row["groups"])]


def _joined(groups: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, NDArray[np.bool_]]]]:
    """Return the groups of each trait that are large enough to be compared, with their probes."""
    joined: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {}
    for trait in dict.fromkeys(group["trait"] for group in groups):
        parts = [([each["class"]], _flags(each["probes"])) for each in groups if each["trait"] == trait]
        while len(parts) > 1 and min(int(mask.sum()) for _, mask in parts) < FEWEST:
            sizes = [int(mask.sum()) for _, mask in parts]
            smallest = sizes.index(min(sizes))
            beside = [place for place in (smallest - 1, smallest + 1) if 0 <= place < len(parts)]
            low, high = sorted((smallest, min(beside, key=lambda place: sizes[place])))
            parts[low : high + 1] = [(parts[low][0] + parts[high][0], parts[low][1] | parts[high][1])]
        if len(parts) > 1:
            joined[trait] = [(" to ".join(dict.fromkeys([names[0], names[-1]])), mask) for names, mask in parts]
    return joined


def _flags(digits: str) -> NDArray[np.bool_]:
    return np.array([digit == "1" for digit in digits])


def _draws(people: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return how often each person is drawn in each sample of the bootstrap, ``(samples, people)``."""
    count = int(people.max()) + 1
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_SAMPLES)


def _resampled(
    values: NDArray[np.float64], mask: NDArray[np.bool_], people: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of a group in each sample, NaN where nobody of it was drawn."""
    total = counts @ np.bincount(people, values * mask, counts.shape[1])
    drawn = counts @ np.bincount(people, mask, counts.shape[1])
    means = np.full(len(counts), np.nan)
    np.divide(total, drawn, out=means, where=drawn > 0)
    return means


def _interval(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = 100 * np.nanquantile(means, [0.025, 0.975])
    return float(low), float(high)
