"""What a robot's owner is promised, row by row of the field report: stops, idle robots, poses that cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from support import JOINTS, PERIOD, Rig, actor, flying, limits, session

from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import JointLimits, guard
from rlt_ros.types import ControlStep, Mode, Phase, State

FOLLOWING, DECELERATION = 0.3, 5.0
LOSS = DECELERATION * PERIOD**2


def careful(rig: Rig) -> Rig:
    """With the limits that a robot's owner sets."""
    rig.executor.limits = dataclasses.replace(
        limits(), following=np.full(JOINTS, FOLLOWING), deceleration=np.full(JOINTS, DECELERATION)
    )
    return rig


def full_speed() -> Rig:
    """An actor that flies every joint at 1 rad/s."""
    rig = careful(flying())
    rig.executor.weights(actor(bias=30.0))
    for count in range(8):
        if count % 2 == 0:
            rig.see()
        step = rig.tick()
    assert np.allclose(step.command - step.previous, PERIOD)
    return rig


def moved_by_hand(rig: Rig, metres: float = 1.0, seconds: float = 2.0) -> list[ControlStep]:
    """Somebody else moves the arm; what the executor does meanwhile."""
    steps = []
    for _ in range(round(seconds / PERIOD)):
        rig.robot = rig.robot + metres * PERIOD / seconds
        before = rig.robot.copy()
        steps.append(rig.tick())
        rig.robot = before  # the arm is in free drive: commands do nothing
    return steps


def holds(rig: Rig, how: str) -> None:
    """Bring an executor to rest in one of the ways there are."""
    if how == "mode":
        rig.executor.mode = Mode.HOLD
    elif how == "stop":
        rig.executor.estop("pressed")
    elif how == "idle":
        rig.view = session(Phase.IDLE)
    elif how == "ended":
        rig.view = session(Phase.ENDED)
    for _ in range(60):
        rig.tick()


@pytest.mark.parametrize("how", ["mode", "stop", "idle", "ended"])
@pytest.mark.parametrize("flew", [False, True])
def test_S1_who_moves_the_arm_of_an_executor_in_hold_is_not_fought(how: str, flew: bool) -> None:
    rig = full_speed() if flew else careful(Rig())
    if not flew:
        rig.view = session(Phase.IDLE)
        rig.tick()
    holds(rig, how)
    for step in moved_by_hand(rig):
        assert not step.sent or np.abs(step.command - step.position).max() <= 1e-9


@pytest.mark.parametrize("how", ["mode", "stop", "idle", "ended"])
def test_S1_after_it_was_moved_flight_begins_where_the_robot_is(how: str) -> None:
    rig = full_speed()
    holds(rig, how)
    moved_by_hand(rig)
    rig.executor.clear_estop()
    rig.executor.mode = Mode.AUTO
    rig.view = session(episode=2)
    where = rig.robot.copy()
    rig.tick()
    rig.see()
    step = rig.tick()
    assert step.state is State.ACTOR
    assert step.sent
    assert np.abs(step.command - where).max() <= PERIOD + 1e-9


def test_S1_after_a_minute_of_a_silent_driver_no_old_target_is_left() -> None:
    rig = full_speed()
    steps = [rig.tick(joints=False) for _ in range(60 * 50)]
    assert not any(step.sent for step in steps[50:])
    assert steps[-1].reason == "joint_states_stale"
    rig.robot = np.full(JOINTS, -0.8)
    rig.view = session(episode=2)
    for _ in range(15):  # a pose so far away is believed only after a while
        step = rig.tick()
        assert not step.sent or np.allclose(step.command, -0.8)
    rig.see()
    step = rig.tick()
    assert step.state is State.ACTOR
    assert np.abs(step.command + 0.8).max() <= PERIOD + 1e-9


