"""Whose clock differs is heard all the same, and never believed to speak of the future (W1, W5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlt_ros.control.clocks import SourceClock

HOUR = 3600.0


def test_a_clock_that_is_ours_gives_the_stamp() -> None:
    clock = SourceClock()
    assert clock.local(1000.0 - 0.03, 50.0, 1000.0) == pytest.approx(49.97)
    assert clock.difference == 0.0


def test_W1_one_stamp_an_hour_ahead_is_of_now_and_spoils_nothing() -> None:
    clock = SourceClock()
    assert clock.local(1000.0, 50.0, 1000.01) == pytest.approx(49.99)
    assert clock.local(1000.0 + HOUR, 50.03, 1000.04) == pytest.approx(50.03)
    assert clock.local(1000.06, 50.06, 1000.07) == pytest.approx(50.05)


def test_W1_our_clock_is_set_back_or_forward() -> None:
    clock = SourceClock()
    for wall in (1000.0, 400.0, 4000.0):
        for tick in range(100):
            now = wall / 1e6 + tick * 0.02
            assert clock.local(wall + tick * 0.02 - 0.01, now, wall + tick * 0.02) == pytest.approx(now - 0.01)


def test_a_driver_whose_clock_is_an_hour_behind_is_used_once_it_goes_on() -> None:
    clock = SourceClock()
    times = [clock.local(1000.0 - HOUR + t * 0.02, 50.0 + t * 0.02, 1000.0 + t * 0.02) for t in range(100)]
    assert times[0] is None, "it may be a message that was on its way for an hour"
    assert times[-1] == pytest.approx(50.0 + 99 * 0.02)
    assert clock.difference == pytest.approx(-HOUR)


def test_a_driver_that_repeats_an_old_state_is_never_used() -> None:
    clock = SourceClock()
    assert {clock.local(900.0, 50.0 + t * 0.02, 1000.0 + t * 0.02) for t in range(500)} == {None}


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(0.0, 0.5)), min_size=1, max_size=50))
def test_nothing_is_ever_of_the_future(stamps: list[tuple[float, float]]) -> None:
    clock, now = SourceClock(), 100.0
    for difference, elapsed in stamps:
        now += elapsed
        at = clock.local(5000.0 + now + difference, now, 5000.0 + now)
        assert at is None or at <= now + 1e-9


@pytest.mark.parametrize("drift", [-1e-4, 1e-4])
def test_clocks_that_drift_apart_are_followed(drift: float) -> None:
    clock, worst = SourceClock(), 0.0
    for tick in range(72_000):
        now = 100.0 + tick * 0.1
        at = clock.local((1.0 + drift) * now - HOUR, now, 5000.0 + now)
        if tick > 100:
            assert at is not None
            worst = max(worst, abs(now - at))
    assert worst < 0.01
