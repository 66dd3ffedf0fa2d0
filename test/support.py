"""Builders of small, valid objects for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlt_ros.control.actor import Actor, ActorSpec, Weights
from rlt_ros.control.config import ExecutorConfig
from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import JointLimits
from rlt_ros.normaliser import Normaliser
from rlt_ros.types import ControlStep, Phase, PolicyInput, SessionView, State

JOINTS = 3
TOKEN = 4
HORIZON = 50
PERIOD = 0.02
BUNDLE = "test-bundle"


def normaliser(scale: float = 1e-3) -> Normaliser:
    """Unit proprioception, actions of `scale` a tick."""
    return Normaliser(np.zeros(2 * JOINTS), np.ones(2 * JOINTS), np.full(JOINTS, scale), PERIOD)


def limits(velocity: float = 1.0) -> JointLimits:
    """Three radians either way."""
    return JointLimits(np.full(JOINTS, -3.0), np.full(JOINTS, 3.0), np.full(JOINTS, velocity))


def policy_input(captured: float, sequence: int = 0, *, slope: float = 1e-3, **changes: Any) -> PolicyInput:
    """A reference in which every joint moves `slope` a row, starting from zero."""
    rows = np.arange(1, HORIZON + 1)[:, None] * slope * np.ones(JOINTS)
    values: dict[str, Any] = {
        "captured": captured,
        "sequence": sequence,
        "bundle_id": BUNDLE,
        "token": np.ones(TOKEN, dtype=np.float32),
        "reference": rows,
        "period": PERIOD,
        "position": np.zeros(JOINTS),
    }
    return PolicyInput(**{**values, **changes})


def weights(token: int, joints: int, chunk: int = 10, *, bias: float = 0.0, critics: float | None = None) -> Weights:
    """One linear layer that adds `bias` to every action of the reference, along a direction an action.

    Args:
        token: size of the token.
        joints: their number.
        chunk: rows of a chunk.
        bias: added, in action units.
        critics: two that value a chunk by so much for each unit of its motion; None: none.
    """
    size = chunk * joints
    width = token + 2 * joints + size
    of_critics = []
    if critics is not None:
        slope = np.zeros((2, width, 1), np.float32)
        slope[:, -size:] = critics
        of_critics = [(slope, np.zeros((2, 1), np.float32))]
    layer = (np.zeros((width, size), np.float32), np.full(size, bias, np.float32))
    return Weights(np.eye(size, dtype=np.float32), [layer], of_critics)


def actor(version: int = 1, *, chunk: int = 10, bias: float = 0.0, critics: float | None = None, **spec: Any) -> Actor:
    """See `weights`."""
    made = ActorSpec(BUNDLE, TOKEN, JOINTS, chunk, **spec)
    return Actor(made, weights(TOKEN, JOINTS, chunk, bias=bias, critics=critics), version)


def session(phase: Phase = Phase.CRITICAL, **changes: Any) -> SessionView:
    """An episode in its critical phase, actor enabled."""
    return SessionView(**{"epoch": 1, "episode": 1, "phase": phase, "actor_enabled": True, **changes})


class Rig:
    """An executor with a robot that is where it was told to be, on a clock of our own."""

    def __init__(self, **config: Any) -> None:
        """Start at time 10 s with a fresh joint state and a critical phase."""
        self.executor = Executor(ExecutorConfig(**config), BUNDLE, normaliser(), limits())
        self.now = 10.0
        self.view = session()
        self.robot = np.zeros(JOINTS)
        self.sequence = 0

    def see(self, **changes: Any) -> None:
        """A policy input captured now."""
        self.executor.policy_input(self.now, policy_input(self.now, self.sequence, **changes))
        self.sequence += 1

    def tick(self, *, joints: bool = True, heartbeat: bool = True) -> ControlStep:
        """One period later, with what a live graph delivers in it."""
        self.now += PERIOD
        if joints:
            self.executor.joint_state(self.now, self.robot.copy(), np.zeros(JOINTS))
        if heartbeat:
            self.executor.session(self.now, self.view)
        step = self.executor.tick(self.now)
        if step.sent:
            self.robot = step.command.copy()
        return step


def flying(**config: Any) -> Rig:
    """An executor that flies the reference, or an actor once it has one."""
    rig = Rig(**config)
    rig.tick()
    rig.see()
    return rig


def control_step(sequence: int, time: float, **changes: Any) -> ControlStep:
    """A step of the actor that moved every joint by one action unit."""
    values: dict[str, Any] = {
        "time": time,
        "sequence": sequence,
        "session": session(),
        "state": State.ACTOR,
        "reason": "",
        "command": np.full(JOINTS, (sequence + 1) * 1e-3),
        "previous": np.full(JOINTS, sequence * 1e-3),
        "position": np.full(JOINTS, sequence * 1e-3),
        "velocity": np.zeros(JOINTS),
        "input_sequence": 0,
    }
    return ControlStep(**{**values, **changes})
