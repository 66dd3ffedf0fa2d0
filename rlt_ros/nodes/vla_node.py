"""VLA inference: newest complete camera set and joint state -> RL token and reference chunk, in one pass.

Publishes: `policy_input` (PolicyInput), `backfill` (PolicyInput) with what it says later of a critical phase,
`/diagnostics` (DiagnosticArray).
Subscribes: `<camera>/color/image_raw` (Image, CompressedImage) for each camera of the bundle, `joint_states`
(JointState), `session` (SessionState).
Services: `~/set_instruction` (SetInstruction).
Parameters: `rlt_ros.vla.config.VlaParameters`.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from rlt_ros import msg, srv
from rlt_ros.cameras.sets import FrameSet
from rlt_ros.config import named
from rlt_ros.refusals import Refusals
from rlt_ros.robot.wire import joint_sources
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.fields import floats, to_stamp
from rlt_ros.ros.images import hear_pictures
from rlt_ros.ros.joint_sources import hear_sources
from rlt_ros.ros.node import ManagedNode, read_parameters, run
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.ros.vla_inputs import VlaInputs
from rlt_ros.types import Phase
from rlt_ros.vla.backend import Inference, InferenceError
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.config import VlaParameters
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.phase import load_phase_head
from rlt_ros.vla.worker import Moment, PassWorker, Spacing

_SILENT_AFTER = 1.0
"""Seconds of one pass after which it is told that the VLA does not answer."""
_KEPT_BYTES = 2_000_000_000
"""Of pictures that wait to be looked at: a minute of three 512-pixel cameras at 25 sets a second is 3.5 GB."""
_USUAL, _SLOW = 10, 2
"""Passes a second below which diagnostics warn; the second where the VLA is known to be slow (`backfill`)."""
_CONSTANT_TOKENS = 25
"""Passes over different pictures after which an unchanged token means that the model is broken."""


class VlaNode(ManagedNode):
    """Passes are made in a thread of their own, always of the newest pictures; the rest happens in the node's."""

    def __init__(self) -> None:
        """Read the parameters."""
        super().__init__("vla_node")
        self._config = read_parameters(self, VlaParameters)
        self._time = LoopClock(self)
        self._refusals = Refusals()
        self._active = False

    def setup(self) -> None:
        """Load and warm up the bundle; connect."""
        p = self._config
        self._bundle = load_bundle(p.bundle)
        self._bundle.check_fits(named(p.joints), named(p.cameras), robot=p.robot)
        self._vla = LoadedVla(self._bundle, p.providers, p.threads)
        self._phase_head = load_phase_head(self._bundle)
        self._vla.set_instruction(p.instruction or self._bundle.instruction(p.task))
        if self._bundle.backend != "openpi":  # a server may come later
            self._vla.warm_up()
        if p.task and not p.instruction and (told := self._bundle.unknown(p.task)):
            self.get_logger().warning(told)
        skipped = f" (not available: {', '.join(self._vla.skipped)})" if self._vla.skipped else ""
        self.get_logger().info(f"bundle {self._bundle.id} on {self._vla.provider}{skipped}")
        sources = joint_sources(p.robot_file, self._bundle.joints)
        self._inputs = VlaInputs(
            self._bundle.cameras,
            self._bundle.joints,
            sources,
            self._bundle.image_size,
            p.max_camera_skew,
            self._time,
            self._refusals,
            p.crop_boxes,
        )
        self._sequence = time.time_ns() // 1_000_000
        self._same_token = 0
        self._last: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None
        self._passes = self._dropped = 0
        self._seconds: deque[float] = deque(maxlen=200)
        self._age = 0.0
        answered = self.create_guard_condition(self._on_answers)
        self._worker = PassWorker(self._infer, answered.trigger, lambda: self._vla.batch)
        self._critical = False
        self._spacing = Spacing(p.backfill)
        self._publisher = self.create_publisher(msg.PolicyInput, "policy_input", HISTORY_QOS)
        self._late = self.create_publisher(msg.PolicyInput, "backfill", HISTORY_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.handles = [
            self._publisher,
            self._late,
            self._diagnostics,
            self.create_subscription(msg.SessionState, "session", self._on_session, LATCHED_QOS),
            *hear_sources(self, sources, self._inputs.joint_state),
            *(hear_pictures(self, name, partial(self._on_image, name)) for name in self._bundle.cameras),
            self.create_service(srv.SetInstruction, "~/set_instruction", self._set_instruction),
            self.create_timer(1.0, self._publish_diagnostics),
            Teller(self, self._refusals),
            answered,
        ]

    def start(self) -> None:
        """Begin to infer."""
        self._active = True

    def halt(self) -> None:
        """Stop inferring."""
        self._active = False

    def release(self) -> None:
        """End the passes and let go of the VLA."""
        self._vla.close()  # first: it ends the wait for a server
        self._worker.end()
        super().release()

    def close(self) -> None:
        """The process ends."""
        if self.handles:
            self.release()

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        made = self._inputs.image(camera, message)
        if made is not None and self._active:
            self._submit(made)

    def _submit(self, made: FrameSet) -> None:
        position = self._inputs.position(made.captured, self._config.max_joint_age)
        if position is None:
            self._dropped += 1
            return
        images = np.stack([made.frames[camera].image for camera in self._bundle.cameras])
        overtaken = self._worker.submit(Moment(images, position, self._inputs.stamp(made)))
        if overtaken is not None and self._critical and self._spacing.wants(overtaken.stamp):
            self._keep(overtaken)
        if self._worker.busy > _SILENT_AFTER:
            self._refusals.refuse("vla_silent", f"for {self._worker.busy:.0f} s")

    def _on_session(self, message: msg.SessionState) -> None:
        self._critical = message.phase == Phase.CRITICAL
        flies = message.phase in (Phase.BASE, Phase.CRITICAL)
        self._worker.catch_up(not flies)

    def _keep(self, overtaken: Moment) -> None:
        """A set that the VLA had no time for is looked at later, as far as memory goes."""
        self._worker.keep(overtaken)
        if self._worker.past * overtaken.images.nbytes > _KEPT_BYTES:
            self._worker.drop_oldest()
            self._refusals.refuse("backfill_full", f"{self._worker.past} sets wait")

    def _infer(self, moments: list[Moment]) -> list[Inference]:
        images, positions = np.stack([m.images for m in moments]), np.stack([m.position for m in moments])
        return self._vla.infer_batch(images, positions)

    def _on_answers(self) -> None:
        for answer in self._worker.take():
            moment, made = answer.moment, answer.made
            try:
                if isinstance(made, Exception):
                    raise made
                if not answer.late:
                    self._check_token(made.token, moment.images)
            except InferenceError as error:
                self._dropped += 1
                self._refusals.refuse("inference_failed", str(error))
                continue
            if answer.late:
                self._late.publish(self._message(moment, made))
            elif self._active:
                message = self._message(moment, made)
                self._publisher.publish(message)
                if self._critical and self._config.backfill:
                    self._late.publish(message)  # its moment is over too: states of then hold an older token
                self._passes += 1
                self._seconds.append(made.seconds)
                self._age = self._time.ros() - moment.stamp

    def _message(self, moment: Moment, result: Inference) -> msg.PolicyInput:
        message = msg.PolicyInput()
        message.header.stamp = to_stamp(moment.stamp)
        message.robot = self.get_namespace()
        message.bundle_id = self._bundle.id
        message.sequence = self._sequence
        message.token = floats(result.token)
        message.reference = floats(result.reference)
        message.horizon, message.joints = result.reference.shape
        message.period = self._bundle.period
        message.position = floats(moment.position)
        message.inference_time = result.seconds
        message.critical = self._phase_head(result.token) if self._phase_head is not None else -1.0
        self._sequence += 1
        return message

    def _check_token(self, token: NDArray[np.float32], images: NDArray[np.uint8]) -> None:
        """A token that does not change when the pictures do carries nothing (seen elsewhere: always zero online)."""
        if self._last is not None and not np.array_equal(images, self._last[1]):
            self._same_token = self._same_token + 1 if np.array_equal(token, self._last[0]) else 0
        self._last = (token, images)
        if self._same_token >= _CONSTANT_TOKENS:
            raise InferenceError(f"the RL token has been the same for {self._same_token} different sets of pictures")

    def _set_instruction(
        self, request: srv.SetInstruction.Request, response: srv.SetInstruction.Response
    ) -> srv.SetInstruction.Response:
        try:
            self._vla.set_instruction(request.instruction)
        except ValueError as error:
            response.message = str(error)
            return response
        self._worker.drop_past()
        response.success, response.message = True, request.instruction
        return response

    def _publish_diagnostics(self) -> None:
        rate, self._passes = self._passes, 0
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id=self._bundle.id)
        silent = self._worker.busy > _SILENT_AFTER
        enough = rate >= (_SLOW if self._config.backfill else _USUAL)
        status.level = DiagnosticStatus.OK if enough or not self._active else DiagnosticStatus.WARN
        status.message = f"no answer for {self._worker.busy:.0f} s" if silent else f"{rate} passes/s"
        p99 = float(np.percentile(self._seconds, 99)) * 1e3 if self._seconds else 0.0
        values = {
            "rate": rate,
            "latency_p99_ms": round(p99, 2),
            "age_ms": round(1e3 * self._age, 2),
            "overtaken": self._worker.overtaken,
            "to_backfill": self._worker.past,
            "dropped": self._dropped,
            "provider": self._vla.provider,
        }
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> None:
    """Run the node."""
    run(VlaNode)
