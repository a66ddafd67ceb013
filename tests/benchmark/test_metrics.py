from __future__ import annotations

import math
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing import spawn
from torchmetrics import Metric

from facecrypt.benchmark.metrics import (
    NO_FACE,
    BestOverTargets,
    FaceMMD,
    FaceQuality,
    RankSuccess,
    TarAtFar,
    VerificationSuccess,
    best_over_targets,
    bootstrap_interval,
    dodging_success,
    face_mmd,
    face_psnr,
    face_ssim,
    impersonation_success,
    set_mmd,
    tar_at_far,
    targeted_success,
    threshold_at_far,
    untargeted_success,
)
from facecrypt.naturalness.base import mmd

PROBES = 7
TARGETS = (20, 21, 22)
METRICS = ("rank", "verification", "tar", "quality", "mmd")


def make_metric(name: str) -> Metric:
    return {
        "rank": lambda: RankSuccess(TARGETS, top=(1, 3, 5)),
        "verification": lambda: VerificationSuccess(0.3),
        "tar": lambda: TarAtFar(0.2),
        "quality": FaceQuality,
        "mmd": FaceMMD,
    }[name]()


def make_inputs(name: str, probes: int = PROBES) -> tuple[Tensor, Tensor]:
    """What the metric's update takes, the same in every process; the second probe shows no face."""
    generator = torch.Generator().manual_seed(METRICS.index(name))
    if name == "rank":
        ranked = torch.randint(0, 23, (probes, 6), generator=generator)
        ranked[1] = NO_FACE
        return ranked, torch.randint(0, 20, (probes,), generator=generator)
    if name == "verification":
        own, to_target = (2 * torch.rand(*shape, generator=generator) - 1 for shape in ((probes,), (probes, 4)))
        own[1], to_target[1], to_target[2, 3] = torch.nan, torch.nan, torch.nan
        return own, to_target
    if name == "tar":
        # Steps of a tenth: many ties.
        genuine, impostor = (torch.randint(-5, 10, (probes,), generator=generator) / 10 for _ in range(2))
        return genuine, impostor - 0.3
    original = torch.randint(0, 256, (probes, 3, 112, 112), generator=generator)
    mask = torch.randint(-12, 13, original.shape, generator=generator)
    mask[1] = 0
    return (original + mask).clamp(0, 255) / 255, original / 255


def numbers(result: dict[str, Tensor]) -> dict[str, float]:
    assert all(value.shape == () for value in result.values())
    return {name: value.item() for name, value in result.items()}


def measured(name: str, *batches: slice) -> dict[str, float]:
    metric = make_metric(name)
    for batch in batches:
        metric.update(*(values[batch] for values in make_inputs(name)))
    return numbers(metric.compute())


# Slow references


def slow_rates(ranked: Tensor, identities: Tensor, n: int) -> tuple[float, float]:
    targeted = untargeted = 0
    for row, identity in zip(ranked.tolist(), identities.tolist(), strict=True):
        nearest = row[:n]
        if any(label in TARGETS for label in nearest):
            targeted += 1
        if identity not in nearest:
            untargeted += 1
    return 100 * targeted / len(ranked), 100 * untargeted / len(ranked)


def slow_threshold(impostor: Tensor, percent: int) -> float:
    """Every float32 just above a score, from below, until few enough impostors reach one."""
    scores = impostor.numpy()
    for score in sorted(set(scores.tolist())):
        candidate = np.nextafter(np.float32(score), np.float32(np.inf))
        if sum(other >= candidate for other in scores) * 100 <= percent * len(scores):
            return float(candidate)
    raise AssertionError


def slow_psnr(protected: Tensor, original: Tensor) -> float:
    pixels = zip(protected.double().flatten().tolist(), original.double().flatten().tolist(), strict=True)
    error = sum((a - b) ** 2 for a, b in pixels) / original.numel()
    return 10 * math.log10(1 / error)


