"""What recognisers see in a saved file: it is read and its faces are found afresh, as anybody else would."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facecrypt.choices import FaceChoice, LandmarksFrom, Way
from facecrypt.detectors.search import FaceDetector
from facecrypt.evaluation.looks import measure
from facecrypt.evaluation.robustness import FoundAgain, FoundFace, People, Sighting, see_again
from facecrypt.faces.face import Face
from facecrypt.faces.patches import cut, face_area
from facecrypt.naturalness.base import mmd
from facecrypt.photos.files import Photo, read_photo
from facecrypt.recipe.face_rules import Faces, face_rules
from facecrypt.surrogates.embedder import Embedder
from facecrypt.surrogates.judging import Seen, find_fault, look, slightly_changed
from facecrypt.system.timing import stage
from facecrypt.targets.selectors import Target
from facecrypt.transforms.base import Published, publish
from facecrypt.transforms.entries import AS_IS
from facecrypt.verdicts.sentences import face_sentence
from facecrypt.verdicts.verdict import FaceVerdict, Visible, assess

Looks = Mapping[str, FoundFace | None]
"""One face in every state of the photo; None where it is not found."""


@dataclass(frozen=True)
class Verdict:
    """What one recogniser says of one protected face.

    Attributes:
        white_box: Whether the recogniser gave gradients in this run: its numbers show no protection from others.
        similarity: Cosine between the protected and the original face; None where no face is found any more.
        target_similarity: Largest cosine between the protected face and the target's images that no mask has aimed at
            (the aimed-at image where there is no other); None where no face is found any more.
        threshold: Cosine from which the recogniser takes two faces for one person (FAR 1 %); None where it is unknown.
        still_recognised: Whether the similarity reaches the threshold; None where one of them is unknown.
        chooses: Whether the recogniser chose the strength of the mask: its numbers show no protection from others.
        person: Whom of the gallery the recogniser takes the original face for; None without a gallery, or for nobody.
        before: What it sees of the original photo, by what happened to that: ``none`` is the photo as it is.
        after: What it sees of the saved photo, likewise.
        cannot_judge: Why the recogniser has no verdict, and no similarity, of a face that it was shown; or empty.
    """

    white_box: bool
    similarity: float | None
    target_similarity: float | None
    threshold: float | None
    still_recognised: bool | None
    chooses: bool = False
    person: str | None = None
    before: dict[str, Sighting] = field(default_factory=dict)
    after: dict[str, Sighting] = field(default_factory=dict)
    cannot_judge: str = ""


@dataclass(frozen=True, kw_only=True)
class HeardVerdict(Verdict):
    """What a judge says of one protected face that was asked for its opinion, in the photo as saved.

    `similarity` is on the judge's own scale, and None where it tells none. `person` is whom of the enrolled people the
    original face shows.

    Attributes:
        asked: How it was asked.
        named: Whom of the enrolled people it takes the saved face for; None for nobody, or where it does not rank.
    """

    asked: Way
    named: str | None = None


Hear = Callable[[Photo, Face, Photo, Face | None], Mapping[str, HeardVerdict]]
"""Asks judges about a face: takes the original and the face in it, the saved photo and the face in that, if it is found
there, and returns a verdict by the judge's name."""


def _ask_nobody(photo: Photo, face: Face, saved: Photo, again: Face | None) -> Mapping[str, HeardVerdict]:
    return {}


@dataclass(frozen=True)
class FaceReport:
    """One protected face, measured on the saved file.

    Attributes:
        box: Left, top, right, bottom in photo pixels.
        target: Name of the target identity of the last iteration.
        seconds: Time that its mask took; faces that were protected together share theirs equally.
        max_abs: Largest change of a channel within its patch, in grey levels.
        psnr: Peak signal-to-noise ratio of the aligned 112x112 face, in dB; None where nothing changed.
        ssim: Structural similarity of the aligned face, at most 1.
        mmd: Maximum mean discrepancy of the aligned face (Eq. 3).
        jod: How near it looks to the original, at most 10, by the way of looking: see
            `facecrypt.evaluation.looks.Looks`; empty in reports of versions that did not measure it.
        flip: Its mean FLIP error, from 0 on; None where that was not measured.
        recognisers: Verdicts by name of the recogniser.
        level: The level of strength that was chosen; None where the recipe leaves no choice.
        escaped: Whether the face escapes every judge that chooses, with the margin of the recipe; None likewise.
        index: Its number among all faces that were found in the original, from 1, the largest first; None for one
            given by hand.
        landmarks: How its landmarks in the original came about.
        found_again: How it was found in the saved file; None where it was not, so that there is no verdict.
        sentence: What the held-out recognisers make of it, in plain words.
        verdict: Whether it protects, as far as that is known; None in reports of versions that did not say it.
        expected: Share of unseen recognisers that probably take it for somebody else, as saved and after each
            transform; None where nothing is known of that.
        visible: How visible the change is; None where that was not measured.
        queries: Pictures of it that recognisers were shown to make the mask; None where they were not counted.
    """

    box: tuple[float, float, float, float]
    target: str
    seconds: float
    max_abs: int
    psnr: float | None
    ssim: float
    mmd: float
    recognisers: dict[str, HeardVerdict | Verdict] = field(default_factory=dict)
    jod: dict[str, float] = field(default_factory=dict)
    flip: float | None = None
    level: str | None = None
    escaped: bool | None = None
    index: int | None = None
    landmarks: LandmarksFrom = "detected"
    found_again: FoundAgain | None = None
    sentence: str = ""
    verdict: FaceVerdict | None = None
    expected: float | None = None
    visible: Visible | None = None
    queries: int | None = None


