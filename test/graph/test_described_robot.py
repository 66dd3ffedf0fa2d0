"""executor_node on robots that are described: split joint states, degrees, several controllers, other rates."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from driven import described, driver
from ros_support import listener
from running import node
from sensor_msgs.msg import JointState

from rlt_ros import msg
from rlt_ros.normaliser import Normaliser
from rlt_ros.robot.derive import node_parameters
from rlt_ros.robot.description import read_robot
from rlt_ros.ros.fields import from_stamp, to_stamp
from rlt_ros.ros.qos import LATCHED_QOS
from rlt_ros.vla.bundle import Bundle

pytestmark = pytest.mark.live


def bundle_for(name: str, joints: tuple[str, ...], directory: Path) -> Path:
    """A bundle whose VLA is somewhere else: nothing of it is needed here."""
    directory.mkdir()
    count = len(joints)
    scales = Normaliser(np.zeros(2 * count), np.ones(2 * count), np.full(count, 0.01))
    Bundle(
        directory, name, "1", name, ("base",), 64, joints, 50, 0.02, 16, {"task": "do"}, scales, "0" * 64, {},
        backend="openpi", settings={"host": "nowhere"},
    ).save()  # fmt: skip
    return directory


@pytest.mark.parametrize(
    ("name", "moved", "topic", "theirs", "scale", "tick"),
    [
        ("so101", "shoulder_pan", "/follower/joint_states", "shoulder_pan", np.degrees(1.0), 1 / 30),
        ("franka", "hand", "/franka_gripper/joint_states", "fr3_finger_joint1", 0.04, 0.02),
        ("ur5e_pair", "right_wrist_1", "/right/joint_states", "wrist_1_joint", 1.0, 0.01),
    ],
)
def test_a_human_flies_it_in_our_units(
    name: str, moved: str, topic: str, theirs: str, scale: float, tick: float, domain: int, tmp_path: Path
) -> None:
    path = described(name, tmp_path)
    robot = read_robot(path)
    parameters = {
        **node_parameters(robot, path)["executor_node"],
        "bundle": str(bundle_for(name, robot.joints, tmp_path / "bundle")),
        "priority": 0,
    }
    with (
        driver(name, tmp_path),
        node("executor_node", parameters, tmp_path / "executor.log"),
        listener() as ros,
    ):
        steps = ros.listen(msg.ControlStep, "step")
        status = ros.listen(msg.ExecutorStatus, "executor_status")
        states = ros.listen(JointState, topic)
        session = ros.node.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        human = ros.node.create_publisher(msg.Intervention, "intervention", 10)
        goal: list[float] = []

        def speak() -> None:
            session.publish(msg.SessionState(epoch=1, episode=1, phase=msg.SessionState.PHASE_IDLE))
            if goal:
                message = msg.Intervention(active=True, joint_names=list(robot.joints), target=goal)
                message.header.stamp = to_stamp(time.time())
                human.publish(message)

        ros.node.create_timer(0.02, speak)
        place = robot.joints.index(moved)

        def positions() -> list[float]:
            return [float(m.position[list(m.name).index(theirs)]) for m in states if theirs in m.name]

        ros.wait(lambda: bool(steps) and steps[-1].reason == "phase_idle", 60, "a pose that is believed")
        ros.wait(lambda: bool(positions()), 10, "joint states")
        start, before = list(steps[-1].position), positions()[-1]
        goal[:] = start
        goal[place] += 0.1
        ros.wait(lambda: abs(positions()[-1] - before - 0.1 * scale) < 0.01 * scale, 60, f"{moved} at its target")
        assert any(step.state == msg.ControlStep.STATE_HUMAN for step in steps)
        ros.wait(lambda: abs(steps[-1].position[place] - goal[place]) < 0.01, 5, "the same in our units")
        others = np.delete(np.abs(np.array(steps[-1].position) - start), place)
        assert others.max() < 0.02, "nothing else moves; what does not carry its own weight sinks a little"
        ros.wait(lambda: len(status) > 1, 10, "the loop's own count")
        since, until = status[-2:]
        ticks = until.ticks + until.missed_ticks - since.ticks - since.missed_ticks
        passed = from_stamp(until.header.stamp) - from_stamp(since.header.stamp)
        assert passed / ticks == pytest.approx(tick, rel=0.2), "those counted that a busy machine missed"
