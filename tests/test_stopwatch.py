from __future__ import annotations

import time

import pytest

from facecrypt.stopwatch import Stopwatch, stage


@stage("inner")
def inner() -> None:
    time.sleep(0.02)


@stage("outer")
def outer() -> None:
    time.sleep(0.01)
    inner()
    with stage("block"):
        time.sleep(0.03)


def test_every_moment_counts_once() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    with watch.running():
        outer()
        inner()
        time.sleep(0.01)
    whole = time.perf_counter() - began
    assert set(watch.seconds) == {(), ("outer",), ("outer", "inner"), ("outer", "block"), ("inner",)}
    assert watch.seconds["outer", "block"] >= 0.03
    assert watch.seconds["outer", "inner"] >= 0.02
    assert watch.seconds["outer",] >= 0.01
    assert sum(watch.seconds.values()) == pytest.approx(whole, abs=0.005)


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