def test_S1_a_low_gain_arm_does_not_droop() -> None:
    rig = full_speed()
    sag = np.array([0.05, -0.1, 0.2])
    rig.executor.mode = Mode.HOLD
    commands = []
    for _ in range(500):
        target = rig.robot
        rig.executor.joint_state(rig.now + PERIOD, target - sag * min(1.0, len(commands) / 20), np.zeros(JOINTS))
        step = rig.tick(joints=False)
        rig.robot = step.command.copy()
        commands.append(step.command)
    assert np.array_equal(commands[-1], commands[30])
    rig.executor.mode = Mode.AUTO
    rig.executor.joint_state(rig.now + PERIOD, rig.robot - sag, np.zeros(JOINTS))
    rig.see()
    step = rig.tick(joints=False)
    assert np.abs(step.command - commands[-1]).max() <= PERIOD + 1e-9, "flight goes on from the command that was kept"


def test_S1_a_hold_is_repeated_for_a_while_and_then_kept_in_silence() -> None:
    rig = careful(flying(hold_time=0.2))
    rig.tick()
    rig.executor.mode = Mode.HOLD
    sent = [rig.tick().sent for _ in range(30)]
    assert sent == sorted(sent, reverse=True)
    assert 8 <= sum(sent) <= 12


WAYS: dict[str, Callable[[Rig], None]] = {
    "e-stop": lambda rig: rig.executor.estop("pressed"),
    "HOLD": lambda rig: setattr(rig.executor, "mode", Mode.HOLD),
    "the episode ends": lambda rig: setattr(rig, "view", session(Phase.ENDED)),
    "a reset begins": lambda rig: setattr(rig, "view", session(Phase.RESET)),
    "a human who holds still": lambda rig: rig.executor.intervention(rig.now, True, None),
    "a human elsewhere": lambda rig: rig.executor.intervention(rig.now, True, rig.robot - 1.0),
    "shutting down": lambda rig: setattr(rig.executor, "ending", True),
}


def at_rest_after(rig: Rig, *, joints: bool = True, heartbeat: bool = True, see: bool = True) -> list[np.ndarray]:
    """Commands on the wire until nothing moves any more, the last one of flight first."""
    wire = [rig.robot.copy() - PERIOD, rig.robot.copy()]
    for count in range(60):
        if see and count % 2 == 0:
            rig.see()
        step = rig.tick(joints=joints, heartbeat=heartbeat)
        if step.sent:
            wire.append(step.command)
    return wire


def check_deceleration(wire: list[np.ndarray]) -> None:
    speeds = np.diff(wire, axis=0)
    losses = np.abs(speeds[:-1]) - np.abs(speeds[1:])
    assert losses.max() <= LOSS + 1e-9, "a step in velocity"
    assert np.abs(speeds[-1]).max() <= LOSS + 1e-9, "it does not come to rest"


@pytest.mark.parametrize("way", WAYS)
def test_S2_every_transition_loses_speed_no_faster_than_the_limit(way: str) -> None:
    rig = full_speed()
    WAYS[way](rig)
    speeds = np.diff(at_rest_after(rig), axis=0)
    assert (np.abs(speeds[:-1]) - np.abs(speeds[1:])).max() <= LOSS + 1e-9


@pytest.mark.parametrize(
    ("lost", "silent"),
    [("joint states", {"joints": False}), ("session", {"heartbeat": False}), ("VLA", {"see": False})],
)
def test_S2_a_lost_input_ends_in_a_soft_stop(lost: str, silent: dict[str, bool]) -> None:
    rig = full_speed()
    rig.executor.config = dataclasses.replace(rig.executor.config, max_session_age=0.1)
    check_deceleration(at_rest_after(rig, **silent))


def test_S2_a_dying_human_ends_in_a_soft_stop() -> None:
    rig = careful(flying())
    for _ in range(40):
        rig.executor.intervention(rig.now, True, rig.robot + 1.0)
        step = rig.tick()
    assert np.allclose(step.command - step.previous, PERIOD)
    check_deceleration(at_rest_after(rig))


