"""Joint states of several sources: each is judged by itself, and every joint has its own age."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlt_ros.control.measured import MeasuredRobot
from rlt_ros.refusals import Refusals

ARM, GRIPPER = 0, 1
SPEED = 6.3


def robot(refusals: Refusals | None = None) -> MeasuredRobot:
    """Two joints of an arm, and its gripper between them in the bundle's order."""
    return MeasuredRobot(3, SPEED, refusals or Refusals(), [[0, 2], [1]])


def arm(measured: MeasuredRobot, time: float, at: float = 0.0, **more: str) -> None:
    measured.read(time, np.full(2, at), np.zeros(2), part=ARM, **more)


def gripper(measured: MeasuredRobot, time: float, at: float = 0.5, **more: str) -> None:
    measured.read(time, np.array([at]), np.array([np.nan]), part=GRIPPER, **more)


def test_the_pose_is_known_once_every_source_has_spoken() -> None:
    measured = robot()
    arm(measured, 1.0, 0.2)
    assert measured.position is None
    assert measured.fault(1.0, 0.1) == "no_joint_states"
    gripper(measured, 1.01)
    assert measured.position is not None
    assert measured.position.tolist() == [0.2, 0.5, 0.2]
    assert measured.fault(1.02, 0.1) == ""


def test_one_source_that_falls_silent_makes_the_pose_stale() -> None:
    measured = robot()
    for tick in range(20):
        arm(measured, 1 + tick * 0.02)
        if tick < 5:
            gripper(measured, 1 + tick * 0.02)
    assert measured.time == pytest.approx(1.08)
    assert measured.fault(1.38, 0.1) == "joint_states_stale"


def test_a_jump_of_one_source_is_not_believed_and_leaves_the_other_alone() -> None:
    refusals = Refusals()
    measured = robot(refusals)
    arm(measured, 1.0)
    gripper(measured, 1.0)
    arm(measured, 1.02, 2.0)
    gripper(measured, 1.02, 0.52)
    assert measured.fault(1.03, 0.1) == "joint_states_implausible"
    assert measured.position is not None
    assert measured.position.tolist() == [0.0, 0.52, 0.0]
    assert refusals.counts["joint_state_jump"] == 1


def test_two_publishers_of_two_sources_are_no_contradiction() -> None:
    measured = robot()
    for tick in range(10):
        arm(measured, 1 + tick * 0.02, source="arm driver")
        gripper(measured, 1 + tick * 0.02, source="gripper driver")
    assert measured.fault(1.19, 0.1) == ""
    gripper(measured, 1.2, source="stray")
    assert measured.fault(1.2, 0.1) == "joint_states_two_publishers"


def test_velocities_that_a_driver_does_not_give_are_derived() -> None:
    measured = robot()
    for tick in range(100):
        arm(measured, 1 + tick * 0.01)
        gripper(measured, 1 + tick * 0.01, tick * 0.01 * 0.3)
    assert measured.velocity == pytest.approx([0.0, 0.3, 0.0], abs=1e-6)


def test_every_joint_has_one_source() -> None:
    with pytest.raises(ValueError, match="3 joints"):
        MeasuredRobot(3, SPEED, Refusals(), [[0, 1]])
    with pytest.raises(ValueError, match="3 joints"):
        MeasuredRobot(3, SPEED, Refusals(), [[0, 1], [1, 2]])


@given(st.lists(st.tuples(st.sampled_from([ARM, GRIPPER]), st.floats(0.001, 0.04)), min_size=1, max_size=60))
def test_a_pose_is_never_newer_than_its_oldest_joint(readings: list[tuple[int, float]]) -> None:
    measured, now, heard = robot(), 1.0, {ARM: -np.inf, GRIPPER: -np.inf}
    for part, later in readings:
        now += later
        (arm if part == ARM else gripper)(measured, now)
        heard[part] = now
        assert measured.time == min(heard.values())
        assert (measured.position is None) == (min(heard.values()) == -np.inf)
        assert (measured.fault(now, 0.1) == "") == (now - min(heard.values()) <= 0.1)
