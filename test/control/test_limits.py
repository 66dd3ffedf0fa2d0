"""The guard: nothing absurd passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import JOINTS, PERIOD, limits

from rlt_ros.control.limits import JointLimits, guard

ABSURD = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-4, 4))


@settings(max_examples=2000)
@given(
    st.lists(ABSURD, min_size=JOINTS, max_size=JOINTS),
    st.lists(st.floats(-3, 3), min_size=JOINTS, max_size=JOINTS),
    st.floats(0.01, 5.0),
)
def test_no_wish_passes_a_limit(wish: list[float], last: list[float], velocity: float) -> None:
    box, before = limits(velocity), np.array(last)
    out = guard(np.array(wish), before, box, PERIOD)
    assert np.isfinite(out.command).all()
    assert (np.abs(out.command - before) <= velocity * PERIOD + 1e-12).all()
    assert (out.command >= box.low - 1e-12).all()
    assert (out.command <= box.high + 1e-12).all()
    assert out.refused == (not np.isfinite(wish).all())
    assert out.limited.any() or np.allclose(out.command, wish)


@pytest.mark.parametrize("wish", [np.zeros(JOINTS + 1), np.zeros((JOINTS, 1)), np.full(JOINTS, np.nan)])
def test_a_malformed_wish_repeats_the_last_command(wish: np.ndarray) -> None:
    last = np.full(JOINTS, 0.3)
    out = guard(wish, last, limits(), PERIOD)
    assert out.refused
    assert np.array_equal(out.command, last)


def test_a_robot_found_outside_its_limits_comes_back_slowly() -> None:
    last = np.full(JOINTS, 3.5)
    out = guard(last, last, limits(1.0), PERIOD)
    assert np.allclose(out.command, 3.5 - PERIOD)


def test_limits_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        JointLimits(np.ones(2), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="different shapes"):
        JointLimits(np.zeros(2), np.ones(3), np.ones(2))