@dataclass
class Judge:
    """A recogniser that judges saved files.

    Attributes:
        name: How the report calls it.
        embedder: The recogniser.
        white_box: Whether it is a surrogate of the run.
        targets: Its embeddings of the faces that check each target, ``(M, D)`` per target.
        people: The gallery as it sees it; None without one.
        chooses: Whether it chooses the strength of the masks.
        fault: Why it can judge no face at all, or empty.
    """

    name: str
    embedder: Embedder
    white_box: bool
    targets: list[Tensor]
    people: People | None = None
    chooses: bool = False
    fault: str = ""


def make_judge(
    name: str,
    embedder: Embedder,
    white_box: bool,
    targets: Sequence[Target],
    *,
    people: People | None = None,
    chooses: bool = False,
) -> Judge:
    """Return a judge that knows the targets, and whether it can judge at all."""
    judge = Judge(name, embedder, white_box, [], people, chooses, find_fault(embedder))
    for target in targets if not judge.fault else ():
        known = look(embedder, target.checks or (target.aim,))
        judge.targets.append(known.embeddings)
        if known.fault:
            judge.fault = f"{known.fault} (target {target.name})"
            break
    return judge


@dataclass(frozen=True, kw_only=True)
class Jury:
    """Who judges the saved files of a run, and how.

    Attributes:
        targets: The target identities.
        judges: The recognisers.
        detector: Finds the faces of the saved file.
        choice: What the recipe says of faces: ``aligned`` where the photo is an aligned face; else every face is
            searched, as finely as in the original.
        another: Whether the faces of the original were found by another detector. Then this one searches the original,
            too; a face that it does not find there is where it was found.
        transforms: What else happens to both photos before the judges see them once more.
        asked: Share of unseen recognisers that the recipe wants to take each face for somebody else.
        expects: As in `assess`.
        hear: Asks the judges that are asked for their opinion.
    """

    targets: Sequence[Target]
    judges: Sequence[Judge]
    detector: FaceDetector
    choice: FaceChoice | Faces
    another: bool = False
    transforms: Sequence[Published] = ()
    asked: float | None = None
    expects: bool = True
    hear: Hear = _ask_nobody


