"""vla_node as a process, with cameras and a robot played by the test."""

from __future__ import annotations

import shutil
import time
from array import array
from pathlib import Path

import numpy as np
import onnx
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from onnx import TensorProto, helper
from ros_support import Listener, listener
from running import node
from sensor_msgs.msg import Image, JointState

from rlt_ros import msg, srv
from rlt_ros.bringup.graph import Bringup
from rlt_ros.ros.fields import from_stamp, to_stamp
from rlt_ros.ros.qos import RECORD_QOS
from rlt_ros.vla.bundle import file_sha256, load_bundle

pytestmark = pytest.mark.live
BUNDLE = load_bundle(Bringup().bundle_path)


class FakeCameras:
    """Sends camera sets and joint states."""

    def __init__(self, ros: Listener) -> None:
        self.ros = ros
        self.inputs = ros.listen(msg.PolicyInput, "policy_input", RECORD_QOS)
        self._joints = ros.node.create_publisher(JointState, "joint_states", 10)
        self._images = {name: ros.node.create_publisher(Image, f"{name}/color/image_raw", 2) for name in BUNDLE.cameras}
        self._rng = np.random.default_rng(0)

    def send(
        self, *, size: int = BUNDLE.image_size, encoding: str = "rgb8", skew: float = 0.0, joints: bool = True
    ) -> float:
        """One set; returns its stamp. `skew` moves the last camera's stamp."""
        now = time.time()
        if joints:
            state = JointState(name=list(BUNDLE.joints), position=[0.1] * 14, velocity=[0.0] * 14)
            state.header.stamp = to_stamp(now)
            self._joints.publish(state)
            self.ros.spin(0.01)
        for index, publisher in enumerate(self._images.values()):
            image = Image(height=size, width=size, encoding=encoding, step=3 * size)
            image.header.stamp = to_stamp(now + (skew if index == 2 else 0.0))
            image.data = array("B", self._rng.integers(0, 255, size * size * 3, dtype=np.uint8).tobytes())
            publisher.publish(image)
        return now

    def send_until_answered(self, seconds: float = 30.0) -> None:
        """The first answer also says that discovery is done."""
        deadline = time.monotonic() + seconds
        while not self.inputs:
            assert time.monotonic() < deadline, "no policy input"
            self.send()
            self.ros.spin(0.05)
        self.ros.spin(0.3)
        self.inputs.clear()


def test_token_and_reference_come_together_with_the_capture_time(domain: int, tmp_path: Path) -> None:
    with listener() as ros, node("vla_node", {"bundle": str(BUNDLE.directory)}, tmp_path / "log"):
        cameras = FakeCameras(ros)
        cameras.send_until_answered()
        stamp = cameras.send()
        ros.wait(lambda: bool(cameras.inputs), 5, "an answer")
        answer = cameras.inputs[0]
        assert from_stamp(answer.header.stamp) == pytest.approx(stamp, abs=1e-6)
        assert answer.bundle_id == BUNDLE.id
        assert len(answer.token) == BUNDLE.token_dim
        assert len(answer.reference) == answer.horizon * answer.joints == 50 * 14
        assert np.isfinite(answer.reference).all()
        assert list(answer.position) == pytest.approx([0.1] * 14)
        assert 0 < answer.inference_time < 1
        assert 0 <= answer.critical <= 1, "the shipped bundle has a phase head"

        cameras.inputs.clear()
        cameras.send(size=64, encoding="bgr8")
        ros.wait(lambda: bool(cameras.inputs), 5, "an answer to pictures of another size and encoding")

        cameras.inputs.clear()
        cameras.send(encoding="32FC1")
        cameras.send(skew=0.01)
        ros.spin(0.3)
        cameras.send(joints=False)
        ros.spin(0.3)
        assert not cameras.inputs, "unknown pictures, mixed stamps and missing joint states give nothing"
        cameras.send()
        ros.wait(lambda: bool(cameras.inputs), 5, "an answer after the bad ones")

        ok = ros.call(
            srv.SetInstruction, "vla_node/set_instruction", srv.SetInstruction.Request(instruction="wait here")
        )
        assert ok.success
        assert not ros.call(
            srv.SetInstruction, "vla_node/set_instruction", srv.SetInstruction.Request(instruction="?")
        ).success

        # Through the whole life cycle by its services, and back: it spins on without what it gave up.
        for step in (
            *(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP),
            *(Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
        ):
            request = ChangeState.Request(transition=Transition(id=step))
            assert ros.call(ChangeState, "vla_node/change_state", request).success
        cameras.inputs.clear()
        cameras.send_until_answered()
    assert "32FC1" in (tmp_path / "log").read_text()


def constant_bundle(directory: Path) -> Path:
    """A bundle whose model gives the same token whatever it sees."""
    shutil.copytree(BUNDLE.directory, directory, ignore=shutil.ignore_patterns("phase.safetensors"))
    size = BUNDLE.image_size
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, [3, size, size, 3]),
        helper.make_tensor_value_info("position", TensorProto.FLOAT, [14]),
        helper.make_tensor_value_info("instruction", TensorProto.INT64, [8]),
    ]
    outputs = [
        helper.make_tensor_value_info("token", TensorProto.FLOAT, [BUNDLE.token_dim]),
        helper.make_tensor_value_info("reference", TensorProto.FLOAT, [50, 14]),
    ]
    constants = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, shape, values))
        for name, shape, values in (
            ("token", [BUNDLE.token_dim], [0.5] * BUNDLE.token_dim),
            ("reference", [50, 14], [0.0] * 700),
        )
    ]
    graph = helper.make_graph(constants, "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, directory / "model.onnx")
    description = directory / "bundle.yaml"
    text = description.read_text().replace(BUNDLE.sha256, file_sha256(directory / "model.onnx"))
    description.write_text(text)
    return directory


def test_a_token_that_never_changes_is_an_error(domain: int, tmp_path: Path) -> None:
    bundle = constant_bundle(tmp_path / "bundle")
    with listener() as ros, node("vla_node", {"bundle": str(bundle)}, tmp_path / "log"):
        cameras = FakeCameras(ros)
        cameras.send_until_answered()
        deadline = time.monotonic() + 30
        while "has been the same" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline, "the constant token was not noticed"
            cameras.send()
            ros.spin(0.03)
        ros.spin(0.3)
        cameras.inputs.clear()
        for _ in range(5):
            cameras.send()
            ros.spin(0.05)
        assert not cameras.inputs
