"""Robots as their vendors' drivers present them: names, topics, split messages, units, rates, controllers, cameras.

Usage: drivers.py NAME [FAULT=WHAT ...]

Arms have links, weight and servos (`arms.py`); grippers of their own follow their targets with a lag. Faults:
order=TOPIC (the controller takes its joints in the reverse order), untold=TOPIC (it has no parameter `joints`),
sign=JOINT, inactive=TOPIC, late=CAMERA (40 ms), unit=TOPIC (degrees where radians are meant), silent=TOPIC.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import rclpy
from arms import FR3 as FRANKA
from arms import SO101, UR5E, VIPERX, Arm, Moved
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from rlt_ros.ros.fields import octets, to_stamp
from rlt_ros.ros.qos import LATCHED_QOS

_LAG = 0.03
_LATE = 0.04


@dataclass(frozen=True)
class States:
    """A topic's messages of some joints, in the driver's order and numbers; `links` are the joints of `arms`."""

    topic: str
    start: dict[str, float]
    rate: float
    velocities: bool = True
    arms: tuple[Arm, ...] = ()
    links: tuple[str, ...] = ()
    unit: float = 1.0


@dataclass(frozen=True)
class Controller:
    """Takes targets for joints of `states`; its node has the parameter `joints`."""

    topic: str
    states: int
    joints: tuple[str, ...]
    trajectory: bool = False


@dataclass(frozen=True)
class Camera:
    topic: str
    size: tuple[int, int] = (64, 48)
    encoding: str = "rgb8"
    rate: float = 15.0


@dataclass(frozen=True)
class Driver:
    states: tuple[States, ...]
    controllers: tuple[Controller, ...]
    cameras: tuple[Camera, ...] = ()
    urdf: dict[str, str] = field(default_factory=dict)


UR = ("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint")
KNUCKLE = "robotiq_85_left_knuckle_joint"
FR3 = tuple(f"fr3_joint{number}" for number in range(1, 8))
SO = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
ALOHA = tuple(
    f"{arm}_{joint}"
    for arm in ("left", "right")
    for joint in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
)


def urdf(joints: tuple[str, ...], low: float, high: float) -> str:
    """A robot description that only tells limits."""
    limit = f'<limit lower="{low}" upper="{high}" velocity="3.0" effort="1"/>'
    return "<robot>" + "".join(f'<joint name="{name}" type="revolute">{limit}</joint>' for name in joints) + "</robot>"


def _ur(side: str, first: int) -> tuple[tuple[States, ...], tuple[Controller, ...]]:
    pose = dict(zip(sorted(UR), (1.2, -1.3, 0.2, -1.5, -1.57, 0.1), strict=True))  # alphabetical, as the driver says it
    states = (
        States(f"/{side}/joint_states", pose, 500.0, arms=(UR5E,), links=UR),
        States(f"/{side}/joint_states", {KNUCKLE: 0.2}, 100.0),
    )
    controllers = (
        Controller(f"/{side}/forward_position_controller/commands", first, UR),
        Controller(f"/{side}/robotiq_position_controller/commands", first + 1, (KNUCKLE,)),
    )
    return states, controllers


_LEFT, _RIGHT = _ur("left", 0), _ur("right", 2)
DRIVERS = {
    "aloha": Driver(
        (
            States(
                "/joint_states",
                {name: 0.5 if name.endswith("gripper") else 0.0 for name in ALOHA},
                50.0,
                arms=(VIPERX, VIPERX),
                links=ALOHA,
            ),
        ),
        (Controller("/forward_position_controller/commands", 0, ALOHA),),
        tuple(Camera(f"/{name}/color/image_raw") for name in ("left_wrist", "right_wrist", "base")),
        {"/robot_description": urdf(ALOHA, -3.1, 3.1)},
    ),
    "ur5e_pair": Driver(
        (*_LEFT[0], *_RIGHT[0]),
        (*_LEFT[1], *_RIGHT[1]),
        tuple(Camera(f"/{place}/camera/color/image_raw") for place in ("left", "right", "base")),
        {f"/{side}/robot_description": urdf(UR, -6.28, 6.28) for side in ("left", "right")},
    ),
    "franka": Driver(
        (
            States(
                "/franka/joint_states",
                dict(zip(FR3, (0, -0.785, 0, -2.356, 0, 1.571, 0.785), strict=True)),
                1000.0,
                arms=(FRANKA,),
                links=FR3,
            ),
            States("/franka_gripper/joint_states", {"fr3_finger_joint1": 0.02, "fr3_finger_joint2": 0.02}, 30.0),
        ),
        (
            Controller("/fr3_arm_controller/joint_trajectory", 0, FR3, trajectory=True),
            Controller("/hand_controller/commands", 1, ("fr3_finger_joint1",)),
        ),
        (Camera("/camera/camera/color/image_raw", (64, 36)), Camera("/base/image_raw/compressed", encoding="jpeg")),
        {"/robot_description": urdf(FR3, -3.2, 4.6)},
    ),
    "so101": Driver(
        (
            States(
                "/follower/joint_states",
                dict(zip(SO, (0, -40, 45, 10, 0, 30), strict=True)),
                30.0,
                False,
                (SO101,),
                SO,
                float(np.radians(1.0)),
            ),
            States("/leader/joint_states", dict(zip(SO, (0, -40, 45, 10, 0, 30), strict=True)), 30.0, False),
        ),
        (Controller("/follower/forward_position_controller/commands", 0, SO),),
        (Camera("/wrist/image_raw", encoding="yuv422_yuy2"), Camera("/front/image_raw", encoding="bgr8")),
    ),
}


class Robot:
    """Runs a driver on the graph."""

    def __init__(self, driver: Driver, faults: dict[str, str]) -> None:
        self.driver, self.faults = driver, faults
        self.at = [np.array(list(states.start.values()), dtype=float) for states in driver.states]
        self.target = [values.copy() for values in self.at]
        self.moved = {
            number: Moved(states.arms, [list(states.start).index(link) for link in states.links], at, states.unit)
            for number, (states, at) in enumerate(zip(driver.states, self.at, strict=True))
            if states.arms
        }
        self.nodes = [Node("driver")]
        node = self.nodes[0]
        self.publishers = [node.create_publisher(JointState, states.topic, 10) for states in driver.states]
        for controller in driver.controllers:
            self.nodes.append(self._controller(controller))
        self.cameras = []
        for camera in driver.cameras:
            kind = CompressedImage if camera.topic.endswith("/compressed") else Image
            self.cameras.append((camera, node.create_publisher(kind, camera.topic, 2), self._picture(camera, kind)))
        self.descriptions = [node.create_publisher(String, topic, LATCHED_QOS) for topic in driver.urdf]
        for publisher, text in zip(self.descriptions, driver.urdf.values(), strict=True):
            publisher.publish(String(data=text))

    def _controller(self, controller: Controller) -> Node:
        names = list(self.driver.states[controller.states].start)
        joints = controller.joints[::-1] if self.faults.get("order") == controller.topic else controller.joints
        namespace, name, topic = controller.topic.rsplit("/", 2)
        node = Node(name, namespace=namespace or "/")
        if self.faults.get("untold") != controller.topic:
            node.declare_parameter("joints", list(joints))
        places = [names.index(joint) for joint in joints]
        kind = JointTrajectory if controller.trajectory else Float64MultiArray
        heard = partial(self._command, controller, places)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(kind, f"{name}/{topic}", heard, qos)
        return node

    def _command(self, controller: Controller, places: list[int], message: object) -> None:
        if self.faults.get("inactive") == controller.topic:
            return
        if isinstance(message, JointTrajectory):
            by_name = dict(zip(message.joint_names, message.points[0].positions, strict=True))
            values = [by_name[joint] for joint in controller.joints]
        else:
            values = list(message.data)  # type: ignore[attr-defined]
        target = self.target[controller.states]
        for place, value in zip(places, values, strict=True):
            target[place] = value

    def _picture(self, camera: Camera, kind: type) -> Image | CompressedImage:
        width, height = camera.size
        if kind is CompressedImage:
            import cv2

            _, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))
            return CompressedImage(format="jpeg", data=octets(data.tobytes()))
        pixel = 2 if "yuv" in camera.encoding else 3
        data = octets(bytes(width * height * pixel))
        return Image(height=height, width=width, step=width * pixel, encoding=camera.encoding, data=data)

    def speak(self, stop: threading.Event) -> None:
        """Publish everything at its rate."""
        due = [0.0] * len(self.publishers)
        picture_due, before = 0.0, time.monotonic()
        while not stop.is_set() and rclpy.ok():
            now = time.monotonic()
            passed, before = now - before, now
            for number, (states, publisher) in enumerate(zip(self.driver.states, self.publishers, strict=True)):
                if number in self.moved:
                    self.moved[number].go(passed, self.at[number], self.target[number])
                else:
                    self.at[number] += (1 - np.exp(-passed / _LAG)) * (self.target[number] - self.at[number])
                if now < due[number] or self.faults.get("silent") == states.topic:
                    continue
                due[number] = max(due[number] + 1 / states.rate, now - 0.1)
                publisher.publish(self._message(states, self.at[number]))
            if self.cameras and now >= picture_due:
                picture_due = now + 1 / self.cameras[0][0].rate
                stamp = time.time()
                for camera, publisher, picture in self.cameras:
                    late = _LATE if self.faults.get("late") == camera.topic else 0.0
                    picture.header.stamp = to_stamp(stamp - late)
                    publisher.publish(picture)
            time.sleep(max(0.0005, min(*due, picture_due if self.cameras else np.inf, now + 0.01) - time.monotonic()))

    def _message(self, states: States, at: np.ndarray) -> JointState:
        names = list(states.start)
        signs = np.array([-1.0 if self.faults.get("sign") == name else 1.0 for name in names])
        told = at * signs * (np.degrees(1.0) if self.faults.get("unit") == states.topic else 1.0)
        message = JointState(name=names, position=[float(value) for value in told])
        if states.velocities:
            message.velocity = [0.0] * len(names)
        message.header.stamp = to_stamp(time.time())
        return message


def main() -> None:
    name, *faults = sys.argv[1:]
    rclpy.init()
    robot = Robot(DRIVERS[name], dict(fault.split("=", 1) for fault in faults))
    executor = SingleThreadedExecutor()
    for node in robot.nodes:
        executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(target=robot.speak, args=(stop,), daemon=True)
    thread.start()
    print("speaks", flush=True)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        stop.set()
        thread.join()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
