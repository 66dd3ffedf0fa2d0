"""Rows by time: which part of a reference belongs to a tick, whenever it arrived."""

from __future__ import annotations

import numpy as np

from rlt_ros.normaliser import Normaliser
from rlt_ros.types import Array32, PolicyInput

_SAME = 1e-6
"""Seconds by which two periods may differ and be the same."""


def row_at(time: float, start: float, period: float) -> int:
    """The row of a chunk that is meant for `time`; negative before its start."""
    return round((time - start) / period)


def reference_actions(policy_input: PolicyInput, time: float, rows: int, normaliser: Normaliser) -> Array32 | None:
    """The reference from `time` on, as normalised target changes.

    Row k of the result is how much the VLA wants the target to change in the tick at `time + k * period`. It is
    the difference of consecutive rows, so that a constant offset between the VLA's idea of the target and the
    last command (the controller's lag) does not become a jump; before row 0 stands the position the VLA saw.
    Where the loop's period is not that of the reference, its rows are joined by straight lines and read at the ticks.

    Args:
        policy_input: the VLA's output.
        time: of the first tick, on the clock of `policy_input.captured`.
        rows: number of rows wanted.
        normaliser: scale of the actions, and the loop's period.

    Returns:
        Shape (rows, J), or None when the reference does not cover these ticks.
    """
    if normaliser.period and abs(normaliser.period - policy_input.period) > _SAME:
        return _resampled(policy_input, time, rows, normaliser)
    first = row_at(time, policy_input.captured, policy_input.period)
    if first < 0 or first + rows > len(policy_input.reference):
        return None
    previous = policy_input.position if first == 0 else policy_input.reference[first - 1]
    return normaliser.actions(policy_input.reference[first : first + rows], np.asarray(previous))


def _resampled(policy_input: PolicyInput, time: float, rows: int, normaliser: Normaliser) -> Array32 | None:
    period, slack = policy_input.period, 0.5 * normaliser.period
    wanted = time - policy_input.captured + normaliser.period * np.arange(-1, rows)
    last = period * (len(policy_input.reference) - 1)
    if wanted[1] < -slack or wanted[-1] > last + slack:
        return None
    known = period * np.arange(-1, len(policy_input.reference))
    targets = np.vstack([policy_input.position, policy_input.reference])
    at = np.array([np.interp(wanted, known, joint) for joint in targets.T]).T
    return normaliser.actions(at[1:], at[0])
