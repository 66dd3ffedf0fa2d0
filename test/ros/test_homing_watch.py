"""Homing whose controller never answers comes to an end (W13)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rclpy.task import Future
from support import BUNDLE, JOINTS, limits, normaliser

from rlt_ros.control.config import ExecutorConfig, ExecutorParameters
from rlt_ros.control.executor import Executor
from rlt_ros.robot.wire import executor_wire
from rlt_ros.ros import homing as module
from rlt_ros.ros.homing import Homing


class Log:
    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, text: str) -> None:
        self.errors.append(text)

    def info(self, text: str) -> None:
        """Nothing that is looked at."""


class Client:
    """A controller's action server that takes goals and says nothing more."""

    def __init__(self) -> None:
        self.goals = 0

    def server_is_ready(self) -> bool:
        return True

    def send_goal_async(self, _goal: Any) -> Future:
        self.goals += 1
        return Future()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> tuple[Homing, Executor, Client, Log, Callable[[float], None]]:
    executor = Executor(ExecutorConfig(), BUNDLE, normaliser(), limits())
    log, client, clock = Log(), Client(), [100.0]
    node = type("Node", (), {"get_logger": lambda _self: log})()
    parameters = ExecutorParameters(joints=("a", "b", "c"), joint_velocity=(1.0,) * JOINTS)
    made = Homing(node, executor, parameters, executor_wire(parameters), ("a", "b", "c"), lambda call: call())  # type: ignore[arg-type]
    made._home, made._clients = np.zeros(JOINTS), {"controller/follow_joint_trajectory": client}
    monkeypatch.setattr(made, "_goal", lambda _arm, _seconds: None)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def pass_by(seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            clock[0] += 0.05
            executor.joint_state(clock[0], np.full(JOINTS, 0.3), np.zeros(JOINTS))
            executor.tick(clock[0])
            made.watch()

    pass_by(0.1)
    return made, executor, client, log, pass_by


def test_W13_a_controller_that_never_answers_is_given_up(
    rig: tuple[Homing, Executor, Client, Log, Callable[[float], None]],
) -> None:
    homing, executor, client, log, pass_by = rig
    assert homing.start() == ""
    pass_by(0.2)
    assert executor.handed_off
    assert client.goals == 1
    pass_by(10.0)
    assert not executor.handed_off
    assert executor.counters["homing"] == 1
    assert "no answer within" in log.errors[0]
    assert homing.start() == "", "and may be tried again"


def test_an_executor_that_does_not_hand_off_is_told(
    rig: tuple[Homing, Executor, Client, Log, Callable[[float], None]],
) -> None:
    homing, executor, client, log, pass_by = rig
    assert homing.start() == ""
    executor.estop("pressed")
    pass_by(3.0)
    assert client.goals == 0
    assert "does not hand off" in log.errors[0]
