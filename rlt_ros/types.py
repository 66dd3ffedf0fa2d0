"""The words of the domain, in plain numpy. Times are seconds of one clock, chosen by the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

GROUNDING = 5
"""Values that say where the plug is in the socket's frame: x, y, z of the tip in m, y and z of its axis in rad."""


class State(IntEnum):
    """Whose command is on the wire; equals `ControlStep.STATE_*`."""

    HOLD = 0
    REFERENCE = 1
    ACTOR = 2
    HUMAN = 3
    ESTOP = 4


class Mode(IntEnum):
    """What the operator allows the executor; equals `SetMode.MODE_*`."""

    HOLD = 0
    REFERENCE = 1
    AUTO = 2


class Phase(IntEnum):
    """Where an episode is; equals `SessionState.PHASE_*`."""

    IDLE = 0
    RESET = 1
    BASE = 2
    CRITICAL = 3
    ENDED = 4


class Outcome(IntEnum):
    """How an episode ended; equals `SessionState.OUTCOME_*`."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    TIMEOUT = 3
    ABORT = 4


@dataclass(frozen=True)
class PolicyInput:
    """What the VLA said about one moment.

    Attributes:
        captured: time of the camera set.
        sequence: counts up by one.
        bundle_id: token space and action scale.
        token: RL token, shape (D,).
        reference: absolute joint targets, shape (H, J); row k is meant for `captured + k * period`.
        period: seconds between rows.
        position: joint positions that the VLA saw, shape (J,).
    """

    captured: float
    sequence: int
    bundle_id: str
    token: Array32
    reference: Array
    period: float
    position: Array


@dataclass(frozen=True)
class ActionChunk:
    """Rows the executor committed to.

    Attributes:
        start: time of row 0.
        source: REFERENCE or ACTOR.
        actions: normalised target changes, shape (C, J).
        reference: the VLA's normalised target changes for the same rows, shape (C, J).
        proprio: normalised proprioception at the start, shape (2 M,), see `Normaliser`.
        input_sequence: the `PolicyInput` it came from.
        input_age: seconds between that input's capture and the start.
        policy_version: version of the actor; 0 for REFERENCE.
        base: the command before row 0, shape (J,).
        candidate: which of the actor's candidates it is: the reference at so many times its motion, or 0, the actor's
            own chunk.
    """

    start: float
    source: State
    actions: Array32
    reference: Array32
    proprio: Array32
    input_sequence: int
    input_age: float
    policy_version: int
    base: Array
    candidate: float = 0.0


@dataclass(frozen=True)
class SessionView:
    """What the executor needs to know of the session.

    Attributes:
        epoch: identity of the session.
        episode: number of the episode.
        phase: where the episode is.
        actor_enabled: the warm-up is over.
        explore: exploration noise is allowed.
    """

    epoch: int = 0
    episode: int = 0
    phase: Phase = Phase.IDLE
    actor_enabled: bool = False
    explore: bool = False


@dataclass(frozen=True)
class ControlStep:
    """One tick of the control loop.

    Attributes:
        time: of the tick.
        sequence: counts up by one.
        session: the session as the executor knew it.
        state: whose command it is.
        reason: why the state is HOLD or ESTOP; empty otherwise.
        command: joint targets, shape (J,).
        previous: joint targets a tick before, shape (J,).
        position: measured joint positions, shape (J,).
        velocity: measured joint velocities, shape (J,).
        input_sequence: newest usable `PolicyInput`, or -1.
        input_age: seconds since its capture.
        row: row of the running chunk.
        policy_version: version of the actor on board; 0 without one.
        limited: the limits changed the command.
        candidate: of the running chunk, see `ActionChunk`; 0 also where the actor does not fly.
        sent: the command goes to the robot; False while somebody else moves it (reset) or nothing is known.
        chunk: the chunk that starts at this tick.
        ahead: joint targets of the following ticks as planned now, shape (K, J), where the controller takes several.
    """

    time: float
    sequence: int
    session: SessionView
    state: State
    reason: str
    command: Array
    previous: Array
    position: Array
    velocity: Array
    input_sequence: int = -1
    input_age: float = 0.0
    row: int = 0
    policy_version: int = 0
    limited: bool = False
    candidate: float = 0.0
    sent: bool = True
    chunk: ActionChunk | None = field(default=None, compare=False)
    ahead: Array | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Episode:
    """One demonstration at the control rate; T ticks, J joints.

    Attributes:
        task: name of the task.
        instruction: what the robot was told.
        setting: `controlled` or `full`.
        ticks: until success; 0: it failed.
        image_ticks: ticks whose images were kept, shape (S,).
        images: uint8, shape (S, cameras, size, size, 3).
        position: measured joint positions before each tick, shape (T, J).
        velocity: measured joint velocities before each tick, shape (T, J).
        before: the joint targets at the start, shape (J,).
        command: the joint targets of each tick, shape (T, J).
        critical: whether the tick belongs to the critical phase, shape (T,).
        grounding: where the plug was, shape (T, GROUNDING); NaN where that is not known or has no sense.
        human: whether a human flew the tick, shape (T,); None: not known.
    """

    task: str
    instruction: str
    setting: str
    ticks: int
    image_ticks: NDArray[np.int64]
    images: NDArray[np.uint8]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]
    before: NDArray[np.float64]
    command: NDArray[np.float64]
    critical: NDArray[np.bool_]
    grounding: NDArray[np.float32]
    human: NDArray[np.bool_] | None = None
