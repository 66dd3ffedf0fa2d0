"""Who has the robot: from policy to human and back, through resets, and handed_off to somebody else."""

from __future__ import annotations

import numpy as np
import pytest
from support import JOINTS, PERIOD, Rig, actor, flying, session

from rlt_ros.types import Mode, Phase, State


def test_during_a_reset_nothing_is_sent_and_motion_goes_on_from_where_the_robot_is_then() -> None:
    rig = flying()
    rig.tick()
    rig.view = session(Phase.RESET)
    rig.robot = np.full(JOINTS, 0.7)
    step = rig.tick()
    assert (step.state, step.sent) == (State.HOLD, False)
    rig.view = session(Phase.CRITICAL, episode=2)
    rig.tick()
    rig.see()
    step = rig.tick()
    assert step.state is State.REFERENCE
    assert np.allclose(step.command, 0.7, atol=2e-3)


def test_a_human_takes_over_at_the_next_tick_without_a_jump() -> None:
    rig = flying()
    rig.executor.weights(actor(bias=2.0))
    last = [rig.tick() for _ in range(3)][-1]
    rig.executor.intervention(rig.now, True, np.full(JOINTS, 0.5))
    step = rig.tick()
    assert step.state is State.HUMAN
    assert np.abs(step.command - last.command).max() <= 1.0 * PERIOD + 1e-9
    for _ in range(100):
        rig.executor.intervention(rig.now, True, np.full(JOINTS, 0.5))
        step = rig.tick()
    assert np.allclose(step.command, 0.5)
    rig.executor.intervention(rig.now, False, None)
    rig.see()
    back = rig.tick()
    assert back.state is State.ACTOR
    assert np.abs(back.command - step.command).max() < 0.01


def test_a_human_who_falls_silent_latches_hold() -> None:
    rig = flying()
    rig.executor.intervention(rig.now, True, np.full(JOINTS, 0.5))
    for _ in range(15):
        rig.see()
        step = rig.tick()
    assert (step.state, step.reason) == (State.HOLD, "intervention_lost")
    for _ in range(100):
        rig.see()
        assert rig.tick().state is State.HOLD
    rig.executor.intervention(rig.now, False, None)
    rig.see()
    assert rig.tick().state is not State.HOLD


def test_after_a_human_the_policy_comes_back_from_rest_and_flies_nothing_older() -> None:
    rig = flying(handover_ticks=5)
    for _ in range(3):
        rig.executor.intervention(rig.now, True, rig.robot)
        rig.see()
        rig.tick()
    rig.executor.intervention(rig.now + PERIOD, False, None)
    step = rig.tick()
    assert (step.state, step.reason) == (State.HOLD, "policy_input_stale")
    rig.see()
    moves = []
    for _ in range(8):
        step = rig.tick()
        assert step.state is State.REFERENCE
        moves.append((step.command - step.previous)[0] / 1e-3)
    assert np.allclose(moves, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0], atol=1e-3)


def test_a_pose_that_went_stale_during_a_reset_is_not_sent_after_it() -> None:
    rig = flying()
    rig.view = session(Phase.RESET)
    rig.tick()
    for _ in range(20):
        rig.tick(joints=False)
    rig.view = session(Phase.CRITICAL, episode=2)
    assert not rig.tick(joints=False).sent
    rig.robot = np.full(JOINTS, 1.0)
    assert np.array_equal(rig.tick().command, np.full(JOINTS, 1.0))


def test_the_operators_hold_beats_the_human_too() -> None:
    rig = flying()
    rig.tick()
    rig.executor.mode = Mode.HOLD
    rig.executor.intervention(rig.now, True, np.ones(JOINTS))
    assert rig.tick().reason == "mode_hold"


def test_after_a_pause_motion_starts_where_the_robot_is_found() -> None:
    rig = flying()
    rig.tick()
    rig.executor.forget_robot()
    rig.robot = np.full(JOINTS, 0.4)
    rig.see()
    step = rig.tick()
    assert step.sent
    assert np.allclose(step.command, 0.4, atol=2e-3)


def test_a_lent_robot_is_left_alone_and_taken_back_where_it_is() -> None:
    rig = flying()
    rig.view = session(Phase.IDLE)
    rig.tick()
    rig.executor.hand_off()
    step = rig.tick()
    assert (step.state, step.reason, step.sent) == (State.HOLD, "homing", False)
    rig.robot = np.full(JOINTS, 0.7)
    assert not rig.tick().sent
    rig.executor.estop("pressed")
    step = rig.tick()
    assert (step.state, step.sent, rig.executor.handed_off) == (State.ESTOP, True, False)
    assert np.array_equal(step.command, np.full(JOINTS, 0.7))


@pytest.mark.parametrize("end", ["session", "human", "joints", "back"])
def test_what_ends_a_loan(end: str) -> None:
    rig = flying()
    rig.view = session(Phase.IDLE)
    rig.tick()
    rig.executor.hand_off()
    rig.tick()
    rig.robot = np.full(JOINTS, 0.4)
    rig.tick()
    if end == "session":
        rig.view = session()
    elif end == "human":
        rig.executor.intervention(rig.now, True, None)
    elif end == "joints":
        rig.now += 1.0
    else:
        rig.executor.handed_off = False
    step = rig.tick(joints=end != "joints")
    assert step.reason != "homing"
    assert not rig.executor.handed_off
    assert step.sent is (end != "joints"), "where the robot is unknown there is nothing to repeat"
    if step.sent:
        assert np.array_equal(step.command, np.full(JOINTS, 0.4))


def test_a_human_who_fell_silent_in_a_reset_leaves_no_old_command_behind() -> None:
    """While the executor sends nothing others move the robot; the next episode begins where it is then."""
    rig = flying()
    rig.view = session(Phase.RESET)
    rig.executor.intervention(rig.now, True, np.full(JOINTS, 0.1))
    for _ in range(5):
        rig.executor.intervention(rig.now, True, np.full(JOINTS, 0.1))
        assert rig.tick().state is State.HUMAN
    for _ in range(30):
        step = rig.tick()
    assert (step.reason, step.sent) == ("intervention_lost", False)
    rig.robot = np.full(JOINTS, -0.5)
    rig.tick()
    rig.view = session(episode=2)
    step = rig.tick()
    assert (step.reason, step.sent) == ("intervention_lost", True)
    assert np.array_equal(step.command, np.full(JOINTS, -0.5))


def test_a_target_from_before_the_robot_was_found_is_not_flown() -> None:
    rig = Rig()
    rig.robot = np.full(JOINTS, 0.5)
    rig.executor.intervention(rig.now, True, np.zeros(JOINTS))
    rig.tick()
    assert np.array_equal(rig.tick().command, np.full(JOINTS, 0.5))


def test_nobody_gets_the_robot_in_the_middle_of_an_episode() -> None:
    rig = flying()
    rig.tick()
    assert "an episode runs" in rig.executor.hand_off_fault
    rig.executor.hand_off()
    assert rig.tick().state is State.REFERENCE
    rig.executor.mode = Mode.HOLD
    rig.executor.hand_off()
    assert rig.tick().reason == "homing"
