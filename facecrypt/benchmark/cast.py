"""Whom a benchmark is about: who is protected, aimed at and searched, and who is left for adversaries to learn from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from facecrypt.benchmark.config import Benchmark, Row
from facecrypt.benchmark.files import Probe
from facecrypt.benchmark.protocol import (
    Entry,
    IdentificationProtocol,
    build_protocol,
    distractor_entries,
    is_distractor,
    load_protocol,
    subset,
)
from facecrypt.detectors.search import FaceDetector
from facecrypt.errors import NoFaceFoundError, ProtocolError
from facecrypt.faces.patches import FaceImage, cut
from facecrypt.photos.files import read_photo
from facecrypt.system.naming import expand_home
from facecrypt.targets.selectors import Target


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


class Trial(NamedTuple):
    """People for an adversary's own validation: one photo each to recognise them by their others in the gallery.

    Attributes:
        photos: The photos.
        places: Place of each in the protocol's gallery, from which it is taken away; -1 where it is not in it.
    """

    photos: list[Probe]
    places: Tensor


class Cast:
    """Everybody in a benchmark, drawn once.

    Attributes:
        benchmark: The benchmark.
        detector: Finds the faces.
        protocol: Who is protected, aimed at and searched.
        numbers: Number of each identity.
        probes: The photos to protect.
        targets: Whom masks aim at.

    Args:
        benchmark: A checked benchmark.
        detector: As above.

    Raises:
        FacecryptError: If the protocol or its photos cannot be used.
    """

    def __init__(self, benchmark: Benchmark, detector: FaceDetector) -> None:
        self.benchmark, self.detector = benchmark, detector
        self.protocol, self._dropped = _protocol(benchmark)
        everybody = (*self.protocol.probes, *self.protocol.targets, *self.protocol.gallery, *self._dropped)
        identities = sorted({entry.identity for entry in everybody})
        self.numbers = {identity: number for number, identity in enumerate(identities)}
        self.probes = [self._read(entry) for entry in self.protocol.probes]
        self.targets = [self._target(entry) for entry in self.protocol.targets]

    @cached_property
    def others(self) -> Others:
        """The gallery photos of the protected people."""
        people = {entry.identity for entry in self.protocol.probes}
        places = [place for place, entry in enumerate(self.protocol.gallery) if entry.identity in people]
        photos = [self._read(self.protocol.gallery[place]) for place in places]
        distractors = torch.tensor([is_distractor(entry) for entry in self.protocol.gallery])
        return Others(photos, torch.tensor(places, dtype=torch.int64), distractors)

    def known_faces(self, row: Row, photos: Sequence[Probe]) -> dict[int, list[FaceImage]]:
        """Return the faces of the first gallery photos of each person who is shown, where a row learns from them."""
        faces: dict[int, list[FaceImage]] = {}
        wanted = {photo.label for photo in photos} if row.learn_from is not None else set()
        for entry in self.protocol.gallery:
            label = self.numbers[entry.identity]
            if label in wanted and len(faces.setdefault(label, [])) < (row.learn_from or 0):
                photo = read_photo(entry.image)
                found = self.detector.find(photo, self.benchmark.faces)[:1]
                faces[label] += [cut(photo, face) for face in found]
        return faces

    @property
    def n_pairs(self) -> int:
        """Number of photos of which pairs can be made."""
        return sum(map(len, self._learning.values()))

    def pair_photos(self, number: int | Literal["all"]) -> list[Probe]:
        """Return photos for pairs: everybody's first ones first, so that more photos begin with fewer.

        Those in which no face is found are passed over.
        """
        wanted = self.n_pairs if number == "all" else number
        while len(self._drawn) < wanted and (photo := next(self._draws, None)):
            if photo.face is not None:
                self._drawn.append(photo)
        return self._drawn[:wanted]

    @cached_property
    def _drawn(self) -> list[Probe]:
        return []

    @cached_property
    def _draws(self) -> Iterator[Probe]:
        return self._draw_photos()

    def _draw_photos(self) -> Iterator[Probe]:
        for number in range(max(map(len, self._learning.values()), default=0)):
            for entries in self._learning.values():
                for entry in entries[number : number + 1]:
                    yield self._read(entry)

    @property
    def n_validation(self) -> int:
        """Number of people for adversaries' own validation."""
        return len(self._validation)

    def trial(self, people: int) -> Trial:
        """Return people for validation; more of them begin with fewer."""
        places = {entry.image: place for place, entry in enumerate(self.protocol.gallery)}
        chosen: list[tuple[Probe, int]] = []
        for entries in islice(self._validation.values(), people):
            # A photo that is not in the gallery leaves that as it is.
            entry = next((each for each in entries if each.image not in places), entries[0])
            chosen.append((self._read(entry), places.get(entry.image, -1)))
        return Trial([photo for photo, _ in chosen], torch.tensor([place for _, place in chosen], dtype=torch.int64))

    def families(self, people: int, photos: int) -> list[list[Path]]:
        """Return the files of people for validation, of each at most so many."""
        return [[entry.image for entry in each[:photos]] for each in islice(self._validation.values(), people)]

    @cached_property
    def _validation(self) -> Mapping[str, list[Entry]]:
        """Half of the further people with several photos, one of them in the gallery whichever else is taken."""
        return {name: entries for name, entries in self._further.items() if self._validates(name, entries)}

    @cached_property
    def _learning(self) -> Mapping[str, list[Entry]]:
        return {name: entries for name, entries in self._further.items() if not self._validates(name, entries)}

    def _validates(self, identity: str, entries: Sequence[Entry]) -> bool:
        return len(entries) > 1 and self._draw("validation", identity) < 0.5

    @cached_property
    def _further(self) -> Mapping[str, list[Entry]]:
        """People who are neither protected nor aimed at, with their photos, both in an order that the seed draws."""
        tested = {entry.identity for entry in (*self.protocol.probes, *self.protocol.targets)}
        found: dict[str, list[Entry]] = {}
        for entry in (*self.protocol.gallery, *self._dropped):
            if entry.identity not in tested and not is_distractor(entry):
                found.setdefault(entry.identity, []).append(entry)
        ordered = sorted(found, key=lambda identity: self._draw("further", identity))
        return {
            name: sorted(found[name], key=lambda entry: self._draw(f"photo of {name}", entry.image.name))
            for name in ordered
        }

    def _draw(self, purpose: str, name: str) -> float:
        # Of nothing but the seed and the name, so that whoever else is there changes nothing.
        text = f"{self.benchmark.seed}/adversaries/{purpose}/{name}"
        return random.Random(text.encode(errors="surrogateescape")).random()

    def require(self, label: str, pairs: int | Literal["all"], people: int) -> None:
        """Make sure that there are enough further people for an adversary.

        Raises:
            ProtocolError: If there are not.
        """
        wanted = 2 if pairs == "all" else pairs
        for need, there, what in (
            (wanted, self.n_pairs, "photos of other people for its pairs"),
            (people, self.n_validation, "other people with two or more photos for its validation"),
        ):
            if need > there:
                raise ProtocolError(
                    f"adversaries: {label} needs {need} {what}, and the protocol has {there} of people who are neither "
                    "protected nor targets. Ask for fewer, protect fewer people (probes), or add people to the gallery."
                )

    def _read(self, entry: Entry) -> Probe:
        photo = read_photo(entry.image)
        face = next(iter(self.detector.find(photo, self.benchmark.faces)), None)
        return Probe(entry.image, self.numbers[entry.identity], photo, face)

    def _target(self, entry: Entry) -> Target:
        photo = read_photo(entry.image)
        choice = "largest" if self.benchmark.targets == "virtual" else self.benchmark.faces
        faces = self.detector.find(photo, choice)
        if not faces:
            raise NoFaceFoundError(
                f"{entry.image}: no face found, but it is a target to aim at. Name another photo of them."
            )
        return Target(entry.identity, cut(photo, faces[0]), ())


def _protocol(benchmark: Benchmark) -> tuple[IdentificationProtocol, list[Entry]]:
    """Return the protocol, and the probes that are not among those of a benchmark with fewer."""
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
    whole = protocol.probes
    if benchmark.probes is not None and benchmark.probes < len(protocol.probes):
        protocol = subset(protocol, benchmark.probes, benchmark.seed)
    kept = {entry.identity for entry in protocol.probes}
    dropped = [entry for entry in whole if entry.identity not in kept]
    gallery = list(protocol.gallery)
    targets = sorted(protocol.targets, key=lambda entry: entry.identity)
    if benchmark.targets == "virtual":
        pack = Path(str(resources.files("facecrypt") / "data" / "virtual_targets"))
        images = sorted(pack.glob("*/*.png"))
        first = {image.parent: image for image in reversed(images)}
        targets = [Entry(image, image.parent.name, "target") for image in sorted(first.values())]
        gallery += [Entry(image, image.parent.name, "gallery") for image in images if image != first[image.parent]]
    gallery += distractor_entries([expand_home(folder) for folder in benchmark.distractors])
    return IdentificationProtocol(protocol.probes, targets, gallery), dropped