def test_S2_what_the_policy_itself_does_is_not_slowed_down_more_suddenly() -> None:
    rig = full_speed()
    rig.executor.weights(actor(2, bias=-30.0))
    wire = [rig.robot.copy()]
    for count in range(60):
        if count % 2 == 0:
            rig.see()
        wire.append(rig.tick().command)
    speeds = np.diff(wire, axis=0)
    losses = np.abs(speeds[:-1]) - np.abs(speeds[1:])
    assert losses.max() <= LOSS + 1e-9


def test_S2_a_robot_comes_to_rest_before_its_limits_and_its_leash() -> None:
    box = JointLimits(
        *(np.array([bound]) for bound in (-1.0, 1.0, 1.0)), following=np.array([0.2]), deceleration=np.array([5.0])
    )
    last, before = np.zeros(1), np.full(1, -PERIOD)
    measured = np.zeros(1)
    for _ in range(200):
        out = guard(np.full(1, 9.0), last, box, PERIOD, before=before, measured=measured)
        assert not out.elsewhere.any(), "a robot that is blocked is no reason to let go"
        assert (last - before) - (out.command - last) <= LOSS + 1e-9
        before, last = last, out.command
    assert 0.15 < last[0] <= 0.2
    for _ in range(200):
        measured = last
        out = guard(np.full(1, 9.0), last, box, PERIOD, before=before, measured=measured)
        assert (last - before) - (out.command - last) <= LOSS + 1e-9
        before, last = last, out.command
    assert 0.99 < last[0] <= 1.0


def test_a_robot_that_is_pushed_away_in_flight_is_let_go_and_taken_where_it_is() -> None:
    rig = careful(flying())
    rig.tick()
    rig.robot = rig.robot + 0.15
    for _ in range(3):
        rig.see()
        rig.robot = rig.robot + 0.1
        pushed = rig.robot.copy()
        step = rig.tick()
        assert not step.sent or np.abs(step.command - pushed).max() <= FOLLOWING
        rig.robot = pushed
    assert rig.executor.counters["robot_elsewhere"] + rig.executor.counters["joint_state_jump"] > 0


def test_S3_silence_of_a_stop_source_is_a_stop() -> None:
    rig = flying(stop_heartbeat=0.2)
    rig.executor = Executor(rig.executor.config, "test-bundle", rig.executor.normaliser, limits(), ("box",))
    step = rig.tick()
    assert (step.state, step.reason) == (State.HOLD, "stop_source_silent"), "nothing moves before it has spoken"
    for _ in range(5):
        rig.executor.stop_source(rig.now, "box", pressed=False)
        rig.see()
        step = rig.tick()
    assert step.state is State.REFERENCE
    for _ in range(12):
        rig.see()
        step = rig.tick()
    assert (step.state, step.reason) == (State.ESTOP, "stop source box is silent")
    assert "silent" in rig.executor.stops.fault(rig.now)
    rig.executor.stop_source(rig.now, "box", pressed=False)
    assert rig.executor.stops.fault(rig.now) == ""


def test_S3_two_boxes_are_two_buttons() -> None:
    rig = flying()
    rig.executor.stop_source(rig.now, "left", pressed=True)
    rig.executor.stop_source(rig.now, "right", pressed=True)
    rig.executor.stop_source(rig.now, "left", pressed=False)
    assert "still pressed" in rig.executor.clear_estop()
    rig.executor.stop_source(rig.now, "right", pressed=False)
    assert rig.executor.clear_estop() == ""


def test_S6_two_publishers_are_both_not_believed_and_no_zeros_are_sent() -> None:
    rig = careful(Rig())
    home = np.array([0.86, -0.4, 0.5])
    rig.robot = home
    for count in range(100):
        rig.executor.joint_state(rig.now, np.zeros(JOINTS), np.zeros(JOINTS), "stray")
        rig.executor.joint_state(rig.now + PERIOD, home, np.zeros(JOINTS), "driver")
        rig.see()
        step = rig.tick(joints=False)
        assert not step.sent
        if count > 1:
            assert step.reason == "joint_states_two_publishers"
    for _ in range(60):
        rig.executor.joint_state(rig.now + PERIOD, home, np.zeros(JOINTS), "driver")
        rig.see()
        step = rig.tick(joints=False)
    assert step.state is State.REFERENCE, "the stray one is gone"
    assert np.abs(step.command - home).max() < 0.1


