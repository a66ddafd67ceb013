from __future__ import annotations

import itertools
import random
import resource
import sys
from pathlib import Path

import pytest

from facecrypt.errors import RecipeError
from facecrypt.recipe.check import load_recipe
from facecrypt.recipe.schema import Limits
from facecrypt.system import limits
from facecrypt.system.limits import Bounds, Need, batches, free_memory, need_of, parse_size, resolve, show_size

QUICKSTART = Path(__file__).parents[2] / "tests" / "judged.yaml"
MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (MIB, MIB),
        ("1048576", MIB),
        ("2 GiB", 2 * GIB),
        ("2gib", 2 * GIB),
        (" 1.5 GiB ", 3 * GIB // 2),
        ("500MB", 500_000_000),
        ("3TB", 3 * 10**12),
        ("2000000 B", 2_000_000),
    ],
)
def test_sizes(given: int | str, size: int) -> None:
    assert parse_size(given) == size
    assert resolve(Limits(memory=given)).memory == size


@pytest.mark.parametrize(
    "given",
    ["", "x", "2 GiX", "-2 GiB", "1e9", "1,5 GiB", "GiB", ".inf", 0, -1, 1000, "1 KiB", True, "9" * 40, "1GiB x"],
)
def test_what_is_no_size(given: int | str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(given)


@pytest.mark.parametrize("size", ["much", "[1]", "true", "5", "{a: 1}", "''"])
def test_a_recipe_says_which_sizes_there_are(size: str) -> None:
    with pytest.raises(RecipeError, match=r"limits\.memory: .*in bytes or like '2 GiB', or null"):
        load_recipe(QUICKSTART, [f"limits.memory={size}"])


@pytest.mark.parametrize("seconds", ["0", "-1", ".inf", ".nan", "1e9", "soon", "null"])
def test_a_recipe_wants_seconds(seconds: str) -> None:
    with pytest.raises(RecipeError, match=r"limits\.seconds: "):
        load_recipe(QUICKSTART, [f"limits.seconds={seconds}"])


def test_a_recipe_has_bounds_of_its_own() -> None:
    recipe = load_recipe(QUICKSTART, ["limits.memory=2 GiB", "limits.seconds=3"])
    assert resolve(recipe.limits) == Bounds(2 * GIB, 3)
    assert resolve(recipe.limits, 4) == Bounds(GIB // 2, 3)
    assert resolve(load_recipe(QUICKSTART).limits).seconds == 20


@pytest.mark.parametrize(
    ("size", "shown"), [(1024, "1 KiB"), (3 * MIB // 2, "1.5 MiB"), (GIB, "1 GiB"), (12345 * GIB, "12,345 GiB")]
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert show_size(size) == shown


def test_half_of_what_is_free_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "free_memory", lambda: 6 * GIB)
    assert resolve(Limits()).memory == limits.current().memory == 3 * GIB
    with limits.applied(Bounds(MIB, 1)):
        assert limits.current() == Bounds(MIB, 1)
    assert limits.current().memory == 3 * GIB


def fake_group(folder: Path, **content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_container_has_less_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = free_memory()
    monkeypatch.setattr(limits, "_GROUPS", tmp_path)
    assert free_memory() == pytest.approx(machine, rel=0.5)
    stat = "anon 5\ninactive_file 20971520\nactive_file 7\n"
    fake_group(tmp_path, memory__max="max\n", memory__current="5\n", memory__stat=stat)
    assert free_memory() == pytest.approx(machine, rel=0.5)
    # 100 MiB, of which 50 are used, 20 of these by files that the system may forget.
    fake_group(tmp_path, memory__max=f"{100 * MIB}\n", memory__current=f"{50 * MIB}\n")
    assert free_memory() == 70 * MIB
    fake_group(tmp_path, memory__current=f"{500 * MIB}\n")
    assert free_memory() == 0


def test_a_group_above_may_have_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("/proc/self/cgroup")
    if not own.exists():
        pytest.skip("needs Linux")
    monkeypatch.setattr(limits, "_GROUPS", tmp_path)
    lines = "0::/a/b\n"
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *args: lines if self == own else read(self, *args))
    for group, most in (("", "max"), ("a", str(80 * MIB)), ("a/b", str(90 * MIB))):
        fake_group(tmp_path / group, memory__max=most, memory__current="0", memory__stat="inactive_file 0\n")
    assert free_memory() == 80 * MIB
    lines = "4:memory:/a\n3:cpu,cpuacct:/x\n"  # the first version of control groups
    names = {"memory.limit_in_bytes": str(60 * MIB), "memory.usage_in_bytes": str(20 * MIB)}
    fake_group(tmp_path / "memory" / "a", **names, memory__stat=f"total_inactive_file {MIB}\n")
    assert free_memory() == 41 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_the_users_own_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = resource.getrlimit

    def limited(kind: int) -> tuple[int, int]:
        return (1, 1) if kind == resource.RLIMIT_AS else real(kind)

    monkeypatch.setattr(resource, "getrlimit", limited)
    assert free_memory() == 0


def test_what_a_photo_needs() -> None:
    small, large = (need_of(side, side, "PNG", bits=8, alpha=False, file_bytes=0) for side in (1000, 10_000))
    assert small.held == 3_000_000
    assert 20 * 10**6 < small.work < 200 * 10**6
    assert large.held == 300_000_000
    assert 2 * 10**9 < large.total < 3 * 10**9
    for more in (
        need_of(10_000, 10_000, "PNG", bits=8, alpha=True, file_bytes=0),
        need_of(10_000, 10_000, "PNG", bits=16, alpha=False, file_bytes=0),
        need_of(10_000, 10_000, "AVIF", bits=8, alpha=False, file_bytes=0),
        need_of(10_000, 10_000, "PNG", bits=8, alpha=False, file_bytes=GIB),
        need_of(10_001, 10_000, "PNG", bits=8, alpha=False, file_bytes=0),
    ):
        assert more.total > large.total


# Batches


def planned(needs: list[Need], size: int, memory: int, readers: int = 0, ahead: int = 0) -> list[list[int]]:
    made = batches(range(len(needs)), size, needs.__getitem__, memory, readers=readers, ahead=ahead)
    return list(itertools.islice(made, 10_000))


def test_small_photos_come_in_full_batches() -> None:
    assert planned([Need(1, 1)] * 7, 3, 100) == [[0, 1, 2], [3, 4, 5], [6]]
    assert planned([], 3, 100) == []
    assert planned([Need(0, 0)] * 3, 8, 1) == [[0, 1, 2]]


def test_large_photos_come_one_by_one() -> None:
    assert planned([Need(30, 50)] * 4, 8, 100) == [[0], [1], [2], [3]]
    assert planned([Need(30, 40)] * 4, 8, 100) == [[0, 1], [2, 3]]
    assert planned([Need(1, 1), Need(30, 70), Need(1, 1)], 8, 100) == [[0], [1], [2]]


def test_one_that_never_fits_is_alone_for_whoever_reads_it_to_refuse() -> None:
    assert planned([Need(1, 1), Need(3000, 5000), Need(1, 1)], 8, 100) == [[0], [1], [2]]
    assert planned([Need(3000, 5000)] * 2, 8, 100, readers=2, ahead=4) == [[0], [], [], [], [], [1]]


def test_those_in_flight_count() -> None:
    # All three held, two of them at work: 100.
    assert planned([Need(20, 20)] * 3, 1, 100, readers=1, ahead=2) == [[0], [1], [2]]
    assert planned([Need(20, 20)] * 3, 1, 99, readers=1, ahead=2) == [[0], [1], [], [2]]


@pytest.mark.parametrize("seed", range(30))
def test_every_photo_comes_once_in_order_and_what_is_in_flight_fits(seed: int) -> None:
    rng = random.Random(seed)
    size, workers, memory = rng.randint(1, 6), rng.randint(0, 3), rng.randint(50, 400)
    needs = [Need(rng.choice((0, 1, 10, 60)), rng.choice((0, 5, 50, 300))) for _ in range(60)]
    ahead = 2 * workers
    plan = planned(needs, size, memory, workers, ahead)
    assert list(itertools.chain(*plan)) == list(range(60))
    assert max(map(len, plan)) <= size
    assert len(plan) <= 60 * (1 + ahead)
    for last in range(len(plan)):
        flying = [needs[key] for batch in plan[max(0, last - ahead) : last + 1] for key in batch]
        if len(flying) > 1:
            at_work = sorted((need.work for need in flying), reverse=True)[: workers + 1]
            assert sum(need.held for need in flying) + sum(at_work) <= memory


def test_nothing_is_measured_long_before_its_turn() -> None:
    seen: list[int] = []

    def measure(key: int) -> Need:
        seen.append(key)
        return Need(1, 1)

    made = batches(range(1000), 4, measure, 100)
    assert next(made) == [0, 1, 2, 3]
    assert len(seen) == 5
