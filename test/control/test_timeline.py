"""Rows by time: a late input enters at the right row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import HORIZON, JOINTS, PERIOD, normaliser, policy_input

from rlt_ros.control.timeline import reference_actions, row_at


@given(st.integers(0, HORIZON - 1), st.floats(-0.009, 0.009))
def test_row_is_the_nearest_in_time(row: int, jitter: float) -> None:
    assert row_at(100.0 + row * PERIOD + jitter, 100.0, PERIOD) == row


@given(st.integers(0, HORIZON), st.integers(1, HORIZON), st.integers(0, 10_000))
def test_actions_are_the_differences_of_the_rows_meant_for_these_ticks(late: int, rows: int, seed: int) -> None:
    targets = np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, (HORIZON, JOINTS)), axis=0)
    seen = policy_input(5.0, reference=targets, position=np.full(JOINTS, 2e-3))
    got = reference_actions(seen, 5.0 + late * PERIOD, rows, normaliser())
    if late + rows > HORIZON:
        assert got is None
        return
    before = seen.position if late == 0 else targets[late - 1]
    wanted = np.diff(np.vstack([before, targets[late : late + rows]]), axis=0) / 1e-3
    assert got is not None
    assert np.allclose(got, wanted, atol=1e-4)


def test_a_constant_offset_of_the_reference_is_no_jump() -> None:
    """The controller's lag shifts all rows alike; only motion may pass (violent seams elsewhere: lerobot#4223)."""
    plain, shifted = policy_input(0.0), policy_input(0.0, reference=policy_input(0.0).reference + 0.5)
    for late in (1, 7):
        a = reference_actions(plain, late * PERIOD, 10, normaliser())
        b = reference_actions(shifted, late * PERIOD, 10, normaliser())
        assert a is not None
        assert b is not None
        assert np.allclose(a, b, atol=1e-3)


def test_a_reference_from_the_future_covers_nothing() -> None:
    assert reference_actions(policy_input(10.0), 10.0 - 2 * PERIOD, 10, normaliser()) is None


@given(st.sampled_from([0.004, 0.01, 0.0333, 0.04]), st.integers(0, 20), st.floats(-0.4, 0.4), st.integers(0, 1000))
def test_a_loop_of_another_period_follows_the_same_motion(period: float, late: int, jitter: float, seed: int) -> None:
    """Wherever in a reference the ticks lie, their targets are those of its moments."""
    motion = np.random.default_rng(seed).normal(0, 1e-3, (HORIZON, JOINTS)).cumsum(0)
    given_ = policy_input(5.0, reference=motion, position=motion[0] - 1e-3)
    scale = normaliser().at(period)
    start = 5.0 + late * PERIOD + jitter * period
    rows = int((HORIZON - 1 - late) * PERIOD / period) - 1
    actions = reference_actions(given_, start, rows, scale)
    assert actions is not None
    known = 5.0 + PERIOD * np.arange(-1, HORIZON)
    told = np.vstack([given_.position, motion])

    def at(times: np.ndarray) -> np.ndarray:
        return np.array([np.interp(times, known, joint) for joint in told.T]).T

    flown = scale.targets(actions, at(np.array([start - period]))[0])
    assert flown == pytest.approx(at(start + period * np.arange(rows)), abs=1e-6)


@pytest.mark.parametrize("period", [0.01, 0.04])
def test_another_period_reaches_no_further_than_the_reference(period: float) -> None:
    scale = normaliser().at(period)
    whole = int(PERIOD * (HORIZON - 1) / period) + 1
    assert reference_actions(policy_input(5.0), 5.0, whole, scale) is not None
    assert reference_actions(policy_input(5.0), 5.0, whole + 2, scale) is None
    assert reference_actions(policy_input(5.0), 5.0 - period, 3, scale) is None


def test_the_same_speed_is_the_same_action_at_every_period() -> None:
    """What RL sees of a steady motion does not depend on the loop."""
    for period in (0.01, PERIOD, 0.04):
        actions = reference_actions(policy_input(5.0), 5.0 + 0.1, 5, normaliser().at(period))
        assert actions is not None
        assert actions == pytest.approx(np.ones((5, JOINTS)), abs=1e-4)
