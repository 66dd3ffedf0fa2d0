"""The executor's state machine: from the newest inputs to one guarded command a tick.

Pure logic on one clock; the node around it owns threads and messages. Human beats actor beats reference beats
hold. Whatever is missing, late or absurd ends in HOLD: the robot slows down to rest, with the reason.

What is on the wire while nobody flies is in `kept_command`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlt_ros.control.actor import Actor, WeightsError
from rlt_ros.control.chunks import ChunkPlayer
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.kept_command import KeptCommand
from rlt_ros.control.limits import JointLimits, Limit, guard
from rlt_ros.control.measured import MeasuredRobot
from rlt_ros.control.policy_inputs import PolicyInputs
from rlt_ros.control.realtime import Histogram
from rlt_ros.control.stops import Stops
from rlt_ros.normaliser import Normaliser
from rlt_ros.refusals import Refusals
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

FLYING = (State.REFERENCE, State.ACTOR, State.HUMAN)
"""States in which somebody moves the robot."""
_MOVING = (Phase.BASE, Phase.CRITICAL)


@dataclass(frozen=True)
class _Told:
    """What the robot is told in a tick, and by whom; see `ControlStep`."""

    state: State
    reason: str
    command: Array
    sent: bool = False
    limited: bool = False
    ahead: Array | None = None


class Executor:
    """Feed it what arrives; call `tick` once a period."""

    def __init__(
        self,
        config: ExecutorConfig,
        bundle_id: str,
        normaliser: Normaliser,
        limits: JointLimits,
        stop_sources: Sequence[str] = (),
        joint_sources: Sequence[Sequence[int]] = (),
    ) -> None:
        """Start in HOLD, knowing nothing of the robot.

        Args:
            config: parameters; without a period that of the normaliser.
            bundle_id: the only bundle whose inputs are flown.
            normaliser: the bundle's; its actions are taken over to the loop's period.
            limits: of every joint.
            stop_sources: whose silence is a stop, where `stop_heartbeat` is set; see `stop_source`.
            joint_sources: places of the joints that each source of joint states tells of; see `MeasuredRobot`.
        """
        self.config = config = replace(config, period=config.period or normaliser.period)
        self.normaliser = normaliser = normaliser.at(config.period)
        self.limits = limits
        self.refusals = Refusals()
        self.holds: Counter[str] = Counter()
        self.limited_ticks = 0
        self.mode = Mode.AUTO
        self.stops = Stops(stop_sources, config.stop_heartbeat)
        self.handed_off = False
        self.ending = False
        self._player = ChunkPlayer(config, normaliser)
        self._joints = len(limits.low)
        self._session = SessionView()
        self._session_time = -np.inf
        self._measured = MeasuredRobot(self._joints, config.max_joint_speed, self.refusals, joint_sources)
        self._inputs = PolicyInputs(bundle_id, self._joints, config.period, self.refusals)
        self._command = KeptCommand(self._joints, config.period, config.hold_time)
        self._human_target: Array | None = None
        self._human_time = -np.inf
        self._human_lost = False
        self._human_ticks = 0
        self._human_flew = False
        self._hand_off_asked = self._was_handed_off = False
        self._begins = False
        self._tick_time = -np.inf
        self.limited = np.zeros((len(Limit), self._joints), dtype=np.int64)
        self._state = State.HOLD
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
    def counters(self) -> Counter[str]:
        """What was refused, limited and held, and how often."""
        held = {f"hold_{reason}": count for reason, count in list(self.holds.items())}
        limited = {"limited_ticks": self.limited_ticks} if self.limited_ticks else {}
        return Counter({**self.refusals.counts, **held, **limited})

    @property
    def position(self) -> Array | None:
        """Joint positions that are believed, shape (J,); None before the first."""
        return self._measured.position

    @property
    def rests(self) -> bool:
        """Whether the last command stands still, or none is kept."""
        return self._command.rests

    def forget_robot(self) -> None:
        """Start from where the robot will be found: after a pause in which others may have moved it."""
        self._command.forget()
        self._measured.forget()
        self._inputs.forget()
        self.ending = False
        self._player.stop()

    # -- what arrives --------------------------------------------------------------------------------------

    def joint_state(self, time: float, position: Array, velocity: Array, source: str = "", part: int = 0) -> None:
        """What a source of joint states measured; see `MeasuredRobot.read`."""
        self._measured.read(time, position, velocity, source, part=part, others_move=self._others_move(self._state))
        if self._measured.relocated:
            self._command.forget_at_rest()

    def policy_input(self, now: float, message: PolicyInput) -> None:
        """A new reference and token; see `PolicyInputs.read`."""
        self._inputs.read(now, message)

    def weights(self, actor: Actor) -> None:
        """An actor that takes over at the next chunk boundary; `check_actor` must have passed it."""
        self._player.offer(actor)

    def check_actor(self, actor: Actor) -> None:
        """Refuse an actor that this executor cannot fly.

        Raises:
            WeightsError: its chunk or joints are not this executor's.
        """
        theirs = (actor.spec.chunk, actor.spec.joints, actor.spec.state_size - actor.spec.token_dim)
        mine = (self.config.chunk, self._joints, self.normaliser.measured)
        if theirs != mine:
            told = "rows, joints and numbers of proprioception"
            raise WeightsError("shape", f"{told} are {theirs} of the actor, {mine} of the executor")

    def session(self, time: float, view: SessionView) -> None:
        """The session's state or heartbeat."""
        if view.epoch < self._session.epoch and time - self._session_time <= self.config.max_session_age:
            self.refusals.refuse("session_other", f"epoch {view.epoch}, flown is {self._session.epoch}")
            return
        old, self._session, self._session_time = self._session, view, time
        if view.phase in _MOVING and (old.phase not in _MOVING or old.episode != view.episode):
            # A new episode: what was seen before it started shows another scene.
            self._inputs.not_before(time)
            self._begins = True
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
                self._inputs.not_before(time)
            return
        if target is not None and (target.shape != (self._joints,) or not np.isfinite(target).all()):
            self.refusals.refuse("intervention_malformed")
            return
        # Before the robot was found there was nothing that a target could have started from.
        self._human_target, self._human_time = None if self._measured.position is None else target, time
        self._human_lost = False

    def estop(self, reason: str, *, held: bool = False) -> None:
        """Nothing moves until `clear_estop`; see `Stops.latch`."""
        self.stops.latch(reason, held=held)
        self.handed_off = False

    def stop_source(self, time: float, source: str, pressed: bool) -> None:
        """See `Stops.source`."""
        self.stops.source(time, source, pressed)
        self.handed_off = self.handed_off and not self.stops.reason

    def clear_estop(self) -> str:
        """Back to HOLD; returns `Stops.fault` if that is not possible. What flies next starts from the robot."""
        fault = self.stops.fault()
        if not fault:
            self.stops.clear()
            self.mode = Mode.HOLD
            self._command.forget_at_rest()
        return fault

    @property
    def hand_off_fault(self) -> str:
        """Why nobody else may move the robot now; "" if somebody may, see `hand_off`."""
        if self.stops.reason:
            return self.stops.reason
        if self._human_time > -np.inf:
            return "a human flies"
        if self._in_episode and self.mode is not Mode.HOLD:
            return "an episode runs: stop the session, or set the mode to HOLD"
        return ""

    def hand_off(self) -> None:
        """Send nothing, as soon as the robot rests, so that somebody else may bring it home.

        It ends with `take_back`, and by itself with the first `hand_off_fault` or a lost joint state: then the robot is
        held where it is.
        """
        self._hand_off_asked = True

    def take_back(self) -> None:
        """Nobody else moves the robot any more, and nobody who asked for it gets it."""
        self.handed_off = self._hand_off_asked = False

    # -- one tick ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> ControlStep:
        """Decide, move the running chunk on by a row, guard, and say what was done."""
        if self._others_move(self._state) and self._command.may_stop(self.limits):
            self._measured.adopt()
        unknown = self._measured.fault(now, self.config.max_joint_age)
        self.stops.look(now)
        self._hand_off_when_it_rests(unknown)
        state, reason = self._decide(now, unknown)
        self.handed_off = self.handed_off and reason == "homing"
        if not self._others_move(state) or not self._command.may_stop(self.limits):
            self._start_from_robot(state, unknown)
        elif self._command.last is not None:
            self._command.forget()
        self._was_handed_off = self.handed_off
        previous = self._known_command()
        started = None
        if state in (State.REFERENCE, State.ACTOR):
            fault, started = self._boundary(now, state, previous)
            if fault:
                state, reason = State.HOLD, fault
        if state != self._state:
            self._human_ticks = 0
        if state not in (State.REFERENCE, State.ACTOR):
            self._player.stop()
        elapsed = self._elapsed(now)
        if state in FLYING:
            told = self._fly(state, previous, elapsed)
        elif self._command.last is not None:
            command, sent = self._command.held(self._measured.position, self.limits, blind=bool(unknown))
            told = _Told(state, reason, command, sent)
        else:
            told = _Told(state, reason, previous)
        return self._done(now, previous, told, started)

    def _fly(self, state: State, previous: Array, elapsed: float) -> _Told:
        """Towards the wish of whoever flies, guarded; HOLD where that is not possible."""
        self._command.last = previous
        wish = self._human_wish(previous) if state is State.HUMAN else self._player.target(previous)
        self._human_flew |= state is State.HUMAN
        before, measured = self._command.before, self._measured.position
        guarded = guard(wish, previous, self.limits, elapsed, before=before, measured=measured)
        self._command.hold_again()
        limited = bool(guarded.acted.any())
        if limited:
            self.limited += guarded.acted
            self.limited_ticks += 1
        if guarded.refused:
            self._player.stop()
            self.refusals.refuse("command_not_finite")
            return _Told(State.HOLD, "command_not_finite", guarded.command, True, limited)
        if guarded.elsewhere.any():
            self._player.stop()
            self._command.forget()
            self.refusals.refuse("robot_elsewhere", f"joint {int(np.argmax(guarded.elsewhere))}")
            return _Told(State.HOLD, "robot_elsewhere", previous)
        ahead = self._ahead(guarded.command, previous) if state is not State.HUMAN else None
        return _Told(state, "", guarded.command, True, limited, ahead)

    def _done(self, now: float, previous: Array, told: _Told, started: ActionChunk | None) -> ControlStep:
        """Remember what was told in this tick, and say it."""
        state, reason = told.state, told.reason
        if state is State.HOLD and reason != self._hold_reason:
            self.holds[reason] += 1
        self._hold_reason = reason if state is State.HOLD else ""
        self._state = state
        if self._command.last is not None:
            self._command.tell(told.command)
        self._tick_time = now
        self._sequence += 1
        usable = self._inputs.usable(now, self.config.max_input_age)
        position = self._measured.position
        return ControlStep(
            time=now,
            sequence=self._sequence - 1,
            session=self._session,
            state=state,
            reason=reason,
            command=told.command,
            previous=previous,
            position=position if position is not None else np.zeros(self._joints),
            velocity=self._measured.velocity,
            input_sequence=usable.sequence if usable else -1,
            input_age=now - usable.captured if usable else 0.0,
            row=self._player.row,
            policy_version=self.actor.version if self.actor else 0,
            limited=told.limited,
            sent=told.sent,
            candidate=self._player.candidate,
            chunk=started,
            ahead=told.ahead,
        )

    def _ahead(self, command: Array, before: Array) -> Array | None:
        """What a controller that takes several points is told to do after `command`, within the limits."""
        rows = []
        for wish in self._player.ahead(command, self.config.trajectory_rows - 1):
            row = guard(wish, command, self.limits, self.config.period, before=before).command
            before, command = command, row
            rows.append(row)
        return np.array(rows) if rows else None

    # -- whose robot it is ---------------------------------------------------------------------------------

    def _others_move(self, state: State) -> bool:
        """Somebody else has the robot: a reset, unless a human flies in it, or a controller that brings it home."""
        return self.handed_off or (self._session.phase is Phase.RESET and state is not State.HUMAN)

    def _known_command(self) -> Array:
        """The last command, or where the robot is."""
        if self._command.last is not None:
            return self._command.last
        position = self._measured.position
        return position.copy() if position is not None else np.zeros(self._joints)

    def _start_from_robot(self, state: State, unknown: str) -> None:
        """Take the robot where it is, once: when an episode begins, and when it comes back from somebody else."""
        back = self._was_handed_off and not self.handed_off
        begins = self._begins and state is not State.ESTOP and self.mode is not Mode.HOLD
        if self._command.last is None and not unknown and (back or begins):
            reach = self.limits.velocity * self.config.period
            step = np.clip(self._measured.velocity * self.config.period, -reach, reach)
            self._command.begin(self._known_command(), step if back else None)
        if self._command.last is not None or not self._in_episode:
            self._begins = False

    @property
    def _in_episode(self) -> bool:
        return self._session.phase in _MOVING

    def _hand_off_when_it_rests(self, unknown: str) -> None:
        if self._hand_off_asked and (self.hand_off_fault or unknown):
            self._hand_off_asked = False
        elif self._hand_off_asked and self._command.may_stop(self.limits):
            self._hand_off_asked, self.handed_off = False, True

    def _elapsed(self, now: float) -> float:
        """Seconds that the limits allow motion for: a period a deadline, however late or early the tick came.

        A tick that comes early comes after a late one: together they take no less time than their periods. Two ticks at
        once are one.
        """
        period, elapsed = self.config.period, now - self._tick_time
        return period if elapsed > 0.1 * period else max(0.0, elapsed)

    def _decide(self, now: float, unknown: str) -> tuple[State, str]:
        """Who may command in this tick, before looking at the policy's inputs."""
        config, session = self.config, self._session
        if self.stops.reason:
            return State.ESTOP, self.stops.reason
        if unknown:
            return State.HOLD, unknown
        if self.ending:
            return State.HOLD, "shutting_down"
        if self._command.forgotten_at_rest:
            return State.HOLD, "coming_to_rest"
        if self.handed_off and not self.hand_off_fault:
            return State.HOLD, "homing"
        if self.mode is Mode.HOLD:
            return State.HOLD, "mode_hold"
        if self.stops.silent(now):
            return State.HOLD, "stop_source_silent"
        if self._human_lost:
            return State.HOLD, "intervention_lost"
        if self._human_time > -np.inf:
            if now - self._human_time > config.max_intervention_age:
                self._human_lost = True
                return State.HOLD, "intervention_lost"
            return State.HUMAN, ""
        if now - self._session_time > config.max_session_age:
            return State.HOLD, "session_silent"
        if not self._in_episode:
            return State.HOLD, f"phase_{session.phase.name.lower()}"
        wanted = session.phase is Phase.CRITICAL and session.actor_enabled and self.mode is Mode.AUTO
        if wanted and self._player.has_actor:
            return State.ACTOR, ""
        return State.REFERENCE, ""

    def _boundary(self, now: float, state: State, base: Array) -> tuple[str, ActionChunk | None]:
        """Start a new chunk where one is due; the fault if that is impossible."""
        if not self._player.due(now, state):
            return "", None
        usable = self._inputs.usable(now, self.config.max_input_age)
        if usable is None:
            return self._inputs.missing, None
        position = self._measured.position
        assert position is not None
        proprio = self.normaliser.proprio(position, self._measured.velocity)
        return self._player.start(now, state, usable, proprio, base, self._session)

    def _human_wish(self, previous: Array) -> Array:
        """Towards the human's target, taking it in over the hand-over ticks."""
        if self._human_target is None:
            return previous
        self._human_ticks = min(self._human_ticks + 1, self.config.handover_ticks)
        return previous + (self._human_target - previous) * (self._human_ticks / self.config.handover_ticks)