def slow_ssim(protected: Tensor, original: Tensor) -> float:
    """Wang et al. 2004, window by window, in double precision; mirrored at the borders."""
    steps = np.arange(-5, 6)
    line = np.exp(-(steps**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for a, b in zip(protected.double().numpy(), original.double().numpy(), strict=True):
        a, b = np.pad(a, 5, mode="reflect"), np.pad(b, 5, mode="reflect")
        for top in range(112):
            for left in range(112):
                x, y = (image[top : top + 11, left : left + 11] for image in (a, b))
                mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
                var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
                covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
                values.append(
                    (2 * mean_x * mean_y + 0.01**2)
                    * (2 * covariance + 0.03**2)
                    / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
                )
    return float(np.mean(values))


# Identification


@pytest.mark.parametrize("probes", [2, 7, 200])
def test_rank_rates_equal_their_slow_reference(probes: int) -> None:
    ranked, identities = make_inputs("rank", probes)
    metric = make_metric("rank")
    metric.update(ranked, identities)
    rates = numbers(metric.compute())
    for n in (1, 3, 5):
        assert (rates[f"rank_{n}_t"], rates[f"rank_{n}_ut"]) == pytest.approx(slow_rates(ranked, identities, n))
    assert rates["no_face"] == pytest.approx(100 / probes)


def test_rank_functions_give_one_flag_per_probe_and_depth() -> None:
    ranked = torch.tensor([[9, 0, 1], [0, 9, 1], [1, 1, 1], [NO_FACE] * 3])
    identities = torch.tensor([0, 0, 0, 0])
    assert targeted_success(ranked, {9}, (1, 2)).tolist() == [[1, 1], [0, 1], [0, 0], [0, 0]]
    assert untargeted_success(ranked, identities, (1, 2)).tolist() == [[1, 0], [0, 0], [1, 1], [1, 1]]


def test_images_at_equal_distance_count_in_the_order_given() -> None:
    first, second = torch.tensor([[9, 0]]), torch.tensor([[0, 9]])
    assert targeted_success(first, {9}, (1,)).item()
    assert not targeted_success(second, {9}, (1,)).item()


def test_a_probe_without_a_face_is_no_target_hides_its_identity_and_is_counted_apart() -> None:
    metric = RankSuccess({9}, top=(1,))
    metric.update(torch.tensor([[NO_FACE], [9], [0], [1]]), torch.tensor([0, 0, 0, 0]))
    assert numbers(metric.compute()) == {"rank_1_t": 25.0, "rank_1_ut": 75.0, "no_face": 25.0}


@pytest.mark.parametrize(
    ("ranked", "identities", "message"),
    [
        (torch.zeros(2, 4).long(), torch.zeros(2).long(), "ranked: 4 images; 5 for Rank-5 are needed."),
        (torch.zeros(0, 5).long(), torch.zeros(0).long(), "at least one probe"),
        (torch.zeros(2, 5), torch.zeros(2).long(), "ranked: torch.float32 of shape (2, 5); int64"),
        (torch.zeros(5).long(), torch.zeros(5).long(), "ranked: torch.int64 of shape (5,)"),
        (torch.full((2, 5), -2), torch.zeros(2).long(), "ranked: labels below 0"),
        (torch.tensor([[3, 3, 3, 3, NO_FACE]]), torch.zeros(1).long(), "a whole row of -1"),
        (torch.zeros(2, 5).long(), torch.zeros(3).long(), "identities: torch.int64 of shape (3,); one int64 label"),
        (torch.zeros(2, 5).long(), torch.tensor([0, -1]), "identities"),
        (torch.zeros(2, 5).long(), torch.tensor([0, 20]), "identities: [20]; labels that are not among the targets"),
    ],
)
def test_bad_ranks_are_refused(ranked: Tensor, identities: Tensor, message: str) -> None:
    metric = RankSuccess(TARGETS)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the text is compared below, brackets and all
        metric.update(ranked, identities)
    assert message in str(refusal.value)


@pytest.mark.parametrize("top", [(), (0, 1), (1, 1)])
def test_bad_depths_are_refused(top: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="top: .* different numbers"):
        untargeted_success(torch.zeros(2, 5).long(), torch.zeros(2).long(), top)


@pytest.mark.parametrize("targets", [(), (3, -1)])
def test_bad_targets_are_refused(targets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="targets: .* one or more labels"):
        targeted_success(torch.zeros(2, 5).long(), targets)


def test_best_over_targets_equals_its_slow_reference(generator: torch.Generator) -> None:
    success = torch.rand(10, 50, generator=generator) < 0.3
    rates = [100 * sum(row) / 50 for row in success.tolist()]
    anywhere = 100 * sum(any(column) for column in zip(*success.tolist(), strict=True)) / 50
    best = best_over_targets(success)
    assert best == BestOverTargets(rates.index(max(rates)), pytest.approx(max(rates)), pytest.approx(anywhere))
    assert best.single < best.per_probe


def test_best_over_targets_tells_its_readings_apart_and_takes_the_first_of_equals() -> None:
    assert best_over_targets(torch.eye(4).bool()) == BestOverTargets(target=0, single=25.0, per_probe=100.0)


@pytest.mark.parametrize("success", [torch.zeros(3).bool(), torch.zeros(2, 3), torch.zeros(0, 3).bool()])
def test_best_over_targets_refuses_other_input(success: Tensor) -> None:
    with pytest.raises(ValueError, match="success: .* bool of shape"):
        best_over_targets(success)


# Verification


@pytest.mark.parametrize("percent", [1, 10, 29, 50])
@pytest.mark.parametrize("steps", [10, 10_000])
def test_threshold_and_tar_equal_their_slow_reference(percent: int, steps: int, generator: torch.Generator) -> None:
    # Few steps make ties.
    genuine, impostor = (torch.randint(-steps, steps + 1, (100,), generator=generator) / steps for _ in range(2))
    threshold = threshold_at_far(impostor, percent / 100)
    assert threshold == slow_threshold(impostor, percent)
    assert tar_at_far(genuine, impostor, percent / 100) == sum(score >= threshold for score in genuine.tolist())
    assert (impostor >= threshold).sum() <= percent
    assert (impostor.double() >= threshold).sum() <= percent


def test_scores_equal_to_the_highest_refused_one_are_refused() -> None:
    impostor = torch.tensor([0.5, 0.5, 0.5, 0.1])
    assert threshold_at_far(impostor, 0.5) > 0.5
    assert tar_at_far(torch.tensor([0.5, 0.6]), impostor, 0.5) == 50.0


@pytest.mark.parametrize(
    ("impostor", "far", "message"),
    [
        (torch.zeros(99), 0.01, "impostor: 99 pairs; for a FAR of 0.01, 100 pairs are needed"),
        (torch.zeros(99), 1.0, "far: 1.0; a share between 0 and 1"),
        (torch.zeros(0), 0.5, "impostor: .* none of size 0"),
        (torch.tensor([0.1, torch.nan]), 0.5, "impostor: values that are no cosines"),
        (torch.tensor([0.1, 1.4]), 0.5, "impostor: values that are no cosines"),
    ],
)
def test_impostors_that_cannot_give_a_threshold_are_refused(impostor: Tensor, far: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        threshold_at_far(impostor, far)


def test_pairs_of_one_kind_may_be_missing_from_a_batch_but_not_from_all() -> None:
    genuine, impostor = make_inputs("tar")
    metric = TarAtFar(0.2)
    metric.update(genuine, impostor[:0])
    with pytest.raises(ValueError, match="impostor: .* none of size 0"):
        metric.compute()
    metric.update(genuine[:0], impostor)
    expected = {"tar": tar_at_far(genuine, impostor, 0.2), "threshold": threshold_at_far(impostor, 0.2)}
    assert numbers(metric.compute()) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="genuine and impostor"):
        metric.update(genuine[:0], impostor[:0])
    with pytest.raises(ValueError, match="far: 5"):
        TarAtFar(5)


def test_verification_rates_equal_their_slow_reference() -> None:
    own, to_target = make_inputs("verification", 100)
    metric = make_metric("verification")
    metric.update(own, to_target)
    dodging = [not score >= 0.3 for score in own.tolist()]
    impersonation = [any(score >= 0.3 for score in row) for row in to_target.tolist()]
    assert dodging_success(own, 0.3).tolist() == dodging
    assert impersonation_success(to_target, 0.3).tolist() == impersonation
    assert numbers(metric.compute()) == {"dodging": sum(dodging), "impersonation": sum(impersonation), "no_face": 1}
    assert dodging[1]
    assert not impersonation[1]


def test_a_score_at_the_threshold_is_accepted() -> None:
    assert not dodging_success(torch.tensor([0.25]), 0.25).item()
    assert impersonation_success(torch.tensor([[0.25]]), 0.25).item()


@pytest.mark.parametrize(
    ("own", "to_target", "threshold", "message"),
    [
        (torch.zeros(0), torch.zeros(0, 2), 0.3, "own: .* none of size 0"),
        (torch.zeros(2), torch.zeros(2), 0.3, "to_target: .* 2 dimension"),
        (torch.tensor([7.0]), torch.zeros(1, 2), 0.3, "own: values that are no cosines"),
        (torch.tensor([torch.nan]), torch.zeros(1, 2), 0.3, "own, to_target: different probes"),
        (torch.zeros(2), torch.zeros(2, 2), 30.0, "threshold: values that are no cosines"),
    ],
)
def test_bad_scores_are_refused(own: Tensor, to_target: Tensor, threshold: float, message: str) -> None:
    metric = VerificationSuccess(threshold)
    with pytest.raises(ValueError, match=message):
        metric.update(own, to_target)


# Naturalness


def test_psnr_equals_its_slow_reference_and_is_infinite_without_a_change() -> None:
    protected, original = make_inputs("quality", 3)
    values = face_psnr(protected, original).tolist()
    expected = [slow_psnr(protected[0], original[0]), math.inf, slow_psnr(protected[2], original[2])]
    assert values == pytest.approx(expected, abs=1e-4)


def test_ssim_equals_its_slow_reference() -> None:
    protected, original = make_inputs("quality", 2)
    values = face_ssim(protected, original).tolist()
    assert values == pytest.approx([slow_ssim(protected[0], original[0]), 1.0], abs=1e-5)
    assert face_ssim(protected[:1], original[:1]).shape == (1,)


def test_quality_is_the_mean_over_faces_and_leaves_unchanged_ones_out_of_the_psnr() -> None:
    protected, original = make_inputs("quality")
    values = face_psnr(protected, original).tolist()
    finite = [value for value in values if math.isfinite(value)]
    quality = measured("quality", slice(None))
    assert len(finite) == PROBES - 1
    assert quality["psnr"] == pytest.approx(sum(finite) / len(finite))
    assert quality["ssim"] == pytest.approx(sum(face_ssim(protected, original).tolist()) / PROBES)
    assert quality["unchanged"] == pytest.approx(100 / PROBES)


def test_the_psnr_of_nothing_but_unchanged_faces_is_infinite() -> None:
    assert measured("quality", slice(1, 2)) == {"psnr": math.inf, "ssim": pytest.approx(1), "unchanged": 100.0}


def test_mmd_of_the_set_and_of_each_face_equal_the_naturalness_term() -> None:
    protected, original = make_inputs("mmd")
    assert set_mmd(protected, original).item() == pytest.approx(mmd(protected, original).item(), abs=1e-4)
    each = [mmd(protected[i][None], original[i][None]).item() for i in range(PROBES)]
    assert face_mmd(protected, original).tolist() == pytest.approx(each, abs=1e-6)
    values = measured("mmd", slice(None))
    assert values["mmd"] == pytest.approx(set_mmd(protected, original).item(), abs=1e-6)
    assert values["mmd_per_face"] == pytest.approx(sum(each) / PROBES, abs=1e-5)
    assert set_mmd(original, original).item() == 0


@pytest.mark.parametrize("measure", [face_psnr, face_ssim, face_mmd, set_mmd, FaceQuality().update, FaceMMD().update])
def test_bad_faces_are_refused(measure) -> None:
    faces = torch.zeros(2, 3, 112, 112)
    for protected, original, message in (
        (faces[:0], faces[:0], "protected: .* equally many faces"),
        (faces[:1], faces, "original: .* equally many faces"),
        (faces[0], faces[0], "protected: .* equally many faces"),
        (faces[..., :64], faces[..., :64], r"\(B, 3, 112, 112\)"),
        (faces.to(torch.uint8), faces, "protected: torch.uint8"),
        (faces, faces + 255, "original: values beyond .* divided by 255"),
        (faces, faces * torch.nan, "original: values beyond"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(protected, original)


@pytest.mark.parametrize(("name", "key"), [("quality", "psnr"), ("quality", "ssim"), ("mmd", "mmd")])
def test_measures_of_faces_are_differentiable(name: str, key: str) -> None:
    protected, original = (faces[2:4].clone() for faces in make_inputs(name))
    protected.requires_grad_()
    make_metric(name)(protected, original)[key].backward()
    assert protected.grad is not None
    assert protected.grad.isfinite().all()
    assert protected.grad.any()


# Intervals


def test_bootstrap_interval_equals_a_loop_over_the_same_draws(generator: torch.Generator) -> None:
    values = torch.rand(30, generator=generator)
    draws = torch.randint(30, (200, 30), generator=torch.Generator().manual_seed(4))
    means = [sum(values[i].item() for i in draw) / 30 for draw in draws.tolist()]
    expected = np.percentile(means, [5, 95]).tolist()
    assert bootstrap_interval(values, 0.9, samples=200, seed=4) == pytest.approx(expected, abs=1e-9)


def test_bootstrap_interval_over_people_equals_a_loop_over_the_same_draws(generator: torch.Generator) -> None:
    values = torch.rand(9, generator=generator, dtype=torch.float64)
    people = torch.tensor([7, 2, 2, 7, 7, 5, 5, 5, 9])
    draws = torch.randint(4, (200, 4), generator=torch.Generator().manual_seed(4))
    means = []
    for draw in draws.tolist():
        drawn = [float(values[row]) for person in draw for row in range(9) if people[row] == [2, 5, 7, 9][person]]
        means.append(sum(drawn) / len(drawn))
    expected = np.quantile(means, [0.05, 0.95])
    found = bootstrap_interval(values, 0.9, samples=200, seed=4, groups=people)
    assert found == pytest.approx(expected, abs=1e-9)
    alone = torch.arange(9).flip(0)
    assert bootstrap_interval(values, groups=alone) == bootstrap_interval(values)


def test_bootstrap_interval_is_near_the_normal_one_and_depends_on_the_seed_alone() -> None:
    success = torch.arange(500) < 350
    low, high = bootstrap_interval(success)
    margin = 1.96 * math.sqrt(0.7 * 0.3 / 500)
    assert (low, high) == pytest.approx((0.7 - margin, 0.7 + margin), abs=0.004)
    torch.manual_seed(3)
    assert bootstrap_interval(success) == (low, high)
    assert bootstrap_interval(success, samples=100, seed=1) != bootstrap_interval(success, samples=100, seed=2)
    assert bootstrap_interval(success, 0.5)[0] > low


@pytest.mark.parametrize("values", [torch.zeros(0), torch.zeros(2, 2), torch.tensor([1.0, math.inf])])
def test_bootstrap_interval_refuses_bad_values(values: Tensor) -> None:
    with pytest.raises(ValueError, match="values: .* one finite value per probe"):
        bootstrap_interval(values)


@pytest.mark.parametrize(("level", "samples"), [(0.0, 10), (95, 10), (0.95, 0)])
def test_bootstrap_interval_refuses_bad_settings(level: float, samples: int) -> None:
    with pytest.raises(ValueError, match="level, samples: "):
        bootstrap_interval(torch.ones(3), level, samples)


# Batches and processes


@pytest.mark.parametrize("name", METRICS)
def test_batches_equal_one_update_and_forward_gives_the_batch(name: str) -> None:
    whole = measured(name, slice(None))
    assert measured(name, slice(0, 1), slice(1, 5), slice(5, PROBES)) == pytest.approx(whole, abs=1e-5)
    metric = make_metric(name)
    for batch in (slice(0, 5), slice(5, PROBES)):
        if name != "tar" or batch.start == 0:  # two impostors show no FAR of 0.2
            values = numbers(metric(*(values[batch] for values in make_inputs(name))))
            assert values == pytest.approx(measured(name, batch), abs=1e-5)
        else:
            metric.update(*(values[batch] for values in make_inputs(name)))
    assert numbers(metric.compute()) == pytest.approx(whole, abs=1e-5)
    metric.reset()
    metric.update(*make_inputs(name))
    assert numbers(metric.compute()) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_a_metric_without_updates_has_no_value(name: str) -> None:
    with pytest.raises(ValueError, match=r"at least one|No samples"):
        make_metric(name).compute()


@pytest.mark.parametrize("name", METRICS)
def test_metrics_say_what_torchmetrics_asks(name: str) -> None:
    metric = make_metric(name)
    assert metric.full_state_update is False
    assert metric.higher_is_better is (name != "mmd")
    assert metric.is_differentiable is (name in ("quality", "mmd"))


def measure_in_a_process(rank: int, folder: str) -> None:
    """Save what this process computes where the processes hold 2 and 5 probes, and where they hold all and none."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=240)
    )
    try:
        with warnings.catch_warnings(action="error"):
            # Of the process that holds none.
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            results = []
            for shards in ((slice(0, 2), slice(2, PROBES)), (slice(None), None)):
                for name in METRICS:
                    metric, shard = make_metric(name), shards[rank]
                    if shard is not None:
                        metric.update(*(values[shard] for values in make_inputs(name)))
                    results.append(numbers(metric.compute()))
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    expected = [measured(name, slice(None)) for name in METRICS] * 2
    # This process is the first: to import torch once more takes longer than all else here.
    second = spawn(measure_second, args=(str(tmp_path),), join=False)
    try:
        measure_in_a_process(0, str(tmp_path))
    finally:
        second.join()
    for rank in range(2):
        for name, found, one in zip(METRICS * 2, torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            assert found == pytest.approx(one, abs=1e-5), name


def measure_second(_: int, folder: str) -> None:
    measure_in_a_process(1, folder)
