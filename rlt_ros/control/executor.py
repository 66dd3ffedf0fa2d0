"""The executor's state machine: from the newest inputs to one guarded command a tick.

Pure logic on one clock; the node around it owns threads and messages. Human beats actor beats reference beats
hold. Whatever is missing, late or absurd ends in HOLD: the last command again, with the reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rlt_ros.config import param
from rlt_ros.control.actor import Actor, WeightsError
from rlt_ros.control.chunks import ChunkPlayer
from rlt_ros.control.limits import JointLimits, Limit, guard
from rlt_ros.control.realtime import Histogram
from rlt_ros.normaliser import Normaliser
from rlt_ros.types import (
    ActionChunk,
    Array,
    ControlStep,
    Mode,
    Phase,
    PolicyInput,
    SessionView,
    State,
)


@dataclass(frozen=True)
class ExecutorConfig:
    """Parameters of the executor."""

    period: float = param(0.02, "time between commands", unit="s", low=0.002, high=1.0)
    chunk: int = param(10, "rows of an actor chunk (C)", low=1, high=100)
    reference_rows: int = param(20, "rows of the reference flown before the next one is taken", low=1, high=100)
    max_input_age: float = param(0.3, "oldest policy input a chunk may start from", unit="s", low=0.0, high=5.0)
    max_joint_age: float = param(0.1, "oldest joint state under which the robot may move", unit="s", low=0.0, high=5.0)
    max_session_age: float = param(1.5, "longest silence of the session", unit="s", low=0.0, high=60.0)
    max_intervention_age: float = param(0.2, "longest silence of an active human", unit="s", low=0.0, high=5.0)
    handover_ticks: int = param(10, "ticks over which control passes to a human and back", low=1, high=200)
    blend_ticks: int = param(
        0, "ticks over which a reference chunk gives way to the next one; 0: at once", low=0, high=100
    )
    trajectory_rows: int = param(
        1, "points of a joint trajectory: the command, and planned rows after it", low=1, high=100
    )
    reference_speed: float = param(1.0, "factor on the reference's motion, for comparisons", low=0.1, high=5.0)
    seed: int = param(0, "seed of the exploration noise", low=0)


class Executor:
    """Feed it what arrives; call `tick` once a period."""

    def __init__(self, config: ExecutorConfig, bundle_id: str, normaliser: Normaliser, limits: JointLimits) -> None:
        """Start in HOLD, knowing nothing of the robot.

        Args:
            config: parameters.
            bundle_id: the only bundle whose inputs are flown.
            normaliser: the bundle's.
            limits: of every joint.
        """
        self.config = config
        self.bundle_id = bundle_id
        self.normaliser = normaliser
        self.limits = limits
        self.counters: Counter[str] = Counter()
        self.mode = Mode.AUTO
        self.estop_reason = ""
        self.lent = False
        self._player = ChunkPlayer(config, normaliser)
        self._joints = len(limits.low)
        self._session = SessionView()
        self._session_time = -np.inf
        self._position: Array | None = None
        self._velocity = np.zeros(self._joints)
        self._joint_time = -np.inf
        self._input: PolicyInput | None = None
        self._inputs_from = -np.inf
        self._human_target: Array | None = None
        self._human_time = -np.inf
        self._human_lost = False
        self._human_ticks = 0
        self._human_flew = False
        self._estop_held = False
        self._last: Array | None = None
        self._before: Array | None = None
        self._tick_time = -np.inf
        self.limited = np.zeros((len(Limit), self._joints), dtype=np.int64)
        self._state = State.HOLD
        self._was_sent = False
        self._sequence = 0
        self._hold_reason = ""

    @property
    def actor(self) -> Actor | None:
        """The one that flies."""
        return self._player.actor

    @property
    def actor_time(self) -> Histogram:
        """Seconds that its forward passes took."""
        return self._player.actor_time

    @property
    def position(self) -> Array | None:
        """Measured joint positions, shape (J,); None before the first."""
        return self._position

    def forget_robot(self) -> None:
        """Start from where the robot will be found: after a pause in which others may have moved it."""
        self._last = self._before = self._position = None
        self._input = None
        self._player.stop()

    # -- what arrives --------------------------------------------------------------------------------------

    def joint_state(self, time: float, position: Array, velocity: Array) -> None:
        """The robot's measured state; refused if not finite or of the wrong size."""
        if position.shape != (self._joints,) or velocity.shape != (self._joints,):
            self.counters["joint_state_shape"] += 1
        elif not (np.isfinite(position).all() and np.isfinite(velocity).all()):
            self.counters["joint_state_not_finite"] += 1
        else:
            self._position, self._velocity, self._joint_time = position, velocity, time

    def policy_input(self, now: float, message: PolicyInput) -> None:
        """A new reference and token; refused if it is not newer, not ours, malformed or from the future."""
        reason = self._input_fault(now, message)
        if reason:
            self.counters[f"input_{reason}"] += 1
        else:
            self._input = message

    def _input_fault(self, now: float, message: PolicyInput) -> str:
        if message.bundle_id != self.bundle_id:
            return "wrong_bundle"
        if message.reference.ndim != 2 or message.reference.shape[1] != self._joints:
            return "shape"
        if not (np.isfinite(message.period) and message.period > 0 and np.isfinite(message.captured)):
            return "not_finite"
        if message.position.shape != (self._joints,) or message.token.ndim != 1:
            return "shape"
        if not all(np.isfinite(values).all() for values in (message.reference, message.token, message.position)):
            return "not_finite"
        if not message.token.any():
            return "token_zero"
        if message.captured > now + self.config.period:
            return "future"
        if self._input is not None and message.captured <= self._input.captured:
            return "out_of_order"
        return ""

    def weights(self, actor: Actor) -> None:
        """An actor that takes over at the next chunk boundary; `check_actor` must have passed it."""
        self._player.offer(actor)

    def check_actor(self, actor: Actor) -> None:
        """Refuse an actor that this executor cannot fly.

        Raises:
            WeightsError: its chunk or joints are not this executor's.
        """
        if (actor.spec.chunk, actor.spec.joints) != (self.config.chunk, self._joints):
            raise WeightsError(
                "shape",
                f"the actor gives {actor.spec.chunk} rows of {actor.spec.joints} joints, "
                f"the executor flies {self.config.chunk} of {self._joints}",
            )

    def session(self, time: float, view: SessionView) -> None:
        """The session's state or heartbeat."""
        old, self._session, self._session_time = self._session, view, time
        moving = (Phase.BASE, Phase.CRITICAL)
        if view.phase in moving and (old.phase not in moving or old.episode != view.episode):
            # A new episode: what was seen before it started shows another scene.
            self._inputs_from = time
            self._player.stop()
            self._player.ease_in(0)

    def intervention(self, time: float, active: bool, target: Array | None) -> None:
        """A human's wish: `target` None holds still. Inactive ends the intervention.

        What the VLA saw before that is not flown any more, and the policy comes back over `handover_ticks`.
        """
        if not active:
            self._human_target, self._human_time, self._human_lost = None, -np.inf, False
            self._human_ticks = 0
            if self._human_flew:
                self._human_flew = False
                self._player.ease_in(self.config.handover_ticks)
                self._inputs_from = max(self._inputs_from, time)
            return
        if target is not None and (target.shape != (self._joints,) or not np.isfinite(target).all()):
            self.counters["intervention_malformed"] += 1
            return
        # Before the robot was found there was nothing that a target could have started from.
        self._human_target, self._human_time = None if self._last is None else target, time
        self._human_lost = False

    def estop(self, reason: str, *, held: bool = False) -> None:
        """Latch: nothing moves until `clear_estop`.

        Args:
            reason: published with every tick.
            held: the button is still pressed; see `estop_released`.
        """
        self.estop_reason = reason or "emergency stop"
        self._estop_held |= held
        self.lent = False

    def estop_released(self) -> None:
        """The button is no longer pressed; the stop stays latched."""
        self._estop_held = False

    @property
    def estop_fault(self) -> str:
        """Why an emergency stop cannot be cleared now; "" if it can."""
        if not self.estop_reason:
            return "no emergency stop is latched"
        return "the emergency stop is still pressed: release it first" if self._estop_held else ""

    def clear_estop(self) -> str:
        """Back to HOLD; returns `estop_fault` if that is not possible."""
        fault = self.estop_fault
        if not fault:
            self.estop_reason = ""
            self.mode = Mode.HOLD
        return fault

    @property
    def lend_fault(self) -> str:
        """Why nobody else may move the robot now; "" if somebody may, see `lend`."""
        if self.estop_reason:
            return self.estop_reason
        if self._human_time > -np.inf:
            return "a human flies"
        moving = self._session.phase in (Phase.BASE, Phase.CRITICAL)
        return (
            "an episode runs: stop the session, or set the mode to HOLD"
            if moving and self.mode is not Mode.HOLD
            else ""
        )

    def lend(self) -> None:
        """Send nothing, so that somebody else may bring the robot home.

        It ends when `lent` is set to False, and by itself with the first `lend_fault` or a lost joint state: then the
        robot is held where it is.
        """
        self.lent = not self.lend_fault

    # -- one tick ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> ControlStep:
        """Decide, move the running chunk on by a row, guard, and say what was done."""
        self._find_robot(now)
        state, reason = self._decide(now)
        self.lent = self.lent and reason == "homing"
        previous = self._last if self._last is not None else np.zeros(self._joints)
        started = None
        if state in (State.REFERENCE, State.ACTOR):
            fault, started = self._boundary(now, state)
            if fault:
                state, reason = State.HOLD, fault
        if state != self._state:
            self._human_ticks = 0
        wish = previous
        if state in (State.REFERENCE, State.ACTOR):
            wish = self._player.target(previous)
        elif state is State.HUMAN:
            wish = self._human_wish(previous)
            self._human_flew = True
        if state not in (State.REFERENCE, State.ACTOR):
            self._player.stop()
        limited = False
        # During a reset somebody else moves the robot; where it is unknown there is nothing to repeat.
        sent = self._last is not None and not self._released(state)
        command = previous
        if state in (State.REFERENCE, State.ACTOR, State.HUMAN):
            guarded = guard(
                wish, previous, self.limits, self._elapsed(now), before=self._before, measured=self._position
            )
            command, limited = guarded.command, bool(guarded.acted.any())
            if guarded.refused:
                state, reason = State.HOLD, "command_not_finite"
                self._player.stop()
                self.counters["command_not_finite"] += 1
            if limited:
                self.limited += guarded.acted
                self.counters["limited_ticks"] += 1
        ahead = self._ahead(command, previous) if state in (State.REFERENCE, State.ACTOR) else None
        if state is State.HOLD and reason != self._hold_reason:
            self.counters[f"hold_{reason}"] += 1
        self._hold_reason = reason if state is State.HOLD else ""
        self._state = state
        if self._last is not None:
            self._before, self._last = self._last, command
        self._tick_time, self._was_sent = now, sent
        self._sequence += 1
        usable = self._usable_input(now)
        return ControlStep(
            time=now,
            sequence=self._sequence - 1,
            session=self._session,
            state=state,
            reason=reason,
            command=command,
            previous=previous,
            position=self._position if self._position is not None else np.zeros(self._joints),
            velocity=self._velocity,
            input_sequence=usable.sequence if usable else -1,
            input_age=now - usable.captured if usable else 0.0,
            row=self._player.row,
            policy_version=self.actor.version if self.actor else 0,
            limited=limited,
            sent=sent,
            chunk=started,
            ahead=ahead,
        )

    def _ahead(self, command: Array, before: Array) -> Array | None:
        """What a controller that takes several points is told to do after `command`, within the limits."""
        rows = []
        for wish in self._player.ahead(command, self.config.trajectory_rows - 1):
            row = guard(wish, command, self.limits, self.config.period, before=before).command
            before, command = command, row
            rows.append(row)
        return np.array(rows) if rows else None

    def _find_robot(self, now: float) -> None:
        """Where commands start from: the robot itself at first and while others move it, if that is known now."""
        known = self._position is not None and now - self._joint_time <= self.config.max_joint_age
        untouched = self._human_time == -np.inf or not self._was_sent
        if self.lent or (self._session.phase is Phase.RESET and untouched):
            self._last, self._before = self._position if known else None, None
        elif self._last is None and known:
            self._last, self._before = self._position, None

    def _elapsed(self, now: float) -> float:
        """Seconds since the last tick, for the limits: a late tick earns no longer step, an early one a shorter."""
        period, elapsed = self.config.period, now - self._tick_time
        return period if elapsed > 0.99 * period else max(0.0, elapsed)

    def _released(self, state: State) -> bool:
        return (self._session.phase is Phase.RESET or self.lent) and state is not State.HUMAN

    def _decide(self, now: float) -> tuple[State, str]:
        """Who may command in this tick, before looking at the policy's inputs."""
        config, session = self.config, self._session
        if self.estop_reason:
            return State.ESTOP, self.estop_reason
        if self._position is None:
            return State.HOLD, "no_joint_states"
        if now - self._joint_time > config.max_joint_age:
            return State.HOLD, "joint_states_stale"
        if self.lent and not self.lend_fault:
            return State.HOLD, "homing"
        if self.mode is Mode.HOLD:
            return State.HOLD, "mode_hold"
        if self._human_lost:
            return State.HOLD, "intervention_lost"
        if self._human_time > -np.inf:
            if now - self._human_time > config.max_intervention_age:
                self._human_lost = True
                return State.HOLD, "intervention_lost"
            return State.HUMAN, ""
        if now - self._session_time > config.max_session_age:
            return State.HOLD, "session_silent"
        if session.phase not in (Phase.BASE, Phase.CRITICAL):
            return State.HOLD, f"phase_{session.phase.name.lower()}"
        wanted = session.phase is Phase.CRITICAL and session.actor_enabled and self.mode is Mode.AUTO
        if wanted and self._player.has_actor:
            return State.ACTOR, ""
        return State.REFERENCE, ""

    def _usable_input(self, now: float) -> PolicyInput | None:
        """The newest policy input if it is from this episode and not too old."""
        newest = self._input
        if newest is None or newest.captured < self._inputs_from:
            return None
        return newest if now - newest.captured <= self.config.max_input_age else None

    def _boundary(self, now: float, state: State) -> tuple[str, ActionChunk | None]:
        """Start a new chunk where one is due; the fault if that is impossible."""
        if not self._player.due(now, state):
            return "", None
        usable = self._usable_input(now)
        if usable is None:
            return "policy_input_stale" if self._input is not None else "no_policy_input", None
        assert self._position is not None and self._last is not None
        proprio = self.normaliser.proprio(self._position, self._velocity)
        return self._player.start(now, state, usable, proprio, self._last, self._session)

    def _human_wish(self, previous: Array) -> Array:
        """Towards the human's target, taking it in over the hand-over ticks."""
        if self._human_target is None:
            return previous
        self._human_ticks = min(self._human_ticks + 1, self.config.handover_ticks)
        return previous + (self._human_target - previous) * (self._human_ticks / self.config.handover_ticks)
