"""camera_node as a process: test pictures, a recording of the cell, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from mcap.writer import Writer
from rclpy.serialization import serialize_message
from ros_support import Listener, listener
from running import node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.ros.fields import from_stamp, octets, to_stamp
from rlt_ros.ros.qos import RECORD_QOS
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
from rlt_ros.sim.tasks import get_task
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.loaded import LoadedVla

pytestmark = pytest.mark.live
BUNDLE = load_bundle(Bringup().bundle_path)
SETS = 30
THREE = {"cameras": list(CAMERA_NAMES)}


def listen(ros: Listener) -> dict[str, list[Image]]:
    return {name: ros.listen(Image, f"{name}/color/image_raw", RECORD_QOS) for name in CAMERA_NAMES}


def change(ros: Listener, transition: int) -> None:
    answer = ros.call(
        ChangeState, "camera_node/change_state", ChangeState.Request(transition=Transition(id=transition)), 30.0
    )
    assert answer.success


def pixels(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def test_sets_have_one_stamp_the_models_size_and_a_lens_to_match(domain: int, tmp_path: Path) -> None:
    parameters = {"backend": "pattern", "image_size": "120", "fps": "20", "jpeg_rate": "5.0"}
    with listener() as ros, node("camera_node", {**THREE, **parameters}, tmp_path / "log") as process:
        images = listen(ros)
        infos = ros.listen(CameraInfo, "base/color/camera_info", RECORD_QOS)
        full = ros.listen(CompressedImage, "base/color/image_raw/compressed", 10)
        health = ros.listen(DiagnosticArray, "/diagnostics")
        ros.wait(lambda: all(len(seen) >= SETS for seen in images.values()), 20, "sets")
        ros.wait(lambda: bool(full) and len(health) > 2, 10, "a JPEG and diagnostics")
        assert process.poll() is None
    stamps = [{from_stamp(message.header.stamp) for message in seen} for seen in images.values()]
    assert len(set.intersection(*stamps)) >= SETS - 3
    base = images["base"][-1]
    assert (base.height, base.width, base.encoding, base.header.frame_id) == (
        120,
        120,
        "rgb8",
        "base_color_optical_frame",
    )
    assert pixels(base).std() > 10
    assert not np.array_equal(pixels(images["base"][-2]), pixels(base))
    # Pictures of 640 x 480 with a focal length of 640, the middle 480 of them at a quarter of their size.
    assert infos[-1].k[0] == pytest.approx(160.0)
    assert infos[-1].k[2] == pytest.approx((319.5 - 80 + 0.5) / 4 - 0.5)
    assert bytes(full[-1].data[:2]) == b"\xff\xd8"
    status = {entry.name.split(": ")[1]: entry for entry in health[-1].status}
    assert set(status) == {*CAMERA_NAMES, "sets"}
    values = {entry.key: entry.value for entry in status["base"].values}
    assert 15 <= float(values["rate"]) <= 25
    assert values["reconnects"] == "0"
    assert float({entry.key: entry.value for entry in status["sets"].values}["age_ms"]) < 200


def test_a_recording_of_the_cell_plays_bit_by_bit_into_the_vla(domain: int, tmp_path: Path) -> None:
    """Record the cell's cameras, play them by camera_node, and have the same tokens come out of vla_node."""
    cell = Cell(get_task("ethernet"), image_size=BUNDLE.image_size)
    taken, positions = [], []
    path = tmp_path / "run.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"uint32 height")
        channels = {n: writer.register_channel(f"/rlt/{n}/color/image_raw", "cdr", schema) for n in CAMERA_NAMES}
        for number in range(SETS):
            seen = cell.render()
            taken.append(seen)
            positions.append(cell.position)
            size = BUNDLE.image_size
            stamp = 100.0 + number * 2 * CONTROL_PERIOD
            for name, picture in seen.items():
                message = Image(height=size, width=size, encoding="rgb8", step=3 * size)
                message.header.stamp = to_stamp(stamp)
                message.data = octets(picture.tobytes())
                writer.add_message(channels[name], round(stamp * 1e9), serialize_message(message), round(stamp * 1e9))
            command = cell.command
            command[JOINT_NAMES.index("left_waist")] += 0.004
            for _ in range(2):
                cell.step(command)
        writer.finish()
    cell.close()

    with listener() as ros:
        images = listen(ros)
        inputs = ros.listen(msg.PolicyInput, "policy_input", RECORD_QOS)
        joints = ros.node.create_publisher(JointState, "joint_states", 10)
        # Where the arms are goes into the VLA too; for the comparison they stand still.
        position = positions[0]

        def speak() -> None:
            message = JointState(name=list(JOINT_NAMES), position=list(position), velocity=[0.0] * len(JOINT_NAMES))
            message.header.stamp = ros.node.get_clock().now().to_msg()
            joints.publish(message)

        ros.node.create_timer(0.01, speak)
        cameras = {"backend": "recorded", "devices": f"[{path}, {path}, {path}]", "bundle": str(BUNDLE.directory)}
        with (
            node("vla_node", {"bundle": str(BUNDLE.directory)}, tmp_path / "vla"),
            node("camera_node", {**THREE, **cameras, "fps": "25", "autostart": "false"}, tmp_path / "cameras"),
        ):
            # A recording plays once, and discovery may take some seconds: it begins when all have found each other.
            change(ros, Transition.TRANSITION_CONFIGURE)
            topic = "/rlt/base/color/image_raw"
            found = lambda: ros.node.count_publishers(topic) == 1 and ros.node.count_subscribers(topic) == 2  # noqa: E731
            ros.wait(lambda: found() and bool(ros.node.count_publishers("/rlt/policy_input")), 30, "discovery")
            ros.spin(3.5)
            change(ros, Transition.TRANSITION_ACTIVATE)
            ros.wait(lambda: len(images["base"]) >= SETS - 2 and len(inputs) > SETS // 2, 30, "the recording")
            ros.spin(0.5)
    for name, seen in images.items():
        played = [pixels(message) for message in seen]
        at = next(i for i, sets in enumerate(taken) if np.array_equal(sets[name], played[0]))
        assert all(np.array_equal(picture, sets[name]) for picture, sets in zip(played, taken[at:], strict=False))
        assert len(played) >= SETS - 3
    backend = LoadedVla(BUNDLE)
    order = [JOINT_NAMES.index(joint) for joint in BUNDLE.joints]
    tokens = [backend.infer(np.stack([sets[name] for name in BUNDLE.cameras]), position[order]).token for sets in taken]
    for message in inputs:
        token = np.array(message.token, np.float32)
        assert any(np.array_equal(token, known) for known in tokens), "the same pictures give the same token"


def test_deactivated_and_activated_again_it_goes_on(domain: int, tmp_path: Path) -> None:
    parameters = {"backend": "pattern", "image_size": "96", "fps": "20"}
    with listener() as ros, node("camera_node", {**THREE, **parameters}, tmp_path / "log"):
        images = listen(ros)

        def change(transition: int) -> None:
            request = ChangeState.Request()
            request.transition.id = transition
            assert ros.call(ChangeState, "camera_node/change_state", request).success

        ros.wait(lambda: len(images["base"]) > 5, 20, "pictures")
        change(Transition.TRANSITION_DEACTIVATE)
        ros.spin(0.3)
        count = len(images["base"])
        ros.spin(0.5)
        assert len(images["base"]) == count
        change(Transition.TRANSITION_ACTIVATE)
        ros.wait(lambda: len(images["base"]) > count + 5, 5, "pictures again")
