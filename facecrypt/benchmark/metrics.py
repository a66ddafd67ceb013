"""How well protected faces hide and how natural they look: the measures of TIP-IM's section 5.1.

Functions give one value per probe or face; the torchmetrics classes average them over batches and processes. Rates are
percent of all probes, and processes are added up as they are: a sampler that repeats photos would count these twice.

A probe whose saved file shows no face any more is found in no gallery and matches nobody. It counts as no success
where a target is wanted, and as a success where its own identity must not be found, because nobody is recognised. To
leave such probes out would raise the first rate and lower the second. As a ruined picture hides a face too, the
classes also report their share as ``no_face``.

Faces are aligned crops, ``(B, 3, 112, 112)``, RGB in [0, 1]. Scores are cosines in [-1, 1], and a threshold is the
cosine from which two faces are taken for one person. What is not as described is refused with a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.utilities import dim_zero_cat

from facecrypt.naturalness.base import BANDWIDTHS, mmd

NO_FACE = -1
"""Fills the row of `ranked` of a probe without a face."""


class BestOverTargets(NamedTuple):
    """Index of the best target for all probes, its success rate, and the rate of success with any target (percent)."""

    target: int
    single: float
    per_probe: float


def targeted_success(ranked: Tensor, targets: Collection[int], top: Sequence[int] = (1, 5)) -> Tensor:
    """Return whether one of the nearest N gallery images is a target's, ``(P, len(top))`` bool (Rank-N-T).

    Args:
        ranked: Labels of the gallery images, nearest first, ``(P, K)`` int64 >= 0; a row of -1 where there is no face.
            Images at equal distance count in the order given.
        targets: Labels of the target identities, >= 0.
        top: Each N, at most K.
    """
    _check_ranked(ranked, top)
    _need(min(targets, default=-1) >= 0, "targets", sorted(targets), "one or more labels, 0 or larger, are")
    hits = torch.isin(ranked, torch.tensor(sorted(targets), device=ranked.device))
    return torch.stack([hits[:, :n].any(dim=1) for n in top], dim=1)


def untargeted_success(ranked: Tensor, identities: Tensor, top: Sequence[int] = (1, 5)) -> Tensor:
    """Return whether none of the nearest N gallery images is the probe's own, ``(P, len(top))`` bool (Rank-N-UT).

    Args:
        ranked: As in `targeted_success`; the gallery must hold every probe's identity, or its success means nothing.
        identities: The probes' own labels, ``(P,)`` int64 >= 0.
        top: Each N, at most K.
    """
    _check_ranked(ranked, top)
    fine = identities.shape == ranked.shape[:1] and identities.dtype == torch.int64 and identities.min() >= 0
    _need(fine, "identities", identities, "one int64 label, 0 or larger, per probe is")
    return torch.stack([(ranked[:, :n] != identities.unsqueeze(1)).all(dim=1) for n in top], dim=1)


def best_over_targets(success: Tensor) -> BestOverTargets:
    """Return the best result of a single-target method over its targets, in two readings.

    Benchmark tables use `single`: one target for all probes, hence one photo per probe, as a multi-target method makes.
    `per_probe`, never below it, makes a photo per target and lets the recogniser under test choose among them, which
    nobody who protects a photo can do. Even `single` picks its target by these results, in the method's favour. The
    paper leaves the reading open (section 5.1: "calculate optimal result as final report by attempting a target"), and
    some rows of its Table 3 fit neither: MIM's 14.3 % is no whole number of 500 probes.

    `success` says whether each probe succeeds with each target, at one N: ``(T, P)`` bool.
    """
    fine = success.ndim == 2 and success.dtype == torch.bool and success.numel()
    _need(fine, "success", success, "bool of shape (targets, probes), with at least one of both, is")
    counts = success.sum(dim=1).tolist()
    best, any_target, probes = max(counts), int(success.any(dim=0).sum()), success.shape[1]
    return BestOverTargets(counts.index(best), 100 * best / probes, 100 * any_target / probes)


def threshold_at_far(impostor: Tensor, far: float) -> float:
    """Return the lowest cosine that at most a share `far` of impostor pairs reaches.

    It lies just above the highest score that must be refused, and ties with that score are refused too. A higher one,
    up to the next score, would have the same false accept rate (FAR) and make dodging look easier.

    Args:
        impostor: Scores of pairs of two people, ``(I,)``; fewer than 1 / `far` cannot show the rate.
        far: False accept rate, a share in (0, 1).
    """
    _need(0 < far < 1, "far", far, "a share between 0 and 1 is")
    _check_cosines("impostor", impostor)
    accepted = int(far * len(impostor) + 1e-9)  # 0.29 * 100 is below 29 in floating point
    _need(accepted, "impostor", f"{len(impostor)} pairs", f"for a FAR of {far}, {math.ceil(1 / far)} pairs are")
    # float32, as scores are: compared with these, a finer threshold would be rounded down, onto the refused score.
    refused = impostor.float().topk(accepted + 1).values[-1]
    return float(torch.nextafter(refused, torch.full_like(refused, torch.inf)))


def tar_at_far(genuine: Tensor, impostor: Tensor, far: float) -> float:
    """Return the true accept rate: the percent of `genuine` pairs, ``(G,)``, that reach `threshold_at_far`."""
    _check_cosines("genuine", genuine)
    return 100 * int((genuine.float() >= threshold_at_far(impostor, far)).sum()) / len(genuine)


def dodging_success(own: Tensor, threshold: float) -> Tensor:
    """Return whether each protected probe is no longer taken for the person it shows, ``(P,)`` bool.

    Args:
        own: Score of each probe with its own clean image, ``(P,)``; NaN where there is no face.
        threshold: The recogniser's threshold.
    """
    _check_cosines("threshold", torch.tensor([threshold]))
    _check_cosines("own", own, missing=True)
    return ~(own >= threshold)  # true of NaN


def impersonation_success(to_target: Tensor, threshold: float) -> Tensor:
    """Return whether each protected probe is taken for its target by one of its gallery images, ``(P,)`` bool.

    Args:
        to_target: Scores of each probe with the M gallery images of its target, ``(P, M)``; NaN where a target has
            fewer, and a row of NaN where there is no face.
        threshold: The recogniser's threshold.
    """
    _check_cosines("threshold", torch.tensor([threshold]))
    _check_cosines("to_target", to_target, dims=2, missing=True)
    return (to_target >= threshold).any(dim=1)  # false of NaN


def face_psnr(protected: Tensor, original: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each face, ``(B,)`` in dB; infinite where nothing changed."""
    _check_faces(protected, original)
    return peak_signal_noise_ratio(protected, original, data_range=1.0, reduction="none", dim=(1, 2, 3))