@stage("verify")
def verify(
    saved: Path, photo: Photo, faces: Sequence[Face], chosen: Sequence[int], seconds: Sequence[float], jury: Jury
) -> list[FaceReport]:
    """Return what the judges see in a saved photo, face by face.

    Args:
        saved: The protected file.
        photo: The original.
        faces: The faces of the original that were protected.
        chosen: Index of the target of each face.
        seconds: Time that each face's mask took.
        jury: Who judges, and how.

    Raises:
        PhotoError: If the saved file cannot be read.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    protected = read_photo(saved)
    rules = face_rules(jury.choice)
    as_is, detector = publish(AS_IS), jury.detector
    found = see_again(photo, as_is, faces, detector, rules) if jury.another else [None] * len(faces)
    before: dict[str, list[FoundFace | None]] = {
        "none": [each or FoundFace(cut(photo, face)) for each, face in zip(found, faces, strict=True)]
    }
    after: dict[str, list[FoundFace | None]] = {}
    after["none"] = see_again(protected, as_is, faces, detector, rules)
    for transform in jury.transforms:
        if transform.label not in after:
            before[transform.label] = see_again(photo, transform, faces, detector, rules)
            after[transform.label] = see_again(protected, transform, faces, detector, rules)
    people = {judge.name: judge.people.without(photo.digest) for judge in jury.judges if judge.people}
    reports = []
    for number, (face, target, spent) in enumerate(zip(faces, chosen, seconds, strict=True)):
        clean, masked = face_area(photo, face), face_area(protected, face)
        unchanged = torch.equal(clean, masked)
        looks = measure(photo.pixels, protected.pixels, face)
        clean_looks: Looks = {transform: found[number] for transform, found in before.items()}
        masked_looks: Looks = {transform: found[number] for transform, found in after.items()}
        again = masked_looks["none"]
        verdicts: dict[str, HeardVerdict | Verdict] = {
            judge.name: _judge(judge, clean_looks, masked_looks, target, people.get(judge.name))
            for judge in jury.judges
        }
        verdicts |= jury.hear(photo, face, protected, again.face if again else None)
        report = FaceReport(
            box=tuple(round(value, 1) for value in face.box),  # type: ignore[arg-type]  # four in, four out
            target=jury.targets[target].name,
            seconds=round(spent, 3),
            max_abs=_largest_change(photo, protected, face),
            psnr=None if unchanged else peak_signal_noise_ratio(masked, clean, data_range=1.0).item(),
            ssim=float(structural_similarity_index_measure(masked, clean, data_range=1.0)),  # type: ignore[arg-type]
            mmd=mmd(masked, clean).item(),
            recognisers=verdicts,
            jod={way: round(value, 3) for way, value in looks.jod.items()},
            flip=round(looks.flip, 4),
            index=face.index,
            landmarks=face.landmarks_from,
            found_again=again.how if again else None,
        )
        values = asdict(report)
        known = assess(values, jury.asked, expects=jury.expects)
        reports.append(replace(report, **known, sentence=face_sentence(values["recognisers"], known["expected"])))
    return reports


def _judge(judge: Judge, before: Looks, after: Looks, target: int, people: People | None) -> Verdict:
    threshold = judge.embedder.spec.threshold
    states = [found for looks in (before, after) for found in looks.values() if found]
    reference = before["none"]
    assert reference is not None  # It is the face that was protected.
    seen = None
    fault = judge.fault
    if not fault:
        seen = look(judge.embedder, [*(found.image for found in states), slightly_changed(reference.image)])
        fault = _find_fault_with(seen, threshold)
    if seen is None or fault:
        return _without_verdict(judge, before, after, fault)
    shown = iter(zip(seen.embeddings, seen.faults, strict=True))
    faces = [
        {transform: next(shown) if found else None for transform, found in looks.items()} for looks in (before, after)
    ]
    original = seen.embeddings[0]
    person = people.recognise(original, threshold) if people else None

    def see(face: tuple[Tensor, str] | None) -> Sighting:
        if face is None or face[1]:
            return Sighting(None, None, None, face[1] if face else "")
        similarity = torch.dot(face[0], original).item()
        place = people.place(face[0], person, judge.targets, target) if people else None
        return Sighting(similarity, None if threshold is None else similarity >= threshold, place)

    told, tells = ({transform: see(face) for transform, face in each.items()} for each in faces)
    now = faces[1]["none"]
    if tells["none"].cannot_judge:
        return _without_verdict(judge, before, after, tells["none"].cannot_judge)
    return Verdict(
        white_box=judge.white_box,
        similarity=tells["none"].similarity,
        target_similarity=None if now is None else (judge.targets[target] @ now[0]).max().item(),
        threshold=threshold,
        still_recognised=tells["none"].still_recognised,
        chooses=judge.chooses,
        person=person,
        before=told,
        after=tells,
    )


def _find_fault_with(seen: Seen, threshold: float | None) -> str:
    """Return why a recogniser cannot judge a face whose original comes first, and last once more, slightly changed."""
    if fault := seen.faults[0] or seen.faults[-1]:
        return f"{fault} (the original)"
    similarity = torch.dot(seen.embeddings[0], seen.embeddings[-1]).item()
    if threshold is None or similarity >= threshold:
        return ""
    return (
        f"it takes the original for another person after a slight change (similarity {similarity:.3f}, same person "
        f"from {threshold:.3f})"
    )


def _without_verdict(judge: Judge, before: Looks, after: Looks, fault: str) -> Verdict:
    threshold = judge.embedder.spec.threshold
    known = isinstance(threshold, int | float) and math.isfinite(threshold)
    return Verdict(
        white_box=judge.white_box,
        similarity=None,
        target_similarity=None,
        threshold=threshold if known else None,
        still_recognised=None,
        chooses=judge.chooses,
        before={transform: Sighting(None, None, None, fault if found else "") for transform, found in before.items()},
        after={transform: Sighting(None, None, None, fault if found else "") for transform, found in after.items()},
        cannot_judge=fault,
    )


def _largest_change(photo: Photo, protected: Photo, face: Face) -> int:
    left, top, side = face.patch
    rows, columns = slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
    change = protected.pixels[rows, columns].astype(np.int16) - photo.pixels[rows, columns].astype(np.int16)
    return int(np.abs(change).max())
