"""Executor and session beside an adversarial robot: whatever comes in whatever order, the wire keeps its promises.

`RLT_RUNS=100000 ./rlt exec python -m pytest test/control/test_state_machine.py -n auto` looks longer.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
import pytest
from support import BUNDLE, JOINTS, PERIOD, actor, normaliser, policy_input

from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.executor import FLYING, Executor
from rlt_ros.control.limits import JointLimits
from rlt_ros.session.config import SessionConfig
from rlt_ros.session.episodes import Session, SessionError
from rlt_ros.types import Array, ControlStep, Mode, Outcome, Phase, SessionView, State

RUNS = int(os.environ.get("RLT_RUNS", "2000"))
EVENTS_A_RUN = 200
PARTS = 2
"""So that both cores have work."""
REASONS = {
    *("button", "mode_hold", "no_joint_states", "joint_states_stale", "joint_states_implausible", "homing"),
    *("joint_states_two_publishers", "intervention_lost", "no_policy_input", "policy_input_stale", "robot_elsewhere"),
    *("phase_idle", "phase_reset", "phase_ended"),
}
BY_COUNTER = {
    "joint_states_implausible": "joint_state_jump",
    "joint_states_two_publishers": "joint_state_second_publisher",
    "robot_elsewhere": "robot_elsewhere",
    "command_not_finite": "command_not_finite",
}
FOLLOWING, TOLERANCE = 0.2, 1e-9
LIMITS = JointLimits(
    low=np.full(JOINTS, -2.0),
    high=np.full(JOINTS, 2.0),
    velocity=np.array([1.0, 0.5, 2.0]),
    acceleration=np.array([4.0, 2.0, 20.0]),
    following=np.full(JOINTS, FOLLOWING),
    deceleration=np.array([5.0, 2.0, 10.0]),
)
REACH, GAIN, LOSS = LIMITS.velocity * PERIOD, LIMITS.acceleration * PERIOD**2, LIMITS.deceleration * PERIOD**2
CONFIG = ExecutorConfig(max_input_age=0.2, stop_heartbeat=0.0, hold_time=0.2)


Event = tuple[str, tuple[object, ...]]
EVENTS: list[tuple[str, list[tuple[object, ...]]]] = [
    ("lags_and_sags", list(itertools.product([1.0, 0.5, 0.1], [0.0, 0.02, -0.1]))),
    ("is_moved_by_others", [(0.0,), (0.3,), (-1.0,), (5.0,), (-30.0,)]),
    ("falls_silent", [(True,), (False,)]),
    ("is_elsewhere", [(0.0,), (0.05,), (0.5,), (-1.5,)]),
    ("restarts", [("driver",), ("driver",), ("driver",), ("driver again",)]),
    ("says_nonsense", [(kind,) for kind in ("nan", "size", "degrees", "old", "no velocity", "", "", "", "stray")]),
    ("vla_speaks", list(itertools.product([0.0, 0.04, 0.15, 0.19, 0.5, -0.01, -3600.0], [1e-3, 0.02, -0.5]))),
    ("learner_speaks", [(0.0,), (3.0,), (-40.0,), (1e5,)]),
    ("human_flies", [(None,), (0.0,), (0.1,), (1.0,), (-9.0,), (np.nan,)]),
    ("human_lets_go", [()]),
    ("joystick_dies", [()]),
    ("operator_sets_the_mode", [(mode,) for mode in Mode]),
    ("emergency_stop", [(True,), (False,)]),
    ("operator_clears", [(True,), (False,)]),
    ("somebody_homes", [()]),
    ("is_home", [()]),
    ("session_is_told", [(w,) for w in ("start", "reset_done", "begin_critical", "success", "abort", "stop")]),
    ("session_falls_silent", [(True,), (False,)]),
    ("node_is_activated_again", [()]),
    ("time_passes", list(itertools.product([1, 2, 3, 4, 6, 10], [0.0, 0.005, 0.03, 0.5]))),
    ("all_goes_well", list(itertools.product([2, 4, 8, 12, 16], [1e-3, -0.02, 0.05]))),
]
"""What may happen, and in which ways."""


class RobotAndPeople:
    """The events are what drivers, people and programs do; every tick is checked."""

    def __init__(self, reached: Counter[tuple[str, str, bool]]) -> None:
        self.reached = reached
        self.executor = Executor(CONFIG, BUNDLE, normaliser(), LIMITS)
        self.session = Session(SessionConfig(settle_time=0.04, pause_time=0.06, warmup_episodes=0))
        self.now = 100.0
        self.robot = np.array([0.3, -0.2, 0.1])
        self.pushed = np.zeros(JOINTS)
        self.lag, self.sag = 1.0, 0.0
        self.speaks = True
        self.heart_beats = True
        self.source = "driver"
        self.sequence = 0
        self.wire: Array | None = None
        self.human: tuple[float, Array | None] | None = None
        self.human_spoke = -np.inf
        self.human_speaks = False
        self.stopped = self.cleared = False
        self.heard_session = -np.inf
        self.sent: ControlStep | None = None
        self.last: deque[ControlStep] = deque(maxlen=6)
        self.speed = np.zeros(JOINTS)
        self.chunk_input = -np.inf
        self.inputs: dict[int, float] = {}
        self.unsent = 0

    # -- the robot -----------------------------------------------------------------------------------------

    def lags_and_sags(self, lag: float, sag: float) -> None:
        self.lag, self.sag = lag, sag

    def is_moved_by_others(self, x: float) -> None:
        self.pushed = np.array([x, -x, x / 2])

    def falls_silent(self, speaks: bool) -> None:
        self.speaks = speaks

    def is_elsewhere(self, x: float) -> None:
        self.robot = self.robot + x

    def restarts(self, source: str) -> None:
        self.source = source
        self.executor.joint_state(self.now, np.zeros(JOINTS), np.zeros(JOINTS), source)

    def says_nonsense(self, kind: str) -> None:
        position, velocity, time = self.robot.copy(), np.zeros(JOINTS), self.now
        if kind == "nan":
            position[0] = np.nan
        elif kind == "size":
            position = position[:2]
        elif kind == "degrees":
            position = np.degrees(position) + 20
        elif kind == "old":
            time -= 1.0
        elif kind == "no velocity":
            velocity = np.full(JOINTS, np.nan)
        self.executor.joint_state(time, position, velocity, "stray" if kind == "stray" else self.source)

    # -- the VLA and the learner ---------------------------------------------------------------------------

    def vla_speaks(self, age: float, slope: float) -> None:
        self.executor.policy_input(self.now, policy_input(self.now - age, self.sequence, slope=slope))
        self.inputs[self.sequence] = self.now - age
        self.sequence += 1

    def learner_speaks(self, bias: float) -> None:
        self.executor.weights(actor(bias=bias))

    # -- people --------------------------------------------------------------------------------------------

    def human_flies(self, x: float | None) -> None:
        target = None if x is None else np.full(JOINTS, x)
        self.executor.intervention(self.now, True, target)
        if x is None or np.isfinite(x):
            self.human, self.human_spoke, self.human_speaks = (self.now, target), self.now, True

    def human_lets_go(self) -> None:
        self.human, self.human_speaks = None, False
        self.executor.intervention(self.now, False, None)

    def joystick_dies(self) -> None:
        self.human_speaks = False

    def operator_sets_the_mode(self, mode: Mode) -> None:
        self.executor.mode = mode

    def emergency_stop(self, held: bool) -> None:
        self.executor.estop("button", held=held)
        self.stopped = True

    def operator_clears(self, release: bool) -> None:
        if release:
            self.executor.stops.released()
        if self.stopped and not self.executor.clear_estop():
            self.stopped, self.cleared = False, True

    def somebody_homes(self) -> None:
        self.executor.hand_off()

    def is_home(self) -> None:
        self.executor.handed_off = False

    def session_is_told(self, what: str) -> None:
        try:
            if what in ("success", "abort"):
                self.session.label(self.now, Outcome.SUCCESS if what == "success" else Outcome.ABORT)
            else:
                getattr(self.session, what)(self.now)
        except SessionError:
            pass

    def session_falls_silent(self, beats: bool) -> None:
        self.heart_beats = beats

    def node_is_activated_again(self) -> None:
        self.executor.forget_robot()
        self.sent, self.unsent = None, 1

    # -- time ----------------------------------------------------------------------------------------------

    def time_passes(self, ticks: int, late: float) -> None:
        self.now += late
        for _ in range(ticks):
            self.tick()

    def all_goes_well(self, ticks: int, slope: float) -> None:
        self.speaks = self.heart_beats = True
        self.pushed = np.zeros(JOINTS)
        self.operator_clears(release=True)
        self.executor.mode = Mode.AUTO
        if self.human is not None:
            self.human_lets_go()
        if self.session.phase is Phase.IDLE:
            self.session.start(self.now)
        for count in range(ticks):
            if self.session.wants_reset:
                self.session.reset_done(self.now)
            if self.session.phase is Phase.BASE:
                self.session.begin_critical(self.now)
            if count % 3 == 0:
                self.vla_speaks(0.0, slope)
            self.tick()

    def tick(self) -> None:
        self.now += PERIOD
        aim = self.robot if self.wire is None else self.wire - self.sag
        pushed = self.pushed.any()
        moved = self.pushed * PERIOD if pushed else self.lag * (aim - self.robot)
        self.robot = np.minimum(np.maximum(self.robot + moved, -3), 3)
        if self.speaks:
            self.executor.joint_state(self.now, self.robot.copy(), self.pushed.copy(), self.source)
        self.session.tick(self.now)
        if self.heart_beats:
            view = SessionView(1, self.session.episode, self.session.phase, self.session.actor_enabled, False)
            self.executor.session(self.now, view)
            self.heard_session = self.now
        if self.human_speaks and self.human is not None:
            self.executor.intervention(self.now, True, self.human[1])
            self.human_spoke = self.now
        step = self.executor.tick(self.now)
        self.check(step)
        if step.sent:
            self.wire = step.command

    def check(self, step: ControlStep) -> None:
        executor = self.executor
        self.last.append(step)
        known = executor._measured.fault(step.time, CONFIG.max_joint_age) == ""
        command = step.command
        self.reached[step.state.name, step.reason, step.sent] += 1
        assert np.isfinite(command).all()
        assert (step.reason != "") == (step.state in (State.HOLD, State.ESTOP))
        if step.sent and self.sent is not None and not self.unsent:
            change = command - self.sent.command
            out = np.maximum(command - LIMITS.high, LIMITS.low - command) > TOLERANCE
            outwards = out & (change * command > 0)
            braking = np.abs(change) <= np.abs(self.speed) - LOSS + TOLERANCE
            assert (~outwards | braking).all(), f"drawn out of its limits: {self.story()}"
            assert (np.abs(change) <= REACH + TOLERANCE).all(), f"faster than the limit: {self.story()}"
            same_way = change * self.speed > 0
            gained = np.abs(change) - np.where(same_way, np.abs(self.speed), 0.0)
            lost = np.abs(self.speed) - np.where(same_way, np.abs(change), -np.abs(change) * (self.speed != 0))
            assert (gained <= GAIN + TOLERANCE).all(), "gains speed too fast"
            assert (lost <= LOSS + TOLERANCE).all(), "loses speed too fast"
            self.speed = change
        elif step.sent:
            kept = self.sent is not None and np.abs(command - self.sent.command).max() <= 1e-2
            near = np.abs(command - step.position).max() <= REACH.max() + TOLERANCE
            assert kept or near, "begins neither at the command that was kept nor at the robot"
            self.speed = command - step.previous
        if step.sent and known:
            assert (np.abs(command - step.position) <= FOLLOWING + 1e-6).all(), "further from the robot than allowed"
        if step.sent and not known:
            assert step.state not in FLYING
            assert not self.unsent, "a stop goes on, none begins, without a pose"
            assert np.abs(command - step.previous).max() > 0 or self.speed.any(), "rest is not repeated blindly"
        if not step.sent and self.sent is not None and not self.unsent and not np.allclose(self.speed, 0):
            stopped = np.abs(self.speed) <= LOSS + TOLERANCE
            # The robot went where the next command could not have been near enough.
            gone = (np.abs(step.position - self.sent.command) + np.abs(self.speed)).max() > FOLLOWING
            assert stopped.all() or gone or executor.position is None, (
                f"commands end while the robot still moves: {self.story()}"
            )
        if step.state in FLYING:
            assert known, "flies without knowing where the robot is"
            assert not self.stopped
            assert executor.mode is not Mode.HOLD
        if self.stopped:
            assert step.state is State.ESTOP, "a stop latches"
        if step.chunk is not None:
            assert step.chunk.input_age <= CONFIG.max_input_age + TOLERANCE
            assert step.chunk.input_age >= -PERIOD - TOLERANCE
            self.chunk_input = self.now
        if step.state in (State.REFERENCE, State.ACTOR):
            rows = CONFIG.chunk if step.state is State.ACTOR else CONFIG.reference_rows
            assert self.now - self.chunk_input < rows * PERIOD, "a chunk is flown beyond its end"
            assert self.human is None or step.time - self.human_spoke > CONFIG.max_intervention_age
        asked = self.human is not None and self.human_speaks
        lost = step.reason in ("intervention_lost", "robot_elsewhere", "coming_to_rest")
        if asked and known and not self.stopped and executor.mode is not Mode.HOLD and not lost:
            assert step.state is State.HUMAN, f"the human is not obeyed within a tick: {step.state} {step.reason}"
        self.check_reason(step)
        self.unsent = 0 if step.sent else self.unsent + 1
        if step.sent:
            self.sent = step
        elif self.unsent:
            self.speed = np.zeros(JOINTS)

    def story(self) -> str:
        """The last ticks, for whoever looks for a fault."""
        return "; ".join(
            f"{step.state.name} {step.reason} sent={step.sent} {step.command.round(4)} robot {step.position.round(4)}"
            for step in self.last
        )

    def check_reason(self, step: ControlStep) -> None:
        """What it says is the case."""
        reason, counts = step.reason, self.executor.refusals.counts
        if reason.startswith("phase_"):
            true = step.session.phase.name.lower() == reason.removeprefix("phase_")
        elif reason in ("policy_input_stale", "no_policy_input", "reference_too_short"):
            true = self.session.running or not self.heart_beats
        elif reason in BY_COUNTER:
            true = counts[BY_COUNTER[reason]] > 0
        else:
            true = {
                "": step.state in FLYING,
                "button": self.stopped,
                "mode_hold": self.executor.mode is Mode.HOLD,
                "no_joint_states": self.executor.position is None,
                "joint_states_stale": step.time - self.executor._measured.time > CONFIG.max_joint_age,
                "homing": self.executor.handed_off,
                "coming_to_rest": self.cleared or counts["joint_state_jump"] > 0,
                "intervention_lost": step.time - self.human_spoke > 0 and self.human is not None,
                "session_silent": step.time - self.heard_session > CONFIG.max_session_age,
            }[reason]
        assert true, f"'{reason}' is not the case"


def run(events: Sequence[Event], reached: Counter[tuple[str, str, bool]]) -> None:
    machine = RobotAndPeople(reached)
    for name, way in events:
        getattr(machine, name)(*way)
        machine.tick()


def fails(events: Sequence[Event]) -> bool:
    try:
        run(events, Counter())
    except Exception:
        return True
    return False


def shortened(events: list[Event]) -> list[Event]:
    """As few of the events as still fail: pieces are left out, ever smaller ones."""
    size = len(events) // 2
    while size:
        start = 0
        while start < len(events):
            fewer = events[:start] + events[start + size :]
            if fails(fewer):
                events = fewer
            else:
                start += size
        size //= 2
    return events


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_comes_in_whatever_order(part: int) -> None:
    reached: Counter[tuple[str, str, bool]] = Counter()
    for seed in range(part, RUNS, PARTS):
        rng = random.Random(seed)
        events = [(name, rng.choice(ways)) for name, ways in rng.choices(EVENTS, k=EVENTS_A_RUN)]
        try:
            run(events, reached)
        except Exception:
            few = shortened(events)
            print(f"run {seed} fails, also with these {len(few)} events:", *few, sep="\n  ")
            run(few, reached)
    if RUNS < 1000:
        return  # too few to come everywhere
    states = {(state, sent) for state, _, sent in reached}
    assert states >= {(state.name, True) for state in State} | {("HOLD", False), ("ESTOP", False)}
    missing = REASONS - {reason for _, reason, _ in reached}
    assert not missing, f"the machine does not come to where it is to be tried: {missing}"


def test_a_failure_is_told_by_the_few_events_that_it_needs() -> None:
    events: list[Event] = [(name, ways[0]) for name, ways in EVENTS * 3]
    bad: Event = ("no_such_event", ())
    assert shortened([*events, bad, *events]) == [bad]
    assert not fails(events)


def test_the_limits_of_this_test_are_those_of_an_owner() -> None:
    """A joint without a deceleration limit would make half of the checks above empty."""
    for field in dataclasses.fields(JointLimits):
        assert np.isfinite(getattr(LIMITS, field.name)).all()
