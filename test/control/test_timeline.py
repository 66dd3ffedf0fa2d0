"""Rows by time: a late input enters at the right row."""

from __future__ import annotations

import numpy as np
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