def face_ssim(protected: Tensor, original: Tensor) -> Tensor:
    """Return the structural similarity of each face, ``(B,)`` at most 1 (Wang et al. 2004, Gaussian of 1.5 pixels)."""
    _check_faces(protected, original)
    ssim = structural_similarity_index_measure(protected, original, data_range=1.0, reduction="none")
    return ssim.reshape(-1)  # type: ignore[union-attr]  # a pair only where the full image is asked for


def face_mmd(protected: Tensor, original: Tensor) -> Tensor:
    """Return the discrepancy of each face from its own original, ``(B,)`` >= 0 (Eq. 3 of TIP-IM with N = 1)."""
    _check_faces(protected, original)
    return torch.stack([mmd(protected[i : i + 1], original[i : i + 1]) for i in range(len(protected))])


def set_mmd(protected: Tensor, original: Tensor) -> Tensor:
    """Return the discrepancy of all protected faces from all originals, a scalar >= 0 (Eq. 3; Table 5 of TIP-IM).

    Equals `facecrypt.naturalness.mmd`, which would hold the differences of all pairs of images: 38 GB for 500 faces.
    """
    _check_faces(protected, original)

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        # Not by matrix products: masks are tiny next to pixels, and their rounding would swallow them.
        squared = torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.stack([torch.exp(-squared / (2 * bandwidth)).mean() for bandwidth in BANDWIDTHS]).sum()

    return mean_kernel(protected, protected) + mean_kernel(original, original) - 2 * mean_kernel(protected, original)


