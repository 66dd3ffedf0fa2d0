"""Homing by a trajectory controller; where control_msgs is installed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

control_msgs = pytest.importorskip("control_msgs.action", reason="control_msgs comes with a ROS distribution")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.action import ActionServer, CancelResponse  # noqa: E402
from ros_support import listener  # noqa: E402
from running import node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from rlt_ros import msg  # noqa: E402
from rlt_ros.bringup.graph import Bringup  # noqa: E402
from rlt_ros.ros.fields import to_stamp  # noqa: E402
from rlt_ros.ros.qos import LATCHED_QOS  # noqa: E402
from rlt_ros.vla.bundle import load_bundle  # noqa: E402

pytestmark = pytest.mark.live
BUNDLE = load_bundle(Bringup().bundle_path)
JOINTS = len(BUNDLE.joints)
HOME = [0.1] * JOINTS
Follow = control_msgs.FollowJointTrajectory


class Controller:
    """A joint trajectory controller that takes its time, and the robot it moves."""

    def __init__(self, ros) -> None:
        node = ros.node
        self.position = np.zeros(JOINTS)
        self.phase = msg.SessionState.PHASE_IDLE
        self.goal = self.ended = None
        self.cancelled = self.gives_up = False
        self.joints = node.create_publisher(JointState, "joint_states", 10)
        self.session = node.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        self.steps = ros.listen(msg.ControlStep, "step")
        self.commands = ros.listen(JointTrajectory, "joint_trajectory_controller/joint_trajectory")
        node.create_timer(0.02, self.speak)
        self.server = ActionServer(
            node,
            Follow,
            "joint_trajectory_controller/follow_joint_trajectory",
            execute_callback=self.follow,
            cancel_callback=self.cancel,
        )

    def speak(self) -> None:
        message = JointState(name=list(BUNDLE.joints), position=list(self.position), velocity=[0.0] * JOINTS)
        message.header.stamp = to_stamp(time.time())
        self.joints.publish(message)
        self.session.publish(msg.SessionState(epoch=1, episode=1, phase=self.phase))

    def cancel(self, _goal) -> CancelResponse:
        self.cancelled = True
        return CancelResponse.ACCEPT

    async def follow(self, goal):
        self.goal = goal.request.trajectory
        by_name = dict(zip(self.goal.joint_names, self.goal.points[0].positions, strict=True))
        self.position = (self.position + np.array([by_name[name] for name in BUNDLE.joints])) / 2
        while self.ended is None and not self.cancelled:
            await self.pause()
        if self.cancelled:
            goal.canceled()
            return Follow.Result()
        goal.succeed() if not (self.ended or self.gives_up) else goal.abort()
        return Follow.Result(error_code=self.ended)

    async def pause(self) -> None:
        """Give way to the other callbacks."""

        class Once:
            def __await__(self):
                yield

        await Once()


@pytest.fixture
def rig(domain: int, tmp_path: Path):
    parameters = {
        "bundle": str(BUNDLE.directory),
        "priority": "0",
        "command_interface": "joint_trajectory",
        "home": str(HOME),
    }
    with listener() as ros, node("executor_node", parameters, tmp_path / "log") as process:
        controller = Controller(ros)
        ros.wait(lambda: bool(controller.commands) and bool(controller.steps), 20, "first command")
        yield ros, controller
        assert process.poll() is None, (tmp_path / "log").read_text()
        controller.server.destroy()


def home(ros):
    return ros.call(Trigger, "executor_node/home", Trigger.Request())


def test_the_controller_brings_the_robot_home_while_the_executor_is_silent(rig) -> None:
    ros, controller = rig
    assert home(ros).success
    ros.wait(lambda: controller.goal is not None, 5, "goal")
    assert np.allclose(controller.goal.points[0].positions, HOME)
    assert list(controller.goal.points[0].velocities) == [0.0] * JOINTS
    assert controller.goal.points[0].time_from_start.sec >= 1
    ros.spin(0.1)
    silent = len(controller.commands)
    ros.spin(0.3)
    assert len(controller.commands) == silent
    assert controller.steps[-1].reason == "homing"
    assert home(ros).message == "already on the way"
    controller.position = np.array(HOME)
    ros.spin(0.1)
    controller.ended = 0
    ros.wait(lambda: controller.steps[-1].reason == "phase_idle", 5, "the robot to be taken back")
    ros.wait(lambda: len(controller.commands) > silent + 2, 5, "commands")
    assert np.allclose(controller.commands[-1].points[0].positions, HOME)


@pytest.mark.parametrize("reason", ["stop", "abort", "abort without a reason"])
def test_an_interrupted_homing_is_called_off_and_the_robot_held_where_it_is(rig, reason: str) -> None:
    ros, controller = rig
    assert home(ros).success
    ros.wait(lambda: controller.goal is not None, 5, "goal")
    ros.spin(0.1)
    if reason == "stop":
        assert ros.call(Trigger, "executor_node/estop", Trigger.Request()).success
        ros.wait(lambda: controller.cancelled, 5, "cancellation")
        ros.wait(lambda: controller.steps[-1].state == msg.ControlStep.STATE_ESTOP, 5, "ESTOP")
    else:
        controller.gives_up = True
        controller.ended = Follow.Result.GOAL_TOLERANCE_VIOLATED if reason == "abort" else 0
        ros.wait(lambda: controller.steps[-1].reason == "phase_idle", 5, "the robot to be taken back")
    controller.commands.clear()
    ros.wait(lambda: len(controller.commands) > 2, 5, "commands")
    assert np.allclose(controller.commands[-1].points[0].positions, controller.position, atol=1e-6)


def test_homing_ends_with_the_executor_whose_last_word_is_a_hold(rig) -> None:
    ros, controller = rig
    assert home(ros).success
    ros.wait(lambda: controller.goal is not None, 5, "goal")
    ros.spin(0.1)
    controller.commands.clear()
    request = ChangeState.Request()
    request.transition.id = Transition.TRANSITION_DEACTIVATE
    assert ros.call(ChangeState, "executor_node/change_state", request).success
    ros.wait(lambda: controller.cancelled, 5, "cancellation")
    ros.wait(lambda: bool(controller.commands), 5, "the last word")
    assert np.allclose(controller.commands[-1].points[0].positions, controller.position, atol=1e-6)


def test_there_is_no_homing_in_an_episode(rig) -> None:
    ros, controller = rig
    controller.phase = msg.SessionState.PHASE_CRITICAL
    ros.wait(lambda: controller.steps[-1].phase == msg.SessionState.PHASE_CRITICAL, 5, "the episode")
    answer = home(ros)
    assert (answer.success, "an episode runs" in answer.message) == (False, True)
