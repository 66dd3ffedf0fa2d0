"""Messages to domain types and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from rlt_ros import msg
from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import Limit
from rlt_ros.control.realtime import LoopStatistics
from rlt_ros.normaliser import Normaliser
from rlt_ros.ros.fields import floats, from_stamp, to_stamp
from rlt_ros.session.episodes import Event, Session
from rlt_ros.session.statistics import EpisodeRecord
from rlt_ros.types import ActionChunk, ControlStep, Outcome, Phase, PolicyInput, SessionView, State


def policy_input_from_msg(message: msg.PolicyInput, clock_offset: float = 0.0) -> PolicyInput:
    """Domain type of a message; `clock_offset` is added to its stamp.

    Raises:
        ValueError: the reference does not have the announced shape.
    """
    rows, joints = message.horizon, message.joints
    reference = np.array(message.reference, dtype=np.float64)
    if reference.size != rows * joints or not rows:
        raise ValueError(f"reference has {reference.size} numbers, announced are {rows} x {joints}")
    return PolicyInput(
        captured=from_stamp(message.header.stamp) + clock_offset,
        sequence=message.sequence,
        bundle_id=message.bundle_id,
        token=np.array(message.token, dtype=np.float32),
        reference=reference.reshape(rows, joints),
        period=message.period,
        position=np.array(message.position, dtype=np.float64),
    )


def session_from_msg(message: msg.SessionState) -> SessionView:
    """Domain type of a message.

    Raises:
        ValueError: the phase is unknown.
    """
    return SessionView(message.epoch, message.episode, Phase(message.phase), message.actor_enabled, message.explore)


def session_to_msg(session: Session, epoch: int, now: float, stamp: float, task: str) -> msg.SessionState:
    """The session's state.

    Args:
        session: as it is `now`, on its clock.
        epoch: identity of the session.
        now: time of the session's clock.
        stamp: the same, seconds since the epoch of ROS time.
        task: name of the task.
    """
    statistics = session.statistics
    message = msg.SessionState()
    message.header.stamp = to_stamp(stamp)
    message.epoch = epoch
    message.episode = session.episode
    message.phase = int(session.phase)
    message.outcome = int(session.outcome)
    message.actor_enabled = session.actor_enabled
    message.explore = session.explore
    message.phase_time = session.phase_time(now)
    message.time_left = session.time_left(now)
    message.episodes = statistics.episodes
    message.successes = statistics.successes
    message.success_rate = statistics.success_rate
    message.throughput = statistics.recent_per_10min
    message.interventions = statistics.interventions
    message.intervention_share = statistics.intervention_share
    message.critical_proposed = session.critical_proposed
    message.task = task
    return message


def event_to_msg(event: Event, robot: str, epoch: int, stamp: float) -> msg.EpisodeEvent:
    """An event of `robot` in the session `epoch`; `stamp` is its time, seconds since the epoch of ROS time."""
    message = msg.EpisodeEvent()
    message.header.stamp = to_stamp(stamp)
    message.robot = robot
    message.epoch = epoch
    message.episode = event.episode
    message.kind = int(event.kind)
    message.outcome = int(event.outcome)
    message.duration = event.duration
    message.actor_enabled = event.actor_enabled
    message.ticks = event.ticks
    message.human_ticks = event.human_ticks
    message.interventions = event.interventions
    return message


def episode_from_msg(message: msg.EpisodeEvent) -> EpisodeRecord:
    """The episode that an event of its end or label tells of.

    Raises:
        ValueError: the outcome is unknown.
    """
    return EpisodeRecord(
        message.episode,
        Outcome(message.outcome),
        message.duration,
        message.actor_enabled,
        message.ticks,
        message.human_ticks,
        message.interventions,
    )


def step_to_msg(step: ControlStep, clock_offset: float, robot: str) -> msg.ControlStep:
    """Message of a step of `robot`; `clock_offset` is added to its time."""
    message = msg.ControlStep()
    message.robot = robot
    message.header.stamp = to_stamp(step.time + clock_offset)
    message.sequence = step.sequence
    message.epoch = step.session.epoch
    message.episode = step.session.episode
    message.phase = int(step.session.phase)
    message.state = int(step.state)
    message.reason = step.reason
    message.command = floats(step.command)
    message.previous = floats(step.previous)
    message.position = floats(step.position)
    message.velocity = floats(step.velocity)
    message.input_valid = step.input_sequence >= 0
    message.input_sequence = max(0, step.input_sequence)
    message.input_age = step.input_age
    message.row = step.row
    message.policy_version = step.policy_version
    message.limited = step.limited
    message.candidate = step.candidate
    return message


def step_from_msg(message: msg.ControlStep) -> ControlStep:
    """Domain type of a message, on the clock of its stamps.

    Raises:
        ValueError: state or phase is unknown, or the arrays differ in size.
    """
    arrays = [
        np.array(values, dtype=np.float64)
        for values in (message.command, message.previous, message.position, message.velocity)
    ]
    if len({values.size for values in arrays}) != 1:
        raise ValueError(f"a step's arrays have different sizes: {[values.size for values in arrays]}")
    if not all(np.isfinite(values).all() for values in arrays):
        raise ValueError("a step is not finite")
    command, previous, position, velocity = arrays
    return ControlStep(
        time=from_stamp(message.header.stamp),
        sequence=message.sequence,
        session=SessionView(message.epoch, message.episode, Phase(message.phase)),
        state=State(message.state),
        reason=message.reason,
        command=command,
        previous=previous,
        position=position,
        velocity=velocity,
        input_sequence=message.input_sequence if message.input_valid else -1,
        input_age=message.input_age,
        row=message.row,
        policy_version=message.policy_version,
        limited=message.limited,
        candidate=round(message.candidate, 4),
    )


def chunk_to_msg(
    chunk: ActionChunk,
    sequence: int,
    episode: int,
    names: Sequence[str],
    normaliser: Normaliser,
    period: float,
    clock_offset: float,
) -> msg.ActionChunk:
    """Message of a chunk, in absolute joint targets; `clock_offset` is added to its start."""
    message = msg.ActionChunk()
    message.header.stamp = to_stamp(chunk.start + clock_offset)
    message.sequence = sequence
    message.episode = episode
    message.source = int(chunk.source)
    message.policy_version = chunk.policy_version
    message.candidate = chunk.candidate
    message.input_sequence = chunk.input_sequence
    message.input_age = chunk.input_age
    message.rows, message.joints = chunk.actions.shape
    message.period = period
    message.joint_names = list(names)
    message.proprio = floats(chunk.proprio)
    message.target = floats(normaliser.targets(chunk.actions, chunk.base))
    message.reference = floats(normaliser.targets(chunk.reference, chunk.base))
    return message


def status_to_msg(
    step: ControlStep, statistics: LoopStatistics, executor: Executor, names: Sequence[str], failure: str
) -> msg.ExecutorStatus:
    """The executor's health, but for what only the node knows: stamp, rate, age of the weights, bundle.

    Args:
        step: the newest.
        statistics: of the loop.
        executor: with its counters.
        names: of its joints.
        failure: what stopped the loop, or "".
    """
    message = msg.ExecutorStatus()
    message.state = int(State.HOLD if failure else step.state)
    message.reason = failure or step.reason
    message.ticks = statistics.ticks
    message.missed_ticks = statistics.missed
    message.period_error_p50_ms = statistics.period_error.quantile(0.5) * 1e3
    message.period_error_p99_ms = statistics.period_error.quantile(0.99) * 1e3
    message.period_error_max_ms = statistics.period_error.max * 1e3
    message.lateness_p99_ms = statistics.lateness.quantile(0.99) * 1e3
    message.lateness_max_ms = statistics.lateness.max * 1e3
    message.compute_p99_ms = statistics.compute.quantile(0.99) * 1e3
    message.policy_version = step.policy_version
    message.input_age = step.input_age if step.input_sequence >= 0 else -1.0
    message.actor_p99_ms = executor.actor_time.quantile(0.99) * 1e3
    counters = dict(executor.counters)
    for kind, joint in np.argwhere(executor.limited):
        counters[f"limit_{Limit(kind).name.lower()}/{names[joint]}"] = int(executor.limited[kind, joint])
    message.counter_names, message.counter_values = list(counters), list(counters.values())
    return message


def diagnostics_to_msg(status: msg.ExecutorStatus, name: str) -> DiagnosticArray:
    """The same for `/diagnostics`: a warning while it holds, an error after a stop."""
    state = State(status.state)
    level = {State.HOLD: DiagnosticStatus.WARN, State.ESTOP: DiagnosticStatus.ERROR}.get(state, DiagnosticStatus.OK)
    told = DiagnosticStatus(name=name, hardware_id=status.bundle_id, level=level)
    told.message = f"{state.name} {status.reason}".strip()
    fields = [
        field for field in status.get_fields_and_field_types() if field.endswith(("_ms", "_age", "ticks", "rate"))
    ]
    values = {field: round(getattr(status, field), 3) for field in fields}
    values |= dict(zip(status.counter_names, status.counter_values, strict=True))
    told.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticArray(header=status.header, status=[told])