def bootstrap_interval(
    values: Tensor, level: float = 0.95, samples: int = 10000, seed: int = 0, groups: Tensor | None = None
) -> tuple[float, float]:
    """Return the ends of the percentile bootstrap interval of a mean, in the unit of the values (Efron 1979).

    Args:
        values: One value per probe, ``(P,)``; success flags count as 0 and 1, so their ends are shares in [0, 1].
        level: Share of the resampled means that the interval holds, in (0, 1).
        samples: How often the probes are drawn afresh, with replacement; takes 16 bytes per draw and probe.
        seed: Seed of the draws, which are the same on every device.
        groups: Whom each probe shows, ``(P,)``: people are then drawn, each with all of their probes, since those of
            one person are alike (Davison and Hinkley 1997, section 3.8).
    """
    fine = values.ndim == 1 and len(values) and values.isfinite().all()
    _need(fine, "values", values, "one finite value per probe, and at least one probe, is")
    _need(0 < level < 1 and samples > 0, "level, samples", (level, samples), "a level in (0, 1) and a sample are")
    sums = values.detach().cpu().double()
    counts = torch.ones_like(sums)
    if groups is not None:
        _need(groups.shape == values.shape, "groups", groups, "one label per probe is")
        people, places = torch.unique(groups.cpu(), return_inverse=True)
        if len(people) < len(sums):
            sums = torch.zeros(len(people), dtype=torch.float64).index_add_(0, places, sums)
            counts = torch.bincount(places).double()
    draws = torch.randint(len(sums), (samples, len(sums)), generator=torch.Generator().manual_seed(seed))
    means = sums[draws].sum(dim=1) / counts[draws].sum(dim=1)
    low, high = torch.quantile(means, means.new_tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return low, high


class _Means(Metric):
    """Means of columns by name; an infinite value is left out of its column, whose mean is infinite without others."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.add_state("sums", torch.zeros(len(self.names)), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(self.names), dtype=torch.int64), dist_reduce_fx="sum")

    def _add(self, *columns: Tensor) -> None:
        rows = torch.column_stack([column.float() for column in columns])
        self.sums = self.sums + rows.where(rows.isfinite(), 0.0).sum(dim=0)
        self.counts = self.counts + rows.isfinite().sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name, scalars."""
        _need(self.counts.any(), "update", "never called", "at least one probe or face is")
        return dict(zip(self.names, torch.where(self.counts > 0, self.sums / self.counts, torch.inf), strict=True))


class RankSuccess(_Means):
    """Rates of `targeted_success` and `untargeted_success`: ``rank_1_t``, ``rank_1_ut`` and so on; and ``no_face``."""

    def __init__(self, targets: Collection[int], top: Sequence[int] = (1, 5)) -> None:
        super().__init__([*(f"rank_{n}_t" for n in top), *(f"rank_{n}_ut" for n in top), "no_face"])
        self.targets, self.top = frozenset(targets), tuple(top)

    def update(self, ranked: Tensor, identities: Tensor) -> None:
        """Add probes, none of whose identities is a target's: these would succeed unprotected."""
        targeted = 100 * targeted_success(ranked, self.targets, self.top)
        untargeted = 100 * untargeted_success(ranked, identities, self.top)
        both = sorted(self.targets.intersection(identities.tolist()))
        _need(not both, "identities", both, "labels that are not among the targets are")
        self._add(targeted, untargeted, 100 * (ranked[:, 0] == NO_FACE))


class VerificationSuccess(_Means):
    """Rates of `dodging_success` and `impersonation_success`: ``dodging``, ``impersonation`` and ``no_face``."""

    def __init__(self, threshold: float) -> None:
        super().__init__(["dodging", "impersonation", "no_face"])
        self.threshold = threshold

    def update(self, own: Tensor, to_target: Tensor) -> None:
        """Add probes: `own` as `dodging_success` takes it, `to_target` as `impersonation_success` does."""
        dodging = 100 * dodging_success(own, self.threshold)
        impersonation = 100 * impersonation_success(to_target, self.threshold)
        agree = torch.equal(own.isnan(), to_target.isnan().all(dim=1))
        _need(agree, "own, to_target", "different probes without a face", "NaN for the same probes is")
        self._add(dodging, impersonation, 100 * own.isnan())


class TarAtFar(Metric):
    """`tar_at_far` of all pairs: ``tar`` in percent, and the cosine ``threshold``."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    genuine: list[Tensor]
    impostor: list[Tensor]

    def __init__(self, far: float) -> None:
        super().__init__()
        _need(0 < far < 1, "far", far, "a share between 0 and 1 is")
        self.far = far
        self.add_state("genuine", [], dist_reduce_fx="cat")
        self.add_state("impostor", [], dist_reduce_fx="cat")

    def update(self, genuine: Tensor, impostor: Tensor) -> None:
        """Add pairs, as `tar_at_far` takes them; one kind may be missing from a batch."""
        _check_cosines("genuine and impostor", torch.cat([genuine, impostor]))
        self.genuine.append(genuine.float())
        self.impostor.append(impostor.float())

    def compute(self) -> dict[str, Tensor]:
        """Return the rate and its threshold, scalars."""
        genuine, impostor = dim_zero_cat(self.genuine), dim_zero_cat(self.impostor)
        values = {"tar": tar_at_far(genuine, impostor, self.far), "threshold": threshold_at_far(impostor, self.far)}
        return {name: genuine.new_tensor(value) for name, value in values.items()}


class FaceQuality(_Means):
    """Means of `face_psnr` over changed faces and of `face_ssim`: ``psnr`` in dB, ``ssim``; and ``unchanged``, a rate.

    One unchanged face would make the mean PSNR infinite, and a cap would be an arbitrary number. Left out, such faces
    cannot flatter the others. The PSNR is infinite where no face changed.
    """

    is_differentiable = True

    def __init__(self) -> None:
        super().__init__(["psnr", "ssim", "unchanged"])

    def update(self, protected: Tensor, original: Tensor) -> None:
        """Add faces."""
        psnr = face_psnr(protected, original)
        self._add(psnr, face_ssim(protected, original), 100 * psnr.isinf())


class FaceMMD(Metric):
    """``mmd``, `set_mmd` of all faces as in the paper's Table 5, and ``mmd_per_face``, the mean of `face_mmd`."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    protected: list[Tensor]
    original: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("protected", [], dist_reduce_fx="cat")
        self.add_state("original", [], dist_reduce_fx="cat")

    def update(self, protected: Tensor, original: Tensor) -> None:
        """Add faces, which are kept until the end, 0.3 MB each with its original."""
        _check_faces(protected, original)
        # Flat, because torchmetrics gives processes without faces a one-dimensional state, and dimensions must agree.
        self.protected.append(protected.float().flatten())
        self.original.append(original.float().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return both, scalars."""
        protected, original = (dim_zero_cat(faces).view(-1, 3, 112, 112) for faces in (self.protected, self.original))
        return {"mmd": set_mmd(protected, original), "mmd_per_face": face_mmd(protected, original).mean()}


def _need(fine: object, name: str, given: object, needed: str) -> None:
    if not fine:
        shown = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else given
        raise ValueError(f"{name}: {shown}; {needed} needed.")


def _check_ranked(ranked: Tensor, top: Sequence[int]) -> None:
    valid = min(top, default=0) > 0 and len(set(top)) == len(top)
    _need(valid, "top", top, "one or more different numbers, 1 or larger, are")
    shaped = ranked.ndim == 2 and len(ranked) and ranked.dtype == torch.int64
    _need(shaped, "ranked", ranked, "int64 of shape (probes, images), with at least one probe, is")
    _need(ranked.shape[1] >= max(top), "ranked", f"{ranked.shape[1]} images", f"{max(top)} for Rank-{max(top)} are")
    whole = torch.equal((ranked == NO_FACE).any(dim=1), (ranked == NO_FACE).all(dim=1))
    _need(whole and ranked.min() >= NO_FACE, "ranked", "labels below 0", "0 or larger, or a whole row of -1, is")


def _check_cosines(name: str, values: Tensor, *, dims: int = 1, missing: bool = False) -> None:
    _need(values.ndim == dims and values.numel(), name, values, f"{dims} dimension(s), none of size 0, are")
    fine = (values.abs() < 1.001) | (values.isnan() & missing)  # cosines may round beyond 1
    _need(fine.all(), name, "values that are no cosines", "numbers in [-1, 1] are")


def _check_faces(protected: Tensor, original: Tensor) -> None:
    for name, faces in (("protected", protected), ("original", original)):
        shaped = faces.numel() and faces.shape == (len(protected), 3, 112, 112) and faces.is_floating_point()
        _need(shaped, name, faces, "equally many faces, floating point of shape (B, 3, 112, 112), are")
        _need(((faces >= 0) & (faces <= 1)).all(), name, "values beyond [0, 1]", "8-bit pixels divided by 255 are")
