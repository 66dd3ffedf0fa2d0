"""Looks at the graph: who tells of joints, who takes commands, which pictures there are. Nothing is moved."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.action import get_action_names_and_types
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from rlt_ros.robot.seen import CameraSeen, ControllerSeen, Heard, JointTopic, Seen
from rlt_ros.ros.ears import Ears
from rlt_ros.ros.fields import from_stamp

_INTERFACES = {
    "std_msgs/msg/Float64MultiArray": "forward_position",
    "trajectory_msgs/msg/JointTrajectory": "joint_trajectory",
}
_ACTIONS = {
    "control_msgs/action/GripperCommand": "gripper_command",
    "control_msgs/action/ParallelGripperCommand": "parallel_gripper_command",
}
_NEWEST = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""A longer queue would tell its own age for the messages'."""
_AT_LEAST = 1.0
"""Seconds until others are found."""


class Surveyor:
    """A node of its own context that listens."""

    def __init__(self, topics: Iterable[str] = ()) -> None:
        """Join the graph; `topics` are known to be of use, whatever else is there."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node: Node = rclpy.create_node("rlt_survey", context=self.context, start_parameter_services=False)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.seen = Seen()
        self._subscribed: set[str] = set()
        self._wanted = set(topics)

    def close(self) -> None:
        """Leave it."""
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def spin(self, seconds: float) -> None:
        """Take in what comes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(left, 0.05))

    def look(self, seconds: float) -> Seen:
        """Listen for so long, then ask the controllers."""
        began = time.monotonic()
        while time.monotonic() < began + max(seconds, _AT_LEAST):
            self._subscribe()
            self.spin(0.2)
        self.seen.seconds = time.monotonic() - began
        self._who()
        self._ask_controllers()
        for name, kinds in get_action_names_and_types(self.node):
            if kinds[0] in _ACTIONS:
                self.seen.gripper_actions[name] = _ACTIONS[kinds[0]]
        return self.seen

    def _subscribe(self) -> None:
        for topic, kinds in self.node.get_topic_names_and_types():
            if topic in self._subscribed:
                continue
            kind, seen = kinds[0], self.seen
            if kind == "sensor_msgs/msg/JointState" and self._spoken(topic):
                seen.joints[topic] = joints = JointTopic(topic)
                self._hear(JointState, topic, partial(self._on_joints, joints))
            elif kind in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage") and self._of_use(topic):
                seen.cameras[topic] = camera = CameraSeen(topic)
                message = Image if kind.endswith("/Image") else CompressedImage
                self._hear(message, topic, partial(self._on_picture, camera))
            elif kind == "std_msgs/msg/String" and topic.endswith("robot_description"):
                Ears(self.node, String, topic, partial(self._on_description, topic))
                self._subscribed.add(topic)
            elif kind in _INTERFACES and self.node.count_subscribers(topic):
                seen.controllers[topic] = ControllerSeen(topic, _INTERFACES[kind])
                self._subscribed.add(topic)
            elif kind == "std_msgs/msg/Bool":
                seen.stops[topic] = ()
                self._subscribed.add(topic)

    def _hear(self, kind: type, topic: str, callback: Any) -> None:
        self.node.create_subscription(kind, topic, callback, _NEWEST)
        self._subscribed.add(topic)

    def _spoken(self, topic: str) -> bool:
        return self.node.count_publishers(topic) > 0

    def _of_use(self, topic: str) -> bool:
        """Colour pictures as they come; of the same ones in several forms the plain one, unless another is wanted."""
        if topic in self._wanted:
            return True
        dull = ("depth", "infra", "mask", "aligned")
        alone = topic.endswith("/compressed") and not self._spoken(topic.removesuffix("/compressed"))
        plain = alone or topic.endswith(("image_raw", "image_rect", "image"))
        return plain and self._spoken(topic) and not any(word in topic for word in dull)

    def _who(self) -> None:
        """Who speaks and listens, by name."""
        for topic, joints in self.seen.joints.items():
            joints.publishers = self._names(topic, publishers=True)
        for topic, camera in self.seen.cameras.items():
            camera.publishers = self._names(topic, publishers=True)
        for topic in self.seen.stops:
            self.seen.stops[topic] = self._names(topic, publishers=True)

    def _names(self, topic: str, *, publishers: bool) -> tuple[str, ...]:
        found = (
            self.node.get_publishers_info_by_topic(topic)
            if publishers
            else self.node.get_subscriptions_info_by_topic(topic)
        )
        return tuple(f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in found)

    # -- what comes ----------------------------------------------------------------------------------------

    def _on_joints(self, joints: JointTopic, message: JointState) -> None:
        if len(message.position) != len(message.name):
            return
        velocity = np.array(message.velocity) if len(message.velocity) == len(message.name) else None
        stamp, names = from_stamp(message.header.stamp), tuple(message.name)
        joints.heard.append(Heard(time.time(), stamp, names, np.array(message.position), velocity))

    def _on_picture(self, camera: CameraSeen, message: Image | CompressedImage) -> None:
        camera.times.append((time.time(), from_stamp(message.header.stamp)))
        if isinstance(message, Image):
            camera.encoding, camera.size = message.encoding, (message.width, message.height)
        else:
            camera.encoding = message.format

    def _on_description(self, topic: str, message: String) -> None:
        self.seen.descriptions[topic] = message.data

    # -- controllers ---------------------------------------------------------------------------------------

    def _ask_controllers(self) -> None:
        active = self._active()
        for topic, controller in list(self.seen.controllers.items()):
            node = topic.rpartition("/")[0]
            self.seen.controllers[topic] = ControllerSeen(
                topic,
                controller.interface,
                self._names(topic, publishers=False),
                self._names(topic, publishers=True),
                self._parameter_joints(node),
                active.get(node),
            )

    def _parameter_joints(self, node: str) -> tuple[str, ...] | None:
        answer = self._call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=["joints"]))
        values = [] if answer is None else answer.values
        names = tuple(values[0].string_array_value) if values else ()
        return names or None

    def _active(self) -> dict[str, bool]:
        """By controller, where a controller manager tells; it needs controller_manager_msgs."""
        try:
            service = importlib.import_module("controller_manager_msgs.srv").ListControllers
        except ImportError:
            return {}
        out = {}
        for name, kinds in self.node.get_service_names_and_types():
            if kinds[0] == "controller_manager_msgs/srv/ListControllers":
                answer = self._call(service, name, service.Request())
                near = name.rpartition("/")[0].rpartition("/")[0]
                for controller in [] if answer is None else answer.controller:
                    out[f"{near}/{controller.name}"] = controller.state == "active"
        return out

    def _call(self, kind: type, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_sec=0.5):
                return None
            answer = client.call_async(request)
            self.executor.spin_until_future_complete(answer, timeout_sec=2.0)
            return answer.result() if answer.done() else None
        finally:
            self.node.destroy_client(client)


def survey(seconds: float, topics: Iterable[str] = ()) -> Seen:
    """What is on the graph.

    Args:
        seconds: to listen.
        topics: of pictures that are of use in whatever form they come.
    """
    surveyor = Surveyor(topics)
    try:
        return surveyor.look(seconds)
    finally:
        surveyor.close()
