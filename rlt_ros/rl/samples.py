"""From control steps and policy inputs to what the replay stores: ticks, and states at every stride.

Definitions (RL Token, section 3.2): a state is `x = (token, proprioception)`; a sample that starts at tick s is
`(x_s, a_s..s+C-1, ref_s, r_s..s+C-1, x_s+C, ref_s+C)`. Chunks that flew began every C ticks, samples begin every
`stride` ticks, each with the policy input that was newest then and the reference sliced by time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rlt_ros.control.timeline import reference_actions
from rlt_ros.normaliser import Normaliser
from rlt_ros.refusals import Refusals
from rlt_ros.types import Array32, ControlStep, Outcome, PolicyInput, State

_INPUTS = 1500
"""Policy inputs that are remembered: a minute of them, steps wait for theirs less than half of that."""


@dataclass(frozen=True)
class StateRecord:
    """What is stored at a sample's first tick.

    Attributes:
        valid: a policy input was known; otherwise the arrays are zeros and no sample may use this state.
        token: RL token, shape (D,).
        proprio: normalised proprioception, shape (2 M,).
        reference: normalised reference rows, shape (C, J); see `SampleConfig.human_replaces_reference`.
        time: of the tick, s.
        seen: when the pictures of the token were taken, s, on the same clock.
    """

    valid: bool
    token: Array32
    proprio: Array32
    reference: Array32
    time: float = 0.0
    seen: float = 0.0


@dataclass(frozen=True)
class Segment:
    """A state and the ticks up to the next one.

    Attributes:
        state: at the first tick.
        actions: normalised executed target changes, shape (stride, J); padded with zeros after the episode's end.
        sources: `State` of each tick, shape (stride,).
        reward: shape (stride,).
        rows: ticks from the state's first one to the episode's end, at most C.
        terminal: the episode ends within these rows.
    """

    state: StateRecord
    actions: Array32
    sources: np.ndarray[tuple[int], np.dtype[np.uint8]]
    reward: Array32
    rows: int
    terminal: bool


@dataclass(frozen=True)
class SampleConfig:
    """How steps become samples.

    Attributes:
        chunk: rows of an action chunk (C).
        stride: ticks between two samples' starts; divides C.
        human_replaces_reference: rows that a human flew are stored as the reference (the paper's way); else the VLA's
            stays, which is what the actor sees when it flies there itself.
        human_clip: largest normalised action of a human that is stored; beyond it is clipped and counted.
        margin: ticks that steps are held back beyond a chunk, so that an outcome that arrives late still
            meets its tick.
    """

    chunk: int = 10
    stride: int = 2
    human_replaces_reference: bool = False
    human_clip: float = 5.0
    margin: int = 25

    def __post_init__(self) -> None:
        if self.chunk % self.stride:
            raise ValueError(f"stride {self.stride} must divide the chunk's {self.chunk} rows")


class EpisodeBuilder:
    """Collects one episode's steps and yields segments as soon as they are certain."""

    def __init__(self, config: SampleConfig, normaliser: Normaliser, bundle_id: str, token_dim: int) -> None:
        """Build samples for one bundle."""
        self.config = config
        self.refusals = Refusals()
        self._normaliser = normaliser
        self.bundle_id = bundle_id
        self._token_dim = token_dim
        self._inputs: dict[int, PolicyInput] = {}
        self._steps: list[ControlStep] = []
        self._done = 0

    @property
    def counters(self) -> Counter[str]:
        """What was left out, and how often."""
        return self.refusals.counts

    def policy_input(self, message: PolicyInput) -> None:
        """Remember a policy input until the steps that used it have been stored."""
        if message.bundle_id != self.bundle_id or message.token.shape != (self._token_dim,):
            self.refusals.refuse("input_wrong_bundle", message.bundle_id)
            return
        self._inputs[message.sequence] = message
        if len(self._inputs) > _INPUTS:
            del self._inputs[next(iter(self._inputs))]

    def knows(self, sequence: int) -> bool:
        """Whether a policy input that a step names is here; a negative number names none."""
        return sequence < 0 or sequence in self._inputs

    def begin(self) -> None:
        """Forget the unfinished episode and start a new one."""
        self._steps.clear()
        self._done = 0

    @property
    def ticks(self) -> int:
        """Steps of the running episode."""
        return len(self._steps)

    @property
    def last_time(self) -> float:
        """Time of the newest step; minus infinity before the first."""
        return self._steps[-1].time if self._steps else -np.inf

    def step(self, step: ControlStep) -> Iterator[Segment]:
        """Add a step of the running episode; yields the segments it completes.

        Ticks before the first policy input are not part of the episode: nothing could be decided in them.
        """
        if not self._steps and step.input_sequence < 0:
            return
        self._steps.append(step)
        hold_back = self.config.chunk + self.config.margin
        while self._done + hold_back < len(self._steps):
            yield self._segment(self._done, len(self._steps), Outcome.NONE)

    def end(self, time: float, outcome: Outcome) -> Iterator[Segment]:
        """Close the episode; yields the rest.

        Args:
            time: when it happened; the tick that contains it is the last one and carries the reward.
            outcome: SUCCESS rewards 1; FAILURE and TIMEOUT end without reward; ABORT ends nothing: the last
                states are stored without being terminal, so that no sample bootstraps from them.
        """
        count = len(self._steps)
        while count and self._steps[count - 1].time > time and count > self._done + 1:
            count -= 1
        if self._done and self._done - self.config.stride + self.config.chunk >= count:
            # The outcome came later than the margin: segments beyond it are stored as if the episode had gone on.
            self.refusals.refuse("outcome_late")
        self._steps = self._steps[:count]
        while self._done < count:
            yield self._segment(self._done, count, outcome)
        self.begin()

    def _segment(self, first: int, count: int, outcome: Outcome) -> Segment:
        stride, chunk = self.config.stride, self.config.chunk
        steps = self._steps[first : min(first + chunk, count)]
        terminal = outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT) and first + chunk >= count
        joints = len(steps[0].command)
        actions = np.zeros((stride, joints), dtype=np.float32)
        sources = np.zeros(stride, dtype=np.uint8)
        reward = np.zeros(stride, dtype=np.float32)
        for row, step in enumerate(steps[:stride]):
            actions[row] = self._action(step)
            if step.state is State.HUMAN and (np.abs(actions[row]) >= self.config.human_clip).any():
                self.refusals.refuse("human_clipped")
            sources[row] = step.state
            if outcome is Outcome.SUCCESS and first + row == count - 1:
                reward[row] = 1.0
        self._done = first + stride
        return Segment(self._state(steps), actions, sources, reward, len(steps), terminal)

    def _action(self, step: ControlStep) -> Array32:
        """The executed change of the target, normalised. A human may leave the scale of the policy's actions."""
        action = self._normaliser.actions(step.command[None], step.previous)[0]
        limit = self.config.human_clip if step.state is State.HUMAN else np.inf
        return np.asarray(np.clip(action, -limit, limit))

    def _state(self, steps: list[ControlStep]) -> StateRecord:
        chunk, start = self.config.chunk, steps[0]
        proprio = self._normaliser.proprio(start.position, start.velocity)
        joints = len(start.command)
        source = self._inputs.get(start.input_sequence) if start.input_sequence >= 0 else None
        reference = reference_actions(source, start.time, chunk, self._normaliser) if source is not None else None
        if source is None or reference is None:
            self.refusals.refuse("input_missing", f"input {start.input_sequence}")
            return StateRecord(
                False, np.zeros(self._token_dim, np.float32), proprio, np.zeros((chunk, joints), np.float32)
            )
        for row, step in enumerate(steps):
            if step.state is State.HUMAN and self.config.human_replaces_reference:
                reference[row] = self._action(step)
        return StateRecord(True, source.token, proprio, reference, start.time, source.captured)
