"""The periodic thread: absolute deadlines, no bursts, an exception ends it loudly."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlt_ros.control.realtime import Histogram, PeriodicThread

pytestmark = pytest.mark.live


@given(st.lists(st.floats(0, 0.09), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantile_is_an_upper_bound_within_a_bin(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert exact - 1e-9 <= histogram.quantile(share) <= exact + 5.1e-5
    assert histogram.max == max(values)


def test_a_long_tick_is_counted_and_not_caught_up() -> None:
    """After a stall of 5 periods the loop must go on at its rate, not fire the missed ticks at once."""
    times: list[float] = []
    done = threading.Event()

    def tick(now: float) -> None:
        times.append(now)
        if len(times) == 3:
            time.sleep(0.105)
        if len(times) == 8:
            done.set()

    thread = PeriodicThread(0.02, tick, lambda error: None)
    thread.start()
    assert done.wait(5.0)
    thread.stop()
    assert 3 <= thread.statistics.missed <= 8
    after = [b - a for a, b in pairwise(times[3:])]
    assert min(after) > 0.005, "ticks came in a burst"


def test_an_exception_stops_the_loop_and_is_reported() -> None:
    failed = threading.Event()

    def tick(_now: float) -> None:
        raise RuntimeError("boom")

    thread = PeriodicThread(0.001, tick, lambda error: failed.set())
    thread.start()
    assert failed.wait(2.0)
    thread.stop()
    assert thread.statistics.ticks == 0
