"""A gripper that an action moves gets a goal where its target changed, in its driver's numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.task import Future

from rlt_ros.config import ConfigError
from rlt_ros.refusals import Refusals
from rlt_ros.robot.sections import Gripper
from rlt_ros.ros import gripper_actions as module
from rlt_ros.ros.gripper_actions import GripperActions

JOINTS = ("pan", "jaw")


class Goal:
    def __init__(self) -> None:
        self.command = SimpleNamespace(position=0.0, max_effort=0.0)


class Client:
    """A gripper's driver."""

    def __init__(self, *_: Any) -> None:
        self.goals: list[Any] = []
        self.ready, self.accepts = True, True

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal: Any) -> Future:
        self.goals.append(goal.command)
        answer = Future()
        answer.set_result(SimpleNamespace(accepted=self.accepts))
        return answer

    def destroy(self) -> None:
        """Nothing to destroy."""


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


def made(monkeypatch: pytest.MonkeyPatch, refusals: Refusals, **changes: Any) -> tuple[GripperActions, Client]:
    monkeypatch.setattr(module, "ActionClient", Client)
    monkeypatch.setattr(module, "_action", lambda _gripper: SimpleNamespace(Goal=Goal))
    node = SimpleNamespace(
        resolve_topic_name=lambda name: name, create_timer=lambda *_, **__: None, get_logger=lambda: None
    )
    gripper = Gripper("jaw", closed=0.8, open=0.0, action="/jaw/gripper_cmd", effort=20.0, **changes)
    actions = GripperActions(node, [(gripper, "knuckle")], JOINTS, refusals)  # type: ignore[arg-type]
    return actions, actions._clients["jaw"]  # type: ignore[return-value]


def test_goals_are_sent_where_the_target_changed(monkeypatch: pytest.MonkeyPatch, refusals: Refusals) -> None:
    actions, client = made(monkeypatch, refusals)
    actions.look()
    assert not client.goals, "nobody has wished anything"
    for target in (1.0, 1.0, 0.99, 0.5, 0.495, 0.0, 0.0):
        actions.wish(np.array([0.3, target]))
        actions.look()
    assert [goal.position for goal in client.goals] == pytest.approx([0.0, 0.4, 0.8])
    assert client.goals[0].max_effort == 20.0
    assert not refusals.counts


def test_the_last_bit_of_the_way_is_asked_for(monkeypatch: pytest.MonkeyPatch, refusals: Refusals) -> None:
    actions, client = made(monkeypatch, refusals)
    for target in (0.01, 0.0):
        actions.wish(np.array([0.0, target]))
        actions.look()
    assert [goal.position for goal in client.goals] == pytest.approx([0.792, 0.8])


def test_a_gripper_that_others_moved_meanwhile_is_told_the_same_again(
    monkeypatch: pytest.MonkeyPatch, refusals: Refusals
) -> None:
    """It stayed open after homing: the policy wished what it had wished last, and no goal was sent."""
    actions, client = made(monkeypatch, refusals)

    def wish(quiet: int) -> int:
        for _ in range(quiet):
            actions.look()
        actions.wish(np.array([0.0, 0.0]))
        actions.look()
        return len(client.goals)

    assert [wish(quiet) for quiet in (0, 1, 4)] == [1, 1, 1], "a pause between two wishes is nobody else's flight"
    assert wish(quiet=5) == 2
    assert {goal.position for goal in client.goals} == {0.8}


def test_parallel_grippers_are_told_by_name(monkeypatch: pytest.MonkeyPatch, refusals: Refusals) -> None:
    actions, client = made(monkeypatch, refusals, kind="parallel_gripper_command")
    actions.wish(np.array([0.0, 0.5]))
    actions.look()
    assert (list(client.goals[0].name), list(client.goals[0].position)) == (["knuckle"], pytest.approx([0.4]))
    assert list(client.goals[0].effort) == [20.0]


def test_who_does_not_answer_or_refuses_is_told_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, refusals: Refusals
) -> None:
    actions, client = made(monkeypatch, refusals)
    actions.wish(np.array([0.0, 1.0]))
    client.ready = False
    actions.look()
    assert refusals.counts["gripper_unanswered"] == 1
    client.ready, client.accepts = True, False
    actions.look()
    assert not client.goals, "what nobody wishes any more is never sent"
    actions.wish(np.array([0.0, 1.0]))
    actions.look()
    for _ in range(3):
        actions._answered(actions._grippers[0][0], _refused())
    assert refusals.counts["gripper_refused"] >= 3
    client.accepts = True
    actions.look()
    assert len(client.goals) == 1, "nobody flies"
    actions.wish(np.array([0.0, 1.0]))
    actions.look()
    assert len(client.goals) == 2


def _refused() -> Future:
    answer = Future()
    answer.set_result(SimpleNamespace(accepted=False))
    return answer


def test_without_control_msgs_it_is_said_at_start() -> None:
    pytest.importorskip("rclpy")
    try:
        import control_msgs.action  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"install control_msgs .*, or give it a controller that takes positions"):
            module._action(Gripper("jaw"))
