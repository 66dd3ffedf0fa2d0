"""The state machine: human beats actor beats reference beats hold, and everything missing ends in HOLD."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import BUNDLE, JOINTS, PERIOD, TOKEN, Rig, actor, flying, limits, normaliser, policy_input, session

from rlt_ros.control.actor import OWN, WeightsError
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import Limit
from rlt_ros.types import Mode, Phase, PolicyInput, State


def test_without_joint_states_nothing_is_sent() -> None:
    rig = Rig()
    rig.see()
    step = rig.tick(joints=False)
    assert (step.state, step.reason, step.sent) == (State.HOLD, "no_joint_states", False)


def test_the_reference_flies_where_there_is_no_actor() -> None:
    rig = flying()
    steps = [rig.tick() for _ in range(5)]
    assert {step.state for step in steps} == {State.REFERENCE}
    assert np.allclose(np.diff([step.command[0] for step in steps]), 1e-3)


def test_the_actor_flies_in_the_critical_phase_only_and_after_warm_up() -> None:
    for view, wanted in (
        (session(), State.ACTOR),
        (session(actor_enabled=False), State.REFERENCE),
        (session(Phase.BASE), State.REFERENCE),
        (session(Phase.ENDED), State.HOLD),
        (session(Phase.IDLE), State.HOLD),
    ):
        rig = Rig()
        rig.view = view
        rig.executor.weights(actor(bias=1.0))
        rig.tick()
        rig.see()
        assert rig.tick().state is wanted


def test_mode_limits_what_the_session_asks_for() -> None:
    rig = flying()
    rig.executor.weights(actor())
    rig.executor.mode = Mode.REFERENCE
    assert rig.tick().state is State.REFERENCE
    rig.executor.mode = Mode.HOLD
    step = rig.tick()
    assert (step.state, step.reason) == (State.HOLD, "mode_hold")


def test_weights_are_swapped_at_a_chunk_boundary_only_and_stamped() -> None:
    rig = flying()
    rig.executor.weights(actor(1, bias=0.5))
    first = [rig.tick() for _ in range(4)]
    rig.executor.weights(actor(2, bias=1.5))
    rest = []
    for _ in range(12):
        rig.see()
        rest.append(rig.tick())
    versions = [step.policy_version for step in first + rest]
    assert versions == [1] * 10 + [2] * 6
    moves = np.diff([step.command[0] for step in first + rest]) / 1e-3
    assert np.allclose(moves[:9], 1.5, atol=1e-3)
    assert np.allclose(moves[9:], 2.5, atol=1e-3)


def test_an_actor_of_another_chunk_length_is_refused() -> None:
    with pytest.raises(WeightsError, match="rows"):
        Rig().executor.check_actor(actor(chunk=5))


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"bundle_id": "other"}, "input_wrong_bundle"),
        ({"reference": np.zeros((50, JOINTS + 1))}, "input_shape"),
        ({"reference": np.full((50, JOINTS), np.nan)}, "input_not_finite"),
        ({"token": np.zeros(TOKEN, np.float32)}, "input_token_zero"),
        ({"token": np.full(TOKEN, np.inf, np.float32)}, "input_not_finite"),
        ({"position": np.zeros(1)}, "input_shape"),
    ],
)
def test_a_broken_policy_input_is_refused_and_counted(change: dict[str, object], counter: str) -> None:
    rig = Rig()
    rig.tick()
    rig.see(**change)
    step = rig.tick()
    assert rig.executor.counters[counter] == 1
    assert (step.state, step.reason) == (State.HOLD, "no_policy_input")


def test_inputs_from_the_future_or_out_of_order_are_refused() -> None:
    rig = flying()
    rig.executor.policy_input(rig.now, policy_input(rig.now + 1.0))
    rig.executor.policy_input(rig.now, policy_input(rig.now - 0.1))
    assert rig.executor.counters["input_future"] == 1
    assert rig.executor.counters["input_out_of_order"] == 1


def test_a_silent_vla_ends_in_hold_after_the_chunk() -> None:
    rig = flying(reference_rows=20, max_input_age=0.3)
    steps = [rig.tick() for _ in range(60)]
    moving = [step.state is State.REFERENCE for step in steps]
    assert moving == sorted(moving, reverse=True)
    assert 20 <= sum(moving) <= 20 + 15 + 1
    assert steps[-1].reason == "policy_input_stale"
    assert np.array_equal(steps[-1].command, steps[-2].command)


def test_stale_joint_states_hold_at_once_and_recover() -> None:
    rig = flying()
    rig.tick()
    steps = [rig.tick(joints=False) for _ in range(8)]
    assert steps[-1].reason == "joint_states_stale"
    assert np.array_equal(steps[-1].command, steps[-2].command)
    rig.see()
    assert rig.tick().state is State.REFERENCE


def test_a_silent_session_holds() -> None:
    rig = flying(max_session_age=0.1)
    rig.tick()
    for _ in range(7):
        rig.see()
        step = rig.tick(heartbeat=False)
    assert (step.state, step.reason) == (State.HOLD, "session_silent")


def test_inputs_seen_before_an_episode_began_are_not_flown() -> None:
    rig = Rig()
    rig.view = session(Phase.RESET)
    rig.tick()
    rig.see()
    rig.view = session(Phase.CRITICAL, episode=2)
    step = rig.tick()
    assert (step.state, step.reason) == (State.HOLD, "policy_input_stale")


def test_estop_latches_in_every_state_and_clearing_ends_in_hold() -> None:
    rig = flying()
    rig.executor.weights(actor())
    for prepare in (
        lambda: None,
        lambda: rig.executor.intervention(rig.now, True, np.ones(JOINTS)),
        lambda: setattr(rig.executor, "mode", Mode.HOLD),
    ):
        rig.executor.mode = Mode.AUTO
        prepare()
        rig.tick()
        before = rig.robot
        rig.executor.estop("test")
        for _ in range(3):
            rig.see()
            step = rig.tick()
            assert (step.state, step.reason) == (State.ESTOP, "test")
            assert np.array_equal(step.command, before)
        assert rig.executor.clear_estop() == ""
        rig.executor.intervention(rig.now, False, None)
        assert rig.tick().state is State.HOLD
    assert "no emergency stop" in rig.executor.clear_estop()


def test_exploration_is_seeded_and_off_unless_the_session_explores() -> None:
    def fly(explore: bool, seed: int = 0) -> np.ndarray:
        rig = Rig(seed=seed)
        rig.view = session(explore=explore)
        rig.executor.weights(actor(noise=0.5))
        rig.tick()
        rig.see()
        return np.diff([rig.tick().command[0] for _ in range(10)]) / 1e-3

    assert np.allclose(fly(False), 1.0, atol=1e-3)
    noisy = fly(True)
    assert np.ptp(noisy) > 1e-2
    assert np.allclose(noisy, fly(True))
    assert not np.allclose(noisy, fly(True, seed=1))


@pytest.mark.parametrize("chunk", [1, 5])
def test_exploration_stays_for_ten_ticks_where_chunks_are_shorter(chunk: int) -> None:
    """Noise drawn anew every tick shakes and explores nothing: without chunks it must be as it is with them."""
    rig = Rig(chunk=chunk)
    rig.view = session(explore=True)
    rig.executor.weights(actor(chunk=chunk, noise=0.5, speeds=(0.6, 4.0), random_share=0.5))
    rig.tick()
    starts = []
    for _ in range(4):
        rig.see()
        starts += [step.chunk for step in [rig.tick() for _ in range(10)] if step.chunk is not None]
    assert len(starts) == 40 // chunk
    added = np.array([started.actions[0] - started.reference[0] * (started.candidate or 1.0) for started in starts])
    blocks = added.reshape(4, 10 // chunk, -1)
    assert np.allclose(blocks, blocks[:, :1], atol=1e-4)
    assert len(np.unique(blocks[:, 0, 0].round(3))) == 4, "and another one every ten ticks"


def test_which_candidate_flies_is_said_in_every_step_and_the_limits_come_after_it() -> None:
    rig = Rig()
    rig.executor.weights(actor(critics=1.0, speeds=(1.0, 3.0), selects=True))
    rig.tick()
    rig.see()
    steps = [rig.tick() for _ in range(10)]
    assert [step.candidate for step in steps] == [3.0] * 10
    assert steps[0].chunk is not None
    assert steps[0].chunk.candidate == 3.0
    assert np.allclose(np.diff([step.command[0] for step in steps]), 3e-3, atol=1e-5), "thrice the reference's motion"
    rig.see(slope=1e-2)  # 0.03 rad a tick of 0.02 s: faster than 1 rad/s
    fast = [rig.tick() for _ in range(3)]
    assert fast[-1].candidate == 3.0
    assert fast[-1].limited
    assert np.abs(np.diff([step.command[0] for step in fast])).max() <= 0.02 + 1e-9
    rig.executor.intervention(rig.now, True, None)
    assert rig.tick().candidate == OWN, "a human is no candidate"


def test_a_seam_between_reference_chunks_is_blended() -> None:
    rig = flying(reference_rows=5, blend_ticks=3)
    first = [rig.tick() for _ in range(4)]
    rig.see(slope=5e-3)
    second = [rig.tick() for _ in range(6)]
    moves = [(step.command - step.previous)[0] / 1e-3 for step in first + second]
    assert np.allclose(moves[:5], 1.0, atol=1e-3)
    assert np.allclose(moves[5:], [2.0, 3.0, 4.0, 5.0, 5.0], atol=1e-2)


def test_rows_that_a_late_loop_missed_are_left_out() -> None:
    rig = Rig()
    rig.tick()
    rows = np.cumsum(np.arange(1, 51))[:, None] * 1e-4 * np.ones(JOINTS)
    rig.see(reference=rows)
    rig.tick()
    rig.now += 3 * PERIOD
    step = rig.tick()
    assert step.row == 4
    # The input was captured a tick before row 0 flew: this tick's row of the reference is the sixth.
    assert np.allclose(step.command - step.previous, 6e-4, atol=1e-6)


def test_a_stop_that_is_still_pressed_cannot_be_cleared() -> None:
    rig = flying()
    rig.executor.estop("button", held=True)
    rig.tick()
    assert "release it first" in rig.executor.clear_estop()
    rig.executor.stops.released()
    assert rig.tick().state is State.ESTOP
    assert rig.executor.clear_estop() == ""


def test_what_the_guard_changed_is_counted_for_each_joint() -> None:
    rig = flying()
    wish = np.zeros(JOINTS)
    wish[1] = 1.0
    for _ in range(20):
        rig.executor.intervention(rig.now, True, wish)
        rig.tick()
    limited = rig.executor.limited
    assert limited[Limit.VELOCITY, 1] > 0
    assert limited.sum() == limited[Limit.VELOCITY, 1]


TICKS = 40


@settings(max_examples=2_000, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2]))
def test_no_row_is_ever_sent_at_the_wrong_time(seed: int, kind: int) -> None:
    """Inputs come late, early, twice, out of order and cut short, ticks come late: every motion is that of its tick."""
    rng = np.random.default_rng(seed)
    meant = rng.uniform(-1e-3, 1e-3, (TICKS + 60, JOINTS))
    executor = Executor(
        ExecutorConfig(chunk=int(rng.integers(1, 12)), reference_rows=int(rng.integers(1, 20))),
        BUNDLE,
        normaliser(),
        limits(),
    )
    if kind:
        executor.weights(actor(chunk=executor.config.chunk))
    deliveries: dict[int, list[PolicyInput]] = {}
    for sequence, captured in enumerate(range(0, TICKS, int(rng.integers(1, 8)))):
        rows = int(rng.integers(1, 51)) if rng.random() < 0.2 else 50
        made = policy_input(
            captured * PERIOD,
            sequence,
            reference=np.cumsum(meant[captured : captured + rows], axis=0),
        )
        for _ in range(1 + (rng.random() < 0.2)):
            deliveries.setdefault(captured + int(rng.integers(0, 15)), []).append(made)
    robot, tick = np.zeros(JOINTS), 0
    while tick < TICKS:
        now = tick * PERIOD
        for arrival in [t for t in sorted(deliveries) if t <= tick]:
            for made in deliveries.pop(arrival):
                executor.policy_input(now, made)
        executor.joint_state(now, robot, np.zeros(JOINTS))
        executor.session(now, session(actor_enabled=kind == 2))
        step = executor.tick(now)
        robot = step.command
        if step.state in (State.REFERENCE, State.ACTOR):
            assert np.abs(step.command - step.previous - meant[tick]).max() <= 1e-7
        else:
            assert (step.command == step.previous).all()
        tick += 1 if rng.random() < 0.95 else int(rng.integers(2, 5))


EVENTS = st.lists(
    st.sampled_from(["see", "late", "garbage", "weights", "human", "release", "phase", "blind", "mode", "deaf"]),
    min_size=1,
    max_size=60,
)


@settings(max_examples=300)
@given(EVENTS, st.integers(0, 10_000))
def test_whatever_arrives_no_command_jumps_or_is_absurd(events: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rig = flying()
    last = rig.tick()
    for event in events:
        if event == "see":
            rig.see(slope=float(rng.normal(0, 0.01)))
        elif event == "late":
            rig.executor.policy_input(rig.now, policy_input(rig.now - float(rng.uniform(-1, 1))))
        elif event == "garbage":
            rig.executor.policy_input(rig.now, policy_input(rig.now, reference=rng.normal(0, 1e6, (50, JOINTS))))
        elif event == "weights":
            rig.executor.weights(actor(bias=float(rng.normal(0, 1e4))))
        elif event == "human":
            rig.executor.intervention(rig.now, True, rng.normal(0, 10, JOINTS))
        elif event == "release":
            rig.executor.intervention(rig.now, False, None)
        elif event == "phase":
            rig.view = session(Phase(int(rng.choice([0, 2, 3, 4]))), episode=int(rng.integers(1, 5)))
        elif event == "mode":
            rig.executor.mode = Mode(int(rng.integers(0, 3)))
        step = rig.tick(joints=event != "blind", heartbeat=event != "deaf")
        assert np.isfinite(step.command).all()
        assert np.abs(step.command - last.command).max() <= 1.0 * PERIOD + 1e-9
        assert np.abs(step.command).max() <= 3.0
        assert (step.reason != "") == (step.state in (State.HOLD, State.ESTOP))
        last = step


def test_an_emergency_stop_before_the_first_joint_state_never_sends_zeros() -> None:
    """The robot is somewhere; a stop must not drive it to the origin."""
    rig = Rig()
    rig.robot = np.array([0.8, -0.7, 0.3])
    rig.executor.estop("early")
    assert not rig.tick(joints=False).sent
    for _ in range(5):
        step = rig.tick()
        assert np.array_equal(step.command, [0.8, -0.7, 0.3])


def test_a_robot_outside_its_limits_rests_while_it_is_held() -> None:
    rig = Rig()
    rig.robot = np.full(JOINTS, 3.4)
    rig.view = session(Phase.IDLE)
    for prepare in (lambda: None, lambda: rig.executor.estop("x")):
        prepare()
        for _ in range(3):
            assert np.array_equal(rig.tick().command, np.full(JOINTS, 3.4))


def test_a_trajectory_is_planned_within_the_limits_and_only_where_a_policy_flies() -> None:
    rig = flying(trajectory_rows=5)
    rig.executor.limits = limits(velocity=0.02)
    rig.executor.weights(actor(bias=3.0))
    first = rig.tick()
    assert first.ahead.shape == (4, JOINTS)
    path = np.vstack([first.previous, first.command, first.ahead])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.02 * PERIOD + 1e-12
    rows = [len(step.ahead) if step.ahead is not None else 0 for step in [first, *(rig.tick() for _ in range(9))]]
    assert rows == [4, 4, 4, 4, 4, 4, 3, 2, 1, 0], "no further than the chunk"
    rig.executor.mode = Mode.HOLD
    assert rig.tick().ahead is None


def test_rows_ahead_are_what_flies_next() -> None:
    rig = flying(trajectory_rows=4)
    rig.executor.weights(actor(bias=0.5))
    planned = rig.tick().ahead
    flown = np.array([rig.tick().command for _ in range(3)])
    assert np.allclose(planned, flown)


@pytest.mark.parametrize("change", [{"period": np.nan}, {"period": np.inf}, {"position": np.full(JOINTS, np.nan)}])
def test_a_policy_input_that_is_not_finite_is_refused(change: dict[str, object]) -> None:
    rig = flying()
    rig.now += PERIOD
    rig.see(**change)
    assert rig.executor.counters["input_not_finite"] == 1
    assert rig.tick().state is State.REFERENCE


@pytest.mark.parametrize("period", [0.01, 0.04])
def test_a_robot_of_another_rate_moves_as_fast_as_the_reference(period: float) -> None:
    executor = Executor(ExecutorConfig(period=period), BUNDLE, normaliser(), limits())
    now, robot, flown = 10.0, np.zeros(JOINTS), []
    ramp = policy_input(0.0).reference
    for tick in range(round(0.6 / period)):
        now += period
        executor.joint_state(now, robot.copy(), np.zeros(JOINTS))
        executor.session(now, session())
        if tick % round(0.04 / period) == 0:
            executor.policy_input(now, policy_input(now, tick, position=robot.copy(), reference=robot + ramp))
        step = executor.tick(now)
        if step.state is State.REFERENCE:
            robot = step.command.copy()
            flown.append((now, robot[0]))
    (began, first), (ended, last) = flown[0], flown[-1]
    assert (last - first) / (ended - began) == pytest.approx(1e-3 / PERIOD, rel=0.05)
