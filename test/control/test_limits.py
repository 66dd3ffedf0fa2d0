"""The guard: nothing absurd passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support import JOINTS, PERIOD, limits

from rlt_ros.control.limits import JointLimits, Limit, guard

CASES = 20_000
"""Seeds: a case that fails is told by its number."""


def test_no_wish_passes_a_limit() -> None:
    refused = sum(stays_within(case) for case in range(CASES))
    assert 0.1 * CASES < refused < 0.4 * CASES


def stays_within(case: int) -> bool:
    """Whether the drawn wish was refused."""
    rng = np.random.default_rng(case)
    wish = rng.uniform(-4, 4, JOINTS if rng.random() < 0.9 else rng.integers(0, JOINTS + 3))
    if len(wish) and rng.random() < 0.2:
        wish[rng.integers(len(wish))] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -1e300, 5e-324, -0.0])
    now = rng.uniform(-3, 3, JOINTS)
    if len(wish) == JOINTS and rng.random() < 0.5:
        wish = now + rng.normal(0, 10.0 ** rng.uniform(-6, 0), JOINTS)  # most wishes are near
    robot = now + rng.normal(0, 10.0 ** rng.uniform(-4, 0.5), JOINTS)
    velocity, acceleration, following = (10.0 ** rng.uniform(*power) for power in ((-2, 0.7), (-1, 1.7), (-2, 0)))
    before = now - np.clip(rng.uniform(-0.1, 0.1, JOINTS), -velocity * PERIOD, velocity * PERIOD)
    box = dataclasses.replace(
        limits(velocity), acceleration=np.full(JOINTS, acceleration), following=np.full(JOINTS, following)
    )
    out = guard(wish, now, box, PERIOD, before=before, measured=robot)
    moved, moving = out.command - now, now - before
    assert np.isfinite(out.command).all()
    assert (np.abs(moved) <= velocity * PERIOD + 1e-12).all()
    assert (out.command >= box.low - 1e-12).all()
    assert (out.command <= box.high + 1e-12).all()
    gained = np.abs(moved) - np.where(np.sign(moved) == np.sign(moving), np.abs(moving), 0)
    assert (gained <= acceleration * PERIOD**2 + 1e-12).all(), "it gains speed no faster than allowed"
    was, farther = np.abs(now - robot), np.abs(out.command - robot)
    assert (farther <= np.maximum(following, was) + 1e-12).all(), "it never runs away from the robot"
    sound = len(wish) == JOINTS and bool(np.isfinite(wish).all())
    assert out.refused == (not sound)
    assert not sound or out.acted.any() or np.allclose(out.command, wish)
    return out.refused


def test_the_guard_says_which_limit_held_which_joint() -> None:
    box = JointLimits(
        np.full(4, -1.0), np.ones(4), np.array([1.0, 9.0, 9.0, 9.0]), np.array([1e3, 1e3, 1.0, 1e3]), np.full(4, 0.05)
    )
    last = np.array([0.0, 0.96, 0.0, 0.0])
    measured = np.array([0.0, 0.96, 0.0, -0.04])
    wish = np.array([0.04, 1.005, 0.04, 0.04])
    acted = guard(wish, last, box, PERIOD, measured=measured).acted
    assert [(Limit(kind).name, joint) for kind, joint in np.argwhere(acted)] == [
        ("POSITION", 1),
        ("VELOCITY", 0),
        ("ACCELERATION", 2),
        ("FOLLOWING", 3),
    ]


def test_stopping_is_always_allowed() -> None:
    box = dataclasses.replace(limits(), acceleration=np.full(JOINTS, 0.1))
    last = np.full(JOINTS, 0.5)
    out = guard(last, last, box, PERIOD, before=last - 0.02)
    assert np.array_equal(out.command, last)
    assert not out.acted.any()


URDF = """<robot name="r">
  <joint name="a" type="revolute"><limit lower="-0.5" upper="9" velocity="0.7" effort="1"/></joint>
  <joint name="b" type="prismatic"><limit lower="0.02" upper="0.05" velocity="0.1" effort="1"/></joint>
  <joint name="c" type="continuous"><limit velocity="5" effort="1"/></joint>
  <joint name="other" type="fixed"/>
</robot>"""


def test_a_robot_description_narrows_the_limits_and_never_widens_them() -> None:
    narrow = limits(1.0).tightened(("a", "b", "c"), URDF)
    assert narrow.low.tolist() == [-0.5, -3.0, -3.0]
    assert narrow.high.tolist() == [3.0, 3.0, 3.0]
    assert narrow.velocity.tolist() == [0.7, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"), [("<robot", "not XML"), (URDF.replace('"-0.5" upper="9"', '"4" upper="9"'), "a no room")]
)
def test_a_robot_description_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limits().tightened(("a", "b", "c"), text)


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
    with pytest.raises(ValueError, match="positive"):
        JointLimits(np.zeros(2), np.ones(2), np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="different shapes"):
        JointLimits(np.zeros(2), np.ones(3), np.ones(2))
