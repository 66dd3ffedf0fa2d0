"""VLA inference: newest complete camera set and joint state -> RL token and reference chunk, in one pass.

Publishes: `policy_input` (PolicyInput), `/diagnostics` (DiagnosticArray).
Subscribes: `<camera>/color/image_raw` (Image) for each of the bundle's cameras, `joint_states` (JointState).
Services: `~/set_instruction` (SetInstruction).
Parameters: `rlt_ros.nodes.parameters.VlaParameters`.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from rlt_ros.msg import PolicyInput
from rlt_ros.nodes.base import HISTORY_QOS, SENSOR_QOS, ManagedNode, floats, from_stamp, read_parameters, run
from rlt_ros.nodes.convert import JointOrder
from rlt_ros.nodes.parameters import VlaParameters
from rlt_ros.srv import SetInstruction
from rlt_ros.vla.backend import InferenceError, OnnxBackend
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.phase import load_phase_head

_CONSTANT_TOKENS = 25
"""Passes over different pictures after which an unchanged token means that the model is broken."""


class VlaNode(ManagedNode):
    """Everything happens in one thread: a pass is short, and queues of depth one keep only the newest pictures."""

    def __init__(self) -> None:
        """Read the parameters."""
        super().__init__("vla_node")
        self._config = read_parameters(self, VlaParameters)
        self._active = False

    def setup(self) -> None:
        """Load and warm up the bundle; connect."""
        p = self._config
        self._bundle = load_bundle(p.bundle)
        self._bundle.check_fits(p.joints, p.cameras)
        self._backend = OnnxBackend(self._bundle, p.providers, p.threads)
        self._phase_head = load_phase_head(self._bundle)
        self._backend.set_instruction(p.instruction or self._bundle.instruction(p.task))
        if p.task and not p.instruction and p.task not in self._bundle.tasks:
            self.get_logger().warning(
                f"the bundle does not know task '{p.task}' (it knows {', '.join(self._bundle.tasks)}); "
                f"the VLA is told '{self._bundle.instruction()}'"
            )
        skipped = f" (not available: {', '.join(self._backend.skipped)})" if self._backend.skipped else ""
        self.get_logger().info(f"bundle {self._bundle.id} on {self._backend.provider}{skipped}")
        self._order = JointOrder(self._bundle.joints)
        self._joint_states: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=50)
        self._images: dict[str, Image] = {}
        self._sequence = time.time_ns() // 1_000_000
        self._done = 0.0
        self._same_token = 0
        self._last: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None
        self._passes = 0
        self._seconds: deque[float] = deque(maxlen=200)
        self._dropped = 0
        self._publisher = self.create_publisher(PolicyInput, "policy_input", HISTORY_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.handles = [
            self._publisher,
            self._diagnostics,
            self.create_subscription(JointState, "joint_states", self._on_joint_state, SENSOR_QOS),
            *(
                self.create_subscription(
                    Image, f"{camera}/color/image_raw", partial(self._on_image, camera), SENSOR_QOS
                )
                for camera in self._bundle.cameras
            ),
            self.create_service(SetInstruction, "~/set_instruction", self._set_instruction),
            self.create_timer(1.0, self._publish_diagnostics),
        ]

    def start(self) -> None:
        """Begin to infer."""
        self._active = True

    def halt(self) -> None:
        """Stop inferring."""
        self._active = False

    def _on_joint_state(self, message: JointState) -> None:
        try:
            position, _ = self._order.read(message)
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._joint_states.append((from_stamp(message.header.stamp), position))

    def _on_image(self, camera: str, message: Image) -> None:
        size = self._bundle.image_size
        if (message.height, message.width, message.encoding) != (size, size, "rgb8"):
            self.get_logger().error(
                f"{camera}: got {message.width}x{message.height} {message.encoding}, "
                f"the bundle needs {size}x{size} rgb8",
                throttle_duration_sec=5.0,
            )
            return
        if message.step != 3 * size or len(message.data) != 3 * size * size:
            self.get_logger().error(
                f"{camera}: {len(message.data)} bytes in rows of {message.step}, expected {size} rows of {3 * size}",
                throttle_duration_sec=5.0,
            )
            return
        self._images[camera] = message
        stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in self._images.values()}
        if self._active and len(self._images) == len(self._bundle.cameras) and len(stamps) == 1:
            self._infer(from_stamp(message.header.stamp))

    def _infer(self, captured: float) -> None:
        if captured <= self._done or not self._joint_states:
            return
        self._done = captured
        stamp, position = min(self._joint_states, key=lambda item: abs(item[0] - captured))
        if abs(stamp - captured) > self._config.max_joint_age or not np.isfinite(position).all():
            self._dropped += 1
            return
        messages = [self._images[camera] for camera in self._bundle.cameras]
        images = np.stack([np.frombuffer(m.data, np.uint8).reshape(m.height, m.width, 3) for m in messages])
        try:
            result = self._backend.infer(images, position)
            self._check_token(result.token, images)
        except InferenceError as error:
            self._dropped += 1
            self.get_logger().error(f"nothing published: {error}", throttle_duration_sec=1.0)
            return
        message = PolicyInput()
        message.header.stamp = messages[0].header.stamp
        message.robot = self.get_namespace()
        message.bundle_id = self._bundle.id
        message.sequence = self._sequence
        message.token = floats(result.token)
        message.reference = floats(result.reference)
        message.horizon, message.joints = result.reference.shape
        message.period = self._bundle.period
        message.position = floats(position)
        message.inference_time = result.seconds
        message.critical = self._phase_head(result.token) if self._phase_head is not None else -1.0
        self._publisher.publish(message)
        self._sequence += 1
        self._passes += 1
        self._seconds.append(result.seconds)

    def _check_token(self, token: NDArray[np.float32], images: NDArray[np.uint8]) -> None:
        """A token that does not change when the pictures do carries nothing (seen elsewhere: always zero online)."""
        if self._last is not None and not np.array_equal(images, self._last[1]):
            self._same_token = self._same_token + 1 if np.array_equal(token, self._last[0]) else 0
        self._last = (token, images)
        if self._same_token >= _CONSTANT_TOKENS:
            raise InferenceError(f"the RL token has been the same for {self._same_token} different sets of pictures")

    def _set_instruction(
        self, request: SetInstruction.Request, response: SetInstruction.Response
    ) -> SetInstruction.Response:
        try:
            self._backend.set_instruction(request.instruction)
        except ValueError as error:
            response.message = str(error)
            return response
        response.success, response.message = True, request.instruction
        return response

    def _publish_diagnostics(self) -> None:
        rate, self._passes = self._passes, 0
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id=self._bundle.id)
        status.level = DiagnosticStatus.OK if rate >= 10 or not self._active else DiagnosticStatus.WARN
        status.message = f"{rate} passes/s"
        p99 = float(np.percentile(self._seconds, 99)) * 1e3 if self._seconds else 0.0
        values = {
            "rate": rate,
            "latency_p99_ms": round(p99, 2),
            "dropped": self._dropped,
            "provider": self._backend.provider,
        }
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> None:
    """Run the node."""
    run(VlaNode)