def test_S6_a_pose_that_jumps_is_not_believed_until_it_stays() -> None:
    rig = full_speed()
    there = rig.robot - 0.86
    wire = [rig.robot.copy()]
    reasons = []
    for _ in range(30):
        rig.executor.joint_state(rig.now + PERIOD, there, np.zeros(JOINTS))
        rig.see()
        step = rig.tick(joints=False)
        reasons.append(step.reason)
        if step.sent and step.state is not State.ACTOR:
            wire.append(step.command)
        rig.robot = there
    assert reasons[0] == "joint_states_implausible"
    assert reasons[-1] == ""
    assert rig.executor.counters["joint_state_jump"] > 0
    first = next(i for i, reason in enumerate(reasons) if not reason)
    assert 0.2 <= first * PERIOD <= 0.4
    assert (np.abs(np.diff(wire, axis=0)) <= PERIOD + 1e-9).all()


def test_S6_one_glitch_holds_for_a_moment() -> None:
    rig = full_speed()
    rig.executor.joint_state(rig.now + PERIOD / 2, np.zeros(JOINTS) + 2.5, np.zeros(JOINTS))
    rig.see()
    assert rig.tick().reason == "joint_states_implausible"
    for _ in range(20):
        rig.see()
        step = rig.tick()
    assert step.state is State.ACTOR


def test_degrees_are_no_radians() -> None:
    rig = Rig()
    rig.robot = np.degrees(np.array([0.8, -0.7, 0.3]))
    step = rig.tick()
    assert (step.reason, step.sent) == ("no_joint_states", False)
    assert rig.executor.counters["joint_state_unit"] == 1


def test_W2_velocities_that_the_driver_does_not_give_come_from_the_positions() -> None:
    rig = careful(Rig())
    for count in range(50):
        position = np.full(JOINTS, 0.5 * count * PERIOD)
        rig.executor.joint_state(rig.now + PERIOD, position, np.array([np.nan, np.nan, 0.25]))
        step = rig.tick(joints=False)
    assert step.reason != "no_joint_states"
    assert np.allclose(step.velocity, [0.5, 0.5, 0.25], atol=0.01)
    for _ in range(50):
        rig.executor.joint_state(rig.now + PERIOD, position, np.full(JOINTS, np.nan))
        step = rig.tick(joints=False)
    assert np.allclose(step.velocity, 0.0, atol=1e-3)


def test_S2_a_stop_that_is_cleared_in_the_middle_still_ends_softly() -> None:
    rig = full_speed()
    rig.executor.estop("pressed")
    wire = [rig.robot.copy() - PERIOD, rig.robot.copy()]
    for count in range(20):
        if count == 3:
            assert rig.executor.clear_estop() == ""
        step = rig.tick()
        if step.sent:
            wire.append(step.command)
    check_deceleration(wire)
    assert step.reason == "mode_hold"


def test_two_sessions_are_not_both_believed() -> None:
    rig = flying()
    rig.tick()
    rig.executor.session(rig.now, session(Phase.IDLE, epoch=2000))
    rig.executor.session(rig.now, session(Phase.CRITICAL, epoch=1000, episode=9))
    assert rig.tick(heartbeat=False).reason == "phase_idle"
    assert rig.executor.counters["session_other"] == 1
    rig.now += 2.0
    rig.executor.session(rig.now, session(Phase.CRITICAL, epoch=1000, episode=9))
    rig.see()
    assert rig.tick(heartbeat=False).state is State.REFERENCE, "the newer one is gone"
