from __future__ import annotations

import time

import pytest

from facecrypt.system.timing import Stopwatch, stage


class Clock:
    """Time that passes only where somebody sleeps, so that no busy machine adds to it."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


clock = Clock()


@pytest.fixture(autouse=True)
def _stopped_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)


@stage("inner")
def inner() -> None:
    clock.sleep(0.02)


@stage("outer")
def outer() -> None:
    clock.sleep(0.01)
    inner()
    with stage("block"):
        clock.sleep(0.03)


def test_every_moment_counts_once() -> None:
    watch = Stopwatch()
    with watch.running():
        outer()
        inner()
        clock.sleep(0.04)
    assert watch.seconds == pytest.approx(
        {(): 0.04, ("outer",): 0.01, ("outer", "inner"): 0.02, ("outer", "block"): 0.03, ("inner",): 0.02}
    )


def test_nothing_is_counted_where_nobody_measures() -> None:
    watch = Stopwatch()
    with watch.running():
        pass
    outer()
    assert set(watch.seconds) == {()}


def test_a_stage_that_fails_ends() -> None:
    watch = Stopwatch()

    @stage("broken")
    def broken() -> None:
        raise ZeroDivisionError

    with watch.running():
        with pytest.raises(ZeroDivisionError):
            broken()
        inner()
    assert ("inner",) in watch.seconds


def test_a_device_is_waited_for_at_both_ends() -> None:
    waits: list[int] = []
    watch = Stopwatch(lambda: waits.append(len(watch.seconds)))
    with watch.running():
        inner()
    assert len(waits) == 3  # Beginning and end of the stage, and the end of all.
